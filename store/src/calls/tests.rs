//! Intents before they leave: when they are on disk, and what a start makes of those that are open.

use std::path::Path;

use jiff::tz::TimeZone;
use tollgate_core::contract::Dialect;
use tollgate_core::evidence::intent::call_id;
use tollgate_core::evidence::receipt::Outcome;
use tollgate_core::limits::claim::Claim;
use tollgate_core::limits::rules::{Calendar, Rule, Unit, Window};
use tollgate_core::ports::Ledger;

use super::*;
use crate::journal::{Bounds, Disk, Fault, Lie, Reader, Storage};
use crate::keyed::Keyed;
use crate::ledger::JournalLedger;

const NEVER: Duration = Duration::from_secs(3_600);

fn intent(id: HoldId, target: &str) -> Intent {
    Intent {
        id,
        request_id: "r".into(),
        time_ms: 5,
        contract: "2026-12-01".into(),
        revision: "v".into(),
        dialect: Dialect::OpenaiChat,
        place: None,
        stream: false,
        tenant: "acme".into(),
        app: "".into(),
        key: "".into(),
        body_bytes: 10,
        target: target.into(),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A journal that syncs only when somebody waits for it.
fn lazy(disk: &Disk) -> Calls {
    let bounds = Bounds { sync_every: NEVER, ..Bounds::default() };
    Calls::new(Arc::new(Journal::open(Arc::new(disk.clone()), bounds, None).unwrap().0))
}

fn is_there(disk: &Disk, id: HoldId) -> bool {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let lines =
        Reader::from(storage, 0).unwrap().map(|record| serde_json::from_slice(&record.unwrap().payload).unwrap());
    lines.into_iter().any(|line: Line| matches!(line, Line::Intent(intent) if intent.id == id))
}

/// The disk loses, tears and reorders what it was not told to keep.
#[test]
fn a_strict_call_has_its_intent_on_disk_before_it_leaves_and_a_relaxed_one_in_the_kernel() {
    let mut lost = 0;
    for seed in 0..40 {
        let disk = Disk::new(Lie::None);
        let calls = lazy(&disk);
        let relaxed = block_on(async {
            let strict = calls.intend(&intent(1, "a/b")).await.unwrap();
            assert!(calls.confirmed(strict).await);
            calls.intend(&intent(2, "a/b")).await.unwrap()
        });
        assert_eq!(relaxed, 1);
        assert!(is_there(&disk, 1) && is_there(&disk, 2), "the kernel has both: a kill of the process takes neither");
        disk.power_cut(seed);
        assert!(is_there(&disk, 1), "seed {seed}: it was confirmed, so that the call could leave");
        lost += usize::from(!is_there(&disk, 2));
    }
    assert!(lost > 0, "a power cut may take what nobody waited for: else this disk shows nothing");
}

#[test]
fn a_call_of_which_nothing_can_be_kept_does_not_leave() {
    let disk = Disk::new(Lie::None);
    let calls = lazy(&disk);
    disk.fault_at(0, Fault::EndsBefore);
    block_on(async {
        assert!(calls.intend(&intent(1, "a/b")).await.is_err(), "the disk takes nothing any more");
        assert!(calls.unknown(1, 0).is_none(), "and its call has not left");
    });
    // A disk that takes records and confirms none.
    let disk = Disk::new(Lie::None);
    let calls = lazy(&disk);
    block_on(async {
        let sequence = calls.intend(&intent(1, "a/b")).await.unwrap();
        disk.fault_at(0, Fault::EndsBefore);
        assert!(!calls.confirmed(sequence).await, "a strict call waits, and is refused");
    });
}

fn claims() -> Vec<Claim> {
    let day = Window::Calendar { every: Calendar::Day, zone: TimeZone::UTC };
    let rule = |name: &str, unit, window: &Window| {
        Arc::new(Rule {
            name: name.into(),
            per: vec![],
            scope: Default::default(),
            unit,
            limit: 1_000_000,
            window: window.clone(),
            ladder: vec![],
        })
    };
    let claim = |rule: Arc<Rule>, worst| Claim { scope: rule.name.as_ref().into(), rule, worst };
    vec![claim(rule("money", Unit::Nanousd, &day), 100), claim(rule("busy", Unit::InFlight, &Window::None), 1)]
}

async fn open(dir: &Path) -> JournalLedger {
    let (journal, keyed) = (dir.join("journal"), dir.join("keyed.redb"));
    JournalLedger::open(&journal, &keyed, Bounds::default(), 0).await.unwrap().0
}

fn told(id: HoldId) -> Receipts {
    let told = Told::read(format!("{{\"call_id\":\"{}\"}}", call_id(id)).as_bytes()).unwrap();
    Receipts { at_ms: 0, file: "f".into(), from: 0, taken_over: false, lines: vec![told] }
}

#[test]
fn a_start_knows_what_left_and_did_not_end() {
    let dir = tempfile::tempdir().unwrap();
    let used = Used { nanousd: 40, tokens: 4 };
    block_on(async {
        let ledger = open(dir.path()).await;
        let calls = ledger.calls();
        for id in 1..=5 {
            ledger.hold_for(id, &claims(), 0).await.unwrap();
        }
        let before = calls.journal.written().next;
        let first = calls.intend(&intent(1, "a/b")).await.unwrap();
        assert_eq!((first, calls.journal.written().next), (before, before + 1), "intent and hold are one record");
        assert_eq!(calls.intend(&intent(1, "a/b")).await.unwrap(), first, "the same target again is no news");
        calls.intend(&intent(1, "a/c")).await.unwrap();
        calls.intend(&intent(2, "a/b")).await.unwrap();
        ledger.settle(2, used, 0).await;
        calls.intend(&intent(3, "a/b")).await.unwrap();
        ledger.settle(3, used, 0).await;
        calls.vouch(&told(3)).unwrap();
        // The fourth ends without having left, the fifth is on its way there.
        ledger.void(4, 0).await;
        calls.intend(&intent(6, "a/b")).await.unwrap();
        drop((ledger, calls));
    });
    let look = |why: &str| {
        block_on(async {
            let ledger = open(dir.path()).await;
            let unknown = ledger.calls().all_unknown(9);
            let ids: Vec<&str> = unknown.iter().map(|receipt| &*receipt.call_id).collect();
            assert_eq!(ids, [call_id(1), call_id(2), call_id(6)], "{why}");
            let targets: Vec<&str> = unknown[0].attempts.iter().map(|attempt| &*attempt.target).collect();
            assert_eq!(targets, ["a/b", "a/c"], "{why}");
            let Outcome::Unknown { found_ms, booked } = &unknown[0].outcome else { panic!("{why}") };
            assert_eq!((*found_ms, booked.len(), booked[0].amount), (9, 1, 100), "{why}: money alone is booked");
            assert_eq!(unknown[1].cost_nanousd, Some(40), "{why}: its end was kept, its receipt was not");
            assert_eq!(unknown[2].cost_nanousd, None, "{why}");
            let stands = ledger.standing(&claims(), 0).await;
            assert_eq!((stands[0].used, stands[0].held), (180, 0), "{why}: the first is booked whole");
            ledger
        })
    };
    drop(look("after a kill"));
    let ledger = look("after a kill at the start");
    assert!(block_on(ledger.close(Duration::from_secs(10), 0)), "with a checkpoint");
    drop(ledger);
    let ledger = look("from a checkpoint");
    let calls = ledger.calls();
    [1, 2, 6].into_iter().for_each(|id| calls.vouch(&told(id)).unwrap());
    assert!(calls.all_unknown(0).is_empty(), "each once");
    drop((ledger, calls));
    block_on(async { assert!(open(dir.path()).await.calls().all_unknown(0).is_empty(), "and for ever") });
}

#[test]
fn a_call_that_a_full_disk_keeps_from_leaving_waits_once_and_hears_why() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::new(Lie::None));
    block_on(async {
        let (storage, keyed) = (Arc::new(disk.clone()), Keyed::open(&dir.path().join("keyed.redb")).unwrap());
        let journal = |known| Journal::open(Arc::new(disk.clone()), Bounds::default(), known);
        let (ledger, _) = JournalLedger::open_in(storage, Arc::new(keyed), journal, 0).await.unwrap();
        ledger.hold_for(1, &claims(), 0).await.unwrap();
        disk.fill(true);
        let began = std::time::Instant::now();
        let why = ledger.calls().intend(&intent(1, "a/b")).await.unwrap_err().to_string();
        assert!(why.contains("os error 28"), "{why}");
        ledger.void(1, 0).await;
        assert!(began.elapsed() < WAIT_MAX + WAIT_MAX / 2, "{:?}: its end is not waited for as well", began.elapsed());
        assert_eq!(ledger.standing(&claims(), 0).await[0].held, 0);
    });
}

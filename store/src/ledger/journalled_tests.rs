//! A ledger that is stopped, killed and started again.

use std::sync::Mutex;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use tollgate_core::limits::rules::{Calendar, Rule, Unit, Window};

use super::super::tests::rule;
use super::*;
use crate::journal::{Disk, Lie, Storage};

const DAY_MS: i64 = 86_400_000;

/// One of each kind.
fn rules() -> [Arc<Rule>; 5] {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    [
        rule("money", Unit::Nanousd, 1_000_000, Window::Calendar { every: Calendar::Month, zone }),
        rule("tokens", Unit::Tokens, 50_000, Window::Rolling { per_ms: 60_000 }),
        rule("requests", Unit::Requests, 1_000, Window::Rolling { per_ms: 60_000 }),
        rule("for-ever", Unit::Nanousd, 10_000_000, Window::None),
        rule("flight", Unit::InFlight, 100, Window::None),
    ]
}

fn claims(rules: &[Arc<Rule>], worst: u64) -> Vec<Claim> {
    let claim = |rule: &Arc<Rule>| {
        let worst = if matches!(rule.unit, Unit::Requests | Unit::InFlight) { 1 } else { worst };
        Claim { rule: rule.clone(), scope: format!("{}|tenant=4:acme", rule.name).into(), worst }
    };
    rules.iter().map(claim).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn open(dir: &Path, now_ms: i64) -> (JournalLedger, Started) {
    JournalLedger::open(&dir.join("journal"), &dir.join("keyed.redb"), Bounds::default(), now_ms).await.unwrap()
}

async fn stands(ledger: &JournalLedger, rules: &[Arc<Rule>], now_ms: i64) -> Vec<(u64, u64)> {
    ledger.check().unwrap();
    ledger.standing(&claims(rules, 0), now_ms).await.iter().map(|s| (s.used, s.held)).collect()
}

fn used(nanousd: i64) -> Used {
    Used { nanousd, tokens: nanousd as u64 }
}

#[test]
fn balances_are_the_same_after_a_restart_and_lost_calls_are_booked_whole() {
    let dir = tempfile::tempdir().unwrap();
    let rules = rules();
    block_on(async {
        let (ledger, started) = open(dir.path(), 0).await;
        assert_eq!(started, Started { replayed: 0, unknown: 0, cut: None });
        for id in 1..=3 {
            ledger.hold(id, &claims(&rules, 100), 0).await.unwrap();
        }
        ledger.settle(1, used(40), 0).await;
        ledger.settle(1, used(40), 0).await;
        ledger.void(2, 0).await;
        let before = stands(&ledger, &rules, 0).await;
        assert_eq!(before, [(40, 100), (40, 100), (3, 0), (40, 100), (0, 1)]);
        // Dropped as by a kill: nothing is kept but the journal. The third call is lost.
        drop(ledger);
        let (ledger, started) = open(dir.path(), 0).await;
        // The first start's own record, three holds and two ends.
        assert_eq!((started.replayed, started.unknown), (6, 1));
        let after = stands(&ledger, &rules, 0).await;
        assert_eq!(after, [(140, 0), (140, 0), (3, 0), (140, 0), (0, 0)], "the lost call costs what was held");
        ledger.settle(3, used(7), 0).await;
        assert_eq!(stands(&ledger, &rules, 0).await, after, "and ends once");
        assert!(ledger.close(Duration::from_secs(10), 0).await);
        drop(ledger);
        let (ledger, started) = open(dir.path(), 0).await;
        assert_eq!((started.replayed, started.unknown), (0, 0), "an orderly end leaves nothing to do again");
        assert_eq!(stands(&ledger, &rules, 0).await, after);
    });
}

/// What a provider says of its usage may be anything.
#[test]
fn a_count_that_is_full_is_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let span = Window::Sliding { span_ms: 60_000 };
    let rules = [
        rule("month", Unit::Tokens, 100, Window::None),
        rule("hour", Unit::Tokens, 100, span),
        rule("minute", Unit::Tokens, 100, Window::Rolling { per_ms: 60_000 }),
    ];
    block_on(async {
        let (ledger, _) = open(dir.path(), 0).await;
        for id in 1..=2 {
            ledger.hold(id, &claims(&rules, 0), 0).await.unwrap();
        }
        for (id, tokens, why) in [(1, i64::MAX as u64 - 1, "nearly full"), (2, u64::MAX, "full")] {
            ledger.settle(id, Used { nanousd: 0, tokens }, 0).await;
            let expected = tokens.min(i64::MAX as u64);
            assert_eq!(stands(&ledger, &rules, 0).await, [(expected, 0); 3], "{why}");
        }
        let before = stands(&ledger, &rules, 0).await;
        assert!(ledger.close(Duration::from_secs(10), 0).await);
        drop(ledger);
        let (ledger, _) = open(dir.path(), 0).await;
        assert_eq!(stands(&ledger, &rules, 0).await, before);
    });
}

#[test]
fn what_a_full_disk_did_not_take_is_made_good_when_there_is_room() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::new(Lie::None));
    let rules = [rule("money", Unit::Nanousd, 1_000_000, Window::None)];
    let open = async || {
        let (storage, keyed) = (Arc::new(disk.clone()), Keyed::open(&dir.path().join("keyed.redb")).unwrap());
        let journal = |known| Journal::open(Arc::new(disk.clone()), Bounds::default(), known);
        Arc::new(JournalLedger::open_in(storage, Arc::new(keyed), journal, 0).await.unwrap().0)
    };
    block_on(async {
        let ledger = open().await;
        for id in 1..=3 {
            ledger.hold(id, &claims(&rules, 100), 0).await.unwrap();
        }
        let keeping = tokio::spawn(ledger.clone().keep(|| 0));
        disk.fill(true);
        ledger.settle(1, used(40), 0).await;
        let why = ledger.journal.failing().expect("the disk is full");
        assert!(why.contains("os error 28"), "{why}");
        assert!(!ledger.telling.is_due(), "no checkpoint is tried on a full disk");
        disk.fill(false);
        let began = std::time::Instant::now();
        while ledger.kept.load(Ordering::Relaxed) == 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "no checkpoint, and nobody wrote anything");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(ledger.journal.failing(), None);
        ledger.settle(2, used(5), 0).await;
        keeping.abort();
        assert!(keeping.await.unwrap_err().is_cancelled());
        drop(Arc::into_inner(ledger).unwrap());
        let ledger = open().await;
        let after = stands(&ledger, &rules, 0).await;
        assert_eq!(after, [(40 + 5 + 100, 0)], "the first ended at what it used, and the third was lost");
    });
}

#[test]
fn a_period_that_ended_meanwhile_is_over_and_an_edited_rule_keeps_its_usage() {
    let dir = tempfile::tempdir().unwrap();
    let day = rule("day", Unit::Nanousd, 1_000, Window::Calendar { every: Calendar::Day, zone: TimeZone::UTC });
    block_on(async {
        let (ledger, _) = open(dir.path(), 0).await;
        ledger.hold(1, &claims(std::slice::from_ref(&day), 600), 0).await.unwrap();
        ledger.settle(1, used(500), 0).await;
        drop(ledger);
        let (ledger, _) = open(dir.path(), 10).await;
        let larger = [rule("day", day.unit, 2_000, day.window.clone())];
        assert_eq!(stands(&ledger, &larger, 10).await, [(500, 0)]);
        ledger.hold(2, &claims(&larger, 1_500), 10).await.unwrap();
        drop(ledger);
        let (ledger, started) = open(dir.path(), DAY_MS).await;
        assert_eq!(started.unknown, 1);
        assert_eq!(stands(&ledger, &larger, DAY_MS).await, [(0, 0)], "yesterday's hold is booked yesterday");
    });
}

/// The state file knows how long the journal was: one that is shorter is another.
#[test]
fn a_journal_that_lost_its_end_or_is_gone_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let (ledger, _) = open(dir.path(), 0).await;
        ledger.hold(1, &claims(&rules(), 5), 0).await.unwrap();
        ledger.settle(1, used(5), 0).await;
        assert!(ledger.close(Duration::from_secs(10), 0).await);
        drop(ledger);
        let journal = dir.path().join("journal");
        for name in Folder::at(&journal).list().unwrap() {
            std::fs::remove_file(journal.join(name)).unwrap();
        }
        let refused = JournalLedger::open(&journal, &dir.path().join("keyed.redb"), Bounds::default(), 0).await;
        let told = refused.err().unwrap().to_string();
        assert!(told.contains("had 4 records once"), "{told}");
    });
}

/// A copy at one moment, while many hold and settle: read again, it stands as the ledger that went on.
#[test]
fn checkpoints_under_load_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rules =
        [rule("money", Unit::Nanousd, u64::MAX / 4, Window::None), rule("flight", Unit::InFlight, 64, Window::None)];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let ledger = Arc::new(open(dir.path(), 0).await.0);
        let tasks: Vec<_> = (0..4u128)
            .map(|task| {
                let (ledger, claims) = (ledger.clone(), claims(&rules, 100));
                tokio::spawn(async move {
                    for n in 0..2_000 {
                        let id = task * 1_000_000 + n;
                        ledger.hold(id, &claims, 0).await.unwrap();
                        tokio::task::yield_now().await;
                        // Each 500th call is lost.
                        match n % 500 {
                            499 => {}
                            _ if n % 7 == 0 => ledger.void(id, 0).await,
                            _ => ledger.settle(id, used(30), 0).await,
                        }
                    }
                })
            })
            .collect();
        let kept = ledger.clone();
        let keeper = tokio::task::spawn_blocking(move || (0..20).for_each(|_| kept.checkpoint(0).unwrap()));
        for task in tasks {
            task.await.unwrap();
        }
        keeper.await.unwrap();
        let lost = 4 * 4;
        let voided = 4 * (0..2_000).filter(|n| n % 500 != 499 && n % 7 == 0).count() as u64;
        let settled = 8_000 - lost - voided;
        assert_eq!(stands(&ledger, &rules, 0).await, [(settled * 30, lost * 100), (0, lost)]);
        drop(Arc::into_inner(ledger).unwrap());
        let (ledger, started) = open(dir.path(), 0).await;
        assert_eq!(started.unknown, lost);
        assert_eq!(stands(&ledger, &rules, 0).await, [(settled * 30 + lost * 100, 0), (0, 0)]);
    });
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Hold(u128, u64),
    Settle(u128, i64),
    Void(u128),
    Later(i64),
    Checkpoint,
    Restart,
}

/// Ids of calls begin with their time; low ones are those of a checkpoint's balances.
const FIRST: u128 = 1 << 100;

fn act() -> impl Strategy<Value = Act> {
    let id = || FIRST..FIRST + 40;
    prop_oneof![
        5 => (id(), 1u64..900).prop_map(|(id, worst)| Act::Hold(id, worst)),
        4 => (id(), 0i64..900).prop_map(|(id, used)| Act::Settle(id, used)),
        1 => id().prop_map(Act::Void),
        2 => (1i64..40_000).prop_map(Act::Later),
        1 => Just(Act::Checkpoint),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// A ledger that is killed again and again stands as one that lived on, in which lost calls were settled at their hold.
    #[test]
    fn a_killed_ledger_stands_as_one_that_lived(acts in proptest::collection::vec(act(), 1..120)) {
        let dir = tempfile::tempdir().unwrap();
        let rules = rules();
        // Ids are used once: a gateway makes them.
        let spent = Mutex::new(std::collections::HashSet::new());
        block_on(async {
            let lived = MemoryLedger::default();
            let (mut ledger, _) = open(dir.path(), 0).await;
            let (mut now_ms, mut restarts) = (0, 0);
            for act in acts {
                match act {
                    Act::Hold(id, worst) => {
                        if spent.lock().unwrap().insert(id) {
                            let claims = claims(&rules, worst);
                            let held = ledger.hold(id, &claims, now_ms).await;
                            assert_eq!(held.is_ok(), lived.hold(id, &claims, now_ms).await.is_ok());
                        }
                    }
                    Act::Settle(id, nanousd) => {
                        ledger.settle(id, used(nanousd), now_ms).await;
                        lived.settle(id, used(nanousd), now_ms).await;
                    }
                    Act::Void(id) => {
                        ledger.void(id, now_ms).await;
                        lived.void(id, now_ms).await;
                    }
                    Act::Later(ms) => now_ms += ms,
                    Act::Checkpoint => ledger.checkpoint(now_ms).unwrap(),
                    Act::Restart => {
                        drop(ledger);
                        ledger = open(dir.path(), now_ms).await.0;
                        restarts += 1;
                        lived.settle_unknown(now_ms);
                    }
                }
                let by_lived = lived.standing(&claims(&rules, 0), now_ms).await;
                let killed = stands(&ledger, &rules, now_ms).await;
                for ((killed, lived), rule) in killed.iter().zip(&by_lived).zip(&rules) {
                    // A checkpoint rounds up what has drained from a bucket in part.
                    let above = if matches!(rule.window, Window::Rolling { .. }) { restarts } else { 0 };
                    let fits = (lived.used..=lived.used + above).contains(&killed.0) && killed.1 == lived.held;
                    assert!(fits, "{}: {killed:?} instead of {lived:?}", rule.name);
                }
            }
        });
    }
}

//! A trail that somebody has changed, and one that a crash has left.

use std::fs;

use tollgate_core::contract::Dialect;
use tollgate_core::evidence::intent::{Intent, call_id};
use tollgate_core::evidence::receipt::{Opening, Receipt};
use tollgate_core::ports::Trail;

use super::super::{FileTrail, take_over};
use super::*;
use crate::calls::Durability;
use crate::journal::{Bounds, Folder};
use crate::ledger::JournalLedger;

const WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

struct House {
    dir: tempfile::TempDir,
}

fn receipt(n: u128) -> Box<Receipt> {
    Box::new(Receipt::open(Opening {
        call_id: call_id(n).into(),
        request_id: format!("request-{n}").into(),
        time_ms: i64::try_from(n).unwrap(),
        contract: "2026-12-01".into(),
        revision: "r".into(),
        dialect: Dialect::OpenaiChat,
    }))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

impl House {
    fn trail(&self) -> PathBuf {
        self.dir.path().join("trail")
    }

    fn files(&self) -> Vec<PathBuf> {
        names::list(&self.trail()).unwrap().iter().map(|name| self.trail().join(name)).collect()
    }

    fn verify(&self) -> Result<Verified, Unsound> {
        verify(Arc::new(Folder::at(self.dir.path().join("journal"))), &self.trail(), None)
    }

    async fn ledger(&self) -> JournalLedger {
        let (journal, keyed) = (self.dir.path().join("journal"), self.dir.path().join("keyed.redb"));
        JournalLedger::open(&journal, &keyed, Bounds::default(), 0).await.unwrap().0
    }

    /// Runs a gateway on the folder: receipts of these numbers, in files of at most `max` bytes.
    fn run(&self, numbers: &[u128], max: u64) {
        block_on(async {
            let ledger = self.ledger().await;
            let unknown = take_over(&self.trail(), &ledger.calls(), 0).unwrap();
            let unknown = unknown.into_iter().map(Box::new);
            let trail = FileTrail::open(self.trail(), max, ledger.calls(), Durability::Relaxed).unwrap();
            for receipt in unknown.chain(numbers.iter().map(|n| receipt(*n))) {
                trail.record(receipt).await;
                // One file may end and another begin between any two.
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            }
            assert!(trail.close(WITHIN).await);
            assert!(ledger.close(WITHIN, 0).await);
        });
    }
}

fn house() -> House {
    let house = House { dir: tempfile::tempdir().unwrap() };
    fs::create_dir(house.trail()).unwrap();
    fs::write(house.trail().join("trail-20260101-000000-000000.jsonl"), "{\"call_id\":\"of before\"}\n").unwrap();
    house.run(&[1, 2, 3, 4], 1_500);
    house.run(&[5, 6], 1 << 20);
    house
}

fn changed(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    change(&mut lines);
    fs::write(path, lines.concat()).unwrap();
}

#[test]
fn whatever_is_done_to_a_receipt_is_found_and_named() {
    let sound = house().verify().unwrap();
    assert_eq!((sound.receipts, sound.files_before, sound.pending.len()), (6, 0, 0), "{sound:?}");
    type Change = fn(&House);
    let rows: [(&str, Change, String); 9] = [
        (
            "a letter of the last file",
            |h| changed(&h.files()[h.files().len() - 1], |l| l[0] = l[0].replace("request-5", "request-7")),
            format!("{} was changed", call_id(5)),
        ),
        ("a whole line", |h| changed(&h.files()[1], |l| drop(l.remove(0))), format!("{} was dropped", call_id(1))),
        (
            "the last line",
            |h| changed(&h.files()[h.files().len() - 1], |l| drop(l.pop())),
            format!("{} was dropped", call_id(6)),
        ),
        (
            "two lines change places",
            |h| changed(&h.files()[h.files().len() - 1], |l| l.swap(0, 1)),
            "receipt".to_owned(),
        ),
        (
            "one more between them",
            |h| {
                changed(&h.files()[h.files().len() - 1], |l| {
                    l.insert(1, format!("{}\n", serde_json::to_string(&receipt(9)).unwrap()))
                })
            },
            format!("too many, of call {}", call_id(9)),
        ),
        (
            "one more at the end",
            |h| {
                changed(&h.files()[h.files().len() - 1], |l| {
                    l.push(format!("{}\n", serde_json::to_string(&receipt(9)).unwrap()))
                })
            },
            format!("too many, of call {}", call_id(9)),
        ),
        (
            "one twice, at the end of an older file",
            |h| changed(&h.files()[1], |l| l.push(l[0].clone())),
            format!("too many, of call {}", call_id(1)),
        ),
        ("a file", |h| fs::remove_file(&h.files()[1]).unwrap(), "is missing".to_owned()),
        (
            "a file of somebody else behind them",
            |h| {
                fs::write(
                    h.trail().join("trail-29990101-000000-000000.jsonl"),
                    format!("{}\n", serde_json::to_string(&receipt(9)).unwrap()),
                )
                .unwrap()
            },
            format!("too many, of call {}", call_id(9)),
        ),
    ];
    for (what, change, expected) in rows {
        let house = house();
        change(&house);
        let told = house.verify().expect_err(what).to_string();
        assert!(told.contains(&expected), "{what}: {told}");
    }
}

#[test]
fn what_nobody_vouches_for_or_a_crash_tore_is_no_fault() {
    let house = house();
    let files = house.files();
    changed(&files[0], |lines| lines[0] = lines[0].replace("before", "behind"));
    changed(&files[files.len() - 1], |lines| lines.push("{\"receipt\":1,\"call_".to_owned()));
    assert_eq!(house.verify().unwrap().receipts, 6);
    let name = files[2].file_name().unwrap().to_str().unwrap().to_owned();
    fs::remove_file(&files[1]).unwrap();
    let journal = Arc::new(Folder::at(house.dir.path().join("journal")));
    let found = verify(journal, &house.trail(), Some(&name)).unwrap();
    assert!(found.left_out > 0 && found.left_out + found.receipts == 6, "{found:?}");
}

/// A gateway is killed before the journal knows of its last receipts, and again when the next has written its first.
#[test]
fn a_start_takes_over_what_was_written_and_makes_what_was_not() {
    let house = house();
    let intent = |n| Intent::of(n, &receipt(n), &"a/b".into());
    block_on(async {
        let ledger = house.ledger().await;
        for n in [7, 8, 9] {
            ledger.calls().intend(&intent(n)).await.unwrap();
        }
        drop(ledger);
    });
    // Of call 7 the receipt was written, and the journal was not told; then half a line.
    let line = |receipt: &Receipt| format!("{}\n", serde_json::to_string(receipt).unwrap());
    let killed = house.trail().join("trail-29990101-000000-000000.jsonl");
    fs::write(&killed, line(&receipt(7)) + "{\"rec").unwrap();
    assert_eq!(house.verify().unwrap().pending.len(), 1, "until a start takes it over");
    block_on(async {
        let ledger = house.ledger().await;
        let unknown = take_over(&house.trail(), &ledger.calls(), 3).unwrap();
        let ids: Vec<&str> = unknown.iter().map(|receipt| &*receipt.call_id).collect();
        assert_eq!(ids, [call_id(8), call_id(9)]);
        assert!(house.verify().unwrap().pending.is_empty());
        // It is killed when it has written the first of them.
        fs::write(house.trail().join("trail-29990101-000000-000001.jsonl"), line(&unknown[0])).unwrap();
        drop(ledger);
    });
    house.run(&[10], 1 << 20);
    let found = house.verify().unwrap();
    assert_eq!((found.receipts, found.unknown), (10, 2), "{found:?}");
    let text: String = house.files().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for n in 1..=10 {
        assert_eq!(text.matches(&format!("\"call_id\":\"{}\"", call_id(n))).count(), 1, "call {n} once");
    }
}

//! Real files and real faults of disks, as far as a test can make them.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use tollgate_core::contract::Dialect;
use tollgate_core::evidence::receipt::Opening;

use super::super::disk::Open;
use super::super::{find, names, tail};
use super::*;

const LARGE: u64 = 64 << 20;
/// More than the queue and a whole batch take.
const SENT: usize = 2 * QUEUE_MAX;

fn receipt(n: usize) -> Box<Receipt> {
    Box::new(Receipt::open(Opening {
        call_id: format!("call-{n}").into(),
        request_id: format!("request-{n}").into(),
        time_ms: 0,
        contract: Cow::Borrowed("2026-12-01"),
        revision: "r".into(),
        dialect: Dialect::OpenaiChat,
    }))
}

fn open(dir: &Path, file_bytes_max: u64) -> io::Result<FileTrail> {
    FileTrail::open_with(dir, file_bytes_max, Arc::new(|| jiff::Timestamp::now().as_millisecond()))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The numbers of all receipts in the trail, in order.
fn numbers(dir: &Path) -> Vec<usize> {
    let number = |line: &String| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["call_id"].as_str().unwrap()["call-".len()..].parse().unwrap()
    };
    tail(dir, usize::MAX).unwrap().iter().map(number).collect()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn receipts_are_there_without_close_and_all_of_them_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("trail");
    let trail = open(&dir, LARGE).unwrap();
    block_on(trail.record(receipt(0)));
    until("an idle writer writes at once", || numbers(&dir) == [0]);
    block_on(async {
        for n in 1..20_000 {
            trail.record(receipt(n)).await;
        }
        assert!(trail.close(Duration::from_secs(10)).await);
        trail.record(receipt(0)).await;
    });
    assert_eq!(numbers(&dir), (0..20_000).collect::<Vec<_>>());
    assert_eq!(names::list(&dir).unwrap().len(), 1);
    assert_eq!(trail.waiting(), 0);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700, "for its owner only");
    }
}

#[test]
fn files_are_rotated_by_size_and_their_names_sort() {
    let dir = tempfile::tempdir().unwrap();
    let now_ms = Arc::new(AtomicI64::new(1_800_000_000_000));
    let clock = now_ms.clone();
    let trail = FileTrail::open_with(dir.path(), 1_500, Arc::new(move || clock.load(Ordering::Relaxed))).unwrap();
    for n in 0..12 {
        block_on(trail.record(receipt(n)));
        until("written", || numbers(dir.path()).len() == n + 1);
        // Forward at first, then back: the order of the names holds.
        now_ms.fetch_add(if n < 6 { 700 } else { -5_000 }, Ordering::Relaxed);
    }
    assert!(block_on(trail.close(Duration::from_secs(5))));
    assert_eq!(numbers(dir.path()), (0..12).collect::<Vec<_>>());
    let names = names::list(dir.path()).unwrap();
    assert!(names.len() >= 4, "{names:?}");
    for name in &names {
        assert!(fs::metadata(dir.path().join(name)).unwrap().len() <= 1_500);
    }
    assert_eq!(&names[0], "trail-20270115-080000-000000.jsonl");
}

#[test]
fn a_start_begins_a_new_file_and_leaves_no_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..3 {
        let trail = open(dir.path(), LARGE).unwrap();
        if n != 1 {
            block_on(trail.record(receipt(n)));
        }
        assert!(block_on(trail.close(Duration::from_secs(5))));
    }
    assert_eq!((numbers(dir.path()), names::list(dir.path()).unwrap().len()), (vec![0, 2], 2));
    let file = dir.path().join("no-folder");
    fs::write(&file, "").unwrap();
    assert!(open(&file, LARGE).is_err(), "told at the start");
}

#[test]
fn a_trail_that_is_dropped_writes_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path(), LARGE).unwrap();
    block_on(async {
        for n in 0..1_000 {
            trail.record(receipt(n)).await;
        }
    });
    drop(trail);
    until("all written", || numbers(dir.path()).len() == 1_000);
}

#[test]
fn while_the_disk_fails_receipts_wait_and_then_come() {
    let dir = tempfile::tempdir().unwrap();
    let (trail_dir, aside) = (dir.path().join("trail"), dir.path().join("aside"));
    let trail = Arc::new(open(&trail_dir, 400).unwrap());
    block_on(trail.record(receipt(0)));
    until("written", || numbers(&trail_dir) == [0]);
    // The next receipt needs a new file, and a file stands where the folder was.
    fs::rename(&trail_dir, &aside).unwrap();
    fs::write(&trail_dir, "").unwrap();
    let sender = {
        let trail = trail.clone();
        thread::spawn(move || {
            block_on(async {
                for n in 1..=SENT {
                    trail.record(receipt(n)).await;
                }
            })
        })
    };
    until("the queue fills", || trail.waiting() == QUEUE_MAX);
    assert!(!sender.is_finished(), "calls wait at the bound");
    fs::remove_file(&trail_dir).unwrap();
    fs::rename(&aside, &trail_dir).unwrap();
    sender.join().unwrap();
    assert!(block_on(trail.close(Duration::from_secs(10))));
    let numbers = numbers(&trail_dir);
    assert_eq!(numbers, (0..=SENT).collect::<Vec<_>>(), "each once, in order");
}

#[test]
fn closing_on_a_dead_disk_takes_no_longer_than_told() {
    let dir = tempfile::tempdir().unwrap();
    let trail_dir = dir.path().join("trail");
    let trail = open(&trail_dir, LARGE).unwrap();
    fs::remove_dir_all(&trail_dir).unwrap();
    fs::write(&trail_dir, "").unwrap();
    block_on(trail.record(receipt(0)));
    let began = Instant::now();
    assert!(!block_on(trail.close(Duration::from_millis(300))), "and says that not all was written");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_deleted_file_is_followed_by_another_with_what_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path(), LARGE).unwrap();
    for name in names::list(dir.path()).unwrap() {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    block_on(trail.record(receipt(7)));
    assert!(block_on(trail.close(Duration::from_secs(5))));
    assert_eq!(numbers(dir.path()), [7]);
}

/// `/dev/full` takes nothing and can be neither cut nor synced: the worst of all files.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_no_line_and_tears_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::begin(dir.path().to_owned(), LARGE, Arc::new(|| 0), None).unwrap();
    disk.push(Line::of(&receipt(0), false));
    disk.attempt(true).unwrap();
    let full = File::options().append(true).open("/dev/full").unwrap();
    disk.file = Some(Open { file: full, path: "/dev/full".into(), size: 10, is_torn: false });
    disk.push(Line::of(&receipt(1), false));
    assert!(disk.attempt(false).is_err(), "no space");
    disk.push(Line::of(&receipt(2), false));
    assert!(disk.attempt(false).is_err(), "and it cannot be cut back");
    disk.attempt(true).unwrap();
    assert_eq!(numbers(dir.path()), [0, 1, 2]);

    // A file that tore a line is cut back to whole lines before it goes on.
    disk.file.as_mut().unwrap().file.write_all(b"{\"call_id\":\"call-9").unwrap();
    disk.file.as_mut().unwrap().is_torn = true;
    disk.push(Line::of(&receipt(3), false));
    disk.attempt(true).unwrap();
    assert_eq!(numbers(dir.path()), [0, 1, 2, 3]);
    assert!(find(dir.path(), "call-9").unwrap().is_none());

    // A sync that fails: what was not confirmed is written to a new file.
    disk.push(Line::of(&receipt(4), false));
    disk.attempt(false).unwrap();
    disk.file.as_mut().unwrap().file = File::options().append(true).open("/dev/full").unwrap();
    assert!(disk.attempt(true).is_err());
    disk.attempt(true).unwrap();
    assert_eq!(numbers(dir.path()), [0, 1, 2, 3, 4, 4], "twice is allowed, never is not");
    assert!(disk.end());
}

//! The journal with its thread, on real files.

use std::future::Future;
use std::path::Path;

use super::super::{Folder, Reader, Retention, verify};
use super::*;

fn open(dir: &Path, bounds: Bounds) -> (Journal, Recovered) {
    Journal::open(Arc::new(Folder::make(dir).unwrap()), bounds, None).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn numbers(dir: &Path, from: u64) -> Vec<(u64, u64)> {
    let number = |payload: Vec<u8>| std::str::from_utf8(&payload).unwrap().parse().unwrap();
    let reader = Reader::from(Arc::new(Folder::at(dir)), from).unwrap();
    reader.map(|record| record.map(|r| (r.sequence, number(r.payload))).unwrap()).collect()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_is_appended_is_readable_at_once_and_confirmed_soon() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = open(dir.path(), Bounds::default());
    assert_eq!(recovered.head, Head::default());
    for n in 0..100u64 {
        assert_eq!(journal.append(n.to_string().as_bytes()).unwrap(), n);
        assert_eq!(numbers(dir.path(), n), [(n, n)], "the kernel has it");
    }
    until("synced without being asked", || journal.head().next == 100);
    block_on(journal.synced(99)).unwrap();
    assert!(block_on(journal.close(Duration::from_secs(10))));
    assert!(matches!(journal.append(b"x"), Err(Refused::Closed)));
    let (_, recovered) = open(dir.path(), Bounds::default());
    assert_eq!(recovered.head, journal.head());
    let verified = verify(Arc::new(Folder::at(dir.path())), Some(journal.head())).unwrap();
    assert_eq!((verified.records, verified.cut), (100, None));
}

#[test]
fn many_who_wait_are_confirmed_together() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), Bounds::default());
    let journal = Arc::new(journal);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tasks: Vec<_> = (0..2_000u64)
        .map(|n| {
            let journal = journal.clone();
            runtime.spawn(async move {
                let sequence = journal.write(n.to_string().as_bytes()).await.unwrap();
                journal.synced(sequence).await.unwrap();
                assert!(journal.head().next > sequence, "confirmed is confirmed");
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| runtime.block_on(task).unwrap());
    let mut all: Vec<u64> = numbers(dir.path(), 0).into_iter().map(|(_, n)| n).collect();
    all.sort_unstable();
    assert_eq!(all, (0..2_000).collect::<Vec<_>>());
}

#[test]
fn segments_follow_on_another_and_old_ones_go_when_nobody_needs_them() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { bytes_max: 4_000, ..Retention::default() };
    let (journal, _) = open(dir.path(), Bounds { segment_bytes: 1_000, retention, ..Bounds::default() });
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    block_on(async {
        for n in 0..100u64 {
            let sequence = journal.write(n.to_string().as_bytes()).await.unwrap();
            journal.synced(sequence).await.unwrap();
        }
    });
    assert!(files() > 5, "all are there while somebody may need them");
    assert_eq!(numbers(dir.path(), 0).len(), 100);
    journal.keep_from(50);
    block_on(async {
        for n in 100..120u64 {
            let sequence = journal.write(n.to_string().as_bytes()).await.unwrap();
            journal.synced(sequence).await.unwrap();
        }
    });
    let left = numbers(dir.path(), 0);
    assert!(left[0].0 > 0 && left[0].0 <= 50, "begins at {}", left[0].0);
    assert_eq!(left.last(), Some(&(119, 119)));
    assert_eq!(verify(Arc::new(Folder::at(dir.path())), None).unwrap().first, left[0].0);
    assert!(block_on(journal.close(Duration::from_secs(10))));
}

#[test]
fn starts_leave_no_empty_files_behind() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        drop(open(dir.path(), Bounds::default()));
    }
    let (journal, _) = open(dir.path(), Bounds::default());
    journal.append(b"1").unwrap();
    assert!(block_on(journal.close(Duration::from_secs(10))));
    drop(open(dir.path(), Bounds::default()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the one that is written now has the record again");
    assert_eq!(numbers(dir.path(), 0), [(0, 1)]);
}

/// The folder is gone: nothing can be written, and whoever waits for it waits, until it is there again.
#[test]
fn a_disk_that_fails_is_waited_for_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (here, aside) = (dir.path().join("journal"), dir.path().join("aside"));
    let (journal, _) = open(&here, Bounds { segment_bytes: 200, ..Bounds::default() });
    let journal = Arc::new(journal);
    journal.append(b"0").unwrap();
    until("confirmed", || journal.head().next == 1);
    std::fs::rename(&here, &aside).unwrap();
    // A file where the folder was: no segment can be begun. The old one is there, under another name, and goes on.
    std::fs::write(&here, "").unwrap();
    let writer = {
        let journal = journal.clone();
        thread::spawn(move || {
            block_on(async {
                for n in 1..200u64 {
                    journal.write(n.to_string().as_bytes()).await.unwrap();
                }
            })
        })
    };
    thread::sleep(Duration::from_millis(200));
    std::fs::remove_file(&here).unwrap();
    std::fs::rename(&aside, &here).unwrap();
    writer.join().unwrap();
    assert!(block_on(journal.close(Duration::from_secs(10))));
    assert_eq!(numbers(&here, 0), (0..200).map(|n| (n, n)).collect::<Vec<_>>());
}

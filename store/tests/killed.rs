//! A process that writes is killed again and again: what it was told is there, is there.
//!
//! The child is this same test binary, asked for one of its tests by name and told by an environment variable where to
//! write. It says on its standard output what was confirmed to it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says by itself where")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tollgate_store::journal::{Bounds, Folder, Journal, Reader, verify};
use tollgate_store::keyed::{Keyed, Table};

const DIR: &str = "TOLLGATE_TEST_KILLED_DIR";
const ROUNDS: usize = 20;
/// Two rows that every change sets to the same number.
const PAIR: Table<u64> = Table::named("pair");

/// Where a child writes; `None` = this is no child.
fn dir_of_child() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

fn child(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a child write until it has said `lines` numbers, kills it, and gives the last number that it said.
fn killed_after(test: &str, dir: &Path, lines: usize) -> u64 {
    let mut child = child(test, dir);
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = None;
    let mut seen = 0;
    // What it said before the kill was confirmed before the kill: it is read to its end.
    while let Some(Ok(line)) = said.next() {
        // The harness speaks on the same output; a line that the kill tore is no number of ours.
        if let Some((number, _)) = line.strip_prefix("told ").and_then(|told| told.split_once(" .")) {
            last = Some(number.parse().unwrap());
            seen += 1;
            if seen == lines {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    last.expect("the child said something")
}

/// In lines that are long, so that the pipe holds few of them: a child is never far ahead of who listens.
fn tell(number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "told {number} .{:4000}", "").unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "the child of the test below: it ends by being killed"]
fn child_appends() {
    let dir = dir_of_child().expect("only as a child");
    let (journal, recovered) = Journal::open(Arc::new(Folder::make(dir).unwrap()), Bounds::default(), None).unwrap();
    for n in recovered.head.next.. {
        // Of many sizes, some larger than a page.
        let payload = [&n.to_le_bytes()[..], &vec![n as u8; (n as usize * 37) % 9_000]].concat();
        assert_eq!(journal.append(&payload).unwrap(), n);
        tell(n);
    }
}

#[test]
fn a_killed_journal_has_every_record_that_was_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut least = 0;
    for round in 0..ROUNDS {
        let told = killed_after("child_appends", dir.path(), 1 + round * 13);
        let storage = Arc::new(Folder::at(dir.path()));
        let records: Vec<_> = Reader::from(storage.clone(), 0).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(records.len() as u64 > told, "{told} was told, {} are there", records.len());
        assert!(told >= least, "and nothing was forgotten between the rounds");
        least = told;
        for (n, record) in records.iter().enumerate() {
            let expected = [&(n as u64).to_le_bytes()[..], &vec![n as u8; (n * 37) % 9_000]].concat();
            assert!(record.payload == expected, "record {n}");
        }
        verify(storage, None).unwrap();
    }
}

#[test]
#[ignore = "the child of the test below: it ends by being killed"]
fn child_changes() {
    let keyed = Keyed::open(&dir_of_child().expect("only as a child").join("keyed.redb")).unwrap();
    for n in keyed.get(&PAIR, "a").unwrap().unwrap_or(0) + 1.. {
        keyed.change(|change| change.put(&PAIR, "a", &n).and_then(|()| change.put(&PAIR, "b", &n))).unwrap();
        tell(n);
    }
}

#[test]
fn a_killed_state_file_has_every_change_whole() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let told = killed_after("child_changes", dir.path(), 1 + round);
        let keyed = Keyed::open(&dir.path().join("keyed.redb")).unwrap();
        let [a, b] = ["a", "b"].map(|key| keyed.get(&PAIR, key).unwrap().unwrap());
        assert_eq!(a, b, "both or none");
        assert!(a == told || a == told + 1, "{told} was told, {a} is there: at most one change was on its way");
    }
}

//! Trails as they are found on disks: several files, torn lines, rubbish in between.

use std::fs;
use std::io::Write;

use super::*;

const FILES: [&str; 3] =
    ["trail-20261123-110000-000000.jsonl", "trail-20261123-110000-000001.jsonl", "trail-20261123-120000-000000.jsonl"];

fn line(call: &str, request: &str) -> String {
    format!("{{\"call_id\":\"{call}\",\"request_id\":\"{request}\",\"replayed_from\":{{\"call_id\":\"replayed\"}}}}")
}

fn append(dir: &Path, file: usize, text: &str) {
    let mut file = File::options().create(true).append(true).open(dir.join(FILES[file])).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn ids(lines: &[String]) -> Vec<String> {
    let id = |line: &String| serde_json::from_str::<Ids<'_>>(line).unwrap().call_id.into_owned();
    lines.iter().map(id).collect()
}

#[test]
fn the_tail_goes_back_over_files_and_past_torn_lines() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert!(tail(dir, 5).unwrap().is_empty());
    assert!(tail(&dir.join("absent"), 5).unwrap().is_empty() && find(&dir.join("absent"), "a").unwrap().is_none());
    append(dir, 0, &format!("{}\n{}\n", line("a", "1"), line("b", "2")));
    append(dir, 1, "");
    append(dir, 2, &format!("{}\nrubbish\n\0\0\0\n\n{}\n{{\"call_id\":\"torn", line("c", "3"), line("d", "4")));
    fs::write(dir.join("notes.txt"), "{}\n").unwrap();
    for (lines, wanted) in [(0, vec![]), (1, vec!["d"]), (3, vec!["b", "c", "d"]), (9, vec!["a", "b", "c", "d"])] {
        assert_eq!(ids(&tail(dir, lines).unwrap()), wanted, "{lines}");
    }
}

#[test]
fn a_line_longer_than_a_block_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let long = |n: usize| line(&"x".repeat(n), "r");
    let sizes = [10, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, 3];
    for size in sizes {
        append(dir.path(), 0, &format!("{}\n", long(size)));
    }
    assert_eq!(tail(dir.path(), 9).unwrap(), sizes.map(long));
    let mut follower = follow(dir.path(), 2).unwrap();
    assert_eq!(follower.read().unwrap(), sizes[4..].iter().map(|n| long(*n)).collect::<Vec<_>>());
    assert!(follower.read().unwrap().is_empty());
}

#[test]
fn a_call_is_found_by_either_id_the_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ours = "0197a000-0000-7000-8000-000000000001";
    append(dir, 0, &format!("{}\n{}\n", line("a", "same"), line(ours, "mine")));
    append(dir, 1, &format!("{}\n{}\n", line("b", "same"), line("c", "odd\\\\id")));
    append(dir, 2, &format!("{}\n", line("forger", ours)));
    for (id, call, why) in [
        ("a", Some("a"), "by call id"),
        ("same", Some("b"), "by the caller's id, the newest"),
        ("odd\\id", Some("c"), "as it is escaped in JSON"),
        (ours, Some(ours), "the call of this id, not one whose caller claims it"),
        ("replayed", None, "another call's id within a receipt is not its own"),
        ("nobody", None, ""),
        ("", None, "no id"),
    ] {
        let found = find(dir, id).unwrap();
        assert_eq!(found.map(|line| ids(&[line]).remove(0)).as_deref(), call, "{id}: {why}");
    }
    let theirs = "0197a000-0000-7000-8000-000000000002";
    append(dir, 2, &format!("{}\n", line("d", theirs)));
    assert!(find(dir, theirs).unwrap().is_some(), "a caller's id may look like ours");
}

#[test]
fn a_follower_misses_and_repeats_nothing_over_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut follower = Follower::new(dir, 2).unwrap();
    assert!(follower.read().unwrap().is_empty(), "nothing is there yet");
    append(dir, 0, &format!("{}\n{}\n{}\n{{\"call_id\":\"d\",", line("a", "1"), line("b", "2"), line("c", "3")));
    let mut late = Follower::new(dir, 2).unwrap();
    assert_eq!(ids(&follower.read().unwrap()), ["a", "b", "c"]);
    assert_eq!(ids(&late.read().unwrap()), ["b", "c"]);
    assert!(follower.read().unwrap().is_empty(), "half a line is none");
    append(dir, 0, "\"request_id\":\"4\"}\n");
    append(dir, 1, "");
    append(dir, 2, &format!("{}\n", line("e", "5")));
    for follower in [&mut follower, &mut late] {
        assert_eq!(ids(&follower.read().unwrap()), ["d"]);
        assert_eq!(ids(&follower.read().unwrap()), ["e"]);
        assert!(follower.read().unwrap().is_empty());
    }
    fs::remove_file(dir.join(FILES[2])).unwrap();
    assert!(follower.read().unwrap().is_empty(), "a file that was taken away is no fault");
}

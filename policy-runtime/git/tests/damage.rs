//! What happens to the mirror when disks, processes and hosts fail.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod house;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use house::House;
use tollgate_policy_git::{GitError, GitOptions, GitSource, open};

/// Every way in which a mirror can be broken from outside, each healed by one fetch, with the accepted commit kept.
#[test]
fn a_damaged_mirror_is_made_anew_and_keeps_the_accepted_commit() {
    type Break = fn(&Path);
    let rows: [(Break, &str); 6] = [
        (|m| fs::remove_dir_all(m.join("objects")).unwrap(), "all objects are gone"),
        (|m| each_pack(m, |pack| fs::write(pack, b"rubbish").unwrap()), "packs are overwritten"),
        (
            |m| each_pack(m, |pack| fs::File::options().write(true).open(pack).unwrap().set_len(40).unwrap()),
            "packs are cut",
        ),
        (|m| fs::write(m.join("HEAD"), b"rubbish").unwrap(), "no repository any more"),
        (|m| fs::write(m.join("config"), b"[core\nrubbish").unwrap(), "a broken config"),
        (|m| fs::write(m.join("refs/tollgate/candidate.lock"), b"").unwrap(), "a lock left by a kill"),
    ];
    for (damage, why) in rows {
        let house = House::new();
        let first = house.commit("first", &[("a.yaml", "1")]);
        let mut source = house.source();
        source.fetch().unwrap();
        source.accept(&first).unwrap();
        let mirror = source.mirror_dir.clone();
        drop(source);
        damage(&mirror);
        let second = house.commit("second", &[("a.yaml", "2")]);
        let mut source = house.source();
        assert_eq!(source.fetch().expect(why).id, second, "{why}");
        assert_eq!(source.active().unwrap().unwrap().id, first, "{why}");
        assert_eq!(left_beside(&mirror), 0, "{why}");
    }
}

#[test]
fn damage_does_not_open_the_door_to_a_rewind() {
    let house = House::new();
    let first = house.commit("first", &[("a.yaml", "1")]);
    let second = house.commit("second", &[("a.yaml", "2")]);
    let mut source = house.source();
    source.fetch().unwrap();
    source.accept(&second).unwrap();
    fs::write(source.mirror_dir.join("refs/tollgate/active"), "").unwrap();
    assert!(matches!(source.active(), Err(GitError::Damaged { .. })), "a ref that a power cut left empty");
    source.accept(&second).unwrap();
    fs::remove_dir_all(source.mirror_dir.join("objects")).unwrap();
    house.in_origin(&["reset", "--quiet", "--hard", &first]);
    assert!(matches!(source.fetch(), Err(GitError::Rewind { .. })));
    assert!(matches!(source.active(), Err(GitError::Damaged { .. })), "the accepted commit is lost, and that is said");
    source.allow_rewind = true;
    assert_eq!(source.fetch().unwrap().id, first);
    assert_eq!(left_beside(&source.mirror_dir), 0);
}

#[test]
fn a_host_that_is_away_costs_the_mirror_nothing() {
    let house = House::new();
    let first = house.commit("first", &[("a.yaml", "1")]);
    let mut source = house.source();
    source.fetch().unwrap();
    source.accept(&first).unwrap();
    fs::rename(house.origin_text(), house.path("gone")).unwrap();
    assert!(source.head().is_err() && source.fetch().is_err());
    assert_eq!(source.active().unwrap().unwrap().id, first);
    // The remote itself broke: its refs are there, its objects are not. A new mirror could not help.
    fs::rename(house.path("gone"), house.origin_text()).unwrap();
    house.commit("second", &[("a.yaml", "2")]);
    fs::rename(format!("{}/.git/objects", house.origin_text()), house.path("objects")).unwrap();
    fs::create_dir(format!("{}/.git/objects", house.origin_text())).unwrap();
    let told = source.fetch().unwrap_err();
    assert!(matches!(told, GitError::Unreachable { .. }), "{told}");
    assert_eq!(source.active().unwrap().unwrap().id, first);
    fs::remove_dir(format!("{}/.git/objects", house.origin_text())).unwrap();
    fs::rename(house.path("objects"), format!("{}/.git/objects", house.origin_text())).unwrap();
    assert_eq!(source.fetch().unwrap().summary, "second");
}

#[test]
fn without_git_or_with_one_that_hangs_the_error_says_so() {
    let house = House::new();
    house.commit("first", &[("a.yaml", "1")]);
    let mut source = house.source();
    source.program = "git-that-nobody-installed".into();
    assert!(source.head().is_ok(), "local refs need no program");
    let told = source.fetch().unwrap_err().to_string();
    assert!(told.contains("install git"), "{told}");
    house.script(&house.path("slow"), "#!/bin/sh\nsleep 60\n");
    source.program = house.path("slow").into();
    source.fetch_timeout = Duration::from_millis(100);
    let began = Instant::now();
    assert_eq!(source.fetch().unwrap_err(), GitError::Timeout { what: "fetch", limit_ms: 100 });
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_mirror_stays_small_however_many_commits_come() {
    let house = House::new();
    house.commit("first", &[("a.yaml", "0")]);
    let mut source = house.source();
    let mut most = 0;
    for n in 1..=60 {
        let id = house.commit("next", &[("a.yaml", &n.to_string())]);
        assert_eq!(source.fetch().unwrap().id, id);
        source.accept(&id).unwrap();
        most = most.max(packs(&source.mirror_dir).len());
    }
    assert!(packs(&source.mirror_dir).len() < 20 && most <= 51, "{most}");
    assert_eq!(source.active().unwrap().unwrap().tree.read("a.yaml"), Some(&b"60"[..]));
}

#[test]
fn a_folder_that_is_not_ours_is_never_touched() {
    let house = House::new();
    house.commit("first", &[("a.yaml", "1")]);
    fs::create_dir(house.path("precious")).unwrap();
    fs::write(house.path("precious/thesis.txt"), "years of work").unwrap();
    let options = GitOptions { mirror_dir: house.path("precious").into(), ..house.options() };
    assert!(matches!(GitSource::open(options), Err(GitError::Mirror { .. })));
    assert!(Path::new(&house.path("precious/thesis.txt")).exists());
}

#[test]
fn a_mirror_of_another_source_is_made_anew() {
    let (house, other) = (House::new(), House::new());
    house.commit("first", &[("a.yaml", "1")]);
    let elsewhere = other.commit("elsewhere", &[("b.yaml", "1")]);
    let mut source = house.source();
    let first = source.fetch().unwrap().id;
    source.accept(&first).unwrap();
    drop(source);
    let options = GitOptions { url: other.origin_text().to_owned(), ..house.options() };
    let mut source = open(options).unwrap();
    assert!(source.active().unwrap().is_none(), "what was accepted from the old source says nothing of the new");
    assert_eq!(source.fetch().unwrap().id, elsewhere);
}

fn packs(mirror: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(mirror.join("objects/pack")).unwrap().map(|e| e.unwrap().path());
    files.filter(|p| p.extension().is_some_and(|e| e == "pack")).collect()
}

fn each_pack(mirror: &Path, act: impl Fn(&Path)) {
    use std::os::unix::fs::PermissionsExt;
    let found = packs(mirror);
    assert!(!found.is_empty());
    for pack in found {
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
        act(&pack);
    }
}

/// Folders `mirror.git.new` and `mirror.git.old` that were left.
fn left_beside(mirror: &Path) -> usize {
    ["new", "old"].iter().filter(|e| mirror.with_extension(format!("git.{e}")).exists()).count()
}

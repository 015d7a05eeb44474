//! Signatures of commits and tags, made by git and ssh-keygen as people make them, and everything that is none.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod house;

use std::process::Command;
use std::sync::Arc;

use house::{House, person};
use tollgate_policy_git::{Commit, Folder, Follow, GitError, GitSource, Rules, Signers, Verification, What, open};

fn rules(what: What, allowed: &str) -> Rules {
    Rules {
        what,
        signers: Signers::parse(allowed, "").unwrap(),
        approvals: 1,
        since: None,
        max_age_ms: None,
        folders: Vec::new(),
    }
}

fn source(house: &House, rules: Rules) -> GitSource {
    open(tollgate_policy_git::GitOptions { verify: Verification::On(Arc::new(rules)), ..house.options() }).unwrap()
}

fn taken(source: &mut GitSource) -> Result<Commit, String> {
    source.head().and_then(|_| source.fetch()).map_err(|error| error.to_string())
}

fn accepted(source: &mut GitSource) {
    let commit = taken(source).unwrap();
    source.accept(&commit.id).unwrap();
}

fn refused(source: &mut GitSource, code: &str, why: &str) {
    let told = taken(source).map(|c| c.id).expect_err(why);
    assert!(told.contains(code), "{why}: {told}");
}

#[test]
fn the_newest_commit_is_signed_by_somebody_who_is_trusted() {
    let house = House::new();
    let (ann, eve) = (person(&house, "ann"), person(&house, "eve"));
    let mut source = source(&house, rules(What::Commit, &ann.line()));
    house.commit("unsigned", &[("a", "1")]);
    refused(&mut source, "TG0801", "unsigned");
    assert!(matches!(source.fetch(), Err(GitError::Unverified { .. })), "it is remembered");
    eve.commit(&[("a", "2")]);
    refused(&mut source, "TG0803", "a stranger's key");
    let good = ann.commit(&[("a", "3")]);
    let commit = taken(&mut source).unwrap();
    assert_eq!((&*commit.id, &*commit.tree.signers), (&*good, &["ann".to_owned()][..]));
    source.accept(&commit.id).unwrap();
    house.commit("unsigned", &[("a", "4")]);
    refused(&mut source, "TG0801", "unsigned again");
}

#[test]
fn a_signature_of_other_bytes_or_for_another_purpose_is_none() {
    let house = House::new();
    let (ann, eve) = (person(&house, "ann"), person(&house, "eve"));
    let good = ann.commit(&[("a", "1")]);
    let object = house.in_origin(&["cat-file", "commit", &good]);
    let swap = |from: &str, to: &str| {
        assert!(object.contains(from), "{object}");
        let id = house.hash("commit", format!("{}\n", object.replacen(from, to, 1)).as_bytes());
        house.in_origin(&["update-ref", "refs/heads/main", &id]);
    };
    let begin = object.find("gpgsig ").unwrap();
    let end = object.find(" -----END SSH SIGNATURE-----").unwrap() + " -----END SSH SIGNATURE-----\n".len();
    let mut source = source(&house, rules(What::Commit, &ann.line()));
    swap("signed", "forged");
    refused(&mut source, "TG0802", "another message");
    swap(&object[begin..end], "");
    refused(&mut source, "TG0801", "the signature was taken out");
    swap("-----BEGIN SSH SIGNATURE-----", "-----BEGIN PGP SIGNATURE-----");
    refused(&mut source, "TG0802", "OpenPGP");
    // Eve signs Ann's name: the header says who she is.
    let payload = object.replacen(&object[begin..end], "", 1);
    std::fs::write(house.path("payload"), format!("{payload}\n")).unwrap();
    for (key, namespace, code, why) in [
        (&eve.key, "git", "TG0803", "another's key"),
        (&ann.key, "file", "TG0802", "a signature of a file"),
        (&ann.key, "git", "", "the same bytes signed again are as good as ever"),
    ] {
        let _ = std::fs::remove_file(house.path("payload.sig"));
        let args = ["-Y", "sign", "-n", namespace, "-f", key, &house.path("payload")];
        assert!(Command::new("ssh-keygen").args(args).output().unwrap().status.success());
        let armoured = std::fs::read_to_string(house.path("payload.sig")).unwrap();
        let indented = format!("gpgsig {}\n", armoured.trim().replace('\n', "\n "));
        swap(&object[begin..end], &indented);
        match code {
            "" => assert!(taken(&mut source).is_ok(), "{why}"),
            code => refused(&mut source, code, why),
        }
    }
}

#[test]
fn keys_expire_and_are_revoked() {
    let house = House::new();
    let ann = person(&house, "ann");
    let commit = ann.commit(&[("a", "1")]);
    for (options, revoked, code, why) in [
        ("", "", "", "as it is"),
        ("valid-before=\"20200101\" ", "", "TG0804", "expired"),
        ("valid-after=\"20990101\" ", "", "TG0804", "not yet"),
        ("namespaces=\"file\" ", "", "TG0804", "for another purpose"),
        ("", ann.public.as_str(), "TG0804", "revoked"),
    ] {
        let signers = Signers::parse(&format!("ann {options}{}", ann.public), revoked).unwrap();
        let mut source = source(&house, Rules { signers, ..rules(What::Commit, &ann.line()) });
        match code {
            "" => assert_eq!(taken(&mut source).unwrap().id, commit, "{why}"),
            code => refused(&mut source, code, why),
        }
    }
    // Made while the key counted, and brought to a running gateway when it does no more: the time may be a lie.
    let signers = Signers::parse(&format!("ann valid-before=\"20380101\" {}", ann.public), "").unwrap();
    let mut source = source(&house, Rules { signers, ..rules(What::Commit, &ann.line()) });
    accepted(&mut source);
    ann.commit(&[("a", "2")]);
    // In 2096.
    source.clock = || 4_000_000_000_000;
    refused(&mut source, "TG0804", "expired since");
}

#[test]
fn a_range_has_no_unsigned_commit_in_it() {
    let house = House::new();
    let ann = person(&house, "ann");
    let first = ann.commit(&[("a", "1")]);
    let mut source = source(&house, rules(What::Range, &ann.line()));
    accepted(&mut source);
    let hidden = house.commit("hidden", &[("a", "2")]);
    ann.commit(&[("a", "3")]);
    refused(&mut source, "TG0801", "below a signed one");
    assert!(taken(&mut source).unwrap_err().contains(&hidden), "the commit is named");
    house.in_origin(&["reset", "--quiet", "--hard", &first]);
    house.commit("nothing changed", &[]);
    let good = ann.commit(&[("a", "4")]);
    assert_eq!(taken(&mut source).unwrap().id, good, "what changes nothing needs no signature");

    // A merge vouches for what it brings.
    house.in_origin(&["checkout", "--quiet", "-b", "side", &first]);
    house.commit("side", &[("b", "1")]);
    house.in_origin(&["checkout", "--quiet", "main"]);
    let settings = ann.settings();
    let settings = settings.each_ref().map(String::as_str);
    house.in_origin(&[&settings[..], &["merge", "--quiet", "--no-ff", "--no-edit", "side"]].concat());
    let merge = house.in_origin(&["rev-parse", "HEAD"]);
    assert_eq!(taken(&mut source).unwrap().id, merge);
}

#[test]
fn a_new_gateway_walks_the_whole_range_or_back_to_since() {
    let house = House::new();
    let ann = person(&house, "ann");
    let old = house.commit("before signatures", &[("a", "1")]);
    let good = ann.commit(&[("a", "2")]);
    let mut fresh = source(&house, rules(What::Range, &ann.line()));
    refused(&mut fresh, "TG0801", "the first commit is unsigned");
    let since = |id: &str| Rules { since: Some(id.to_owned()), ..rules(What::Range, &ann.line()) };
    assert_eq!(taken(&mut source(&house, since(&old))).unwrap().id, good);
    let mut elsewhere = source(&house, since(&"ab".repeat(20)));
    refused(&mut elsewhere, "TG080", "a history that never held `since`");
    house.in_origin(&["reset", "--quiet", "--hard", &old]);
    refused(&mut source(&house, since(&good)), "TG08", "an older history is served to a gateway without state");
}

#[test]
fn a_rollback_and_a_frozen_history_are_refused() {
    let house = House::new();
    let ann = person(&house, "ann");
    let first = ann.commit(&[("a", "1")]);
    ann.commit(&[("a", "2")]);
    let mut source_ = source(&house, rules(What::Commit, &ann.line()));
    accepted(&mut source_);
    let hour = 3_600_000;
    let mut frozen = source(&house, Rules { max_age_ms: Some(hour), ..rules(What::Commit, &ann.line()) });
    assert!(taken(&mut frozen).is_ok());
    let mut late = source(&house, Rules { max_age_ms: Some(hour), ..rules(What::Commit, &ann.line()) });
    late.clock = || 4_000_000_000_000;
    refused(&mut late, "TG0807", "nothing new for years");
    let mut early = source(&house, rules(What::Commit, &ann.line()));
    early.clock = || 1_000_000_000_000;
    refused(&mut early, "TG0809", "from the future");

    house.in_origin(&["reset", "--quiet", "--hard", &first]);
    assert!(taken(&mut source_).unwrap_err().contains("rewound"), "though every commit is signed");
}

/// Something refused that came and went says nothing of the age of what is followed, in either direction.
#[test]
fn the_age_is_that_of_what_is_followed() {
    let house = House::new();
    let ann = person(&house, "ann");
    let good = ann.commit(&[("a", "1")]);
    let hour = 3_600_000;
    let mut source = source(&house, Rules { max_age_ms: Some(hour), ..rules(What::Commit, &ann.line()) });
    accepted(&mut source);
    let settings = ["-c", "user.name=x", "-c", "user.email=x@x"];
    let old = |house: &House| {
        let out = Command::new("git")
            .args([&["-C", house.origin_text()], &settings[..], &["commit", "--allow-empty", "-qm", "old"]].concat())
            .env("GIT_COMMITTER_DATE", "@1000000000 +0000")
            .status();
        assert!(out.unwrap().success());
    };
    old(&house);
    assert!(taken(&mut source).is_err(), "unsigned");
    house.in_origin(&["reset", "--quiet", "--hard", &good]);
    assert_eq!(source.head().unwrap(), good);
    assert_eq!(source.check_age(), Ok(()), "what is followed is new");
    source.clock = || 4_000_000_000_000;
    assert!(matches!(source.check_age(), Err(GitError::Unverified { .. })), "and grows old");
    source.follow = Follow::Commit(good);
    assert_eq!(source.check_age(), Ok(()), "a commit that the settings name is meant");
}

#[test]
fn a_tag_is_signed_under_its_own_name() {
    let house = House::new();
    let (ann, eve) = (person(&house, "ann"), person(&house, "eve"));
    let first = house.commit("unsigned, but tagged", &[("a", "1")]);
    let tagged = || {
        let options = tollgate_policy_git::GitOptions {
            follow: Follow::Tag("live".to_owned()),
            verify: Verification::On(Arc::new(rules(What::Tag, &ann.line()))),
            ..house.options()
        };
        open(options).unwrap()
    };
    let told = taken(&mut tagged()).unwrap_err();
    assert!(told.contains("has no tag `live`"), "{told}");
    house.in_origin(&["tag", "live", &first]);
    refused(&mut tagged(), "TG0801", "a plain name");
    ann.tag("live", &first);
    assert_eq!(taken(&mut tagged()).unwrap().tree.signers, ["ann"]);
    eve.tag("live", &first);
    refused(&mut tagged(), "TG0803", "a stranger's");
    let second = house.commit("next", &[("a", "2")]);
    ann.tag("trial", &second);
    house.in_origin(&["tag", "-f", "live", &second]);
    refused(&mut tagged(), "TG0801", "another tag of hers on the same commit is no `live`");
    let object = house.in_origin(&["rev-parse", "refs/tags/trial"]);
    house.in_origin(&["update-ref", "refs/tags/live", &object]);
    refused(&mut tagged(), "TG0802", "her tag under another name");
    let branch = tollgate_policy_git::GitOptions {
        verify: Verification::On(Arc::new(rules(What::Tag, &ann.line()))),
        ..house.options()
    };
    assert!(open(branch).unwrap_err().to_string().contains("set `tag`"));
}

#[test]
fn approvals_are_of_different_people() {
    let house = House::new();
    let (ann, bob, eve) = (person(&house, "ann"), person(&house, "bob"), person(&house, "eve"));
    let two = Rules { approvals: 2, ..rules(What::Commit, &(ann.line() + &bob.line())) };
    let mut source_ = source(&house, two.clone());
    let commit = ann.commit(&[("a", "1")]);
    refused(&mut source_, "TG0805", "one of two");
    ann.tag("mine", &commit);
    eve.tag("hers", &commit);
    refused(&mut source_, "TG0805", "the same person twice, and a stranger");
    bob.tag("approved/1", &commit);
    assert_eq!(taken(&mut source_).unwrap().tree.signers, ["ann", "bob"]);
    source_.accept(&commit).unwrap();
    let next = ann.commit(&[("a", "2")]);
    refused(&mut source_, "TG0805", "bob approved the one before");
    bob.tag("approved/1", &next);
    assert_eq!(taken(&mut source_).unwrap().id, next);
    source_.accept(&next).unwrap();
    // A gateway that starts again on the same commit, after a key has run out: nothing new came by it.
    let lines = format!("ann {}\nbob valid-before=\"20380101\" {}\n", ann.public, bob.public);
    let mut later = source(&house, Rules { signers: Signers::parse(&lines, "").unwrap(), ..two.clone() });
    later.clock = || 4_000_000_000_000;
    assert_eq!(taken(&mut later).unwrap().id, next, "it goes on with what was approved in time");
    let three = Rules { approvals: 3, ..two };
    assert!(three.check().is_err_and(|why| why.contains("3 of 2")));
}

#[test]
fn a_folder_has_its_own_signers() {
    let house = House::new();
    let (ann, bob) = (person(&house, "ann"), person(&house, "bob"));
    let folder = |path: &str| Folder { path: path.to_owned(), signers: ["bob".to_owned()].into() };
    let split = || Rules { folders: vec![folder("orgs/acme")], ..rules(What::Range, &(ann.line() + &bob.line())) };
    let mut source_ = source(&house, split());
    ann.commit(&[("a", "1"), ("orgs/acme/a", "1")]);
    assert!(taken(&mut source_).is_ok(), "ann may change everything");
    let own = bob.commit(&[("orgs/acme/a", "2")]);
    assert_eq!(taken(&mut source_).unwrap().id, own);
    for (path, why) in [("a", "above"), ("orgs/acme2/a", "beside"), ("orgs/acme", "in its place")] {
        house.in_origin(&["reset", "--quiet", "--hard", &own]);
        if path == "orgs/acme" {
            house.in_origin(&["rm", "-rq", "orgs/acme"]);
        }
        bob.commit(&[(path, "3"), ("orgs/b", "x")]);
        refused(&mut source_, "TG0806", why);
    }
    for (rules, told) in [
        (Rules { what: What::Commit, ..split() }, "set `what: range`"),
        (
            Rules { folders: vec![Folder { path: "x".to_owned(), signers: ["zoe".to_owned()].into() }], ..split() },
            "`zoe`",
        ),
        (Rules { folders: vec![Folder { path: "x".to_owned(), signers: [].into() }], ..split() }, "no signers"),
        (Rules { since: Some("main".to_owned()), ..split() }, "all 40 digits"),
        (Rules { approvals: 0, ..split() }, "approvals"),
    ] {
        assert!(rules.check().is_err_and(|why| why.contains(told)), "{told}");
    }
}

#[test]
fn what_an_operator_names_is_verified_too() {
    let house = House::new();
    let ann = person(&house, "ann");
    let unsigned = house.commit("unsigned", &[("a", "1")]);
    let signed = ann.commit(&[("a", "2")]);
    let mut source = source(&house, rules(What::Commit, &ann.line()));
    assert!(source.revision(&signed).is_ok());
    assert!(matches!(source.revision(&unsigned), Err(GitError::Unverified { .. })));
    house.in_origin(&["branch", "trial", &unsigned]);
    assert!(matches!(source.revision("trial"), Err(GitError::Unverified { .. })));
    let kept = source.revision(&signed).unwrap().tree;
    assert!(source.vouch(&kept).is_ok());
    let mut other = kept.clone();
    other.files.insert("b".to_owned(), b"smuggled"[..].into());
    assert!(source.vouch(&other).is_err(), "files that the commit does not have");
}

#[test]
fn a_bundle_is_a_repository_in_one_file() {
    let house = House::new();
    let (ann, bob) = (person(&house, "ann"), person(&house, "bob"));
    let first = ann.commit(&[("a", "1")]);
    bob.tag("ok", &first);
    let two = || Rules { approvals: 2, ..rules(What::Range, &(ann.line() + &bob.line())) };
    let file = house.path("policies.bundle");
    source(&house, two()).bundle(file.as_ref()).unwrap();
    let from_file = || {
        open(tollgate_policy_git::GitOptions {
            url: file.clone(),
            mirror_dir: house.path("offline.git").into(),
            verify: Verification::On(Arc::new(two())),
            ..house.options()
        })
        .unwrap()
    };
    let mut offline = from_file();
    let commit = taken(&mut offline).unwrap();
    assert_eq!((&*commit.id, commit.tree.signers.len()), (&*first, 2));
    offline.accept(&commit.id).unwrap();
    let second = ann.commit(&[("a", "2")]);
    bob.tag("ok2", &second);
    source(&house, two()).bundle(file.as_ref()).unwrap();
    assert_eq!(taken(&mut offline).unwrap().id, second, "a newer bundle in its place");
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(
        from_file().fetch().is_err() || taken(&mut from_file()).unwrap().id == second,
        "a broken file brings nothing new"
    );
}

#[test]
fn one_commit_is_pinned_by_its_id() {
    let house = House::new();
    let first = house.commit("first", &[("a", "1")]);
    house.commit("second", &[("a", "2")]);
    let pinned =
        |id: &str| open(tollgate_policy_git::GitOptions { follow: Follow::Commit(id.to_owned()), ..house.options() });
    let mut source = pinned(&first).unwrap();
    assert_eq!((source.head().unwrap(), source.fetch().unwrap().id), (first.clone(), first.clone()));
    assert!(pinned(&first[..12]).unwrap_err().to_string().contains("all 40 digits"));
    let told = taken(&mut pinned(&"ab".repeat(20)).unwrap()).unwrap_err();
    assert!(told.contains("on any branch or tag"), "{told}");
}

//! Real repositories, made by the program `git`, followed over time.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod house;

use house::{House, raw_tree};
use tollgate_policy_git::{Follow, GitError, GitOptions, GitSource, open};

#[test]
fn a_branch_is_followed_from_a_bare_repository_a_checkout_and_a_file_url() {
    let house = House::new();
    let first = house.commit("first", &[("tollgate-policies.yaml", "api: x"), ("policies/a/rules.yaml", "rules: []")]);
    let bare = house.path("bare.git");
    house.git(&["clone", "--quiet", "--bare", house.origin_text(), &bare]);
    for (url, why) in [
        (house.origin_text().to_owned(), "a checkout"),
        (format!("{}/.git", house.origin_text()), "its `.git`"),
        (bare.clone(), "a bare repository"),
        (format!("file://{bare}"), "a file URL"),
    ] {
        let mut source = house.source_of(&url, &house.path(&format!("mirror-{}", why.len())));
        assert_eq!(source.head().unwrap(), first, "{why}");
        let commit = source.fetch().unwrap();
        assert_eq!((&*commit.id, &*commit.summary, commit.parents.len()), (&*first, "first", 0), "{why}");
        assert_eq!(commit.author, "Ada <ada@example.org>");
        assert_eq!(commit.time_ms, 1_700_000_000_000);
        assert_eq!(&*commit.tree.id.0, first);
        assert_eq!(
            commit.tree.files.keys().collect::<Vec<_>>(),
            ["policies/a/rules.yaml", "tollgate-policies.yaml"],
            "{why}: hidden files and backups are left out"
        );
        assert_eq!(commit.tree.read("tollgate-policies.yaml"), Some(&b"api: x"[..]));
    }
}

#[test]
fn a_new_commit_is_seen_and_a_restart_begins_with_the_accepted_one() {
    let house = House::new();
    let first = house.commit("first", &[("a.yaml", "1")]);
    let mut source = house.source();
    assert!(source.active().unwrap().is_none(), "nothing was accepted yet");
    assert_eq!(source.fetch().unwrap().id, first);
    source.accept(&first).unwrap();
    let second = house.commit("second", &[("a.yaml", "2")]);
    assert_eq!(source.head().unwrap(), second);
    let commit = source.fetch().unwrap();
    assert_eq!((commit.id, commit.parents), (second, vec![first.clone()]));
    drop(source);

    // The host goes away; the accepted commit, not the newer one, is what a restart finds.
    std::fs::rename(house.origin_text(), house.path("gone")).unwrap();
    let mut again = house.source();
    assert_eq!(again.active().unwrap().unwrap().id, first);
    assert_eq!(again.active().unwrap().unwrap().tree.read("a.yaml"), Some(&b"1"[..]));
    let told = again.fetch().unwrap_err();
    assert!(matches!(told, GitError::Unreachable { .. }) && told.is_passing(), "{told}");
    assert!(told.to_string().contains("there is no such folder"), "{told}");

    std::fs::rename(house.path("gone"), house.origin_text()).unwrap();
    assert_eq!(again.fetch().unwrap().summary, "second");
    assert!(matches!(again.accept("0123"), Err(GitError::UnknownCommit { .. })));
    assert!(matches!(again.accept(&"ab".repeat(20)), Err(GitError::UnknownCommit { .. })));
}

#[test]
fn a_missing_branch_and_an_empty_repository_say_what_to_do() {
    let house = House::new();
    let told = house.source().head().unwrap_err().to_string();
    assert!(told.contains("has no commit yet: push one to `main`"), "{told}");
    assert_eq!(house.source().fetch().unwrap_err().to_string(), told);

    house.commit("first", &[("a.yaml", "1")]);
    house.in_origin(&["branch", "stable"]);
    let mut options = house.options();
    options.follow = Follow::Branch("mian".to_owned());
    let mut source = open(options).unwrap();
    for told in [source.head().unwrap_err(), source.fetch().unwrap_err()] {
        assert!(told.to_string().ends_with("has no branch `mian`: it has `main`, `stable`"), "{told}");
    }
    let told = house.source_of(&house.path("plain"), &house.path("m2")).head().unwrap_err().to_string();
    assert!(told.contains("there is no such folder"), "{told}");
}

#[test]
fn a_rewind_is_refused_until_it_is_allowed() {
    let house = House::new();
    let first = house.commit("first", &[("a.yaml", "1")]);
    let second = house.commit("second", &[("a.yaml", "2")]);
    let mut source = house.source();
    source.fetch().unwrap();
    source.accept(&second).unwrap();

    house.in_origin(&["reset", "--quiet", "--hard", &first]);
    let refused = GitError::Rewind { active: second.clone(), candidate: first.clone() };
    assert_eq!(source.fetch().unwrap_err(), refused, "the branch went back");
    let forked = house.commit("forked", &[("a.yaml", "3")]);
    let refused = GitError::Rewind { active: second.clone(), candidate: forked.clone() };
    assert_eq!(source.fetch().unwrap_err(), refused, "the branch was pushed over");
    assert_eq!(source.active().unwrap().unwrap().id, second, "the active commit is kept");

    source.allow_rewind = true;
    assert_eq!(source.fetch().unwrap().id, forked);
    source.accept(&forked).unwrap();
    source.allow_rewind = false;
    assert_eq!(source.fetch().unwrap().id, forked);
}

#[test]
fn what_no_revision_can_hold_is_refused_by_path() {
    let blob = |house: &House, bytes: &[u8]| house.hash("blob", bytes);
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    type Make = fn(&House, String) -> Vec<u8>;
    let plain: Make = |_, id| raw_tree(&[("100644", "x", &id)]);
    let dots: Make = |house, id| {
        let inner = house.hash("tree", &raw_tree(&[("100644", "x", &id)]));
        raw_tree(&[("40000", "..", &inner)])
    };
    let bomb: Make = |house, id| {
        let mut tree = raw_tree(&[("100644", "x", &id)]);
        for _ in 0..8 {
            let inner = house.hash("tree", &tree);
            let names: Vec<String> = (0..9).map(|n| n.to_string()).collect();
            tree = raw_tree(&names.iter().map(|n| ("40000", &**n, &*inner)).collect::<Vec<_>>());
        }
        tree
    };
    let deep: Make = |house, id| {
        let tree = raw_tree(&[("100644", "x", &id)]);
        (0..40).fold(tree, |tree, _| raw_tree(&[("40000", "d", &house.hash("tree", &tree))]))
    };
    let rows: [(&[u8], Make, &str, &str); 10] = [
        (b"/etc/passwd", |_, id| raw_tree(&[("120000", "link.yaml", &id)]), "link.yaml", "symbolic link"),
        (b"", |_, _| raw_tree(&[("160000", "sub", &"12".repeat(20))]), "sub", "submodule"),
        (lfs, plain, "x", "git-LFS"),
        (&[b'x'; (1 << 20) + 1], plain, "x", "1048577 bytes"),
        (b"", |_, id| raw_tree(&[("100644", "a\\b", &id)]), "a\\b", "lead out"),
        (b"", |_, id| raw_tree(&[("100644", ".GIT", &id)]), ".GIT", "lead out"),
        (b"", |_, id| raw_tree(&[("100755", "a\nb", &id)]), "ab", "lead out"),
        (b"", dots, "..", "lead out"),
        (b"", bomb, "", "10000 files"),
        (b"", deep, "d/d", "32 deep"),
    ];
    for (bytes, make, path, why) in rows {
        let house = House::new();
        let tree = make(&house, blob(&house, bytes));
        let commit = house.commit_tree(&house.hash("tree", &tree));
        let mut source = house.source();
        let refused = source.fetch().expect_err(why);
        let GitError::Refused { commit: of, path: at, why: told } = &refused else { panic!("{why}: {refused}") };
        assert!(*of == commit && at.contains(path) && told.contains(why), "{why}: {refused}");
        assert!(!refused.is_passing());
        // Known by now: it is told again without a fetch, until the branch moves.
        source.head().unwrap();
        source.program = "/absent/git".into();
        assert_eq!(source.fetch().unwrap_err(), refused);
        source.program = "git".into();
        let good = house.commit("mended", &[("a.yaml", "1")]);
        assert_eq!(source.head().unwrap(), good);
        assert_eq!(source.fetch().unwrap().id, good);
    }
}

#[test]
fn a_subfolder_is_the_root_and_the_rest_does_not_matter() {
    let house = House::new();
    std::os::unix::fs::symlink("/etc/passwd", format!("{}/link", house.origin_text())).unwrap();
    let commit = house.commit("mono", &[("deploy/policies/a.yaml", "1"), ("src/main.c", "2")]);
    let mut options = GitOptions { subfolder: Some("deploy/policies".to_owned()), ..house.options() };
    let read = open(options.clone()).unwrap().fetch().unwrap();
    assert_eq!(read.tree.files.keys().collect::<Vec<_>>(), ["a.yaml"]);
    options.subfolder = Some("deploy/policy".to_owned());
    let told = open(options).unwrap().fetch().unwrap_err();
    assert_eq!(told, GitError::NoSubfolder { commit, subfolder: "deploy/policy".to_owned() });
}

#[test]
fn hostile_names_never_reach_git() {
    let house = House::new();
    for (url, branch) in [
        ("--upload-pack=touch /tmp/x", "main"),
        ("ext::sh -c id", "main"),
        ("ssh://-oProxyCommand=id/x", "main"),
        ("http://example.org/x", "main"),
        (house.origin_text(), "--upload-pack=id"),
        (house.origin_text(), "a:refs/heads/b"),
    ] {
        let (url, branch) = (url.to_owned(), branch.to_owned());
        let refused =
            GitSource::open(GitOptions { url, follow: Follow::Branch(branch), ..house.options() }).unwrap_err();
        assert!(matches!(refused, GitError::Address { .. } | GitError::Branch { .. }), "{refused}");
    }
}

#[test]
fn hooks_and_settings_of_the_repository_run_nothing() {
    let house = House::new();
    house.commit("first", &[("a.yaml", "1")]);
    let sign = house.path("sign");
    let hook = format!("#!/bin/sh\ntouch {sign}\n");
    for name in ["post-checkout", "reference-transaction", "post-merge", "pre-auto-gc"] {
        house.script(&format!("{}/.git/hooks/{name}", house.origin_text()), &hook);
    }
    house.script(&house.path("evil"), &hook);
    for key in ["uploadpack.packObjectsHook", "core.fsmonitor", "core.sshCommand", "core.alternateRefsCommand"] {
        house.in_origin(&["config", key, &house.path("evil")]);
    }
    let mut source = house.source();
    source.fetch().unwrap();
    assert!(!std::path::Path::new(&sign).exists());
}

#[test]
fn a_repository_of_another_user_is_not_read() {
    let house = House::new();
    house.commit("first", &[("a.yaml", "1")]);
    let given = std::process::Command::new("chown").args(["-R", "12345", house.origin_text()]).output().unwrap();
    if !given.status.success() {
        eprintln!("SKIPPED: a repository of another user: only root can make one");
        return;
    }
    let told = house.source().fetch().unwrap_err();
    assert!(matches!(told, GitError::Owner { .. }), "{told}");
    assert!(told.is_passing(), "its owner may be changed");
}

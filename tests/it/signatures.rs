//! Histories that a hostile host or author could serve, before a gateway that runs: none of them is ever active.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::steer::operate;
use crate::support::gateway::{Gateway, eventually};
use crate::support::hosts::Person;
use crate::support::repository::Repository;

const POLICIES: (&str, &str) = ("tollgate-policies.yaml", "api: tollgate.policy/v1\npolicies: []\n");

/// Git with a clock of its own and something to read.
fn git(repository: &Repository, date: &str, args: &[&str], input: &str) -> String {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(&repository.path)
        .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
        .args(args)
        .env("GIT_COMMITTER_DATE", date)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "git {args:?}");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// The branch points to a commit of these very bytes.
fn forge(repository: &Repository, object: &str) {
    let id = git(repository, "", &["hash-object", "-t", "commit", "-w", "--stdin"], object);
    repository.git(&["update-ref", "refs/heads/main", &id]);
}

/// The bytes of a commit of this person: without its signature, and its signature. It is made beside the branch: a good commit
/// on it would act before it is tampered with.
fn taken_apart(repository: &Repository, person: &Person, note: &str) -> (String, String) {
    repository.git(&["checkout", "-q", "--detach"]);
    person.commit(repository, &[("note", note)]);
    let object = repository.git(&["cat-file", "commit", "HEAD"]);
    repository.git(&["checkout", "-q", "main"]);
    let begin = object.find("gpgsig ").unwrap();
    let mark = " -----END SSH SIGNATURE-----\n";
    let end = object.find(mark).unwrap() + mark.len();
    (format!("{}{}", &object[..begin], &object[end..]), object[begin..end].to_owned())
}

/// The header of a signature of this text, made for a purpose.
fn sign(person: &Person, purpose: &str, text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, text).unwrap();
    let out =
        Command::new("ssh-keygen").args(["-Y", "sign", "-n", purpose, "-f"]).arg(person.key()).arg(&file).output();
    assert!(out.unwrap().status.success());
    let armoured = std::fs::read_to_string(file.with_extension("sig")).unwrap();
    format!("gpgsig {}\n", armoured.trim().replace('\n', "\n "))
}

/// A commit's bytes with this header where a signature stands.
fn signed(bare: &str, header: &str) -> String {
    let (head, message) = bare.split_once("\n\n").unwrap();
    format!("{head}\n{header}\n{message}")
}

fn status(gateway: &Gateway) -> Value {
    operate(gateway, &["status"]).unwrap()
}

/// Waits until the newest commit is refused for this reason, then takes it back.
fn refused(gateway: &Gateway, repository: &Repository, good: &str, told: &str, why: &str) {
    eventually(&format!("the refusal ({told}): {why}"), || {
        let status = status(gateway);
        assert_eq!(status["active"], good, "{why}: {status}");
        status["source_error"].as_str().filter(|error| error.contains(told)).map(|_| ())
    });
    repository.git(&["reset", "-q", "--hard", good]);
    eventually("the good history again", || status(gateway)["source_error"].is_null().then_some(()));
    let now = status(gateway);
    assert!(now["swaps"] == 0 && now["active"] == good, "{why}: something was activated: {now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hostile_history_is_ever_active() {
    let folder = tempfile::tempdir().unwrap();
    let [ann, dan, cid, eve] = ["ann", "dan", "cid", "eve"].map(|name| Person::new(folder.path(), name));
    let repository = Repository::new(&[]);
    repository.git(&["update-ref", "-d", "HEAD"]);
    let first = ann.commit(&repository, &[POLICIES]);
    let good = ann.commit(&repository, &[("note", "1")]);
    let config = format!(
        "policies:\n  repository: {}\n  branch: main\n  verify:\n    what: range\n    max_age_h: 1\n    signers: [\"{}\", \"{}\", \"cid valid-before=\\\"20200101\\\" {}\"]\n    revoked: [\"{}\"]\n",
        repository.address(),
        ann.line(),
        dan.line(),
        cid.public(),
        dan.public(),
    );
    let gateway = Gateway::with(&[], Some(&config));
    assert_eq!(status(&gateway)["signers"], serde_json::json!(["ann"]));
    let judge = |told: &str, why: &str| refused(&gateway, &repository, &good, told, why);

    repository.commit(&[("note", "unsigned")]);
    judge("TG0801", "unsigned");
    repository.commit(&[("note", "hidden")]);
    ann.commit(&repository, &[("note", "above")]);
    judge("TG0801", "an unsigned commit below a signed one");
    forge(&repository, &taken_apart(&repository, &ann, "stripped").0);
    judge("TG0801", "the signature was stripped");
    let (bare, header) = taken_apart(&repository, &ann, "tampered");
    forge(&repository, &signed(&bare.replace("change", "another"), &header));
    judge("TG0802", "the commit was tampered with");
    let (bare, _) = taken_apart(&repository, &ann, "purpose");
    forge(&repository, &signed(&bare, &sign(&ann, "file", &bare)));
    judge("TG0802", "a signature made in another namespace");
    forge(&repository, &signed(&bare, &sign(&eve, "git", &bare)));
    judge("TG0803", "somebody else signed in her name");
    dan.commit(&repository, &[("note", "revoked")]);
    judge("TG0804", "a revoked key");
    cid.commit(&repository, &[("note", "expired")]);
    judge("TG0804", "an expired key");
    repository.git(&["reset", "-q", "--hard", &first]);
    judge("rewound", "the history was rolled back");
    repository.git(&["reset", "-q", "--hard", &first]);
    ann.commit(&repository, &[("note", "forked")]);
    judge("rewound", "the history was pushed over");
    std::fs::write(repository.path.join("note"), "old").unwrap();
    ann.set(&repository);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let two_hours_ago = format!("@{} +0000", now_s - 7_200);
    git(&repository, &two_hours_ago, &["commit", "-qam", "change"], "");
    repository.git(&["config", "--unset", "commit.gpgsign"]);
    judge("TG0807", "a frozen history: what is newest is old");

    let next = ann.commit(&repository, &[("note", "2")]);
    eventually("a good commit after all of them", || (status(&gateway)["active"] == next.as_str()).then_some(()));
    let metrics = reqwest::get(format!("{}/metrics", gateway.operators)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tollgate_policy_loads_total{result=\"accepted\"} 2"), "two good ones:\n{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_approve_and_a_folder_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let [ann, bob, cid] = ["ann", "bob", "cid"].map(|name| Person::new(folder.path(), name));
    let repository = Repository::new(&[]);
    repository.git(&["update-ref", "-d", "HEAD"]);
    let good = ann.commit(&repository, &[POLICIES]);
    bob.tag(&repository, "approved/1");
    let config = format!(
        "policies:\n  repository: {}\n  branch: main\n  verify:\n    what: range\n    approvals: 2\n    signers: [\"{}\", \"{}\", \"{}\"]\n    folders: [{{ path: orgs/acme, signers: [cid] }}]\n",
        repository.address(),
        ann.line(),
        bob.line(),
        cid.line(),
    );
    let gateway = Gateway::with(&[], Some(&config));
    assert_eq!(status(&gateway)["signers"], serde_json::json!(["ann", "bob"]));
    cid.commit(&repository, &[("note", "elsewhere")]);
    refused(&gateway, &repository, &good, "TG0806", "cid may change another folder");
    ann.commit(&repository, &[("note", "alone")]);
    ann.tag(&repository, "mine");
    refused(&gateway, &repository, &good, "TG0805", "the same person twice");
    let next = ann.commit(&repository, &[("note", "both")]);
    bob.tag(&repository, "approved/2");
    eventually("what two approved", || (status(&gateway)["active"] == next.as_str()).then_some(()));
}

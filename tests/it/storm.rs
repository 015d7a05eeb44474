//! A storm of commits in all three languages, signatures on, while a rehearsal or a canary goes: nothing errs, nothing is
//! decided by two revisions, nothing that is broken or unsigned ever acts, and memory does not grow.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::calls::{chat, client};
use crate::steer::operate;
use crate::support::gateway::{Gateway, eventually};
use crate::support::hosts::{self, Person};
use crate::support::repository::Repository;
use crate::support::{is_long, root};

/// One edition of all files; each language says which edition it is of.
fn edition(n: usize) -> Vec<(&'static str, String)> {
    let manifest = format!(
        r#"api: tollgate.policy/v1
policies:
  - {{ name: table, path: policies/table, hook: pre-route, when: 'call.operation == "chat"', mode: enforce, on_error: deny, owner: edition-{n} }}
  - {{ name: script, path: policies/script, hook: pre-route, mode: enforce, on_error: deny }}
  - name: contracts
    path: policies/contracts
    hook: pre-route
    with: {{ contracts: {{ "*": {{ tiers: [standard, cheap, high] }} }} }}
    reads: [call, caller, intent, prompt]
    mode: enforce
    on_error: deny
    # The machine that tests run on may stop for longer than the net of 20 ms, and counts that as the thread's own time.
    limits: {{ cpu_ms: 1000 }}
"#
    );
    vec![
        ("tollgate-policies.yaml", manifest),
        (
            "policies/table/rules.yaml",
            format!("rules:\n  - when: 'prompt.messages > 0'\n    tag: {{ table: \"{n}\" }}\n"),
        ),
        (
            "policies/table/cases.yaml",
            format!(
                "- name: tagged\n  facts: {{ prompt: {{ messages: 1 }} }}\n  expect: {{ tag: {{ table: \"{n}\" }} }}\n"
            ),
        ),
        ("policies/script/policy.rhai", format!("fn pre_route(facts) {{ tag(\"script\", \"{n}\") }}\n")),
        (
            "policies/script/cases.yaml",
            format!("- name: tagged\n  facts: {{}}\n  expect: {{ tag: {{ script: \"{n}\" }} }}\n"),
        ),
    ]
}

fn texts(files: &[(&'static str, String)]) -> Vec<(&'static str, &'static str)> {
    files.iter().map(|(path, text)| (*path, &*text.clone().leak())).collect()
}

/// A repository whose first commit holds the component as well.
fn begun(ann: &Person) -> Repository {
    let repository = Repository::new(&[]);
    let from = root().join("examples/05-wasm-javascript/policies/policies/contracts");
    let to = repository.path.join("policies/contracts");
    std::fs::create_dir_all(&to).unwrap();
    for name in ["policy.wasm", "params.schema.json"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    ann.commit(&repository, &texts(&edition(0)));
    repository
}

/// 40 commits in 20 s; with `--long` 200 in 60 s, and memory is judged.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_in_three_languages_with_signatures_and_a_second_revision() {
    let (commits, pause) = if is_long() { (200, Duration::from_millis(300)) } else { (40, Duration::from_millis(500)) };
    let folder = tempfile::tempdir().unwrap();
    let ann = Person::new(folder.path(), "ann");
    let repository = begun(&ann);
    let first = repository.git(&["rev-parse", "HEAD"]).trim().to_owned();
    repository.git(&["checkout", "-q", "-b", "next"]);
    let next = ann.commit(&repository, &texts(&edition(9_999)));
    repository.git(&["checkout", "-q", "main"]);
    let sim = hosts::sim();
    let config = format!(
        "providers:\n  sim: {{ base_url: \"http://127.0.0.1:{}/v1\" }}\npolicies:\n  repository: {}\n  branch: main\n  verify: {{ what: range, since: {}, signers: [\"{}\"] }}\n",
        sim.port,
        repository.address(),
        repository.git(&["rev-list", "--max-parents=0", "HEAD"]).trim(),
        ann.line()
    );
    // The truth log of a provider in the gateway's own process would be counted as its memory.
    let gateway = Arc::new(Gateway::with(&[], Some(&config)));
    let ended = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..3).map(|_| tokio::spawn(calling(gateway.clone(), ended.clone()))).collect();
    let mut memory = Vec::new();
    let (mut good, mut bad) = (HashSet::from([first, next]), HashSet::new());
    for n in 1..=commits {
        let begun = Instant::now();
        let id = step(&repository, &ann, n);
        if n % 5 == 0 {
            good.insert(id)
        } else {
            bad.insert(id)
        };
        if n % 10 == 5 {
            let verb: &[&str] = match n % 20 {
                5 => &["rehearse", "next"],
                _ => &["canary", "next", "--percent", "20", "--by", "user", "--guard", "errors<50%"],
            };
            let gateway = gateway.clone();
            let verb: Vec<&'static str> = verb.to_vec();
            tokio::task::spawn_blocking(move || operate(&gateway, &verb)).await.unwrap().unwrap();
        }
        memory.push(gateway.resident_kib());
        tokio::time::sleep(pause.saturating_sub(begun.elapsed())).await;
        if n % 5 == 4 {
            // What was unsigned is taken back: it would stop the range for ever.
            repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
        }
    }
    ended.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for task in load {
        calls += task.await.unwrap();
    }
    judge(&gateway, calls, &good, &bad);
    let quarter =
        |at: usize| memory[at * commits / 4..(at + 1) * commits / 4].iter().sum::<u64>() / (commits as u64 / 4);
    println!("{calls} calls; resident KiB by quarter: {:?}", [0, 1, 2, 3].map(quarter));
    if is_long() {
        assert!(quarter(3) * 100 <= quarter(1) * 105, "memory grows");
    }
}

/// Broken syntax, a failing case, a wrong type, no signature; every fifth is good.
fn step(repository: &Repository, ann: &Person, n: usize) -> String {
    let mut files = edition(n);
    match n % 5 {
        1 => files[0].1 = files[0].1.replace("hook:", "hok:"),
        2 => files[4].1 = files[4].1.replace("expect: { tag", "expect: { deny: never, tag"),
        3 => files[0].1 = files[0].1.replace("call.operation == \"chat\"", "call.operation + 1"),
        4 => return repository.commit(&texts(&files)),
        _ => {}
    }
    ann.commit(repository, &texts(&files))
}

/// Receipts tell what decided: one revision, and the same edition in each language.
fn judge(gateway: &Gateway, calls: usize, good: &HashSet<String>, bad: &HashSet<String>) {
    let receipts = eventually("a receipt of every call", || Some(gateway.receipts()).filter(|r| r.len() >= calls));
    let mut revisions: HashSet<&str> = HashSet::new();
    for receipt in &receipts {
        let revision = receipt["revision"].as_str().unwrap();
        assert!(!bad.contains(revision), "{revision} is broken or unsigned, and decided: {receipt}");
        assert!(good.contains(revision), "{revision} is none of ours");
        let tags = &receipt["terms"]["tags"];
        let said = |name: &str| tags[name][0].as_str();
        assert!(said("table").is_some() && said("table") == said("script"), "two editions in one decision: {receipt}");
        assert!(tags.get("contract").is_some(), "the component decided too: {tags}");
        revisions.insert(revision);
    }
    println!("{} receipts on {} revisions", receipts.len(), revisions.len());
    assert!(revisions.len() > good.len() / 2, "good commits act: {revisions:?}");
}

/// Calls until it is told to end; every call must be answered.
async fn calling(gateway: Arc<Gateway>, ended: Arc<AtomicBool>) -> usize {
    let (client, mut calls) = (client(), 0);
    while !ended.load(Ordering::Relaxed) {
        let mut body: Value = chat("sim-1");
        body["user"] = format!("user-{}", calls % 50).into();
        let request = client.post(gateway.url("/v1/chat/completions")).bearer_auth(&gateway.key);
        let answer = request.body(body.to_string()).send().await.unwrap();
        let status = answer.status();
        let id = answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
        let said = answer.text().await.unwrap();
        assert_eq!(status, 200, "{said}: {}", gateway.receipt(&id)["verdicts"]);
        calls += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    calls
}

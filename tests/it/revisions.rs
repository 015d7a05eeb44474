//! Revisions from git: a commit acts, a broken one never does, and a call keeps the one it began with.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::calls::{chat, client, post};
use crate::support::gateway::{Gateway, eventually, tollgate};
use crate::support::is_long;
use crate::support::repository::Repository;

/// A manifest that sends the standard tier to one target, and notes which edition it is.
fn manifest(target: &str, edition: usize) -> String {
    format!(
        r#"api: tollgate.policy/v1
policies:
  - name: tiers
    use: std/tier-routing
    hook: pre-route
    with: {{ routes: {{ standard: {target} }} }}
    reads: [caller, intent, budget]
    mode: enforce
    on_error: deny
    owner: edition-{edition}
"#
    )
}

async fn target_and_revision(gateway: &Gateway) -> (String, String) {
    let answer = post(gateway, chat("sim-1").to_string(), &[]).await;
    let text = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    (text("tollgate-target"), text("tollgate-revision"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_moves_the_next_call_and_old_streams_end_on_the_old_revision() {
    let repository = Repository::new(&[("tollgate-policies.yaml", &manifest("sim/sim-1", 0))]);
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    let (target, old) = target_and_revision(&gateway).await;
    assert_eq!(target, "sim/sim-1");

    let mut body = chat("sim/sim-1?tps=20&tokens=40");
    body["stream"] = true.into();
    let stream = post(&gateway, body.to_string(), &[]).await;
    let stream_call = stream.headers()["tollgate-call-id"].to_str().unwrap().to_owned();

    let begun = Instant::now();
    let commit = repository.commit(&[("tollgate-policies.yaml", &manifest("sim/sim-large", 1))]);
    let new = loop {
        let (target, revision) = target_and_revision(&gateway).await;
        if revision != old {
            assert_eq!(target, "sim/sim-large", "the first call of the new revision is routed by it");
            break revision;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the commit never acted");
    };
    println!("from `git commit` to the first call it decided: {:?}", begun.elapsed());
    assert!(commit.starts_with(&new));
    assert!(
        stream.text().await.unwrap().ends_with("data: [DONE]\n\n"),
        "the stream that began before goes on to its end"
    );
    let receipt = gateway.receipt(&stream_call);
    assert!(receipt["revision"].as_str().unwrap().starts_with(&old), "on the revision it began with");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_commit_says_where_and_survives_a_restart_with_the_last_good_one() {
    let repository = Repository::new(&[("tollgate-policies.yaml", &manifest("sim/sim-1", 0))]);
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    let (_, good) = target_and_revision(&gateway).await;
    repository
        .commit(&[("tollgate-policies.yaml", &manifest("sim/sim-1", 1).replace("mode: enforce", "mode: enforced"))]);
    eventually("the reason why the commit was rejected", || {
        gateway.log.lock().unwrap().contains("tollgate-policies.yaml:8:11").then_some(())
    });
    assert_eq!(target_and_revision(&gateway).await.1, good);
    let ready = client().get(format!("{}/readyz", gateway.operators)).send().await.unwrap().text().await.unwrap();
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(ready["policies"]["rejected"]["findings"][0]["line"], 8);

    let state = gateway.state.clone();
    let (_, folder) = tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap();
    let again = Gateway::on(folder, state, &["--policies", repository.address()], None);
    assert_eq!(target_and_revision(&again).await.1, good, "a restart begins with the last good revision");
}

/// 30 commits: good ones, broken syntax, failing cases. `--long` spreads them over thirty seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_commits_never_errs_and_broken_ones_never_act() {
    let pause = match is_long() {
        true => Duration::from_secs(1),
        false => Duration::from_millis(250),
    };
    let repository = Repository::new(&[("tollgate-policies.yaml", &manifest("sim/sim-1", 0))]);
    let gateway = Arc::new(Gateway::with(&["--policies", repository.address()], None));
    let ended = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4).map(|_| tokio::spawn(calling(gateway.clone(), ended.clone()))).collect();
    let failing = "- name: it never holds\n  facts: { intent: { tier: high } }\n  expect: { deny: never }\n";
    let own = "fn pre_route(facts) { none() }";
    let mut broken: HashSet<String> = HashSet::new();
    let mut last_good = String::new();
    for n in 1..=30 {
        let with_own = format!(
            "{}  - {{ name: own, path: policies/own, hook: pre-route, mode: enforce, on_error: deny }}\n",
            manifest("sim/sim-1", n)
        );
        let id = match n % 3 {
            1 => {
                repository.commit(&[("tollgate-policies.yaml", &manifest("sim/sim-large", n).replace("hook:", "hok:"))])
            }
            2 => repository.commit(&[
                ("tollgate-policies.yaml", &with_own),
                ("policies/own/policy.rhai", own),
                ("policies/own/cases.yaml", failing),
            ]),
            _ => repository.commit(&[("tollgate-policies.yaml", &manifest("sim/sim-1", n))]),
        };
        if n % 3 == 0 {
            last_good = id;
        } else {
            broken.insert(id[..12].to_owned());
        }
        tokio::time::sleep(pause).await;
    }
    let last = last_good[..12].to_owned();
    let begun = Instant::now();
    while target_and_revision(&gateway).await.1 != last {
        assert!(begun.elapsed() < Duration::from_secs(20), "the last good commit never acted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ended.store(true, Ordering::Relaxed);
    let mut seen: HashSet<String> = HashSet::new();
    let mut calls = 0;
    for task in load {
        let (count, revisions) = task.await.unwrap();
        calls += count;
        seen.extend(revisions);
    }
    println!("{calls} calls on {} revisions", seen.len());
    assert!(seen.len() > 3, "several revisions decided: {seen:?}");
    assert!(seen.is_disjoint(&broken), "a broken commit acted");
}

/// Calls until it is told to end; every call must be answered, by one revision.
async fn calling(gateway: Arc<Gateway>, ended: Arc<AtomicBool>) -> (usize, HashSet<String>) {
    let mut revisions = HashSet::new();
    let mut calls = 0;
    let client = client();
    while !ended.load(Ordering::Relaxed) {
        let request =
            client.post(gateway.url("/v1/chat/completions")).bearer_auth(&gateway.key).body(chat("sim-1").to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let named: Vec<_> = answer.headers().get_all("tollgate-revision").iter().collect();
        assert_eq!(named.len(), 1, "a call has one revision");
        revisions.insert(named[0].to_str().unwrap().to_owned());
        answer.bytes().await.unwrap();
        calls += 1;
    }
    (calls, revisions)
}

const DECIDING: &str = r#"api: tollgate.policy/v1
policies:
  - { name: named, use: std/require-metadata, hook: pre-route, with: { fields: [use_case] }, reads: [call, caller, meta], mode: enforce, on_error: deny }
  - { name: canary, use: std/canary, hook: pre-route, with: { weights: { sim/sim-1: 80, sim/sim-large: 20 }, by: user }, mode: enforce, on_error: deny }
  - { name: home, use: std/residency, hook: pre-route, for: { tenant: [nobody] }, with: { regions: [eu] }, reads: [meta], mode: enforce, on_error: deny }
  - name: own
    path: policies/own
    hook: [pre-auth, pre-route, post-response]
    reads: [call, caller, meta, intent, prompt, budget, answer]
    mode: warn
    on_error: skip
  - name: rules
    path: policies/rules
    hook: pre-route
    when: 'call.stream || prompt.messages > 0'
    mode: enforce
    on_error: deny
"#;

const OWN: &str = r#"
fn pre_auth(facts) { if facts.meta.use_case == "loud" { note("loud before it is known") } else { none() } }
fn pre_route(facts) {
    if facts.prompt.tokens > 12 { throw "too long for this policy"; }
    if facts.budget("month").ratio > 0.0 { cap("max_tokens", 100) } else { tag("bucket", `${facts.bucket("own", "user")}`) }
}
fn post_response(facts) { tag("finish", facts.answer.finish_reason) + tag("tokens", `${facts.answer.output_tokens}`) }
"#;

const RULES: &str = r#"rules:
  - when: 'bucket("half", "user") < 5000'
    tag: { half: lower }
  - when: 'budget["month"].used > 1000'
    note: money was spent
  - when: 'meta.data_class == "restricted"'
    deny: { code: not_here, reason: restricted data stays at home }
"#;

/// A thousand calls of many kinds are decided again from their receipts alone, by the code that decided them.
#[tokio::test(flavor = "multi_thread")]
async fn receipts_hold_all_that_decisions_need() {
    let files = [
        ("tollgate-policies.yaml", DECIDING),
        ("policies/own/policy.rhai", OWN),
        ("policies/rules/rules.yaml", RULES),
        ("limits.yaml", "budgets:\n  month: { per: [tenant], limit_usd: \"1000\", period: month }\n"),
    ];
    let repository = Repository::new(&files);
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    let client = client();
    let calls = futures_util::stream::iter(0..1_000usize).map(|n| {
        let mut body = chat("sim-1");
        body["messages"] = json!([{ "role": "user", "content": "word ".repeat(n % 12) }]);
        body["stream"] = (n % 4 == 0).into();
        let mut request = client.post(gateway.url("/v1/chat/completions")).bearer_auth(&gateway.key);
        request = request.header("tollgate-user", format!("user-{}", n % 50)).body(body.to_string());
        if n % 5 != 0 {
            request = request.header("tollgate-use-case", if n % 3 == 0 { "loud" } else { "quiet" });
        }
        if n % 11 == 0 {
            request = request.header("tollgate-data-class", "restricted");
        }
        async move {
            request.send().await.unwrap().bytes().await.unwrap();
        }
    });
    calls.buffer_unordered(16).collect::<Vec<()>>().await;
    let receipts = eventually("a thousand receipts", || Some(gateway.receipts()).filter(|r| r.len() == 1_000));

    let kinds: HashSet<String> =
        receipts.iter().map(|r| format!("{} {}", r["outcome"]["kind"], r["attempts"][0]["target"])).collect();
    assert!(kinds.len() >= 3, "refusals and both targets are among them: {kinds:?}");
    let out = tollgate(&["replay", "-n", "1000", "--json", "--policies", repository.address()], &gateway.state);
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&told["equal"], &told["of_another_revision"]), (&json!(1_000), &json!(0)), "{told}");
}

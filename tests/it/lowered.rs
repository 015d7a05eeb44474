//! A policy that acts less than it declares: lowered by an operator, quarantined because it keeps failing, or failing.

use serde_json::{Value, json};

use crate::calls::{chat, post};
use crate::steer::operate;
use crate::support::gateway::{Gateway, eventually, tollgate};
use crate::support::repository::Repository;
use crate::support::root;

/// A script that fails for some use cases, at one hook.
fn failing(hook: &str, on_error: &str) -> Repository {
    let function = hook.replace('-', "_");
    let script = format!(
        "fn {function}(facts) {{ if facts.meta.use_case == \"bad\" {{ throw \"no\"; }} if facts.meta.use_case == \"blocked\" {{ return deny(\"blocked\"); }} none() }}"
    );
    let manifest = format!(
        "api: tollgate.policy/v1\npolicies:\n  - {{ name: gate, path: policies/gate, hook: {hook}, reads: [meta, call], mode: enforce, on_error: {on_error} }}\n"
    );
    Repository::new(&[("tollgate-policies.yaml", &manifest), ("policies/gate/policy.rhai", &script)])
}

async fn call(gateway: &Gateway, use_case: &str) -> (u16, Value) {
    let answer = post(gateway, chat("sim-1").to_string(), &[("tollgate-use-case", use_case)]).await;
    let (status, id) = (answer.status().as_u16(), answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned());
    answer.bytes().await.unwrap();
    (status, gateway.receipt(&id))
}

/// A policy that fails for some use cases in each language: a script that throws, a table that looks past the end of a
/// list, a component that says what no policy may.
fn failing_in(language: &str, hook: &str, on_error: &str) -> Repository {
    if language == "rhai" {
        return failing(hook, on_error);
    }
    let is_wasm = language == "wasm";
    let with = if is_wasm { ", with: { say: wrong }" } else { "" };
    let manifest = format!(
        "api: tollgate.policy/v1\npolicies:\n  - {{ name: gate, path: policies/gate, hook: {hook}, when: 'meta.use_case == \"bad\"', reads: [meta, call, caller], mode: enforce, on_error: {on_error}{with} }}\n"
    );
    let beside = match is_wasm {
        true => (
            "policies/gate/params.schema.json",
            r#"{ "type": "object", "properties": { "say": { "type": "string" } } }"#,
        ),
        false => ("policies/gate/rules.yaml", "rules:\n  - when: 'caller.groups[99] == \"x\"'\n    note: never\n"),
    };
    let repository = Repository::new(&[]);
    if is_wasm {
        let folder = repository.path.join("policies/gate");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(root().join("policy-runtime/wasm/tests/every/every.wasm"), folder.join("policy.wasm")).unwrap();
    }
    repository.commit(&[("tollgate-policies.yaml", &manifest), beside]);
    repository
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_does_what_it_says_at_each_hook_in_each_language() {
    for (hook, on_error, status, why) in [
        ("pre-auth", "deny", 400, "refused before it is known"),
        ("pre-auth", "skip", 200, "goes on"),
        ("pre-auth", "degrade", 200, "goes on, and it is told"),
        ("pre-route", "deny", 400, "refused before it is sent"),
        ("pre-route", "skip", 200, "goes on"),
        ("pre-route", "degrade", 200, "goes on, and it is told"),
        ("post-response", "deny", 400, "the answer is held back"),
        ("post-response", "skip", 200, "goes on"),
        ("post-response", "degrade", 200, "goes on, and it is told"),
    ] {
        for language in ["rhai", "cel", "wasm"] {
            let at = format!("{language} at {hook}, {on_error}");
            let repository = failing_in(language, hook, on_error);
            let gateway = Gateway::with(&["--policies", repository.address()], None);
            let (got, receipt) = call(&gateway, "bad").await;
            assert_eq!(got, status, "{at}: {why}: {receipt}");
            let verdicts = receipt["verdicts"].as_array().unwrap();
            let verdict = verdicts.iter().find(|v| v["policy"]["name"] == "gate").unwrap();
            assert_eq!(verdict["policy"]["engine"], language, "{at}: {verdict}");
            assert_eq!(verdict["outcome"]["failed"]["on_error"], on_error, "{at}: {verdict}");
            let degraded = receipt["terms"]["degraded"].as_array().is_some_and(|list| list.contains(&json!("gate")));
            assert_eq!(degraded, on_error == "degrade", "{at}: {}", receipt["terms"]);
            assert_eq!(call(&gateway, "good").await.0, 200, "{at}: other calls pass");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_failing_is_quarantined_and_comes_back() {
    let repository = failing("pre-route", "deny");
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    for _ in 0..10 {
        assert_eq!(call(&gateway, "bad").await.1["verdicts"][0]["outcome"]["failed"]["kind"], "error");
    }
    let (status, held) = call(&gateway, "good").await;
    let failed = &held["verdicts"][0]["outcome"]["failed"];
    assert_eq!((status, failed["kind"].as_str()), (400, Some("quarantine")), "{held}");
    assert!(failed["what"].as_str().unwrap().contains("after 10 failures, the last: "), "{failed}");
    assert!(gateway.log.lock().unwrap().contains("quarantined"), "the log has the alert");
    let told = operate(&gateway, &["status"]).unwrap()["quarantined"].clone();
    assert_eq!((told[0]["policy"].as_str(), told[0]["failures"].as_u64()), (Some("gate"), Some(10)), "{told}");
    let out = tollgate(&["replay", "--json", "--policies", repository.address()], &gateway.state);
    let replayed: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(replayed["equal"], 11, "what was recorded is honoured: {replayed}");
    let metrics = reqwest::get(format!("{}/metrics", gateway.operators)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("outcome=\"quarantined\""), "{metrics}");
    let begun = std::time::Instant::now();
    while call(&gateway, "good").await.0 != 200 {
        assert!(begun.elapsed().as_secs() < 20, "it never came back");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(operate(&gateway, &["status"]).unwrap()["quarantined"].as_array().unwrap().is_empty());
    assert_eq!(call(&gateway, "blocked").await.0, 400, "and it decides again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lowers_a_policy_at_once_and_it_outlives_a_restart() {
    let repository = failing("pre-route", "deny");
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    assert_eq!(call(&gateway, "blocked").await.0, 400);
    for (words, told) in [
        (&["lower", "gaet", "--to", "off", "--for", "1h", "--reason", "x"][..], "did you mean `gate`?"),
        (&["lower", "gate", "--to", "enforce", "--for", "1h", "--reason", "x"], "`enforce` is the highest"),
        (&["lower", "gate", "--to", "observe", "--for", "1h", "--reason", ""], "a reason is needed"),
        (&["lower", "gate", "--to", "observe", "--for", "31d", "--reason", "x"], "30 days"),
        (&["lower", "gate", "--to", "observe", "--for", "soon", "--reason", "x"], "30m, 2h or 1d"),
        (&["restore", "gate"], "is not lowered"),
    ] {
        let said = operate(&gateway, words).unwrap_err();
        assert!(said.contains(told), "{words:?}: {said}");
    }
    let words = ["lower", "gate", "--to", "observe", "--for", "2h", "--reason", "it blocks the wrong ones"];
    let status = operate(&gateway, &words).unwrap();
    assert_eq!(status["lowered"]["gate"]["to"], "observe", "{status}");
    let (passed, receipt) = call(&gateway, "blocked").await;
    assert_eq!(passed, 200);
    let verdict = &receipt["verdicts"][0];
    assert_eq!((verdict["mode"].as_str(), verdict["lowered"]["by"].as_str()), (Some("observe"), Some("operator")));
    assert_eq!(verdict["lowered"]["reason"], "it blocks the wrong ones");
    assert!(receipt["shadow"]["deny"].is_array(), "what it would have done is known: {receipt}");
    let id = receipt["call_id"].as_str().unwrap();
    let explained = tollgate(&["explain", id], &gateway.state);
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.contains("it blocks the wrong ones"), "{explained}");

    let state = gateway.state.clone();
    let (_, folder) = tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap();
    let again = Gateway::on(folder, state, &["--policies", repository.address()], None);
    assert_eq!(call(&again, "blocked").await.0, 200, "a restart does not bring it back");
    operate(&again, &["restore", "gate"]).unwrap();
    assert_eq!(call(&again, "blocked").await.0, 400);
    operate(&again, &["lower", "gate", "--to", "off", "--for", "1s", "--reason", "a moment"]).unwrap();
    assert_eq!(call(&again, "bad").await.0, 200, "off: it is not asked");
    eventually("its end", || {
        operate(&again, &["status"]).unwrap()["lowered"].as_object().unwrap().is_empty().then_some(())
    });
    assert_eq!(call(&again, "blocked").await.0, 400, "it ends by itself");
    let log = std::fs::read_to_string(again.state.join("revisions/lowered.log")).unwrap();
    assert_eq!(log.lines().count(), 3, "each change is noted: {log}");
}

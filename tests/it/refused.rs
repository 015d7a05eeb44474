//! Input that means two things, or none: it is refused before a provider could choose a meaning.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::calls::{chat, client, post};
use crate::support::gateway::Gateway;
use crate::support::repository::Repository;

/// A chat with one member more.
fn with(member: &str, value: Value) -> String {
    let mut body = chat("sim/sim-1");
    body[member] = value;
    body.to_string()
}

async fn code(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let told = &body["error"];
    (status, told["tollgate"]["code"].as_str().or(told["code"].as_str()).unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn types_and_twofold_words_are_refused_by_whoever_reads_them() {
    let gateway = Gateway::start();
    for (why, body, headers, expected) in [
        ("messages that are a text", with("messages", json!("hi")), vec![], "wrong_type"),
        ("no messages", r#"{"model":"sim/sim-1"}"#.to_owned(), vec![], "missing_member"),
        ("a bound that is a text", with("max_tokens", json!("10")), vec![], "wrong_type"),
        (
            "the provider judges the rest",
            with("messages", json!([{"role": "user", "content": 5}])),
            vec![],
            "invalid_type",
        ),
        ("a version in the body", with("tollgate", json!({"version": "1999-01-01"})), vec![], "unknown_version"),
        ("a trailer that is neither", with("tollgate", json!({"trailer": "maybe"})), vec![], "wrong_value"),
        (
            "the object twice",
            r#"{"model":"sim/sim-1","messages":[],"tollgate":{"tier":"low","t\u0069er":"high"}}"#.to_owned(),
            vec![],
            "duplicate_member",
        ),
        (
            "a header twice",
            chat("sim/sim-1").to_string(),
            vec![("tollgate-use-case", "a"), ("tollgate-use-case", "b")],
            "contradiction",
        ),
        ("a model with a control character", chat("sim/\u{0}").to_string(), vec![], "wrong_value"),
        ("a model without end", chat(&"m".repeat(1 << 20)).to_string(), vec![], "wrong_value"),
    ] {
        let answer = post(&gateway, body, &headers).await;
        assert_eq!(code(answer).await, (400, expected.to_owned()), "{why}");
    }
    let long = with("tollgate", json!({"x".repeat(1 << 20): 1}));
    let told = post(&gateway, long, &[]).await.text().await.unwrap();
    assert!(told.len() < 2_000, "a name that a caller chose is not told at its length: {}", told.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_url_is_seen_under_any_name() {
    let gateway = Gateway::start();
    for query in [format!("token={}", gateway.key), "API_KEY=sk-1".to_owned(), "key=x".to_owned()] {
        let url = gateway.url(&format!("/v1/chat/completions?{query}"));
        let sent =
            client().post(url).bearer_auth(&gateway.key).body(chat("sim/sim-1").to_string()).send().await.unwrap();
        let call = sent.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
        assert_eq!(code(sent).await, (401, "credential_in_url".to_owned()), "{query}");
        assert!(!gateway.receipt(&call).to_string().contains(&gateway.key));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trailer_asked_for_in_the_body_comes() {
    let gateway = Gateway::start();
    let mut body = chat("sim/sim-1");
    (body["stream"], body["tollgate"]) = (true.into(), json!({"trailer": "on"}));
    let text = post(&gateway, body.to_string(), &[]).await.text().await.unwrap();
    assert!(text.contains(": tollgate call-id="), "{text}");
    let models = client().get(gateway.url("/v1/models")).bearer_auth(&gateway.key).header("x-request-id", "mine");
    assert_eq!(models.send().await.unwrap().headers()["x-request-id"], "mine");
}

const MANIFEST: &str = "api: tollgate.policy/v1
policies:
  - name: words
    path: policies/words
    hook: pre-route
    for: { use_case: [guarded] }
    reads: [prompt, text]
    mode: enforce
    on_error: deny
";

const WORDS: &str = r#"fn pre_route(facts) {
    if facts.text.contains("secret") || facts.prompt.tools.contains("shell") { return deny("guarded", "not here"); }
    cap("max_tokens", 100)
}
"#;

const CASES: &str = "- name: the word is seen
  facts: { meta: { use_case: guarded }, text: [{ role: user, text: a secret }] }
  expect: { deny: guarded }
- name: other words pass
  facts: { meta: { use_case: guarded }, text: [{ role: user, text: hello }] }
  expect: { cap: { max_tokens: 100 } }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_can_be_read_in_two_ways_does_not_pass_a_policy_that_reads_it() {
    let repository = Repository::new(&[
        ("tollgate-policies.yaml", MANIFEST),
        ("policies/words/policy.rhai", WORDS),
        ("policies/words/cases.yaml", CASES),
    ]);
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    let body = |messages: &str, more: &str| format!(r#"{{"model":"sim/sim-1","messages":{messages}{more}}}"#);
    let plain = r#"[{"role":"user","content":"hi"}]"#;
    let twice = r#"[{"role":"user","content":"secret","content":"hi"}]"#;
    for (why, sent, expected) in [
        ("it is read", body(r#"[{"role":"user","content":"a secret"}]"#, ""), (400, "guarded")),
        ("which of the two?", body(twice, ""), (400, "duplicate_member")),
        (
            "a part twice",
            body(r#"[{"content":[{"type":"text","text":"secret","text":"hi"}]}]"#, ""),
            (400, "wrong_type"),
        ),
        ("tools too", body(plain, r#","tools":[{"function":{"name":"shell","name":"a"}}]"#), (400, "duplicate_member")),
        ("a custom tool", body(plain, r#","tools":[{"type":"custom","custom":{"name":"shell"}}]"#), (400, "guarded")),
        ("the older name", body(plain, r#","functions":[{"name":"shell"}]"#), (400, "guarded")),
    ] {
        let answer = post(&gateway, sent, &[("tollgate-use-case", "guarded")]).await;
        let call = answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
        assert_eq!(code(answer).await, (expected.0, expected.1.to_owned()), "{why}");
        let receipt = gateway.receipt(&call);
        assert_eq!(receipt["outcome"]["refusal"]["code"], expected.1, "{why}");
        assert!(!receipt.to_string().contains("secret"), "{why}: no words in a receipt");
    }
    assert_eq!(post(&gateway, body(twice, ""), &[]).await.status().as_u16(), 200, "where nobody reads it, it passes");

    for (asked, at_provider) in [("1000.0", "100"), ("-1", "100"), ("1e300", "100"), ("50", "50")] {
        let sent = body(plain, &format!(r#","max_completion_tokens":{asked}"#));
        let answer = post(&gateway, sent, &[("tollgate-use-case", "guarded"), ("x-sim", "tokens=500")]).await;
        let told: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(told["usage"]["completion_tokens"].to_string(), at_provider, "a cap of 100, and {asked} asked for");
    }
}

/// As simple clients do it: everything is written before a byte is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_caller_that_still_writes() {
    let gateway = Gateway::start();
    let rows = [
        ("a wrong key", "tg_wrong", 20 << 20, "401", "malformed_key"),
        ("too many bytes", gateway.key.as_str(), 33 << 20, "413", "body_too_large"),
        ("twice too many", gateway.key.as_str(), 70 << 20, "413", "body_too_large"),
    ];
    for (why, key, bytes, status, code) in rows {
        let address = gateway.base.strip_prefix("http://").unwrap().to_owned();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {bytes}\r\n\r\n"
        );
        let told = tokio::task::spawn_blocking(move || {
            let mut caller = TcpStream::connect(address).unwrap();
            caller.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            caller.write_all(head.as_bytes()).unwrap();
            let piece = vec![b'y'; 1 << 20];
            for _ in 0..bytes >> 20 {
                caller.write_all(&piece).unwrap_or_else(|broken| panic!("{why}: {broken}"));
            }
            let mut told = String::new();
            caller.read_to_string(&mut told).unwrap_or_else(|broken| panic!("{why}: {broken}"));
            told
        });
        let told = told.await.unwrap();
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")) && told.contains(code), "{why}: {told}");
    }
}

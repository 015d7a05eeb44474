//! Alerts from outside: raised by policies, limits and secrets, signed, told once, tried again, and never waited for.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::calls::{chat, client, post};
use crate::secrets::Cloud;
use crate::support::gateway::{Gateway, eventually};

/// Takes messages, and answers with what it was told to, in turn, and 204 after that.
#[derive(Clone, Default)]
struct Hook {
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answers: Arc<Mutex<Vec<u16>>>,
    wait: Duration,
}

impl Hook {
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(take).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{address}/services/canary-path")
    }

    fn got(&self) -> Vec<(HeaderMap, Bytes)> {
        self.got.lock().unwrap().clone()
    }

    fn kinds(&self) -> Vec<String> {
        self.bodies().iter().map(|body| body["data"]["kind"].as_str().unwrap().to_owned()).collect()
    }

    fn bodies(&self) -> Vec<Value> {
        self.got().iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }
}

async fn take(State(hook): State<Hook>, headers: HeaderMap, body: Bytes) -> StatusCode {
    tokio::time::sleep(hook.wait).await;
    hook.got.lock().unwrap().push((headers, body));
    let mut answers = hook.answers.lock().unwrap();
    let status = if answers.is_empty() { 204 } else { answers.remove(0) };
    StatusCode::from_u16(status).unwrap()
}

/// A gateway whose repository has a budget and `std/spend-alert` over it.
fn begun(limits: &str, policies: &str, config: &str) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("limits.yaml"), limits).unwrap();
    let manifest = format!("api: tollgate.policy/v1\npolicies: {policies}\n");
    std::fs::write(folder.path().join("tollgate-policies.yaml"), manifest).unwrap();
    let gateway = Gateway::with(&["--policies", folder.path().to_str().unwrap()], Some(config));
    (gateway, folder)
}

/// A call holds about 1,100 tokens, and uses 19.
const SPEND: &str = "\n  - { name: spend-is-told, use: std/spend-alert, hook: pre-route, with: { budget: day, at: [0.1, 0.25] }, \
                     reads: [caller, budget], mode: enforce, on_error: skip }";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn config(url: &str, more: &str) -> String {
    format!(
        "providers: {{ sim: {{}} }}\nalerts: {{ webhook: {{ url: \"{url}\", secret: {{ command: [echo, {SECRET}] }}{more} }} }}\n"
    )
}

async fn calls(gateway: &Gateway, count: usize) {
    for _ in 0..count {
        let mut body = chat("sim/sim-1");
        body["max_tokens"] = json!(20);
        assert_eq!(post(gateway, body.to_string(), &[]).await.status(), 200);
    }
}

async fn metric(gateway: &Gateway, kind: &str, result: &str) -> u64 {
    let text = client().get(format!("{}/metrics", gateway.operators)).send().await.unwrap().text().await.unwrap();
    let name = format!("tollgate_alerts_total{{kind=\"{kind}\",result=\"{result}\"}} ");
    text.split_once(&name).and_then(|(_, rest)| rest.lines().next()?.parse().ok()).unwrap_or(0)
}

/// The signature as its receiver reckons it.
fn is_signed(headers: &HeaderMap, body: &[u8], secret: &[u8]) -> bool {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let signed = [format!("{}.{}.", text("webhook-id"), text("webhook-timestamp")).as_bytes(), body].concat();
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed);
    let expected = format!("v1,{}", STANDARD.encode(mac));
    text("webhook-signature").split(' ').any(|one| one == expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mark_of_a_budget_is_told_once_signed_and_with_its_place() {
    let hook = Hook::default();
    let url = hook.serve().await;
    let limits = "budgets:\n  day:\n    per: [tenant]\n    limit_tokens: 2000\n    period: day\n    ladder:\n      - { at_percent: 40, warn: true }\n";
    let (gateway, _folder) = begun(limits, SPEND, &config(&url, ""));
    calls(&gateway, 32).await;
    eventually("three alerts", || (hook.got().len() >= 3).then_some(()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut kinds = hook.kinds();
    kinds.sort();
    assert_eq!(kinds, ["limit_passed", "policy", "policy"], "each once, though many calls raised it");
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    for (headers, body) in hook.got() {
        assert!(is_signed(&headers, &body, &key), "{headers:?}");
        assert!(!is_signed(&headers, b"another body", &key) && !is_signed(&headers, &body, b"another key"));
        let age = now_s() - headers["webhook-timestamp"].to_str().unwrap().parse::<i64>().unwrap();
        assert!((0..30).contains(&age), "{age}");
    }
    let bodies = hook.bodies();
    let of = |kind: &str| bodies.iter().find(|body| body["data"]["kind"] == kind).unwrap();
    let policy = of("policy");
    assert_eq!(policy["type"], "tollgate.policy");
    assert_eq!(policy["data"]["policy"], "spend-is-told");
    let text = policy["text"].as_str().unwrap();
    assert!(text.contains("the budget day of tenant default has passed 10 %"), "{text}");
    assert!(policy["data"]["at"].as_str().unwrap().contains("policy.rhai:"), "{policy}");
    let limit = of("limit_passed");
    assert_eq!((&limit["data"]["rule"], &limit["data"]["at_percent"]), (&json!("day"), &json!(40)), "{limit}");
    let call = limit["data"]["call_id"].as_str().unwrap();
    assert_eq!(gateway.receipt(call)["limit_alerts"][0]["rule"], "day", "the call that raised it can be found");
    assert!(metric(&gateway, "policy", "repeated").await > 5);
    assert_eq!((metric(&gateway, "policy", "sent").await, metric(&gateway, "limit_passed", "sent").await), (2, 1));
    let log = gateway.log.lock().unwrap().clone();
    assert!(!log.contains("canary-path") && !log.contains("whsec_"), "{log}");
}

fn now_s() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

const STEPS: &str =
    "budgets:\n  day: { per: [tenant], limit_tokens: 2000, period: day, ladder: [{ at_percent: 10, warn: true }] }\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_tried_again_with_the_same_id_up_to_a_bound() {
    for (answers, result, attempts, why) in [
        (vec![500, 429], "sent", 3, "it may do better later"),
        (vec![503; 9], "failed", 4, "four attempts and no more"),
        (vec![400], "failed", 1, "it would be refused again"),
        (vec![302], "failed", 1, "it is not sent on"),
    ] {
        let hook = Hook::default();
        *hook.answers.lock().unwrap() = answers;
        let more = ", attempts_max: 4, backoff_ms: 20, on: [limit_passed]";
        let (gateway, _folder) = begun(STEPS, "[]", &config(&hook.serve().await, more));
        calls(&gateway, 6).await;
        let begun = Instant::now();
        while metric(&gateway, "limit_passed", result).await == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "{why}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let got = hook.got();
        assert_eq!(got.len(), attempts, "{why}");
        assert!(
            got.iter().all(|(headers, body)| headers["webhook-id"] == got[0].0["webhook-id"] && *body == got[0].1),
            "{why}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_sleeps_delays_no_call_and_what_does_not_fit_is_dropped_and_counted() {
    let hook = Hook { wait: Duration::from_secs(60), ..Hook::default() };
    let url = hook.serve().await;
    let limits = "budgets:\n  day: { per: [session], limit_tokens: 2000, period: day, ladder: [{ at_percent: 1, warn: true }] }\n";
    let (gateway, _folder) = begun(limits, "[]", &config(&url, ", queue_max: 2"));
    let begun = Instant::now();
    for n in 0..20 {
        let mut body = chat("sim/sim-1");
        body["max_tokens"] = json!(20);
        assert_eq!(post(&gateway, body.to_string(), &[("tollgate-session", &format!("s{n}"))]).await.status(), 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(metric(&gateway, "limit_passed", "dropped").await >= 17);
    assert!(metric(&gateway, "limit_passed", "queued").await >= 2);
    let begun = Instant::now();
    let (status, _folder) = gateway.stop();
    assert!(
        status.success() && begun.elapsed() < Duration::from_secs(15),
        "and the end has a bound: {:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_secret_rings_and_waiting_alerts_are_sent_at_the_end() {
    let (hook, cloud) = (Hook::default(), Cloud::default());
    *hook.answers.lock().unwrap() = vec![500];
    let (url, base) = (hook.serve().await, cloud.serve(&["good"]).await);
    let text = config(&url, ", backoff_ms: 60000, on: [secret_refused]").replace(
        "providers: { sim: {} }",
        &format!("providers: {{ cloud: {{ base_url: \"{base}\", secret: {{ command: [echo, canary] }} }} }}"),
    );
    let gateway = Gateway::with(&[], Some(&text));
    for _ in 0..3 {
        assert_ne!(post(&gateway, chat("cloud/m").to_string(), &[]).await.status(), 200);
    }
    eventually("the first attempt", || (hook.got().len() == 1).then_some(()));
    let told = hook.bodies().remove(0);
    assert_eq!((&told["data"]["provider"], &told["data"]["status"]), (&json!("cloud"), &json!(401)), "{told}");
    assert!(told["data"]["secret"].as_str().unwrap().starts_with("command:echo#"), "{told}");
    assert!(!told.to_string().contains("canary"));
    assert!(gateway.stop().0.success(), "a pause of a minute does not hold up the end");
    assert_eq!(hook.got().len(), 2, "what waited for its turn had it");
}

/// Killed while an alert waits for its next attempt.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_outlives_a_kill_and_what_was_told_is_not_told_again() {
    let hook = Hook::default();
    *hook.answers.lock().unwrap() = vec![503];
    let config = config(&hook.serve().await, ", backoff_ms: 60000, on: [limit_passed]");
    let (gateway, folder) = begun(STEPS, "[]", &config);
    calls(&gateway, 6).await;
    eventually("the first attempt", || (hook.got().len() == 1).then_some(()));
    // The state file is written beside the calls.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let state = gateway.state.clone();
    let kept = gateway.kill();
    let policies = folder.path().to_str().unwrap();
    let gateway = Gateway::on(kept, state.clone(), &["--policies", policies], Some(&config));
    eventually("an attempt after the restart", || (hook.got().len() == 2).then_some(()));
    let got = hook.got();
    assert_eq!((&got[0].0["webhook-id"], &got[0].1), (&got[1].0["webhook-id"], &got[1].1), "the same message");
    calls(&gateway, 6).await;
    let (status, kept) = gateway.stop();
    assert!(status.success());
    let gateway = Gateway::on(kept, state, &["--policies", policies], Some(&config));
    calls(&gateway, 6).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(hook.got().len(), 2, "it was told, and nothing waits");
}

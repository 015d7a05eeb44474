//! Runs of agents and tiers of service, seen from outside: what `std/agent-run-budget` and `std/rate-tier` do to calls.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::calls::post;
use crate::support::gateway::Gateway;

const MANIFEST: &str = "api: tollgate.policy/v1
policies:
  - { name: runs, use: std/agent-run-budget, hook: pre-route, with: { budget: agent-run, repeats_max: 3 }, reads: [meta, prompt, budget], mode: enforce, on_error: deny }
  - { name: rates, use: std/rate-tier, hook: pre-route, with: { tiers: { gold: [], standard: [calls] }, tenants: { TENANT: gold }, otherwise: standard }, reads: [caller], mode: enforce, on_error: deny }
";
const LIMITS: &str = "budgets:
  agent-run: { per: [session], limit_usd: \"0.01\", rolling: 24h, reserved: true }
rates:
  calls: { per: [tenant], requests: 2, every: 1d, reserved: true }
";

/// The tenant of the one-time key is gold, or is nobody.
fn gateway(gold: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap().keep();
    std::fs::write(folder.join("tollgate-policies.yaml"), MANIFEST.replace("TENANT", gold)).unwrap();
    std::fs::write(folder.join("limits.yaml"), LIMITS).unwrap();
    Gateway::with(&["--policies", folder.to_str().unwrap()], None)
}

/// A conversation whose model called the same tool so many times.
fn circle(times: usize) -> String {
    let mut messages = vec![json!({ "role": "user", "content": "find it" })];
    for at in 0..times {
        let call =
            json!({ "id": format!("c{at}"), "type": "function", "function": { "name": "ls", "arguments": "{}" } });
        messages.push(json!({ "role": "assistant", "tool_calls": [call] }));
        messages.push(json!({ "role": "tool", "tool_call_id": format!("c{at}"), "content": "no such file" }));
    }
    json!({ "model": "sim-1", "max_tokens": 10, "messages": messages }).to_string()
}

async fn ask(gateway: &Gateway, body: String, session: Option<&str>) -> (StatusCode, String) {
    let headers: Vec<_> = session.into_iter().map(|session| ("tollgate-session", session)).collect();
    let answer = post(gateway, body, &headers).await;
    let status = answer.status();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    (status, body["error"]["tollgate"]["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_in_a_circle_ends_and_others_go_on() {
    let gateway = gateway("default");
    for (times, session, expected, why) in [
        (2, Some("one"), (StatusCode::OK, ""), "twice the same may be patience"),
        (3, Some("one"), (StatusCode::BAD_REQUEST, "agent_repeats"), "three times is the bound"),
        (3, None, (StatusCode::OK, ""), "a call of no run is none of the policy's business"),
        (1, Some("two"), (StatusCode::OK, ""), "another run"),
    ] {
        let (status, code) = ask(&gateway, circle(times), session).await;
        assert_eq!((status, &*code), expected, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_reserved_holds_only_for_whom_a_policy_reserves_it() {
    let (gold, other) = (gateway("default"), gateway("acme"));
    for _ in 0..4 {
        assert_eq!(ask(&gold, circle(0), None).await.0, StatusCode::OK, "gold has no rate");
    }
    let told =
        [ask(&other, circle(0), None).await, ask(&other, circle(0), None).await, ask(&other, circle(0), None).await];
    let statuses = told.each_ref().map(|(status, _)| status.as_u16());
    assert_eq!(statuses, [200, 200, 429], "two calls a day for everybody else: {told:?}");
}

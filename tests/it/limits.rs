//! Budgets, rates and ladders from outside: what no number of callers can overspend, what ends a stream, what a caller is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use crate::calls::{client, post};
use crate::support::gateway::{Gateway, eventually};

/// A gateway with these limits and no policy of its own.
fn with(limits: &str) -> Gateway {
    begun(limits, None)
}

fn begun(limits: &str, config: Option<&str>) -> Gateway {
    let folder = tempfile::tempdir().unwrap().keep();
    std::fs::write(folder.join("tollgate-policies.yaml"), "api: tollgate.policy/v1\npolicies: []\n").unwrap();
    std::fs::write(folder.join("limits.yaml"), limits).unwrap();
    Gateway::with(&["--policies", folder.to_str().unwrap()], config)
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map_or_else(String::new, |v| v.to_str().unwrap().to_owned())
}

fn chat(max_tokens: Option<u64>, stream: bool) -> String {
    let mut body = json!({ "model": "sim-1", "stream": stream, "messages": [{ "role": "user", "content": "Hello" }] });
    if let Some(tokens) = max_tokens {
        body["max_tokens"] = tokens.into();
    }
    body.to_string()
}

async fn ask(gateway: &Gateway, body: String, script: &str) -> Response {
    post(gateway, body, &[("x-sim", script)]).await
}

fn call_id(answer: &Response) -> String {
    header(answer, "tollgate-call-id")
}

/// What a budget's holds add up to, seen by one call more.
async fn others_hold(gateway: &Gateway, rule: &str) -> (u64, u64) {
    let answer = ask(gateway, chat(Some(1), false), "tokens=1").await;
    let receipt = gateway.receipt(&call_id(&answer));
    let holds = receipt["holds"].as_array().unwrap_or_else(|| panic!("{receipt}"));
    let held = holds.iter().find(|held| held["rule"] == rule).unwrap();
    let n = |name: &str| held[name].as_u64().unwrap();
    (n("used"), n("limit") - n("remaining") - n("used") - n("held"))
}

/// Nano-dollars from the text of a header.
fn nanousd(usd: &str) -> i64 {
    let (whole, fraction) = usd.split_once('.').unwrap();
    format!("{whole}{fraction:0<9}").parse().unwrap()
}

/// 1,000 calls over 50 connections against a budget for about 10, costs below their caps; who is refused comes again after
/// 100 ms, until a whole round is refused while no call is under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_spend_a_budget_and_nothing_above_it() {
    const LIMIT: i64 = 16_000_000;
    let gateway = Arc::new(with("budgets:\n  month: { per: [tenant], limit_usd: \"0.016\", period: month }\n"));
    let first = ask(&gateway, chat(Some(100), false), "tokens=7").await;
    let worst = gateway.receipt(&call_id(&first))["holds"][0]["held"].as_i64().unwrap();
    assert!((LIMIT / 20..LIMIT / 5).contains(&worst), "a budget for about ten: {worst}");
    let spent = Arc::new(AtomicI64::new(nanousd(&header(&first, "tollgate-cost-usd"))));
    let mut waiting: Vec<u64> = (0..1_000).collect();
    let (mut rounds, mut answered) = (0, 0);
    loop {
        rounds += 1;
        let next = Arc::new(AtomicUsize::new(0));
        let all = Arc::new(std::mem::take(&mut waiting));
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (gateway, next, all, spent) = (gateway.clone(), next.clone(), all.clone(), spent.clone());
                tokio::spawn(async move {
                    let (client, mut refused) = (client(), Vec::new());
                    while let Some(n) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                        // Anything from nothing to the bound, and the same in every run.
                        let tokens = n * 7_919 % 100 + 1;
                        let request = client.post(gateway.url("/v1/chat/completions")).bearer_auth(&gateway.key);
                        let request = request.header("x-sim", format!("tokens={tokens},latency=5"));
                        let answer = request.body(chat(Some(100), false)).send().await.unwrap();
                        match answer.status().as_u16() {
                            200 => {
                                let cost = nanousd(&header(&answer, "tollgate-cost-usd"));
                                spent.fetch_add(cost, Ordering::Relaxed);
                            }
                            429 => refused.push(*n),
                            other => panic!("{other}: {}", answer.text().await.unwrap()),
                        }
                    }
                    refused
                })
            })
            .collect();
        for task in tasks {
            waiting.extend(task.await.unwrap());
        }
        answered += all.len() - waiting.len();
        if waiting.len() == all.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let spent = spent.load(Ordering::Relaxed);
    println!("{answered} answered in {rounds} rounds; {spent} of {LIMIT} nano-dollars spent, a call holds {worst}");
    assert!(spent <= LIMIT, "overspent by {}", spent - LIMIT);
    assert!(LIMIT - spent < worst, "{} are left: another call would have fitted", LIMIT - spent);
    assert!(answered >= 10, "{answered}");
    let refused = ask(&gateway, chat(Some(100), false), "tokens=1").await.text().await.unwrap();
    assert!(refused.contains("and 0.000000 USD held"), "no hold is left: {refused}");
    let used = refused.split("USD, ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert_eq!(nanousd(used), spent, "the ledger has what callers were told, to the last nano-dollar: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_bound_gets_one_from_what_is_left() {
    let gateway = with("budgets:\n  day: { per: [tenant], limit_tokens: 3000, period: day }\n");
    let answer = ask(&gateway, chat(None, false), "tokens=2000").await;
    assert_eq!(answer.status(), 200);
    let degraded = header(&answer, "tollgate-degraded");
    let bound = degraded.strip_prefix("day:max_tokens=").and_then(|n| n.parse::<u64>().ok());
    let bound = bound.unwrap_or_else(|| panic!("{degraded}"));
    assert!((64..3_000).contains(&bound), "{bound}");
    let receipt = gateway.receipt(&call_id(&answer));
    assert_eq!(receipt["usage"]["output"], bound, "the provider was told, and kept it: {receipt}");
    assert_eq!(receipt["finish_reason"], "length");
    // What it left is too little for an answer worth having.
    let answer = ask(&gateway, chat(None, true), "tokens=2000").await;
    assert_eq!(answer.status(), 429, "{}", answer.text().await.unwrap());
    let (_, held) = others_hold_of_refused(&gateway).await;
    assert_eq!(held, "0");
}

/// What a refusal says of a budget: used and held.
async fn others_hold_of_refused(gateway: &Gateway) -> (String, String) {
    let told = ask(gateway, chat(Some(100_000), false), "tokens=1").await.text().await.unwrap();
    let rest = told.split("tokens, ").nth(1).unwrap_or_else(|| panic!("{told}"));
    let used = rest.split(' ').next().unwrap().to_owned();
    let held = rest.split(" are used and ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    (used, held)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_bounds_is_held_for_as_it_flows_and_ends_where_no_more_is_left() {
    let gateway = with("budgets:\n  day: { per: [tenant], limit_tokens: 12000, period: day }\n");
    let answer = ask(&gateway, chat(None, true), "tokens=5000").await;
    let id = call_id(&answer);
    let text = answer.text().await.unwrap();
    assert!(text.contains("[DONE]"), "more than the 4,096 that were held at first: it was extended");
    let receipt = gateway.receipt(&id);
    assert_eq!(receipt["usage"]["output"], 5_000);
    let (used, held) = others_hold(&gateway, "day").await;
    assert_eq!(held, 0);
    assert!((5_000..5_100).contains(&used), "{used}");
    assert_eq!(receipt.get("limit_alerts"), None, "nothing is above what was held in the end: {receipt}");
    let answer = ask(&gateway, chat(None, true), "tokens=9000").await;
    let id = call_id(&answer);
    let text = answer.text().await.unwrap();
    assert!(!text.contains("[DONE]") && text.contains("\"category\":\"budget_exceeded\""), "it does not look whole");
    let receipt = gateway.receipt(&id);
    assert_eq!((&receipt["outcome"]["kind"], &receipt["finish_reason"]), (&json!("interrupted"), &json!("length")));
    assert_eq!(receipt["usage"]["estimated"], true, "our own count: {}", receipt["usage"]);
    let output = receipt["usage"]["output"].as_u64().unwrap();
    assert!((4_096..7_000).contains(&output), "{output}");
    let (used_then, held) = others_hold_of_refused(&gateway).await;
    assert_eq!(held, "0");
    assert!(used_then.parse::<u64>().unwrap() <= 12_000, "nothing above the budget: {used_then}");
}

/// A provider that counts 5,000 tokens for every answer.
async fn liar() -> u16 {
    const ANSWER: &str = r#"{"id":"x","object":"chat.completion","created":1,"model":"sim-1","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2000,"completion_tokens":3000,"total_tokens":5000}}"#;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = axum::Router::new().fallback(|| async { ([("content-type", "application/json")], ANSWER) });
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_counts_more_than_was_held_is_booked_and_told_of() {
    let port = liar().await;
    let config = format!("providers: {{ sim: {{ base_url: \"http://127.0.0.1:{port}/v1\" }} }}\n");
    let gateway = begun("budgets:\n  day: { per: [tenant], limit_tokens: 20000, period: day }\n", Some(&config));
    let answer = ask(&gateway, chat(Some(10), false), "").await;
    assert_eq!(answer.status(), 200);
    let receipt = gateway.receipt(&call_id(&answer));
    let alert = &receipt["limit_alerts"][0];
    assert_eq!((&alert["kind"], &alert["rule"]), (&json!("above_hold"), &json!("day")), "{receipt}");
    assert_eq!(others_hold(&gateway, "day").await, (5_000, 0), "booked in full");
    let metrics = client().get(format!("{}/metrics", gateway.operators)).send().await.unwrap().text().await.unwrap();
    let name = "tollgate_limits_above_hold_total{rule=\"day\",kind=\"above_hold\"} ";
    let counted = metrics.split_once(name).and_then(|(_, rest)| rest.lines().next()?.parse::<u64>().ok());
    // The call that looked at the balance is above its hold too, which was a little smaller.
    let above = 2 * (5_000 - alert["held"].as_u64().unwrap());
    assert!(counted.is_some_and(|counted| (above..above + 20).contains(&counted)), "{above}\n{metrics}");
    assert!(gateway.log.lock().unwrap().contains("more than was held"), "and in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_leave_at_fifty_places_leave_no_hold_behind() {
    use futures_util::StreamExt;
    let gateway = with(
        "budgets:\n  day: { per: [tenant], limit_tokens: 1000000, period: day }\nrates:\n  flight: { per: [tenant], in_flight: 100 }\n",
    );
    for n in 0..50usize {
        let answer = ask(&gateway, chat(Some(200), true), "tokens=200,tps=2000").await;
        let (mut body, mut bytes) = (answer.bytes_stream(), 0);
        while bytes < n * 400 {
            match body.next().await {
                Some(piece) => bytes += piece.unwrap().len(),
                None => break,
            }
        }
    }
    for script in ["cut=0,tokens=20", "cut=3,tokens=20", "status=500", "malformed=2", "error_at=2"] {
        let _ = ask(&gateway, chat(Some(200), true), script).await.text().await;
    }
    eventually("the end of all calls", || Some(gateway.receipts()).filter(|receipts| receipts.len() >= 55));
    let booked: u64 = gateway.receipts().iter().map(booked).sum();
    assert_eq!(others_hold(&gateway, "day").await, (booked, 0), "what is used is what the receipts say");
    let answer = ask(&gateway, chat(Some(1), false), "").await;
    let receipt = gateway.receipt(&call_id(&answer));
    let flight = receipt["holds"].as_array().unwrap().iter().find(|held| held["rule"] == "flight").unwrap();
    assert_eq!(flight["remaining"], 99, "nobody else is in flight");
}

/// Tokens of a receipt, and of attempts before that may have been billed.
fn booked(receipt: &Value) -> u64 {
    let usage = receipt["usage"].as_object();
    let own: u64 = usage.map_or(0, |usage| usage.values().filter_map(Value::as_u64).sum());
    let maybe = |attempt: &Value| attempt["may_have_used_tokens"].as_u64().unwrap_or(0);
    own + receipt["attempts"].as_array().map_or(0, |all| all.iter().map(maybe).sum())
}

/// A provider that takes longer than its callers wait, so that how far its answers came nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn impatient_callers_pay_for_what_they_may_have_used() {
    let gateway = with("budgets:\n  day: { per: [tenant], limit_tokens: 6000, period: day }\n");
    let mut used = 0;
    for n in 0.. {
        let call = ask(&gateway, chat(Some(1_000), false), "latency=20000,tokens=1000");
        let _ = tokio::time::timeout(Duration::from_millis(300), call).await;
        let receipt = eventually("its receipt", || gateway.receipts().into_iter().nth(n));
        if !receipt["hold_refused"].is_null() {
            assert_eq!((&receipt["hold_refused"]["used"], &receipt["hold_refused"]["held"]), (&json!(used), &json!(0)));
            assert!(n >= 2, "{receipt}");
            break;
        }
        assert_eq!(json!(booked(&receipt)), receipt["holds"][0]["held"], "{n}: as much as it may have used: {receipt}");
        used += booked(&receipt);
    }
}

/// What a provider makes for one call is more than one answer's tokens.
#[tokio::test(flavor = "multi_thread")]
async fn many_answers_are_held_for() {
    let port = liar().await;
    let config = format!("providers: {{ own: {{ base_url: \"http://127.0.0.1:{port}/v1\" }} }}\n");
    let gateway = begun("budgets:\n  day: { per: [tenant], limit_tokens: 1000000, period: day }\n", Some(&config));
    let (completions, chats) = ("/v1/completions", "/v1/chat/completions");
    let mut base = 0;
    for (path, body, answers, why) in [
        (completions, json!({ "prompt": "a", "max_tokens": 1000 }), 1, "one"),
        (completions, json!({ "prompt": ["a", "b", "c"], "max_tokens": 1000 }), 3, "three prompts"),
        (completions, json!({ "prompt": [[1, 2], [3]], "max_tokens": 1000, "n": 2 }), 4, "two, as tokens, twice each"),
        (completions, json!({ "prompt": [1, 2, 3], "max_tokens": 1000 }), 1, "one, as tokens"),
        (completions, json!({ "prompt": "a", "max_tokens": 1000, "best_of": 20, "n": 1 }), 20, "the best of 20"),
        (chats, json!({ "max_tokens": 1000 }), 1, "one"),
        (chats, json!({ "max_tokens": 1, "max_completion_tokens": 4000 }), 4, "the larger of two bounds"),
        (chats, json!({ "max_tokens": 1000, "n": 3 }), 3, "three answers"),
    ] {
        let mut body = body;
        body["model"] = json!("own/a");
        if path == chats {
            body["messages"] = json!([{ "role": "user", "content": "a" }]);
        }
        let request = client().post(gateway.url(path)).bearer_auth(&gateway.key);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let receipt = gateway.receipt(&call_id(&request.send().await.unwrap()));
        let held = receipt["holds"][0]["held"].as_u64().unwrap_or_else(|| panic!("{why}: {receipt}"));
        if why == "one" {
            base = held - 1_000;
        }
        // Beside the answers is the prompt, of a few tokens more or less.
        assert!((held - base).abs_diff(answers * 1_000) < 100, "{why}: {held}, and {base} for the prompt");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ladder_is_climbed_and_its_answer_speaks_every_dialect() {
    let gateway = with(
        "budgets:
  session:
    per: [session]
    limit_tokens: 10000
    rolling: 24h
    ladder:
      - { at_percent: 20, warn: true }
      - { at_percent: 40, tier: cheap }
      - { at_percent: 60, max_tokens: 300 }
      - { at_percent: 90, answer: The budget of this session is spent. }
",
    );
    let call = |session: &'static str, max: u64| {
        let (gateway, body) = (&gateway, chat(Some(max), false));
        let script = format!("tokens={max}");
        async move { post(gateway, body, &[("x-sim", &script), ("tollgate-session", session)]).await }
    };
    assert_eq!(header(&call("s", 2_500).await, "tollgate-warn"), "", "nothing was used before");
    let warned = call("s", 2_000).await;
    assert_eq!(header(&warned, "tollgate-warn"), "session=20%");
    let cheaper = call("s", 2_000).await;
    assert_eq!(header(&cheaper, "tollgate-degraded"), "session:tier=cheap");
    assert_eq!(header(&cheaper, "tollgate-target"), "sim/sim-small");
    let shorter = call("s", 2_000).await;
    assert_eq!(header(&shorter, "tollgate-degraded"), "session:tier=cheap, session:max_tokens=300");
    assert_eq!(gateway.receipt(&call_id(&shorter))["usage"]["output"], 300);
    assert_eq!(header(&call("other", 10).await, "tollgate-warn"), "", "another session has a budget of its own");
    let mut last = call("s", 300).await;
    while !header(&last, "tollgate-degraded").ends_with("session:answer") {
        assert_eq!(last.status(), 200);
        last = call("s", 300).await;
    }
    let body: Value = serde_json::from_str(&last.text().await.unwrap()).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], "The budget of this session is spent.", "{body}");
    for (path, body) in [
        (
            "/v1/chat/completions",
            json!({ "model": "sim-1", "max_tokens": 300, "stream": true, "messages": [{ "role": "user", "content": "Hi" }] }),
        ),
        (
            "/v1/messages",
            json!({ "model": "sim-1", "max_tokens": 300, "messages": [{ "role": "user", "content": "Hi" }] }),
        ),
        (
            "/v1/messages",
            json!({ "model": "sim-1", "max_tokens": 300, "stream": true, "messages": [{ "role": "user", "content": "Hi" }] }),
        ),
        ("/v1/responses", json!({ "model": "sim-1", "max_output_tokens": 300, "input": "Hi" })),
        ("/v1/responses", json!({ "model": "sim-1", "stream": true, "max_output_tokens": 300, "input": "Hi" })),
        (
            "/v1beta/models/sim-1:generateContent",
            json!({ "generationConfig": { "maxOutputTokens": 300 }, "contents": [{ "parts": [{ "text": "Hi" }] }] }),
        ),
    ] {
        let request = client().post(gateway.url(path)).bearer_auth(&gateway.key).header("tollgate-session", "s");
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        let (status, degraded) = (answer.status(), header(&answer, "tollgate-degraded"));
        let text = answer.text().await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        assert!(degraded.ends_with("session:answer"), "{path}: {degraded}");
        assert!(text.contains("The budget of this session is spent."), "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_told_in_the_words_of_the_callers_dialect() {
    let gateway =
        with("rates:\n  requests: { per: [key, operation], requests: 3, every: 1h, for: { operation: [chat] } }\n");
    for left in ["2", "1", "0"] {
        let answer = ask(&gateway, chat(Some(5), false), "").await;
        assert_eq!(header(&answer, "x-ratelimit-limit-requests"), "3", "tighter than the provider's");
        assert_eq!(header(&answer, "x-ratelimit-remaining-requests"), left);
        assert!(header(&answer, "x-ratelimit-reset-requests").contains('m'));
    }
    let refused = ask(&gateway, chat(Some(5), false), "").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(header(&refused, "x-ratelimit-remaining-requests"), "0");
    let wait: u64 = header(&refused, "retry-after-ms").parse().unwrap();
    // Three an hour: the next fits twenty minutes after the first came.
    assert!((1_100_000..=1_200_000).contains(&wait), "{wait}");
    assert_eq!(header(&refused, "retry-after"), wait.div_ceil(1_000).to_string());
    let body = json!({ "model": "sim-1", "max_tokens": 5, "messages": [{ "role": "user", "content": "Hi" }] });
    let request = client().post(gateway.url("/v1/messages")).header("x-api-key", &gateway.key);
    let refused = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
    assert_eq!(header(&refused, "anthropic-ratelimit-requests-limit"), "3");
    assert!(header(&refused, "anthropic-ratelimit-requests-reset").ends_with('Z'));
}

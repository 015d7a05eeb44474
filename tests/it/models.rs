//! What targets cost and what there is to call: `tollgate models`, and prices that nobody knows.

use serde_json::{Value, json};

use crate::calls::{chat, client, post};
use crate::support::gateway::{Gateway, tollgate};
use crate::support::replay::{Recorded, Replay};
use crate::support::repository::Repository;

const CATALOG: &str = "as_of: 2026-11-24
source: our contract
models:
  - { provider: sim, model: priced, family: own, tier: standard, operations: [chat], context_tokens: 9000, price: { input: '1', cache_write_1h: '2', output: '3', above: [{ tokens: 1000, input: '1.5', output: '4' }] } }
  - { provider: sim, model: bare, family: own, tier: cheap, region: eu, operations: [chat], features: [tools] }
";

const MANIFEST: &str = "api: tollgate.policy/v1\npolicies: []\n";

fn limits(unknown_price: &str) -> String {
    format!("budgets: {{ month: {{ per: [tenant], limit_usd: \"100\", period: month }} }}\n{unknown_price}\n")
}

fn repository(unknown_price: &str) -> Repository {
    Repository::new(&[
        ("tollgate-policies.yaml", MANIFEST),
        ("catalog/own.yaml", CATALOG),
        ("limits.yaml", &limits(unknown_price)),
    ])
}

fn told(args: &[&str], repository: &Repository) -> String {
    let state = tempfile::tempdir().unwrap();
    let out = tollgate(&[&["models", "--policies", repository.address()], args].concat(), state.path());
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn models_lists_what_can_be_called_with_prices_and_where_they_are_from() {
    let repository = repository("");
    let text = told(&["--family", "own"], &repository);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "a heading, two targets and their number:\n{text}");
    for part in ["sim/priced", "configured", "9000", "1+", "3+", "2026-11-24, our contract"] {
        assert!(lines[1].contains(part), "`{part}` is missing in {}", lines[1]);
    }
    for part in ["sim/bare", "cheap", "eu", "tools", "unknown"] {
        assert!(lines[2].contains(part), "`{part}` is missing in {}", lines[2]);
    }
    let all: Value = serde_json::from_str(&told(&["--json"], &repository)).unwrap();
    let models = all["models"].as_array().unwrap();
    let of = |id: &str| models.iter().find(|m| m["id"] == id).unwrap_or_else(|| panic!("`{id}` is missing"));
    let price = &of("sim/priced")["price"];
    assert_eq!((&price["cache_write_1h"], &price["above"][0]["tokens"]), (&"2".into(), &1000.into()), "{price}");
    assert_eq!((&of("sim/bare")["price"], &of("sim/bare")["configured"]), (&Value::Null, &true.into()));
    assert_eq!(of("anthropic/claude-opus-5")["price"]["cache_write"], "6.25", "the built-in rows are there");
    for provider in ["anthropic", "azure", "bedrock", "cohere", "gemini", "vertex"] {
        let rows: Value = serde_json::from_str(&told(&["--json", "--provider", provider], &repository)).unwrap();
        let rows = rows["models"].as_array().unwrap();
        assert!(rows.len() > 10 && rows.iter().all(|row| row["provider"] == provider), "{provider}");
        assert!(rows.iter().any(|row| !row["price"].is_null()), "{provider} has prices");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_nobody_knows_is_never_zero_in_silence() {
    for (rule, status, booked) in [
        ("", 200, true),
        ("unknown_price: worst_case", 200, true),
        ("unknown_price: flagged", 200, false),
        ("unknown_price: deny", 429, false),
    ] {
        let repository = repository(rule);
        let gateway = Gateway::with(&["--policies", repository.address()], None);
        let answer = post(&gateway, chat("sim/bare").to_string(), &[]).await;
        assert_eq!(answer.status().as_u16(), status, "{rule}");
        let id = answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
        let receipt = gateway.receipt(&id);
        let held = receipt["holds"][0]["held"].as_u64().unwrap_or(0);
        assert_eq!(receipt["cost_nanousd"].as_i64().is_some_and(|cost| cost > 0), booked, "{rule}: {receipt}");
        assert_eq!(held > 0, booked, "{rule}: {receipt}");
        assert_eq!(receipt["price"]["assumed"] == true, booked, "{rule}: {receipt}");
        if booked {
            let source = receipt["price"]["source"].as_str().unwrap();
            assert!(source.contains("`sim/sim-large`"), "the dearest of its provider: {source}");
        }
        if status == 429 {
            assert_eq!(receipt["outcome"]["refusal"]["code"], "price_unknown", "{receipt}");
        }
        let answer = post(&gateway, chat("sim/priced").to_string(), &[]).await;
        assert_eq!(answer.status().as_u16(), 200, "what has a price is called as ever: {rule}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_settles_is_not_above_what_was_held() {
    let repository = repository("");
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    for (text, why) in [("Hello".to_owned(), "a short prompt"), ("many words ".repeat(2_000), "a row for long prompts")]
    {
        let mut body = chat("sim/priced");
        body["messages"][0]["content"] = text.into();
        let answer = post(&gateway, body.to_string(), &[]).await;
        let id = answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
        let receipt = gateway.receipt(&id);
        let (held, cost) = (receipt["holds"][0]["held"].as_i64().unwrap(), receipt["cost_nanousd"].as_i64().unwrap());
        assert!(0 < cost && cost <= held, "{why}: {cost} of {held}");
    }
}

/// An answer of Anthropic's whose model asked another one.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_model_was_asked_on_the_way_is_paid_for_at_its_own_price() {
    let usage = json!({ "input_tokens": 2411, "output_tokens": 145, "iterations": [
        { "type": "message", "input_tokens": 1128, "output_tokens": 135 },
        { "type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2543, "output_tokens": 18 },
        { "type": "message", "input_tokens": 1283, "output_tokens": 10 },
    ] });
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "stop_reason": "end_turn",
        "stop_sequence": null, "content": [{ "type": "text", "text": "4" }], "usage": usage
    });
    let event = |name: &str, mut data: Value| {
        data["type"] = name.into();
        format!("event: {name}\ndata: {data}\n\n")
    };
    let begun = json!({ "message": { "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6",
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 1128, "output_tokens": 1 } } });
    let events = [
        event("message_start", begun),
        event("content_block_start", json!({ "index": 0, "content_block": { "type": "text", "text": "" } })),
        event("content_block_delta", json!({ "index": 0, "delta": { "type": "text_delta", "text": "4" } })),
        event("content_block_stop", json!({ "index": 0 })),
        event(
            "message_delta",
            json!({ "delta": { "stop_reason": "end_turn", "stop_sequence": null }, "usage": usage }),
        ),
        event("message_stop", json!({})),
    ];
    let replay = Replay::default();
    let config = format!(
        "providers: {{ anthropic: {{ base_url: \"{}\", secret: {{ command: [echo, a-key] }} }} }}\n",
        replay.serve().await
    );
    let repository = repository("");
    let gateway = Gateway::with(&["--policies", repository.address()], Some(&config));
    let asked =
        json!({ "model": "claude-sonnet-4-6", "max_tokens": 200, "messages": [{ "role": "user", "content": "2+2?" }] });
    let recorded = |kind: &str, body: Vec<u8>| Recorded {
        status: 200,
        headers: vec![("content-type".to_owned(), kind.to_owned())],
        body,
    };
    for (path, stream) in [
        ("/v1/messages", false),
        ("/v1/messages", true),
        ("/v1/chat/completions", false),
        ("/v1/chat/completions", true),
    ] {
        replay.answer_next(match stream {
            false => recorded("application/json", message.to_string().into_bytes()),
            true => recorded("text/event-stream", events.concat().into_bytes()),
        });
        let mut body = asked.clone();
        body["stream"] = stream.into();
        let request = client().post(gateway.url(path)).bearer_auth(&gateway.key).body(body.to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}, stream: {stream}");
        let id = answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
        answer.bytes().await.unwrap();
        let receipt = gateway.receipt(&id);
        assert_eq!((&receipt["usage"]["input"], &receipt["usage"]["output"]), (&json!(2411), &json!(145)), "{receipt}");
        assert_eq!(receipt["usage_beside"][0]["model"], "claude-opus-4-8", "{path}, stream: {stream}");
        let (own, other) = (2411 * 3_000 + 145 * 15_000, 2543 * 5_000 + 18 * 25_000);
        assert_eq!(receipt["cost_nanousd"], own + other, "{path}, stream: {stream}");
        let out = tollgate(&["explain", &id], &gateway.state);
        let told = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(told.contains("used beside it, claude-opus-4-8: 2543 input") && told.contains("0.022573"), "{told}");
    }
    let out = tollgate(&["budget", "show", "--json", "--operators", &gateway.operators], &gateway.state);
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(told["budgets"][0]["used"], 4 * 22_573_000, "the budget has it: {told}");
}

//! What targets cost and what there is to call: `tollgate models`, and prices that nobody knows.

use serde_json::Value;

use crate::calls::{chat, post};
use crate::support::gateway::{Gateway, tollgate};
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

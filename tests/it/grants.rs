//! Least privilege from outside: what a row of `tenants.yaml` admits, and the one reason that each refusal tells.

use serde_json::{Value, json};

use crate::calls::post;
use crate::keys::{json_of, made, with_tenants};

/// A tenant a restriction, so that each refusal has one reason.
const TENANTS: &str = "tenants: { tools: , text: , classes: , ceiling: , several: , nobody: }
grants:
  - { for: { tenant: tools }, tools: [search, 'read_*'] }
  - { for: { tenant: text }, modalities: [text] }
  - { for: { tenant: classes }, data_classes: [public, internal] }
  - { for: { tenant: ceiling }, models: [sim-1], max_tokens: 7, max_cost_usd: '0.5' }
  - { for: { tenant: several }, operations: [chat], data_classes: [public], tools: [search] }
  - { for: { tenant: several }, operations: [chat], data_classes: [restricted], tools: [vault] }
";

fn with_tools(names: &[&str]) -> Value {
    let tools: Vec<Value> = names
        .iter()
        .map(|name| json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object" } } }))
        .collect();
    json!({ "model": "sim/sim-1", "messages": [{ "role": "user", "content": "Hello" }], "tools": tools })
}

fn with_image() -> Value {
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } });
    json!({ "model": "sim/sim-1", "messages": [{ "role": "user", "content": [{ "type": "text", "text": "what?" }, image] }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_admits_what_it_names_and_a_refusal_says_what_would_be_needed() {
    let (gateway, _folder) = with_tenants(TENANTS);
    let plain = || json!({ "model": "sim/sim-1", "messages": [{ "role": "user", "content": "Hello" }] });
    let twice = r#"{"model":"sim/sim-1","messages":[],"tools":[{"type":"function","function":{"name":"search","name":"shell"}}]}"#;
    for (tenant, body, class, status, code, told, why) in [
        ("tools", plain().to_string(), "", 200, "", "", "no tool at all"),
        ("tools", with_tools(&["search", "read_file"]).to_string(), "", 200, "", "", "tools that it names"),
        (
            "tools",
            with_tools(&["search", "shell"]).to_string(),
            "",
            403,
            "no_grant_tool",
            "`shell`: tenants.yaml:3 admits `search`, `read_*`",
            "one that it does not",
        ),
        ("tools", twice.to_owned(), "", 400, "duplicate_member", "twice", "a tool with two names"),
        ("text", plain().to_string(), "", 200, "", "", "text"),
        (
            "text",
            with_image().to_string(),
            "",
            403,
            "no_grant_modality",
            "`text`, `image`: tenants.yaml:4 admits `text`",
            "a picture",
        ),
        ("classes", plain().to_string(), "internal", 200, "", "", "a class that it names"),
        (
            "classes",
            plain().to_string(),
            "restricted",
            403,
            "no_grant_data_class",
            "`restricted` data: tenants.yaml:5 admits `public`, `internal`",
            "one that it does not",
        ),
        ("classes", plain().to_string(), "", 403, "no_grant_data_class", "unstated", "none said is none of them"),
        ("several", with_tools(&["search"]).to_string(), "public", 200, "", "", "all of one row"),
        ("several", with_tools(&["vault"]).to_string(), "restricted", 200, "", "", "all of the other"),
        (
            "several",
            with_tools(&["vault"]).to_string(),
            "public",
            403,
            "no_grant_tool",
            "`vault`",
            "half of one and half of the other",
        ),
        ("nobody", plain().to_string(), "", 403, "no_grant", "no row under `grants`", "no row is nothing"),
    ] {
        let (_, key) = made(&gateway, json!({ "tenant": tenant })).await;
        let bearer = format!("Bearer {key}");
        let mut headers = vec![("authorization", &*bearer)];
        if !class.is_empty() {
            headers.push(("tollgate-data-class", class));
        }
        let answer = post(&gateway, body, &headers).await;
        let got = answer.status().as_u16();
        let body = json_of(answer).await;
        let refusal = &body["error"]["tollgate"];
        assert_eq!((got, refusal["code"].as_str().unwrap_or_default()), (status, code), "{tenant}: {why}: {body}");
        assert!(refusal["reason"].as_str().unwrap_or_default().contains(told), "{tenant}: {why}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ceiling_of_a_grant_holds_whatever_the_call_asks_for() {
    let (gateway, _folder) = with_tenants(TENANTS);
    let (_, key) = made(&gateway, json!({ "tenant": "ceiling" })).await;
    let bearer = format!("Bearer {key}");
    for (asked, used) in [(Value::Null, 7), (json!(1_000), 7), (json!(3), 3)] {
        let mut body = json!({ "model": "sim/sim-1", "messages": [{ "role": "user", "content": "Hello" }] });
        if !asked.is_null() {
            body["max_tokens"] = asked.clone();
        }
        let answer = post(&gateway, body.to_string(), &[("authorization", &bearer)]).await;
        assert_eq!(answer.status(), 200, "{asked}");
        let id = answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
        let body = json_of(answer).await;
        assert_eq!(body["usage"]["completion_tokens"], used, "asked for {asked}: {body}");
        let terms = &gateway.receipt(&id)["terms"];
        assert_eq!((&terms["max_tokens"], &terms["max_cost_nanousd"]), (&json!(7), &json!(500_000_000)), "{terms}");
    }
}

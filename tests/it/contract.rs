//! Recorded calls of each dated version of the contract, in `tests/contract/VERSION`: they must pass for ever.
//!
//! An answer may gain members, events' members and headers; it may lose or change none. What differs from run to run (ids,
//! times, what people read) is masked on both sides.

use std::path::{Path, PathBuf};

use regex::Regex;
use reqwest::{Method, Response};
use serde_json::{Map, Value, json};

use crate::calls::client;
use crate::clients::kinds;
use crate::corpus::frames;
use crate::support::gateway::Gateway;
use crate::support::repository::Repository;
use crate::support::{hosts, root};

/// Where a case has no answer yet, this writes what came; one that is there is never written.
const GOLDEN: &str = "TOLLGATE_GOLDEN";

/// Headers of answers that count, beside all that begin with `tollgate-`.
const HEADERS: [&str; 7] = [
    "content-type",
    "x-request-id",
    "request-id",
    "x-should-retry",
    "retry-after",
    "retry-after-ms",
    "x-amzn-errortype",
];
/// Of these only that they are there.
const VARIES: [&str; 6] =
    ["tollgate-call-id", "tollgate-revision", "tollgate-cost-usd", "request-id", "retry-after", "retry-after-ms"];
/// Members whose values differ with time, or are for people.
const MASKED: [&str; 9] = [
    "created",
    "created_at",
    "completed_at",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
    "latencyMs",
    "retry_after_ms",
];
/// What people read, where a refusal is told; `reason` too, beside `retryable`.
const SENTENCES: [&str; 2] = ["message", "error"];

/// A policy that turns one use case away and drops a member for another, and one in mode `warn`.
const POLICIES: &[(&str, &str)] = &[
    (
        "tollgate-policies.yaml",
        "api: tollgate.policy/v1\npolicies:\n  - { name: gate, path: policies/gate, hook: pre-route, reads: [meta], mode: enforce, on_error: deny }\n  - { name: watch, path: policies/watch, hook: pre-route, reads: [meta], mode: warn, on_error: deny }\n",
    ),
    (
        "policies/gate/rules.yaml",
        "rules:\n  - when: 'meta.use_case == \"blocked\"'\n    deny: { code: not_for_this, reason: this use case is closed }\n  - when: 'meta.use_case == \"lenient\"'\n    drop: [seed]\n",
    ),
    (
        "policies/watch/rules.yaml",
        "rules:\n  - when: 'meta.use_case == \"watched\"'\n    deny: { code: not_yet, reason: this will be closed }\n",
    ),
];

/// Before a `sim` that is reached in all dialects at once, and in one dialect only each.
fn gateway(sim: &hosts::Host, policies: &Repository) -> Gateway {
    let config = format!("{}edge:\n  body_bytes_max: 8192\n", kinds(sim));
    Gateway::with(&["--policies", policies.address()], Some(&config))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("`{name}` is missing in {value}"))
}

async fn send(gateway: &Gateway, request: &Value) -> Response {
    let method: Method = text(request, "method").parse().unwrap();
    let mut sent = client().request(method, gateway.url(text(request, "path")));
    for (name, value) in request["headers"].as_object().unwrap() {
        sent = sent.header(name, value.as_str().unwrap().replace("KEY", &gateway.key));
    }
    let sent = match &request["body"] {
        Value::Null => sent,
        Value::String(raw) => sent.body(raw.clone()),
        json => sent.body(json.to_string()),
    };
    sent.send().await.unwrap()
}

/// Everything of an answer that the contract promises.
async fn told(answer: Response) -> Value {
    let status = answer.status().as_u16();
    let mut headers = Map::new();
    for (name, value) in answer.headers() {
        let name = name.as_str();
        if HEADERS.contains(&name) || name.starts_with("tollgate-") {
            let told = if VARIES.contains(&name) { "(some)" } else { value.to_str().unwrap() };
            headers.insert(name.to_owned(), masked_text(told).into());
        }
    }
    let kind = headers["content-type"].as_str().unwrap_or_default().to_owned();
    let bytes = answer.bytes().await.unwrap();
    let is_stream = ["event-stream", "ndjson", "eventstream"].iter().any(|framing| kind.contains(framing));
    match is_stream {
        true => {
            let frames = frames::cut(&kind, &bytes).unwrap_or_else(|why| panic!("{why}: {bytes:?}"));
            let events = frames.into_iter().map(|frame| json!({ "event": frame.name, "data": masked(frame.data) }));
            json!({ "status": status, "headers": headers, "events": events.collect::<Vec<_>>() })
        }
        false => {
            let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
            json!({ "status": status, "headers": headers, "body": masked(body) })
        }
    }
}

/// Ids: those that the scripted provider counts, and those made of our call ids.
fn masked_text(text: &str) -> String {
    let ids = ["sim[0-9]{9,}", "call_[0-9A-Za-z]{24}", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[0-9a-f]{32}"];
    ids.iter().fold(text.to_owned(), |text, id| Regex::new(id).unwrap().replace_all(&text, "(id)").into_owned())
}

fn masked(value: Value) -> Value {
    let refused = value.to_string().contains("\"retryable\":");
    mask(value, refused)
}

fn mask(value: Value, refused: bool) -> Value {
    match value {
        Value::Object(members) => {
            let details = members.contains_key("retryable");
            let masked = members.into_iter().map(|(name, value)| {
                let varies = MASKED.contains(&&*name) && !value.is_null();
                let told = (details && name == "reason") || (refused && SENTENCES.contains(&&*name));
                let masks = varies || (told && value.is_string());
                (name, if masks { "(some)".into() } else { mask(value, refused) })
            });
            masked.collect()
        }
        Value::Array(items) => items.into_iter().map(|item| mask(item, refused)).collect(),
        Value::String(text) => masked_text(&text).into(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// What was recorded and is there no more, or is another now.
fn lost(recorded: &Value, got: &Value, at: &str, told: &mut Vec<String>) {
    match (recorded, got) {
        (Value::Object(recorded), Value::Object(members)) => {
            for (name, value) in recorded {
                match members.get(name) {
                    Some(member) => lost(value, member, &format!("{at}/{name}"), told),
                    None => told.push(format!("{at}/{name} is missing")),
                }
            }
        }
        (Value::Array(recorded), Value::Array(items)) if recorded.len() == items.len() => {
            for (n, (value, item)) in recorded.iter().zip(items).enumerate() {
                lost(value, item, &format!("{at}/{n}"), told);
            }
        }
        (recorded, got) if recorded == got => {}
        (recorded, got) => told.push(format!("{at} was {recorded}, is {got}")),
    }
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|kind| kind == "json"));
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_calls_of_every_version_pass_for_ever() {
    let (sim, policies) = (hosts::sim(), Repository::new(POLICIES));
    let gateway = gateway(&sim, &policies);
    let adds = std::env::var_os(GOLDEN).is_some_and(|value| value == "write");
    let document: Value =
        serde_json::from_slice(&std::fs::read(root().join("docs/reference/openapi.json")).unwrap()).unwrap();
    let described = document["components"]["headers"].as_object().unwrap();
    let (mut wrong, mut categories, mut passed) = (Vec::new(), std::collections::BTreeSet::new(), 0);
    for version in std::fs::read_dir(root().join("tests/contract")).unwrap().map(|entry| entry.unwrap().path()) {
        for file in cases(&version) {
            let mut case: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            for request in case["before"].as_array().into_iter().flatten() {
                send(&gateway, request).await.bytes().await.unwrap();
            }
            let got = told(send(&gateway, &case["request"]).await).await;
            if adds && case["answer"].is_null() {
                case["answer"] = got.clone();
                std::fs::write(&file, format!("{case:#}\n")).unwrap();
            }
            let mut differs = Vec::new();
            lost(&case["answer"], &got, "", &mut differs);
            wrong.extend(differs.into_iter().map(|told| format!("{}: {told}", file.display())));
            let headers = got["headers"].as_object().unwrap();
            let unknown = headers.keys().filter(|name| name.starts_with("tollgate-") && !described.contains_key(*name));
            wrong.extend(unknown.map(|name| format!("{}: openapi.json does not tell of `{name}`", file.display())));
            categories.extend(headers.get("tollgate-refusal").and_then(Value::as_str).map(str::to_owned));
            passed += 1;
        }
    }
    assert!(wrong.is_empty(), "the contract is broken:\n{}", wrong.join("\n"));
    assert!(passed >= 40, "only {passed} cases");
    let all =
        document["components"]["schemas"]["refusal_details"]["properties"]["category"]["enum"].as_array().unwrap();
    let missing: Vec<&str> = all.iter().filter_map(Value::as_str).filter(|name| !categories.contains(*name)).collect();
    // The gateway's own failure cannot be asked for; what is interrupted is told in the stream, not in its head.
    assert_eq!(missing, ["internal", "interrupted"], "no case is refused so");
}

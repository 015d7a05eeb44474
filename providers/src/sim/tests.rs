//! `sim` over a real socket: what it is told is what it does.

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::*;

mod dialects;

async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, SimOptions::default()));
    format!("http://{address}")
}

async fn post(base: &str, path: &str, body: Value) -> (u16, String) {
    let response = reqwest::Client::new().post(format!("{base}/v1{path}")).body(body.to_string()).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap_or_else(|why| format!("broken: {why}")))
}

fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "Tell me" }] })
}

fn stream(model: &str) -> Value {
    let mut body = chat(model);
    body["stream"] = true.into();
    body
}

#[tokio::test]
async fn what_is_scripted_happens() {
    let base = start().await;
    for (body, status, part, why) in [
        (chat("sim-1"), 200, "sim: Tell me", "it begins with the question"),
        (chat("sim-1?status=429"), 429, "rate_limit_exceeded", "an error by its status"),
        (chat("sim-1?error=quota"), 429, "insufficient_quota", "a spent quota"),
        (chat("sim-1?error=html"), 502, "<html>", "a proxy's page"),
        (chat("sim-1?latncy=1"), 400, "did you mean `latency`", "an unknown directive"),
        (chat("sim-1?usage=none"), 200, "sim:", "an answer without usage"),
        (chat("sim-1?cut=10"), 200, "broken", "a JSON answer that breaks off"),
        (stream("sim-1"), 200, "data: [DONE]\n\n", "a stream has its end"),
        (stream("sim-1?nodone"), 200, "\"finish_reason\":\"stop\"", "or not"),
        (stream("sim-1?crlf"), 200, "data: [DONE]\r\n\r\n", "other line ends"),
        (stream("sim-1?malformed=2"), 200, "chatcmpl-broken", "an event that is no JSON"),
        (stream("sim-1?error_at=2"), 200, "told to fail here", "an error in the stream"),
        (stream("sim-1?cut=2"), 200, "broken", "a stream that breaks off"),
        (stream("sim-1?split"), 200, "日本語", "events cut within letters are whole in the end"),
    ] {
        let (got, text) = post(&base, "/chat/completions", body).await;
        assert_eq!(got, status, "{why}: {text}");
        assert!(text.contains(part), "{why}: {text}");
    }
}

#[tokio::test]
async fn tools_and_schemas_are_answered_in_kind() {
    let base = start().await;
    let mut body = chat("sim-1");
    body["tools"] = json!([{ "type": "function", "function": { "name": "look", "parameters": { "type": "object", "properties": { "city": { "type": "string" } } } } }]);
    body["tool_choice"] = "required".into();
    let (_, text) = post(&base, "/chat/completions", body).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!((call["name"].as_str(), call["arguments"].as_str()), (Some("look"), Some(r#"{"city":"sim"}"#)));
    let mut body = chat("sim-1");
    body["max_tokens"] = 3.into();
    let (_, text) = post(&base, "/chat/completions", body).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
}

#[tokio::test]
async fn embeddings_are_the_same_for_the_same_text() {
    let base = start().await;
    let body = json!({ "model": "sim-embed", "input": ["a", "b", "a"], "dimensions": 8 });
    let (_, text) = post(&base, "/embeddings", body).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    let at = |n: usize| answer["data"][n]["embedding"].clone();
    assert_eq!(at(0), at(2));
    assert_ne!(at(0), at(1));
    assert_eq!(at(0).as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn the_truth_is_what_was_sent_and_whether_the_caller_stayed() {
    let base = start().await;
    let client = reqwest::Client::new();
    post(&base, "/chat/completions", chat("sim-1")).await;
    let body = stream("sim-1?tps=20&tokens=100").to_string();
    let response =
        client.post(format!("{base}/v1/chat/completions")).bearer_auth("sk-canary").body(body).send().await.unwrap();
    let mut events = response.bytes_stream();
    events.next().await.unwrap().unwrap();
    drop(events);
    let mut log: Vec<Value> = Vec::new();
    for _ in 0..200 {
        let text = client.get(format!("{base}/sim/truth")).send().await.unwrap().text().await.unwrap();
        log = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert!(!text.contains("sk-canary"), "credentials are never kept");
        if log.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((log[0]["complete"].as_bool(), log[1]["complete"].as_bool()), (Some(true), Some(false)));
    assert_eq!(log[0]["usage"]["completion_tokens"], 16);
}

//! Recorded exchanges of OpenAI's chat and embeddings, through the gateway and back: equal, with the recorded usage.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::replay::{Recorded, Replay};
use crate::support::{self};

/// The recorded exchanges of one API.
fn exchanges(api: &str) -> Vec<Value> {
    let Some(corpus) = support::corpus(&format!("recorded exchanges of {api}")) else { return Vec::new() };
    let mut files: Vec<_> =
        std::fs::read_dir(corpus.join("exchanges").join(api)).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| serde_json::from_slice(&std::fs::read(f).unwrap()).unwrap()).collect()
}

/// Comments of ours and the usage chunk that we asked for and the caller did not are no difference.
fn without_ours(sse: &str, asked_usage: bool) -> String {
    let keep = |event: &&str| {
        let ours = event.starts_with(": tollgate");
        let usage = !asked_usage && event.contains("\"choices\":[]") && event.contains("\"usage\":{");
        !ours && !usage
    };
    sse.split_inclusive("\n\n").filter(keep).collect()
}

/// Every exchange is sent and its answer compared; all differences are told at once.
async fn replay(api: &str, path: &str, default_headers: &[(&str, &str)]) {
    let exchanges = exchanges(api);
    if exchanges.is_empty() {
        return;
    }
    let provider = Replay::default();
    let base_url = provider.serve().await;
    let name = api.split('.').next().unwrap_or(api);
    let config = format!(
        "providers:\n  {name}: {{ base_url: \"{base_url}\", default: true, unlisted: true, secret: {{ env: HOME }} }}\n"
    );
    let gateway = Gateway::with(&[], Some(&config));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    for exchange in &exchanges {
        let id = exchange["id"].as_str().unwrap();
        provider.put(id, Recorded::of(exchange));
        let mut request = client
            .post(gateway.url(path))
            .bearer_auth(&gateway.key)
            .header("user-agent", id)
            .header("content-type", "application/json")
            .body(exchange["request"]["body"].to_string());
        for (name, value) in default_headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let call_id = answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
        let body = answer.bytes().await.unwrap();
        if let Err(why) = compare(exchange, status, &body, &provider, id) {
            wrong.insert(id.to_owned(), why);
            continue;
        }
        if let Err(why) = usage_in(&gateway.receipt(&call_id), exchange) {
            wrong.insert(id.to_owned(), why);
        }
    }
    println!("{api}: {} exchanges, {} differ", exchanges.len(), wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn compare(exchange: &Value, status: u16, body: &[u8], provider: &Replay, id: &str) -> Result<(), String> {
    let recorded = &exchange["response"];
    let told = |what: &str| Err(format!("{what}: {}", String::from_utf8_lossy(&body[..body.len().min(600)])));
    if status != recorded["status"].as_u64().unwrap() as u16 {
        return told(&format!("status {status} instead of {}", recorded["status"]));
    }
    let received = provider.received.lock().unwrap().get(id).cloned().ok_or("it did not reach the provider")?;
    let mut sent: Value = serde_json::from_slice(&received.body).map_err(|e| e.to_string())?;
    let asked = &exchange["request"]["body"];
    if asked["stream"] == true && sent["stream_options"] != asked["stream_options"] {
        let ours = serde_json::json!({ "include_usage": true });
        let mut merged = asked["stream_options"].as_object().cloned().unwrap_or_default();
        merged.extend(ours.as_object().cloned().unwrap_or_default());
        if sent["stream_options"] != Value::Object(merged) {
            return told("`stream_options` was changed in another way than asked for");
        }
        match asked.get("stream_options") {
            Some(options) => sent["stream_options"] = options.clone(),
            None => drop(sent.as_object_mut().unwrap().remove("stream_options")),
        }
    }
    if sent != *asked {
        return Err(format!("another request reached the provider: {sent}"));
    }
    if received.headers.values().any(|v| v.as_bytes().windows(3).any(|w| w == b"tg_")) {
        return told("the caller's key reached the provider");
    }
    if recorded["body_encoding"] == "text" {
        let asked_usage = asked["stream_options"]["include_usage"] == true;
        let expected = without_ours(recorded["body"].as_str().unwrap(), asked_usage);
        let got = without_ours(&String::from_utf8_lossy(body), asked_usage);
        return if expected == got { Ok(()) } else { told("another stream came back") };
    }
    let got: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    if got == recorded["body"] { Ok(()) } else { told("another body came back") }
}

/// Audio that the provider counts beside its prompt rather than in it.
fn beside(recorded: &Value) -> u64 {
    let audio = recorded["prompt_tokens_details"]["audio_tokens"].as_u64().unwrap_or(0);
    if audio > recorded["prompt_tokens"].as_u64().unwrap_or(0) { audio } else { 0 }
}

fn usage_in(receipt: &Value, exchange: &Value) -> Result<(), String> {
    let recorded = &exchange["usage"];
    if recorded.is_null() || exchange["response"]["status"] != 200 {
        return Ok(());
    }
    let count = |v: &Value, name: &str| v[name].as_u64().unwrap_or(0);
    let usage = &receipt["usage"];
    let sum = |kinds: &[&str]| kinds.iter().map(|kind| count(usage, kind)).sum::<u64>();
    let input = sum(&["input", "cached_input", "cache_write", "input_audio"]) - beside(recorded);
    let output = sum(&["output", "reasoning", "output_audio"]);
    let same = input == count(recorded, "prompt_tokens") && output == count(recorded, "completion_tokens");
    let cached =
        count(usage, "cached_input") == recorded["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
    match same && cached && usage["estimated"].is_null() {
        true => Ok(()),
        false => Err(format!("the receipt has the usage {usage}, recorded is {recorded}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_chats_come_back_equal() {
    replay("openai.chat", "/v1/chat/completions", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_embeddings_come_back_equal() {
    replay("openai.embeddings", "/v1/embeddings", &[]).await;
}

/// Servers that speak OpenAI's dialect with habits of their own.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_chats_of_compatible_servers_come_back_equal() {
    for api in [
        "groq.chat",
        "mistral.chat",
        "deepseek.chat",
        "openrouter.chat",
        "other-openai.chat",
        "ollama-openai.chat",
        "together.chat",
        "cerebras.chat",
    ] {
        replay(api, "/v1/chat/completions", &[]).await;
    }
}

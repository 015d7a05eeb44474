//! Errors of providers that nobody recorded (`error-shapes.jsonl`): their category, whether a retry helps, how long to wait,
//! for callers of every dialect; and the next call works.

use serde_json::Value;

use super::cross::{self, asking};
use super::exchange::{self, Exchange, Place, Talk};
use super::frames::message;
use super::rig::{Came, Rig};
use super::{Wrong, nothing_wrong, told};
use crate::support;
use crate::support::replay::Recorded;

fn rows() -> Vec<Value> {
    let Some(corpus) = support::corpus("errors that nobody recorded") else { return Vec::new() };
    let lines = std::fs::read_to_string(corpus.join("error-shapes.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn place(kind: &'static str) -> Place {
    Place {
        kind,
        base: "/failing".to_owned(),
        model_in_path: false,
        path: String::new(),
        model: "some-model".to_owned(),
    }
}

const KINDS: [&str; 9] =
    ["openai", "azure", "anthropic", "gemini", "bedrock", "cohere", "ollama", "mistral", "responses"];

/// The provider of a row, and the dialect that the error stands in.
fn provider(row: &Value) -> (&'static str, Talk) {
    let place = row["where"].as_str().unwrap_or_default();
    let named = KINDS.into_iter().find(|kind| row["provider"] == *kind).expect("a kind that is known");
    match named {
        "openai" if place.contains("responses") => ("responses", Talk::Responses),
        "anthropic" => (named, Talk::Messages),
        "gemini" => (named, Talk::Gemini),
        "bedrock" => (named, Talk::Bedrock),
        "cohere" => (named, Talk::Cohere),
        "ollama" => (named, Talk::Ollama),
        _ => (named, Talk::Chat),
    }
}

fn recorded(row: &Value) -> (Recorded, bool) {
    let headers = row["headers"].as_object().into_iter().flatten();
    let headers = headers.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()));
    let status = row["status"].as_u64().unwrap() as u16;
    let answer = |kind: &str, body: Vec<u8>| {
        let headers = headers.clone().chain([("content-type".to_owned(), kind.to_owned())]).collect();
        Recorded { status, headers, body }
    };
    if let Some(sse) = row["sse"].as_str() {
        return (answer("text/event-stream", sse.as_bytes().to_vec()), true);
    }
    if let Some(frame) = row["frame"].as_object() {
        let headers: Vec<(&str, &str)> = frame.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
        return (answer("application/vnd.amazon.eventstream", message(&headers, &row["body"].to_string())), true);
    }
    if row["error"].is_object() {
        return (answer("text/event-stream", format!("event: error\ndata: {}\n\n", row["error"]).into_bytes()), true);
    }
    match row["where"] == "ndjson" {
        true => (answer("application/x-ndjson", format!("{}\n", row["body"]).into_bytes()), true),
        false => (answer("application/json", row["body"].to_string().into_bytes()), false),
    }
}

/// What a row means, by its status and whether a retry helps.
fn category(row: &Value) -> &'static str {
    match (row["status"].as_u64().unwrap_or(0), row["retry"] == true) {
        (429, true) => "rate_limited",
        (429, false) => "budget_exceeded",
        (503 | 529, _) => "overloaded",
        (413, _) => "too_large",
        (400, _) if row["body"]["error"]["code"] == "content_filter" => "content_filtered",
        (400 | 422, _) => "invalid_request",
        (_, _) => "upstream_outage",
    }
}

/// How long the provider asks to wait, in milliseconds.
fn delay(row: &Value) -> Option<u64> {
    let header = row["headers"]["retry-after"].as_str().map(|s| s.parse::<f64>().unwrap());
    let details = row["body"]["error"]["details"].as_array().into_iter().flatten();
    let in_body =
        details.filter_map(|d| d["retryDelay"].as_str()).map(|s| s.trim_end_matches('s').parse().unwrap()).next();
    header.or(in_body).map(|s: f64| (s * 1_000.0).round() as u64)
}

fn compare(row: &Value, talk: Talk, stream: bool, came: &Came) -> Result<(), String> {
    let header = |name: &str| came.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    if stream {
        let kind = header("content-type").unwrap_or_default();
        let told = told::streamed(talk, &kind, &came.body, false)?;
        return if told.failed { Ok(()) } else { Err("the caller was not told that the stream failed".to_owned()) };
    }
    let should = (row["retry"] == true).to_string();
    if header("x-should-retry").as_deref() != Some(should.as_str()) {
        return Err(format!("`x-should-retry` is {:?} instead of {should}", header("x-should-retry")));
    }
    if header("tollgate-refusal").as_deref() != Some(category(row)) {
        return Err(format!("it is {:?} instead of {}", header("tollgate-refusal"), category(row)));
    }
    let waits = header("retry-after-ms").and_then(|ms| ms.parse().ok());
    if let Some(delay) = delay(row)
        && waits != Some(delay)
    {
        return Err(format!("one shall wait {waits:?} instead of {delay} ms"));
    }
    if came.status < 400 {
        return Err(format!("it came back as {}", came.status));
    }
    Ok(())
}

async fn fail(rig: &mut Rig, row: &Value, caller: Talk, good: &[Exchange]) -> Result<(), String> {
    let (kind, theirs) = provider(row);
    let (answer, stream) = recorded(row);
    let model = format!("{}/some-model", rig.provider(&place(kind)));
    let mut body = cross::plain_request(caller, stream);
    let ask = asking(caller, None, &model, stream, &mut body);
    let came = rig.call(ask, answer).await;
    compare(row, caller, stream, &came).map_err(|why| format!("{why}\n  {}", came.text()))?;
    // In one dialect the provider's own words are handed over; Azure and Mistral speak Chat's.
    let spoken = if caller == Talk::Responses && kind == "azure" { Talk::Responses } else { theirs };
    if caller == spoken && !stream && came.json() != row["body"] {
        return Err(format!("its own words were changed: {}", came.text()));
    }
    let theirs = match (caller, kind) {
        (Talk::Chat, "ollama") => Talk::Chat,
        (Talk::Responses, "azure" | "openai") => Talk::Responses,
        _ => theirs,
    };
    let next = cross::plain_answer(good, theirs, false);
    let mut body = cross::plain_request(caller, false);
    let ask = asking(caller, None, &model, false, &mut body);
    let came = rig.call(ask, next.answer.clone()).await;
    if came.status == 200 { Ok(()) } else { Err(format!("the next call does not work: {}", came.text())) }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_providers_are_told_for_what_they_are() {
    let rows = rows();
    if rows.is_empty() {
        return;
    }
    let good = exchange::all();
    let mut rig = Rig::start(KINDS.into_iter().map(place)).await;
    let mut wrong = Wrong::new();
    for (at, row) in rows.iter().enumerate() {
        for caller in Talk::ALL {
            if let Err(why) = fail(&mut rig, row, caller, &good).await {
                wrong.insert(format!("row {}, {} {} to {caller:?}", at + 1, row["provider"], row["status"]), why);
            }
        }
    }
    nothing_wrong(&wrong, rig.calls);
}

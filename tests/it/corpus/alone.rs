//! Answers that were recorded without their requests: the odd cases of parsing, told to callers of every other dialect.

use serde_json::{Value, json};

use super::cross;
use super::exchange::{Exchange, Talk};
use super::frames::message;
use super::rig::Rig;
use super::{Wrong, nothing_wrong};
use crate::support;
use crate::support::replay::Recorded;

/// What is not told as it was, to these callers, and why: each must stay wrong, or leave this list.
const WRONG: &[(&str, &[Talk], &str)] = &[
    (
        "openai/openai-shell-container.1.chunks.txt",
        &[Talk::Chat, Talk::Messages, Talk::Gemini, Talk::Bedrock, Talk::Cohere, Talk::Ollama],
        "its pieces are another text than its last event repeats",
    ),
    (
        "anthropic/spliced-message-start.chunks.txt",
        &[Talk::Gemini, Talk::Ollama],
        "a second message begins within a call: calls stand whole there, and half of one is left out or told as a failure",
    ),
];

/// As exchanges; those that are no answer in a conversation are left out.
fn all() -> Vec<Exchange> {
    let Some(corpus) = support::corpus("answers recorded without their requests") else { return Vec::new() };
    let lines = std::fs::read_to_string(corpus.join("responses-only/responses-only.jsonl")).unwrap();
    lines.lines().filter_map(|line| exchange(&serde_json::from_str(line).unwrap())).collect()
}

fn exchange(row: &Value) -> Option<Exchange> {
    let stream = row["stream"] == true;
    let chunks = row["chunks"].as_array().map_or(&[][..], Vec::as_slice);
    // Some rows hold the answers of several turns, one behind the other: the first is one.
    let ends = |chunk: &Value| matches!(chunk["type"].as_str(), Some("message_stop" | "response.completed"));
    let chunks = chunks.iter().position(ends).map_or(chunks, |at| &chunks[..=at]);
    let talk = talk(chunks.first().unwrap_or(&row["body"]))?;
    let (content_type, body) = match stream {
        true => framed(talk, chunks),
        false => ("application/json", row["body"].to_string().into_bytes()),
    };
    let headers = vec![("content-type".to_owned(), content_type.to_owned())];
    Some(Exchange {
        id: row["id"].as_str()?.to_owned(),
        api: api(talk).to_owned(),
        path: String::new(),
        query: None,
        model: String::new(),
        stream,
        headers: Vec::new(),
        request: json!({}),
        answer: Recorded { status: 200, headers, body },
        json: row["body"].clone(),
        usage: Value::Null,
    })
}

/// By what stands in it.
fn talk(first: &Value) -> Option<Talk> {
    let has = |name: &str| first.get(name).is_some();
    let kind = first["type"].as_str().unwrap_or_default();
    if first["object"] == "text_completion" {
        return None;
    }
    Some(match () {
        () if has("choices") => Talk::Chat,
        () if kind.starts_with("response.") || first["response"].is_object() => Talk::Responses,
        () if has("stopReason") || has("messageStart") || has("contentBlockStart") || has("contentBlockDelta") => {
            Talk::Bedrock
        }
        () if has("output") => Talk::Responses,
        () if kind == "message_start" || has("stop_reason") => Talk::Messages,
        () if has("candidates") => Talk::Gemini,
        () if kind == "message-start" || has("finish_reason") => Talk::Cohere,
        () => return None,
    })
}

fn api(talk: Talk) -> &'static str {
    match talk {
        Talk::Chat => "openai.chat",
        Talk::Responses => "openai.responses",
        Talk::Messages => "anthropic.messages",
        Talk::Gemini => "gemini.generateContent",
        Talk::Bedrock => "bedrock.converse",
        Talk::Cohere => "cohere.v2.chat",
        Talk::Ollama => "ollama.chat",
    }
}

/// The framing that the recorder did not keep.
fn framed(talk: Talk, chunks: &[Value]) -> (&'static str, Vec<u8>) {
    let sse = "text/event-stream";
    let plain = |chunk: &Value, end: &str| format!("data: {chunk}{end}");
    match talk {
        Talk::Bedrock => {
            let frame = |chunk: &Value| {
                let (name, payload) = chunk.as_object().unwrap().iter().next().unwrap();
                let headers =
                    [(":event-type", name.as_str()), (":content-type", "application/json"), (":message-type", "event")];
                message(&headers, &payload.to_string())
            };
            ("application/vnd.amazon.eventstream", chunks.iter().flat_map(frame).collect())
        }
        Talk::Chat => {
            let text: String = chunks.iter().map(|chunk| plain(chunk, "\n\n")).collect();
            (sse, format!("{text}data: [DONE]\n\n").into_bytes())
        }
        Talk::Gemini => (sse, chunks.iter().map(|chunk| plain(chunk, "\r\n\r\n")).collect::<String>().into_bytes()),
        Talk::Responses | Talk::Messages | Talk::Cohere | Talk::Ollama => {
            let named = |c: &Value| format!("event: {}\ndata: {c}\n\n", c["type"].as_str().unwrap_or_default());
            (sse, chunks.iter().map(named).collect::<String>().into_bytes())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_their_requests_tell_the_same_in_other_dialects() {
    let exchanges = all();
    if exchanges.is_empty() {
        return;
    }
    let mut rig = Rig::start(cross::pairs().map(|(from, to)| cross::place(from, to))).await;
    let mut wrong = Wrong::new();
    for (caller, provider) in cross::pairs() {
        for exchange in exchanges.iter().filter(|e| e.talk() == Some(provider)) {
            if let Err(why) = cross::answer(&mut rig, exchange, caller).await {
                wrong.insert(format!("{} told to {caller:?}", exchange.id), why);
            }
        }
    }
    assert!(rig.calls > 500, "{} calls: something leaves them out", rig.calls);
    for (id, callers, why) in WRONG {
        for caller in *callers {
            let known = format!("vercel-ai/{id} told to {caller:?}");
            assert!(wrong.remove(&known).is_some(), "{known}: it is right now, though {why}");
        }
    }
    nothing_wrong(&wrong, rig.calls);
}

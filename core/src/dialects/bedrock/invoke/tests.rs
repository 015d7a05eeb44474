//! Bodies in Anthropic's form through the canonical one, and what answers of all vendors tell beside their bytes.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::contract::base64;
use crate::contract::canonical::event::Event;
use crate::contract::refusal::Category;
use crate::contract::skim::skim;
use crate::contract::usage::Usage;
use crate::dialects::Quirks;
use crate::dialects::frames::{Framer, event_stream};
use crate::dialects::retold::GIVEN;

fn frames(bytes: Vec<u8>) -> Vec<Bytes> {
    let (mut framer, mut out) = (event_stream::EventStream::default(), Vec::new());
    framer.feed(Bytes::from(bytes), &mut out).unwrap();
    assert!(framer.rest().is_empty());
    out
}

fn chunk(event: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let payload = json!({ "bytes": base64::encode(event.to_string().as_bytes()), "p": "abc" }).to_string();
    let headers = [(":event-type", "chunk"), (":content-type", "application/json"), (":message-type", "event")];
    event_stream::write(&headers, payload.as_bytes(), &mut out);
    out
}

#[test]
fn a_body_in_anthropics_form_is_read_and_one_of_another_is_not() {
    let body = br#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["x"],"max_tokens":5,"messages":[{"role":"user","content":"hi"}],"container":"c"}"#;
    let skimmed = skim(body).unwrap();
    let request = Invoke.read_request(body, &skimmed, &GIVEN).unwrap();
    assert_eq!((request.max_tokens, request.messages.len()), (Some(5), 1));
    let extra: Vec<&str> = request.extra.iter().map(|(path, _)| &**path).collect();
    assert_eq!(extra, ["container"], "what asks for something stays to be told");

    let quirks = Quirks::default();
    let to = To { model: "anthropic.claude", output_tokens_max: None, quirks: &quirks };
    let written: Value = serde_json::from_slice(&Invoke.write_request(&request, &to).body).unwrap();
    assert_eq!(written["anthropic_version"], "bedrock-2023-05-31");
    assert!(written.get("model").is_none() && written.get("stream").is_none(), "the path says them: {written}");

    let other = br#"{"prompt":"hi","max_gen_len":5}"#;
    let wrong = Invoke.read_request(other, &skim(other).unwrap(), &GIVEN).unwrap_err();
    assert!(wrong.unsupported && wrong.path == "anthropic_version", "{wrong}");
}

#[test]
fn a_stream_is_written_as_it_is_read() {
    let told = [
        json!({ "type": "message_start", "message": { "id": "m", "model": "c", "usage": { "input_tokens": 3, "output_tokens": 1 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "a \"b\"\n\n" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "max_tokens" }, "usage": { "output_tokens": 7 } }),
        json!({ "type": "message_stop" }),
    ];
    let (mut reader, mut events) = (Invoke.stream_reader(&GIVEN), Vec::new());
    for event in &told {
        for frame in frames(chunk(event)) {
            reader.frame(&event_stream::read(&frame), &mut events).unwrap();
        }
    }
    assert_eq!(events.last(), Some(&Event::Done));
    let (mut writer, mut out) = (Invoke.stream_writer(&GIVEN), Vec::new());
    events.iter().for_each(|event| writer.event(event, &mut out));
    let (mut again, mut twice, mut notes) = (Invoke.stream_reader(&GIVEN), Vec::new(), Notes::default());
    let written = frames(out);
    for frame in &written {
        let frame = event_stream::read(frame);
        assert_eq!(frame.name, "chunk");
        again.frame(&frame, &mut twice).unwrap();
        Invoke.note(&frame, &mut notes);
    }
    let texts = |events: &[Event]| {
        format!("{:?}", events.iter().filter(|e| matches!(e, Event::Delta { .. })).collect::<Vec<_>>())
    };
    assert_eq!(texts(&events), texts(&twice));
    let last = stream::event(&event_stream::read(written.last().unwrap()).data).unwrap();
    let last: Value = serde_json::from_slice(&last).unwrap();
    assert_eq!(last["amazon-bedrock-invocationMetrics"]["outputTokenCount"], 7, "{last}");
    assert_eq!(notes.usage, Some(Usage { input: 3, output: 7, ..Usage::default() }));
    assert!(notes.done && notes.finish_reason.as_deref() == Some("max_tokens"));
}

#[test]
fn a_refusal_in_a_stream_is_an_exception_of_amazons() {
    let (mut writer, mut out) = (Invoke.stream_writer(&GIVEN), Vec::new());
    writer.refusal(&Refusal::new(Category::Interrupted, "stream_interrupted", "it broke off"), "r", &mut out);
    let written = frames(out);
    let frame = event_stream::read(&written[0]);
    assert!(frame.is_error && frame.name.ends_with("Exception"), "{frame:?}");
    let mut notes = Notes::default();
    Invoke.note(&frame, &mut notes);
    assert!(notes.error.is_some_and(|error| error.contains("it broke off")));
}

#[test]
fn every_vendors_count_and_reason_are_found() {
    for (body, input, output, reason, why) in [
        (
            json!({ "type": "message", "content": [], "stop_reason": "end_turn", "usage": { "input_tokens": 3, "output_tokens": 4 } }),
            3,
            4,
            "end_turn",
            "Anthropic",
        ),
        (
            json!({ "output": {}, "stopReason": "max_tokens", "usage": { "inputTokens": 3, "outputTokens": 4, "totalTokens": 7 } }),
            3,
            4,
            "max_tokens",
            "Amazon Nova",
        ),
        (
            json!({ "inputTextTokenCount": 3, "results": [{ "tokenCount": 4, "outputText": "", "completionReason": "FINISH" }] }),
            3,
            4,
            "FINISH",
            "Amazon Titan",
        ),
        (
            json!({ "generation": "", "prompt_token_count": 3, "generation_token_count": 4, "stop_reason": "stop" }),
            3,
            4,
            "stop",
            "Meta",
        ),
        (
            json!({ "choices": [{ "finish_reason": "stop", "message": {} }], "usage": { "prompt_tokens": 3, "completion_tokens": 4 } }),
            3,
            4,
            "stop",
            "those who follow OpenAI",
        ),
        (json!({ "generations": [{ "finish_reason": "MAX_TOKENS" }] }), 5, 6, "MAX_TOKENS", "Cohere: the head tells"),
        (json!({ "outputs": [{ "text": "", "stop_reason": "length" }] }), 5, 6, "length", "Mistral: the head tells"),
    ] {
        let mut notes = Invoke.glance(body.to_string().as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-bedrock-input-token-count", "5".parse().unwrap());
        headers.insert("x-amzn-bedrock-output-token-count", "6".parse().unwrap());
        Invoke.glance_head(&headers, &mut notes);
        assert_eq!(notes.usage, Some(Usage { input, output, ..Usage::default() }), "{why}");
        assert_eq!(notes.finish_reason.as_deref(), Some(reason), "{why}");
    }
}

/// The vendor's own count goes before Amazon's; where it has none, Amazon's last word counts.
#[test]
fn streams_of_every_vendor_are_noted() {
    let metrics = json!({ "inputTokenCount": 10, "outputTokenCount": 60, "cacheReadInputTokenCount": 2 });
    for (events, expected, reason, why) in [
        (
            vec![
                json!({ "generation": "a", "prompt_token_count": 10, "generation_token_count": 1, "stop_reason": null }),
                json!({ "generation": "b", "generation_token_count": 60, "stop_reason": "length", "amazon-bedrock-invocationMetrics": metrics }),
            ],
            Usage { input: 10, cached_input: 2, output: 60, ..Usage::default() },
            "length",
            "Meta",
        ),
        (
            vec![
                json!({ "messageStart": { "role": "assistant" } }),
                json!({ "messageStop": { "stopReason": "tool_use" } }),
                json!({ "metadata": { "usage": { "inputTokens": 4, "outputTokens": 5 } }, "amazon-bedrock-invocationMetrics": metrics }),
            ],
            Usage { input: 4, output: 5, ..Usage::default() },
            "tool_use",
            "Amazon Nova",
        ),
        (
            vec![
                json!({ "type": "message_start", "message": { "usage": { "input_tokens": 3, "output_tokens": 1 } } }),
                json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 9 } }),
                json!({ "type": "message_stop", "amazon-bedrock-invocationMetrics": metrics }),
            ],
            Usage { input: 3, output: 9, ..Usage::default() },
            "end_turn",
            "Anthropic",
        ),
        (
            vec![
                json!({ "type": "completion", "completion": "", "stop_reason": "stop_sequence", "amazon-bedrock-invocationMetrics": metrics }),
            ],
            Usage { input: 10, cached_input: 2, output: 60, ..Usage::default() },
            "stop_sequence",
            "Anthropic's oldest form",
        ),
    ] {
        let mut notes = Notes::default();
        let bytes: Vec<u8> = events.iter().flat_map(chunk).collect();
        for frame in frames(bytes) {
            Invoke.note(&event_stream::read(&frame), &mut notes);
        }
        assert_eq!(notes.usage, Some(expected), "{why}");
        assert!(notes.done && notes.finish_reason.as_deref() == Some(reason), "{why}: {notes:?}");
    }
}

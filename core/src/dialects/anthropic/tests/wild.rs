//! Streams as they really come, and bytes that are no streams at all.

use proptest::prelude::*;
use serde_json::json;

use super::{comparable, write_stream};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event, StreamError};
use crate::contract::canonical::part::{Maker, Signature};
use crate::contract::skim::skim;
use crate::contract::usage::Usage;
use crate::dialects::anthropic::Anthropic;
use crate::dialects::frames::{Framer, sse};
use crate::dialects::recorded::{events, exchanges, given};
use crate::dialects::{Codec, Notes};

fn cut(body: &[u8], size: usize) -> Vec<bytes::Bytes> {
    let (mut framer, mut frames) = (sse::Sse::default(), Vec::new());
    for piece in body.chunks(size.max(1)) {
        framer.feed(bytes::Bytes::copy_from_slice(piece), &mut frames).unwrap();
    }
    frames.push(framer.rest());
    frames
}

pub fn noted(body: &[u8]) -> Notes {
    let mut notes = Notes::default();
    cut(body, body.len()).iter().for_each(|frame| Anthropic.note(&sse::read(frame), &mut notes));
    notes
}

/// A stream of these payloads, without names of events.
fn stream(payloads: &[serde_json::Value]) -> Vec<u8> {
    payloads.iter().flat_map(|payload| format!("data: {payload}\n\n").into_bytes()).collect()
}

fn read(payloads: &[serde_json::Value]) -> Vec<Event> {
    events(&Anthropic, &given("asked"), &stream(payloads)).unwrap()
}

fn text(part: u64, text: &str) -> Event {
    Event::Delta { choice: 0, part, delta: Delta::Text(text.into()) }
}

fn arguments(part: u64, json: &str) -> Event {
    Event::Delta { choice: 0, part, delta: Delta::Arguments(json.into()) }
}

/// What is told first, also where a server leaves its first event out.
fn start() -> Event {
    Event::Start { id: String::new(), model: String::new(), created_s: None }
}

fn begin_call(part: u64) -> Event {
    Event::Begin { choice: 0, part, kind: Begins::ToolCall { id: format!("call_{part}"), name: "f".into() } }
}

fn end(part: u64) -> Event {
    Event::End { choice: 0, part }
}

fn finish(reason: Finish) -> Event {
    Event::Finish { choice: 0, reason, stop_sequence: None }
}

#[test]
fn a_message_that_begins_again_goes_on_in_new_parts() {
    let start = json!({"type": "message_start", "message": {"id": "a", "model": "m", "usage": {"input_tokens": 3}}});
    let begin = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let says = |t: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": t}});
    let read =
        read(&[start.clone(), begin.clone(), says("x"), start, begin, says("y"), json!({"type": "message_stop"})]);
    let begin = |part| Event::Begin { choice: 0, part, kind: Begins::Text };
    let told = [begin(0), text(0, "x"), end(0), begin(1), text(1, "y"), end(1), finish(Finish::Stop), Event::Done];
    assert_eq!(comparable(read).0[1..], told);
}

#[test]
fn what_stands_in_the_begin_of_a_block_counts_unless_it_comes_in_pieces() {
    let begin = json!({"type": "content_block_start", "index": 4, "content_block":
        {"type": "tool_use", "id": "call_0", "name": "f", "input": {"a": 1.50}}});
    let piece = json!({"type": "content_block_delta", "index": 4, "delta":
        {"type": "input_json_delta", "partial_json": "{}"}});
    let stop = json!({"type": "content_block_stop", "index": 4});
    assert_eq!(read(&[begin.clone(), stop.clone()]), [start(), begin_call(0), arguments(0, r#"{"a":1.5}"#), end(0)]);
    assert_eq!(read(&[begin, piece, stop]), [start(), begin_call(0), arguments(0, "{}"), end(0)]);
}

#[test]
fn nothing_follows_an_error_and_a_cut_is_not_complete() {
    let failed =
        json!({"type": "error", "error": {"details": null, "type": "overloaded_error", "message": "Overloaded"}});
    let said = StreamError { message: "Overloaded".into(), code: Some("overloaded_error".into()), status: Some(529) };
    let (ping, stop) = (json!({"type": "ping"}), json!({"type": "message_stop"}));
    assert_eq!(read(&[ping.clone(), failed.clone(), stop.clone()]), [Event::Error(said)]);
    assert_eq!(noted(&stream(&[failed])).error.as_deref(), Some("Overloaded"));
    assert_eq!(read(&[ping]), [], "cut");
    let unknown = json!({"type": "message_grew", "index": {}, "delta": 7});
    assert!(events(&Anthropic, &given("asked"), &stream(&[unknown])).is_err(), "an index is a number");
    let unknown = json!({"type": "message_grew", "delta": 7});
    assert_eq!(read(&[unknown, stop]), [start(), finish(Finish::Stop), Event::Done], "unknown events are passed over");
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let ended = json!({"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details":
        {"type": "refusal", "category": "bio", "explanation": "no"}}, "usage": {"output_tokens": 2}});
    let read = comparable(read(&[ended])).0;
    let begin = Event::Begin { choice: 0, part: 0, kind: Begins::Refusal };
    assert_eq!(read, [start(), begin, text(0, "no"), end(0), finish(Finish::Refusal)]);
}

/// Blocks in the order of the wire: begin, pieces, end, by index.
fn wire(events: &[Event]) -> Vec<String> {
    let bytes = write_stream(events);
    let frames = cut(&bytes, bytes.len());
    let payloads = frames.iter().map(|frame| sse::read(frame)).filter(|frame| !frame.data.is_empty());
    payloads
        .map(|frame| {
            let value: serde_json::Value = serde_json::from_slice(&frame.data).unwrap();
            assert_eq!(frame.name, value["type"].as_str().unwrap(), "the name is the type");
            let kind = value["content_block"]["type"].as_str().or(value["delta"]["type"].as_str());
            let said = value["delta"].as_object().into_iter().flatten().find(|(name, _)| *name != "type");
            let data = value["content_block"].as_object().and_then(|block| block.get_key_value("data"));
            let said = said.or(data).map(|(_, v)| v.as_str().unwrap_or("null"));
            [value["type"].as_str(), value["index"].as_u64().map(|i| i.to_string()).as_deref(), kind, said]
                .into_iter()
                .flatten()
                .map(|word| word.trim_start_matches("content_block_"))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

#[test]
fn calls_that_come_between_one_another_are_written_one_after_the_other() {
    let events = [
        begin_call(0),
        arguments(0, r#"{"a":"}"#),
        begin_call(1),
        arguments(1, "{"),
        arguments(0, r#"\"{"}"#),
        arguments(1, "}"),
        begin_call(2),
        end(0),
        end(1),
        end(2),
        finish(Finish::ToolCalls),
        Event::Usage(Usage { input: 2, output: 3, ..Usage::default() }),
        Event::Done,
    ];
    let written = wire(&events);
    let told = [
        "message_start",
        "start 0 tool_use",
        r#"delta 0 input_json_delta {"a":"}"#,
        r#"delta 0 input_json_delta \"{"}"#,
        "stop 0",
        "start 1 tool_use",
        "delta 1 input_json_delta {",
        "delta 1 input_json_delta }",
        "stop 1",
        "start 2 tool_use",
        "stop 2",
        "message_delta tool_use",
        "message_stop",
    ];
    assert_eq!(written, told);
}

#[test]
fn a_call_that_never_becomes_whole_holds_the_next_until_it_ends() {
    let written = wire(&[begin_call(0), arguments(0, "{"), begin_call(1), arguments(1, "{}"), Event::Done]);
    assert_eq!(written[2..5], ["delta 0 input_json_delta {", "stop 0", "start 1 tool_use"]);
}

#[test]
fn seals_of_others_ride_in_the_stream_and_come_back() {
    let google = || Signature { by: Maker::Google, data: "S1".into() };
    let sign = |part, signature| Event::Delta { choice: 0, part, delta: Delta::Signature(signature) };
    let thinks = |part| Event::Begin { choice: 0, part, kind: Begins::Reasoning { summary: true, id: None } };
    let events = [
        thinks(0),
        sign(0, Signature { by: Maker::Openai, data: "".into() }),
        Event::Delta { choice: 0, part: 0, delta: Delta::Encrypted("E".into()) },
        end(0),
        begin_call(1),
        sign(1, google()),
        arguments(1, "{}"),
        end(1),
        begin_call(2),
        arguments(2, "{}"),
        sign(2, google()),
        end(2),
        Event::Done,
    ];
    let written = wire(&events);
    let told = [
        "start 0 redacted_thinking tollgate:openai:E",
        "stop 0",
        "start 1 redacted_thinking tollgate:google:S1",
        "stop 1",
        "start 2 tool_use",
        "delta 2 input_json_delta {}",
        "stop 2",
        "start 3 tool_use",
        "delta 3 input_json_delta {}",
        "stop 3",
        "start 4 redacted_thinking tollgate:google:<S1",
        "stop 4",
    ];
    assert_eq!(written[1..13], told);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the pieces in which a stream comes, it tells the same.
    #[test]
    fn pieces_change_nothing(at in any::<prop::sample::Index>(), size in 1usize..4_000) {
        let streams: Vec<_> = exchanges("anthropic.messages").into_iter().filter(|e| e.stream).collect();
        if !streams.is_empty() {
            let body = &streams[at.index(streams.len())].body;
            let mut reader = Anthropic.stream_reader(&given("asked"));
            let mut told = Vec::new();
            for frame in cut(body, size) {
                reader.frame(&sse::read(&frame), &mut told).unwrap();
            }
            reader.end(&mut told);
            prop_assert_eq!(told, events(&Anthropic, &given("asked"), body).unwrap());
        }
    }

    /// Nothing panics; what is read can be written.
    #[test]
    fn bytes_of_any_kind_are_borne(
        kind in "(message_(start|delta|stop)|content_block_(start|delta|stop)|error|ping|x)?",
        index in 0u64..4,
        block in "(text|thinking|redacted_thinking|tool_use|server_tool_use|[a-z]?)",
        delta in "(text_delta|thinking_delta|signature_delta|input_json_delta|citations_delta|[a-z]?)",
        said in ".{0,6}",
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let payload = json!({"type": kind, "index": index,
            "message": {"usage": {"input_tokens": index}},
            "content_block": {"type": block, "text": said, "data": said, "id": said, "input": {"a": said}},
            "delta": {"type": delta, "text": said, "partial_json": said, "signature": said, "stop_reason": said}});
        let mut body = stream(&[payload.clone(), payload.clone()]);
        body.extend(&noise);
        for bytes in [&body, &noise] {
            if let Ok(told) = events(&Anthropic, &given("asked"), bytes) {
                write_stream(&told);
            }
            noted(bytes);
            Anthropic.glance(bytes);
            let _ = Anthropic.read_answer(bytes, &given("asked"));
            let _ = Anthropic.read_error(http::StatusCode::BAD_REQUEST, &http::HeaderMap::new(), bytes);
        }
        let request = json!({"messages": [{"role": "user", "content": [payload["content_block"], {"type": delta}]}],
            "thinking": {"type": kind}, "tool_choice": {"type": block}}).to_string();
        if let Ok(skimmed) = skim(request.as_bytes()) {
            let _ = Anthropic.read_request(request.as_bytes(), &skimmed, &given("asked"));
        }
    }
}

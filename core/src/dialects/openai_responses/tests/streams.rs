//! Streams: recorded ones, and orders of events that providers of other dialects have.

use serde_json::{Value, json};

use super::{all, recorded_usage};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Maker, Signature};
use crate::contract::refusal::{Category, Refusal};
use crate::contract::usage::Usage;
use crate::dialects::frames::sse;
use crate::dialects::openai_responses::OpenaiResponses;
use crate::dialects::recorded::{events, given};
use crate::dialects::{Codec, Given, Notes};

pub fn write(told: &[Event], given: &Given<'_>) -> Vec<u8> {
    let (mut bytes, mut writer) = (Vec::new(), OpenaiResponses.stream_writer(given));
    told.iter().for_each(|event| writer.event(event, &mut bytes));
    bytes
}

pub fn noted(body: &[u8]) -> Notes {
    let mut notes = Notes::default();
    let text = String::from_utf8(body.to_vec()).unwrap().replace("\r\n", "\n");
    text.split("\n\n").for_each(|frame| OpenaiResponses.note(&sse::read(frame.as_bytes()), &mut notes));
    notes
}

#[test]
fn recorded_streams_tell_the_same_events_when_written_again() {
    for exchange in all().iter().filter(|e| e.status == 200 && !e.body.starts_with(b"{")) {
        let given = given("asked");
        let told = events(&OpenaiResponses, &given, &exchange.body).unwrap_or_else(|e| panic!("{}: {e}", exchange.id));
        in_order(&exchange.id, &told);
        assert_eq!(told.last(), Some(&Event::Done), "{}", exchange.id);
        let usage = told.iter().rev().find_map(|e| if let Event::Usage(u) = e { Some(*u) } else { None });
        assert_eq!(usage, recorded_usage(exchange), "{}", exchange.id);
        let notes = noted(&exchange.body);
        assert_eq!((notes.usage, notes.done, notes.error), (recorded_usage(exchange), true, None), "{}", exchange.id);
        let bytes = write(&told, &given);
        well_formed(&exchange.id, &bytes);
        let again = events(&OpenaiResponses, &given, &bytes).unwrap_or_else(|e| panic!("{}: {e}", exchange.id));
        assert_eq!(said(&told), said(&again), "{}", exchange.id);
        // What the pieces say is what the response at their end says.
        let (text, whole) = (said(&told), last(&exchange.body));
        for item in whole["output"].as_array().unwrap().iter().filter(|item| item["type"] == "message") {
            let words = item["content"][0]["text"].as_str().unwrap();
            assert!(text.iter().any(|t| t.contains(&format!("{words:?}"))), "{}: {words}", exchange.id);
        }
    }
}

/// The response of the last event.
fn last(body: &[u8]) -> Value {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let mut data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    serde_json::from_str::<Value>(data.next_back().unwrap()).unwrap()["response"].take()
}

/// The promise of `canonical/event.rs`.
pub fn in_order(id: &str, events: &[Event]) {
    let mut open: Vec<(u64, bool)> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Start { .. } => assert_eq!(at, 0, "{id}: a start that is not first"),
            Event::Begin { part, kind, .. } => {
                let call = matches!(kind, Begins::ToolCall { .. });
                assert!(open.iter().all(|(_, call)| *call), "{id}: parts overlap");
                open.push((*part, call));
            }
            Event::Delta { part, .. } => assert!(open.iter().any(|(p, _)| p == part), "{id}: said without begin"),
            Event::End { part, .. } => {
                let at = open.iter().position(|(p, _)| p == part);
                open.remove(at.unwrap_or_else(|| panic!("{id}: ended without begin")));
            }
            Event::Finish { .. } => assert!(open.is_empty(), "{id}: a part is open"),
            Event::Error(_) | Event::Done => assert_eq!(at + 1, events.len(), "{id}: something after the end"),
            Event::Logprobs { .. } | Event::Usage(_) | Event::Beside(_) | Event::ServiceTier(_) => {}
        }
    }
}

/// What was said, whatever the pieces: texts by kind, calls, seals, reasons. Thoughts are written as a summary: it is what
/// callers send back. An id that is none of this dialect's is made anew.
pub fn said(events: &[Event]) -> Vec<String> {
    let mut parts: std::collections::BTreeMap<u64, (String, String, String)> = Default::default();
    let mut rest = Vec::new();
    for event in events {
        match event {
            Event::Begin { part, kind, .. } => {
                let name = match kind {
                    Begins::Reasoning { .. } => "reasoning".to_owned(),
                    Begins::Text | Begins::Refusal | Begins::ToolCall { .. } => format!("{kind:?}"),
                    // Nobody else has words for it.
                    Begins::Native(_) | Begins::Media { .. } => continue,
                };
                parts.insert(*part, (name, String::new(), String::new()));
            }
            Event::Delta { part, delta: Delta::Text(text) | Delta::Arguments(text), .. } => {
                parts.get_mut(part).unwrap().1.push_str(text);
            }
            // A file of the provider's has no address that others could say.
            Event::Delta { delta: Delta::Citation { url: None, .. }, .. } => {}
            Event::Delta { part, delta, .. } => parts.get_mut(part).unwrap().2.push_str(&format!("{delta:?}")),
            Event::Finish { reason, .. } => rest.push(format!("{reason:?}")),
            Event::Usage(usage) => rest.push(format!("{usage:?}")),
            Event::Start { model, created_s, .. } => rest.push(format!("{model} {created_s:?}")),
            Event::Logprobs { json, .. } => rest.push(json.clone()),
            Event::End { .. } | Event::Beside(_) | Event::ServiceTier(_) | Event::Error(_) | Event::Done => {}
        }
    }
    // Usage may stand anywhere.
    rest.sort();
    parts.into_values().map(|(name, text, other)| format!("{name}: {text:?} {other}")).chain(rest).collect()
}

/// What every stream of this dialect keeps to: numbers count up, items begin and end once, and the last event has them all.
pub fn well_formed(id: &str, bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut told = Vec::new();
    for frame in text.split("\n\n").filter(|frame| !frame.is_empty()) {
        let (name, data) = frame.split_once('\n').unwrap();
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), event["type"].as_str(), "{id}");
        assert_eq!(event["sequence_number"], told.len(), "{id}");
        told.push(event);
    }
    let of = |kind: &str| -> Vec<&Value> { told.iter().filter(|e| e["type"] == kind).collect() };
    let done: Vec<&Value> = of("response.output_item.done").into_iter().map(|e| &e["item"]).collect();
    for (at, event) in of("response.output_item.added").into_iter().enumerate() {
        assert_eq!(event["output_index"], at, "{id}: items begin in their order");
        assert!(done.iter().any(|item| item["id"] == event["item"]["id"]), "{id}: an item without an end");
    }
    let end = told.last().unwrap();
    if end["type"] == "response.completed" || end["type"] == "response.incomplete" {
        let mut whole: Vec<&Value> = end["response"]["output"].as_array().unwrap().iter().collect();
        assert_eq!(whole.len(), done.len(), "{id}");
        whole.retain(|item| !done.contains(item));
        assert_eq!(whole, Vec::<&Value>::new(), "{id}: the response says the same again");
        let ids: std::collections::HashSet<&str> = done.iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), done.len(), "{id}: ids are unique");
    }
    told
}

pub fn begin(part: u64, kind: Begins) -> Event {
    Event::Begin { choice: 0, part, kind }
}

pub fn delta(part: u64, delta: Delta) -> Event {
    Event::Delta { choice: 0, part, delta }
}

pub fn end(part: u64) -> Event {
    Event::End { choice: 0, part }
}

fn call(id: &str) -> Begins {
    Begins::ToolCall { id: id.to_owned(), name: "f".to_owned() }
}

pub fn arguments(text: &str) -> Delta {
    Delta::Arguments(text.to_owned())
}

pub fn text(text: &str) -> Delta {
    Delta::Text(text.to_owned())
}

fn start() -> Event {
    Event::Start { id: "msg_1".to_owned(), model: "claude".to_owned(), created_s: None }
}

pub fn finish(reason: Finish) -> Event {
    Event::Finish { choice: 0, reason, stop_sequence: None }
}

#[test]
fn calls_that_interleave_are_told_by_their_place() {
    let told = [
        start(),
        begin(0, Begins::Text),
        delta(0, text("I look")),
        end(0),
        begin(1, call("a")),
        delta(1, arguments("{\"x\"")),
        begin(2, call("b")),
        delta(2, arguments("{}")),
        delta(1, arguments(":1}")),
        end(1),
        end(2),
        finish(Finish::ToolCalls),
        Event::Usage(Usage { input: 3, output: 5, ..Usage::default() }),
        Event::Done,
    ];
    let bytes = write(&told, &given("m"));
    let events = well_formed("interleaved", &bytes);
    let pieces: Vec<(u64, &str)> = events
        .iter()
        .filter(|e| e["type"] == "response.function_call_arguments.delta")
        .map(|e| (e["output_index"].as_u64().unwrap(), e["delta"].as_str().unwrap()))
        .collect();
    assert_eq!(pieces, [(1, "{\"x\""), (2, "{}"), (1, ":1}")]);
    let whole = &events.last().unwrap()["response"];
    assert_eq!(whole["status"], "completed");
    assert_eq!(whole["output"][1]["arguments"], "{\"x\":1}");
    assert_eq!(whole["usage"]["total_tokens"], 8);
    assert!(whole["id"].as_str().unwrap().starts_with("resp_"), "the provider's id is not this dialect's");
}

#[test]
fn endings_are_told_in_the_words_of_this_dialect() {
    for (reason, kind, details, why) in [
        (Some(Finish::Stop), "response.completed", Value::Null, "an answer"),
        (Some(Finish::ToolCalls), "response.completed", Value::Null, "calls are a complete response"),
        (Some(Finish::Length), "response.incomplete", json!({"reason": "max_output_tokens"}), "too long"),
        (Some(Finish::ContentFilter), "response.incomplete", json!({"reason": "content_filter"}), "filtered"),
        (Some(Finish::Error), "response.failed", Value::Null, "the provider failed"),
        (None, "response.completed", Value::Null, "no reason was told"),
    ] {
        let told: Vec<Event> = [Some(start()), reason.map(finish), Some(Event::Done)].into_iter().flatten().collect();
        let events = well_formed(why, &write(&told, &given("m")));
        let last = events.last().unwrap();
        assert_eq!(
            (last["type"].as_str().unwrap(), &last["response"]["incomplete_details"]),
            (kind, &details),
            "{why}"
        );
    }
    let cut = [start(), begin(0, Begins::Text), delta(0, text("half"))];
    let events = well_formed("cut", &write(&cut[..1], &given("m")));
    assert_eq!(events.last().unwrap()["type"], "response.in_progress", "a cut stream never looks complete");
}

#[test]
fn what_was_said_under_another_index_is_not_said_again() {
    let item = json!({"type": "message", "id": "m1", "content": [{"type": "output_text", "text": "one two"}]});
    let stream: String = [
        json!({"type": "response.created", "response": {"id": "r"}}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "id": "m1"}}),
        json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 1, "delta": "one "}),
        json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 1, "delta": "two"}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": item}),
        json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item]}}),
    ]
    .map(|event| format!("data: {event}\n\n"))
    .concat();
    let told = events(&OpenaiResponses, &given("m"), stream.as_bytes()).unwrap();
    let piece =
        |e: &Event| if let Event::Delta { delta: Delta::Text(text), .. } = e { Some(text.clone()) } else { None };
    assert_eq!(told.iter().filter_map(piece).collect::<String>(), "one two");
}

#[test]
fn a_refusal_in_a_stream_is_raised_and_read() {
    let (mut bytes, mut writer) = (Vec::new(), OpenaiResponses.stream_writer(&given("m")));
    [start(), begin(0, Begins::Text), delta(0, text("half"))].iter().for_each(|e| writer.event(e, &mut bytes));
    let before = bytes.len();
    let refusal = Refusal::new(Category::BudgetExceeded, "budget", "the month is spent");
    writer.refusal(&refusal, "req_1", &mut bytes);
    let frames = String::from_utf8(bytes[before..].to_vec()).unwrap();
    let told: Vec<Value> =
        frames.lines().filter_map(|l| l.strip_prefix("data: ")).map(|d| serde_json::from_str(d).unwrap()).collect();
    assert_eq!((&told[0]["type"], &told[0]["code"]), (&json!("error"), &json!("insufficient_quota")));
    assert_eq!(told[0]["error"]["tollgate"]["request_id"], "req_1", "official clients raise the object `error`");
    assert_eq!((&told[1]["type"], &told[1]["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!(told[1]["response"]["error"]["message"], "the month is spent", "agents read the failed response");
    writer.event(&Event::Done, &mut bytes);
    writer.refusal(&refusal, "req_1", &mut bytes);
    assert_eq!(bytes.len(), before + frames.len(), "nothing follows");
}

#[test]
fn free_text_is_told_to_callers_who_declared_it() {
    let told = [
        start(),
        begin(0, Begins::ToolCall { id: "c1".to_owned(), name: "apply_patch".to_owned() }),
        delta(0, arguments("{\"input\": \"*** Beg")),
        delta(0, arguments("in\\n+a\"}")),
        end(0),
        begin(1, Begins::ToolCall { id: "c2".to_owned(), name: "local_shell".to_owned() }),
        delta(1, arguments("{\"command\":[\"ls\"]}")),
        end(1),
        finish(Finish::ToolCalls),
        Event::Done,
    ];
    let given = Given { own_tools: &["apply_patch", "local_shell"], ..given("m") };
    let events = well_formed("custom", &write(&told, &given));
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!((&output[0]["type"], &output[0]["input"]), (&json!("custom_tool_call"), &json!("*** Begin\n+a")));
    assert_eq!((&output[1]["type"], &output[1]["call_id"]), (&json!("local_shell_call"), &json!("c2")));
    assert_eq!(output[1]["action"], json!({"type": "exec", "command": ["ls"], "env": {}}));
    assert!(events.iter().any(|e| e["type"] == "response.custom_tool_call_input.delta"));
}

#[test]
fn seals_of_others_ride_in_reasoning_items() {
    let seal = |by, data: &str| Delta::Signature(Signature { by, data: data.to_owned().into() });
    let told = [
        start(),
        begin(0, Begins::Reasoning { summary: false, id: None }),
        delta(0, text("hm")),
        delta(0, seal(Maker::Anthropic, "SIG")),
        end(0),
        begin(1, Begins::Reasoning { summary: false, id: None }),
        delta(1, seal(Maker::Anthropic, "")),
        delta(1, Delta::Encrypted("HID".to_owned())),
        end(1),
        begin(2, call("c1")),
        delta(2, seal(Maker::Google, "GOO")),
        end(2),
        finish(Finish::ToolCalls),
        Event::Done,
    ];
    let events = well_formed("seals", &write(&told, &given("m")));
    let output = events.last().unwrap()["response"]["output"].clone();
    let sealed: Vec<&str> = output.as_array().unwrap().iter().filter_map(|i| i["encrypted_content"].as_str()).collect();
    assert_eq!(sealed, ["tollgate:anthropic:SIG", "tollgate:anthropic:thoughts;HID", "tollgate:google:call=c1;GOO"]);
}

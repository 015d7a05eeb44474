//! Streams as they come from the provider, and as programs of callers read them.

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Bedrock;
use super::replayed::{events, frames, written};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event, StreamError};
use crate::contract::refusal::{Category, Refusal};
use crate::contract::usage::Usage;
use crate::dialects::frames::event_stream;
use crate::dialects::recorded::given;
use crate::dialects::{Codec, Notes};

/// The message that a program puts together of a stream, as boto3's users do.
pub fn gathered(bytes: &[u8]) -> Value {
    let mut blocks: Vec<Value> = Vec::new();
    for frame in frames(bytes) {
        let frame = event_stream::read(&frame);
        let event: Value = serde_json::from_slice(&frame.data).unwrap();
        let at = event["contentBlockIndex"].as_u64().map(|at| at as usize);
        match (&*frame.name, at) {
            ("contentBlockStart", Some(at)) => {
                assert_eq!(at, blocks.len(), "blocks are counted up");
                blocks.push(event["start"].clone());
                blocks[at]["toolUse"]["input"] = "".into();
            }
            ("contentBlockDelta", Some(at)) => {
                if at == blocks.len() {
                    blocks.push(json!({}));
                }
                assert_eq!(at, blocks.len() - 1, "blocks do not overlap");
                add(&mut blocks[at], &event["delta"]);
            }
            _ => {}
        }
    }
    for block in &mut blocks {
        if let Some(input) = block["toolUse"]["input"].as_str().map(|text| serde_json::from_str(text).unwrap()) {
            block["toolUse"]["input"] = input;
        } else {
            block.as_object_mut().unwrap().remove("toolUse");
        }
    }
    Value::Array(blocks)
}

fn add(block: &mut Value, delta: &Value) {
    let thought = &delta["reasoningContent"];
    for (piece, place) in [
        (&delta["text"], "/text"),
        (&delta["toolUse"]["input"], "/toolUse/input"),
        (&thought["text"], "/reasoningContent/reasoningText/text"),
        (&thought["signature"], "/reasoningContent/reasoningText/signature"),
        (&thought["redactedContent"], "/reasoningContent/redactedContent"),
    ] {
        let Some(piece) = piece.as_str() else { continue };
        let mut at = &mut *block;
        for name in place.split('/').skip(1) {
            at = &mut at[name];
        }
        *at = format!("{}{piece}", at.as_str().unwrap_or_default()).into();
    }
}

pub fn stream(parts: Vec<(u64, Option<Begins>, Vec<Delta>, bool)>, finish: Finish) -> Vec<Event> {
    let mut events = vec![Event::Start { id: "x".into(), model: "m".into(), created_s: None }];
    for (part, begins, deltas, ends) in parts {
        events.extend(begins.map(|kind| Event::Begin { choice: 0, part, kind }));
        events.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, part, delta }));
        events.extend(ends.then_some(Event::End { choice: 0, part }));
    }
    events.push(Event::Usage(Usage { input: 3, output: 4, ..Usage::default() }));
    events.push(Event::Finish { choice: 0, reason: finish, stop_sequence: None });
    events.push(Event::Done);
    events
}

pub fn tool(id: &str) -> Option<Begins> {
    Some(Begins::ToolCall { id: id.into(), name: "f".into() })
}

pub fn arguments(text: &str) -> Delta {
    Delta::Arguments(text.into())
}

#[test]
fn calls_at_the_same_time_stand_one_after_another() {
    let told = written(&stream(
        vec![
            (0, Some(Begins::Text), vec![], true),
            (1, tool("a"), vec![arguments("{\"x\":"), arguments("1")], false),
            (2, tool("b"), vec![arguments("{\"y\":"), arguments("2}")], false),
            (3, tool("c"), vec![], false),
            (1, None, vec![arguments("}")], true),
            (3, None, vec![], true),
            (2, None, vec![], true),
        ],
        Finish::ToolCalls,
    ));
    let used = |id: &str, input: Value| json!({"toolUse": {"toolUseId": id, "name": "f", "input": input}});
    let expected = json!([used("a", json!({"x": 1})), used("b", json!({"y": 2})), used("c", json!({}))]);
    assert_eq!(gathered(&told), expected, "an empty text has no block, a call without arguments an empty object");
    let names: Vec<String> = frames(&told).iter().map(|f| event_stream::read(f).name.into_owned()).collect();
    assert_eq!(names.first().map(String::as_str), Some("messageStart"));
    assert_eq!(names[names.len() - 2..], ["messageStop", "metadata"], "usage is last, whenever it was told");
    let (starts, stops) = ("contentBlockStart", "contentBlockStop");
    assert_eq!(names.iter().filter(|n| *n == starts).count(), names.iter().filter(|n| *n == stops).count());
}

#[test]
fn refusals_have_the_form_of_their_place() {
    let refusal = Refusal::new(Category::RateLimited, "rate_exceeded", "wait a little");
    let body: Value = serde_json::from_str(&Bedrock.write_refusal(&refusal, "req-1")).unwrap();
    assert_eq!((&body["__type"], &body["message"]), (&json!("ThrottlingException"), &json!("wait a little")));
    assert_eq!(body["tollgate"]["request_id"], "req-1");
    let mut headers = HeaderMap::new();
    Bedrock.refusal_headers(&refusal, &mut headers);
    assert_eq!(headers["x-amzn-errortype"], "ThrottlingException");
    let spent = Refusal::new(Category::BudgetExceeded, "budget_exhausted", "spent");
    assert_eq!(Bedrock.refusal_status(&spent), 400, "SDKs would send a 429 again");

    let mut out = written(&[Event::Start { id: String::new(), model: String::new(), created_s: None }]);
    Bedrock.stream_writer(&given("m")).refusal(&refusal, "req-1", &mut out);
    let all = frames(&out);
    let last = event_stream::read(&all[1]);
    assert_eq!((&*last.name, last.is_error), ("throttlingException", true));
    assert_eq!(serde_json::from_slice::<Value>(&last.data).unwrap()["tollgate"]["code"], "rate_exceeded");
    let told = events("m", &out).unwrap();
    let error =
        StreamError { message: "wait a little".into(), code: Some("throttlingException".into()), status: Some(429) };
    assert_eq!(told[1..], [Event::Error(error)], "and nothing after it");
}

/// One event as bytes.
fn event(name: &str, payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    event_stream::write(&[(":message-type", "event"), (":event-type", name)], payload.as_bytes(), &mut out);
    out
}

/// A stream's events in a few words.
fn short(bytes: &[u8]) -> Result<String, String> {
    let words: Vec<String> = events("m", bytes)?
        .into_iter()
        .map(|event| match event {
            Event::Start { .. } => "start".to_owned(),
            Event::Begin { part, kind: Begins::ToolCall { id, .. }, .. } => format!("{part}:call({id})"),
            Event::Begin { part, kind: Begins::Native(name), .. } => format!("{part}:native({name})"),
            Event::Begin { part, kind, .. } => format!("{part}:{}", format!("{kind:?}").split(' ').next().unwrap()),
            Event::Delta { part, delta: Delta::Text(text) | Delta::Arguments(text), .. } => format!("{part}+{text}"),
            Event::Delta { part, .. } => format!("{part}+?"),
            Event::End { part, .. } => format!("{part}."),
            Event::Finish { reason, .. } => format!("{reason:?}"),
            Event::Usage(usage) => format!("usage {}", usage.total()),
            Event::Error(error) => format!("error {}", error.message),
            Event::Done => "done".to_owned(),
            other => format!("{other:?}"),
        })
        .collect();
    Ok(words.join(" "))
}

#[test]
fn streams_are_borne_as_they_come() {
    let (start, stop) = (event("messageStart", "{}"), event("messageStop", r#"{"stopReason":"end_turn"}"#));
    let text = |at: u32, text: &str| {
        event("contentBlockDelta", &format!(r#"{{"contentBlockIndex":{at},"delta":{{"text":"{text}"}},"p":"ab"}}"#))
    };
    let arguments = |at: u32| {
        event("contentBlockDelta", &format!(r#"{{"contentBlockIndex":{at},"delta":{{"toolUse":{{"input":"{{}}"}}}}}}"#))
    };
    let call = |at: u32| {
        let start = r#"{"toolUse":{"toolUseId":"a","name":"f"}}"#;
        event("contentBlockStart", &format!(r#"{{"contentBlockIndex":{at},"start":{start}}}"#))
    };
    let end = |at: u32| event("contentBlockStop", &format!(r#"{{"contentBlockIndex":{at}}}"#));
    let usage = event("metadata", r#"{"usage":{"inputTokens":1,"outputTokens":2}}"#);
    let mut exception = Vec::new();
    let headers = [(":message-type", "exception"), (":exception-type", "modelStreamErrorException")];
    event_stream::write(&headers, br#"{"originalStatusCode":500,"message":"broke"}"#, &mut exception);
    for (pieces, told, why) in [
        (
            vec![start.clone(), text(0, "a"), text(0, "b"), end(0), stop.clone(), usage.clone()],
            "start 0:Text 0+a 0+b 0. Stop usage 3 done",
            "a text begins without a word",
        ),
        (
            vec![text(0, ""), text(0, "a"), end(0), stop.clone()],
            "start 0:Text 0+a 0. Stop done",
            "without its start, empty pieces, without usage",
        ),
        (vec![start.clone(), text(0, "a")], "start 0:Text 0+a", "cut: not done"),
        (
            vec![
                start.clone(),
                start.clone(),
                call(1),
                call(1),
                arguments(1),
                end(1),
                end(1),
                stop.clone(),
                stop.clone(),
            ],
            "start 0:call(a) 0+{} 0. ToolCalls done",
            "starts and stops said twice",
        ),
        (
            vec![text(0, "a"), call(1), arguments(1), stop.clone(), usage.clone(), text(3, "x")],
            "start 0:Text 0+a 0. 1:call(a) 1+{} 1. ToolCalls usage 3 done",
            "ends that nobody said, and words after the end",
        ),
        (
            vec![text(0, "a"), end(0), text(0, "b"), stop.clone()],
            "start 0:Text 0+a 0. 1:Text 1+b 1. Stop done",
            "a block that goes on after its end is another one",
        ),
        (
            vec![
                event("novelty", "what"),
                text(0, "a"),
                event("contentBlockStart", r#"{"start":{"image":{"format":"png"}},"contentBlockIndex":1}"#),
            ],
            "start 0:Text 0+a 0. 1:native(image)",
            "events that nobody knows; a picture",
        ),
        (
            vec![text(0, "a"), exception.clone(), text(0, "b"), stop.clone()],
            "start 0:Text 0+a error broke",
            "broken off: nothing after it",
        ),
    ] {
        assert_eq!(short(&pieces.concat()).as_deref(), Ok(told), "{why}");
    }
    assert!(short(&arguments(0)).unwrap_err().contains("has not begun"));
    assert!(short(&event("metadata", "[]")).unwrap_err().contains("no JSON object"));
    let mut notes = Notes::default();
    for bytes in [text(0, "a"), exception] {
        Bedrock.note(&event_stream::read(&bytes), &mut notes);
    }
    assert_eq!(notes, Notes { error: Some("broke".into()), ..Notes::default() });
}

/// Any events of a stream, in any order, with payloads that are nearly right.
fn any_stream() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop::sample::select(vec![
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
        "x",
    ]);
    let payload = prop::sample::select(vec![
        r#"{"role":"assistant"}"#,
        r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"a","name":"f"}}}"#,
        r#"{"contentBlockIndex":2,"start":{"toolUse":{}}}"#,
        r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"a"}}}"#,
        r#"{"contentBlockIndex":0,"delta":{"text":"\u00e4"}}"#,
        r#"{"delta":{"reasoningContent":{"text":"t","signature":"s","redactedContent":"QUE="}}}"#,
        r#"{"contentBlockIndex":3,"delta":{"citation":{"title":"t","location":{"web":{"url":"u"}}}}}"#,
        r#"{"contentBlockIndex":-1}"#,
        r#"{"stopReason":"tool_use"}"#,
        r#"{"usage":{"inputTokens":1,"outputTokens":18446744073709551615}}"#,
        "[]",
        "{",
    ]);
    prop::collection::vec((name.prop_map(str::to_owned), payload.prop_map(str::to_owned)), 0..14)
}

proptest! {
    #[test]
    fn streams_never_panic_and_what_is_written_can_be_read(told in any_stream()) {
        let bytes: Vec<u8> = told.iter().flat_map(|(name, payload)| event(name, payload)).collect();
        if let Ok(events) = events("m", &bytes) {
            let again = super::replayed::events("m", &written(&events));
            prop_assert!(again.is_ok(), "{:?} {:?}", events, again);
        }
    }
}

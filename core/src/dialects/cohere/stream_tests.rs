//! Cohere's streams that nobody recorded: failures, foreign events, pieces and broken bytes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event, StreamError};
use crate::contract::canonical::part::{Kind, Maker, Signature};
use crate::contract::refusal::Category;
use crate::contract::usage::Usage;
use crate::dialects::retold::{GIVEN, joined, read_stream, with_request, write_request, write_stream};

#[test]
fn refusals_are_said_in_coheres_words() {
    let refusal = Refusal::new(Category::PolicyViolation, "no_secrets", "the prompt holds a secret");
    let body: Value = serde_json::from_str(&Cohere.write_refusal(&refusal, "r1")).unwrap();
    assert_eq!((&body["id"], &body["message"]), (&json!("r1"), &json!("the prompt holds a secret")));
    assert_eq!(body["tollgate"]["category"], "policy_violation");
    let (mut writer, mut out) = (Cohere.stream_writer(&GIVEN), Vec::new());
    writer.refusal(&refusal, "r1", &mut out);
    let told = String::from_utf8(out.clone()).unwrap();
    assert!(told.contains(r#""finish_reason":"ERROR","error":"the prompt holds a secret""#), "{told}");
    assert!(told.contains(r#""request_id":"r1""#) && told.ends_with("data: [DONE]\n\n"), "{told}");
    writer.event(&Event::Done, &mut out);
    assert_eq!(out.len(), told.len(), "nothing follows");
}

#[test]
fn streams_that_fail_or_stumble() {
    let end = r#"{"type":"message-end","delta":{"finish_reason":"ERROR","error":"no capacity","error_type":"overload","usage":{}}}"#;
    let error = |message: &str, code: Option<&str>, status| {
        Event::Error(StreamError { message: message.into(), code: code.map(Into::into), status })
    };
    let text = |s: &str| Event::Delta { choice: 0, part: 0, delta: Delta::Text(s.into()) };
    let begin = Event::Begin { choice: 0, part: 0, kind: Begins::Text };
    let start = Event::Start { id: String::new(), model: String::new(), created_s: None };
    for (data, expected, why) in [
        (
            vec![end, r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#],
            vec![error("no capacity", Some("overload"), None)],
            "a failure after a 200, and nothing after it",
        ),
        (
            vec![r#"{"id":"x","message":"blocked","status_code":498}"#],
            vec![error("blocked", None, Some(498))],
            "an error's usual form where an event should be",
        ),
        (
            vec![
                r#"{"type":"new-thing","delta":[1]}"#,
                r#"{"type":"content-delta","delta":{"message":{"content":{"text":"a"}}}}"#,
            ],
            vec![start.clone(), begin.clone(), text("a")],
            "unknown events pass by; a delta without a begin; cut",
        ),
        (
            vec![
                r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":"a"}}}}"#,
                r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
                r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":""}}}}"#,
                r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"b"}}}}"#,
            ],
            vec![start, begin, text("a"), text("b")],
            "a repeated begin, an empty piece",
        ),
    ] {
        let stream: String = data.iter().map(|d| format!("data: {d}\n\n")).collect();
        assert_eq!(read_stream(&Cohere, stream.as_bytes(), &[]).unwrap().0, expected, "{why}");
    }
    let (_, notes) = read_stream(&Cohere, format!("event: message-end\ndata: {end}\n\n").as_bytes(), &[]).unwrap();
    assert_eq!((notes.error.as_deref(), notes.done, notes.usage), (Some("no capacity"), false, None));
    assert!(read_stream(&Cohere, b"data: {\"type\":\n\n", &[]).is_err(), "no JSON is no stream");
    let many: String = (0..2_000)
        .map(|i| format!("data: {{\"type\":\"tool-call-start\",\"index\":{i},\"delta\":{{}}}}\n\n"))
        .collect();
    assert!(read_stream(&Cohere, many.as_bytes(), &[]).unwrap_err().contains("1024"), "open calls are bounded");
}

/// Parallel calls in pieces, usage before the finish, a seal that must come back: the caller's stream has it all.
#[test]
fn foreign_streams_are_written_for_coheres_clients() {
    let call = |part, id: &str| Event::Begin {
        choice: 0,
        part,
        kind: Begins::ToolCall { id: id.into(), name: "look".into() },
    };
    let piece = |part, text: &str| Event::Delta { choice: 0, part, delta: Delta::Arguments(text.into()) };
    let seal = Signature { by: Maker::Google, data: "c2Vh".into() };
    let events = [
        call(0, "a"),
        Event::Delta { choice: 0, part: 0, delta: Delta::Signature(seal.clone()) },
        call(1, "b"),
        piece(1, "{\"y\":2"),
        piece(0, "{\"x\":"),
        piece(0, "1}"),
        piece(1, "}"),
        Event::End { choice: 0, part: 0 },
        Event::End { choice: 0, part: 1 },
        call(2, "c"),
        Event::End { choice: 0, part: 2 },
        Event::Begin { choice: 1, part: 0, kind: Begins::Text },
        Event::Usage(Usage { input: 1, ..Usage::default() }),
        Event::Finish { choice: 0, reason: Finish::ToolCalls, stop_sequence: None },
        Event::Usage(Usage { input: 5, output: 6, reasoning: 2, cached_input: 3, ..Usage::default() }),
        Event::Done,
        Event::Done,
    ];
    let written = write_stream(&Cohere, &events);
    let (again, notes) = read_stream(&Cohere, &written, &[]).unwrap();
    assert_eq!(notes.usage, Some(Usage { input: 5, output: 6, reasoning: 2, cached_input: 3, ..Usage::default() }));
    let mut told = [String::new(), String::new(), String::new()];
    let mut ids = Vec::new();
    for event in &again {
        match event {
            Event::Begin { kind: Begins::ToolCall { id, .. }, .. } => ids.push(id.clone()),
            Event::Delta { part, delta: Delta::Arguments(text), .. } => told[*part as usize].push_str(text),
            _ => {}
        }
    }
    assert_eq!(told, ["{\"x\":1}", "{\"y\":2}", "{}"], "a call without arguments has an empty object");
    assert_eq!(ids, ["a~tollgate:google:c2Vh", "b", "c"]);
    let next = json!({"messages": [{"role": "assistant", "tool_calls":
        [{"id": ids[0], "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": ids[0], "content": "x"}]});
    with_request(&Cohere, next.to_string().as_bytes(), |request| {
        let request = request.unwrap();
        let part = &request.messages[0].parts[0];
        assert_eq!(part.signature.as_ref(), Some(&seal), "the seal is back on its call");
        let (Kind::ToolCall(call), Kind::ToolResult(result)) = (&part.kind, &request.messages[1].parts[0].kind) else {
            panic!("a call and its result")
        };
        assert_eq!((&*call.id, &*result.call_id), ("a", "a"));
        let written = write_request(&Cohere, &request).body;
        assert!(!String::from_utf8(written).unwrap().contains("tollgate"), "Cohere is told nothing of it");
    });
}

/// Pieces of streams, whole and broken.
fn frames() -> impl Strategy<Value = String> {
    let event = prop::sample::select(vec![
        r#"{"type":"message-start","id":"x","delta":{"message":{"content":[]}}}"#,
        r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
        r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"thinking","thinking":"h"}}}}"#,
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"ä\n"}}}}"#,
        r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"thinking":"m"}}}}"#,
        r#"{"type":"content-end","index":0}"#,
        r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"p"}}}"#,
        r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"i","function":{"name":"n","arguments":""}}}}}"#,
        r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{}"}}}}}"#,
        r#"{"type":"tool-call-end","index":0}"#,
        r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":1,"text":"c","sources":[]}}}}"#,
        r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":1}}}}"#,
        "[DONE]",
    ]);
    prop::collection::vec((event, prop::sample::select(vec!["\n\n", "\r\n\r\n"])), 0..14)
        .prop_map(|events| events.iter().map(|(data, end)| format!("data: {data}{end}")).collect())
}

proptest! {
    #[test]
    fn pieces_change_nothing(stream in frames(), cuts in prop::collection::vec(any::<usize>(), 0..9)) {
        prop_assert_eq!(read_stream(&Cohere, stream.as_bytes(), &cuts), read_stream(&Cohere, stream.as_bytes(), &[]));
    }

    /// What was read of any stream can be written, and reads the same.
    #[test]
    fn what_is_read_can_be_written(stream in frames()) {
        let (events, _) = read_stream(&Cohere, stream.as_bytes(), &[]).unwrap();
        let complete = events.last() == Some(&Event::Done);
        let (again, notes) = read_stream(&Cohere, &write_stream(&Cohere, &events), &[]).unwrap();
        if complete {
            let plain = |events: Vec<Event>| -> Vec<String> {
                joined(events).iter().filter(|e| matches!(e, Event::Delta { delta: Delta::Text(_), .. } | Event::Finish { .. } | Event::Usage(_)))
                    .map(|e| format!("{e:?}")).collect()
            };
            prop_assert_eq!(plain(again), plain(events));
            prop_assert!(notes.done);
        }
    }

    #[test]
    fn any_bytes_are_borne(mut stream in frames().prop_map(String::into_bytes), hurt in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6)) {
        for (at, byte) in hurt {
            if let Some(place) = at.checked_rem(stream.len()) {
                stream[place] = byte;
            }
        }
        let _ = read_stream(&Cohere, &stream, &[]);
        let _ = Cohere.read_answer(&stream, &GIVEN);
        let _ = Cohere.glance(&stream);
        let _ = Cohere.read_error(StatusCode::BAD_REQUEST, &HeaderMap::new(), &stream);
        let _ = usage::billed(&stream);
    }
}

//! Ollama against its recordings, and against streams that nobody recorded.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::event::{Begins, Delta, Event, StreamError};
use crate::contract::canonical::part::{Kind, Maker, Message, Part, Role, Signature};
use crate::contract::refusal::Category;
use crate::contract::usage::Usage;
use crate::dialects::retold::{
    GIVEN, answer_lines, event_lines, exchanges, golden, golden_input, read_stream, request_lines, with_request,
    write_request, write_stream,
};

/// What may differ, for it says nothing: nulls, `format: ""`, no options, no tools.
fn normal_request(mut body: Value) -> Value {
    body.as_object_mut().unwrap().retain(|_, v| !v.is_null() && *v != json!("") && *v != json!({}) && *v != json!([]));
    body
}

fn recorded_usage(told: &Value) -> Usage {
    let count = |name: &str| told[name].as_u64().unwrap_or(0);
    Usage { input: count("prompt_eval_count"), output: count("eval_count"), ..Usage::default() }
}

#[test]
fn recorded_requests_come_back() {
    for (name, exchange) in exchanges("ollama.chat") {
        let body = exchange["request"]["body"].to_string();
        let written = with_request(&Ollama, body.as_bytes(), |request| {
            let request = request.unwrap();
            assert_eq!(request.losses(carries), [], "{name}: all that real clients sent is understood");
            write_request(&Ollama, &request)
        });
        assert_eq!(written.lost, [], "{name}");
        let written: Value = serde_json::from_slice(&written.body).unwrap();
        assert_eq!(normal_request(written), normal_request(exchange["request"]["body"].clone()), "{name}");
    }
}

/// Durations are not kept, nor parts of a second.
fn normal_answer(mut body: Value) -> Value {
    for (name, value) in body.as_object_mut().unwrap() {
        if name.ends_with("_duration") {
            assert!(value.is_u64(), "{name}: SDKs read whole numbers");
            *value = json!(0);
        }
        if name == "created_at" {
            *value = json!(answer::seconds(value.as_str().unwrap()).unwrap());
        }
    }
    body
}

#[test]
fn recorded_answers_come_back() {
    for (name, exchange) in exchanges("ollama.chat") {
        let response = &exchange["response"];
        if response["body_encoding"] != "json" {
            continue;
        }
        let body = response["body"].to_string();
        let answer = Ollama.read_answer(body.as_bytes(), &GIVEN).unwrap();
        assert_eq!(answer.usage, Some(recorded_usage(&exchange["usage"])), "{name}");
        let notes = Ollama.glance(body.as_bytes());
        assert_eq!((notes.usage, notes.done), (answer.usage, true), "{name}");
        let calls = response["body"]["message"].get("tool_calls").is_some();
        let finish = if calls { Finish::ToolCalls } else { Finish::Stop };
        assert_eq!(answer.choices[0].finish, Some(finish), "{name}");
        let written = Ollama.write_answer(&answer, &GIVEN);
        assert_eq!(written.lost, [], "{name}");
        let written: Value = serde_json::from_slice(&written.body).unwrap();
        assert_eq!(normal_answer(written), normal_answer(response["body"].clone()), "{name}");
    }
}

#[test]
fn recorded_streams_come_back() {
    for (name, exchange) in exchanges("ollama.chat") {
        let response = &exchange["response"];
        if response["body_encoding"] != "text" {
            continue;
        }
        let (events, notes) = read_stream(&Ollama, response["body"].as_str().unwrap().as_bytes(), &[]).unwrap();
        assert_eq!(events.last(), Some(&Event::Done), "{name}");
        assert_eq!(notes.usage, Some(recorded_usage(&exchange["usage"])), "{name}");
        assert!(notes.done && events.contains(&Event::Usage(notes.usage.unwrap())), "{name}");
        let again = read_stream(&Ollama, &write_stream(&Ollama, &events), &[]).unwrap();
        assert_eq!(again, (events, notes), "{name}");
    }
}

fn text(bytes: Vec<u8>) -> String {
    format!("{}\n", String::from_utf8(bytes).unwrap())
}

#[test]
fn golden_files() {
    let request = golden_input("ollama", "request.json");
    let (read, written) = with_request(&Ollama, &request, |request| {
        let request = request.unwrap();
        (request_lines(&request), write_request(&Ollama, &request))
    });
    golden("ollama", "request.read.txt", &read);
    golden("ollama", "request.written.json", &text(written.body));
    let answer = golden_input("ollama", "answer.json");
    let answer = Ollama.read_answer(&answer, &GIVEN).unwrap();
    golden("ollama", "answer.read.txt", &answer_lines(&answer));
    golden("ollama", "answer.written.json", &text(Ollama.write_answer(&answer, &GIVEN).body));
    let (events, notes) = read_stream(&Ollama, &golden_input("ollama", "stream.ndjson"), &[]).unwrap();
    golden("ollama", "stream.read.txt", &event_lines(&events));
    let written = String::from_utf8(write_stream(&Ollama, &events)).unwrap();
    golden("ollama", "stream.written.ndjson", &written);
    assert_eq!(read_stream(&Ollama, written.as_bytes(), &[]).unwrap(), (events, notes));
}

#[test]
fn requests_say_what_they_leave_out() {
    let stream = |body: &str| with_request(&Ollama, body.as_bytes(), |request| request.unwrap().stream);
    assert!(stream("{}"), "a stream is what it gives unless told not to");
    assert!(!stream(r#"{"stream":false}"#));
    for (body, told) in [
        (r#"{"messages":[{"role":"user","content":[]}]}"#, "`messages[0].content` must be a text"),
        (r#"{"messages":[{"role":"developer"}]}"#, "`messages[0]` must have the `role`"),
        (r#"{"messages":[{"role":"user","images":[1]}]}"#, "`messages[0].images[0]` must be a text"),
        (r#"{"format":"yaml"}"#, "`format` must be `json` or a schema"),
        (r#"{"think":1}"#, "`think` must be true or false"),
        (r#"{"options":{"num_predict":-7}}"#, "`options.num_predict` must be a whole number"),
    ] {
        let wrong = with_request(&Ollama, body.as_bytes(), |request| request.unwrap_err().to_string());
        assert!(wrong.starts_with(told), "{body}: {wrong}");
    }
    let body = r#"{"options":{"num_ctx":1,"num_predict":-2,"mirostat":null},"keep_alive":0,"template":"x"}"#;
    let extra: Vec<String> =
        with_request(&Ollama, body.as_bytes(), |r| r.unwrap().extra.into_iter().map(|(path, _)| path).collect());
    assert_eq!(extra, ["options.num_ctx", "options.num_predict", "keep_alive", "template"]);
}

#[test]
fn values_that_cannot_be_said_are_told() {
    use crate::contract::canonical::part::{Media, MediaKind, Message, Part, Role, Source, ToolCall, ToolResult};
    use crate::contract::canonical::{Function, ReasoningAsk, Tool, ToolChoice};
    let call = ToolCall { id: "a".into(), name: "look".into(), arguments: "[1".into() };
    let picture = Media::of(MediaKind::Image, Source::Url("https://example.com/a.png".into()), "");
    let result = ToolResult {
        call_id: "a".into(),
        name: None,
        parts: vec![Part::text("x"), Kind::Media(picture).into()],
        error: true,
    };
    let message = |role, part: Kind<'static>| Message { role, name: None, parts: vec![part.into()] };
    let mut request = Request {
        messages: vec![message(Role::Assistant, Kind::ToolCall(call)), message(Role::User, Kind::ToolResult(result))],
        tools: vec![Tool::Function(Function { name: "look".into(), ..Function::default() })],
        tool_choice: Some(ToolChoice::None),
        reasoning: Some(ReasoningAsk { effort: Some("xhigh".into()), ..ReasoningAsk::default() }),
        ..Request::default()
    };
    let written = write_request(&Ollama, &request);
    let lost: Vec<&str> = written.lost.iter().map(|l| &*l.what).collect();
    assert_eq!(lost, ["messages.tool_calls", "messages.tool_result_media", "reasoning"]);
    assert!(written.lost[0].why.as_deref().unwrap().contains("`look`"));
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(body.get("tools"), None, "no tool shall be called: none is offered");
    assert_eq!(body["messages"][1]["role"], "tool");
    assert_eq!((&body["messages"][1]["tool_name"], &body["think"]), (&json!("look"), &json!("high")));
    request.tool_choice = Some(ToolChoice::Among { names: vec!["look".into()], required: true });
    assert!(write_request(&Ollama, &request).lost.iter().any(|l| l.what == "tool_choice.among"));
}

#[test]
fn errors_have_their_category() {
    let none = HeaderMap::new();
    for (status, body, category) in [
        (400, r#"{"error":"invalid option provided"}"#, Category::InvalidRequest),
        (400, r#"{"error":"registry/m does not support tools"}"#, Category::Unsupported),
        (400, r#"{"error":"input exceeds maximum context length"}"#, Category::ContextLength),
        (401, r#"{"error":"unauthorized"}"#, Category::Auth),
        (403, r#"{"error":"this model requires a subscription"}"#, Category::Permission),
        (404, r#"{"error":"model 'm' not found"}"#, Category::NoRoute),
        (429, r#"{"error":"too many concurrent requests"}"#, Category::RateLimited),
        (429, r#"{"error":"you have reached your weekly usage limit"}"#, Category::BudgetExceeded),
        (500, r#"{"error":"model runner has unexpectedly stopped"}"#, Category::UpstreamOutage),
        (502, r#"{"error":{"message":"upstream"}}"#, Category::UpstreamOutage),
        (503, r#"{"error":"server busy, please try again. maximum pending requests exceeded"}"#, Category::Overloaded),
        (504, r#"{"error":"timed out"}"#, Category::Timeout),
    ] {
        let said = Ollama.read_error(StatusCode::from_u16(status).unwrap(), &none, body.as_bytes()).unwrap();
        assert_eq!(said.category, category, "{status} {body}");
    }
    for body in ["", "<html>502</html>", "404 page not found", "{}"] {
        assert_eq!(Ollama.read_error(StatusCode::BAD_GATEWAY, &none, body.as_bytes()), None, "{body}");
    }
    let refusal = Refusal::new(Category::Auth, "no_key", "no key was sent");
    let body: Value = serde_json::from_str(&Ollama.write_refusal(&refusal, "r1")).unwrap();
    assert_eq!((&body["error"], &body["tollgate"]["request_id"]), (&json!("no key was sent"), &json!("r1")));
}

#[test]
fn streams_that_fail_or_stumble() {
    let line = r#"{"model":"m","created_at":"x","message":{"role":"assistant","content":"a"},"done":false}"#;
    let failed = r#"{"error":"an error was encountered while running the model"}"#;
    let (events, notes) = read_stream(&Ollama, format!("{line}\n{failed}\n{line}\n").as_bytes(), &[]).unwrap();
    let message = "an error was encountered while running the model".to_owned();
    assert_eq!(events.last(), Some(&Event::Error(StreamError { message: message.clone(), ..StreamError::default() })));
    assert_eq!((notes.error, notes.done), (Some(message), false));
    let (events, notes) = read_stream(&Ollama, format!("{line}\n{line}").as_bytes(), &[]).unwrap();
    assert!(!events.contains(&Event::Done) && !notes.done, "cut");
    assert_eq!(events.len(), 4, "the last line without an end is read too");
    let (events, notes) = read_stream(&Ollama, br#"{"message":{},"done": true}"#, &[]).unwrap();
    assert_eq!(events.last(), Some(&Event::Done), "old servers tell no reason");
    assert!(notes.done && notes.usage.is_none());
    assert!(read_stream(&Ollama, b"{\"a\":\n", &[]).is_err());
    let text = r#"{"message":{"content":"\"done\":true \"error\""},"done":false}"#;
    let (_, notes) = read_stream(&Ollama, text.as_bytes(), &[]).unwrap();
    assert_eq!(notes, Notes::default(), "words in a text are no ending");
}

#[test]
fn foreign_streams_are_written_for_ollamas_clients() {
    let call = |part, id: &str| Event::Begin {
        choice: 0,
        part,
        kind: Begins::ToolCall { id: id.into(), name: "look".into() },
    };
    let piece = |part, text: &str| Event::Delta { choice: 0, part, delta: Delta::Arguments(text.into()) };
    let seal = Signature { by: Maker::Google, data: "c2Vh".into() };
    let events = [
        Event::Start { id: "x".into(), model: "m".into(), created_s: Some(1_700_000_000) },
        call(0, "a"),
        call(1, "b"),
        piece(0, "{\n\"x\":"),
        piece(1, "{\"y\":2"),
        piece(0, "1}"),
        piece(1, "}"),
        Event::Delta { choice: 0, part: 0, delta: Delta::Signature(seal.clone()) },
        Event::End { choice: 0, part: 1 },
        Event::End { choice: 0, part: 0 },
        call(2, "c"),
        Event::Usage(Usage { input: 5, output: 6, ..Usage::default() }),
        Event::Finish { choice: 0, reason: Finish::ToolCalls, stop_sequence: None },
        Event::Done,
    ];
    let written = String::from_utf8(write_stream(&Ollama, &events)).unwrap();
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "a line for each call, and the last: {written}");
    let calls: Vec<&Value> = lines.iter().flat_map(|l| l["message"]["tool_calls"].as_array()).map(|c| &c[0]).collect();
    assert_eq!(calls[0], &json!({"id": "b", "function": {"index": 0, "name": "look", "arguments": {"y": 2}}}));
    assert_eq!(calls[1]["id"], "a~tollgate:google:c2Vh", "the seal rides in the id");
    assert_eq!(calls[2]["function"]["arguments"], json!({}));
    let last = &lines[3];
    assert_eq!((&last["done"], &last["done_reason"], &last["eval_count"]), (&json!(true), &json!("stop"), &json!(6)));
    assert_eq!((&last["total_duration"], &last["created_at"]), (&json!(0), &json!("2023-11-14T22:13:20Z")));
    let next = json!({"messages": [{"role": "assistant", "tool_calls": [calls[1]]},
        {"role": "tool", "content": "x", "tool_call_id": calls[1]["id"]}]});
    with_request(&Ollama, next.to_string().as_bytes(), |request| {
        let request = request.unwrap();
        assert_eq!(request.messages[0].parts[0].signature.as_ref(), Some(&seal), "and is back on its call");
        let Kind::ToolResult(result) = &request.messages[1].parts[0].kind else { panic!("a result") };
        assert_eq!(result.call_id, "a");
    });
}

/// A whole answer reads as its stream does: providers cut texts where they cite.
#[test]
fn pieces_of_an_answer_are_one_text() {
    let texts = |texts: [&'static str; 3]| texts.map(Part::text).to_vec();
    let pieces = ["The capital is ", "Paris", ", a city."];
    let answer = Answer { choices: vec![Choice { parts: texts(pieces), ..Choice::default() }], ..Answer::default() };
    let told: Value = serde_json::from_slice(&Ollama.write_answer(&answer, &GIVEN).body).unwrap();
    assert_eq!(told["message"]["content"], "The capital is Paris, a city.");
    for (role, expected, why) in [
        (Role::Assistant, "The capital is Paris, a city.", "it is said again as it was"),
        (Role::User, "The capital is \nParis\n, a city.", "parts of a question may be a file each"),
    ] {
        let messages = vec![Message { role, name: None, parts: texts(pieces) }];
        let request = Request { messages, ..Request::default() };
        let asked: Value = serde_json::from_slice(&write_request(&Ollama, &request).body).unwrap();
        assert_eq!(asked["messages"][0]["content"], expected, "{why}");
    }
}

/// OpenAI's chat refuses ids above 40 characters: a conversation that began here may go on there.
#[test]
fn ids_that_are_made_of_calls_are_short() {
    let id = crate::dialects::made_call_id("01890a5d-ac96-774b-bcce-b302099a8057", 99);
    assert_eq!(id, "call_01890a5dac96774bbcceb302099a8057_99");
    assert_eq!(id.len(), 40);
}

/// A call with other arguments than the model's could do anything.
#[test]
fn broken_arguments_are_told_as_they_were_written() {
    let events = [
        Event::Begin { choice: 0, part: 0, kind: Begins::ToolCall { id: "a".into(), name: "rm".into() } },
        Event::Delta { choice: 0, part: 0, delta: Delta::Arguments("{\"path\":".into()) },
        Event::End { choice: 0, part: 0 },
        Event::Finish { choice: 0, reason: Finish::ToolCalls, stop_sequence: None },
        Event::Done,
    ];
    let written = String::from_utf8(write_stream(&Ollama, &events)).unwrap();
    let call: Value = serde_json::from_str(written.lines().next().unwrap()).unwrap();
    let function = &call["message"]["tool_calls"][0]["function"];
    assert_eq!((&function["name"], &function["arguments"]), (&json!("rm"), &json!({"_invalid_json": "{\"path\":"})));
}

#[test]
fn a_refusal_in_a_stream_is_its_last_line() {
    let refusal = Refusal::new(Category::Interrupted, "cut", "the provider broke off");
    let (mut writer, mut out) = (Ollama.stream_writer(&GIVEN), Vec::new());
    writer.refusal(&refusal, "r1", &mut out);
    let line: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&line["error"], &line["tollgate"]["code"]), (&json!("the provider broke off"), &json!("cut")));
}

fn lines() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        r#"{"model":"m","created_at":"2026-08-07T06:08:09Z","message":{"role":"assistant","content":"ä\n"},"done":false}"#,
        r#"{"model":"m","message":{"content":"","thinking":"hm"},"done":false}"#,
        r#"{"model":"m","message":{"content":"x","tool_calls":[{"function":{"name":"n","arguments":{"a":[1, 2]}}}]}}"#,
        r#"{"model":"m","message":{"content":"","tool_calls":[{"id":"i","function":{"name":"n"}}]}}"#,
        r#"{"message":{"content":"b"},"logprobs":[{"token":"b","logprob":-1}],"done":false}"#,
        r#"{"message":{"content":""},"done":true,"done_reason":"length","eval_count":3}"#,
        "",
    ]);
    prop::collection::vec((line, prop::sample::select(vec!["\n", "\r\n"])), 0..10)
        .prop_map(|lines| lines.iter().map(|(data, end)| format!("{data}{end}")).collect())
}

proptest! {
    #[test]
    fn pieces_change_nothing(stream in lines(), cuts in prop::collection::vec(any::<usize>(), 0..9)) {
        prop_assert_eq!(read_stream(&Ollama, stream.as_bytes(), &cuts), read_stream(&Ollama, stream.as_bytes(), &[]));
    }

    #[test]
    fn what_is_read_can_be_written(stream in lines()) {
        let (events, notes) = read_stream(&Ollama, stream.as_bytes(), &[]).unwrap();
        if events.last() == Some(&Event::Done) {
            let again = read_stream(&Ollama, &write_stream(&Ollama, &events), &[]).unwrap();
            let parts = |events: &[Event]| -> Vec<String> {
                events.iter().filter(|e| matches!(e, Event::Delta { .. } | Event::Begin { .. } | Event::Finish { .. }))
                    .map(|e| format!("{e:?}")).collect()
            };
            prop_assert_eq!(parts(&again.0), parts(&events));
            prop_assert_eq!(again.1.usage.map(|u| u.output), Some(notes.usage.map_or(0, |u| u.output)));
        }
    }

    #[test]
    fn any_bytes_are_borne(mut stream in lines().prop_map(String::into_bytes), hurt in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6)) {
        for (at, byte) in hurt {
            if let Some(place) = at.checked_rem(stream.len()) {
                stream[place] = byte;
            }
        }
        let _ = read_stream(&Ollama, &stream, &[]);
        let _ = Ollama.read_answer(&stream, &GIVEN);
        let _ = Ollama.glance(&stream);
        let _ = Ollama.read_error(StatusCode::BAD_REQUEST, &HeaderMap::new(), &stream);
    }
}

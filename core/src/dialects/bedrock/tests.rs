//! Tables of what is easily got wrong, pairs of bodies, and properties. Recorded traffic is replayed next door.

use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Bedrock;
use super::replayed::{events, frames, round, to, written};
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::event::{Begins, Delta, Event, StreamError};
use crate::contract::canonical::part::{Kind, Maker, Part, Reasoning, Signature, ToolCall};
use crate::contract::refusal::{Category, Refusal};
use crate::contract::skim::skim;
use crate::contract::usage::Usage;
use crate::dialects::frames::{Frame, event_stream};
use crate::dialects::openai_chat::OpenaiChat;
use crate::dialects::recorded::given;
use crate::dialects::{Codec, Notes};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

/// Each file: a request of some dialect, what is written of it for a model here, and what is lost.
#[test]
fn golden() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dialects/bedrock/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6);
    let mut wrong = Vec::new();
    for file in files {
        let pair: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let codec: &dyn Codec = if pair["from"] == "openai.chat" { &OpenaiChat } else { &Bedrock };
        let (text, model) = (pair["request"].to_string(), pair["model"].as_str().unwrap());
        let skim = skim(text.as_bytes()).unwrap();
        let request = codec.read_request(text.as_bytes(), &skim, &given(model)).unwrap();
        let written = Bedrock.write_request(&request, &to(model));
        let lost = request.losses(|e| Bedrock.carries(e)).into_iter().chain(written.lost);
        let lost: Vec<String> =
            lost.map(|l| format!("{}{}", l.what, l.why.map(|why| format!(": {why}")).unwrap_or_default())).collect();
        let told = json!({
            "written": serde_json::from_slice::<Value>(&written.body).unwrap(),
            "lost": lost,
        });
        let expected = json!({ "written": pair["written"], "lost": pair["lost"] });
        if told != expected {
            wrong.push(format!("{}: {told:#}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (body, told) in [
        (json!({"messages": {}}), "`messages` must be a list"),
        (json!({"messages": [{"content": []}]}), "`messages[0].role` is missing"),
        (json!({"messages": [{"role": "tool", "content": []}]}), "`messages[0].role` is `tool`: known are"),
        (json!({"messages": [{"role": "user"}]}), "`messages[0].content` is missing"),
        (json!({"messages": [{"role": "user", "content": "hi"}]}), "`messages[0].content` must be a list"),
        (
            json!({"messages": [{"role": "user", "content": [{"text": 1}]}]}),
            "`messages[0].content[0].text` must be a text",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]}),
            "`messages[0].content[0]` has the members `image` and `text`",
        ),
        (json!({"messages": [{"role": "user", "content": [{}]}]}), "`messages[0].content[0]` has no member"),
        (
            json!({"messages": [{"role": "user", "content": [{"image": {"source": {}}}]}]}),
            "`messages[0].content[0].image.source` has none of",
        ),
        (json!({"inferenceConfig": {"maxTokens": "5"}}), "`inferenceConfig.maxTokens` must be a whole number"),
        (json!({"toolConfig": {"toolChoice": {"some": {}}}}), "`toolConfig.toolChoice` is `some`"),
        (
            json!({"outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": "{"}}}}}),
            "`outputConfig.textFormat.structure.jsonSchema` has a `schema` that is no JSON",
        ),
        (
            json!({"additionalModelRequestFields": {"thinking": {"budget_tokens": -1}}}),
            "`additionalModelRequestFields.thinking.budget_tokens` must be",
        ),
    ] {
        let why = round(&body, CLAUDE).unwrap_err();
        assert!(why.starts_with(told), "{body}: {why}");
    }
}

#[test]
fn what_has_no_place_is_told_by_its_path() {
    let body = json!({
        "messages": [{"role": "user", "content": [{"text": "a"}], "x": 1}],
        "inferenceConfig": {"seed": 3, "topP": null},
        "toolConfig": {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {}}, "y": 1}}]},
        "additionalModelRequestFields": {"anthropic_beta": ["b"], "thinking": {"type": "adaptive", "z": 1}},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "performanceConfig": {"latency": "optimized"},
        "promptVariables": {"v": {"text": "w"}},
        "guardrailConfig": null,
    });
    let (_, lost) = round(&body, CLAUDE).unwrap();
    assert_eq!(
        lost,
        [
            "additionalModelRequestFields.anthropic_beta",
            "additionalModelRequestFields.thinking.z",
            "additionalModelResponseFieldPaths",
            "inferenceConfig.seed",
            "messages[0].x",
            "performanceConfig",
            "promptVariables",
            "toolConfig.tools[0].toolSpec.y",
        ]
    );
}

#[test]
fn numbers_and_schemas_keep_their_text() {
    let schema = r#"{"type":"object","properties":{"b":{"minimum":0.10},"a":{}}}"#;
    let text = format!(
        r#"{{"messages":[{{"role":"assistant","content":[{{"toolUse":{{"toolUseId":"a","name":"f","input":{{"z":1.50,"a":1e3}}}}}}]}}],"inferenceConfig":{{"temperature":0.30}},"toolConfig":{{"tools":[{{"toolSpec":{{"name":"f","inputSchema":{{"json":{schema}}}}}}}]}}}}"#
    );
    let skim = skim(text.as_bytes()).unwrap();
    let request = Bedrock.read_request(text.as_bytes(), &skim, &given(CLAUDE)).unwrap();
    let written = String::from_utf8(Bedrock.write_request(&request, &to(CLAUDE)).body).unwrap();
    for kept in [schema, r#"{"z":1.50,"a":1e3}"#, r#""temperature":0.30"#] {
        assert!(written.contains(kept), "{kept} in {written}");
    }
}

fn seal(by: Maker, data: &'static str) -> Option<Signature<'static>> {
    Some(Signature { by, data: data.into() })
}

fn thought(text: &'static str, signature: Option<Signature<'static>>) -> Part<'static> {
    Part { signature, ..Kind::Reasoning(Reasoning { text: text.into(), ..Reasoning::default() }).into() }
}

fn sealed(data: &'static str, id: Option<&'static str>, by: Maker, summary: &'static str) -> Part<'static> {
    let reasoning = Reasoning {
        text: summary.into(),
        encrypted: Some(data.into()),
        id: id.map(Into::into),
        summary: !summary.is_empty(),
    };
    Part { signature: seal(by, ""), ..Kind::Reasoning(reasoning).into() }
}

fn call(id: &'static str, signature: Option<Signature<'static>>) -> Part<'static> {
    let call = ToolCall { id: id.into(), name: "f".into(), arguments: r#"{"a":1.5}"#.into() };
    Part { signature, ..Kind::ToolCall(call).into() }
}

/// Thoughts and seals of every maker, as a caller of this dialect sends them back in the next turn.
fn next_turn(content: &Value) -> Vec<String> {
    let text = json!({ "messages": [{ "role": "assistant", "content": content }] }).to_string();
    let skim = skim(text.as_bytes()).unwrap();
    let request = Bedrock.read_request(text.as_bytes(), &skim, &given("any")).unwrap();
    assert!(request.extra.is_empty());
    request.messages[0].parts.iter().map(|p| format!("{p:?}")).collect()
}

#[test]
fn seals_of_every_maker_come_back_as_they_went() {
    let parts = vec![
        thought("hm", seal(Maker::Anthropic, "EqQB")),
        sealed("gAAA=", Some("rs_1"), Maker::Openai, "a summary"),
        sealed("EmwK/+==", None, Maker::Anthropic, ""),
        sealed("gBBB", None, Maker::Openai, ""),
        thought("google thinks", seal(Maker::Google, "CiQB")),
        Part { signature: seal(Maker::Google, "TEXT"), ..Part::text("hello") },
        call("tooluse_1", seal(Maker::Google, "CALL")),
        call("tooluse_2", None),
    ];
    let sent: Vec<String> = parts.iter().map(|p| format!("{p:?}")).collect();
    let answer = Answer { choices: vec![Choice { parts, ..Choice::default() }], ..Answer::default() };
    let told = Bedrock.write_answer(&answer, &given("any"));
    assert_eq!(told.lost, []);
    let body: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(next_turn(&body["output"]["message"]["content"]), sent);
}

/// The message that a program puts together of a stream, as boto3's users do.
fn gathered(bytes: &[u8]) -> Value {
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

fn stream(parts: Vec<(u64, Option<Begins>, Vec<Delta>, bool)>, finish: Finish) -> Vec<Event> {
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

fn tool(id: &str) -> Option<Begins> {
    Some(Begins::ToolCall { id: id.into(), name: "f".into() })
}

fn arguments(text: &str) -> Delta {
    Delta::Arguments(text.into())
}

#[test]
fn seals_in_streams_come_back_too() {
    let reasoning = |id: Option<&str>| Some(Begins::Reasoning { summary: false, id: id.map(str::to_owned) });
    let signature = |by, data: &'static str| Delta::Signature(seal(by, data).unwrap());
    let text = |text: &str| Delta::Text(text.into());
    let told = written(&stream(
        vec![
            (0, reasoning(None), vec![text("h"), text("m"), signature(Maker::Anthropic, "EqQB")], true),
            (
                1,
                reasoning(Some("rs_1")),
                vec![text("a summary"), Delta::Encrypted("gAAA=".into()), signature(Maker::Openai, "")],
                true,
            ),
            (2, reasoning(None), vec![Delta::Encrypted("EmwK".into()), signature(Maker::Anthropic, "")], true),
            (3, Some(Begins::Text), vec![text("hel"), text("lo"), signature(Maker::Google, "TEXT")], true),
            (4, tool("tooluse_1"), vec![arguments("{\"a\":1.5}"), signature(Maker::Google, "CALL")], true),
            (5, tool("tooluse_3"), vec![arguments("{"), arguments("}"), signature(Maker::Google, "LATE")], true),
        ],
        Finish::ToolCalls,
    ));
    let late = Part { signature: seal(Maker::Google, "LATE"), ..call("tooluse_3", None) };
    let expected = [
        thought("hm", seal(Maker::Anthropic, "EqQB")),
        sealed("gAAA=", Some("rs_1"), Maker::Openai, "a summary"),
        sealed("EmwK", None, Maker::Anthropic, ""),
        Part { signature: seal(Maker::Google, "TEXT"), ..Part::text("hello") },
        call("tooluse_1", seal(Maker::Google, "CALL")),
        late,
    ];
    let expected = expected.map(|p| format!("{p:?}"));
    let back = next_turn(&gathered(&told));
    assert_eq!(back[..5], expected[..5]);
    assert!(back[5].contains("LATE") && back[5].contains("tooluse_3"), "{}", back[5]);
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

#[test]
fn errors_are_told_apart() {
    for (status, kind, body, category, retryable, why) in [
        (
            429,
            Some("ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/"),
            r#"{"message":"Too many requests"}"#,
            Category::RateLimited,
            true,
            "the kind is cut at the colon",
        ),
        (
            429,
            Some("ThrottlingException"),
            r#"{"message":"Too many tokens per day, please wait"}"#,
            Category::RateLimited,
            false,
            "a day is too long to wait for",
        ),
        (
            400,
            Some("ValidationException"),
            r#"{"message":"Input is too long for requested model."}"#,
            Category::ContextLength,
            false,
            "too long",
        ),
        (
            400,
            Some("ValidationException"),
            r#"{"message":"This request has been blocked by our content filters."}"#,
            Category::ContentFiltered,
            false,
            "filtered",
        ),
        (
            400,
            None,
            r#"{"message":"The provided model identifier is invalid."}"#,
            Category::NoRoute,
            false,
            "no such model, and no kind",
        ),
        (
            400,
            None,
            r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"no"}"#,
            Category::InvalidRequest,
            false,
            "the kind in the body",
        ),
        (
            403,
            None,
            r#"{"Message":"User: x is not authorized to perform: bedrock:InvokeModel"}"#,
            Category::Permission,
            false,
            "a capital letter",
        ),
        (
            403,
            Some("UnrecognizedClientException"),
            r#"{"message":"The security token included in the request is invalid."}"#,
            Category::Auth,
            false,
            "whose key it is, nobody knows",
        ),
        (
            403,
            None,
            r#"{"message":"The security token included in the request is expired"}"#,
            Category::Auth,
            false,
            "the same without a kind",
        ),
        (404, Some("ResourceNotFoundException"), r#"{"message":"x"}"#, Category::NoRoute, false, "end of life"),
        (408, Some("ModelTimeoutException"), r#"{"message":"x"}"#, Category::Timeout, true, "the model's time"),
        (
            424,
            Some("ModelErrorException"),
            r#"{"message":"x","originalStatusCode":500}"#,
            Category::UpstreamOutage,
            true,
            "the model failed",
        ),
        (429, Some("ModelNotReadyException"), r#"{"message":"x"}"#, Category::Overloaded, true, "being loaded"),
        (400, Some("ServiceQuotaExceededException"), r#"{"message":"x"}"#, Category::BudgetExceeded, false, "a quota"),
        (500, Some("InternalServerException"), r#"{"message":"x"}"#, Category::UpstreamOutage, true, "theirs"),
        (503, Some("ServiceUnavailableException"), "", Category::Overloaded, true, "a kind without a body"),
        (500, None, r#"{"message":null,"__type":"InternalFailure"}"#, Category::UpstreamOutage, true, "no message"),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert("x-amzn-errortype", kind.parse().unwrap());
        }
        let said = Bedrock.read_error(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes()).expect(why);
        assert_eq!(said.category, category, "{why}");
        assert_eq!(said.retryable.unwrap_or(said.category.retryable()), retryable, "{why}");
        if let Some(kind) = kind {
            assert_eq!(said.code.as_deref(), kind.split(':').next(), "{why}");
        }
    }
    for page in ["<html>502</html>", "", "[]", "{}", "\u{fffd}"] {
        assert_eq!(Bedrock.read_error(StatusCode::BAD_GATEWAY, &HeaderMap::new(), page.as_bytes()), None, "{page}");
    }
}

#[test]
fn finish_reasons_are_the_dialects_own() {
    for (reason, told) in [
        (Finish::Stop, "end_turn"),
        (Finish::StopSequence, "stop_sequence"),
        (Finish::Length, "max_tokens"),
        (Finish::ToolCalls, "tool_use"),
        (Finish::ContentFilter, "content_filtered"),
        (Finish::Refusal, "content_filtered"),
        (Finish::ContextLength, "model_context_window_exceeded"),
        (Finish::Other("malformed_tool_use".into()), "malformed_tool_use"),
        (Finish::Other("novelty".into()), "end_turn"),
    ] {
        assert_eq!(super::finish_name(&reason), told);
    }
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

    #[test]
    fn bodies_never_panic(body in "(\\{|\\}|\\[|\\]|:|,|\"|messages|content|text|toolUse|output|1|null){0,24}", junk in prop::collection::vec(any::<u8>(), 0..40)) {
        for bytes in [body.as_bytes(), &junk] {
            let _ = Bedrock.read_answer(bytes, &given("m"));
            let _ = Bedrock.glance(bytes);
            let _ = Bedrock.read_error(StatusCode::BAD_REQUEST, &HeaderMap::new(), bytes);
            Bedrock.note(&Frame::named("metadata", bytes), &mut Notes::default());
        }
        let _ = round(&json!({ "messages": body }), "m");
    }
}

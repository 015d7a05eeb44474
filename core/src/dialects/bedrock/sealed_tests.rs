//! Seals on thoughts: every maker's come back in the next turn as they went.

use serde_json::{Value, json};

use super::Bedrock;
use super::replayed::{events, written};
use super::stream_tests::{arguments, gathered, stream, tool};
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::event::{Begins, Delta};
use crate::contract::canonical::part::{Kind, Maker, Part, Reasoning, Signature, ToolCall};
use crate::contract::skim::skim;
use crate::contract::{Dialect, base64};
use crate::dialects::frames::event_stream;
use crate::dialects::recorded::given;
use crate::dialects::retold::{read_stream, write_stream};
use crate::dialects::{Codec, codec, sealed as seals};

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
    let content = &body["output"]["message"]["content"];
    assert_eq!(next_turn(content), sent);
    for block in content.as_array().unwrap() {
        let text = block.to_string();
        let foreign = ["tollgate:", "dG9sbGdhdGU6"].iter().any(|tag| text.contains(tag));
        assert_eq!(seals::ride_in(text.as_bytes()), foreign, "{text}");
    }
    assert_eq!(content.to_string().matches("dG9sbGdhdGU6").count(), 2, "OpenAI's ride in bytes");
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
                vec![text("a summary"), signature(Maker::Openai, ""), Delta::Encrypted("gAAA=".into())],
                true,
            ),
            (2, reasoning(None), vec![signature(Maker::Anthropic, ""), Delta::Encrypted("EmwK".into())], true),
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

/// Whole answers and streams say the same of sealed thoughts, whoever is told: the maker's name is there when it is needed.
#[test]
fn sealed_thoughts_of_a_stream_reach_callers_of_every_dialect() {
    let content = |data: &str| json!({ "reasoningContent": { "redactedContent": data } });
    let data = base64::encode(b"EmwK");
    let event = |name: &str, payload: Value| {
        let mut bytes = Vec::new();
        let headers = [(":event-type", name), (":message-type", "event")];
        event_stream::write(&headers, payload.to_string().as_bytes(), &mut bytes);
        bytes
    };
    let stream: Vec<u8> = [
        event("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": content(&data) })),
        event("contentBlockStop", json!({ "contentBlockIndex": 0 })),
        event("messageStop", json!({ "stopReason": "end_turn" })),
        event("metadata", json!({})),
    ]
    .concat();
    let told = events("anthropic.claude-opus-4-5", &stream).unwrap();
    for (dialect, expected) in [
        (Dialect::AnthropicMessages, r#"{"type":"redacted_thinking","data":"EmwK"}"#),
        (
            Dialect::OpenaiChat,
            r#"{"index":0,"type":"reasoning.encrypted","data":"EmwK","format":"anthropic-claude-v1"}"#,
        ),
        (Dialect::OpenaiResponses, "tollgate:anthropic:thoughts;EmwK"),
    ] {
        let codec = codec(dialect).unwrap();
        let written = String::from_utf8(write_stream(codec, &told)).unwrap();
        assert!(written.contains(expected), "{dialect:?}: {written}");
    }
    assert!(gathered(&written(&told)).to_string().contains(&data), "and back to one of this dialect");
}

/// What a provider of another dialect streams of sealed thoughts is base64 for callers of this one: SDKs decode it.
#[test]
fn sealed_thoughts_of_other_dialects_stream_as_bytes() {
    let responses = concat!(
        r#"data: {"type":"response.created","response":{"id":"r","model":"m","status":"in_progress"}}"#,
        "\n\n",
        r#"data: {"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"ENC"}}"#,
        "\n\n",
        r#"data: {"type":"response.completed","response":{"id":"r","model":"m","status":"completed","output":[]}}"#,
        "\n\n",
    );
    let claude = concat!(
        r#"data: {"type":"message_start","message":{"id":"m","role":"assistant","model":"m","content":[]}}"#,
        "\n\n",
        r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"EmwKAhg"}}"#,
        "\n\n",
        r#"data: {"type":"content_block_stop","index":0}"#,
        "\n\n",
        r#"data: {"type":"message_stop"}"#,
        "\n\n",
    );
    for (dialect, stream, plain) in [
        (Dialect::OpenaiResponses, responses, "tollgate:openai:rs_1.ENC"),
        (Dialect::AnthropicMessages, claude, "EmwKAhg"),
    ] {
        let (told, _) = read_stream(codec(dialect).unwrap(), stream.as_bytes(), &[]).unwrap();
        let blocks = gathered(&written(&told));
        assert_eq!(blocks[0]["reasoningContent"]["redactedContent"], base64::encode(plain.as_bytes()), "{blocks}");
    }
}

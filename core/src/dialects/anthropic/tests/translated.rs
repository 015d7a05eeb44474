//! From and to OpenAI's chat, and the seals of other makers on their way through a caller of this dialect.

use serde_json::{Value, json};

use super::{to, write_stream};
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::event::Event;
use crate::contract::canonical::part::{Kind, Maker, Part, Reasoning, Signature, ToolCall};
use crate::contract::skim::skim;
use crate::dialects::Codec;
use crate::dialects::anthropic::Anthropic;
use crate::dialects::openai_chat::OpenaiChat;
use crate::dialects::recorded::{events, exchanges, given};

fn translated(from: &dyn Codec, to_codec: &dyn Codec, body: &Value, model: &str) -> (Value, Vec<String>) {
    let text = body.to_string();
    let skimmed = skim(text.as_bytes()).unwrap();
    let request = from.read_request(text.as_bytes(), &skimmed, &given(model)).unwrap();
    let written = to_codec.write_request(&request, &to(model));
    let lost = request.losses(|e| to_codec.carries(e)).into_iter().chain(written.lost).map(|l| l.what.into_owned());
    (serde_json::from_slice(&written.body).unwrap(), lost.collect())
}

#[test]
fn a_turn_with_tools_goes_both_ways() {
    let chat = json!({
        "model": "x", "max_completion_tokens": 50, "user": "u",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "w", "arguments": "{\"at\":1.5}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ],
        "tools": [{"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}],
        "parallel_tool_calls": false,
    });
    let (body, lost) = translated(&OpenaiChat, &Anthropic, &chat, "claude-sonnet-4-5");
    assert_eq!(lost, Vec::<String>::new());
    let expected = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 50, "metadata": {"user_id": "u"}, "system": "Be brief.",
        "tools": [{"name": "w", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "w", "input": {"at": 1.5}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "rain"}]},
        ],
    });
    assert_eq!(body, expected);
    let (back, _) = translated(&Anthropic, &OpenaiChat, &body, "x");
    assert_eq!(back["messages"], {
        let mut messages = chat["messages"].clone();
        messages[2]["content"] = back["messages"][2]["content"].clone();
        messages
    });
}

/// Every recorded request of OpenAI's chat can be written here: what is lost is told, and nothing panics.
#[test]
fn recorded_chats_become_messages() {
    for exchange in exchanges("openai.chat").iter().filter(|e| e.status == 200) {
        for model in ["claude-3-5-haiku-latest", "claude-sonnet-4-5", "claude-opus-4-8"] {
            let (body, _) = translated(&OpenaiChat, &Anthropic, &exchange.request, model);
            assert!(body["max_tokens"].as_u64().is_some(), "{}", exchange.id);
            let roles: Vec<&str> =
                body["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
            assert!(roles.windows(2).all(|pair| pair[0] != pair[1]), "{}: {roles:?}", exchange.id);
        }
    }
}

/// Recorded answers of OpenAI's chat: texts, names, arguments and usage arrive.
#[test]
fn recorded_chat_streams_become_messages() {
    for exchange in exchanges("openai.chat").into_iter().filter(|e| e.status == 200 && e.stream) {
        let read = events(&OpenaiChat, &given("asked"), &exchange.body).unwrap();
        if read.iter().any(|event| matches!(event, Event::Begin { choice: 1.., .. })) {
            continue;
        }
        let again = events(&Anthropic, &given("asked"), &write_stream(&read)).unwrap();
        let reason = |event: &Event| match event {
            Event::Finish { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        // One recorded stream tells no reason.
        if let Some(told) = read.iter().find_map(reason) {
            assert_eq!(again.iter().find_map(reason), Some(told), "{}", exchange.id);
        }
        assert_eq!(again.last(), Some(&Event::Done), "{}", exchange.id);
        assert_eq!(said(&again), said(&read), "{}", exchange.id);
    }
}

/// All that was said, by part.
fn said(events: &[Event]) -> Vec<(String, String)> {
    use crate::contract::canonical::event::{Begins, Delta};
    let mut parts: Vec<(u64, String, String)> = Vec::new();
    for event in events {
        match event {
            Event::Begin { part, kind, .. } => {
                let name = match kind {
                    Begins::Text | Begins::Refusal => "text".to_owned(),
                    Begins::Reasoning { .. } => "reasoning".to_owned(),
                    Begins::ToolCall { id, name } => format!("{id} {name}"),
                    Begins::Native(kind) | Begins::Media { mime: kind, .. } => kind.clone(),
                };
                parts.push((*part, name, String::new()));
            }
            Event::Delta { part, delta: Delta::Text(text) | Delta::Arguments(text), .. } => {
                parts.iter_mut().find(|(known, ..)| known == part).unwrap().2.push_str(text);
            }
            _ => {}
        }
    }
    parts.into_iter().map(|(_, name, text)| (name, text)).collect()
}

#[test]
fn seals_of_others_come_back_on_the_part_that_they_belong_to() {
    let call = |id: &'static str| Kind::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: "{}".into() });
    let thoughts = |text: &'static str, encrypted: Option<&'static str>| {
        Kind::Reasoning(Reasoning { text: text.into(), encrypted: encrypted.map(Into::into), ..Reasoning::default() })
    };
    let sealed = |kind, by, data: &'static str| Part {
        signature: Some(Signature { by, data: data.into() }),
        ..Part::from(kind)
    };
    let parts = || {
        vec![
            sealed(thoughts("a", None), Maker::Anthropic, "A1"),
            sealed(thoughts("", Some("A2")), Maker::Anthropic, ""),
            sealed(thoughts("b", None), Maker::Google, "G1"),
            sealed(thoughts("c", Some("O1")), Maker::Openai, ""),
            sealed(thoughts("", Some("O2")), Maker::Openai, ""),
            Part::text("t"),
            sealed(call("x"), Maker::Google, "G2"),
            Part::from(call("y")),
        ]
    };
    let choice = Choice { parts: parts(), finish: Some(Finish::ToolCalls), ..Choice::default() };
    let written = Anthropic.write_answer(&Answer { choices: vec![choice], ..Answer::default() }, &given("asked"));
    let answer: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(answer["content"][0], json!({"type": "thinking", "thinking": "a", "signature": "A1"}));
    assert_eq!(answer["content"][2]["signature"], "tollgate:google:G1");
    assert_eq!(answer["content"][3]["signature"], "tollgate:openai:O1");
    assert_eq!(answer["content"][6], json!({"type": "redacted_thinking", "data": "tollgate:google:G2"}));

    let next = json!({"max_tokens": 9, "messages": [{"role": "assistant", "content": answer["content"]}]}).to_string();
    let skimmed = skim(next.as_bytes()).unwrap();
    let request = Anthropic.read_request(next.as_bytes(), &skimmed, &given("claude-sonnet-4-5")).unwrap();
    assert_eq!(format!("{:?}", request.messages[0].parts), format!("{:?}", parts()), "each on its part");

    let written = Anthropic.write_request(&request, &to("claude-sonnet-4-5"));
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    let kinds: Vec<&str> =
        body["messages"][0]["content"].as_array().unwrap().iter().map(|b| b["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["thinking", "redacted_thinking", "text", "tool_use", "tool_use"], "its own maker's only");
    let lost: Vec<&str> = written.lost.iter().map(|l| &*l.what).collect();
    assert_eq!(lost, ["messages.reasoning_signature", "messages.reasoning_encrypted"]);
}

//! Tools of free text and the older form of tools, to other dialects and back.

use serde_json::{Value, json};

use super::super::OpenaiChat;
use super::*;
use crate::contract::canonical::Request;
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::skim::skim;
use crate::dialects::retold::GIVEN;
use crate::dialects::{Codec, Given};

fn read<T>(body: &Value, tell: impl FnOnce(Request<'_>) -> T) -> T {
    let body = body.to_string();
    let skimmed = skim(body.as_bytes()).unwrap();
    tell(OpenaiChat.read_request(body.as_bytes(), &skimmed, &GIVEN).unwrap())
}

/// An answer with one call, whole and as a stream, as the caller of this request reads it.
fn told(body: &Value, own: &[&str], name: &str, arguments: &str) -> (Value, Vec<Value>) {
    let body = body.to_string();
    let given = Given { own_tools: own, asked: body.as_bytes(), ..GIVEN };
    let call = ToolCall { id: "c1".into(), name: name.into(), arguments: arguments.into() };
    let choice =
        Choice { parts: vec![Kind::ToolCall(call).into()], finish: Some(Finish::ToolCalls), ..Choice::default() };
    let answer = Answer { choices: vec![choice], ..Answer::default() };
    let whole: Value = serde_json::from_slice(&OpenaiChat.write_answer(&answer, &given).body).unwrap();
    let (mut writer, mut out) = (OpenaiChat.stream_writer(&given), Vec::new());
    let (half, rest) = arguments.split_at(3);
    for event in [
        Event::Begin { choice: 0, part: 0, kind: Begins::ToolCall { id: "c1".into(), name: name.into() } },
        Event::Delta { choice: 0, part: 0, delta: Delta::Arguments(half.into()) },
        Event::Delta { choice: 0, part: 0, delta: Delta::Arguments(rest.into()) },
        Event::End { choice: 0, part: 0 },
        Event::Finish { choice: 0, reason: Finish::ToolCalls, stop_sequence: None },
        Event::Done,
    ] {
        writer.event(&event, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    (
        whole["choices"][0].clone(),
        data.map(|data| serde_json::from_str::<Value>(data).unwrap()["choices"][0].clone()).collect(),
    )
}

#[test]
fn a_tool_of_free_text_is_a_function_elsewhere() {
    let body = json!({
        "model": "m",
        "messages": [
            { "role": "user", "content": "go" },
            { "role": "assistant", "tool_calls": [{ "id": "c0", "type": "custom", "custom": { "name": "patch", "input": "a\"b" } }] },
            { "role": "tool", "tool_call_id": "c0", "content": "done" },
        ],
        "tools": [{ "type": "custom", "custom": { "name": "patch", "description": "Patches.",
            "format": { "type": "grammar", "grammar": { "syntax": "lark", "definition": "start: X" } } } }],
        "tool_choice": { "type": "custom", "custom": { "name": "patch" } },
    });
    read(&body, |request| {
        assert_eq!(request.own_tools(), ["patch"]);
        assert_eq!(request.tool_choice, Some(ToolChoice::Named("patch".into())));
        let Tool::Function(function) = &request.tools[0] else { panic!("a function") };
        assert!(function.description.as_deref().unwrap().ends_with("lark grammar:\nstart: X"));
        let Kind::ToolCall(call) = &request.messages[1].parts[0].kind else { panic!("a call") };
        assert_eq!(call.arguments, r#"{"input":"a\"b"}"#);
        assert!(request.extra.is_empty(), "{:?}", request.extra);
    });
    let (whole, pieces) = told(&body, &["patch"], "patch", r#"{"input":"x\ny"}"#);
    let call = &whole["message"]["tool_calls"][0];
    assert_eq!(call, &json!({ "id": "c1", "type": "custom", "custom": { "name": "patch", "input": "x\ny" } }));
    let said: Vec<&Value> = pieces.iter().map(|p| &p["delta"]["tool_calls"][0]).filter(|c| c.is_object()).collect();
    assert_eq!((&said[0]["type"], &said[0]["custom"]["name"]), (&json!("custom"), &json!("patch")));
    assert_eq!((said.len(), &said[1]["custom"]["input"]), (2, &json!("x\ny")), "free text has no half form");
    assert_eq!(pieces.last().unwrap()["finish_reason"], "tool_calls");
    let (other, _) = told(&body, &["patch"], "look", r#"{"a":1}"#);
    assert_eq!(other["message"]["tool_calls"][0]["type"], "function", "tools beside it stay what they are");
}

#[test]
fn the_older_form_is_read_and_answered_in_it() {
    let body = json!({
        "model": "m",
        "messages": [
            { "role": "user", "content": "go" },
            { "role": "assistant", "content": null, "function_call": { "name": "look", "arguments": "{\"a\":1}" } },
            { "role": "function", "name": "look", "content": "sunny" },
            { "role": "assistant", "content": null, "function_call": { "name": "look", "arguments": "{}" } },
            { "role": "function", "name": "look", "content": "rainy" },
        ],
        "functions": [{ "name": "look", "description": "Looks.", "parameters": { "type": "object" } }],
        "function_call": { "name": "look" },
    });
    read(&body, |request| {
        assert_eq!(
            (request.own_tools(), request.tool_choice.clone()),
            (vec!["look"], Some(ToolChoice::Named("look".into())))
        );
        let ids: Vec<String> = request.messages[1..]
            .iter()
            .map(|message| match &message.parts[0].kind {
                Kind::ToolCall(call) => call.id.to_string(),
                Kind::ToolResult(result) => format!("{} {}", result.call_id, result.name.as_deref().unwrap()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ids, ["function_call_1", "function_call_1 look", "function_call_2", "function_call_2 look"]);
        assert!(request.extra.is_empty(), "{:?}", request.extra);
    });
    let (whole, pieces) = told(&body, &["look"], "look", r#"{"a":2}"#);
    assert_eq!(whole["message"]["function_call"], json!({ "name": "look", "arguments": "{\"a\":2}" }));
    assert_eq!((&whole["finish_reason"], whole["message"].get("tool_calls")), (&json!("function_call"), None));
    let arguments: String = pieces.iter().filter_map(|p| p["delta"]["function_call"]["arguments"].as_str()).collect();
    assert_eq!((&pieces[0]["delta"]["function_call"]["name"], &*arguments), (&json!("look"), r#"{"a":2}"#));
    assert_eq!(pieces.last().unwrap()["finish_reason"], "function_call");
    assert!(pieces.iter().all(|piece| piece["delta"].get("tool_calls").is_none()));
}

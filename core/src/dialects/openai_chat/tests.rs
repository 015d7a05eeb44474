//! Recorded traffic of the dialect and of those who speak it nearly, and tables of what is easily got wrong.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::OpenaiChat;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::skim::skim;
use crate::contract::usage::OpenaiUsage;
use crate::dialects::recorded::{Exchange, events, exchanges, given, meaning};
use crate::dialects::{Codec, Quirks, To};

const APIS: [&str; 14] = [
    "openai.chat",
    "azure.chat",
    "groq.chat",
    "mistral.chat",
    "deepseek.chat",
    "openrouter.chat",
    "other-openai.chat",
    "ollama-openai.chat",
    "together.chat",
    "cerebras.chat",
    "perplexity.chat",
    "huggingface.chat",
    "gpustack.chat",
    "zai.chat",
];

fn all() -> Vec<Exchange> {
    APIS.into_iter().flat_map(exchanges).collect()
}

fn to(model: &str) -> To<'_> {
    static NONE: Quirks = Quirks::NONE;
    To { model, output_tokens_max: None, quirks: &NONE }
}

/// Reads a request and writes it again. The second is what could not be carried.
fn round(body: &Value) -> Result<(Value, Vec<String>), String> {
    let text = body.to_string();
    let skim = skim(text.as_bytes()).map_err(|e| e.to_string())?;
    let model = body["model"].as_str().unwrap_or_default();
    let request = OpenaiChat.read_request(text.as_bytes(), &skim, &given(model)).map_err(|e| e.to_string())?;
    let written = OpenaiChat.write_request(&request, &to(model));
    let lost = request.losses(|e| OpenaiChat.carries(e)).into_iter().chain(written.lost).map(|l| l.what.into_owned());
    Ok((serde_json::from_slice(&written.body).map_err(|e| e.to_string())?, lost.collect()))
}

/// What two requests may differ in and mean the same.
fn plain(request: &Value) -> Value {
    let mut request = meaning(request);
    let members = request.as_object_mut().unwrap();
    // The model is the target's, and with Azure it stands in the path.
    for says_nothing in ["model", "stream_options", "stream", "prompt_cache_retention"] {
        members.remove(says_nothing);
    }
    if let Some(max) = members.remove("max_tokens") {
        members.insert("max_completion_tokens".into(), max);
    }
    let defaults =
        [("tools", json!([])), ("n", json!(1.0)), ("frequency_penalty", json!(0.0)), ("presence_penalty", json!(0.0))];
    members.retain(|name, value| !defaults.iter().any(|(n, v)| n == name && v == value));
    for tool in request.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        tool["type"] = "function".into();
    }
    for message in request["messages"].as_array_mut().into_iter().flatten() {
        let message = message.as_object_mut().unwrap();
        message.retain(|name, v| v != &json!([]) && !(name == "prefix" && v == false));
        for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            call.as_object_mut().unwrap().remove("index");
        }
        for part in message.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(url) = part.get("image_url").filter(|u| u.is_string()).cloned() {
                part["image_url"] = json!({ "url": url });
            }
        }
        let joined = message.get("content").and_then(Value::as_array).and_then(|parts| {
            let texts: Option<Vec<&str>> = parts.iter().map(|p| p["text"].as_str()).collect();
            texts.map(|t| if t.len() == 1 || message["role"] == "assistant" { t.concat() } else { t.join("\u{0}") })
        });
        if let Some(text) = joined.filter(|t| !t.contains('\u{0}')) {
            message.insert("content".into(), text.into());
        }
        let empty = message.get("content").is_some_and(|c| c == "");
        if empty && message["role"] != "tool" {
            message.remove("content");
        }
    }
    request
}

/// Names of tools of free text, and of those in the older form.
fn own_tools(request: &Value) -> Vec<&Value> {
    let of = |member: &str| request[member].as_array().into_iter().flatten();
    let custom = of("tools").map(|tool| &tool["custom"]["name"]).filter(|name| name.is_string());
    custom.chain(of("functions").map(|function| &function["name"])).collect()
}

#[test]
fn recorded_requests_mean_the_same_when_written_again() {
    let (mut same, mut told) = (0, 0);
    for exchange in all().iter().filter(|e| e.status == 200) {
        let (written, lost) = match round(&exchange.request) {
            Ok(came) => came,
            Err(why) => panic!("{}: {why}", exchange.id),
        };
        let declared = own_tools(&exchange.request);
        if !declared.is_empty() {
            // Only other dialects are asked in this form: there they are functions.
            let functions = written["tools"].as_array().into_iter().flatten().map(|tool| &tool["function"]["name"]);
            assert!(declared.into_iter().eq(functions), "{}: {written}", exchange.id);
            assert!(lost.is_empty(), "{}: {lost:?}", exchange.id);
            continue;
        }
        // Mistral's own way to send a document is read, and written in OpenAI's way.
        if lost.is_empty() && !exchange.request.to_string().contains("document_url") {
            let (mut after, mut before) = (plain(&written), plain(&exchange.request));
            if !exchange.id.starts_with("openai-") && !exchange.id.starts_with("azure-") {
                // Others name some members differently (`random_seed`, `thinking`): what is said must be the same.
                (after, before) = (after["messages"].take(), before["messages"].take());
            }
            assert_eq!(after, before, "{}", exchange.id);
            same += 1;
        } else {
            told += 1;
        }
    }
    println!("{same} requests the same, {told} with losses that are told");
}

#[test]
fn recorded_answers_mean_the_same_when_written_again() {
    for exchange in all().iter().filter(|e| e.status == 200 && !e.stream && e.body.starts_with(b"{")) {
        let given = given("asked");
        let answer = OpenaiChat.read_answer(&exchange.body, &given).unwrap_or_else(|e| panic!("{}: {e}", exchange.id));
        let written = OpenaiChat.write_answer(&answer, &given);
        let again = OpenaiChat.read_answer(&written.body, &given).unwrap();
        assert_eq!(format!("{:?}", answer.usage), format!("{:?}", again.usage), "{}", exchange.id);
        let (before, after): (Value, Value) =
            (serde_json::from_slice(&exchange.body).unwrap(), serde_json::from_slice(&written.body).unwrap());
        for (before, after) in before["choices"].as_array().unwrap().iter().zip(after["choices"].as_array().unwrap()) {
            let (before, after) = (&before["message"], &after["message"]);
            if before["content"].is_string() {
                assert_eq!(before["content"].as_str(), after["content"].as_str().or(Some("")), "{}", exchange.id);
            }
            let calls = |m: &Value| -> Vec<(String, Value)> {
                let parse = |c: &Value| {
                    let text = c["function"]["arguments"].as_str().unwrap_or_default().to_owned();
                    let text = if text.is_empty() { "{}".to_owned() } else { text };
                    (c["function"]["name"].to_string(), serde_json::from_str(&text).unwrap_or(text.into()))
                };
                let functions = |c: &&Value| c["function"].is_object();
                let older = m["function_call"].is_object().then(|| json!({"function": m["function_call"]}));
                let calls = m["tool_calls"].as_array().into_iter().flatten().filter(functions);
                calls.chain(older.as_ref()).map(parse).collect()
            };
            assert_eq!(calls(before), calls(after), "{}", exchange.id);
        }
        assert_eq!(answer.usage, recorded_usage(exchange), "{}", exchange.id);
        assert_eq!(OpenaiChat.glance(&exchange.body).usage, recorded_usage(exchange), "{}", exchange.id);
    }
}

fn recorded_usage(exchange: &Exchange) -> Option<crate::contract::usage::Usage> {
    serde_json::from_value::<OpenaiUsage>(exchange.usage.clone()).ok().and_then(|u| u.disjoint())
}

#[test]
fn recorded_streams_tell_the_same_events_when_written_again() {
    for exchange in all().iter().filter(|e| e.status == 200 && e.stream) {
        let given = given("asked");
        let told = events(&OpenaiChat, &given, &exchange.body).unwrap_or_else(|e| panic!("{}: {e}", exchange.id));
        in_order(&exchange.id, &told);
        if told.iter().any(|e| matches!(e, Event::Error(_))) {
            continue;
        }
        assert_eq!(told.last(), Some(&Event::Done), "{}", exchange.id);
        let usage = told.iter().rev().find_map(|e| if let Event::Usage(u) = e { Some(*u) } else { None });
        if !exchange.usage.is_null() {
            assert_eq!(usage, recorded_usage(exchange), "{}", exchange.id);
        }
        let mut bytes = Vec::new();
        let mut writer = OpenaiChat.stream_writer(&given);
        told.iter().for_each(|event| writer.event(event, &mut bytes));
        let again = events(&OpenaiChat, &given, &bytes).unwrap_or_else(|e| panic!("{}: {e}", exchange.id));
        assert_eq!(said(&told), said(&again), "{}", exchange.id);
    }
}

/// The promise of `canonical/event.rs`.
fn in_order(id: &str, events: &[Event]) {
    let mut open = std::collections::HashSet::new();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Start { .. } => assert_eq!(at, 0, "{id}: a start that is not first"),
            Event::Begin { choice, part, .. } => assert!(open.insert((*choice, *part)), "{id}: begun twice"),
            Event::Delta { choice, part, .. } => assert!(open.contains(&(*choice, *part)), "{id}: said without begin"),
            Event::End { choice, part } => assert!(open.remove(&(*choice, *part)), "{id}: ended without begin"),
            Event::Finish { choice, .. } => assert!(!open.iter().any(|(c, _)| c == choice), "{id}: a part is open"),
            Event::Logprobs { .. }
            | Event::Usage(_)
            | Event::Beside(_)
            | Event::ServiceTier(_)
            | Event::Error(_)
            | Event::Done => {}
        }
    }
}

/// What was said, whatever the pieces: texts by kind, calls, reasons.
fn said(events: &[Event]) -> Vec<String> {
    let mut parts: std::collections::BTreeMap<(u64, u64), String> = Default::default();
    let mut rest = Vec::new();
    for event in events {
        match event {
            Event::Begin { choice, part, kind } => {
                let name = match kind {
                    Begins::Reasoning { .. } => "reasoning".to_owned(),
                    Begins::Text
                    | Begins::Refusal
                    | Begins::ToolCall { .. }
                    | Begins::Native(_)
                    | Begins::Media { .. } => format!("{kind:?}"),
                };
                parts.insert((*choice, *part), name + ": ");
            }
            Event::Delta { choice, part, delta: Delta::Text(text) | Delta::Arguments(text) } => {
                parts.get_mut(&(*choice, *part)).unwrap().push_str(text);
            }
            Event::Delta { .. }
            | Event::End { .. }
            | Event::Logprobs { .. }
            | Event::Beside(_)
            | Event::ServiceTier(_) => {}
            Event::Finish { .. } | Event::Start { .. } | Event::Error(_) | Event::Done => {
                rest.push(format!("{event:?}"));
            }
            Event::Usage(_) => {}
        }
    }
    // A call without arguments may say `{}` or nothing.
    let parts = parts.into_values().map(|p| if p.starts_with("ToolCall") && p.ends_with(": ") { p + "{}" } else { p });
    parts.chain(rest).collect()
}

#[test]
fn what_is_lost_is_named() {
    for (member, lost, why) in [
        (json!({"prediction": {"type": "content"}}), vec!["prediction"], "a member without a canonical place"),
        (json!({"moderation": null, "models": [], "modalities": ["text"]}), vec![], "what says nothing"),
        (json!({"top_k": 4}), vec!["top_k"], "OpenAI has none"),
        (json!({"n": 1, "frequency_penalty": 0}), vec![], "defaults ask for nothing"),
    ] {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        assert_eq!(round(&body).unwrap().1, lost, "{why}");
    }
}

/// Some servers send every member of an answer.
#[test]
fn members_that_say_nothing_are_nothing() {
    let empty =
        json!({"content": "4", "refusal": "", "tool_calls": null, "function_call": {"name": "", "arguments": ""}});
    let body = json!({"id": "", "choices": [{"index": 0, "message": empty, "finish_reason": ""}]}).to_string();
    let answer = OpenaiChat.read_answer(body.as_bytes(), &given("m")).unwrap();
    let choice = &answer.choices[0];
    assert_eq!((choice.parts.len(), choice.parts[0].as_text(), &choice.finish), (1, Some("4"), &None));
    let chunk = json!({"choices": [{"index": 0, "delta": empty, "finish_reason": ""}]});
    let told = events(&OpenaiChat, &given("m"), format!("data: {chunk}\n\n").as_bytes()).unwrap();
    assert_eq!(told.iter().filter(|e| matches!(e, Event::Begin { .. })).count(), 1, "{told:?}");
}

#[test]
fn wrong_requests_are_told_by_their_place() {
    for (messages, told) in [
        (json!([{"role": "user", "content": 5}]), "messages[0].content"),
        (json!([{"role": "user", "content": [{"text": "x"}]}]), "messages[0].content[0].type"),
        (json!([{"role": "nobody", "content": "x"}]), "messages[0].role"),
        (json!([{"role": "tool", "content": "x"}]), "messages[0].tool_call_id"),
        (json!("x"), "messages"),
    ] {
        let wrong = round(&json!({"model": "m", "messages": messages})).unwrap_err();
        assert!(wrong.contains(told), "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(pieces in proptest::collection::vec(
        prop_oneof![
            Just("{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\"}}]}}]}"),
            Just("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}"),
            Just("{\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":\"{\"}}]}}]}"),
            Just("{\"choices\":[],\"usage\":{}}"),
            Just("[DONE]"),
            Just("{\"error\":{}}"),
            Just("nonsense"),
        ], 0..12)) {
        let text: String = pieces.iter().map(|p| format!("data: {p}\n\n")).collect();
        if let Ok(told) = events(&OpenaiChat, &given("m"), text.as_bytes()) {
            let mut out = Vec::new();
            let mut writer = OpenaiChat.stream_writer(&given("m"));
            told.iter().for_each(|event| writer.event(event, &mut out));
        }
    }
}

//! Every recorded exchange, read and written again.

use serde_json::{Value, json};

use super::super::{count_tokens, embed, schema, usage};
use super::{Gemini, all, in_order, quirks, said, through, to};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::element::Element;
use crate::contract::canonical::event::Event;
use crate::contract::skim::skim;
use crate::contract::usage::Usage;
use crate::dialects::frames::{Framer, json_array};
use crate::dialects::recorded::{Exchange, answers_only, events, exchanges, given, meaning};
use crate::dialects::{Codec, Given, Quirks};

/// What only Google can do, and says so when it goes elsewhere.
const GOOGLES_OWN: [&str; 8] = [
    "generationConfig.imageConfig",
    "generationConfig.responseModalities",
    "generationConfig.speechConfig",
    "messages.native",
    "modelArmorConfig",
    "toolConfig.includeServerSideToolInvocations",
    "tools.native",
    "tools.strict",
];

fn model(exchange: &Exchange) -> String {
    let rest = exchange.url.split("/models/").nth(1).unwrap();
    rest.split(':').next().unwrap().to_owned()
}

/// Members in one spelling, outside of what a caller's own names stand in.
fn camelised(value: &Value) -> Value {
    let own = ["args", "response", "parameters", "parametersJsonSchema", "responseJsonSchema", "responseSchema"];
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let name = super::super::names::camel(name).into_owned();
                let value = if own.contains(&name.as_str()) { value.clone() } else { camelised(value) };
                (name, value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(camelised).collect(),
        other => other.clone(),
    }
}

fn json_schema(openapi: &Value) -> Value {
    let text = openapi.to_string();
    let made = schema::json_schemas([serde_json::from_str(&text).unwrap()].into_iter());
    serde_json::from_str::<Value>(&made).unwrap()[0].take()
}

/// What two requests may differ in and mean the same.
fn plain(request: &Value) -> Value {
    let mut request = meaning(&camelised(request));
    let members = request.as_object_mut().unwrap();
    // The path says it.
    members.remove("model");
    // The system has no other role.
    if let Some(system) = members.get_mut("systemInstruction") {
        system.as_object_mut().unwrap().remove("role");
    }
    // Turns of one role that follow on each other are one, and a missing role is the user's.
    let mut turns: Vec<Value> = Vec::new();
    for content in members["contents"].as_array().unwrap() {
        let role = content["role"].as_str().unwrap_or("user");
        let parts = content["parts"].as_array().cloned().unwrap_or_default();
        match turns.last_mut() {
            Some(last) if last["role"] == role => last["parts"].as_array_mut().unwrap().extend(parts),
            _ => turns.push(json!({"role": role, "parts": parts})),
        }
    }
    members.insert("contents".into(), turns.into());
    // Declarations may stand in one entry or in many, in either kind of schema.
    let mut functions = Vec::new();
    for tool in members.remove("tools").iter().flat_map(|t| t.as_array().unwrap()) {
        for function in tool["functionDeclarations"].as_array().into_iter().flatten() {
            let mut function = function.clone();
            if let Some(openapi) = function.as_object_mut().unwrap().remove("parameters") {
                function["parametersJsonSchema"] = meaning(&json_schema(&openapi));
            }
            functions.push(function);
        }
    }
    members.insert("functions".into(), functions.into());
    // One answer of text is the default.
    if let Some(config) = members.get_mut("generationConfig").and_then(Value::as_object_mut) {
        config.retain(|name, value| {
            !(name == "candidateCount" && *value == 1.0 || name == "responseModalities" && *value == json!(["TEXT"]))
        });
        if config.is_empty() {
            members.remove("generationConfig");
        }
    }
    request
}

/// Takes ids of calls out where the recording has none.
fn without_ids(value: &mut Value) {
    for turn in value["contents"].as_array_mut().into_iter().flatten() {
        for part in turn["parts"].as_array_mut().into_iter().flatten() {
            for kind in ["functionCall", "functionResponse"] {
                if let Some(call) = part.get_mut(kind) {
                    call.as_object_mut().unwrap().remove("id");
                }
            }
        }
    }
}

#[test]
fn requests_mean_the_same_when_written_again() {
    let quirks = Quirks { has: &[Element::ToolResultMedia], ..quirks() };
    let (mut same, mut told) = (0, 0);
    for exchange in &all() {
        // Google refuses the role that this one has, and so do we.
        if exchange.id == "vertex-generateContent-73e252c6-0" {
            continue;
        }
        let (written, lost) = through(&Gemini, &Gemini, &exchange.request, &model(exchange), &quirks);
        let unknown: Vec<&String> = lost.iter().filter(|l| !GOOGLES_OWN.contains(&l.as_str())).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", exchange.id);
        let (mut after, mut before) = (plain(&written), plain(&exchange.request));
        linked(&exchange.id, &after);
        if !exchange.request.to_string().contains("\"id\":") {
            without_ids(&mut after);
            without_ids(&mut before);
        }
        if lost.is_empty() {
            assert_eq!(after, before, "{}", exchange.id);
            same += 1;
        } else {
            // The rest is said all the same.
            for member in ["systemInstruction", "functions"] {
                assert_eq!(after[member], before[member], "{}", exchange.id);
            }
            if !lost.iter().any(|l| l == "messages.native") {
                assert_eq!(after["contents"], before["contents"], "{}", exchange.id);
            }
            told += 1;
        }
    }
    println!("{same} requests the same, {told} with losses that are told");
}

/// Each result has the id of a call before it.
fn linked(id: &str, request: &Value) {
    let mut calls = Vec::new();
    for part in request["contents"].as_array().unwrap().iter().flat_map(|t| t["parts"].as_array().unwrap()) {
        if let Some(call) = part.get("functionCall") {
            calls.push(call["id"].as_str().unwrap());
        }
        if let Some(result) = part.get("functionResponse") {
            assert!(calls.contains(&result["id"].as_str().unwrap()), "{id}: {result} answers no call");
        }
    }
}

fn recorded_usage(exchange: &Exchange) -> Option<Usage> {
    let text = exchange.usage.to_string();
    usage::Told::read(serde_json::from_str(&text).unwrap())?.disjoint()
}

/// What an answer says, for the members that have a meaning elsewhere.
fn answered(answer: &Value) -> Value {
    let mut candidates = Vec::new();
    for candidate in answer["candidates"].as_array().into_iter().flatten() {
        let mut parts = Vec::new();
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            let mut part = meaning(part);
            // Ids are made where the recording has none.
            if let Some(call) = part.get_mut("functionCall").and_then(Value::as_object_mut) {
                call.entry("args").or_insert(json!({}));
                if call.get("id").is_none_or(|id| id.as_str().unwrap().starts_with("call_")) {
                    call.remove("id");
                }
            }
            if part.get("executableCode").or(part.get("codeExecutionResult")).is_none() {
                parts.push(part);
            }
        }
        let finish = match &candidate["finishReason"] {
            Value::Number(n) if n.as_u64() == Some(1) => json!("STOP"),
            Value::Number(n) if n.as_u64() == Some(2) => json!("MAX_TOKENS"),
            other => other.clone(),
        };
        let grounding = &candidate["groundingMetadata"];
        let mut cited = Vec::new();
        for support in grounding["groundingSupports"].as_array().into_iter().flatten() {
            for at in support["groundingChunkIndices"].as_array().unwrap() {
                let source = &grounding["groundingChunks"][at.as_u64().unwrap() as usize]["web"];
                let mut segment = meaning(&support["segment"]);
                segment.as_object_mut().unwrap().entry("startIndex").or_insert(json!(0.0));
                cited.push(json!([segment, source["uri"], source["title"]]));
            }
        }
        let index = candidate["index"].as_u64().unwrap_or(0);
        candidates.push(json!({"parts": parts, "finish": finish, "index": index, "cited": cited}));
    }
    json!({"candidates": candidates, "model": answer["modelVersion"], "id": answer["responseId"]})
}

#[test]
fn answers_mean_the_same_when_written_again() {
    let mut same = 0;
    for exchange in all().iter().filter(|e| e.status == 200 && !e.stream) {
        let given = given("asked");
        let answer = Gemini.read_answer(&exchange.body, &given).unwrap_or_else(|e| panic!("{}: {e}", exchange.id));
        let written = Gemini.write_answer(&answer, &given);
        let before: Value = serde_json::from_slice(&exchange.body).unwrap();
        let after: Value = serde_json::from_slice(&written.body).unwrap();
        // A refused prompt has no candidates: it is written as one that says nothing.
        if before["candidates"].is_array() {
            assert_eq!(answered(&after), answered(&before), "{}", exchange.id);
            same += 1;
        } else {
            assert_eq!(after["candidates"][0]["finishReason"], "SAFETY", "{}", exchange.id);
        }
        assert_eq!(answer.usage, recorded_usage(exchange), "{}", exchange.id);
        assert_eq!(Gemini.glance(&exchange.body).usage, recorded_usage(exchange), "{}", exchange.id);
        assert_eq!(Gemini.read_answer(&written.body, &given).unwrap().usage, answer.usage, "{}", exchange.id);
    }
    println!("{same} answers the same");
}

/// The events of an array, cut into its elements.
fn of_array(body: &[u8]) -> Vec<Event> {
    let (mut framer, mut frames, mut told) = (json_array::JsonArray::default(), Vec::new(), Vec::new());
    framer.feed(bytes::Bytes::copy_from_slice(body), &mut frames).unwrap();
    assert!(framer.rest().trim_ascii().is_empty());
    let mut reader = Gemini.stream_reader(&given("asked"));
    frames.iter().for_each(|frame| reader.frame(&json_array::read(frame), &mut told).unwrap());
    reader.end(&mut told);
    told
}

#[test]
fn streams_tell_the_same_events_when_written_again() {
    let mut streams = 0;
    for exchange in all().iter().filter(|e| e.status == 200 && e.stream) {
        let given = given("asked");
        let told = match exchange.body.first() {
            Some(b'[') => of_array(&exchange.body),
            _ => events(&Gemini, &given, &exchange.body).unwrap_or_else(|e| panic!("{}: {e}", exchange.id)),
        };
        in_order(&exchange.id, &told);
        assert_eq!(told.last(), Some(&Event::Done), "{}", exchange.id);
        let usage = told.iter().rev().find_map(|e| if let Event::Usage(u) = e { Some(*u) } else { None });
        assert_eq!(usage, recorded_usage(exchange), "{}", exchange.id);
        let (mut sse, mut array) = (Vec::new(), Vec::new());
        let (mut in_sse, mut in_array) =
            (Gemini.stream_writer(&given), Gemini.stream_writer(&Given { as_array: true, ..given }));
        for event in &told {
            in_sse.event(event, &mut sse);
            in_array.event(event, &mut array);
        }
        let again = events(&Gemini, &given, &sse).unwrap_or_else(|e| panic!("{}: {e}", exchange.id));
        assert_eq!(said(&told), said(&again), "{}", exchange.id);
        assert_eq!(of_array(&array), again, "{}: the array says what the events say", exchange.id);
        let usage_again = again.iter().rev().find_map(|e| if let Event::Usage(u) = e { Some(*u) } else { None });
        assert_eq!(usage_again, usage, "{}", exchange.id);
        assert!(sse.split(|b| *b == b'\n').all(|line| line.is_empty() || line.ends_with(b"\r")), "lines end in CRLF");
        streams += 1;
    }
    println!("{streams} streams the same");
}

#[test]
fn streams_are_noted_beside_their_bytes() {
    for exchange in all().iter().filter(|e| e.status == 200 && e.stream) {
        let mut notes = crate::dialects::Notes::default();
        for frame in exchange.body.split(|b| *b == b'\n').filter(|line| line.starts_with(b"data: ")) {
            Gemini.note(&crate::dialects::frames::Frame::data(&frame[6..]), &mut notes);
        }
        if exchange.body.starts_with(b"[") {
            notes = Gemini.glance(&exchange.body);
        }
        assert_eq!(notes.usage, recorded_usage(exchange), "{}", exchange.id);
        assert!(notes.done && notes.finish_reason.is_some() && notes.error.is_none(), "{}", exchange.id);
    }
}

#[test]
fn counts_and_embeddings_are_read_and_written() {
    let quirks = quirks();
    for exchange in ["gemini.countTokens", "vertex.countTokens"].into_iter().flat_map(exchanges) {
        let (text, model) = (exchange.request.to_string(), model(&exchange));
        let skim = skim(text.as_bytes()).unwrap();
        let request = count_tokens::read_request(text.as_bytes(), &skim, &given(&model)).unwrap();
        let wrapped = exchange.request.get("generateContentRequest");
        let written = count_tokens::write_request(&request, &to(&model, &quirks), wrapped.is_some());
        let written: Value = serde_json::from_slice(&written.body).unwrap();
        let after = written.get("generateContentRequest").unwrap_or(&written);
        assert_eq!(after.get("model"), wrapped.map(|w| &w["model"]), "{}", exchange.id);
        assert_eq!(plain(after), plain(wrapped.unwrap_or(&exchange.request)), "{}", exchange.id);
        let tokens = count_tokens::read_answer(&exchange.body).unwrap();
        assert_eq!(count_tokens::read_answer(&count_tokens::write_answer(tokens)), Some(tokens), "{}", exchange.id);
    }
    for exchange in exchanges("gemini.batchEmbedContents") {
        let (text, model) = (exchange.request.to_string(), model(&exchange));
        let skim = skim(text.as_bytes()).unwrap();
        let request = embed::read_request(text.as_bytes(), &skim, &given(&model)).unwrap();
        let written = embed::write_request(&request, &to(&model, &quirks), true);
        let mut before = exchange.request.clone();
        for single in before["requests"].as_array_mut().unwrap() {
            // Texts of one content make one vector: they are one text.
            let texts: Vec<String> = single["content"]["parts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| p["text"].as_str().unwrap().to_owned())
                .collect();
            single["content"]["parts"] = json!([{"text": texts.join("\n")}]);
        }
        assert_eq!(serde_json::from_slice::<Value>(&written.body).unwrap(), before, "{}", exchange.id);
        assert!(written.lost.is_empty() && request.extra.is_empty());
        let answer = embed::read_answer(&exchange.body).unwrap();
        let (before, after): (Value, Value) = (
            serde_json::from_slice(&exchange.body).unwrap(),
            serde_json::from_slice(&embed::write_answer(&answer, true)).unwrap(),
        );
        for (before, after) in
            before["embeddings"].as_array().unwrap().iter().zip(after["embeddings"].as_array().unwrap())
        {
            assert_eq!(before["values"], after["values"], "{}", exchange.id);
        }
        assert_eq!(before["usageMetadata"]["promptTokenCount"], after["usageMetadata"]["promptTokenCount"]);
    }
}

#[test]
fn answers_without_their_requests_are_read() {
    for recorded in answers_only("google") {
        let id = recorded["id"].as_str().unwrap();
        let Some(chunks) = recorded["chunks"].as_array() else {
            let body = recorded["body"].to_string();
            let answer = Gemini.read_answer(body.as_bytes(), &given("asked")).unwrap();
            assert_eq!(answer.choices[0].finish, Some(Finish::ToolCalls), "{id}");
            continue;
        };
        let text: String = chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect();
        let told = events(&Gemini, &given("asked"), text.as_bytes()).unwrap();
        in_order(id, &told);
        assert_eq!(told.last(), Some(&Event::Done), "{id}");
        assert!(told.iter().any(|e| matches!(e, Event::Finish { reason: Finish::ToolCalls, .. })), "{id}");
        let mut bytes = Vec::new();
        let mut writer = Gemini.stream_writer(&given("asked"));
        told.iter().for_each(|event| writer.event(event, &mut bytes));
        assert_eq!(said(&events(&Gemini, &given("asked"), &bytes).unwrap()), said(&told), "{id}");
    }
}

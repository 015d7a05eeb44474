//! For tests: recorded traffic of the dialect, read and written again.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Bedrock, usage};
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::skim::skim;
use crate::contract::usage::Usage;
use crate::dialects::frames::{Framer, event_stream};
use crate::dialects::recorded::{Exchange, answers_only, exchanges, given, meaning};
use crate::dialects::{Codec, Notes, Quirks, To};

static NONE: Quirks = Quirks::NONE;

pub fn to(model: &str) -> To<'_> {
    To { model, output_tokens_max: None, quirks: &NONE }
}

/// `/model/ID/converse`, the id without its escapes.
fn model_of(exchange: &Exchange) -> String {
    exchange.url.split('/').nth(2).unwrap_or_default().replace("%3A", ":").replace("%2F", "/")
}

fn all() -> Vec<Exchange> {
    ["bedrock.converse", "bedrock.converse-stream"].into_iter().flat_map(exchanges).collect()
}

/// Reads a request and writes it again. The second is what could not be carried.
pub fn round(body: &Value, model: &str) -> Result<(Value, Vec<String>), String> {
    let text = body.to_string();
    let skim = skim(text.as_bytes()).map_err(|e| e.to_string())?;
    let request = Bedrock.read_request(text.as_bytes(), &skim, &given(model)).map_err(|e| e.to_string())?;
    let written = Bedrock.write_request(&request, &to(model));
    let lost = request.losses(|e| Bedrock.carries(e)).into_iter().chain(written.lost).map(|l| l.what.into_owned());
    Ok((serde_json::from_slice(&written.body).map_err(|e| e.to_string())?, lost.collect()))
}

pub fn frames(body: &[u8]) -> Vec<Bytes> {
    let (mut framer, mut frames) = (event_stream::EventStream::default(), Vec::new());
    framer.feed(Bytes::copy_from_slice(body), &mut frames).unwrap();
    assert!(framer.rest().is_empty());
    frames
}

pub fn events(model: &str, body: &[u8]) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    let mut reader = Bedrock.stream_reader(&given(model));
    for frame in frames(body) {
        reader.frame(&event_stream::read(&frame), &mut events).map_err(|e| e.to_string())?;
    }
    reader.end(&mut events);
    Ok(events)
}

pub fn written(events: &[Event]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Bedrock.stream_writer(&given("m"));
    events.iter().for_each(|event| writer.event(event, &mut out));
    out
}

/// What two requests may differ in and mean the same.
fn plain(request: &Value) -> Value {
    let mut request = meaning(request);
    let members = request.as_object_mut().unwrap();
    // Nothing is what is not there.
    if let Some(config) = members.get_mut("inferenceConfig").and_then(Value::as_object_mut) {
        config.retain(|_, value| value != &json!([]));
    }
    members.retain(|_, value| value != &json!([]) && value != &json!({}));
    if let Some(fields) = members.get_mut("additionalModelRequestFields").and_then(Value::as_object_mut) {
        // Anthropic's first name for it.
        if let Some(thinking) = fields.remove("reasoning_config") {
            fields.insert("thinking".into(), thinking);
        }
    }
    // The model's own choice is what is meant where nothing is said.
    if let Some(config) = request.get_mut("toolConfig").and_then(Value::as_object_mut)
        && config.get("toolChoice").is_some_and(|choice| choice.get("auto").is_some())
    {
        config.remove("toolChoice");
    }
    for message in request["messages"].as_array_mut().into_iter().flatten() {
        for block in message["content"].as_array_mut().into_iter().flatten() {
            let Some(result) = block.get_mut("toolResult").and_then(Value::as_object_mut) else { continue };
            // A result is no failure unless it says so; what is JSON goes as its text.
            if result.get("status") == Some(&json!("success")) {
                result.remove("status");
            }
            for item in result["content"].as_array_mut().into_iter().flatten() {
                if let Some(json) = item.get("json").cloned() {
                    *item = json!({ "text": json.to_string() });
                }
            }
        }
    }
    request
}

/// What is known to this dialect alone is never sent to it by the translation: within it bytes pass.
const OWN: [&str; 5] = ["guardrailConfig", "messages.native", "tools.native", "additionalModelRequestFields.", "trace"];

#[test]
fn recorded_requests_mean_the_same_when_written_again() {
    let (mut same, mut told) = (0, 0);
    for exchange in all() {
        let (written, lost) = match round(&exchange.request, &model_of(&exchange)) {
            Ok(came) => came,
            Err(why) => panic!("{}: {why}", exchange.id),
        };
        if lost.is_empty() {
            assert_eq!(plain(&written), plain(&exchange.request), "{}", exchange.id);
            same += 1;
        } else {
            let all_own = lost.iter().all(|what| OWN.iter().any(|own| what.starts_with(own)));
            assert!(all_own, "{}: {lost:?}", exchange.id);
            told += 1;
        }
    }
    println!("{same} requests the same, {told} with things of this dialect alone, which are told");
}

/// The same without what is ours to say or nobody's, and without blocks that only the provider's own tools have.
fn plain_answer(answer: &Value) -> Value {
    let mut answer = meaning(answer);
    let members = answer.as_object_mut().unwrap();
    members.remove("metrics");
    members.remove("trace");
    members.remove("usage");
    if members["stopReason"] == "guardrail_intervened" {
        members.insert("stopReason".into(), "content_filtered".into());
    }
    if let Some(blocks) = answer["output"]["message"]["content"].as_array_mut() {
        blocks.retain(|b| b.get("toolResult").is_none() && b["toolUse"]["type"] != "server_tool_use");
        for call in blocks.iter_mut().filter_map(|b| b.get_mut("toolUse")?.as_object_mut()) {
            call.remove("type");
        }
    }
    answer
}

/// By the provider's own count of all: what is of the cache stands beside the input, and in the total.
fn assert_usage(told: Option<Usage>, recorded: &Value, id: &str) {
    let count = |name: &str| recorded[name].as_u64().unwrap_or(0);
    let told = told.unwrap_or_default();
    let kinds = (told.input, told.cached_input, told.cache_write + told.cache_write_1h, told.output);
    let (read, write) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
    assert_eq!(kinds, (count("inputTokens"), read, write, count("outputTokens")), "{id}");
    // Some recorded totals are by hand.
    let by_provider = recorded.get("serverToolUsage").is_some();
    assert!(!by_provider || told.total() == count("totalTokens"), "{id}");
}

#[test]
fn recorded_answers_mean_the_same_when_written_again() {
    let mut same = 0;
    for exchange in all().iter().filter(|e| e.status == 200 && !e.stream) {
        let model = model_of(exchange);
        let answer = Bedrock.read_answer(&exchange.body, &given(&model)).unwrap();
        let written = Bedrock.write_answer(&answer, &given(&model));
        let (before, after): (Value, Value) =
            (serde_json::from_slice(&exchange.body).unwrap(), serde_json::from_slice(&written.body).unwrap());
        assert_eq!(plain_answer(&after), plain_answer(&before), "{}", exchange.id);
        assert!(written.lost.iter().all(|l| l.what == "messages.native"), "{}: {:?}", exchange.id, written.lost);
        assert_usage(answer.usage, &exchange.usage, &exchange.id);
        let notes = Bedrock.glance(&exchange.body);
        assert_eq!((notes.usage, notes.done), (answer.usage, true), "{}", exchange.id);
        assert_eq!(notes.finish_reason.as_deref(), before["stopReason"].as_str());
        same += 1;
    }
    println!("{same} answers the same");
}

/// Events without parts that are known to this dialect alone, the others counted anew.
fn without_native(events: &[Event]) -> Vec<Event> {
    let mut native = Vec::new();
    let renumber = |part: u64, native: &[u64]| part - native.iter().filter(|n| **n < part).count() as u64;
    let mut kept = Vec::new();
    for event in events {
        match event {
            Event::Begin { part, kind: Begins::Native(_) | Begins::Media { .. }, .. } => native.push(*part),
            Event::Begin { choice, part, kind } => {
                kept.push(Event::Begin { choice: *choice, part: renumber(*part, &native), kind: kind.clone() });
            }
            Event::End { part, .. } | Event::Delta { part, .. } if native.contains(part) => {}
            Event::End { choice, part } => kept.push(Event::End { choice: *choice, part: renumber(*part, &native) }),
            Event::Delta { choice, part, delta } => {
                kept.push(Event::Delta { choice: *choice, part: renumber(*part, &native), delta: delta.clone() });
            }
            other => kept.push(other.clone()),
        }
    }
    kept
}

/// The same whatever the pieces in which arguments come.
fn joined(events: &[Event]) -> Vec<Event> {
    let mut out: Vec<Event> = Vec::new();
    for event in events {
        if let (
            Event::Delta { part, delta: Delta::Arguments(more), .. },
            Some(Event::Delta { part: last, delta: Delta::Arguments(text), .. }),
        ) = (event, out.last_mut())
            && part == last
        {
            text.push_str(more);
        } else {
            out.push(event.clone());
        }
    }
    out
}

#[test]
fn recorded_streams_tell_the_same_when_written_again() {
    let mut same = 0;
    for exchange in all().iter().filter(|e| e.stream) {
        let model = model_of(exchange);
        let before = events(&model, &exchange.body).unwrap();
        let after = events(&model, &written(&before)).unwrap();
        assert_eq!(joined(&after), joined(&without_native(&before)), "{}", exchange.id);
        assert_eq!(before.last(), Some(&Event::Done), "{}", exchange.id);
        let told = before.iter().rev().find_map(|e| if let Event::Usage(usage) = e { Some(*usage) } else { None });
        assert_usage(told, &exchange.usage, &exchange.id);
        let mut notes = Notes::default();
        frames(&exchange.body).iter().for_each(|f| Bedrock.note(&event_stream::read(f), &mut notes));
        assert_eq!((notes.usage, notes.done), (told, true), "{}", exchange.id);
        same += 1;
    }
    println!("{same} streams the same");
}

#[test]
fn recorded_streams_end_and_overlap_nowhere() {
    for exchange in all().iter().filter(|e| e.stream) {
        let mut open = None;
        for event in events(&model_of(exchange), &exchange.body).unwrap() {
            match event {
                Event::Begin { part, .. } => assert_eq!(open.replace(part), None, "{}", exchange.id),
                Event::Delta { part, .. } => assert_eq!(open, Some(part), "{}", exchange.id),
                Event::End { part, .. } => assert_eq!(open.take(), Some(part), "{}", exchange.id),
                Event::Finish { .. } => assert_eq!(open, None, "{}", exchange.id),
                _ => {}
            }
        }
    }
}

#[test]
fn answers_without_their_requests_are_read() {
    let mut read = 0;
    for answer in answers_only("amazon-bedrock") {
        let id = answer["id"].as_str().unwrap();
        if let Some(chunks) = answer["chunks"].as_array() {
            let mut bytes = Vec::new();
            for (name, payload) in chunks.iter().flat_map(|c| c.as_object().unwrap()) {
                let headers = [(":message-type", "event"), (":event-type", &**name)];
                event_stream::write(&headers, payload.to_string().as_bytes(), &mut bytes);
            }
            let told = events("m", &bytes).unwrap();
            let finish = told.iter().filter(|e| matches!(e, Event::Finish { .. })).count();
            assert_eq!((finish, told.last()), (1, Some(&Event::Done)), "{id}");
            let again = events("m", &written(&told)).unwrap();
            let parts =
                |events: &[Event]| joined(events).into_iter().filter(|e| !matches!(e, Event::Usage(_))).collect();
            let (before, after): (Vec<Event>, Vec<Event>) = (parts(&told), parts(&again));
            // A call without arguments gets an empty object.
            let same = before == after || before.len() + 1 == after.len();
            assert!(same, "{id}: {before:?} {after:?}");
        } else {
            let body = answer["body"].to_string();
            let told = Bedrock.read_answer(body.as_bytes(), &given("m")).unwrap();
            let blocks = answer["body"]["output"]["message"]["content"].as_array().unwrap().len();
            assert_eq!(told.choices[0].parts.len(), blocks, "{id}");
        }
        read += 1;
    }
    println!("{read} answers without their requests");
}

#[test]
fn recorded_errors_are_understood() {
    for exchange in all().iter().filter(|e| e.status != 200) {
        let status = http::StatusCode::from_u16(exchange.status).unwrap();
        let said = Bedrock.read_error(status, &exchange.headers, &exchange.body).unwrap();
        let expected = match said.message.contains("model identifier") {
            true => crate::contract::refusal::Category::NoRoute,
            false => crate::contract::refusal::Category::InvalidRequest,
        };
        assert_eq!(said.category, expected, "{}: {}", exchange.id, said.message);
    }
}

#[test]
fn tokens_of_the_cache_are_apart() {
    for (json, expected, why) in [
        (
            r#"{"inputTokens":3,"outputTokens":61,"totalTokens":2435,"cacheReadInputTokens":2074,"cacheReadInputTokenCount":2074,"cacheWriteInputTokens":297,"cacheDetails":[{"ttl":"5m","inputTokens":297}]}"#,
            Usage { input: 3, cached_input: 2074, cache_write: 297, output: 61, ..Usage::default() },
            "as recorded",
        ),
        (
            r#"{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokenCount":50,"cacheDetails":[{"ttl":"1h","inputTokens":20},{"ttl":"5m","inputTokens":30}]}"#,
            Usage { input: 1, cache_write: 30, cache_write_1h: 20, output: 2, ..Usage::default() },
            "the other name; an hour is priced apart",
        ),
        (
            r#"{"inputTokens":1,"cacheWriteInputTokens":5,"cacheDetails":[{"ttl":"1h","inputTokens":20}]}"#,
            Usage { input: 1, cache_write_1h: 5, ..Usage::default() },
            "a part is never larger than its whole",
        ),
        ("{}", Usage::default(), "nothing told"),
    ] {
        let told = usage::read(serde_json::from_str(json).unwrap());
        assert_eq!(told, expected, "{why}");
        let again = crate::contract::write::Writer::object_text(|w| usage::write(w, &told));
        assert_eq!(usage::read(serde_json::from_slice(&again).unwrap()), told, "{why}");
    }
}

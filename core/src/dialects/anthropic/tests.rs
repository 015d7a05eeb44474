//! Recorded traffic of the dialect: what is read and written again means the same.

mod golden;
mod tables;
mod translated;
mod wild;

use serde_json::{Value, json};

use super::{Anthropic, usage};
use crate::contract::canonical::event::{Begins, Event};
use crate::contract::skim::skim;
use crate::contract::usage::Usage;
use crate::dialects::recorded::{Exchange, events, exchanges, given, meaning};
use crate::dialects::{Codec, Quirks, To};

pub fn to(model: &str) -> To<'_> {
    static NONE: Quirks = Quirks::NONE;
    To { model, output_tokens_max: None, quirks: &NONE }
}

/// Reads a request and writes it again: the body, what the writer lost, and the paths that have no canonical place.
pub fn round(text: &str) -> Result<(String, Vec<String>, Vec<String>), String> {
    let skim = skim(text.as_bytes()).map_err(|e| e.to_string())?;
    let request = Anthropic.read_request(text.as_bytes(), &skim, &given("")).map_err(|e| e.to_string())?;
    let model = request.model.clone();
    let written = match request.max_tokens {
        Some(_) => Anthropic.write_request(&request, &to(&model)),
        None => super::count::write_count_request(&request, &to(&model)),
    };
    let lost = written.lost.into_iter().map(|l| format!("{}: {}", l.what, l.why.unwrap_or_default())).collect();
    let extra = request.extra.iter().map(|(path, _)| path.clone()).collect();
    Ok((String::from_utf8(written.body).map_err(|e| e.to_string())?, lost, extra))
}

/// Takes a path like `tools[0].defer_loading` out.
fn without(body: &mut Value, path: &str) {
    let pointer = format!("/{}", path.replace('[', "/").replace(']', "").replace('.', "/"));
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match body.pointer_mut(parent).and_then(Value::as_object_mut).map(|members| members.remove(name)) {
        Some(Some(_)) => {}
        Some(None) | None => panic!("`{path}` is not in the body"),
    }
}

/// What two requests may differ in and mean the same.
fn plain(request: &Value) -> Value {
    let mut request = meaning(request);
    // A mark on top is one on the last block.
    if let Some(mark) = request.as_object_mut().unwrap().remove("cache_control") {
        let last = request["messages"].as_array_mut().unwrap().last_mut().unwrap();
        blocks(&mut last["content"]);
        last["content"].as_array_mut().unwrap().last_mut().unwrap()["cache_control"] = mark;
    }
    let members = request.as_object_mut().unwrap();
    // What is the default of everybody asks for nothing.
    members.retain(|name, v| !(name == "stream" && v == false) && *v != json!([]) && !(name == "system" && v == ""));
    if let Some(system) = members.get_mut("system") {
        blocks(system);
    }
    for message in members.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten() {
        blocks(&mut message["content"]);
    }
    for tool in members.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        let tool = tool.as_object_mut().unwrap();
        tool.retain(|name, v| !(name == "type" && v == "custom" || name == "strict" && v == false));
    }
    // An effort asks for thoughts, wherever it comes from.
    if members.contains_key("thinking") && members["thinking"] == json!({"type": "adaptive"}) {
        members.remove("thinking");
    }
    request
}

/// A text alone is a block of text.
fn blocks(content: &mut Value) {
    if let Value::String(text) = content {
        *content = json!([{ "type": "text", "text": text }]);
    }
    for block in content.as_array_mut().into_iter().flatten() {
        let block = block.as_object_mut().unwrap();
        block.retain(|name, v| !(name == "is_error" && v == false || name == "caller" && v["type"] == "direct"));
        if let Some(mark) = block.get_mut("cache_control").filter(|mark| mark["ttl"] == "5m") {
            mark.as_object_mut().unwrap().remove("ttl");
        }
        if block["type"] == "tool_result" && block.contains_key("content") {
            blocks(&mut block["content"]);
        }
    }
}

fn all() -> Vec<Exchange> {
    ["anthropic.messages", "anthropic.count_tokens"].into_iter().flat_map(exchanges).collect()
}

#[test]
fn recorded_requests_mean_the_same_when_written_again() {
    let (mut same, mut told) = (0, 0);
    for exchange in all() {
        let (written, lost, extra) =
            round(&exchange.request.to_string()).unwrap_or_else(|why| panic!("{}: {why}", exchange.id));
        // Refused by the provider as well, for the same reason.
        if exchange.status != 400 {
            assert_eq!(lost, Vec::<String>::new(), "{}", exchange.id);
        } else if !lost.is_empty() {
            continue;
        }
        let mut before = exchange.request.clone();
        extra.iter().for_each(|path| without(&mut before, path));
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(plain(&written), plain(&before), "{}", exchange.id);
        *(if extra.is_empty() { &mut same } else { &mut told }) += 1;
    }
    println!("{same} requests the same, {told} but for members that are told");
}

#[test]
fn recorded_answers_mean_the_same_when_written_again() {
    let answers = exchanges("anthropic.messages").into_iter().filter(|e| e.status == 200 && !e.stream);
    let bodies = answers.map(|e| (e.id, e.body)).chain(
        unframed().filter(|(_, chunks)| chunks.len() == 1).map(|(id, chunks)| (id, chunks.into_iter().next().unwrap())),
    );
    for (id, body) in bodies {
        let given = given("asked");
        let answer = Anthropic.read_answer(&body, &given).unwrap_or_else(|e| panic!("{id}: {e}"));
        let written = Anthropic.write_answer(&answer, &given);
        assert_eq!(written.lost, vec![], "{id}");
        let (mut before, mut after): (Value, Value) =
            (serde_json::from_slice(&body).unwrap(), serde_json::from_slice(&written.body).unwrap());
        let told = |body: &Value| serde_json::from_value::<usage::Told>(body["usage"].clone()).unwrap();
        assert_eq!(told(&before).disjoint(), told(&after).disjoint(), "{id}");
        assert_eq!(told(&before).service_tier, told(&after).service_tier, "{id}");
        for body in [&mut before, &mut after] {
            let members = body.as_object_mut().unwrap();
            // Usage was compared; what the provider keeps and edited is its own.
            for own in ["usage", "container", "context_management", "stop_details"] {
                members.remove(own);
            }
            *body = meaning(body);
            blocks(&mut body["content"]);
            // Called from inside the provider's own program: a call all the same.
            for block in body["content"].as_array_mut().unwrap().iter_mut().filter(|b| b["type"] == "tool_use") {
                block.as_object_mut().unwrap().remove("caller");
            }
        }
        assert_eq!(after, before, "{id}");
    }
}

/// Responses without their requests; a stream has several payloads.
fn unframed() -> impl Iterator<Item = (String, Vec<Vec<u8>>)> {
    let root = std::env::var_os("TOLLGATE_CORPUS").map_or_else(
        || std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        std::path::PathBuf::from,
    );
    let path = root.join("responses-only/responses-only.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|why| {
        eprintln!("SKIPPED: no responses: {}: {why}", path.display());
        String::new()
    });
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    rows.into_iter().filter(|row| row["provider"] == "anthropic").map(|row| {
        let payloads = match row["chunks"].as_array() {
            Some(chunks) => chunks.iter().map(|chunk| chunk.to_string().into_bytes()).collect(),
            None => vec![row["body"].to_string().into_bytes()],
        };
        (row["id"].as_str().unwrap().to_owned(), payloads)
    })
}

/// What is written for a caller, read again, is what was read, but for blocks that only this dialect knows, for what is
/// billed beside the answer, and for usage and tier, of which the last counts.
pub fn comparable(events: Vec<Event>) -> (Vec<Event>, Option<Usage>, Option<String>) {
    let (mut kept, mut usage, mut tier) = (Vec::new(), None, None);
    let mut numbers: Vec<(u64, Option<u64>)> = Vec::new();
    let mut next = 0..;
    for event in events {
        let renumbered =
            |part: u64, numbers: &[(u64, Option<u64>)]| numbers.iter().find(|(p, _)| *p == part).unwrap().1;
        match event {
            Event::Usage(told) => usage = Some(told),
            Event::ServiceTier(told) => tier = Some(told),
            Event::Beside(_) => {}
            Event::Begin { part, kind, .. } => {
                let native = matches!(kind, Begins::Native(_) | Begins::Media { .. });
                let number = (!native).then(|| next.next().unwrap());
                numbers.push((part, number));
                kept.extend(number.map(|part| Event::Begin { choice: 0, part, kind }));
            }
            Event::Delta { part, delta, .. } => {
                kept.extend(renumbered(part, &numbers).map(|part| Event::Delta { choice: 0, part, delta }));
            }
            Event::End { part, .. } => {
                kept.extend(renumbered(part, &numbers).map(|part| Event::End { choice: 0, part }));
            }
            other => kept.push(other),
        }
    }
    (kept, usage, tier)
}

pub fn write_stream(events: &[Event]) -> Vec<u8> {
    let (mut writer, mut bytes) = (Anthropic.stream_writer(&given("asked")), Vec::new());
    events.iter().for_each(|event| writer.event(event, &mut bytes));
    bytes
}

#[test]
fn recorded_streams_mean_the_same_when_written_again() {
    let framed = |chunks: Vec<Vec<u8>>| {
        chunks.into_iter().flat_map(|chunk| [b"data: ".to_vec(), chunk, b"\n\n".to_vec()].concat()).collect::<Vec<u8>>()
    };
    let recorded = exchanges("anthropic.messages").into_iter().filter(|e| e.status == 200 && e.stream);
    let streams = recorded
        .map(|e| (e.id, e.body, Some(e.usage)))
        .chain(unframed().filter(|(_, chunks)| chunks.len() > 1).map(|(id, chunks)| (id, framed(chunks), None)));
    for (id, body, recorded) in streams {
        let given = given("asked");
        let read = events(&Anthropic, &given, &body).unwrap_or_else(|why| panic!("{id}: {why}"));
        assert_eq!(read.last(), Some(&Event::Done), "{id}: complete");
        assert!(matches!(read.first(), Some(Event::Start { .. })), "{id}: begins");
        let again = events(&Anthropic, &given, &write_stream(&read)).unwrap();
        let (read, again) = (comparable(read), comparable(again));
        assert_eq!(again, read, "{id}");
        if let Some(recorded) = recorded {
            let recorded: usage::Told = serde_json::from_value(recorded).unwrap();
            assert_eq!(read.1, Some(recorded.disjoint()), "{id}: usage");
        }
    }
}

/// Usage beside the bytes is what the recording tells, in whole answers and in streams.
#[test]
fn what_is_read_beside_the_bytes_is_what_was_recorded() {
    for exchange in exchanges("anthropic.messages").into_iter().filter(|e| e.status == 200) {
        let recorded: usage::Told = serde_json::from_value(exchange.usage.clone()).unwrap();
        let notes = match exchange.stream {
            false => Anthropic.glance(&exchange.body),
            true => wild::noted(&exchange.body),
        };
        assert_eq!(notes.usage, Some(recorded.disjoint()), "{}", exchange.id);
        assert!(notes.done && notes.finish_reason.is_some(), "{}", exchange.id);
    }
}

#[test]
fn recorded_counts_are_read() {
    for exchange in exchanges("anthropic.count_tokens").into_iter().filter(|e| e.status == 200) {
        assert!(exchange.url.contains("/count_tokens"), "{}", exchange.id);
        let tokens = super::count::read_count_answer(&exchange.body).unwrap();
        assert!(tokens > 0, "{}", exchange.id);
        let written: Value = serde_json::from_slice(&super::count::write_count_answer(tokens)).unwrap();
        assert_eq!(written, serde_json::from_slice::<Value>(&exchange.body).unwrap());
    }
}

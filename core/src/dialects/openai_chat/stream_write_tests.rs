//! Streams as official clients gather them: what they demand of every piece.

use serde_json::{Map, Value, json};

use super::super::OpenaiChat;
use crate::contract::Dialect;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Kind, Maker, Signature};
use crate::contract::skim::skim;
use crate::dialects::Codec;
use crate::dialects::codec;
use crate::dialects::recorded::{events, given};

/// The deltas of a stream for a caller.
fn deltas(told: &[Event]) -> Vec<Value> {
    let (mut writer, mut out) = (OpenaiChat.stream_writer(&given("m")), Vec::new());
    told.iter().for_each(|event| writer.event(event, &mut out));
    let text = String::from_utf8(out).unwrap();
    let chunks = text.lines().filter_map(|line| line.strip_prefix("data: {"));
    let chunk = |rest: &str| serde_json::from_str::<Value>(&format!("{{{rest}")).unwrap();
    chunks.flat_map(|rest| chunk(rest)["choices"].as_array().unwrap().clone()).map(|c| c["delta"].clone()).collect()
}

/// As the Python SDK gathers deltas: texts are put together, entries of lists by their index.
fn gather(all: &mut Map<String, Value>, delta: &Value) {
    for (name, value) in delta.as_object().unwrap() {
        match (all.get_mut(name), value) {
            (None | Some(Value::Null), _) => drop(all.insert(name.clone(), value.clone())),
            (Some(known), _) if name == "index" || name == "type" => *known = value.clone(),
            (Some(Value::String(known)), Value::String(more)) => known.push_str(more),
            (Some(Value::Object(known)), Value::Object(_)) => gather(known, value),
            (Some(Value::Array(known)), Value::Array(more)) => {
                for entry in more {
                    let at = entry["index"].as_u64().expect("an entry has an index") as usize;
                    match known.get_mut(at) {
                        Some(Value::Object(known)) => gather(known, entry),
                        _ => known.insert(at, entry.clone()),
                    }
                }
            }
            (Some(_), _) => {}
        }
    }
}

fn gathered(told: &[Event]) -> Value {
    let mut all = Map::new();
    deltas(told).iter().for_each(|delta| gather(&mut all, delta));
    Value::Object(all)
}

fn part(part: u64, kind: Begins, deltas: Vec<Delta>) -> Vec<Event> {
    let begin = Event::Begin { choice: 0, part, kind };
    let said = deltas.into_iter().map(|delta| Event::Delta { choice: 0, part, delta });
    [begin].into_iter().chain(said).chain([Event::End { choice: 0, part }]).collect()
}

fn seal(by: Maker, data: &'static str) -> Delta {
    Delta::Signature(Signature { by, data: data.into() })
}

fn text(text: &str) -> Delta {
    Delta::Text(text.to_owned())
}

const THOUGHTS: Begins = Begins::Reasoning { summary: false, id: None };

#[test]
fn the_seal_of_a_call_stands_where_the_call_begins() {
    let call = || Begins::ToolCall { id: "c".into(), name: "f".into() };
    let arguments = || Delta::Arguments("{\"a\":1}".into());
    let google = || seal(Maker::Google, "U0lH");
    for (said, sealed_at, why) in [
        (vec![google(), arguments()], 0, "the seal is known by then"),
        (vec![arguments(), google()], 2, "it comes behind the arguments"),
        (vec![google()], 0, "the call has no arguments"),
    ] {
        let told = part(0, call(), said);
        let pieces: Vec<Value> = deltas(&told).into_iter().map(|delta| delta["tool_calls"][0].clone()).collect();
        assert!(pieces.iter().all(|piece| piece["function"].is_object()), "{why}: {pieces:?}");
        assert_eq!(pieces[sealed_at]["extra_content"]["google"]["thought_signature"], "U0lH", "{why}: {pieces:?}");
        assert_eq!((&pieces[0]["id"], &pieces[0]["function"]["name"]), (&json!("c"), &json!("f")), "{why}");
    }
}

/// The recorded form of Google's stream, as the official client reads it.
#[test]
fn a_sealed_call_of_gemini_begins_with_its_seal() {
    let parts = json!([{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "U0lH"}]);
    let chunk = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]});
    let gemini = codec(Dialect::Gemini).unwrap();
    let told = events(gemini, &given("m"), format!("data: {chunk}\r\n\r\n").as_bytes()).unwrap();
    let first = deltas(&told).into_iter().find(|delta| delta["tool_calls"].is_array()).unwrap();
    assert_eq!(first["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "U0lH", "{first}");
}

#[test]
fn entries_of_lists_are_told_apart() {
    let cited = |url: &str| Delta::Citation { url: Some(url.into()), title: None, cited: None, start: None, end: None };
    let mut told = part(0, THOUGHTS, vec![text("A"), text("B"), seal(Maker::Anthropic, "S1")]);
    told.extend(part(1, THOUGHTS, vec![seal(Maker::Anthropic, ""), Delta::Encrypted("R".into())]));
    told.extend(part(2, Begins::Text, vec![text("x"), cited("https://a"), cited("https://b")]));
    told.extend(part(3, Begins::Text, vec![text("y"), cited("https://c")]));
    let all = gathered(&told);
    let claude = "anthropic-claude-v1";
    let details = json!([
        {"index": 0, "type": "reasoning.text", "text": "AB", "signature": "S1", "format": claude},
        {"index": 1, "type": "reasoning.encrypted", "data": "R", "format": claude},
    ]);
    assert_eq!((&all["reasoning_details"], &all["reasoning_content"]), (&details, &json!("AB")));
    let urls: Vec<&Value> = all["annotations"].as_array().unwrap().iter().map(|a| &a["url_citation"]["url"]).collect();
    assert_eq!(urls, ["https://a", "https://b", "https://c"], "{all}");
}

/// Claude demands its thoughts as they were, with their seal: however a client gathers the stream.
#[test]
fn sealed_thoughts_of_a_stream_come_back_whole() {
    let mut told = part(0, THOUGHTS, vec![text("H"), text("m"), seal(Maker::Anthropic, "SIG==")]);
    told.extend(part(1, THOUGHTS, vec![text("So"), seal(Maker::Anthropic, "TIG==")]));
    told.extend(part(2, Begins::Text, vec![text("x")]));
    let appended: Vec<Value> =
        deltas(&told).iter().flat_map(|d| d["reasoning_details"].as_array().cloned().unwrap_or_default()).collect();
    let by_index = gathered(&told)["reasoning_details"].clone();
    for (details, why) in [(by_index, "put together by index"), (appended.into(), "one behind the other")] {
        let message =
            json!({"role": "assistant", "content": "x", "reasoning_content": "HmSo", "reasoning_details": details});
        let body = json!({"model": "m", "messages": [message]}).to_string();
        let skimmed = skim(body.as_bytes()).unwrap();
        let request = OpenaiChat.read_request(body.as_bytes(), &skimmed, &given("m")).unwrap();
        let thoughts = request.messages[0].parts.iter().filter_map(|part| match &part.kind {
            Kind::Reasoning(r) => Some((r.text.to_string(), part.signature.as_ref().unwrap().data.to_string())),
            _ => None,
        });
        let expected = [("Hm", "SIG=="), ("So", "TIG==")].map(|(text, seal)| (text.to_owned(), seal.to_owned()));
        assert_eq!(thoughts.collect::<Vec<_>>(), expected, "{why}");
    }
}

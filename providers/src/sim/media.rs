//! Pictures, sound and moderation: small, the same every time, and counted.

use axum::body::Bytes;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tollgate_core::contract::Dialect;
use tollgate_core::dialects::frames::sse;

use super::answer::tokens_of;
use super::body::{self, Ready};
use super::errors::wrong;
use super::{Asked, CREATED, Told, text};

/// One transparent point.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
/// Speech has so many bytes for each of its words.
const SOUND_BYTES_A_WORD: usize = 2_000;
const EVENTS: &str = "text/event-stream; charset=utf-8";

pub fn answer(asked: &Asked) -> Told {
    match (asked.dialect, asked.place.path) {
        (Dialect::OpenaiModerations, _) => moderation(asked),
        (Dialect::OpenaiImages, path) => picture(asked, path),
        (_, "/audio/speech") => speech(asked),
        (_, _) => transcript(asked),
    }
}

fn refuse(asked: &Asked, why: &str) -> Told {
    Told::Whole(wrong(asked.dialect, StatusCode::BAD_REQUEST, "invalid_value", why))
}

fn json(value: &Value) -> Told {
    Told::Whole(text(StatusCode::OK, "application/json", value.to_string()))
}

/// Events that carry their name in `type`, first as OpenAI writes it, with the usage of the last. Those of transcripts have it
/// there alone.
fn events(asked: &Asked, list: Vec<Value>, usage: &Value) -> Told {
    let written = list.into_iter().map(|mut event| {
        let kind = event.as_object_mut().and_then(|event| event.remove("type")).unwrap_or_default();
        let line = format!("{{\"type\":{kind},{}", &event.to_string()[1..]);
        let name = kind.as_str().filter(|name| !name.starts_with("transcript."));
        let mut bytes = Vec::new();
        sse::write(name, line.as_bytes(), &mut bytes);
        Bytes::from(bytes)
    });
    let pieces = body::written(written, &asked.script);
    Told::Body(Ready { pieces, stream: true, content_type: EVENTS }, Some(usage.clone()))
}

fn picture(asked: &Asked, path: &str) -> Told {
    let prompt = asked.body["prompt"].as_str().unwrap_or_default();
    let of_form = |name| asked.form.as_ref().and_then(|form| form.file(name));
    let picture = of_form("image").or_else(|| of_form("image[]"));
    if path != "/images/generations" && asked.form.is_some() && picture.is_none() {
        return refuse(asked, "'image' is required");
    }
    let shown = picture.map_or(0, |(_, content)| tokens_of(content.len()));
    let (input, output) = (tokens_of(prompt.len()), 272);
    let usage = json!({
        "input_tokens": input + shown, "input_tokens_details": { "text_tokens": input, "image_tokens": shown },
        "output_tokens": output, "total_tokens": input + shown + output,
    });
    if asked.stream {
        let name = if path == "/images/edits" { "image_edit" } else { "image_generation" };
        let event = |what: &str, more: Value| {
            let mut event = json!({ "type": format!("{name}.{what}"), "b64_json": PNG, "created_at": CREATED });
            more.as_object().into_iter().flatten().for_each(|(k, v)| event[k] = v.clone());
            event
        };
        let partial = event("partial_image", json!({ "partial_image_index": 0 }));
        return events(asked, vec![partial, event("completed", json!({ "usage": usage }))], &usage);
    }
    json(&json!({ "created": CREATED, "data": [{ "b64_json": PNG, "revised_prompt": prompt }], "usage": usage }))
}

fn speech(asked: &Asked) -> Told {
    let Some(input) = asked.body["input"].as_str() else { return refuse(asked, "'input' must be a text") };
    let words = input.split_whitespace().count().max(1);
    let sound: Vec<u8> = (0..words * SOUND_BYTES_A_WORD).map(|n| (n % 251) as u8).collect();
    let pieces = sound.chunks(SOUND_BYTES_A_WORD);
    if asked.body["stream_format"] == "sse" {
        let input = tokens_of(input.len());
        let output = words as u64 * 8;
        let usage = json!({ "input_tokens": input, "output_tokens": output, "total_tokens": input + output });
        let deltas = pieces.map(|piece| json!({ "type": "speech.audio.delta", "audio": STANDARD.encode(piece) }));
        let done = json!({ "type": "speech.audio.done", "usage": usage });
        return events(asked, deltas.chain([done]).collect(), &usage);
    }
    let pieces = pieces.map(Bytes::copy_from_slice).collect();
    Told::Body(Ready { pieces, stream: true, content_type: "audio/mpeg" }, None)
}

fn transcript(asked: &Asked) -> Told {
    let Some((name, sound)) = asked.form.as_ref().and_then(|form| form.file("file")) else {
        return refuse(asked, "'file' is required");
    };
    let words = format!("sim: heard {} bytes of {name}", sound.len());
    let (heard, said) = (tokens_of(sound.len()), tokens_of(words.len()));
    let usage = json!({
        "type": "tokens", "input_tokens": heard, "input_token_details": { "text_tokens": 0, "audio_tokens": heard },
        "output_tokens": said, "total_tokens": heard + said,
    });
    if asked.stream {
        let pieces: Vec<&str> = words.split_inclusive(' ').collect();
        let deltas = pieces.iter().map(|piece| json!({ "type": "transcript.text.delta", "delta": piece }));
        let done = json!({ "type": "transcript.text.done", "text": words, "usage": usage });
        return events(asked, deltas.chain([done]).collect(), &usage);
    }
    let plain = |kind, words: String| Told::Whole(text(StatusCode::OK, kind, words));
    match asked.body["response_format"].as_str().unwrap_or("json") {
        "text" => plain("text/plain; charset=utf-8", format!("{words}\n")),
        "srt" => plain("text/plain; charset=utf-8", format!("1\n00:00:00,000 --> 00:00:01,000\n{words}\n\n")),
        "vtt" => plain("text/vtt", format!("WEBVTT\n\n00:00.000 --> 00:01.000\n{words}\n\n")),
        "verbose_json" => {
            let usage = json!({ "type": "duration", "seconds": 1 });
            json(
                &json!({ "task": "transcribe", "language": "english", "duration": 1.0, "text": words, "segments": [], "usage": usage }),
            )
        }
        _ => json(&json!({ "text": words, "usage": usage })),
    }
}

/// What is called by its name is found.
fn moderation(asked: &Asked) -> Told {
    let inputs = match &asked.body["input"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return refuse(asked, "'input' must be a text or a list");
        }
    };
    const CATEGORIES: [&str; 13] = [
        "harassment",
        "harassment/threatening",
        "hate",
        "hate/threatening",
        "illicit",
        "illicit/violent",
        "self-harm",
        "self-harm/instructions",
        "self-harm/intent",
        "sexual",
        "sexual/minors",
        "violence",
        "violence/graphic",
    ];
    let results = inputs.iter().map(|input| {
        let found = |name: &str| input.contains(name);
        let table = |value: &dyn Fn(&str) -> Value| -> Map<String, Value> {
            CATEGORIES.into_iter().map(|name| (name.to_owned(), value(name))).collect()
        };
        json!({
            "flagged": CATEGORIES.into_iter().any(found),
            "categories": table(&|name| found(name).into()),
            "category_scores": table(&|name| if found(name) { 0.99.into() } else { 0.01.into() }),
            "category_applied_input_types": table(&|_| json!(["text"])),
        })
    });
    let results: Vec<Value> = results.collect();
    json(&json!({ "id": format!("modr-sim{}", asked.number), "model": asked.model, "results": results }))
}

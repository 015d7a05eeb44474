//! For tests: the recorded exchanges of the corpus, and what it means that two bodies say the same.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

use super::frames::{Framing, framer, read as read_frame};
use super::{Codec, Given, Notes};
use crate::contract::base64;
use crate::contract::canonical::event::Event;

/// One recorded exchange.
pub struct Exchange {
    pub id: String,
    pub request: Value,
    pub status: u16,
    pub headers: http::HeaderMap,
    /// JSON text, or the raw bytes of a stream.
    pub body: Vec<u8>,
    pub stream: bool,
    pub usage: Value,
    pub url: String,
}

fn corpus() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    std::env::var_os("TOLLGATE_CORPUS").map_or_else(beside, PathBuf::from)
}

/// The recorded exchanges of one API as they lie there, by file name; without the corpus none, said loudly.
pub fn files(api: &str) -> Vec<(String, Value)> {
    let folder = corpus().join("exchanges").join(api);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("SKIPPED: no recorded exchanges of `{api}`: there is no {} (TOLLGATE_CORPUS)", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    paths.iter().map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), read(path))).collect()
}

pub fn exchanges(api: &str) -> Vec<Exchange> {
    files(api).iter().map(|(_, exchange)| read(exchange)).collect()
}

/// Answers of a provider that were recorded without their requests; without the corpus none, said loudly.
pub fn answers_only(provider: &str) -> Vec<Value> {
    let file = corpus().join("responses-only/responses-only.jsonl");
    let Ok(lines) = std::fs::read_to_string(&file) else {
        eprintln!("SKIPPED: no answers of {provider} in {} (TOLLGATE_CORPUS)", file.display());
        return Vec::new();
    };
    let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|answer| answer["provider"] == provider).collect()
}

fn read(exchange: &Value) -> Exchange {
    let response = &exchange["response"];
    let body = match (response["body_encoding"].as_str(), &response["body"]) {
        (Some("base64"), Value::String(text)) => base64::decode(text).unwrap(),
        (_, Value::String(text)) => text.clone().into_bytes(),
        (_, other) => other.to_string().into_bytes(),
    };
    let mut headers = http::HeaderMap::new();
    for (name, value) in response["headers"].as_object().into_iter().flatten() {
        if let (Ok(name), Some(Ok(value))) = (name.parse::<http::HeaderName>(), value.as_str().map(str::parse)) {
            headers.insert(name, value);
        }
    }
    Exchange {
        id: exchange["id"].as_str().unwrap().to_owned(),
        request: exchange["request"]["body"].clone(),
        status: response["status"].as_u64().unwrap() as u16,
        headers,
        body,
        stream: exchange["stream"] == true,
        usage: exchange["usage"].clone(),
        url: exchange["request"]["url"].as_str().unwrap_or_default().to_owned(),
    }
}

pub fn given(model: &str) -> Given<'_> {
    Given {
        call_id: "01890a5d-ac96-774b-bcce-b302099a8057",
        now_s: 1_790_000_000,
        model,
        stream: false,
        include_usage: true,
        as_array: false,
        own_tools: &[],
        asked: &[],
    }
}

/// Cuts bytes at these places, and reads all frames: what was told, and what was noted beside.
pub fn read_stream(
    codec: &dyn Codec,
    given: &Given<'_>,
    bytes: &[u8],
    cuts: &[usize],
) -> Result<(Vec<Event>, Notes), String> {
    let framing = if given.as_array { Framing::JsonArray } else { codec.framing() };
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    cuts.sort_unstable();
    let (mut framer, mut frames, mut from) = (framer(framing), Vec::new(), 0);
    for at in cuts {
        framer.feed(Bytes::copy_from_slice(&bytes[from..at]), &mut frames).map_err(|e| e.to_string())?;
        from = at;
    }
    frames.extend(Some(framer.rest()).filter(|rest| !rest.is_empty()));
    let (mut reader, mut events, mut notes) = (codec.stream_reader(given), Vec::new(), Notes::default());
    for frame in &frames {
        let frame = read_frame(framing, frame);
        codec.note(&frame, &mut notes);
        reader.frame(&frame, &mut events).map_err(|e| e.to_string())?;
    }
    reader.end(&mut events);
    Ok((events, notes))
}

/// All events of a stream, or why it cannot be read.
pub fn events(codec: &dyn Codec, given: &Given<'_>, body: &[u8]) -> Result<Vec<Event>, String> {
    read_stream(codec, given, body, &[]).map(|(events, _)| events)
}

/// The same without what says nothing: nulls, and the numbers' spelling.
pub fn meaning(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            members.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), meaning(v))).collect()
        }
        Value::Array(items) => items.iter().map(meaning).collect(),
        Value::Number(n) => n.as_f64().map_or_else(|| value.clone(), Into::into),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

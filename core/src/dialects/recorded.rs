//! For tests: the recorded exchanges of the corpus, and what it means that two bodies say the same.

use std::path::PathBuf;

use serde_json::Value;

use super::frames::{Framer, Framing, sse};
use super::{Codec, Given};
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

/// The exchanges of one API; without the corpus none, said loudly.
pub fn exchanges(api: &str) -> Vec<Exchange> {
    let root = std::env::var_os("TOLLGATE_CORPUS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), PathBuf::from);
    let folder = root.join("exchanges").join(api);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("SKIPPED: no recorded exchanges of `{api}`: there is no {} (TOLLGATE_CORPUS)", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| read(&serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())).collect()
}

fn read(exchange: &Value) -> Exchange {
    let response = &exchange["response"];
    let body = match (response["body_encoding"].as_str(), &response["body"]) {
        (Some("base64"), Value::String(text)) => base64(text),
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

/// Enough of base64 for recordings.
fn base64(text: &str) -> Vec<u8> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for six in text.bytes().filter_map(value) {
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
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

/// All events of a stream in SSE, or why it cannot be read.
pub fn events(codec: &dyn Codec, given: &Given<'_>, body: &[u8]) -> Result<Vec<Event>, String> {
    assert_eq!(codec.framing(), Framing::Sse);
    let (mut framer, mut frames, mut events) = (sse::Sse::default(), Vec::new(), Vec::new());
    framer.feed(bytes::Bytes::copy_from_slice(body), &mut frames).map_err(|e| e.to_string())?;
    frames.push(framer.rest());
    let mut reader = codec.stream_reader(given);
    for frame in &frames {
        reader.frame(&sse::read(frame), &mut events).map_err(|e| e.to_string())?;
    }
    reader.end(&mut events);
    Ok(events)
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

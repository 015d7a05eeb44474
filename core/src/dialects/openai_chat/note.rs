//! A stream read beside its bytes, and the errors inside it.

use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::contract::canonical::event::StreamError;
use crate::contract::read::{as_text, find, loose};
use crate::contract::usage::OpenaiUsage;
use crate::dialects::Notes;
use crate::dialects::frames::Frame;

/// `{error: {message, code}}`, `{message, ...}`, or a text.
pub fn error_of(data: &[u8]) -> StreamError {
    let Ok(root) = serde_json::from_slice::<&RawValue>(data) else {
        return StreamError { message: String::from_utf8_lossy(data).into_owned(), ..StreamError::default() };
    };
    let outer = loose(root);
    let inner = match find(&outer, "error") {
        Some(raw) => loose(raw),
        None => outer,
    };
    let plain =
        |name: &str| find(&inner, name).map(|raw| as_text(raw).map_or_else(|| raw.get().to_owned(), Into::into));
    let code = plain("code").or_else(|| plain("type"));
    StreamError {
        message: plain("message").unwrap_or_else(|| as_text(root).map_or_else(|| root.get().to_owned(), Into::into)),
        status: plain("status_code").or_else(|| code.clone()).and_then(|code| code.parse().ok()),
        code,
    }
}

/// Read beside the bytes: two searches are cheaper than a parser, and most events tell nothing but words.
pub fn note(frame: &Frame<'_>, notes: &mut Notes) {
    #[derive(Deserialize)]
    struct Beside {
        #[serde(default)]
        usage: Option<OpenaiUsage>,
        #[serde(default)]
        x_groq: Option<Groq>,
        #[serde(default)]
        choices: Option<Vec<Ended>>,
        #[serde(default)]
        error: Option<serde_json::Value>,
    }
    #[derive(Deserialize)]
    struct Groq {
        #[serde(default)]
        usage: Option<OpenaiUsage>,
    }
    #[derive(Deserialize)]
    struct Ended {
        #[serde(default)]
        finish_reason: Option<String>,
        #[serde(default)]
        usage: Option<OpenaiUsage>,
        #[serde(default, rename = "delta")]
        _delta: IgnoredAny,
    }
    notes.ours = false;
    let data = frame.data.trim_ascii();
    if data == b"[DONE]" {
        notes.done = true;
        return;
    }
    if frame.is_error {
        notes.error = Some(error_of(data).message);
    }
    // Sound, transcripts and pictures have no mark behind their events: the last one is named so.
    notes.done |= ends_itself(&frame.name) || (data.starts_with(b"{\"type\"") && ends_itself(in_type(data)));
    let tells = says_value(data, b"\"usage\"") || says_value(data, b"\"finish_reason\"") || begins_error(data);
    if !tells {
        return;
    }
    let Ok(mut chunk) = serde_json::from_slice::<Beside>(data) else { return };
    if let Some(reason) = chunk.choices.iter().flatten().find_map(|c| c.finish_reason.clone()) {
        notes.finish_reason = Some(reason);
    }
    if let Some(error) = chunk.error.filter(|e| !e.is_null()) {
        let message = error.get("message").and_then(|m| m.as_str()).map(str::to_owned);
        notes.error = Some(message.unwrap_or_else(|| error.to_string()));
    }
    let inside = chunk.choices.iter_mut().flatten().find_map(|c| c.usage.take());
    let usage = chunk.usage.or(chunk.x_groq.and_then(|g| g.usage)).or(inside);
    if let Some(usage) = usage {
        notes.usage = usage.disjoint().or(notes.usage);
        notes.ours = chunk.choices.is_some_and(|c| c.is_empty());
    }
}

/// Does the member occur with a value that is not null?
fn says_value(data: &[u8], member: &[u8]) -> bool {
    memmem::find_iter(data, member).any(|at| {
        let rest = data[at + member.len()..].trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|value| !value.trim_ascii_start().starts_with(b"null"))
    })
}

/// `speech.audio.done`, `transcript.text.done`, `image_generation.completed`, `image_edit.completed`.
fn ends_itself(name: &str) -> bool {
    name.ends_with(".done") || name.ends_with(".completed")
}

/// The text of the first member.
fn in_type(data: &[u8]) -> &str {
    let value = data.splitn(5, |b| *b == b'"').nth(3).unwrap_or_default();
    std::str::from_utf8(value).unwrap_or_default()
}

fn begins_error(data: &[u8]) -> bool {
    memmem::find(&data[..data.len().min(512)], b"\"error\"").is_some()
}

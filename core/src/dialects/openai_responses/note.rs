//! Usage and end of answers and streams, read beside their bytes.

use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::output::finish_of;
use super::stream_read::error_of;
use crate::contract::canonical::answer::Finish;
use crate::contract::usage::OpenaiUsage;
use crate::dialects::Notes;
use crate::dialects::frames::Frame;

/// A response, as far as it is noted.
#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    incomplete_details: Option<Incomplete>,
    #[serde(default)]
    error: Option<Failure>,
    #[serde(default)]
    usage: Option<OpenaiUsage>,
    #[serde(default)]
    output: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Incomplete {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default, rename = "content")]
    _content: IgnoredAny,
}

impl Response {
    fn note(self, notes: &mut Notes) {
        if let Some(usage) = self.usage {
            notes.usage = usage.disjoint().or(notes.usage);
        }
        let calls = |item: &Item| {
            matches!(item.kind.as_deref(), Some("function_call" | "custom_tool_call" | "local_shell_call"))
        };
        let calls = self.output.iter().flatten().any(calls);
        let reason = self.incomplete_details.and_then(|details| details.reason);
        let finish = finish_of(self.status.as_deref().unwrap_or("completed"), reason.as_deref(), calls);
        notes.finish_reason = finish.as_ref().map(|finish| finish_name(finish).to_owned());
        if finish == Some(Finish::Error) {
            let told = self.error.and_then(|error| error.message);
            notes.error = Some(told.unwrap_or_else(|| "the response failed".to_owned()));
        }
    }
}

/// For receipts: the words of the other dialects of OpenAI.
fn finish_name(finish: &Finish) -> &str {
    match finish {
        Finish::Stop | Finish::StopSequence => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
        Finish::Refusal => "refusal",
        Finish::Pause => "pause",
        Finish::ContextLength => "context_length",
        Finish::Error => "error",
        Finish::Other(name) => name,
    }
}

pub fn glance(body: &[u8]) -> Notes {
    let mut notes = Notes { done: true, ..Notes::default() };
    match serde_json::from_slice::<Response>(body) {
        Ok(response) => response.note(&mut notes),
        Err(_) => notes.done = false,
    }
    notes
}

/// Asked for every frame: the last events alone have these words in quotes, for inside a text the quotes are escaped.
pub fn note(frame: &Frame<'_>, notes: &mut Notes) {
    #[derive(Deserialize)]
    struct Event {
        #[serde(default)]
        response: Option<Response>,
    }
    notes.ours = false;
    let data = &*frame.data;
    if data.starts_with(b"[DONE]") {
        notes.done |= notes.error.is_none();
        return;
    }
    // Most servers name their events: then nothing is searched.
    let named = frame.name.starts_with("response.");
    let says = |name: &str, quoted: &str| match named {
        true => frame.name == name,
        false => memmem::find(data, quoted.as_bytes()).is_some(),
    };
    if says("response.completed", "\"response.completed\"")
        || says("response.incomplete", "\"response.incomplete\"")
        || says("response.failed", "\"response.failed\"")
    {
        if let Ok(Event { response: Some(response) }) = serde_json::from_slice(data) {
            response.note(notes);
            notes.done = notes.error.is_none();
        }
    } else if frame.is_error || (!named && is_error(data)) {
        notes.error = Some(error_of(data).message);
    }
}

/// `{"type": "error", ...}`, or a failure of a server that has no such event.
fn is_error(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow, default, rename = "type")]
        kind: Option<std::borrow::Cow<'a, str>>,
        #[serde(default)]
        error: Option<IgnoredAny>,
    }
    memmem::find(data, b"\"error\"").is_some()
        && serde_json::from_slice::<Told<'_>>(data).is_ok_and(|told| match told.kind.as_deref() {
            Some(kind) => kind == "error",
            None => told.error.is_some(),
        })
}

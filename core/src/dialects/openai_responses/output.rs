//! Items and responses for callers, with all that the official models of a response require.

use super::own::{self, Form};
use crate::contract::canonical::answer::Finish;
use crate::contract::usage::Usage;
use crate::contract::write::{Null, Writer};

/// An id that the provider told none for: always the same for the same call and place.
pub fn made_id(prefix: &str, call_id: &str, place: &str) -> String {
    let hash = blake3::hash(format!("{call_id} {place}").as_bytes()).to_hex();
    format!("{prefix}{}", &hash[..32])
}

/// Ids of responses begin with `resp_`: another one is not the caller's to use.
pub fn response_id(told: &str, call_id: &str) -> String {
    if told.starts_with("resp_") { told.to_owned() } else { made_id("resp_", call_id, "response") }
}

/// How a response ended, in this dialect's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended<'a> {
    pub status: &'a str,
    /// Why it is incomplete.
    pub reason: Option<&'a str>,
}

pub fn ended(finish: Option<&Finish>) -> Ended<'_> {
    let incomplete = |reason| Ended { status: "incomplete", reason: Some(reason) };
    match finish {
        None | Some(Finish::Stop | Finish::StopSequence | Finish::ToolCalls | Finish::Refusal) => {
            Ended { status: "completed", reason: None }
        }
        Some(Finish::Length | Finish::ContextLength) => incomplete("max_output_tokens"),
        Some(Finish::ContentFilter) => incomplete("content_filter"),
        Some(Finish::Pause) => incomplete("pause"),
        Some(Finish::Error) => Ended { status: "failed", reason: None },
        Some(Finish::Other(reason)) => incomplete(reason),
    }
}

/// The finish that a status means. `None` = the provider is still at it.
pub fn finish_of(status: &str, reason: Option<&str>, calls: bool) -> Option<Finish> {
    match (status, reason) {
        // Some servers leave the last letter out.
        ("completed" | "complete", _) if calls => Some(Finish::ToolCalls),
        ("completed" | "complete", _) => Some(Finish::Stop),
        ("incomplete", Some("max_output_tokens") | None) => Some(Finish::Length),
        ("incomplete", Some("content_filter")) => Some(Finish::ContentFilter),
        ("incomplete", Some("pause")) => Some(Finish::Pause),
        ("incomplete", Some(other)) => Some(Finish::Other(other.to_owned())),
        ("failed", _) => Some(Finish::Error),
        ("in_progress" | "queued", _) => None,
        (other, _) => Some(Finish::Other(other.to_owned())),
    }
}

/// A response without its output.
pub struct Head<'a> {
    pub id: &'a str,
    pub created_s: i64,
    pub model: &'a str,
    pub ended: Ended<'a>,
    /// An object, as JSON.
    pub error: Option<&'a str>,
    pub usage: Option<&'a Usage>,
    pub service_tier: Option<&'a str>,
}

/// What the caller asked for is not told again: these members say what is so where nobody asks for anything.
pub fn response(w: &mut Writer, head: &Head<'_>, output: impl FnOnce(&mut Writer)) {
    w.member("id", head.id);
    w.member("object", "response");
    w.member("created_at", &head.created_s);
    w.member("status", head.ended.status);
    w.member("background", &false);
    match head.error {
        Some(error) => w.json_member("error", error),
        None => w.member("error", &Null),
    }
    match head.ended.reason {
        Some(reason) => w.object_member("incomplete_details", |w| w.member("reason", reason)),
        None => w.member("incomplete_details", &Null),
    }
    for name in ["instructions", "max_output_tokens", "max_tool_calls"] {
        w.member(name, &Null);
    }
    w.member("model", head.model);
    output(w);
    w.member("parallel_tool_calls", &true);
    w.member("previous_response_id", &Null);
    w.object_member("reasoning", |w| {
        w.member("effort", &Null);
        w.member("summary", &Null);
    });
    match head.service_tier {
        Some(tier) => w.member("service_tier", tier),
        None => w.member("service_tier", "default"),
    }
    w.member("store", &false);
    w.member("temperature", &Null);
    w.object_member("text", |w| w.object_member("format", |w| w.member("type", "text")));
    w.member("tool_choice", "auto");
    w.list_member("tools", |_| {});
    w.member("top_p", &Null);
    w.member("truncation", "disabled");
    match head.usage {
        Some(usage) => w.object_member("usage", |w| write_usage(w, usage)),
        None => w.member("usage", &Null),
    }
    w.member("user", &Null);
    w.object_member("metadata", |_| {});
}

fn write_usage(w: &mut Writer, usage: &Usage) {
    w.member("input_tokens", &usage.input_all());
    w.object_member("input_tokens_details", |w| {
        w.member("cached_tokens", &usage.cached_input);
        w.member("cache_write_tokens", &usage.cache_write.saturating_add(usage.cache_write_1h));
    });
    w.member("output_tokens", &usage.output_all());
    w.object_member("output_tokens_details", |w| w.member("reasoning_tokens", &usage.reasoning));
    w.member("total_tokens", &usage.total());
}

/// A message; `content` writes its parts.
pub fn message(w: &mut Writer, id: &str, status: &str, content: impl FnOnce(&mut Writer)) {
    w.member("type", "message");
    w.member("id", id);
    w.member("status", status);
    w.member("role", "assistant");
    w.list_member("content", content);
}

/// Thoughts are shown as a summary: agents send that back with its seal, and leave out what they were shown otherwise.
pub fn reasoning<S: AsRef<str>>(w: &mut Writer, id: &str, summary: &[S], sealed: Option<&str>) {
    w.member("type", "reasoning");
    w.member("id", id);
    w.list_member("summary", |w| summary.iter().for_each(|text| w.object(|w| summary_text(w, text.as_ref()))));
    if let Some(sealed) = sealed {
        w.member("encrypted_content", sealed);
    }
}

pub fn summary_text(w: &mut Writer, text: &str) {
    w.member("type", "summary_text");
    w.member("text", text);
}

/// A call, in the form in which the caller declared its tool.
pub struct Call<'a> {
    pub form: Form,
    pub id: &'a str,
    pub call_id: &'a str,
    pub name: &'a str,
    pub arguments: &'a str,
    pub status: &'a str,
}

impl Call<'_> {
    pub fn write(&self, w: &mut Writer) {
        w.member("type", self.form.item().0);
        w.member("id", self.id);
        w.member("status", self.status);
        w.member("call_id", self.call_id);
        match self.form {
            Form::Function => {
                w.member("name", self.name);
                w.member("arguments", self.arguments);
            }
            Form::Custom => {
                w.member("name", self.name);
                w.member("input", &own::unwrap(self.arguments));
            }
            Form::Shell => own::action(w, self.arguments),
        }
    }
}

//! Items and responses for callers, with all that the official models of a response require.

use super::own::{self, Form};
use crate::contract::canonical::answer::Finish;
use crate::contract::skim::skim;
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

/// A refusal that is said as one is complete; words that are none and end in one are cut.
pub fn ended(finish: Option<&Finish>, refuses: bool) -> Ended<'_> {
    let incomplete = |reason| Ended { status: "incomplete", reason: Some(reason) };
    match finish {
        Some(Finish::Refusal) if !refuses => incomplete("content_filter"),
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
    pub asked: &'a Asked,
}

/// What the caller asked for, as its response tells it again: members as JSON of one line.
#[derive(Default)]
pub struct Asked(Vec<(&'static str, String)>);

/// The members that are told again.
const TOLD_AGAIN: [&str; 16] = [
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];
/// A member larger than this is not: the usual value stands in its place. Declared tools of agents have about 64 KiB.
const TOLD_BYTES_MAX: usize = 256 << 10;

impl Asked {
    pub fn of(body: &[u8]) -> Asked {
        let Ok(skimmed) = skim(body) else { return Asked::default() };
        let told = |name: &'static str| {
            let raw = skimmed.raw(body, name).filter(|raw| *raw != b"null" && raw.len() <= TOLD_BYTES_MAX)?;
            // Line ends stand between tokens only, and would end an event's line.
            Some((name, String::from_utf8_lossy(raw).replace(['\n', '\r'], " ")))
        };
        Asked(TOLD_AGAIN.into_iter().filter_map(told).collect())
    }

    /// As it was asked, else as it is where nobody asks.
    fn member(&self, w: &mut Writer, name: &str, usual: &str) {
        let asked = self.0.iter().find(|(known, _)| *known == name);
        w.json_member(name, asked.map_or(usual, |(_, json)| json));
    }

    /// Only where it was asked.
    fn also(&self, w: &mut Writer, name: &str) {
        if self.0.iter().any(|(known, _)| *known == name) {
            self.member(w, name, "null");
        }
    }
}

/// What the caller asked for is told again, as the official models of a response require.
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
    let asked = head.asked;
    for name in ["instructions", "max_output_tokens", "max_tool_calls"] {
        asked.member(w, name, "null");
    }
    w.member("model", head.model);
    output(w);
    asked.member(w, "parallel_tool_calls", "true");
    w.member("previous_response_id", &Null);
    for name in ["prompt_cache_key", "safety_identifier", "top_logprobs"] {
        asked.also(w, name);
    }
    asked.member(w, "reasoning", r#"{"effort":null,"summary":null}"#);
    match head.service_tier {
        Some(tier) => w.member("service_tier", tier),
        None => w.member("service_tier", "default"),
    }
    // Whatever was asked: nothing is kept between dialects.
    w.member("store", &false);
    asked.member(w, "temperature", "null");
    asked.member(w, "text", r#"{"format":{"type":"text"}}"#);
    asked.member(w, "tool_choice", r#""auto""#);
    asked.member(w, "tools", "[]");
    asked.member(w, "top_p", "null");
    asked.member(w, "truncation", r#""disabled""#);
    match head.usage {
        Some(usage) => w.object_member("usage", |w| write_usage(w, usage)),
        None => w.member("usage", &Null),
    }
    asked.member(w, "user", "null");
    asked.member(w, "metadata", "{}");
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(body: &str) -> Value {
        let head = Head {
            id: "resp_1",
            created_s: 1,
            model: "m",
            ended: ended(None, false),
            error: None,
            usage: None,
            service_tier: None,
            asked: &Asked::of(body.as_bytes()),
        };
        let text = Writer::object_text(|w| response(w, &head, |w| w.list_member("output", |_| {})));
        assert!(!text.contains(&b'\n'), "a response stands in one line");
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn what_was_asked_for_is_told_again() {
        let usual = told("");
        assert_eq!(
            (&usual["tools"], &usual["tool_choice"], &usual["metadata"]),
            (&json!([]), &json!("auto"), &json!({}))
        );
        assert!(usual.get("top_logprobs").is_none());
        let asked = json!({
            "instructions": "Be brief\n", "tools": [{ "type": "function", "name": "a", "parameters": {} }],
            "tool_choice": "required", "parallel_tool_calls": false, "temperature": 0.5, "top_p": 0.9,
            "metadata": { "k": "v" }, "reasoning": { "effort": "low" }, "text": { "format": { "type": "json_object" } },
            "truncation": "auto", "user": "u", "top_logprobs": 2, "max_output_tokens": 9, "max_tool_calls": 3,
        });
        let again = told(&serde_json::to_string_pretty(&asked).unwrap());
        for (name, value) in asked.as_object().unwrap() {
            assert_eq!(&again[name], value, "{name}");
        }
        for (body, why) in [
            (
                r#"{"tools":null,"store":true,"model":"other"}"#.to_owned(),
                "null is nothing asked; the rest is not the caller's to say",
            ),
            (format!(r#"{{"instructions":"{}"}}"#, "x".repeat(TOLD_BYTES_MAX)), "what is too large is left out"),
        ] {
            assert_eq!(told(&body), usual, "{why}");
        }
    }
}

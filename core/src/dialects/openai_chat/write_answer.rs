//! Whole answers, written for callers, and the pieces of them that streams share.

use super::finish_name;
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::part::{
    Citation, Kind, Maker, Media, MediaKind, Part, Reasoning, Signature, Source, ToolCall,
};
use crate::contract::skim::skim;
use crate::contract::usage::Usage;
use crate::contract::write::{Null, Writer};
use crate::dialects::openai_responses::own;
use crate::dialects::{Given, Written, unsaid};

/// In which form a caller is told calls, by what it declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Function,
    /// Of free text.
    Custom,
    /// `function_call`, of which an answer has one.
    Older,
}

/// The forms of a caller's tools.
#[derive(Debug, Default)]
pub struct Forms {
    own: Vec<String>,
    older: bool,
}

impl Forms {
    pub fn of(given: &Given<'_>) -> Forms {
        let own: Vec<String> = given.own_tools.iter().map(|name| (*name).to_owned()).collect();
        let older = !own.is_empty() && skim(given.asked).is_ok_and(|s| s.find(given.asked, "functions").is_some());
        Forms { own, older }
    }

    pub fn form(&self, name: &str) -> Form {
        match self.own.iter().any(|own| own == name) {
            false => Form::Function,
            true if self.older => Form::Older,
            true => Form::Custom,
        }
    }

    /// The older form has a reason of its own; a refusal that is said as one ends as everything ends.
    pub fn finish<'f>(&self, finish: &'f Finish, refuses: bool) -> &'f str {
        match finish {
            Finish::ToolCalls if self.older => "function_call",
            Finish::Refusal if refuses => "stop",
            other => finish_name(other),
        }
    }
}

pub fn write(answer: &Answer<'_>, given: &Given<'_>) -> Written {
    let forms = Forms::of(given);
    let body = Writer::object_text(|w| {
        head(w, &answer.id, "chat.completion", answer.created_s, &answer.model, given);
        w.list_member("choices", |w| {
            for choice in &answer.choices {
                w.object(|w| write_choice(w, choice, &forms));
            }
        });
        if let Some(usage) = &answer.usage {
            w.object_member("usage", |w| write_usage(w, usage));
        }
        w.member_some("service_tier", &answer.service_tier);
    });
    let parts = answer.choices.iter().flat_map(|choice| &choice.parts);
    Written { body, lost: unsaid::of_parts(parts, |media| picture(media).is_some()) }
}

/// What answers and chunks begin with.
pub fn head(w: &mut Writer, id: &str, object: &str, created_s: Option<i64>, model: &str, given: &Given<'_>) {
    match id.is_empty() {
        true => w.member("id", &format!("chatcmpl-{}", given.call_id)),
        false => w.member("id", id),
    }
    w.member("object", object);
    w.member("created", &created_s.unwrap_or(given.now_s));
    w.member("model", if model.is_empty() { given.model } else { model });
}

fn write_choice(w: &mut Writer, choice: &Choice<'_>, forms: &Forms) {
    w.member("index", &choice.index);
    w.object_member("message", |w| write_message(w, &choice.parts, forms));
    match choice.logprobs_json() {
        Some(raw) => w.member("logprobs", raw),
        None => w.member("logprobs", &Null),
    }
    let refuses = choice.parts.iter().any(|part| matches!(part.kind, Kind::Refusal(_)));
    w.member("finish_reason", choice.finish.as_ref().map_or("stop", |finish| forms.finish(finish, refuses)));
}

fn write_message(w: &mut Writer, parts: &[Part<'_>], forms: &Forms) {
    let (mut text, mut refusal, mut thoughts) = (None::<String>, None::<String>, None::<String>);
    for part in parts {
        match &part.kind {
            Kind::Text { text: said, .. } => text.get_or_insert_default().push_str(said),
            Kind::Refusal(said) => refusal.get_or_insert_default().push_str(said),
            Kind::Reasoning(reasoning) if !reasoning.text.is_empty() => {
                let known = thoughts.get_or_insert_default();
                if !known.is_empty() {
                    known.push_str("\n\n");
                }
                known.push_str(&reasoning.text);
            }
            Kind::Reasoning(_) | Kind::Media(_) | Kind::ToolCall(_) | Kind::ToolResult(_) | Kind::Native { .. } => {}
        }
    }
    let calls: Vec<&Part<'_>> = parts.iter().filter(|p| matches!(p.kind, Kind::ToolCall(_))).collect();
    w.member("role", "assistant");
    match text {
        Some(text) => w.member("content", &text),
        None if calls.is_empty() && refusal.is_none() => w.member("content", ""),
        None => w.member("content", &Null),
    }
    match refusal {
        Some(refusal) => w.member("refusal", &refusal),
        None => w.member("refusal", &Null),
    }
    w.member_some("reasoning_content", &thoughts);
    if parts.iter().any(is_sealed) {
        let thoughts = parts.iter().filter_map(|p| if let Kind::Reasoning(r) = &p.kind { Some((r, p)) } else { None });
        w.list_member("reasoning_details", |w| {
            for (at, (reasoning, part)) in (0..).zip(thoughts) {
                w.object(|w| write_detail(w, reasoning, part.signature.as_ref(), at));
            }
        });
    }
    write_calls(w, &calls, forms);
    annotations(w, parts);
    let drawn = || parts.iter().filter_map(|p| if let Kind::Media(media) = &p.kind { picture(media) } else { None });
    if drawn().next().is_some() {
        w.list_member("images", |w| {
            drawn().for_each(|(mime, data)| {
                w.object(|w| {
                    w.member("type", "image_url");
                    write_url(w, mime, data);
                });
            });
        });
    }
}

/// A picture that a model drew: its type and data.
fn picture<'m>(media: &'m Media<'_>) -> Option<(&'m str, &'m str)> {
    match (media.what, &media.source) {
        (MediaKind::Image, Source::Base64(data)) => Some((&media.mime, data)),
        (MediaKind::Image | MediaKind::Audio | MediaKind::Video | MediaKind::Document, _) => None,
    }
}

/// A picture, in the form that OpenRouter gave it.
pub fn write_url(w: &mut Writer, mime: &str, data: &str) {
    let mime = if mime.is_empty() { "image/png" } else { mime };
    w.object_member("image_url", |w| w.member("url", &format!("data:{mime};base64,{data}")));
}

fn write_calls(w: &mut Writer, calls: &[&Part<'_>], forms: &Forms) {
    let is_older = |part: &&&Part<'_>| matches!(&part.kind, Kind::ToolCall(c) if forms.form(&c.name) == Form::Older);
    if let Some(Part { kind: Kind::ToolCall(call), .. }) = calls.iter().find(is_older) {
        w.object_member("function_call", |w| {
            w.member("name", &call.name);
            w.member("arguments", call.arguments_json());
        });
    }
    if calls.iter().all(|part| is_older(&part)) {
        return;
    }
    w.list_member("tool_calls", |w| {
        for part in calls.iter().filter(|part| !is_older(part)) {
            if let Kind::ToolCall(call) = &part.kind {
                w.object(|w| write_call(w, call, part.signature.as_ref(), forms.form(&call.name)));
            }
        }
    });
}

fn is_sealed(part: &Part<'_>) -> bool {
    matches!(&part.kind, Kind::Reasoning(r) if r.encrypted.is_some() || part.signature.is_some())
}

/// Thoughts with their seal: callers that send them back keep the model's train of thought.
pub fn write_detail(w: &mut Writer, reasoning: &Reasoning<'_>, signature: Option<&Signature<'_>>, at: u64) {
    let kind = match (&reasoning.encrypted, reasoning.summary) {
        (Some(_), _) => "reasoning.encrypted",
        (None, true) => "reasoning.summary",
        (None, false) => "reasoning.text",
    };
    w.member("type", kind);
    match (reasoning.summary, reasoning.text.is_empty()) {
        (true, false) => w.member("summary", &reasoning.text),
        (false, false) => w.member("text", &reasoning.text),
        (_, true) => {}
    }
    w.member_some("data", &reasoning.encrypted);
    w.member_some("signature", &signature.map(|s| &s.data).filter(|data| !data.is_empty()));
    w.member_some("id", &reasoning.id);
    w.member("format", format_name(signature.map_or(Maker::Other, |s| s.by)));
    w.member("index", &at);
}

pub fn format_name(by: Maker) -> &'static str {
    match by {
        Maker::Anthropic => "anthropic-claude-v1",
        Maker::Google => "google-gemini-v1",
        Maker::Openai => "openai-responses-v1",
        Maker::Other => "unknown",
    }
}

fn write_call(w: &mut Writer, call: &ToolCall<'_>, signature: Option<&Signature<'_>>, form: Form) {
    w.member("id", &call.id);
    match form {
        Form::Custom => {
            w.member("type", "custom");
            w.object_member("custom", |w| {
                w.member("name", &call.name);
                w.member("input", &own::unwrap(&call.arguments));
            });
        }
        Form::Function | Form::Older => {
            w.member("type", "function");
            w.object_member("function", |w| {
                w.member("name", &call.name);
                w.member("arguments", call.arguments_json());
            });
        }
    }
    write_seal(w, signature);
}

/// Google's seal on a call, as its own compatible endpoint carries it.
pub fn write_seal(w: &mut Writer, signature: Option<&Signature<'_>>) {
    if let Some(Signature { by: Maker::Google, data }) = signature {
        w.object_member("extra_content", |w| w.object_member("google", |w| w.member("thought_signature", data)));
    }
}

fn annotations(w: &mut Writer, parts: &[Part<'_>]) {
    let cited: Vec<&Citation<'_>> = parts
        .iter()
        .filter_map(|p| if let Kind::Text { citations, .. } = &p.kind { Some(citations) } else { None })
        .flatten()
        .filter(|c| c.url.is_some())
        .collect();
    if cited.is_empty() {
        return;
    }
    w.list_member("annotations", |w| {
        for citation in cited {
            w.object(|w| {
                w.member("type", "url_citation");
                w.object_member("url_citation", |w| {
                    w.member_some("url", &citation.url);
                    w.member("title", citation.title.as_deref().unwrap_or_default());
                    w.member("start_index", &citation.start.unwrap_or(0));
                    w.member("end_index", &citation.end.unwrap_or(0));
                });
            });
        }
    });
}

pub fn write_usage(w: &mut Writer, usage: &Usage) {
    w.member("prompt_tokens", &usage.input_all());
    w.member("completion_tokens", &usage.output_all());
    w.member("total_tokens", &usage.total());
    w.object_member("prompt_tokens_details", |w| {
        w.member("cached_tokens", &usage.cached_input);
        w.member("audio_tokens", &usage.input_audio);
        let written = usage.cache_write.saturating_add(usage.cache_write_1h);
        if written > 0 {
            w.member("cache_write_tokens", &written);
        }
    });
    w.object_member("completion_tokens_details", |w| {
        w.member("reasoning_tokens", &usage.reasoning);
        w.member("audio_tokens", &usage.output_audio);
    });
}

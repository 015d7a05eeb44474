//! A request for a provider that speaks this dialect, in the ways that the provider has.

use std::borrow::Cow;

use super::able::fit;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Media, MediaKind, Message, Part, Role, Source, ToolCall, ToolResult};
use crate::contract::canonical::{Format, ReasoningAsk, Request, Tool, ToolChoice};
use crate::contract::write::Writer;
use crate::dialects::{Quirks, To, Written};

pub fn write(request: &Request<'_>, to: &To<'_>) -> Written {
    let mut lost = Vec::new();
    let mut writer = Writer::with_capacity(1_024);
    writer.object(|w| {
        w.member("model", to.model);
        w.list_member("messages", |w| {
            for message in &request.messages {
                write_message(w, message, to.quirks, &mut lost);
            }
        });
        tools(w, request, to.quirks);
        sampling(w, request, to, &mut lost);
        if let Some(format) = &request.format {
            write_format(w, format);
        }
        if request.stream {
            w.member("stream", &true);
            if !to.quirks.no_stream_options {
                w.object_member("stream_options", |w| w.member("include_usage", &true));
            }
        }
        labels(w, request, to.quirks);
    });
    Written { body: writer.into_bytes(), lost }
}

/// Is it said here? What the dialect carries and the provider does not was told as lost.
fn has(quirks: &Quirks, element: Element) -> bool {
    !quirks.lacks.contains(&element)
}

fn write_message(w: &mut Writer, message: &Message<'_>, quirks: &Quirks, lost: &mut Vec<Loss>) {
    // Results of tools are messages of their own, and stand before what the user says to them.
    let mut pictures = Vec::new();
    for part in &message.parts {
        if let Kind::ToolResult(result) = &part.kind {
            tool_result(w, result, quirks, &mut pictures);
        }
    }
    if message.role == Role::Assistant {
        return assistant(w, message, quirks);
    }
    let said: Vec<&Part<'_>> =
        message.parts.iter().filter(|p| !matches!(p.kind, Kind::ToolResult(_))).chain(pictures).collect();
    if said.is_empty() && message.role != Role::User {
        return;
    }
    if said.is_empty() && message.parts.iter().any(|p| matches!(p.kind, Kind::ToolResult(_))) {
        return;
    }
    w.object(|w| {
        w.member(
            "role",
            match message.role {
                Role::Developer if !quirks.no_developer => "developer",
                Role::System | Role::Developer => "system",
                Role::User | Role::Tool | Role::Assistant => "user",
            },
        );
        if let Some(name) = message.name.as_ref().filter(|_| has(quirks, Element::MessageName)) {
            w.member("name", name);
        }
        content(w, &said, lost);
    });
}

/// One text stands as a text: every server takes that, not all take a list.
fn content(w: &mut Writer, said: &[&Part<'_>], lost: &mut Vec<Loss>) {
    if let [] | [Part { kind: Kind::Text { .. }, .. }] = said {
        w.member("content", said.first().and_then(|p| p.as_text()).unwrap_or_default());
        return;
    }
    w.list_member("content", |w| {
        for part in said {
            match &part.kind {
                Kind::Text { text, .. } | Kind::Refusal(text) => text_part(w, text),
                Kind::Media(media) => write_media(w, media, lost),
                Kind::ToolCall(_) | Kind::ToolResult(_) | Kind::Reasoning(_) | Kind::Native { .. } => {}
            }
        }
    });
}

fn text_part(w: &mut Writer, text: &str) {
    w.object(|w| {
        w.member("type", "text");
        w.member("text", text);
    });
}

fn write_media(w: &mut Writer, media: &Media<'_>, lost: &mut Vec<Loss>) {
    let data_url = |data: &str, default: &str| {
        let mime = if media.mime.is_empty() { default } else { &media.mime };
        format!("data:{mime};base64,{data}")
    };
    match (media.what, &media.source) {
        (MediaKind::Image, Source::Url(_) | Source::Base64(_)) => w.object(|w| {
            w.member("type", "image_url");
            w.object_member("image_url", |w| {
                match &media.source {
                    Source::Base64(data) => w.member("url", &data_url(data, "image/png")),
                    Source::Url(url) | Source::File(url) | Source::Text(url) => w.member("url", url),
                }
                w.member_some("detail", &media.detail);
            });
        }),
        (MediaKind::Audio, Source::Base64(data)) => w.object(|w| {
            w.member("type", "input_audio");
            w.object_member("input_audio", |w| {
                w.member("data", data);
                w.member(
                    "format",
                    match media.mime.rsplit('/').next().unwrap_or_default() {
                        "mpeg" | "mp3" => "mp3",
                        other => other.trim_start_matches("x-"),
                    },
                );
            });
        }),
        (MediaKind::Document, Source::Text(_)) => text_part(w, &media.words().unwrap_or_default()),
        (_, Source::File(id)) => file(w, |w| w.member("file_id", id)),
        (MediaKind::Document, Source::Base64(data)) => file(w, |w| {
            w.member("filename", media.name.as_deref().unwrap_or("document"));
            w.member("file_data", &data_url(data, "application/pdf"));
        }),
        // What the table says is not carried was told before; a wrong pairing is told here.
        (MediaKind::Image, Source::Text(_)) | (MediaKind::Audio | MediaKind::Video, _) => {
            lost.push(Loss::value(Element::MediaUrl, "this kind of media cannot be sent so"));
        }
        // Told as lost where the provider takes none.
        (MediaKind::Document, Source::Url(url)) => file(w, |w| {
            w.member("filename", media.name.as_deref().unwrap_or("document"));
            w.member("file_data", url);
        }),
    }
}

fn file(w: &mut Writer, write: impl FnOnce(&mut Writer)) {
    w.object(|w| {
        w.member("type", "file");
        w.object_member("file", write);
    });
}

fn tool_result<'p, 'a>(w: &mut Writer, result: &'p ToolResult<'a>, quirks: &Quirks, pictures: &mut Vec<&'p Part<'a>>) {
    let texts: Vec<&str> = result.parts.iter().filter_map(Part::as_text).collect();
    let media: Vec<&Part<'_>> = result.parts.iter().filter(|p| matches!(p.kind, Kind::Media(_))).collect();
    w.object(|w| {
        w.member("role", "tool");
        w.member("tool_call_id", &call_id(&result.call_id, quirks));
        if texts.is_empty() && !media.is_empty() {
            w.member("content", "(what the tool gave stands in the next message)");
        } else {
            w.member("content", &texts.join("\n"));
        }
    });
    pictures.extend(media);
}

fn assistant(w: &mut Writer, message: &Message<'_>, quirks: &Quirks) {
    let texts: Vec<&str> = message.parts.iter().filter_map(Part::as_text).collect();
    let calls: Vec<(&ToolCall<'_>, &Part<'_>)> = message
        .parts
        .iter()
        .filter_map(|p| if let Kind::ToolCall(call) = &p.kind { Some((call, p)) } else { None })
        .collect();
    w.object(|w| {
        w.member("role", "assistant");
        if let Some(name) = message.name.as_ref().filter(|_| has(quirks, Element::MessageName)) {
            w.member("name", name);
        }
        match texts.is_empty() && !calls.is_empty() {
            true => w.json_member("content", "null"),
            false => w.member("content", &texts.concat()),
        }
        for part in &message.parts {
            match &part.kind {
                Kind::Refusal(text) => w.member("refusal", text),
                Kind::Reasoning(reasoning)
                    if quirks.has.contains(&Element::ReasoningText) && !reasoning.text.is_empty() =>
                {
                    w.member("reasoning_content", &reasoning.text);
                }
                Kind::Text { .. }
                | Kind::Reasoning(_)
                | Kind::Media(_)
                | Kind::ToolCall(_)
                | Kind::ToolResult(_)
                | Kind::Native { .. } => {}
            }
        }
        if !calls.is_empty() {
            w.list_member("tool_calls", |w| calls.iter().for_each(|(call, _)| write_call(w, call, quirks)));
        }
    });
}

fn write_call(w: &mut Writer, call: &ToolCall<'_>, quirks: &Quirks) {
    w.object(|w| {
        w.member("id", &call_id(&call.id, quirks));
        w.member("type", "function");
        w.object_member("function", |w| {
            w.member("name", &call.name);
            w.member("arguments", call.arguments_json());
        });
    });
}

/// The id as the provider takes it: a pure function of the id, so that a call and its result still match.
pub fn call_id<'a>(id: &'a str, quirks: &Quirks) -> Cow<'a, str> {
    let (chars, fits) = match (quirks.call_id_chars, quirks.call_id_chars_max) {
        (Some(chars), _) => (chars, id.len() == chars && id.bytes().all(|b| b.is_ascii_alphanumeric())),
        (None, Some(most)) => (most, id.chars().count() <= most),
        (None, None) => return Cow::Borrowed(id),
    };
    if fits {
        return Cow::Borrowed(id);
    }
    Cow::Owned(blake3::hash(id.as_bytes()).to_hex().chars().take(chars).collect())
}

fn tools(w: &mut Writer, request: &Request<'_>, quirks: &Quirks) {
    let functions: Vec<_> = request
        .tools
        .iter()
        .filter_map(|tool| match tool {
            Tool::Function(function) => Some(function),
            Tool::Native { .. } => None,
        })
        .collect();
    if functions.is_empty() {
        return;
    }
    w.list_member("tools", |w| {
        for function in functions {
            w.object(|w| {
                w.member("type", "function");
                w.object_member("function", |w| {
                    w.member("name", &function.name);
                    w.member_some("description", &function.description);
                    w.member_some("parameters", &function.parameters);
                    if has(quirks, Element::ToolStrict) {
                        w.member_some("strict", &function.strict);
                    }
                });
            });
        }
    });
    if let Some(choice) = &request.tool_choice {
        write_choice(w, choice, quirks);
    }
    if let Some(parallel) = request.parallel_tools.filter(|_| has(quirks, Element::ParallelTools)) {
        w.member("parallel_tool_calls", &parallel);
    }
}

fn write_choice(w: &mut Writer, choice: &ToolChoice<'_>, quirks: &Quirks) {
    let required = quirks.tool_required.unwrap_or("required");
    let function = |w: &mut Writer, name: &str| {
        w.member("type", "function");
        w.object_member("function", |w| w.member("name", name));
    };
    match choice {
        ToolChoice::Auto => w.member("tool_choice", "auto"),
        ToolChoice::None => w.member("tool_choice", "none"),
        ToolChoice::Required => w.member("tool_choice", required),
        ToolChoice::Named(name) => w.object_member("tool_choice", |w| function(w, name)),
        ToolChoice::Among { names, required } => w.object_member("tool_choice", |w| {
            w.member("type", "allowed_tools");
            w.object_member("allowed_tools", |w| {
                w.member("mode", if *required { "required" } else { "auto" });
                w.list_member("tools", |w| names.iter().for_each(|name| w.object(|w| function(w, name))));
            });
        }),
    }
}

fn sampling(w: &mut Writer, request: &Request<'_>, to: &To<'_>, lost: &mut Vec<Loss>) {
    let quirks = to.quirks;
    let named =
        |name: &'static str| quirks.renamed.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, theirs)| *theirs);
    let fit = fit(request, to.model, |element| has(quirks, element), lost);
    w.member_some(quirks.max_tokens.unwrap_or("max_completion_tokens"), &request.max_tokens);
    w.member_some(named("temperature"), &fit.temperature);
    w.member_some(named("top_p"), &fit.top_p);
    for (element, name, value) in [
        (Element::FrequencyPenalty, "frequency_penalty", &request.frequency_penalty),
        (Element::PresencePenalty, "presence_penalty", &request.presence_penalty),
        (Element::Seed, "seed", &request.seed),
    ] {
        if has(quirks, element) {
            w.member_some(named(name), value);
        }
    }
    if quirks.has.contains(&Element::TopK) {
        w.member_some("top_k", &request.top_k);
    }
    if !request.stop.is_empty() && has(quirks, Element::Stop) {
        w.texts_member("stop", &request.stop);
    }
    if has(quirks, Element::SeveralAnswers) {
        w.member_some("n", &request.n.filter(|n| *n > 1));
    }
    if let Some(logprobs) = request.logprobs.filter(|_| has(quirks, Element::Logprobs)) {
        w.member("logprobs", &true);
        w.member_some("top_logprobs", &logprobs.top);
    }
    if has(quirks, Element::LogitBias) {
        w.member_some("logit_bias", &request.logit_bias);
    }
    w.member_some("reasoning_effort", &fit.effort);
    if request.reasoning.is_some() && fit.effort.is_none() && has(quirks, Element::ReasoningAsked) {
        lost.push(Loss::value(Element::ReasoningAsked, "it has no effort that can be named here"));
    }
}

/// Budgets in tokens as the efforts that they stand for.
pub fn effort<'a>(ask: &'a ReasoningAsk<'_>) -> Option<Cow<'a, str>> {
    match (&ask.effort, ask.budget_tokens) {
        (Some(effort), _) => Some(Cow::Borrowed(effort)),
        (None, Some(0)) => Some("none".into()),
        (None, Some(..=2_048)) => Some("low".into()),
        (None, Some(..=16_384)) => Some("medium".into()),
        (None, Some(_)) => Some("high".into()),
        (None, None) if ask.adaptive => Some("medium".into()),
        (None, None) => None,
    }
}

fn write_format(w: &mut Writer, format: &Format<'_>) {
    w.object_member("response_format", |w| match format {
        Format::Json => w.member("type", "json_object"),
        Format::Schema { name, description, schema, strict } => {
            w.member("type", "json_schema");
            w.object_member("json_schema", |w| {
                w.member("name", name.as_deref().unwrap_or("answer"));
                w.member_some("description", description);
                w.member("schema", schema);
                w.member_some("strict", strict);
            });
        }
    });
}

fn labels(w: &mut Writer, request: &Request<'_>, quirks: &Quirks) {
    for (element, name, value) in [
        (Element::Verbosity, "verbosity", &request.verbosity),
        (Element::ServiceTier, "service_tier", &request.service_tier),
        (Element::User, "user", &request.user),
        (Element::CacheKey, "prompt_cache_key", &request.cache_key),
    ] {
        if has(quirks, element) {
            w.member_some(name, value);
        }
    }
    if has(quirks, Element::Metadata) {
        w.member_some("metadata", &request.metadata);
    }
    if has(quirks, Element::NotStored) {
        w.member_some("store", &request.store);
    }
}

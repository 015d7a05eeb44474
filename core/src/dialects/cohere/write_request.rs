//! A request as Cohere reads it.

use super::message::{self, For, write_assistant, write_text};
use super::{carries, documents, tools};
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Media, MediaKind, Message, Part, Role, Source, ToolResult};
use crate::contract::canonical::{Format, ReasoningAsk, Request, ToolChoice};
use crate::contract::read::Number;
use crate::contract::write::Writer;
use crate::dialects::{To, Written};

/// Cohere's own bounds.
const STOPS_MAX: usize = 5;
const TOP_K_MAX: u64 = 500;

pub fn write(request: &Request<'_>, to: &To<'_>) -> Written {
    let mut lost = Vec::new();
    let body = Writer::object_text(|w| {
        w.member("model", to.model);
        w.list_member("messages", |w| {
            request.messages.iter().for_each(|message| write_message(w, message, &mut lost));
        });
        w.member("stream", &request.stream);
        write_documents(w, request);
        write_tools(w, request, &mut lost);
        write_sampling(w, request, to, &mut lost);
        match &request.format {
            None => {}
            Some(Format::Json) => w.object_member("response_format", |w| w.member("type", "json_object")),
            Some(Format::Schema { schema, .. }) => w.object_member("response_format", |w| {
                w.member("type", "json_object");
                w.member("json_schema", schema);
            }),
        }
        if let Some(ask) = &request.reasoning {
            write_thinking(w, ask, &mut lost);
        }
    });
    Written { body, lost }
}

fn write_documents(w: &mut Writer, request: &Request<'_>) {
    let documents = documents::of(&request.messages);
    if documents.is_empty() {
        return;
    }
    w.list_member("documents", |w| documents.iter().for_each(|(media, text)| documents::write(w, media, text)));
    if !documents.iter().any(|(media, _)| media.cite) {
        w.object_member("citation_options", |w| w.member("mode", "OFF"));
    }
}

fn write_message(w: &mut Writer, message: &Message<'_>, lost: &mut Vec<Loss>) {
    for part in &message.parts {
        if let Kind::ToolResult(result) = &part.kind {
            write_result(w, result, lost);
        }
    }
    let role = match message.role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => {
            // One of which nothing can be said is left out: a bare role would be refused.
            if message.parts.iter().any(message::is_said) {
                w.object(|w| {
                    w.member("role", "assistant");
                    write_assistant(w, &message.parts, For::Provider, lost);
                });
            }
            return;
        }
        Role::Tool => return,
    };
    let blocks: Vec<&Part<'_>> = message.parts.iter().filter(|part| is_block(part)).collect();
    let only_results = blocks.is_empty() && message.parts.iter().any(|p| matches!(p.kind, Kind::ToolResult(_)));
    if only_results {
        return;
    }
    w.object(|w| {
        w.member("role", role);
        match &*blocks {
            [] => w.member("content", ""),
            [Part { kind: Kind::Text { text, .. } | Kind::Refusal(text), .. }] => w.member("content", text),
            _ => w.list_member("content", |w| blocks.iter().for_each(|part| write_block(w, part))),
        }
    });
}

/// A block of somebody else's content. Documents stand beside the messages.
fn is_block(part: &Part<'_>) -> bool {
    match &part.kind {
        Kind::Text { .. } | Kind::Refusal(_) => true,
        Kind::Media(media) => image_url(media).is_some(),
        Kind::ToolCall(_) | Kind::ToolResult(_) | Kind::Reasoning(_) | Kind::Native { .. } => false,
    }
}

fn write_block(w: &mut Writer, part: &Part<'_>) {
    match &part.kind {
        Kind::Text { text, .. } | Kind::Refusal(text) => write_text(w, text),
        Kind::Media(media) => w.object(|w| {
            w.member("type", "image_url");
            w.object_member("image_url", |w| {
                w.member_some("url", &image_url(media));
                w.member_some("detail", &media.detail);
            });
        }),
        Kind::ToolCall(_) | Kind::ToolResult(_) | Kind::Reasoning(_) | Kind::Native { .. } => {}
    }
}

fn image_url(media: &Media<'_>) -> Option<String> {
    match (media.what, &media.source) {
        (MediaKind::Image, Source::Url(url)) => Some(url.clone().into_owned()),
        (MediaKind::Image, Source::Base64(data)) => {
            let mime = if media.mime.is_empty() { "image/png" } else { &*media.mime };
            Some(format!("data:{mime};base64,{data}"))
        }
        (MediaKind::Image, Source::File(_) | Source::Text(_)) => None,
        (MediaKind::Audio | MediaKind::Video | MediaKind::Document, _) => None,
    }
}

fn write_result(w: &mut Writer, result: &ToolResult<'_>, lost: &mut Vec<Loss>) {
    w.object(|w| {
        w.member("role", "tool");
        w.member("tool_call_id", &result.call_id);
        match &*result.parts {
            [] => w.member("content", ""),
            [Part { kind: Kind::Text { text, .. }, .. }] => w.member("content", text),
            parts => w.list_member("content", |w| parts.iter().for_each(|part| write_found(w, part, lost))),
        }
    });
}

/// A block of a tool's result.
fn write_found(w: &mut Writer, part: &Part<'_>, lost: &mut Vec<Loss>) {
    match &part.kind {
        Kind::Text { text, .. } | Kind::Refusal(text) => write_text(w, text),
        Kind::Media(media) => match documents::text_of(media) {
            Some(text) => w.object(|w| {
                w.member("type", "document");
                documents::write(w.key("document"), media, text);
            }),
            None => {
                lost.push(Loss::value(Element::ToolResultMedia, "a result holds texts and documents with text only"))
            }
        },
        Kind::ToolCall(_) | Kind::ToolResult(_) | Kind::Reasoning(_) | Kind::Native { .. } => {}
    }
}

fn write_tools(w: &mut Writer, request: &Request<'_>, lost: &mut Vec<Loss>) {
    let functions = tools::offered(request);
    if functions.is_empty() {
        return;
    }
    w.list_member("tools", |w| functions.iter().for_each(|function| tools::write(w, function)));
    let strict = functions.iter().filter(|f| f.strict == Some(true)).count();
    if strict == functions.len() {
        w.member("strict_tools", &true);
    } else if strict > 0 {
        lost.push(Loss::value(Element::ToolStrict, "either all tools are strict or none is"));
    } else if functions.iter().all(|f| f.strict == Some(false)) {
        w.member("strict_tools", &false);
    }
    match &request.tool_choice {
        None | Some(ToolChoice::Auto | ToolChoice::Among { required: false, .. }) => {}
        Some(ToolChoice::None) => w.member("tool_choice", "NONE"),
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Among { required: true, .. }) => {
            w.member("tool_choice", "REQUIRED");
        }
    }
}

fn write_sampling(w: &mut Writer, request: &Request<'_>, to: &To<'_>, lost: &mut Vec<Loss>) {
    let says = |element: Element| carries(element) && !to.quirks.lacks.contains(&element);
    w.member_some("max_tokens", &request.max_tokens);
    w.member_some("temperature", &request.temperature.as_ref().filter(|_| says(Element::Temperature)));
    // 1 is no bound, and more than Cohere lets be said.
    w.member_some("p", &request.top_p.as_ref().filter(|p| says(Element::TopP) && p.float() != 1.0));
    w.member_some("k", &request.top_k.filter(|_| says(Element::TopK)));
    if request.top_k.is_some_and(|k| k > TOP_K_MAX) {
        lost.push(Loss::value(Element::TopK, format!("it is at most {TOP_K_MAX}")));
    }
    let penalties = [
        ("frequency_penalty", &request.frequency_penalty, Element::FrequencyPenalty),
        ("presence_penalty", &request.presence_penalty, Element::PresencePenalty),
    ];
    for (name, value, element) in penalties {
        let within = |n: &&Number<'_>| (0.0..=1.0).contains(&n.float());
        w.member_some(name, &value.as_ref().filter(|_| says(element)).filter(within));
        if value.as_ref().is_some_and(|n| !within(&n)) {
            lost.push(Loss::value(element, "it is from 0 to 1"));
        }
    }
    w.member_some("seed", &request.seed.as_ref().filter(|_| says(Element::Seed)));
    if !request.stop.is_empty() && says(Element::Stop) {
        w.texts_member("stop_sequences", &request.stop[..request.stop.len().min(STOPS_MAX)]);
        if request.stop.len() > STOPS_MAX {
            lost.push(Loss::value(Element::Stop, format!("there are at most {STOPS_MAX}")));
        }
    }
    if let Some(logprobs) = request.logprobs.filter(|_| says(Element::Logprobs)) {
        w.member("logprobs", &true);
        if logprobs.top.is_some_and(|top| top > 0) {
            lost.push(Loss::value(Element::Logprobs, "alternatives are not told"));
        }
    }
}

/// Thinking is on, on with a bound, or off; there are no degrees.
fn write_thinking(w: &mut Writer, ask: &ReasoningAsk<'_>, lost: &mut Vec<Loss>) {
    let off = ask.budget_tokens == Some(0) || ask.effort.as_deref() == Some("none");
    let asks = ask.budget_tokens.is_some() || ask.effort.is_some() || ask.adaptive;
    if asks {
        w.object_member("thinking", |w| {
            w.member("type", if off { "disabled" } else { "enabled" });
            w.member_some("token_budget", &ask.budget_tokens.filter(|_| !off));
        });
    }
    if let Some(effort) = ask.effort.as_deref().filter(|_| !off && ask.budget_tokens.is_none()) {
        let why = format!("thinking is on or off, or bounded by tokens: `{effort}` is said as on");
        lost.push(Loss::value(Element::ReasoningAsked, why));
    }
    if ask.show.as_deref() == Some("") {
        lost.push(Loss::value(Element::ReasoningShown, "thoughts are always shown"));
    }
}

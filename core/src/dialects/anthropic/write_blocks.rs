//! Blocks of content, written: for a provider in requests, for a caller in answers.

use std::borrow::Cow;

use super::blocks::cites_here;
use crate::contract::canonical::CacheMark;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{
    Citation, Kind, Maker, Media, MediaKind, Part, Reasoning, Signature, Source, ToolCall, ToolResult,
};
use crate::contract::read::is_object;
use crate::contract::write::Writer;
use crate::dialects::sealed;

/// The provider takes so many marks in one request.
pub const MARKS_MAX: usize = 4;

/// Marks for the prompt cache: where there are too many, the last ones stand behind the most.
#[derive(Debug)]
pub struct Marks {
    skip: usize,
}

impl Marks {
    pub fn of(count: usize) -> Self {
        Marks { skip: count.saturating_sub(MARKS_MAX) }
    }

    /// For a provider that takes none.
    pub fn none() -> Self {
        Marks { skip: usize::MAX }
    }

    pub fn write(&mut self, w: &mut Writer, mark: Option<CacheMark>) {
        let Some(mark) = mark else { return };
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        w.object_member("cache_control", |w| {
            w.member("type", "ephemeral");
            match mark {
                CacheMark::Minutes5 => {}
                CacheMark::Hour => w.member("ttl", "1h"),
            }
        });
    }
}

/// Content of a message, of the system, of a result: a text alone is said as a text.
pub fn content(w: &mut Writer, parts: &[&Part<'_>], marks: &mut Marks, lost: &mut Vec<Loss>) {
    match parts {
        [] => w.value(""),
        [Part { kind: Kind::Text { text, citations }, cache: None, .. }] if citations.is_empty() => w.value(text),
        _ => w.list(|w| parts.iter().for_each(|part| block(w, part, marks, lost))),
    }
}

fn block(w: &mut Writer, part: &Part<'_>, marks: &mut Marks, lost: &mut Vec<Loss>) {
    match &part.kind {
        Kind::Native { json, .. } => return w.value(*json),
        Kind::Reasoning(reasoning) => return own_thoughts(w, reasoning, part.signature.as_ref()),
        Kind::Text { .. } | Kind::Refusal(_) | Kind::Media(_) | Kind::ToolCall(_) | Kind::ToolResult(_) => {}
    }
    w.object(|w| {
        match &part.kind {
            Kind::Text { text, citations } => text_block(w, text, citations),
            Kind::Refusal(text) => text_block(w, text, &[]),
            Kind::Media(media) => media_block(w, media),
            Kind::ToolCall(call) => call_block(w, call, lost),
            Kind::ToolResult(result) => result_block(w, result, marks, lost),
            Kind::Reasoning(_) | Kind::Native { .. } => {}
        }
        marks.write(w, part.cache);
    });
}

/// Citations of others lack what this provider needs to find the place again.
fn text_block(w: &mut Writer, text: &str, citations: &[Citation<'_>]) {
    w.member("type", "text");
    w.member("text", text);
    let own: Vec<_> = citations.iter().filter_map(|c| c.json.filter(|json| cites_here(json))).collect();
    if !own.is_empty() {
        w.list_member("citations", |w| own.iter().for_each(|json| w.value(*json)));
    }
}

/// Thoughts of the dialect's own maker; those of others were left out before.
fn own_thoughts(w: &mut Writer, reasoning: &Reasoning<'_>, signature: Option<&Signature<'_>>) {
    match &reasoning.encrypted {
        Some(data) => redacted(w, data),
        None => w.object(|w| {
            w.member("type", "thinking");
            w.member("thinking", &reasoning.text);
            w.member("signature", signature.map_or("", |s| &s.data));
        }),
    }
}

pub fn redacted(w: &mut Writer, data: &str) {
    w.object(|w| {
        w.member("type", "redacted_thinking");
        w.member("data", data);
    });
}

/// A seal for a caller to send back: bare where it is the dialect's own maker's. `None` = nobody could be given it.
pub fn seal(by: Maker, data: &str) -> Option<Cow<'_, str>> {
    match by {
        Maker::Anthropic => Some(Cow::Borrowed(data)),
        Maker::Google | Maker::Openai | Maker::Other => {
            sealed::tag(&Signature { by, data: Cow::Borrowed(data) }).map(Cow::Owned)
        }
    }
}

fn media_block(w: &mut Writer, media: &Media<'_>) {
    let is_document = media.what == MediaKind::Document;
    w.member("type", if is_document { "document" } else { "image" });
    w.object_member("source", |w| match &media.source {
        Source::Base64(data) => {
            w.member("type", "base64");
            w.member("media_type", mime(media).unwrap_or_default());
            w.member("data", data);
        }
        Source::Url(url) => {
            w.member("type", "url");
            w.member("url", url);
        }
        Source::File(id) => {
            w.member("type", "file");
            w.member("file_id", id);
        }
        Source::Text(text) => {
            w.member("type", "text");
            w.member("media_type", "text/plain");
            w.member("data", text);
        }
    });
    if is_document {
        w.member_some("title", &media.name);
        w.member_some("context", &media.context);
        if media.cite {
            w.object_member("citations", |w| w.member("enabled", &true));
        }
    }
}

/// The type of data that the provider takes; data without one is known by its first letters.
fn mime<'m>(media: &'m Media<'_>) -> Option<&'m str> {
    let Source::Base64(data) = &media.source else { return None };
    let begins = |begins: &str| data.starts_with(begins);
    match (media.what, &*media.mime) {
        (MediaKind::Document, "application/pdf") => Some("application/pdf"),
        (MediaKind::Document, "") if begins("JVBERi") => Some("application/pdf"),
        (MediaKind::Image, known @ ("image/jpeg" | "image/png" | "image/gif" | "image/webp")) => Some(known),
        (MediaKind::Image, "image/jpg") => Some("image/jpeg"),
        (MediaKind::Image, "" | "image/*") if begins("/9j/") => Some("image/jpeg"),
        (MediaKind::Image, "" | "image/*") if begins("iVBOR") => Some("image/png"),
        (MediaKind::Image, "" | "image/*") if begins("R0lGOD") => Some("image/gif"),
        (MediaKind::Image, "" | "image/*") if begins("UklGR") => Some("image/webp"),
        (MediaKind::Document | MediaKind::Image | MediaKind::Audio | MediaKind::Video, _) => None,
    }
}

/// Can it be said? `Err(None)` where that was told already, by the element.
pub fn sayable(media: &Media<'_>) -> Result<(), Option<Loss>> {
    let not = |element, why: String| Err(Some(Loss::value(element, why)));
    match (media.what, &media.source) {
        (MediaKind::Audio | MediaKind::Video, _) => Err(None),
        (_, Source::File(id)) if !id.starts_with("file_") => {
            not(Element::FileId, format!("`{id}` is no file of this provider"))
        }
        (MediaKind::Image, Source::Base64(_)) if mime(media).is_none() => {
            not(Element::ImageBase64, format!("`{}`: pictures are JPEG, PNG, GIF or WebP", media.mime))
        }
        (MediaKind::Image, Source::Text(_)) => not(Element::ImageBase64, "a text is no picture".to_owned()),
        (MediaKind::Document, Source::Base64(_)) if mime(media).is_none() => {
            not(Element::DocumentBase64, format!("`{}`: documents are PDF, or plain text", media.mime))
        }
        (MediaKind::Image | MediaKind::Document, _) => Ok(()),
    }
}

fn call_block(w: &mut Writer, call: &ToolCall<'_>, lost: &mut Vec<Loss>) {
    w.member("type", "tool_use");
    w.member("id", &*call_id(&call.id));
    w.member("name", &call.name);
    match input(call) {
        Some(json) => w.json_member("input", json),
        None => {
            w.json_member("input", "{}");
            let told = format!("the arguments of call `{}` of `{}` are no JSON object", call.id, call.name);
            lost.push(Loss::value(Element::ToolCalls, told));
        }
    }
}

/// Arguments as an object; `None` where they are none.
pub fn input<'c>(call: &'c ToolCall<'_>) -> Option<&'c str> {
    let text = call.arguments_json();
    serde_json::from_str(text).is_ok_and(is_object).then_some(text)
}

fn result_block(w: &mut Writer, result: &ToolResult<'_>, marks: &mut Marks, lost: &mut Vec<Loss>) {
    w.member("type", "tool_result");
    w.member("tool_use_id", &*call_id(&result.call_id));
    let parts: Vec<&Part<'_>> = result.parts.iter().filter(|part| in_result(part, lost)).collect();
    match &parts[..] {
        [] => {}
        said => {
            w.key("content");
            content(w, said, marks, lost);
        }
    }
    if result.error {
        w.member("is_error", &true);
    }
}

fn in_result(part: &Part<'_>, lost: &mut Vec<Loss>) -> bool {
    match &part.kind {
        Kind::Text { .. } | Kind::Refusal(_) => true,
        Kind::Media(media) => match sayable(media) {
            Ok(()) => true,
            Err(told) => {
                // Of a result only the kind of thing was told, not whether it can be said here.
                lost.push(told.unwrap_or_else(|| Loss::value(Element::ToolResultMedia, "sound or film in a result")));
                false
            }
        },
        Kind::Native { kind, .. } => is_own(kind),
        Kind::ToolCall(_) | Kind::ToolResult(_) | Kind::Reasoning(_) => false,
    }
}

/// Is it a block of this dialect? Others name theirs differently (`web_search_call`, `executableCode`).
pub fn is_own(kind: &str) -> bool {
    const OWN: [&str; 9] = [
        "server_tool_use",
        "mcp_tool_use",
        "container_upload",
        "search_result",
        "document",
        "tool_reference",
        "tool_addition",
        "tool_removal",
        "fallback",
    ];
    OWN.contains(&kind) || kind.ends_with("_tool_result")
}

/// The provider takes letters, digits, `_` and `-`. Another id becomes one that is told by it alone, so that call and
/// result still match.
pub fn call_id<'a>(id: &'a str) -> Cow<'a, str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match !id.is_empty() && id.bytes().all(fits) {
        true => Cow::Borrowed(id),
        false => Cow::Owned(format!("toolu_{}", &blake3::hash(id.as_bytes()).to_hex()[..24])),
    }
}

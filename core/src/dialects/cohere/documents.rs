//! Documents: what an answer may rest on. They stand beside the messages, or in the result of a tool.
//!
//! The canonical form knows text, title and context of a document; Cohere's have an id and whatever members their owner
//! chose, all of which the model sees. Those ride in the context, as JSON.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::contract::canonical::part::{Kind, Media, MediaKind, Message, Part, Source};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_null, loose};
use crate::contract::write::Writer;

/// Marks a document whose text is the JSON of its data, for it has no member `text`.
const DATA: &str = "application/json";

pub fn read_all<'a>(r: &mut Reading<'a>, raw: Raw<'a>, cite: bool) -> Result<Vec<Part<'a>>, Wrong> {
    r.each(raw, |r, raw| match as_text(raw) {
        Some(text) => Ok(part(Source::Text(text), cite)),
        None => read(r, raw, cite),
    })
}

/// `{id, data: {text, title, ...}}`.
pub fn read<'a>(r: &mut Reading<'a>, raw: Raw<'a>, cite: bool) -> Result<Part<'a>, Wrong> {
    let (mut id, mut data) = (None, None);
    for (name, raw) in r.object(raw)? {
        match &*name {
            "id" if !is_null(raw) => id = Some(r.within("id", |r| r.text(raw))?),
            "data" => data = Some(raw),
            _ => r.extra(&name, raw),
        }
    }
    let data = data.ok_or_else(|| r.wrong("must have `data`"))?;
    let mut context = Writer::default();
    let mut document = Media::of(MediaKind::Document, Source::Text(Cow::Borrowed("")), "");
    document.cite = cite;
    let text = as_text(data);
    let members = if text.is_some() { Vec::new() } else { r.within("data", |r| r.object(data))? };
    let own_text = find(&members, "text").and_then(as_text);
    if text.is_none() && own_text.is_none() {
        document.mime = DATA.into();
        document.source = Source::Text(data.get().into());
    } else {
        document.name = find(&members, "title").and_then(as_text);
        document.source = Source::Text(text.or(own_text).unwrap_or_default());
    }
    let taken = |name: &str, raw: Raw<'_>| {
        document.mime == DATA || name == "text" || (name == "title" && as_text(raw).is_some())
    };
    let more: Vec<_> = members.iter().filter(|(name, raw)| !taken(name, raw)).collect();
    if id.is_some() || !more.is_empty() {
        context.object(|w| {
            w.member_some("id", &id);
            if !more.is_empty() {
                w.object_member("data", |w| more.iter().for_each(|(name, raw)| w.member(name, *raw)));
            }
        });
        document.context = String::from_utf8(context.into_bytes()).ok().map(Cow::Owned);
    }
    Ok(Kind::Media(document).into())
}

/// A document in a result is how a tool's data is given here: elsewhere it is the result's own text, all members of it.
pub fn as_text_of_tool(part: &mut Part<'_>) {
    let Kind::Media(Media { what: MediaKind::Document, source: Source::Text(text), name, context, .. }) =
        &mut part.kind
    else {
        return;
    };
    let more = context.as_deref().and_then(|context| serde_json::from_str::<&RawValue>(context).ok()).map(loose);
    let more = more.and_then(|members| find(&members, "data")).map(loose).unwrap_or_default();
    let said = std::mem::take(text);
    let text = match name.is_none() && more.is_empty() {
        true => said.into_owned(),
        false => {
            let json = Writer::object_text(|w| {
                w.member_some("title", name);
                w.member("text", &said);
                more.iter().for_each(|(name, raw)| w.member(name, *raw));
            });
            String::from_utf8_lossy(&json).into_owned()
        }
    };
    part.kind = Part::text(text).kind;
}

fn part<'a>(source: Source<'a>, cite: bool) -> Part<'a> {
    Kind::Media(Media { cite, ..Media::of(MediaKind::Document, source, "") }).into()
}

/// The text of a document that Cohere can be given.
pub fn text_of<'m>(media: &'m Media<'_>) -> Option<&'m str> {
    match (media.what, &media.source) {
        (MediaKind::Document, Source::Text(text)) => Some(text),
        (
            MediaKind::Document | MediaKind::Image | MediaKind::Audio | MediaKind::Video,
            Source::Base64(_) | Source::Url(_) | Source::File(_) | Source::Text(_),
        ) => None,
    }
}

/// All documents of a conversation, but for those in results of tools.
pub fn of<'m, 'a>(messages: &'m [Message<'a>]) -> Vec<(&'m Media<'a>, &'m str)> {
    let parts = messages.iter().flat_map(|m| &m.parts);
    let media = parts.filter_map(|part| match &part.kind {
        Kind::Media(media) => Some(media),
        Kind::Text { .. }
        | Kind::Refusal(_)
        | Kind::ToolCall(_)
        | Kind::ToolResult(_)
        | Kind::Reasoning(_)
        | Kind::Native { .. } => None,
    });
    media.filter_map(|media| Some((media, text_of(media)?))).collect()
}

/// As a value.
pub fn write(w: &mut Writer, media: &Media<'_>, text: &str) {
    let context = media.context.as_deref();
    let ours: Option<&RawValue> =
        context.and_then(|c| serde_json::from_str(c).ok()).filter(|raw: &&RawValue| ours(raw));
    let members = ours.map(loose).unwrap_or_default();
    w.object(|w| {
        if let Some(id) = find(&members, "id") {
            w.member("id", id);
        }
        if media.mime == DATA && text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok() {
            w.json_member("data", text);
            return;
        }
        w.object_member("data", |w| {
            w.member_some("title", &media.name);
            w.member("text", text);
            match ours {
                Some(_) => {
                    let data = find(&members, "data").map(loose).unwrap_or_default();
                    data.iter().for_each(|(name, raw)| w.member(name, *raw));
                }
                None => w.member_some("context", &context),
            }
        });
    });
}

/// A context that `read` made: an object with nothing but `id` and `data`.
fn ours(raw: Raw<'_>) -> bool {
    let members = loose(raw);
    !members.is_empty() && members.iter().all(|(name, _)| name == "id" || name == "data")
}

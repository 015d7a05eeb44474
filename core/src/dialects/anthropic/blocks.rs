//! Blocks of content, read: those of requests and of answers are the same.

use std::borrow::Cow;

use crate::contract::canonical::CacheMark;
use crate::contract::canonical::part::{
    Citation, Kind, Maker, Media, MediaKind, Part, Reasoning, Signature, Source, ToolCall, ToolResult,
};
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, find, is_list, is_null, is_object, loose};
use crate::dialects::sealed;

/// Before the data of a seal that belongs to the block before it; without it, to the one behind.
pub const BEHIND: char = '<';

enum Block<'a> {
    Part(Part<'a>),
    /// No thoughts, but the seal that another maker put on a neighbour.
    Seal(Signature<'a>),
}

pub fn read<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<Part<'a>>, Wrong> {
    let mut parts: Vec<Part<'a>> = Vec::new();
    let mut ahead = None;
    for block in r.each(raw, block)? {
        match block {
            Block::Part(mut part) => {
                if let Some(seal) = ahead.take() {
                    part.signature.get_or_insert(seal);
                }
                parts.push(part);
            }
            Block::Seal(seal) => match (seal.data.strip_prefix(BEHIND), parts.last_mut()) {
                (Some(data), Some(last)) => {
                    last.signature = Some(Signature { by: seal.by, data: data.to_owned().into() });
                }
                (Some(_), None) => {}
                (None, _) => ahead = Some(seal),
            },
        }
    }
    Ok(parts)
}

fn block<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Block<'a>, Wrong> {
    let members = r.object(raw)?;
    let kind = need_text(r, &members, "type")?;
    let part = match &*kind {
        "text" => written_text(r, &members)?,
        "thinking" => {
            let text = text(r, &members, "thinking")?.unwrap_or_default();
            return thoughts(r, &members, text).map(Block::Part);
        }
        "redacted_thinking" => {
            let data = need_text(r, &members, "data")?;
            others(r, &members, &["type", "data"]);
            return Ok(redacted(data));
        }
        "image" => media(r, &members, MediaKind::Image)?,
        "document" => match is_chunked(&members) {
            true => return Ok(Block::Part(Kind::Native { kind, json: raw }.into())),
            false => media(r, &members, MediaKind::Document)?,
        },
        "tool_use" => call(r, &members)?,
        "tool_result" => result(r, &members)?,
        _ => return Ok(Block::Part(Kind::Native { kind, json: raw }.into())),
    };
    let cache = match find(&members, "cache_control") {
        Some(raw) => r.within("cache_control", |r| cache_mark(r, raw))?,
        None => None,
    };
    Ok(Block::Part(Part { cache, ..part }))
}

fn written_text<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Part<'a>, Wrong> {
    let text = need_text(r, members, "text")?;
    others(r, members, &["type", "text", "citations", "cache_control"]);
    let citations = match find(members, "citations") {
        Some(raw) => r.within("citations", |r| r.each(raw, |_, item| Ok(citation(item))))?,
        None => Vec::new(),
    };
    Ok(Kind::Text { text, citations }.into())
}

/// Where it points to inside a document is known to this dialect alone; it stays in `json`.
pub fn citation(raw: Raw<'_>) -> Citation<'_> {
    let members = loose(raw);
    let text = |name: &str| find(&members, name).and_then(as_text);
    Citation {
        url: text("url"),
        title: text("title").or_else(|| text("document_title")),
        cited: text("cited_text"),
        start: None,
        end: None,
        json: Some(raw),
    }
}

fn thoughts<'a>(r: &mut Reading<'a>, members: &Members<'a>, thought: Cow<'a, str>) -> Result<Part<'a>, Wrong> {
    others(r, members, &["type", "thinking", "signature"]);
    let seal = text(r, members, "signature")?.filter(|seal| !seal.is_empty()).map(unsealed);
    let mut reasoning = Reasoning { text: thought, ..Reasoning::default() };
    let signature = match seal {
        // OpenAI seals no thoughts that can be read: it gives them again, encrypted.
        Some(Signature { by: Maker::Openai, data }) => {
            reasoning.encrypted = Some(data);
            Some(Signature { by: Maker::Openai, data: "".into() })
        }
        other => other,
    };
    Ok(Part { signature, ..Kind::Reasoning(reasoning).into() })
}

fn redacted(data: Cow<'_, str>) -> Block<'_> {
    let seal = unsealed(data);
    if seal.by == Maker::Google {
        return Block::Seal(seal);
    }
    let signature = Some(Signature { by: seal.by, data: "".into() });
    let reasoning = Reasoning { encrypted: Some(seal.data), ..Reasoning::default() };
    Block::Part(Part { signature, ..Kind::Reasoning(reasoning).into() })
}

/// A seal, and whose it is: the dialect's own maker's is bare.
pub fn unsealed(data: Cow<'_, str>) -> Signature<'_> {
    sealed::untag(&data).unwrap_or(Signature { by: Maker::Anthropic, data })
}

/// Is it a citation of this dialect, with all that its provider needs to find the place?
pub fn cites_here(raw: Raw<'_>) -> bool {
    let members = loose(raw);
    let kind = find(&members, "type").and_then(as_text).unwrap_or_default();
    let found = || find(&members, "encrypted_index").and_then(as_text).is_some_and(|index| !index.is_empty());
    match &*kind {
        "web_search_result_location" => found(),
        other => other.ends_with("_location"),
    }
}

/// A document of a list of blocks, or of chunks to be cited one by one, which nobody else has.
fn is_chunked(members: &Members<'_>) -> bool {
    let source = find(members, "source").map(loose).unwrap_or_default();
    let cited = find(members, "citations").is_some_and(cites);
    find(&source, "content").is_some_and(|raw| cited || is_list(raw))
}

fn cites(raw: Raw<'_>) -> bool {
    find(&loose(raw), "enabled").is_some_and(|raw| raw.get() == "true")
}

fn media<'a>(r: &mut Reading<'a>, members: &Members<'a>, what: MediaKind) -> Result<Part<'a>, Wrong> {
    let Some(raw) = find(members, "source") else { return r.within("source", |r| Err(r.wrong("is missing"))) };
    let (source, mime) = r.within("source", |r| source(r, raw, what))?;
    others(r, members, &["type", "source", "cache_control", "title", "context", "citations"]);
    let media = Media {
        name: text(r, members, "title")?,
        context: text(r, members, "context")?,
        cite: find(members, "citations").is_some_and(cites),
        ..Media::of(what, source, mime)
    };
    Ok(Kind::Media(media).into())
}

fn source<'a>(r: &mut Reading<'a>, raw: Raw<'a>, what: MediaKind) -> Result<(Source<'a>, Cow<'a, str>), Wrong> {
    let members = r.object(raw)?;
    let kind = need_text(r, &members, "type")?;
    let mime = text(r, &members, "media_type")?.unwrap_or_default();
    others(r, &members, &["type", "media_type", "data", "url", "file_id", "content"]);
    Ok(match (&*kind, what) {
        ("base64", _) => (Source::Base64(need_text(r, &members, "data")?), mime),
        ("url", _) => (Source::Url(need_text(r, &members, "url")?), mime),
        ("file", _) => (Source::File(need_text(r, &members, "file_id")?), mime),
        ("text", MediaKind::Document) => (Source::Text(need_text(r, &members, "data")?), mime),
        ("content", MediaKind::Document) => (Source::Text(need_text(r, &members, "content")?), "text/plain".into()),
        _ => return r.within("type", |r| Err(r.unsupported(format!("is `{kind}`: it is no known source")))),
    })
}

fn call<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Part<'a>, Wrong> {
    let arguments = match find(members, "input") {
        // What stands in it is the tool's: it is not read.
        Some(raw) if is_object(raw) => raw.get(),
        Some(_) => return r.within("input", |r| Err(r.wrong("must be an object"))),
        None => "",
    };
    let call = ToolCall {
        id: need_text(r, members, "id")?,
        name: need_text(r, members, "name")?,
        arguments: Cow::Borrowed(arguments),
    };
    let direct = |raw: Raw<'a>| find(&loose(raw), "type").is_some_and(|kind| kind.get() == "\"direct\"");
    match find(members, "caller") {
        // The model itself: so it is with everybody.
        Some(raw) if direct(raw) => others(r, members, &["type", "id", "name", "input", "cache_control", "caller"]),
        Some(_) | None => others(r, members, &["type", "id", "name", "input", "cache_control"]),
    }
    Ok(Kind::ToolCall(call).into())
}

fn result<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Part<'a>, Wrong> {
    let call_id = need_text(r, members, "tool_use_id")?;
    let error = match find(members, "is_error") {
        Some(raw) => r.within("is_error", |r| r.bool(raw))?,
        None => false,
    };
    others(r, members, &["type", "tool_use_id", "is_error", "content", "cache_control"]);
    let parts = match find(members, "content") {
        Some(raw) if is_list(raw) => r.within("content", |r| read(r, raw))?,
        Some(raw) => vec![Part::text(r.within("content", |r| r.text(raw))?)],
        None => Vec::new(),
    };
    Ok(Kind::ToolResult(ToolResult { call_id, name: None, parts, error }).into())
}

/// `{type: ephemeral, ttl: 5m | 1h}`.
pub fn cache_mark<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Option<CacheMark>, Wrong> {
    let members = r.object(raw)?;
    others(r, &members, &["type", "ttl"]);
    Ok(Some(match text(r, &members, "ttl")?.as_deref() {
        Some("1h") => CacheMark::Hour,
        Some("5m") | None => CacheMark::Minutes5,
        Some(other) => {
            let told = format!("is `{other}`: known are 5m and 1h");
            return r.within("ttl", |r| Err(r.unsupported(told)));
        }
    }))
}

/// What is none of these has no canonical place.
fn others<'a>(r: &mut Reading<'a>, members: &Members<'a>, known: &[&str]) {
    for (name, raw) in members.iter().filter(|(name, raw)| !known.contains(&&**name) && !is_null(raw)) {
        r.extra(name, raw);
    }
}

pub fn text<'a>(r: &mut Reading<'a>, members: &Members<'a>, name: &'static str) -> Result<Option<Cow<'a, str>>, Wrong> {
    find(members, name).map(|raw| r.within(name, |r| r.text(raw))).transpose()
}

pub fn need_text<'a>(r: &mut Reading<'a>, members: &Members<'a>, name: &'static str) -> Result<Cow<'a, str>, Wrong> {
    match find(members, name) {
        Some(raw) => r.within(name, |r| r.text(raw)),
        None => r.within(name, |r| Err(r.wrong("is missing"))),
    }
}

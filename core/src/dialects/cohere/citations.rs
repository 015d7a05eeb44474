//! Citations: which words of an answer rest on which sources.

use std::borrow::Cow;

use crate::contract::canonical::part::{Citation, Kind, Part};
use crate::contract::read::{Raw, as_text, as_whole, find, is_list, loose};
use crate::contract::write::Writer;

/// A citation, and the block of the content that it belongs to.
pub struct Cited<'a> {
    pub citation: Citation<'a>,
    pub content_index: Option<u64>,
    /// It is about the text, not about a plan or thoughts.
    pub of_text: bool,
}

pub fn read(raw: Raw<'_>) -> Cited<'_> {
    let members = loose(raw);
    let text = |name| find(&members, name).and_then(as_text);
    let whole = |name| find(&members, name).and_then(as_whole);
    let mut citation = Citation {
        cited: text("text"),
        start: whole("start"),
        end: whole("end"),
        json: Some(raw),
        ..Citation::default()
    };
    let mut named = None;
    for source in find(&members, "sources").map(items).unwrap_or_default() {
        let source = loose(source);
        let held = find(&source, "document").or_else(|| find(&source, "tool_output")).map(loose).unwrap_or_default();
        let id = find(&source, "id").and_then(as_text);
        let is_url = |id: &Cow<'_, str>| id.starts_with("https://") || id.starts_with("http://");
        let url = find(&held, "url").and_then(as_text).or_else(|| id.clone().filter(is_url));
        citation.title = citation.title.or_else(|| find(&held, "title").and_then(as_text));
        citation.url = citation.url.or(url);
        named = named.or(id);
    }
    citation.title = citation.title.or(named);
    Cited {
        citation,
        content_index: whole("content_index"),
        of_text: text("type").is_none_or(|kind| kind == "TEXT_CONTENT"),
    }
}

pub fn items(raw: Raw<'_>) -> Vec<Raw<'_>> {
    if is_list(raw) { serde_json::from_str(raw.get()).unwrap_or_default() } else { Vec::new() }
}

/// Puts citations on the texts that they are about. Without an index it is the first text.
pub fn attach<'a>(content: &mut [Part<'a>], raw: Raw<'a>) {
    for cited in items(raw).into_iter().map(read).filter(|cited| cited.of_text) {
        let at = match cited.content_index {
            Some(at) => usize::try_from(at).ok(),
            None => content.iter().position(|part| part.as_text().is_some()),
        };
        if let Some(Part { kind: Kind::Text { citations, .. }, .. }) = at.and_then(|at| content.get_mut(at)) {
            citations.push(cited.citation);
        }
    }
}

/// As a value: in Cohere's own words where it came in them, else made.
pub fn write(w: &mut Writer, citation: &Citation<'_>, content_index: u64) {
    match citation.json.filter(|json| loose(json).iter().any(|(name, _)| name == "sources")) {
        Some(own) => w.value(own),
        None => w.object(|w| {
            w.member_some("start", &citation.start);
            w.member_some("end", &citation.end);
            w.member_some("text", &citation.cited);
            w.list_member("sources", |w| source(w, citation.url.as_deref(), citation.title.as_deref()));
            w.member("type", "TEXT_CONTENT");
            w.member("content_index", &content_index);
        }),
    }
}

fn source(w: &mut Writer, url: Option<&str>, title: Option<&str>) {
    let Some(id) = url.or(title) else { return };
    w.object(|w| {
        w.member("type", "document");
        w.member("id", id);
        w.object_member("document", |w| {
            w.member("id", id);
            w.member_some("title", &title);
            w.member_some("url", &url);
        });
    });
}

//! What an answer rests on: segments of its text, in bytes here and in code points elsewhere, and the sources of each.

use crate::contract::canonical::part::{Citation, Kind, Part};
use crate::contract::read::{Raw, as_text, as_whole, find, is_list, loose};
use crate::contract::write::Writer;

/// Beyond so many characters of several bytes, places are not told any more.
const WIDE_MAX: usize = 1 << 18;
const CITATIONS_MAX: usize = 4_096;

/// Places in a text that is not kept: only where its characters of several bytes end.
#[derive(Debug, Default)]
pub struct Offsets {
    bytes: u64,
    /// Where such a character ends, and how many bytes more than characters there are until there.
    wide: Vec<(u64, u64)>,
    full: bool,
}

impl Offsets {
    pub fn said(&mut self, text: &str) {
        if !text.is_ascii() {
            let mut more = self.wide.last().map_or(0, |(_, more)| *more);
            for (at, c) in text.char_indices().filter(|(_, c)| c.len_utf8() > 1) {
                if self.wide.len() == WIDE_MAX {
                    self.full = true;
                    break;
                }
                more += c.len_utf8() as u64 - 1;
                self.wide.push((self.bytes + (at + c.len_utf8()) as u64, more));
            }
        }
        self.bytes += text.len() as u64;
    }

    /// Code points before this byte.
    pub fn points(&self, byte: u64) -> Option<u64> {
        let before = self.wide.partition_point(|(end, _)| *end <= byte);
        self.within(byte).map(|byte| byte - before.checked_sub(1).map_or(0, |at| self.wide[at].1))
    }

    /// Bytes before this code point.
    pub fn byte(&self, point: u64) -> Option<u64> {
        let before = self.wide.partition_point(|(end, more)| end - more <= point);
        self.within(point.saturating_add(before.checked_sub(1).map_or(0, |at| self.wide[at].1)))
    }

    fn within(&self, byte: u64) -> Option<u64> {
        (byte <= self.bytes && !self.full).then_some(byte)
    }
}

/// The citations of `groundingMetadata` and `citationMetadata`, in their order.
pub fn citations<'a>(grounding: Option<Raw<'a>>, recited: Option<Raw<'a>>, offsets: &Offsets) -> Vec<Citation<'a>> {
    let mut all = Vec::new();
    if let Some(members) = grounding.map(loose) {
        let chunks = list(find(&members, "groundingChunks"));
        for support in list(find(&members, "groundingSupports")) {
            let support = loose(support);
            let segment = find(&support, "segment").map(loose).unwrap_or_default();
            let place = |name: &str| find(&segment, name).and_then(as_whole);
            for at in list(find(&support, "groundingChunkIndices")) {
                let Some(chunk) = as_whole(at).and_then(|at| chunks.get(usize::try_from(at).ok()?)) else { continue };
                let source = loose(chunk).first().map(|(_, inner)| loose(inner)).unwrap_or_default();
                let of_source = |name: &str| find(&source, name).and_then(as_text);
                all.push(Citation {
                    url: of_source("uri"),
                    title: of_source("title"),
                    cited: find(&segment, "text").and_then(as_text),
                    start: offsets.points(place("startIndex").unwrap_or(0)),
                    end: place("endIndex").and_then(|end| offsets.points(end)),
                    json: None,
                });
            }
        }
    }
    if let Some(members) = recited.map(loose) {
        for citation in list(find(&members, "citations").or_else(|| find(&members, "citationSources"))) {
            let members = loose(citation);
            let text = |name: &str| find(&members, name).and_then(as_text);
            let place = |name: &str| find(&members, name).and_then(as_whole);
            all.push(Citation {
                url: text("uri"),
                title: text("title"),
                cited: None,
                start: offsets.points(place("startIndex").unwrap_or(0)),
                end: place("endIndex").and_then(|end| offsets.points(end)),
                json: None,
            });
        }
    }
    all.truncate(CITATIONS_MAX);
    all
}

fn list(raw: Option<Raw<'_>>) -> Vec<Raw<'_>> {
    raw.filter(|raw| is_list(raw)).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// Lays citations on the texts in which they end.
pub fn cite<'a>(parts: &mut [Part<'a>], all: Vec<Citation<'a>>) {
    let mut ends = Vec::new();
    let mut points = 0;
    for (at, part) in parts.iter().enumerate() {
        if let Kind::Text { text, .. } = &part.kind {
            points += text.chars().count() as u64;
            ends.push((points, at));
        }
    }
    for citation in all {
        let place = citation.end.or(citation.start).unwrap_or(0);
        let Some((_, at)) = ends.iter().find(|(end, _)| place <= *end).or(ends.last()) else { return };
        if let Kind::Text { citations, .. } = &mut parts[*at].kind {
            citations.push(citation);
        }
    }
}

/// A citation that outlives what it was read from.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    pub url: Option<String>,
    pub title: Option<String>,
    pub cited: Option<String>,
    pub start: Option<u64>,
    pub end: Option<u64>,
}

impl From<&Citation<'_>> for Kept {
    fn from(citation: &Citation<'_>) -> Kept {
        let own = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        Kept {
            url: own(&citation.url),
            title: own(&citation.title),
            cited: own(&citation.cited),
            start: citation.start,
            end: citation.end,
        }
    }
}

/// `groundingMetadata`: each source once, and for each citation where it belongs.
pub fn write(w: &mut Writer, citations: &[Kept], offsets: &Offsets) {
    if citations.is_empty() {
        return;
    }
    let mut sources: Vec<(&Option<String>, &Option<String>)> = Vec::new();
    let at: Vec<u64> = citations
        .iter()
        .take(CITATIONS_MAX)
        .map(|citation| {
            let source = (&citation.url, &citation.title);
            let known = sources.iter().position(|known| *known == source);
            known.unwrap_or_else(|| {
                sources.push(source);
                sources.len() - 1
            }) as u64
        })
        .collect();
    w.object_member("groundingMetadata", |w| {
        w.list_member("groundingChunks", |w| {
            for (url, title) in &sources {
                let kind = if url.is_some() { "web" } else { "retrievedContext" };
                w.object(|w| {
                    w.object_member(kind, |w| {
                        w.member_some("uri", url);
                        w.member_some("title", title);
                    });
                });
            }
        });
        w.list_member("groundingSupports", |w| {
            for (citation, source) in citations.iter().zip(at) {
                w.object(|w| {
                    w.object_member("segment", |w| {
                        let place = |point: Option<u64>| point.and_then(|point| offsets.byte(point));
                        w.member_some("startIndex", &place(citation.start));
                        w.member_some("endIndex", &place(citation.end));
                        w.member_some("text", &citation.cited);
                    });
                    w.list_member("groundingChunkIndices", |w| w.value(&source));
                });
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_code_points_tell_the_same_place() {
        for text in ["", "plain", "a\u{e4}b\u{20ac}c\u{1f600}d", "\u{e4}\u{e4}"] {
            for cut in 0..=text.len() {
                if !text.is_char_boundary(cut) {
                    continue;
                }
                let mut offsets = Offsets::default();
                offsets.said(&text[..cut]);
                offsets.said(&text[cut..]);
                for (point, (byte, _)) in text.char_indices().chain([(text.len(), ' ')]).enumerate() {
                    assert_eq!(offsets.points(byte as u64), Some(point as u64), "{text} {byte}");
                    assert_eq!(offsets.byte(point as u64), Some(byte as u64), "{text} {point}");
                }
                assert_eq!(offsets.points(text.len() as u64 + 1), None, "behind the end");
            }
        }
    }
}

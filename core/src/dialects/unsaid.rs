//! What an answer holds that its caller's dialect has no words for: it is left out, and told.

use super::{Codec, Notes};
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::event::{Begins, Event};
use crate::contract::canonical::part::{Kind, Media, MediaKind, Part};

/// Of a whole answer: media and a provider's own parts, for writers that pass over them.
pub fn of_parts<'a>(parts: impl Iterator<Item = &'a Part<'a>>, shows: impl Fn(&Media<'_>) -> bool) -> Vec<Loss> {
    let lost = parts.filter_map(|part| match &part.kind {
        Kind::Media(media) if shows(media) => None,
        Kind::Media(media) => Some(Loss::value(element(media.what), "this dialect has no place for it in an answer")),
        Kind::Native { kind, .. } => {
            Some(Loss::value(Element::NativePart, format!("`{kind}` is known to its own dialect only")))
        }
        Kind::Text { .. } | Kind::Refusal(_) | Kind::ToolCall(_) | Kind::ToolResult(_) | Kind::Reasoning(_) => None,
    });
    lost.collect()
}

/// Of an event of a stream.
pub fn of_event(event: &Event, ours: &dyn Codec) -> Option<Element> {
    let Event::Begin { kind, .. } = event else { return None };
    match kind {
        Begins::Native(_) => Some(Element::NativePart),
        Begins::Media { what, .. } => Some(element(*what)).filter(|_| !ours.shows(*what)),
        Begins::Text | Begins::Refusal | Begins::Reasoning { .. } | Begins::ToolCall { .. } => None,
    }
}

fn element(what: MediaKind) -> Element {
    match what {
        MediaKind::Image => Element::ImageBase64,
        MediaKind::Audio => Element::AudioBase64,
        MediaKind::Video => Element::VideoBase64,
        MediaKind::Document => Element::DocumentBase64,
    }
}

impl Notes {
    /// Notes a loss once, under a name that tells it from what a request lost: `answer.image`.
    pub fn lose(&mut self, what: &str) {
        let told = format!("answer.{}", what.strip_prefix("messages.").unwrap_or(what));
        if !self.lost.contains(&told) {
            self.lost.push(told);
        }
    }
}

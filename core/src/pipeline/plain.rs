//! Whole answers of operations that are no conversations: what they tell is read, and between dialects they are said anew.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::translate::voice;
use super::{count, embed};
use crate::contract::usage::Usage;
use crate::contract::{Dialect, Operation};
use crate::dialects::cohere::usage;
use crate::dialects::embeddings::{Wanted, embed_codec};
use crate::dialects::paths::Place;
use crate::dialects::{Given, Notes, gemini};
use crate::policy::facts::Facts;

/// Speech is told at about 21 tokens a second; the thinnest sound of it that providers send has some 5 KB a second.
const SOUND_BYTES_A_TOKEN: u64 = 256;

/// Between whom an answer goes.
pub struct Between<'a> {
    pub ours: Dialect,
    pub theirs: Dialect,
    pub given: Given<'a>,
    pub wanted: Option<Wanted>,
    /// Size of the caller's request: where nobody counted, it is what we estimate from.
    pub asked_bytes: usize,
}

/// What an answer is, where it need not be JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As for every other operation.
    Usual,
    /// Sound, a picture, a transcript as text, what a file holds: it goes on as it comes.
    Content,
    /// Events, though only a word of the request asks for them.
    Events,
}

/// By the dialect, the place and the type of content. A page in HTML is a proxy's, and none of these.
pub fn kind(ours: Dialect, theirs: Dialect, place: &Place, headers: &HeaderMap) -> Kind {
    let passes = match ours.operation() {
        Operation::Images | Operation::Audio | Operation::Files => ours == theirs,
        Operation::Chat
        | Operation::Embeddings
        | Operation::Completions
        | Operation::CountTokens
        | Operation::Rerank
        | Operation::Moderations
        | Operation::Batches => false,
    };
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is = |begin: &str| kind.get(..begin.len()).is_some_and(|own| own.eq_ignore_ascii_case(begin.as_bytes()));
    match passes {
        true if place.path.ends_with("/content") => Kind::Content,
        true if is("text/event-stream") => Kind::Events,
        true if !kind.is_empty() && !is("application/json") && !is("text/html") => Kind::Content,
        true | false => Kind::Usual,
    }
}

/// What a call used that was answered with other than words, where nobody told: said to be an estimate.
pub fn estimate(facts: &Facts, kind: Option<&HeaderValue>, bytes: usize) -> Usage {
    let bytes = bytes as u64;
    let kind = kind.map_or(&b""[..], HeaderValue::as_bytes);
    let mut usage = Usage { input: facts.prompt().tokens, estimated: true, ..Usage::default() };
    match (facts.call.operation, kind.starts_with(b"text/")) {
        (Operation::Audio, true) => usage.output = bytes / 4,
        (Operation::Audio, false) => usage.output_audio = bytes / SOUND_BYTES_A_TOKEN,
        (_, _) => {}
    }
    usage
}

/// The body as the caller reads it, and what it told.
pub fn answer(bytes: Bytes, between: &Between<'_>) -> Result<(Bytes, Notes), String> {
    let (ours, theirs) = (between.ours, between.theirs);
    let same = ours == theirs;
    if let (Some(caller), Some(provider)) = (embed_codec(ours), embed_codec(theirs)) {
        return match between.wanted.filter(|_| !same) {
            Some(wanted) => embed::answer((caller, provider), &bytes, &wanted, between.asked_bytes, &between.given),
            None => {
                let notes = Notes { usage: provider.usage(&bytes), done: true, ..Notes::default() };
                Ok((bytes, notes))
            }
        };
    }
    if ours.operation() == Operation::CountTokens {
        let said = if same { bytes } else { count::answer(ours, theirs, &bytes)? };
        return Ok((said, count::notes()));
    }
    let told = |usage| Notes { usage, done: true, ..Notes::default() };
    let notes = if matches!(theirs, Dialect::CohereRerank | Dialect::CohereV1Rerank | Dialect::CohereV1Embed) {
        told(usage::billed(&bytes).map(|billed| billed.usage()))
    } else if theirs == Dialect::VertexPredict {
        told(gemini::predict::usage(&bytes))
    } else {
        voice(theirs).glance(&bytes)
    };
    Ok((bytes, notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_passes_where_that_can_be() {
        let speech = (Dialect::OpenaiAudio, "/audio/speech");
        let content = (Dialect::OpenaiFiles, "/files/{}/content");
        for ((dialect, path), kind_told, expected, why) in [
            (speech, "audio/mpeg", Kind::Content, "sound"),
            (speech, "Text/Event-Stream; charset=utf-8", Kind::Events, "sound in events"),
            (speech, "application/json; charset=utf-8", Kind::Usual, "an answer that is read"),
            (speech, "text/html", Kind::Usual, "a proxy's page is no sound"),
            (speech, "", Kind::Usual, "nobody says what it is"),
            (content, "application/json", Kind::Content, "a file may be anything"),
            ((Dialect::OpenaiChat, ""), "audio/mpeg", Kind::Usual, "no chat is sound"),
            ((Dialect::OpenaiBatches, "/batches/{}"), "text/plain", Kind::Usual, "nor is a batch"),
        ] {
            let place = Place { path, ..Place::default() };
            let mut headers = HeaderMap::new();
            if !kind_told.is_empty() {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind_told));
            }
            assert_eq!(kind(dialect, dialect, &place, &headers), expected, "{why}");
        }
    }
}

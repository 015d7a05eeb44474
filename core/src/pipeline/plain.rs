//! Whole answers of operations that are no conversations: what they tell is read, and between dialects they are said anew.

use bytes::Bytes;

use super::translate::voice;
use super::{count, embed};
use crate::contract::{Dialect, Operation};
use crate::dialects::cohere::usage;
use crate::dialects::embeddings::{Wanted, embed_codec};
use crate::dialects::{Given, Notes, gemini};

/// Between whom an answer goes.
pub struct Between<'a> {
    pub ours: Dialect,
    pub theirs: Dialect,
    pub given: Given<'a>,
    pub wanted: Option<Wanted>,
    /// Size of the caller's request: where nobody counted, it is what we estimate from.
    pub asked_bytes: usize,
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

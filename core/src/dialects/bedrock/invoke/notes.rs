//! What an answer of any vendor's tells beside its bytes. The vendor's own count goes before Amazon's, which stands in
//! headers and at the end of streams.

use std::borrow::Cow;

use http::HeaderMap;
use memchr::memmem;

use super::super::{Bedrock, usage};
use super::stream::event;
use crate::contract::read::{Members, Raw, as_text, as_whole, find, is_list, loose};
use crate::contract::usage::{OpenaiUsage, Usage};
use crate::dialects::anthropic::Anthropic;
use crate::dialects::frames::Frame;
use crate::dialects::{Codec, Notes};

/// Where Amazon counts, in the last event of a stream.
pub const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// What vendors call the reason to end.
const REASONS: [&str; 4] = ["stop_reason", "stopReason", "completionReason", "finish_reason"];
/// Lists in which some have their answers, each with a reason of its own.
const ANSWERS: [&str; 4] = ["results", "outputs", "generations", "choices"];

pub fn glance(body: &[u8]) -> Notes {
    let Ok(raw) = serde_json::from_slice::<Raw<'_>>(body) else { return Notes::default() };
    let root = loose(raw);
    if find(&root, "type").and_then(as_text).as_deref() == Some("message") {
        return Anthropic.glance(body);
    }
    let usage = told(&root).or_else(|| counted(&root));
    Notes { usage, finish_reason: reason(&root), done: true, ..Notes::default() }
}

/// `x-amzn-bedrock-input-token-count` and its like.
pub fn glance_head(headers: &HeaderMap, notes: &mut Notes) {
    let count = |name: &str| {
        let value = headers.get(format!("x-amzn-bedrock-{name}-token-count"))?;
        value.to_str().ok()?.trim().parse::<u64>().ok()
    };
    let (input, output) = (count("input"), count("output"));
    if notes.usage.is_none() && (input.is_some() || output.is_some()) {
        notes.usage = Some(Usage {
            input: input.unwrap_or(0),
            cached_input: count("cache-read-input").unwrap_or(0),
            cache_write: count("cache-write-input").unwrap_or(0),
            output: output.unwrap_or(0),
            ..Usage::default()
        });
    }
}

pub fn note(frame: &Frame<'_>, notes: &mut Notes) {
    if frame.is_error {
        return Bedrock.note(frame, notes);
    }
    let Some(event) = event(&frame.data) else { return };
    Anthropic.note(&Frame::data(&event), notes);
    // Nearly every event is a piece of text: a few searches tell.
    let says = |word: &str| memmem::find(&event, word.as_bytes()).is_some();
    let last = says(METRICS);
    if !last && !says("eason\"") && !says("\"usage\"") {
        return;
    }
    let Ok(raw) = serde_json::from_slice::<Raw<'_>>(&event) else { return };
    let root = loose(raw);
    let of_anthropic = find(&root, "type").and_then(as_text).is_some_and(|kind| kind.starts_with("message"));
    if !of_anthropic {
        notes.usage = told(&root).or(notes.usage);
    }
    notes.finish_reason = reason(&root).or(notes.finish_reason.take());
    if last {
        notes.done = true;
        notes.usage = notes.usage.or_else(|| metrics(&root));
    }
}

/// A vendor's own member `usage`: Amazon's names, or OpenAI's.
fn told(root: &Members<'_>) -> Option<Usage> {
    let raw = find(root, "usage").or_else(|| find(&find(root, "metadata").map(loose)?, "usage"))?;
    let members = loose(raw);
    if find(&members, "inputTokens").is_some() {
        return Some(usage::read(raw));
    }
    let counts = ["prompt_tokens", "total_tokens", "input_tokens"].iter().any(|name| find(&members, name).is_some());
    counts.then(|| serde_json::from_str::<OpenaiUsage>(raw.get()).ok())?.and_then(|told| told.disjoint())
}

/// Counts that stand in the answer itself.
fn counted(root: &Members<'_>) -> Option<Usage> {
    let count = |name: &str| find(root, name).and_then(as_whole);
    let (input, output) = match (count("prompt_token_count"), count("inputTextTokenCount")) {
        (Some(input), _) => (input, count("generation_token_count").unwrap_or(0)),
        (None, Some(input)) => {
            let said = listed(root, "results").into_iter().map(loose);
            (input, said.filter_map(|one| find(&one, "tokenCount").and_then(as_whole)).fold(0, u64::saturating_add))
        }
        (None, None) => return None,
    };
    Some(Usage { input, output, ..Usage::default() })
}

fn metrics(root: &Members<'_>) -> Option<Usage> {
    let members = find(root, METRICS).map(loose)?;
    let count = |name: &str| find(&members, name).and_then(as_whole).unwrap_or(0);
    Some(Usage {
        input: count("inputTokenCount"),
        cached_input: count("cacheReadInputTokenCount"),
        cache_write: count("cacheWriteInputTokenCount"),
        output: count("outputTokenCount"),
        ..Usage::default()
    })
}

fn reason(root: &Members<'_>) -> Option<String> {
    let own = |members: &Members<'_>| {
        REASONS.iter().find_map(|name| find(members, name).and_then(as_text).map(Cow::into_owned))
    };
    let stopped = || own(&find(root, "messageStop").map(loose)?);
    let first = || ANSWERS.iter().find_map(|name| own(&loose(listed(root, name).into_iter().next()?)));
    own(root).or_else(stopped).or_else(first)
}

fn listed<'a>(root: &Members<'a>, name: &str) -> Vec<Raw<'a>> {
    let list = find(root, name).filter(|raw| is_list(raw));
    list.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

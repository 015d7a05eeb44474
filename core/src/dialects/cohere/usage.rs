//! What Cohere counts. It tells two counts: all tokens, its own template included, and those that it bills. Only the
//! second is paid for, so only the second is used.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::contract::read::{Members, Raw, find, loose};
use crate::contract::usage::{Usage, take};
use crate::contract::write::Writer;

/// The member `usage` of an answer; `None` where it counts nothing, as after a failure.
pub fn read(raw: Raw<'_>) -> Option<Usage> {
    let members = loose(raw);
    let part = |name| find(&members, name).map(loose).unwrap_or_default();
    let (billed, tokens) = (part("billed_units"), part("tokens"));
    let pick = |name| count(&billed, name).or_else(|| count(&tokens, name));
    let (input, output) = (pick("input_tokens"), pick("output_tokens"));
    if input.is_none() && output.is_none() {
        return None;
    }
    let mut usage = Usage { input: input.unwrap_or(0), output: output.unwrap_or(0), ..Usage::default() };
    // The cache holds the template as well, which is not billed: what is billed of it is at most all that is billed.
    usage.cached_input = take(&mut usage.input, count(&members, "cached_tokens"));
    usage.reasoning = take(&mut usage.output, count(&tokens, "reasoning_tokens"));
    Some(usage)
}

/// A count; Cohere's own description calls them floats.
fn count(members: &Members<'_>, name: &str) -> Option<u64> {
    let number: f64 = find(members, name)?.get().parse().ok()?;
    (number >= 0.0).then_some(number.ceil() as u64)
}

/// As the member `usage`.
pub fn write(w: &mut Writer, usage: &Usage) {
    let both = |w: &mut Writer| {
        w.member("input_tokens", &usage.input_all());
        w.member("output_tokens", &usage.output_all());
    };
    w.object_member("usage", |w| {
        w.object_member("billed_units", both);
        w.object_member("tokens", |w| {
            both(w);
            if usage.reasoning > 0 {
                w.member("reasoning_tokens", &usage.reasoning);
            }
        });
        if usage.cached_input > 0 {
            w.member("cached_tokens", &usage.cached_input);
        }
    });
}

/// What embeddings and rankings bill, each kind at a price of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Billed {
    pub input_tokens: u64,
    /// Of pictures.
    pub image_tokens: u64,
    /// Pictures, of models that bill them one by one.
    pub images: u64,
    /// Searches of `/v2/rerank`: one query with up to 100 documents.
    pub search_units: u64,
}

impl Billed {
    /// Tokens, and searches.
    pub fn usage(&self) -> Usage {
        let input = self.input_tokens.saturating_add(self.image_tokens);
        Usage { input, search_units: self.search_units, ..Usage::default() }
    }
}

/// Reads `meta.billed_units` of an answer of embeddings or a ranking. One pass: embeddings are megabytes of numbers, of
/// which nothing is kept.
pub fn billed(body: &[u8]) -> Option<Billed> {
    #[derive(Deserialize)]
    struct Answered<'a> {
        #[serde(borrow)]
        meta: Option<&'a RawValue>,
    }
    let answered: Answered<'_> = serde_json::from_slice(body).ok()?;
    let units = find(&loose(answered.meta?), "billed_units").map(loose)?;
    let pick = |name| count(&units, name).unwrap_or(0);
    Some(Billed {
        input_tokens: pick("input_tokens"),
        image_tokens: pick("image_tokens"),
        images: pick("images"),
        search_units: pick("search_units"),
    })
}

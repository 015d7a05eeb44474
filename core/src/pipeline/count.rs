//! How many tokens a conversation has: asked of a provider that counts, in its own dialect or another; where it has no such
//! endpoint, estimated here, and said to be.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::shape::At;
use super::translate::{Said, accepted, voice};
use crate::contract::canonical::Request;
use crate::contract::refusal::Refusal;
use crate::contract::skim::{self, Skim, SkimError};
use crate::contract::tokens::families::Family;
use crate::contract::usage::Usage;
use crate::contract::{Dialect, Operation};
use crate::dialects::{Given, Notes, To, Written, anthropic, bedrock, codec, gemini, inputs};
use crate::policy::facts::Facts;
use crate::policy::terms::Terms;

/// In `tollgate-degraded` and the receipt.
pub const ESTIMATED: &str = "estimated";

/// Does this provider converse, so that a count for it has a meaning though it does not count itself?
pub fn estimates(ours: Dialect, theirs: &[Dialect]) -> bool {
    ours.operation() == Operation::CountTokens && theirs.iter().any(|dialect| codec(*dialect).is_some())
}

/// Says it in the other dialect that has such an endpoint.
pub fn request(
    ours: Dialect,
    body: &[u8],
    skim: &Skim,
    given: &Given<'_>,
    terms: &Terms,
    at: &At<'_>,
) -> Result<Said, Refusal> {
    if ours != Dialect::BedrockCountTokens {
        let request = inputs::counted(ours, body, skim, given).map_err(|wrong| wrong.refusal())?;
        return say(&request, terms, at);
    }
    let (dialect, inner) = bedrock::count::inner(body).map_err(|wrong| wrong.refusal())?;
    let broken = |why: SkimError| Refusal::invalid("wrong_type", "input", format!("what shall be counted: {why}"));
    let skim = skim::skim(&inner).map_err(broken)?;
    let request = voice(dialect).read_request(&inner, &skim, given).map_err(|wrong| wrong.refusal())?;
    say(&request, terms, at)
}

fn say(request: &Request<'_>, terms: &Terms, at: &At<'_>) -> Result<Said, Refusal> {
    let to = To { model: &at.target.upstream_model, output_tokens_max: None, quirks: at.quirks };
    let theirs = voice(at.dialect);
    let mut lost = request.losses(|element| theirs.carries(element));
    let Written { body, lost: more } = match of_gemini(at.dialect) {
        true => gemini::count_tokens::write_request(request, &to, true),
        false => anthropic::count::write_count_request(request, &to),
    };
    for loss in more {
        if !lost.iter().any(|known| known.what == loss.what) {
            lost.push(loss);
        }
    }
    let dropped = accepted(lost, terms, at.target, at.dialect)?;
    Ok(Said { body: body.into(), dropped, ..Said::default() })
}

/// Two dialects are asked to count for others: Gemini's, else Anthropic's.
fn of_gemini(dialect: Dialect) -> bool {
    dialect == Dialect::GeminiCountTokens
}

/// A provider's count in the caller's words.
pub fn answer(ours: Dialect, theirs: Dialect, body: &[u8]) -> Result<Bytes, String> {
    let tokens = match of_gemini(theirs) {
        true => gemini::count_tokens::read_answer(body).ok_or("it holds no `totalTokens`")?,
        false => anthropic::count::read_count_answer(body).map_err(|wrong| wrong.to_string())?,
    };
    Ok(write(ours, tokens))
}

fn write(ours: Dialect, tokens: u64) -> Bytes {
    if ours == Dialect::BedrockCountTokens {
        return bedrock::count::write_answer(tokens).into();
    }
    match of_gemini(ours) {
        true => gemini::count_tokens::write_answer(tokens).into(),
        false => anthropic::count::write_count_answer(tokens).into(),
    }
}

/// Our own count for this model, as an answer that no provider gave.
pub fn estimated(ours: Dialect, facts: &Facts, model: &str) -> (StatusCode, HeaderMap, Bytes) {
    let counted =
        facts.words.as_ref().filter(|_| Family::knows(model)).map(|w| Family::of(model).estimate(&w.counts()));
    let tokens = counted.unwrap_or_else(|| facts.prompt().tokens).max(1);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (StatusCode::OK, headers, write(ours, tokens))
}

/// Counting uses nothing that is paid for.
pub fn notes() -> Notes {
    Notes { usage: Some(Usage::default()), done: true, ..Notes::default() }
}

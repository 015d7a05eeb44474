//! Embeddings between dialects: texts said in a target's words, its vectors in the caller's.

use bytes::Bytes;

use super::shape::At;
use super::translate::{Said, accepted};
use crate::contract::canonical::element::Loss;
use crate::contract::canonical::embed::{Encoding, Vector};
use crate::contract::refusal::Refusal;
use crate::contract::skim::Skim;
use crate::contract::usage::Usage;
use crate::contract::words::tokens_estimate;
use crate::dialects::embeddings::{EmbedCodec, Wanted};
use crate::dialects::{Given, Notes, To};
use crate::policy::terms::Terms;

/// Both sides of a translation.
pub type Pair = (&'static dyn EmbedCodec, &'static dyn EmbedCodec);

/// Says the caller's request in the dialect of a target.
pub fn request(
    (ours, theirs): Pair,
    body: &[u8],
    skim: &Skim,
    given: &Given<'_>,
    terms: &Terms,
    at: &At<'_>,
) -> Result<Said, Refusal> {
    let request = ours.read_request(body, skim, given).map_err(|wrong| wrong.refusal())?;
    if request.inputs.is_empty() {
        return Err(Refusal::invalid("missing_member", "input", "there is no text to make a vector of"));
    }
    let to = To { model: &at.target.upstream_model, output_tokens_max: at.target.output_tokens_max, quirks: at.quirks };
    let written = theirs.write_request(&request, &to);
    let extra = request.extra.iter().map(|(path, _)| Loss { what: path.clone().into(), hint: false, why: None });
    let lost = written.lost.into_iter().chain(extra).collect();
    let dropped = accepted(lost, terms, at.target, at.dialect)?;
    let wanted = Some(Wanted::of(&request));
    Ok(Said { body: written.body.into(), dropped, own_tools: Vec::new(), wanted })
}

/// Says a provider's answer in the caller's dialect. What has not a vector for each text is no answer.
pub fn answer(
    (ours, theirs): Pair,
    body: &[u8],
    wanted: &Wanted,
    asked_bytes: usize,
    given: &Given<'_>,
) -> Result<(Bytes, Notes), String> {
    let mut answer = theirs.read_answer(body).map_err(|wrong| wrong.to_string())?;
    if answer.vectors.len() != wanted.vectors {
        return Err(format!("it holds {} vectors for {} texts", answer.vectors.len(), wanted.vectors));
    }
    let is_vector = |vector: &Vector<'_>| match wanted.encoding {
        Encoding::Float => vector.numbers().is_some(),
        Encoding::Base64 => vector.base64().is_some(),
    };
    if !answer.vectors.iter().all(is_vector) {
        return Err("one of its vectors is none".to_owned());
    }
    let estimate = Usage { input: tokens_estimate(asked_bytes), estimated: true, ..Usage::default() };
    let usage = *answer.usage.get_or_insert(estimate);
    let notes = Notes { usage: Some(usage), done: true, ..Notes::default() };
    Ok((ours.write_answer(&answer, wanted, given).into(), notes))
}

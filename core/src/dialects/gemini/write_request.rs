//! A request for Google. Model and stream are said by the path, which is not written here.

use super::{names, thinking, tools, write_parts};
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::{Format, Request};
use crate::contract::read::Number;
use crate::contract::write::Writer;
use crate::dialects::{To, Written};

pub fn write(request: &Request<'_>, to: &To<'_>) -> Written {
    let mut lost = Vec::new();
    let mut writer = Writer::with_capacity(1_024);
    writer.object(|w| members(w, request, to, &mut lost));
    Written { body: writer.into_bytes(), lost }
}

/// The members alone: counting wraps them.
pub fn members(w: &mut Writer, request: &Request<'_>, to: &To<'_>, lost: &mut Vec<Loss>) {
    let has = |element: &Element| !to.quirks.lacks.contains(element);
    write_parts::conversation(w, request, to, lost);
    tools::write(w, request);
    let config = Writer::object_text(|w| {
        sampling(w, request, to, lost);
        if let Some(ask) = request.reasoning.as_ref().filter(|_| has(&Element::ReasoningAsked)) {
            thinking::write(w, ask, to.model, lost);
        }
        match &request.format {
            None => {}
            Some(Format::Json) => w.member("responseMimeType", "application/json"),
            Some(Format::Schema { schema, .. }) => {
                w.member("responseMimeType", "application/json");
                w.member("responseJsonSchema", schema);
            }
        }
    });
    if config != b"{}" {
        w.json_member("generationConfig", &String::from_utf8_lossy(&config));
    }
    if let Some(tier) = request.service_tier.as_deref().filter(|_| has(&Element::ServiceTier)) {
        match names::tier_name(tier) {
            Some(tier) => w.member("serviceTier", tier),
            None if tier == "auto" => {}
            None => lost.push(Loss::value(Element::ServiceTier, format!("there is no tier `{tier}`"))),
        }
    }
    if to.quirks.has.contains(&Element::Metadata) {
        w.member_some("labels", &request.metadata);
    }
}

fn sampling(w: &mut Writer, request: &Request<'_>, to: &To<'_>, lost: &mut Vec<Loss>) {
    let has = |element: Element| !to.quirks.lacks.contains(&element);
    let most = to.output_tokens_max.unwrap_or(u64::MAX);
    // A larger number is refused, though it means no more than the most that there is.
    w.member_some("maxOutputTokens", &request.max_tokens.map(|tokens| tokens.min(most)));
    for (element, name, value) in [
        (Element::Temperature, "temperature", &request.temperature),
        (Element::TopP, "topP", &request.top_p),
        (Element::FrequencyPenalty, "frequencyPenalty", &request.frequency_penalty),
        (Element::PresencePenalty, "presencePenalty", &request.presence_penalty),
    ] {
        if has(element) {
            w.member_some(name, value);
        }
    }
    if has(Element::TopK) {
        w.member_some("topK", &request.top_k);
    }
    if let Some(seed) = request.seed.as_ref().filter(|_| has(Element::Seed)) {
        write_seed(w, seed, lost);
    }
    if !request.stop.is_empty() && has(Element::Stop) {
        w.texts_member("stopSequences", &request.stop);
    }
    if has(Element::SeveralAnswers) {
        w.member_some("candidateCount", &request.n.filter(|n| *n > 1));
    }
    if let Some(logprobs) = request.logprobs.filter(|_| has(Element::Logprobs)) {
        w.member("responseLogprobs", &true);
        w.member_some("logprobs", &logprobs.top);
    }
}

/// Seeds have 32 bits here.
fn write_seed(w: &mut Writer, seed: &Number<'_>, lost: &mut Vec<Loss>) {
    match seed.float() {
        whole if whole.fract() == 0.0 && f64::from(i32::MIN) <= whole && whole <= f64::from(i32::MAX) => {
            w.member("seed", seed);
        }
        _ => lost.push(Loss::value(Element::Seed, format!("{} is no whole number of 32 bits", seed.0))),
    }
}

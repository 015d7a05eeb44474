//! Between dialects: which one a provider is spoken to in, and the request said in it. What is lost is told, and refused where
//! the answer would mean something else.

use bytes::Bytes;

use super::identify::Identified;
use super::shape::At;
use super::{count, embed};
use crate::contract::canonical::Request;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::Kind;
use crate::contract::refusal::{Category, Refusal};
use crate::contract::skim::skim;
use crate::contract::splice::Edits;
use crate::contract::{Dialect, Operation};
use crate::dialects::embeddings::{Wanted, embed_codec};
use crate::dialects::{Codec, Given, To, codec};
use crate::policy::terms::Terms;
use crate::routing::catalog::{Feature, Target};

/// The dialect in which a provider is asked: the caller's own where the provider speaks it, for then nothing is lost;
/// else the first of its dialects that such calls can be translated to.
pub fn speech(ours: Dialect, theirs: &[Dialect]) -> Option<Dialect> {
    if theirs.contains(&ours) {
        return Some(ours);
    }
    theirs.iter().copied().find(|theirs| dialects_meet(ours, *theirs))
}

fn dialects_meet(ours: Dialect, theirs: Dialect) -> bool {
    let converse = codec(ours).is_some() && codec(theirs).is_some();
    let embed = embed_codec(ours).is_some() && embed_codec(theirs).is_some();
    // Bedrock counts for few of its models: our estimate is better than its refusal.
    let count = ours.operation() == Operation::CountTokens && theirs != Dialect::BedrockCountTokens;
    ours.operation() == theirs.operation() && (converse || embed || count)
}

/// Can a provider be of any use to a call in this dialect?
pub fn serves(ours: Dialect, theirs: &[Dialect]) -> bool {
    speech(ours, theirs).is_some() || count::estimates(ours, theirs)
}

/// The call, as readers and writers of dialects are given it.
pub fn given<'a>(call: &'a Identified, asked: &'a str, include_usage: bool) -> Given<'a> {
    Given {
        call_id: &call.call_id,
        now_s: call.time_ms.div_euclid(1_000),
        model: asked,
        stream: call.stream,
        include_usage,
        as_array: as_array(call),
        own_tools: &[],
        asked: &call.body,
    }
}

/// Google streams one JSON array to who does not ask for server-sent events.
fn as_array(call: &Identified) -> bool {
    let asked = call.head.query.iter().flat_map(|query| query.split('&')).any(|pair| pair == EVENTS);
    call.dialect == Dialect::Gemini && !asked
}

/// How Google is asked for server-sent events.
const EVENTS: &str = "alt=sse";

/// The query of a call to a provider: in one dialect the caller's own, whatever it says; between two nothing, but where the
/// framing of the stream is asked for there.
pub fn query(call: &Identified, theirs: Dialect) -> Option<String> {
    match (call.dialect == theirs, theirs) {
        (true, _) => call.head.query.clone(),
        (false, Dialect::Gemini) if call.stream => Some(EVENTS.to_owned()),
        (false, _) => None,
    }
}

/// A request in another dialect, and what of it was dropped.
#[derive(Default)]
pub struct Said {
    pub body: Bytes,
    pub dropped: Vec<String>,
    /// Names of tools that the caller's dialect declares otherwise than as functions.
    pub own_tools: Vec<String>,
    /// Of embeddings: what the answer must fit.
    pub wanted: Option<Wanted>,
}

/// Says the caller's request, with what the terms change in it, in the dialect of a target.
pub fn request(
    call: &Identified,
    given: &Given<'_>,
    edits: &Edits,
    terms: &Terms,
    at: &At<'_>,
) -> Result<Said, Refusal> {
    let At { target, dialect, quirks, .. } = *at;
    let changed = (!edits.is_empty()).then(|| edits.apply(&call.body, &call.skim));
    let skimmed = changed.as_ref().and_then(|body| skim(body).ok());
    let (body, skim) = (changed.as_ref().unwrap_or(&call.body), skimmed.as_ref().unwrap_or(&call.skim));
    if let (Some(ours), Some(theirs)) = (embed_codec(call.dialect), embed_codec(dialect)) {
        return embed::request((ours, theirs), body, skim, given, terms, at);
    }
    if call.dialect.operation() == Operation::CountTokens {
        return count::request(call.dialect, body, skim, given, terms, at);
    }
    let (Some(ours), Some(theirs)) = (codec(call.dialect), codec(dialect)) else {
        let told = format!("`{}` cannot be translated to `{}`", call.dialect.name(), dialect.name());
        return Err(Refusal::new(Category::Unsupported, "no_translation", told));
    };
    let mut request = ours.read_request(body, skim, given).map_err(|w| w.refusal())?;
    if let Some(cap) = terms.max_tokens {
        request.max_tokens = Some(request.max_tokens.map_or(cap, |asked| asked.min(cap)));
    }
    let documents_in_results =
        [Dialect::AnthropicMessages, Dialect::BedrockInvoke, Dialect::BedrockConverse, Dialect::CohereChat];
    if !documents_in_results.contains(&dialect) {
        // A result of a tool holds words there, and pictures at most.
        for part in request.messages.iter_mut().flat_map(|message| &mut message.parts) {
            if let Kind::ToolResult(result) = &mut part.kind {
                result.documents_as_words();
            }
        }
    }
    let to = To { model: &target.upstream_model, output_tokens_max: target.output_tokens_max, quirks };
    let carries =
        |element| quirks.has.contains(&element) || (theirs.carries(element) && !quirks.lacks.contains(&element));
    let unthinking = if call.dialect == dialect { None } else { without_thinking(&mut request, target) };
    let mut lost = request.losses(carries);
    let written = theirs.write_request(&request, &to);
    for loss in unthinking.into_iter().chain(written.lost) {
        if !lost.iter().any(|l| l.what == loss.what) {
            lost.push(loss);
        }
    }
    let dropped = accepted(lost, terms, target, dialect)?;
    let own_tools = request.own_tools().into_iter().map(str::to_owned).collect();
    Ok(Said { body: written.body.into(), dropped, own_tools, wanted: None })
}

/// A model of which the catalog knows that it does not think is not told how much to: many refuse to hear of it, even that they
/// shall not.
fn without_thinking(request: &mut Request<'_>, target: &Target) -> Option<Loss> {
    if target.features.as_ref()?.contains(&Feature::Reasoning) {
        return None;
    }
    let ask = request.reasoning.take()?;
    (!ask.is_off()).then(|| Loss::value(Element::ReasoningAsked, format!("`{}` does not think", target.id)))
}

/// The names of what is lost, where all of it may be.
pub fn accepted(lost: Vec<Loss>, terms: &Terms, target: &Target, dialect: Dialect) -> Result<Vec<String>, Refusal> {
    let may_drop = |loss: &Loss| loss.hint || terms.drop.iter().any(|field| covers(field, &loss.what));
    if let Some(loss) = lost.iter().find(|loss| !may_drop(loss)) {
        let why = loss.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let told = format!(
            "`{}` cannot be said to `{}` (it speaks `{}`){why}; leave it out, ask another model, or let a policy drop it",
            loss.what,
            target.id,
            dialect.name(),
        );
        return Err(Refusal {
            param: Some(loss.what.clone()),
            ..Refusal::new(Category::Unsupported, "unsupported_field", told)
        });
    }
    Ok(lost.into_iter().map(|loss| loss.what.into_owned()).collect())
}

/// `response_format` covers `response_format.json_schema`.
fn covers(field: &str, what: &str) -> bool {
    what.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The codec whose words a caller of this dialect understands: for refusals, and for the errors of providers.
pub fn voice(dialect: Dialect) -> &'static dyn Codec {
    let family = match dialect {
        Dialect::OpenaiChat
        | Dialect::OpenaiCompletions
        | Dialect::OpenaiEmbeddings
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches => Dialect::OpenaiChat,
        Dialect::OpenaiResponses => Dialect::OpenaiResponses,
        Dialect::AnthropicMessages | Dialect::AnthropicCountTokens => Dialect::AnthropicMessages,
        Dialect::Gemini | Dialect::GeminiCountTokens | Dialect::GeminiEmbed | Dialect::GeminiBatchEmbed => {
            Dialect::Gemini
        }
        Dialect::VertexPredict => Dialect::Gemini,
        Dialect::BedrockConverse | Dialect::BedrockCountTokens => Dialect::BedrockConverse,
        Dialect::BedrockInvoke | Dialect::BedrockInvokeEmbed => Dialect::BedrockInvoke,
        Dialect::CohereChat
        | Dialect::CohereEmbed
        | Dialect::CohereRerank
        | Dialect::CohereV1Chat
        | Dialect::CohereV1Embed
        | Dialect::CohereV1Rerank => Dialect::CohereChat,
        Dialect::OllamaChat | Dialect::OllamaGenerate => Dialect::OllamaChat,
    };
    codec(family).unwrap_or(&crate::dialects::openai_chat::OpenaiChat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::canonical::ReasoningAsk;

    fn target(features: Option<&[Feature]>) -> Target {
        Target {
            id: "openai/gpt-4o".into(),
            provider: "openai".into(),
            model: "gpt-4o".into(),
            upstream_model: "gpt-4o".into(),
            family: "".into(),
            tier: "".into(),
            region: "".into(),
            operations: Vec::new(),
            features: features.map(|known| known.iter().copied().collect()),
            context_tokens: None,
            output_tokens_max: None,
            price: None,
        }
    }

    #[test]
    fn a_model_that_does_not_think_is_not_told_how_much_to() {
        let high = ReasoningAsk { effort: Some("high".into()), ..ReasoningAsk::default() };
        let off = ReasoningAsk { budget_tokens: Some(0), ..ReasoningAsk::default() };
        for (ask, features, asked, told, why) in [
            (&high, Some(&[Feature::Tools][..]), false, true, "it would refuse the call"),
            (&off, Some(&[Feature::Tools][..]), false, false, "it does what was asked"),
            (&high, Some(&[Feature::Reasoning][..]), true, false, "it thinks"),
            (&high, None, true, false, "nobody knows: the caller does"),
        ] {
            let mut request = Request { reasoning: Some(ask.clone()), ..Request::default() };
            let lost = without_thinking(&mut request, &target(features));
            assert_eq!((request.reasoning.is_some(), lost.is_some()), (asked, told), "{why}");
            assert!(lost.is_none_or(|loss| loss.hint), "it may be left out");
        }
    }
}

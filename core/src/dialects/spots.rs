//! Where in a caller's own bytes the things stand that the pipeline reads and changes: a table, a row a dialect.
//!
//! Policies name members as the canonical request does; here is where each dialect has them. At most one level deep.

use std::borrow::Cow;

use bytes::Bytes;

use super::bedrock::invoke::form;
use super::gemini::names::{camel, twice};
use crate::contract::Dialect;
use crate::contract::skim::{Skim, skim};
use crate::contract::splice::{Edits, with_member};

/// Where a member stands: in the body, or in an object of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot<'a> {
    pub object: Option<&'a str>,
    pub member: &'a str,
    /// `maxOutputTokens` may also be written `max_output_tokens`, and its object likewise.
    underscores: bool,
}

const fn top(member: &str) -> Spot<'_> {
    Spot::top(member)
}

const fn inside(object: &'static str, member: &'static str) -> Spot<'static> {
    Spot::inside(object, member)
}

/// As Google has it: in its object, in either spelling.
const fn google(object: &'static str, member: &'static str) -> Spot<'static> {
    Spot { object: Some(object), member, underscores: true }
}

/// Members that bound the answer's tokens. Which of several counts is the provider's choice.
pub fn max_tokens(dialect: Dialect) -> &'static [Spot<'static>] {
    match dialect {
        Dialect::OpenaiChat => const { &[top("max_completion_tokens"), top("max_tokens")] },
        Dialect::OpenaiResponses => const { &[top("max_output_tokens")] },
        Dialect::OpenaiCompletions | Dialect::AnthropicMessages | Dialect::CohereChat | Dialect::CohereV1Chat => {
            const { &[top("max_tokens")] }
        }
        Dialect::BedrockInvoke => form::BOUNDS,
        Dialect::Gemini => const { &[google("generationConfig", "maxOutputTokens")] },
        Dialect::BedrockConverse => const { &[inside("inferenceConfig", "maxTokens")] },
        Dialect::OllamaChat | Dialect::OllamaGenerate => const { &[inside("options", "num_predict")] },
        Dialect::OpenaiEmbeddings
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches
        | Dialect::AnthropicCountTokens
        | Dialect::GeminiCountTokens
        | Dialect::GeminiEmbed
        | Dialect::GeminiBatchEmbed
        | Dialect::CohereEmbed
        | Dialect::CohereRerank
        | Dialect::BedrockInvokeEmbed
        | Dialect::BedrockCountTokens
        | Dialect::CohereV1Embed
        | Dialect::CohereV1Rerank
        | Dialect::VertexPredict => &[],
    }
}

/// Members that say how many answers are made; where several stand, the largest counts: who asks for the best of twenty pays
/// for twenty.
pub fn answers(dialect: Dialect) -> &'static [Spot<'static>] {
    match dialect {
        Dialect::OpenaiCompletions => const { &[top("n"), top("best_of")] },
        Dialect::Gemini => const { &[google("generationConfig", "candidateCount")] },
        Dialect::BedrockInvoke => form::ANSWERS,
        Dialect::VertexPredict => {
            const { &[google("parameters", "sampleCount"), google("parameters", "candidateCount")] }
        }
        _ => const { &[top("n")] },
    }
}

/// The member that holds the prompt, what it must be, and how such a thing begins.
pub fn prompt(dialect: Dialect) -> Option<(&'static str, &'static str, &'static [u8])> {
    match dialect {
        Dialect::OpenaiChat
        | Dialect::AnthropicMessages
        | Dialect::AnthropicCountTokens
        | Dialect::BedrockConverse
        | Dialect::CohereChat
        | Dialect::OllamaChat => Some(("messages", "a list", b"[")),
        Dialect::OpenaiEmbeddings => Some(("input", "a text or a list", b"[\"")),
        Dialect::Gemini => Some(("contents", "a list", b"[{")),
        Dialect::BedrockCountTokens => Some(("input", "an object", b"{")),
        Dialect::CohereV1Chat => Some(("message", "a text", b"\"")),
        Dialect::VertexPredict => Some(("instances", "a list", b"[")),
        // Its prompt may also be kept at the provider (`prompt`, `previous_response_id`).
        Dialect::OpenaiResponses
        | Dialect::OpenaiCompletions
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches
        | Dialect::GeminiCountTokens
        | Dialect::GeminiEmbed
        | Dialect::GeminiBatchEmbed
        | Dialect::CohereEmbed
        | Dialect::CohereRerank
        | Dialect::CohereV1Embed
        | Dialect::CohereV1Rerank
        // A body of its vendor's own; a call without a prompt loads a model.
        | Dialect::BedrockInvoke
        | Dialect::BedrockInvokeEmbed
        | Dialect::OllamaGenerate => None,
    }
}

/// Names that differ from the canonical request's; what is not listed has the same name, in the body itself.
const RENAMED: &[(Dialect, &str, Spot<'static>)] = &[
    (Dialect::OpenaiResponses, "max_tokens", top("max_output_tokens")),
    (Dialect::OpenaiResponses, "response_format", top("text")),
    (Dialect::AnthropicMessages, "stop", top("stop_sequences")),
    (Dialect::CohereChat, "stop", top("stop_sequences")),
    (Dialect::CohereChat, "top_p", top("p")),
    (Dialect::CohereChat, "top_k", top("k")),
    (Dialect::Gemini, "n", google("generationConfig", "candidateCount")),
    (Dialect::Gemini, "temperature", google("generationConfig", "temperature")),
    (Dialect::Gemini, "top_p", google("generationConfig", "topP")),
    (Dialect::Gemini, "top_k", google("generationConfig", "topK")),
    (Dialect::Gemini, "seed", google("generationConfig", "seed")),
    (Dialect::Gemini, "stop", google("generationConfig", "stopSequences")),
    (Dialect::Gemini, "max_tokens", google("generationConfig", "maxOutputTokens")),
    (Dialect::Gemini, "frequency_penalty", google("generationConfig", "frequencyPenalty")),
    (Dialect::Gemini, "presence_penalty", google("generationConfig", "presencePenalty")),
    (Dialect::BedrockConverse, "temperature", inside("inferenceConfig", "temperature")),
    (Dialect::BedrockConverse, "top_p", inside("inferenceConfig", "topP")),
    (Dialect::BedrockConverse, "stop", inside("inferenceConfig", "stopSequences")),
    (Dialect::BedrockConverse, "max_tokens", inside("inferenceConfig", "maxTokens")),
    (Dialect::OllamaChat, "temperature", inside("options", "temperature")),
    (Dialect::OllamaChat, "top_p", inside("options", "top_p")),
    (Dialect::OllamaChat, "top_k", inside("options", "top_k")),
    (Dialect::OllamaChat, "seed", inside("options", "seed")),
    (Dialect::OllamaChat, "stop", inside("options", "stop")),
    (Dialect::OllamaChat, "max_tokens", inside("options", "num_predict")),
    (Dialect::OllamaGenerate, "temperature", inside("options", "temperature")),
    (Dialect::OllamaGenerate, "top_p", inside("options", "top_p")),
    (Dialect::OllamaGenerate, "top_k", inside("options", "top_k")),
    (Dialect::OllamaGenerate, "seed", inside("options", "seed")),
    (Dialect::OllamaGenerate, "stop", inside("options", "stop")),
    (Dialect::OllamaGenerate, "max_tokens", inside("options", "num_predict")),
    (Dialect::CohereV1Chat, "stop", top("stop_sequences")),
    (Dialect::CohereV1Chat, "top_p", top("p")),
    (Dialect::CohereV1Chat, "top_k", top("k")),
];

/// Where this dialect has a member of the canonical request.
pub fn of(dialect: Dialect, name: &str) -> Spot<'_> {
    RENAMED.iter().find(|(of, known, _)| *of == dialect && *known == name).map_or(Spot::top(name), |(.., spot)| *spot)
}

/// Is the model named in the body, rather than in the path?
pub fn model_in_body(dialect: Dialect) -> bool {
    match dialect {
        Dialect::Gemini
        | Dialect::GeminiCountTokens
        | Dialect::GeminiEmbed
        | Dialect::GeminiBatchEmbed
        | Dialect::BedrockConverse
        | Dialect::BedrockInvoke
        | Dialect::BedrockInvokeEmbed
        | Dialect::BedrockCountTokens
        | Dialect::VertexPredict => false,
        Dialect::OpenaiChat
        | Dialect::OpenaiResponses
        | Dialect::OpenaiCompletions
        | Dialect::OpenaiEmbeddings
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches
        | Dialect::AnthropicMessages
        | Dialect::AnthropicCountTokens
        | Dialect::CohereChat
        | Dialect::CohereEmbed
        | Dialect::CohereRerank
        | Dialect::CohereV1Chat
        | Dialect::CohereV1Embed
        | Dialect::CohereV1Rerank
        | Dialect::OllamaChat
        | Dialect::OllamaGenerate => true,
    }
}

/// A member that stands there in two spellings, where both would be read.
pub fn spelt_twice(dialect: Dialect, body: &[u8], skimmed: &Skim) -> Option<String> {
    (dialect == Dialect::Gemini).then(|| twice(body, skimmed)).flatten()
}

/// May a call leave the model out, so that its provider chooses one? As the providers themselves document it.
pub fn model_optional(dialect: Dialect) -> bool {
    let dialects = [
        Dialect::OpenaiResponses,
        Dialect::OpenaiImages,
        Dialect::OpenaiModerations,
        Dialect::CohereV1Chat,
        Dialect::CohereV1Embed,
        Dialect::CohereV1Rerank,
    ];
    dialects.contains(&dialect)
}

/// Does a call that says nothing of it want a stream?
pub fn streams_by_default(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::OllamaChat | Dialect::OllamaGenerate)
}

impl<'s> Spot<'s> {
    pub const fn top(member: &'s str) -> Self {
        Spot { object: None, member, underscores: false }
    }

    pub const fn inside(object: &'s str, member: &'s str) -> Self {
        Spot { object: Some(object), member, underscores: false }
    }

    /// The spelling in which a member stands there; its own where it does not.
    fn spelt<'n>(&self, name: &'n str, body: &[u8], skimmed: &Skim) -> Cow<'n, str> {
        let same = |known: &&str| known.contains('_') && camel(known) == name;
        let other = || skimmed.members.iter().map(|member| member.name(body)).find(same);
        match self.underscores && skimmed.find(body, name).is_none() {
            true => other().map_or(Cow::Borrowed(name), |found| Cow::Owned(found.to_owned())),
            false => Cow::Borrowed(name),
        }
    }

    /// The value that stands there, as JSON text.
    pub fn read<'b>(&self, body: &'b Bytes, skimmed: &Skim) -> Option<&'b [u8]> {
        let Some(object) = self.object else { return skimmed.raw(body, self.member) };
        let outer = skimmed.raw(body, &self.spelt(object, body, skimmed))?;
        let inner = skim(outer).ok()?;
        inner.raw(outer, &self.spelt(self.member, outer, &inner))
    }

    /// Sets it. An object that is none is replaced: the provider would refuse it anyway.
    pub fn set(&self, body: &Bytes, skimmed: &Skim, edits: &mut Edits, json: &str) {
        let Some(object) = self.object else { return edits.set(self.member, json) };
        let object = self.spelt(object, body, skimmed);
        let pending = edits.pending(&object).map(str::to_owned);
        let outer = pending.as_deref().map(str::as_bytes).or_else(|| skimmed.raw(body, &object));
        let inner = outer.and_then(|outer| Some((outer, skim(outer).ok()?)));
        let member = inner.map_or(Cow::Borrowed(self.member), |(outer, inner)| self.spelt(self.member, outer, &inner));
        if let Ok(text) = with_member(outer, &member, json).or_else(|_| with_member(None, &member, json)) {
            edits.set(&object, text);
        }
    }

    /// Takes it out. `true` = it was there.
    pub fn remove(&self, body: &Bytes, skimmed: &Skim, edits: &mut Edits) -> bool {
        if self.read(body, skimmed).is_none() {
            return false;
        }
        let Some(object) = self.object else {
            edits.remove(self.member);
            return true;
        };
        let object = self.spelt(object, body, skimmed);
        let pending = edits.pending(&object).map(str::to_owned);
        let outer = pending.as_deref().map(str::as_bytes).or_else(|| skimmed.raw(body, &object)).unwrap_or(b"{}");
        let outer = Bytes::copy_from_slice(outer);
        if let Ok(inner) = skim(&outer) {
            let mut inside = Edits::default();
            inside.remove(&self.spelt(self.member, &outer, &inner));
            edits.set(&object, String::from_utf8_lossy(&inside.apply(&outer, &inner)).into_owned());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_changed_where_their_dialect_has_them() {
        let body = Bytes::from_static(br#"{"contents":[],"generationConfig":{"topK":3,"temperature":1}}"#);
        let skimmed = skim(&body).unwrap();
        let mut edits = Edits::default();
        of(Dialect::Gemini, "temperature").set(&body, &skimmed, &mut edits, "0.5");
        of(Dialect::Gemini, "max_tokens").set(&body, &skimmed, &mut edits, "7");
        assert!(of(Dialect::Gemini, "top_k").remove(&body, &skimmed, &mut edits));
        assert!(!of(Dialect::Gemini, "seed").remove(&body, &skimmed, &mut edits));
        let changed = edits.apply(&body, &skimmed);
        let expected = r#"{"contents":[],"generationConfig":{"temperature":0.5,"maxOutputTokens":7}}"#;
        assert_eq!(std::str::from_utf8(&changed).unwrap(), expected);
        assert_eq!(max_tokens(Dialect::Gemini)[0].read(&body, &skimmed), None);
        assert_eq!(of(Dialect::Gemini, "top_k").read(&body, &skimmed), Some(&b"3"[..]));
    }

    #[test]
    fn members_with_underscores_are_changed_where_they_stand() {
        let body = Bytes::from_static(br#"{"generation_config":{"max_output_tokens":4000,"top_k":3,"seed":1}}"#);
        let skimmed = skim(&body).unwrap();
        assert_eq!(max_tokens(Dialect::Gemini)[0].read(&body, &skimmed), Some(&b"4000"[..]));
        let mut edits = Edits::default();
        of(Dialect::Gemini, "max_tokens").set(&body, &skimmed, &mut edits, "64");
        of(Dialect::Gemini, "n").set(&body, &skimmed, &mut edits, "1");
        assert!(of(Dialect::Gemini, "top_k").remove(&body, &skimmed, &mut edits));
        let changed = edits.apply(&body, &skimmed);
        let expected = r#"{"generation_config":{"max_output_tokens":64,"seed":1,"candidateCount":1}}"#;
        assert_eq!(std::str::from_utf8(&changed).unwrap(), expected);
    }
}

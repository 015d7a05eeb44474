//! Where in a caller's own bytes the things stand that the pipeline reads and changes: a table, a row a dialect.
//!
//! Policies name members as the canonical request does; here is where each dialect has them. At most one level deep.

use bytes::Bytes;

use super::bedrock::invoke::form;
use crate::contract::Dialect;
use crate::contract::skim::{Skim, skim};
use crate::contract::splice::{Edits, with_member};

/// Where a member stands: in the body, or in an object of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot<'a> {
    pub object: Option<&'a str>,
    pub member: &'a str,
}

const fn top(member: &str) -> Spot<'_> {
    Spot::top(member)
}

const fn inside(object: &'static str, member: &'static str) -> Spot<'static> {
    Spot::inside(object, member)
}

/// Members that bound the answer's tokens; where several stand, the smallest counts.
pub fn max_tokens(dialect: Dialect) -> &'static [Spot<'static>] {
    match dialect {
        Dialect::OpenaiChat => const { &[top("max_completion_tokens"), top("max_tokens")] },
        Dialect::OpenaiResponses => const { &[top("max_output_tokens")] },
        Dialect::OpenaiCompletions | Dialect::AnthropicMessages | Dialect::CohereChat | Dialect::CohereV1Chat => {
            const { &[top("max_tokens")] }
        }
        Dialect::BedrockInvoke => form::BOUNDS,
        Dialect::Gemini => const { &[inside("generationConfig", "maxOutputTokens")] },
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
    (Dialect::Gemini, "temperature", inside("generationConfig", "temperature")),
    (Dialect::Gemini, "top_p", inside("generationConfig", "topP")),
    (Dialect::Gemini, "top_k", inside("generationConfig", "topK")),
    (Dialect::Gemini, "seed", inside("generationConfig", "seed")),
    (Dialect::Gemini, "stop", inside("generationConfig", "stopSequences")),
    (Dialect::Gemini, "max_tokens", inside("generationConfig", "maxOutputTokens")),
    (Dialect::Gemini, "frequency_penalty", inside("generationConfig", "frequencyPenalty")),
    (Dialect::Gemini, "presence_penalty", inside("generationConfig", "presencePenalty")),
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
    RENAMED
        .iter()
        .find(|(of, known, _)| *of == dialect && *known == name)
        .map_or(Spot { object: None, member: name }, |(.., spot)| *spot)
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
        Spot { object: None, member }
    }

    pub const fn inside(object: &'s str, member: &'s str) -> Self {
        Spot { object: Some(object), member }
    }

    /// The value that stands there, as JSON text.
    pub fn read<'b>(&self, body: &'b Bytes, skimmed: &Skim) -> Option<&'b [u8]> {
        let Some(object) = self.object else { return skimmed.raw(body, self.member) };
        let outer = skimmed.raw(body, object)?;
        let inner = skim(outer).ok()?;
        inner.raw(outer, self.member)
    }

    /// Sets it. An object that is none is replaced: the provider would refuse it anyway.
    pub fn set(&self, body: &Bytes, skimmed: &Skim, edits: &mut Edits, json: &str) {
        let Some(object) = self.object else { return edits.set(self.member, json) };
        let pending = edits.pending(object).map(str::to_owned);
        let outer = pending.as_deref().map(str::as_bytes).or_else(|| skimmed.raw(body, object));
        let changed = with_member(outer, self.member, json).or_else(|_| with_member(None, self.member, json));
        if let Ok(text) = changed {
            edits.set(object, text);
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
        let pending = edits.pending(object).map(str::to_owned);
        let outer = pending.as_deref().map(str::as_bytes).or_else(|| skimmed.raw(body, object)).unwrap_or(b"{}");
        let outer = Bytes::copy_from_slice(outer);
        if let Ok(inner) = skim(&outer) {
            let mut inside = Edits::default();
            inside.remove(self.member);
            edits.set(object, String::from_utf8_lossy(&inside.apply(&outer, &inner)).into_owned());
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
}

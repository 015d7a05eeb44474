//! Embeddings across dialects: a table beside that of conversations, for texts in and vectors out.

use super::{Given, To, Written, cohere, gemini, openai_embeddings};
use crate::contract::Dialect;
use crate::contract::canonical::embed::{EmbedAnswer, EmbedRequest, Encoding};
use crate::contract::read::Wrong;
use crate::contract::skim::Skim;
use crate::contract::usage::Usage;

/// One dialect of embeddings, as a caller's and as a provider's.
pub trait EmbedCodec: Sync {
    /// Reads a caller's request, which was skimmed.
    fn read_request<'a>(&self, body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<EmbedRequest<'a>, Wrong>;

    /// Writes a request for a provider: always for numbers, which every provider tells. What it cannot say is told.
    fn write_request(&self, request: &EmbedRequest<'_>, to: &To<'_>) -> Written;

    fn read_answer<'a>(&self, body: &'a [u8]) -> Result<EmbedAnswer<'a>, Wrong>;

    /// Writes an answer for a caller. Each of its vectors was read once already.
    fn write_answer(&self, answer: &EmbedAnswer<'_>, wanted: &Wanted, given: &Given<'_>) -> Vec<u8>;

    /// The usage of an answer, read beside its bytes.
    fn usage(&self, body: &[u8]) -> Option<Usage>;
}

/// What of a request its answer must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub encoding: Encoding,
    /// How many vectors.
    pub vectors: usize,
}

impl Wanted {
    pub fn of(request: &EmbedRequest<'_>) -> Wanted {
        Wanted { encoding: request.encoding.unwrap_or(Encoding::Float), vectors: request.inputs.len() }
    }
}

/// The codec of a dialect of embeddings.
pub fn embed_codec(dialect: Dialect) -> Option<&'static dyn EmbedCodec> {
    match dialect {
        Dialect::OpenaiEmbeddings => Some(&openai_embeddings::OpenaiEmbeddings),
        Dialect::GeminiEmbed => Some(&gemini::embed::GeminiEmbed { batch: false }),
        Dialect::GeminiBatchEmbed => Some(&gemini::embed::GeminiEmbed { batch: true }),
        Dialect::CohereEmbed => Some(&cohere::embed::CohereEmbed),
        Dialect::OpenaiChat
        | Dialect::OpenaiResponses
        | Dialect::OpenaiCompletions
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches
        | Dialect::AnthropicMessages
        | Dialect::AnthropicCountTokens
        | Dialect::Gemini
        | Dialect::GeminiCountTokens
        | Dialect::BedrockConverse
        | Dialect::CohereChat
        | Dialect::CohereRerank
        | Dialect::OllamaChat
        | Dialect::OllamaGenerate
        | Dialect::BedrockInvoke
        | Dialect::BedrockInvokeEmbed
        | Dialect::BedrockCountTokens
        | Dialect::CohereV1Chat
        | Dialect::CohereV1Embed
        | Dialect::CohereV1Rerank
        | Dialect::VertexPredict => None,
    }
}

#[cfg(test)]
mod tests;

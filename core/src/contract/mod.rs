//! The canonical request with its metadata: what callers send, what they get back, and how both are named.

pub mod base64;
pub mod canonical;
pub mod form;
pub mod glob;
pub mod json;
pub mod meta;
pub mod model_string;
pub mod nearest;
pub mod packed;
pub mod place;
pub mod read;
pub mod refusal;
pub mod skim;
pub mod splice;
pub mod surrogates;
pub mod tokens;
pub mod usage;
pub mod words;
pub mod write;

use serde::{Deserialize, Serialize};

/// The newest version of the contract.
pub const VERSION: &str = "2026-12-01";
/// All versions served.
pub const VERSIONS: [&str; 1] = [VERSION];

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    #[default]
    Chat,
    Embeddings,
    /// Text that goes on a text: the older form of chat.
    Completions,
    /// How many tokens a conversation has.
    CountTokens,
    Rerank,
    Images,
    Audio,
    Moderations,
    Files,
    Batches,
}

impl Operation {
    pub const ALL: [Operation; 10] = [
        Operation::Chat,
        Operation::Embeddings,
        Operation::Completions,
        Operation::CountTokens,
        Operation::Rerank,
        Operation::Images,
        Operation::Audio,
        Operation::Moderations,
        Operation::Files,
        Operation::Batches,
    ];

    /// What must be granted and offered for it: who may converse may count.
    pub fn granted_as(self) -> Operation {
        if self == Operation::CountTokens { Operation::Chat } else { self }
    }

    pub fn name(self) -> &'static str {
        match self {
            Operation::Chat => "chat",
            Operation::Embeddings => "embeddings",
            Operation::Completions => "completions",
            Operation::CountTokens => "count_tokens",
            Operation::Rerank => "rerank",
            Operation::Images => "images",
            Operation::Audio => "audio",
            Operation::Moderations => "moderations",
            Operation::Files => "files",
            Operation::Batches => "batches",
        }
    }
}

macro_rules! dialects {
    ($($variant:ident $name:literal $operation:ident,)*) => {
        /// The wire protocol that somebody speaks, with its operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub enum Dialect {
            #[default]
            $(#[serde(rename = $name)] $variant,)*
        }

        impl Dialect {
            pub const ALL: &'static [Dialect] = &[$(Dialect::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(Dialect::$variant => $name,)* }
            }

            pub fn operation(self) -> Operation {
                match self { $(Dialect::$variant => Operation::$operation,)* }
            }
        }
    };
}

dialects! {
    OpenaiChat "openai.chat" Chat,
    OpenaiResponses "openai.responses" Chat,
    OpenaiCompletions "openai.completions" Completions,
    OpenaiEmbeddings "openai.embeddings" Embeddings,
    OpenaiImages "openai.images" Images,
    OpenaiAudio "openai.audio" Audio,
    OpenaiModerations "openai.moderations" Moderations,
    OpenaiFiles "openai.files" Files,
    OpenaiBatches "openai.batches" Batches,
    AnthropicMessages "anthropic.messages" Chat,
    AnthropicCountTokens "anthropic.count_tokens" CountTokens,
    Gemini "gemini" Chat,
    GeminiCountTokens "gemini.count_tokens" CountTokens,
    GeminiEmbed "gemini.embed" Embeddings,
    GeminiBatchEmbed "gemini.batch_embed" Embeddings,
    BedrockConverse "bedrock.converse" Chat,
    CohereChat "cohere.chat" Chat,
    CohereEmbed "cohere.embed" Embeddings,
    CohereRerank "cohere.rerank" Rerank,
    OllamaChat "ollama.chat" Chat,
    OllamaGenerate "ollama.generate" Completions,
    BedrockInvoke "bedrock.invoke" Chat,
    BedrockInvokeEmbed "bedrock.invoke_embed" Embeddings,
    BedrockCountTokens "bedrock.count_tokens" CountTokens,
    CohereV1Chat "cohere.v1.chat" Chat,
    CohereV1Embed "cohere.v1.embed" Embeddings,
    CohereV1Rerank "cohere.v1.rerank" Rerank,
    VertexPredict "vertex.predict" Embeddings,
}

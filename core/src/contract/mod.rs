//! The canonical request with its metadata: what callers send, what they get back, and how both are named.

pub mod glob;
pub mod meta;
pub mod model_string;
pub mod nearest;
pub mod place;
pub mod refusal;
pub mod skim;
pub mod splice;
pub mod usage;
pub mod words;

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
}

impl Operation {
    pub const ALL: [Operation; 2] = [Operation::Chat, Operation::Embeddings];

    pub fn name(self) -> &'static str {
        match self {
            Operation::Chat => "chat",
            Operation::Embeddings => "embeddings",
        }
    }
}

/// The wire protocol a caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Dialect {
    #[default]
    #[serde(rename = "openai.chat")]
    OpenaiChat,
    #[serde(rename = "openai.embeddings")]
    OpenaiEmbeddings,
}

impl Dialect {
    pub fn name(self) -> &'static str {
        match self {
            Dialect::OpenaiChat => "openai.chat",
            Dialect::OpenaiEmbeddings => "openai.embeddings",
        }
    }

    pub fn operation(self) -> Operation {
        match self {
            Dialect::OpenaiChat => Operation::Chat,
            Dialect::OpenaiEmbeddings => Operation::Embeddings,
        }
    }

    /// The path below a provider's base URL.
    pub fn path(self) -> &'static str {
        match self {
            Dialect::OpenaiChat => "/chat/completions",
            Dialect::OpenaiEmbeddings => "/embeddings",
        }
    }
}

//! What policies may know of a prompt: numbers and names, and its texts where they are asked for.

use serde::{Deserialize, Serialize};

/// About the prompt; none of its words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptFacts {
    /// An estimate: about four bytes of text a token.
    pub tokens: u64,
    pub messages: u64,
    pub roles: Vec<String>,
    pub tools: Vec<String>,
    pub has_images: bool,
    pub has_audio: bool,
    /// Names of features that the call needs of a model.
    pub features: Vec<String>,
}

/// One part of a prompt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextPart {
    pub role: String,
    pub text: String,
}

/// Tokens of a text, estimated: about four bytes a token, never 0.
pub fn tokens_estimate(bytes: usize) -> u64 {
    bytes as u64 / 4 + 1
}

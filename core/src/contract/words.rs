//! What policies may know of a prompt: numbers and names, and its texts where they are asked for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// About the prompt; none of its words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptFacts {
    /// An estimate, by the family of the model that is asked for.
    pub tokens: u64,
    pub messages: u64,
    /// Answers of the model that the conversation has.
    pub turns: u64,
    /// How many of the last turns called the same tools with the same arguments.
    pub repeats: u64,
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

/// A member of which nobody can say what a provider will read: a policy that asks for it must not take it for empty.
/// It names a place and never words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclear {
    pub member: Cow<'static, str>,
    /// Which item of the list; `None` = the member itself.
    pub item: Option<usize>,
    /// It has a member twice; else one of a wrong type.
    pub twice: bool,
}

/// Tokens of a text, estimated: about four bytes a token, never 0.
pub fn tokens_estimate(bytes: usize) -> u64 {
    bytes as u64 / 4 + 1
}

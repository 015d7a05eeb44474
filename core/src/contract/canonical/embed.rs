//! Embeddings: texts asked for as vectors, and the vectors. Numbers stay as they were written.

use std::borrow::Cow;

use crate::contract::base64::{decode, encode};
use crate::contract::read::Raw;
use crate::contract::usage::Usage;

#[derive(Debug, Default)]
pub struct EmbedRequest<'a> {
    /// As the caller named it.
    pub model: Cow<'a, str>,
    pub inputs: Vec<Input<'a>>,
    /// How long each vector shall be.
    pub dimensions: Option<u64>,
    pub encoding: Option<Encoding>,
    /// What the vectors are for.
    pub input_type: Option<InputType<'a>>,
    /// The caller's own user, as an id.
    pub user: Option<Cow<'a, str>>,
    /// What has no place here, under its path in the caller's words.
    pub extra: Vec<(String, Raw<'a>)>,
}

#[derive(Debug, Clone)]
pub enum Input<'a> {
    Text(Cow<'a, str>),
    /// A list of the numbers of tokens: known to one family of models only.
    Tokens(Raw<'a>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Float,
    /// Floats of 32 bits, the low byte first, in base64.
    Base64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputType<'a> {
    /// A question, whose answers are searched for.
    Query,
    /// A text that shall be found.
    Document,
    Classification,
    Clustering,
    Similarity,
    /// In its own dialect's word.
    Other(Cow<'a, str>),
}

#[derive(Debug, Default)]
pub struct EmbedAnswer<'a> {
    /// As the provider named it; empty = it told none.
    pub model: Cow<'a, str>,
    /// In the order of the inputs.
    pub vectors: Vec<Vector<'a>>,
    pub usage: Option<Usage>,
}

#[derive(Debug, Clone)]
pub enum Vector<'a> {
    /// A JSON list of numbers.
    Numbers(Raw<'a>),
    Base64(Cow<'a, str>),
}

impl Vector<'_> {
    /// As a JSON list of numbers. `None` = what was told is no vector.
    pub fn numbers(&self) -> Option<Cow<'_, str>> {
        match self {
            Vector::Numbers(raw) => Some(Cow::Borrowed(raw.get())),
            Vector::Base64(text) => {
                let bytes = decode(text)?;
                let (floats, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return None;
                }
                let floats: Vec<f32> = floats.iter().map(|four| f32::from_le_bytes(*four)).collect();
                serde_json::to_string(&floats).ok().map(Cow::Owned)
            }
        }
    }

    /// As floats of 32 bits in base64. `None` = what was told is no vector.
    pub fn base64(&self) -> Option<Cow<'_, str>> {
        match self {
            Vector::Base64(text) => Some(Cow::Borrowed(text)),
            Vector::Numbers(raw) => {
                let floats: Vec<f32> = serde_json::from_str(raw.get()).ok()?;
                let bytes: Vec<u8> = floats.into_iter().flat_map(f32::to_le_bytes).collect();
                Some(Cow::Owned(encode(&bytes)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_the_same_in_both_encodings() {
        let numbers: Raw<'_> = serde_json::from_str("[0.5, -1.25e-3,3]").unwrap();
        let base64 = Vector::Numbers(numbers).base64().unwrap().into_owned();
        assert_eq!(base64, "AAAAPwrXo7oAAEBA");
        assert_eq!(Vector::Base64(base64.into()).numbers().as_deref(), Some("[0.5,-0.00125,3.0]"));
        for broken in ["AAA", "AAAAP", "?"] {
            assert_eq!(Vector::Base64(broken.into()).numbers(), None, "{broken}");
        }
        assert_eq!(Vector::Numbers(serde_json::from_str("[\"a\"]").unwrap()).base64(), None);
    }
}

//! A stream, told step by step. Events own their words: they outlive the bytes that brought them.
//!
//! An order that every reader keeps and every writer may rely on: `Start` first; then for each part `Begin`, its `Delta`s and
//! `End` (parts of one choice do not overlap, but for calls of tools, whose pieces name their part); then a `Finish` for each
//! choice; `Usage` anywhere, the last one counts; `Done` last, and only if the provider said that it is complete.

use super::answer::Finish;
use super::part::{MediaKind, Signature};
use crate::contract::usage::{Usage, UsedBeside};

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Start {
        /// Empty = not told.
        id: String,
        model: String,
        created_s: Option<i64>,
    },
    Begin {
        choice: u64,
        /// Counts up from 0 in each choice.
        part: u64,
        kind: Begins,
    },
    Delta {
        choice: u64,
        part: u64,
        delta: Delta,
    },
    End {
        choice: u64,
        part: u64,
    },
    /// Log probabilities of what was just said, in OpenAI's form, as JSON.
    Logprobs {
        choice: u64,
        json: String,
    },
    Finish {
        choice: u64,
        reason: Finish,
        stop_sequence: Option<String>,
    },
    Usage(Usage),
    /// What is billed with the usage, and is not in it; the last one counts.
    Beside(Vec<UsedBeside>),
    ServiceTier(String),
    /// The provider broke off and said why.
    Error(StreamError),
    Done,
}

impl Event {
    /// The words in it.
    pub fn words(&self) -> Option<&str> {
        match self {
            Event::Delta { delta: Delta::Text(text) | Delta::Arguments(text) | Delta::Encrypted(text), .. }
            | Event::Logprobs { json: text, .. }
            | Event::Begin {
                kind: Begins::ToolCall { name: text, .. } | Begins::Native(text) | Begins::Media { data: text, .. },
                ..
            } => Some(text),
            Event::Delta { delta: Delta::Signature(seal), .. } => Some(&seal.data),
            Event::Delta { delta: Delta::Citation { cited, .. }, .. } => cited.as_deref(),
            Event::Start { .. }
            | Event::Begin { kind: Begins::Text | Begins::Refusal | Begins::Reasoning { .. }, .. }
            | Event::End { .. }
            | Event::Finish { .. }
            | Event::Usage(_)
            | Event::Beside(_)
            | Event::ServiceTier(_)
            | Event::Error(_)
            | Event::Done => None,
        }
    }
}

/// What kind of part begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begins {
    Text,
    Refusal,
    Reasoning {
        /// A summary, not the thoughts themselves.
        summary: bool,
        id: Option<String>,
    },
    ToolCall {
        id: String,
        name: String,
    },
    /// A part that only its own dialect knows: named, so that its loss can be told. It has no deltas.
    Native(String),
    /// What the model drew or said, as a whole: it has no deltas either.
    Media {
        what: MediaKind,
        /// `image/png`; empty = not told.
        mime: String,
        /// Standard base64.
        data: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Of a text, a refusal, a reasoning.
    Text(String),
    /// A piece of a call's arguments, JSON as text.
    Arguments(String),
    /// Without data it tells whose the sealed thoughts are that follow.
    Signature(Signature<'static>),
    /// Thoughts that only their provider can read. Whose they are was told before.
    Encrypted(String),
    Citation {
        url: Option<String>,
        title: Option<String>,
        cited: Option<String>,
        start: Option<u64>,
        end: Option<u64>,
    },
}

/// A provider's error inside a stream that had begun.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamError {
    pub message: String,
    /// The provider's own name for it, and its status where it tells one.
    pub code: Option<String>,
    pub status: Option<u16>,
}

//! An answer as a whole.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::part::Part;
use crate::contract::read::Raw;
use crate::contract::usage::{Usage, UsedBeside};

#[derive(Debug, Default)]
pub struct Answer<'a> {
    /// The provider's own id; empty = it told none.
    pub id: Cow<'a, str>,
    /// As the provider named it; empty = it told none.
    pub model: Cow<'a, str>,
    /// Seconds since 1970.
    pub created_s: Option<i64>,
    pub choices: Vec<Choice<'a>>,
    pub usage: Option<Usage>,
    /// What is billed with it, and is not in it.
    pub beside: Vec<UsedBeside>,
    pub service_tier: Option<Cow<'a, str>>,
}

#[derive(Debug, Default)]
pub struct Choice<'a> {
    pub index: u64,
    /// In the order in which they were said: reasoning, texts, calls of tools.
    pub parts: Vec<Part<'a>>,
    pub finish: Option<Finish>,
    /// The sequence that ended it.
    pub stop_sequence: Option<Cow<'a, str>>,
    /// In OpenAI's form: the object of its chat, or the bare list of tokens.
    pub logprobs: Option<Raw<'a>>,
    /// The same, where the provider has a form of its own.
    pub logprobs_made: Option<Box<RawValue>>,
}

impl Choice<'_> {
    /// Log probabilities in OpenAI's form, read or made.
    pub fn logprobs_json(&self) -> Option<&RawValue> {
        self.logprobs.or(self.logprobs_made.as_deref())
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    Stop,
    StopSequence,
    Length,
    ToolCalls,
    ContentFilter,
    /// The model would not answer.
    Refusal,
    /// The provider paused a long turn: send the answer back to go on.
    Pause,
    /// The model's context is full.
    ContextLength,
    /// The provider failed on the way.
    Error,
    /// A reason of the provider's own.
    Other(String),
}

impl Finish {
    /// OpenAI ends a refusal as it ends everything: that it is one stands in what was said.
    pub fn refusing(self, refuses: bool) -> Finish {
        if refuses && self == Finish::Stop { Finish::Refusal } else { self }
    }

    /// For receipts and facts: OpenTelemetry's words where it has one.
    pub fn name(&self) -> &str {
        match self {
            Finish::Stop | Finish::StopSequence => "stop",
            Finish::Length => "length",
            Finish::ToolCalls => "tool_calls",
            Finish::ContentFilter => "content_filter",
            Finish::Refusal => "refusal",
            Finish::Pause => "pause",
            Finish::ContextLength => "context_length",
            Finish::Error => "error",
            Finish::Other(name) => name,
        }
    }
}

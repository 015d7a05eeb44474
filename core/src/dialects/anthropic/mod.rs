//! Anthropic's messages, and the counting of their tokens.
//!
//! Thoughts are sealed here: what another maker sealed is left out of requests, and rides in the seals of answers, tagged, so
//! that callers who send back what they got keep their model's train of thought.

mod answer;
mod blocks;
pub mod count;
mod error;
mod read_request;
mod stream_read;
mod stream_write;
#[cfg(test)]
mod tests;
mod thinking;
mod usage;
mod write_blocks;
mod write_request;

use http::{HeaderMap, StatusCode};

use super::frames::{Frame, Framing};
use super::{Codec, Given, Notes, Said, StreamReader, StreamWriter, To, Written};
use crate::contract::canonical::Request;
use crate::contract::canonical::answer::{Answer, Finish};
use crate::contract::canonical::element::Element;
use crate::contract::read::Wrong;
use crate::contract::refusal::{Category, Refusal};
use crate::contract::skim::Skim;

pub use thinking::goes_on_without;

pub struct Anthropic;

impl Codec for Anthropic {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    /// What only some models carry, and other makers' thoughts, the writer tells as values. Refusals go as texts; of tools
    /// only those are shown that may be chosen; nothing is ever stored.
    fn carries(&self, element: Element) -> bool {
        match element {
            Element::SystemMidway
            | Element::ImageBase64
            | Element::ImageUrl
            | Element::DocumentBase64
            | Element::DocumentUrl
            | Element::DocumentText
            | Element::DocumentCitations
            | Element::FileId
            | Element::Refusals
            | Element::ToolCalls
            | Element::ToolResults
            | Element::ToolResultError
            | Element::ToolResultMedia
            | Element::ReasoningText
            | Element::ReasoningSigned
            | Element::ReasoningEncrypted
            | Element::CacheMarks
            | Element::Tools
            | Element::ToolStrict
            | Element::ToolChoiceNone
            | Element::ToolChoiceRequired
            | Element::ToolChoiceNamed
            | Element::ToolChoiceAmong
            | Element::ParallelTools
            | Element::OneToolAtATime
            | Element::Temperature
            | Element::TopP
            | Element::TopK
            | Element::Stop
            | Element::JsonSchema
            | Element::ReasoningAsked
            | Element::ReasoningShown
            | Element::ServiceTier
            | Element::User
            | Element::NotStored => true,
            Element::MessageName
            | Element::ImageDetail
            | Element::AudioBase64
            | Element::VideoBase64
            | Element::MediaUrl
            // What other dialects alone know. Its own are written, should they come this way.
            | Element::NativePart
            | Element::NativeTool
            | Element::FrequencyPenalty
            | Element::PresencePenalty
            | Element::Seed
            | Element::SeveralAnswers
            | Element::Logprobs
            | Element::LogitBias
            | Element::JsonObject
            | Element::Verbosity
            | Element::Metadata
            | Element::Stored
            | Element::CacheKey => false,
        }
    }

    fn read_request<'a>(&self, body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<Request<'a>, Wrong> {
        read_request::read(body, skim, given)
    }

    fn write_request(&self, request: &Request<'_>, to: &To<'_>) -> Written {
        write_request::write(request, to)
    }

    fn read_answer<'a>(&self, body: &'a [u8], _given: &Given<'_>) -> Result<Answer<'a>, Wrong> {
        answer::read(body)
    }

    fn write_answer(&self, answer: &Answer<'_>, given: &Given<'_>) -> Written {
        answer::write(answer, given)
    }

    fn stream_reader(&self, _given: &Given<'_>) -> Box<dyn StreamReader> {
        Box::new(stream_read::Reader::default())
    }

    fn stream_writer(&self, given: &Given<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream_write::Writer::new(given))
    }

    fn read_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
        error::read(status, headers, body)
    }

    fn write_refusal(&self, refusal: &Refusal, request_id: &str) -> String {
        error::write(refusal, request_id)
    }

    fn refusal_status(&self, refusal: &Refusal) -> StatusCode {
        match refusal.category {
            Category::BudgetExceeded => StatusCode::PAYMENT_REQUIRED,
            _ => refusal.status(),
        }
    }

    fn glance(&self, body: &[u8]) -> Notes {
        answer::glance(body)
    }

    fn note(&self, frame: &Frame<'_>, notes: &mut Notes) {
        stream_read::note(frame, notes);
    }
}

fn finish_of(name: &str) -> Finish {
    match name {
        "end_turn" => Finish::Stop,
        "stop_sequence" => Finish::StopSequence,
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::Refusal,
        "pause_turn" => Finish::Pause,
        "model_context_window_exceeded" => Finish::ContextLength,
        other => Finish::Other(other.to_owned()),
    }
}

/// Reasons as this dialect names them. It has no word for a provider that failed: whatever is said must not look complete.
fn finish_name(finish: &Finish) -> &str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::StopSequence => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter | Finish::Refusal => "refusal",
        Finish::Pause => "pause_turn",
        Finish::ContextLength => "model_context_window_exceeded",
        Finish::Error => "error",
        Finish::Other(name) => name,
    }
}

/// Others end a call of a tool, or a refusal, as they end everything; callers of this dialect go by the reason.
fn fitting(reason: Finish, calls: bool, refuses: bool) -> Finish {
    match reason {
        Finish::Stop if calls => Finish::ToolCalls,
        Finish::Stop if refuses => Finish::Refusal,
        other => other,
    }
}

/// `standard` is what the canonical form calls `default`.
fn tier_of(name: &str) -> &str {
    if name == "standard" { "default" } else { name }
}

fn tier_name(tier: &str) -> &str {
    match tier {
        "default" | "auto" => "standard",
        other => other,
    }
}

/// An id for an answer whose provider told none.
fn made_id(call_id: &str) -> String {
    format!("msg_{}", call_id.replace('-', ""))
}

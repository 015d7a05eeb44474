//! Bedrock's Converse: one dialect for many makers' models, with streams in Amazon's own framing.
//!
//! The model and whether a stream is wanted stand in the path. Blocks of content are objects of one member. What a maker's
//! models take beside the dialect goes into `additionalModelRequestFields`, in the maker's words.

mod additional;
mod answer;
pub mod count;
mod error;
pub mod invoke;
mod media;
mod model;
mod read_blocks;
mod read_request;
#[cfg(test)]
mod replayed;
#[cfg(test)]
mod sealed_tests;
mod stream_read;
#[cfg(test)]
mod stream_tests;
mod stream_write;
#[cfg(test)]
mod tests;
mod usage;
mod write_blocks;
mod write_request;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::frames::{Frame, Framing};
use super::{Codec, Given, Notes, Said, StreamReader, StreamWriter, To, Written};
use crate::contract::canonical::Request;
use crate::contract::canonical::answer::{Answer, Finish};
use crate::contract::canonical::element::Element;
use crate::contract::read::Wrong;
use crate::contract::refusal::{Category, Refusal};
use crate::contract::skim::Skim;

pub struct Bedrock;

impl Codec for Bedrock {
    fn framing(&self) -> Framing {
        Framing::EventStream
    }

    /// Of files it carries objects in S3; a choice of none or among some by leaving tools out; nothing is stored here. Only
    /// some models take instructions midway: a provider's quirk says which.
    fn carries(&self, element: Element) -> bool {
        match element {
            Element::ImageBase64
            | Element::AudioBase64
            | Element::VideoBase64
            | Element::DocumentBase64
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
            | Element::Metadata
            | Element::NotStored => true,
            Element::SystemMidway
            | Element::MessageName
            | Element::ImageUrl
            | Element::ImageDetail
            | Element::MediaUrl
            | Element::DocumentUrl
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
            | Element::User
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

    fn read_answer<'a>(&self, body: &'a [u8], given: &Given<'_>) -> Result<Answer<'a>, Wrong> {
        answer::read(body, given)
    }

    fn write_answer(&self, answer: &Answer<'_>, _given: &Given<'_>) -> Written {
        answer::write(answer)
    }

    fn stream_reader(&self, given: &Given<'_>) -> Box<dyn StreamReader> {
        Box::new(stream_read::Reader::new(given))
    }

    fn stream_writer(&self, _given: &Given<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream_write::Writer::default())
    }

    fn read_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
        error::read(status, headers, body)
    }

    fn write_refusal(&self, refusal: &Refusal, request_id: &str) -> String {
        error::write(refusal, request_id)
    }

    /// A refusal for want of money is sent once only with a 400: of a 429 SDKs think that waiting helps.
    fn refusal_status(&self, refusal: &Refusal) -> StatusCode {
        if refusal.category == Category::BudgetExceeded {
            return StatusCode::BAD_REQUEST;
        }
        if refusal.category == Category::Auth { StatusCode::FORBIDDEN } else { refusal.status() }
    }

    fn refusal_headers(&self, refusal: &Refusal, headers: &mut HeaderMap) {
        headers.insert("x-amzn-errortype", HeaderValue::from_static(error::http_kind(refusal.category)));
    }

    fn glance(&self, body: &[u8]) -> Notes {
        answer::glance(body)
    }

    fn note(&self, frame: &Frame<'_>, notes: &mut Notes) {
        stream_read::note(frame, notes);
    }
}

/// Reasons that only this dialect has; they stay what they are.
const OWN_REASONS: [&str; 2] = ["malformed_model_output", "malformed_tool_use"];

fn finish_of(name: &str) -> Finish {
    match name {
        "end_turn" => Finish::Stop,
        "stop_sequence" => Finish::StopSequence,
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "content_filtered" | "guardrail_intervened" => Finish::ContentFilter,
        "model_context_window_exceeded" => Finish::ContextLength,
        other => Finish::Other(other.to_owned()),
    }
}

fn finish_name(finish: &Finish) -> &str {
    match finish {
        Finish::Stop | Finish::Pause => "end_turn",
        Finish::StopSequence => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter | Finish::Refusal => "content_filtered",
        Finish::ContextLength => "model_context_window_exceeded",
        Finish::Error => "malformed_model_output",
        Finish::Other(name) if OWN_REASONS.contains(&&**name) => name,
        // SDKs know no others.
        Finish::Other(_) => "end_turn",
    }
}

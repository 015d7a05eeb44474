//! Cohere's chat, version 2, as callers and as the provider speak it; and what its embeddings and rankings bill.
//!
//! Messages and tools look like OpenAI's. What differs: plans beside thoughts, documents beside messages, citations with
//! sources, two counts of tokens of which one is billed, and failures at the end of a stream that began well.

mod answer;
mod citations;
mod documents;
pub mod embed;
mod error;
mod logprobs;
mod message;
mod read_request;
mod stream_read;
mod stream_write;
pub(in crate::dialects) mod tools;
pub mod usage;
pub mod v1;
mod write_request;

use http::{HeaderMap, StatusCode};

use super::frames::{Frame, Framing};
use super::{Codec, Given, Notes, Said, StreamReader, StreamWriter, To, Written};
use crate::contract::canonical::Request;
use crate::contract::canonical::answer::Answer;
use crate::contract::canonical::element::Element;
use crate::contract::read::Wrong;
use crate::contract::refusal::Refusal;
use crate::contract::skim::Skim;

pub struct Cohere;

/// The id of a reasoning that is a plan for calls (`tool_plan`), so that it comes back as one.
const TOOL_PLAN: &str = "tool_plan";

impl Codec for Cohere {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn carries(&self, element: Element) -> bool {
        carries(element)
    }

    fn read_request<'a>(&self, body: &'a [u8], skim: &'a Skim, _: &Given<'a>) -> Result<Request<'a>, Wrong> {
        read_request::read(body, skim)
    }

    fn write_request(&self, request: &Request<'_>, to: &To<'_>) -> Written {
        write_request::write(request, to)
    }

    fn read_answer<'a>(&self, body: &'a [u8], given: &Given<'_>) -> Result<Answer<'a>, Wrong> {
        answer::read(body, given)
    }

    fn write_answer(&self, answer: &Answer<'_>, given: &Given<'_>) -> Written {
        answer::write(answer, given)
    }

    fn stream_reader(&self, given: &Given<'_>) -> Box<dyn StreamReader> {
        Box::new(stream_read::Reader::new(given))
    }

    fn stream_writer(&self, given: &Given<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream_write::Writer::new(given))
    }

    fn read_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
        error::read(status, headers, body)
    }

    fn write_refusal(&self, refusal: &Refusal, request_id: &str) -> String {
        error::refusal_json(refusal, request_id)
    }

    fn glance(&self, body: &[u8]) -> Notes {
        answer::glance(body)
    }

    fn note(&self, frame: &Frame<'_>, notes: &mut Notes) {
        stream_read::note(frame, notes);
    }
}

/// What needs a word: refusals are texts; results of tools hold documents with text, other media are told value by value;
/// where only some tools may be chosen only those are offered; several calls at once and thoughts that are shown are its
/// only way; nothing is ever stored.
fn carries(element: Element) -> bool {
    match element {
        Element::SystemMidway
        | Element::ImageBase64
        | Element::ImageUrl
        | Element::ImageDetail
        | Element::DocumentText
        | Element::DocumentCitations
        | Element::Refusals
        | Element::ToolCalls
        | Element::ToolResults
        | Element::ToolResultMedia
        | Element::ReasoningText
        | Element::Tools
        | Element::ToolStrict
        | Element::ToolChoiceNone
        | Element::ToolChoiceRequired
        | Element::ToolChoiceNamed
        | Element::ToolChoiceAmong
        | Element::ParallelTools
        | Element::Temperature
        | Element::TopP
        | Element::TopK
        | Element::FrequencyPenalty
        | Element::PresencePenalty
        | Element::Seed
        | Element::Stop
        | Element::Logprobs
        | Element::JsonObject
        | Element::JsonSchema
        | Element::ReasoningAsked
        | Element::ReasoningShown
        | Element::NotStored => true,
        Element::MessageName
        | Element::AudioBase64
        | Element::VideoBase64
        | Element::MediaUrl
        | Element::DocumentBase64
        | Element::DocumentUrl
        | Element::FileId
        | Element::ToolResultError
        | Element::ReasoningSigned
        | Element::ReasoningEncrypted
        | Element::NativePart
        | Element::CacheMarks
        | Element::NativeTool
        | Element::OneToolAtATime
        | Element::SeveralAnswers
        | Element::LogitBias
        | Element::Verbosity
        | Element::ServiceTier
        | Element::User
        | Element::Metadata
        | Element::Stored
        | Element::CacheKey => false,
    }
}

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;

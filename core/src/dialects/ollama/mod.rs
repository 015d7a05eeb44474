//! Ollama's own chat (`/api/chat`), as callers and as the server speak it.
//!
//! A JSON value a line where it streams, which it does unless told not to; pictures as bare base64 beside the text; arguments
//! of calls as objects, each call whole; settings in `options`.

mod answer;
mod error;
mod message;
mod read_request;
mod stream_read;
mod stream_write;
mod write_request;

use http::{HeaderMap, StatusCode};

use super::frames::{Frame, Framing};
use super::{Codec, Given, Notes, Said, StreamReader, StreamWriter, To, Written};
use crate::contract::canonical::Request;
use crate::contract::canonical::answer::Answer;
use crate::contract::canonical::element::Element;
use crate::contract::canonical::part::MediaKind;
use crate::contract::read::Wrong;
use crate::contract::refusal::Refusal;
use crate::contract::skim::Skim;

pub struct Ollama;

impl Codec for Ollama {
    fn framing(&self) -> Framing {
        Framing::Ndjson
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

    fn shows(&self, what: MediaKind) -> bool {
        what == MediaKind::Image
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

/// What needs a word: refusals are texts; results of tools hold pictures, other media are told value by value; where only
/// some tools may be chosen, or none, only those are offered; several calls at once and thoughts that are shown are its
/// only way; nothing is ever stored.
fn carries(element: Element) -> bool {
    match element {
        Element::SystemMidway
        | Element::ImageBase64
        | Element::Refusals
        | Element::ToolCalls
        | Element::ToolResults
        | Element::ToolResultMedia
        | Element::ReasoningText
        | Element::Tools
        | Element::ToolChoiceNone
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
        | Element::ImageUrl
        | Element::ImageDetail
        | Element::AudioBase64
        | Element::VideoBase64
        | Element::MediaUrl
        | Element::DocumentBase64
        | Element::DocumentUrl
        | Element::DocumentText
        | Element::DocumentCitations
        | Element::FileId
        | Element::ToolResultError
        | Element::ReasoningSigned
        | Element::ReasoningEncrypted
        | Element::NativePart
        | Element::CacheMarks
        | Element::ToolStrict
        | Element::NativeTool
        | Element::ToolChoiceRequired
        | Element::ToolChoiceNamed
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
mod tests;

//! Google's `generateContent` and `streamGenerateContent`, as Gemini's and Vertex's endpoints speak it.
//!
//! Model and stream stand in the path, parts have no tags, calls of tools come whole and often without an id, and seals on
//! thoughts ride on any part. Members are read in both spellings (`systemInstruction`, `system_instruction`).

mod answer;
pub mod count_tokens;
pub mod embed;
mod error;
mod grounding;
mod link;
mod logprobs;
pub(in crate::dialects) mod names;
mod partial;
pub mod predict;
mod read_parts;
mod read_request;
pub mod repeated;
mod results;
mod schema;
mod seal;
mod stream_read;
mod stream_write;
#[cfg(test)]
mod tests;
mod thinking;
mod tools;
mod usage;
mod write_parts;
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

pub struct Gemini;

impl Codec for Gemini {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn carries(&self, element: Element) -> bool {
        match element {
            Element::ImageBase64
            // URLs go as `fileData`: the service fetches them itself.
            | Element::ImageUrl
            | Element::AudioBase64
            | Element::VideoBase64
            | Element::MediaUrl
            | Element::DocumentBase64
            | Element::DocumentUrl
            | Element::FileId
            | Element::ToolCalls
            | Element::ToolResults
            | Element::ToolResultError
            // Beside the result, or inside it where the provider takes that.
            | Element::ToolResultMedia
            | Element::ReasoningText
            | Element::ReasoningSigned
            | Element::Tools
            | Element::ToolChoiceNone
            | Element::ToolChoiceRequired
            | Element::ToolChoiceNamed
            | Element::ToolChoiceAmong
            // It is what the model does anyway.
            | Element::ParallelTools
            | Element::Temperature
            | Element::TopP
            | Element::TopK
            | Element::FrequencyPenalty
            | Element::PresencePenalty
            | Element::Seed
            | Element::Stop
            | Element::SeveralAnswers
            | Element::Logprobs
            | Element::JsonObject
            | Element::JsonSchema
            | Element::ReasoningAsked
            | Element::ReasoningShown
            | Element::ServiceTier => true,
            // They go as the text that they are.
            Element::DocumentText | Element::Refusals => true,
            Element::SystemMidway
            | Element::MessageName
            | Element::ImageDetail
            | Element::DocumentCitations
            | Element::ReasoningEncrypted
            | Element::NativePart
            | Element::CacheMarks
            | Element::ToolStrict
            | Element::NativeTool
            | Element::OneToolAtATime
            | Element::LogitBias
            | Element::Verbosity
            | Element::User
            | Element::Metadata
            | Element::Stored
            | Element::NotStored
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

    fn write_answer(&self, answer: &Answer<'_>, given: &Given<'_>) -> Written {
        answer::write(answer, given)
    }

    fn shows(&self, _what: MediaKind) -> bool {
        true
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
        error::write(refusal, request_id)
    }

    fn glance(&self, body: &[u8]) -> Notes {
        usage::glance(body)
    }

    fn note(&self, frame: &Frame<'_>, notes: &mut Notes) {
        usage::note(frame, notes);
    }
}

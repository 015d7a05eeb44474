//! OpenAI's responses: a conversation as a list of items, answered with items. Coding agents speak it.
//!
//! Ids that point at what a provider keeps (`previous_response_id`, `conversation`, `prompt`, `item_reference`) mean something
//! there alone: the pipeline pins a call that has one to its target, so that here they are only named as what is lost.

mod answer;
mod error;
mod items;
mod note;
mod output;
pub(in crate::dialects) mod own;
mod parts;
mod read_request;
mod seal;
mod stream_items;
mod stream_output;
mod stream_read;
mod stream_write;
#[cfg(test)]
mod tests;
mod write_items;
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

pub struct OpenaiResponses;

impl Codec for OpenaiResponses {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn carries(&self, element: Element) -> bool {
        match element {
            Element::SystemMidway
            | Element::ImageBase64
            | Element::ImageUrl
            | Element::ImageDetail
            | Element::DocumentBase64
            | Element::DocumentUrl
            // Documents of plain text go as the text that they are.
            | Element::DocumentText
            | Element::FileId
            | Element::Refusals
            | Element::ToolCalls
            | Element::ToolResults
            | Element::ToolResultMedia
            // OpenAI's own. What others sealed is told by the writer.
            | Element::ReasoningText
            | Element::ReasoningSigned
            | Element::ReasoningEncrypted
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
            | Element::Logprobs
            | Element::JsonObject
            | Element::JsonSchema
            | Element::ReasoningAsked
            | Element::ReasoningShown
            | Element::Verbosity
            | Element::ServiceTier
            | Element::User
            | Element::Metadata
            | Element::Stored
            | Element::NotStored
            | Element::CacheKey => true,
            Element::MessageName
            | Element::AudioBase64
            | Element::VideoBase64
            | Element::MediaUrl
            | Element::DocumentCitations
            | Element::ToolResultError
            | Element::NativePart
            | Element::NativeTool
            // Only the newest models take them, and others refuse them.
            | Element::CacheMarks
            | Element::TopK
            | Element::FrequencyPenalty
            | Element::PresencePenalty
            | Element::Seed
            | Element::Stop
            | Element::SeveralAnswers
            | Element::LogitBias => false,
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
        Box::<stream_read::Reader>::default()
    }

    fn stream_writer(&self, given: &Given<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream_write::Writer::new(given))
    }

    fn read_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
        error::read(status, headers, body)
    }

    fn write_refusal(&self, refusal: &Refusal, request_id: &str) -> String {
        refusal.openai_json(request_id)
    }

    fn glance(&self, body: &[u8]) -> Notes {
        note::glance(body)
    }

    fn note(&self, frame: &Frame<'_>, notes: &mut Notes) {
        note::note(frame, notes);
    }
}

//! OpenAI's chat completions: the dialect that most callers and most providers speak, each provider a little differently.
//!
//! It is also the canonical request of the contract: the names of elements are its members.

mod able;
mod answer;
mod details;
mod error;
mod mend;
mod note;
mod read_media;
mod read_request;
mod read_tools;
mod stream_read;
mod stream_write;
#[cfg(test)]
mod tests;
mod write_answer;
mod write_request;

pub(super) use able::fit;
pub use mend::mend;

use http::{HeaderMap, StatusCode};

use super::frames::{Frame, Framing};
use super::{Codec, Given, Notes, Said, StreamReader, StreamWriter, To, Written};
use crate::contract::canonical::Request;
use crate::contract::canonical::answer::{Answer, Finish};
use crate::contract::canonical::element::Element;
use crate::contract::canonical::part::MediaKind;
use crate::contract::read::Wrong;
use crate::contract::refusal::Refusal;
use crate::contract::skim::{Skim, skim};

pub struct OpenaiChat;

impl Codec for OpenaiChat {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn carries(&self, element: Element) -> bool {
        match element {
            Element::SystemMidway
            | Element::MessageName
            | Element::ImageBase64
            | Element::ImageUrl
            | Element::ImageDetail
            | Element::AudioBase64
            | Element::DocumentBase64
            | Element::FileId
            | Element::Refusals
            | Element::ToolCalls
            | Element::ToolResults
            // A picture that a tool gave stands in a message of the user behind the results.
            | Element::ToolResultMedia
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
            | Element::FrequencyPenalty
            | Element::PresencePenalty
            | Element::Seed
            | Element::Stop
            | Element::SeveralAnswers
            | Element::Logprobs
            | Element::LogitBias
            | Element::JsonObject
            | Element::JsonSchema
            | Element::ReasoningAsked
            | Element::Verbosity
            | Element::ServiceTier
            | Element::User
            | Element::Metadata
            | Element::Stored
            | Element::NotStored
            | Element::CacheKey => true,
            // Documents of plain text go as the text that they are.
            Element::DocumentText => true,
            Element::VideoBase64
            | Element::MediaUrl
            | Element::DocumentUrl
            | Element::DocumentCitations
            | Element::ToolResultError
            | Element::ReasoningText
            | Element::ReasoningSigned
            | Element::ReasoningEncrypted
            | Element::ReasoningShown
            | Element::NativePart
            | Element::NativeTool
            | Element::CacheMarks
            | Element::TopK => false,
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
        write_answer::write(answer, given)
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
        refusal.openai_json(request_id)
    }

    fn glance(&self, body: &[u8]) -> Notes {
        skim(body).map_or_else(|_| Notes::default(), |found| answer::glance(body, &found))
    }

    fn glance_at(&self, body: &[u8], found: &Skim) -> Notes {
        answer::glance(body, found)
    }

    fn note(&self, frame: &Frame<'_>, notes: &mut Notes) {
        note::note(frame, notes);
    }
}

/// Reasons as this dialect names them.
fn finish_name(finish: &Finish) -> &str {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::Pause => "stop",
        Finish::Length | Finish::ContextLength => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
        Finish::Error => "error",
        Finish::Other(name) => name,
    }
}

fn finish_of(name: &str) -> Finish {
    match name {
        "stop" | "eos" => Finish::Stop,
        "length" => Finish::Length,
        "model_length" => Finish::ContextLength,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        "error" => Finish::Error,
        other => Finish::Other(other.to_owned()),
    }
}

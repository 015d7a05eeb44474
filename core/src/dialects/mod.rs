//! The protocols that callers and providers speak, each in a folder: `request`, `answer`, `stream`, and `golden/` files.
//!
//! All of it is pure: bytes in, the canonical form out, and back. Where caller and provider speak the same dialect none of
//! it is used but the reading beside the bytes (`glance`, `note`): the bytes pass untouched.

#[cfg(test)]
mod answered;
pub mod anthropic;
pub mod bedrock;
pub mod cohere;
pub mod embeddings;
pub mod frames;
pub mod gemini;
pub mod halves;
pub mod inputs;
#[cfg(test)]
mod matrix;
pub mod ollama;
pub mod openai_chat;
pub mod openai_embeddings;
pub mod openai_responses;
pub mod paths;
#[cfg(test)]
mod pieces;
mod plainly;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod retold;
pub mod sealed;
pub mod spots;
mod turns;
pub mod unsaid;
mod weigh;
pub mod words;

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::contract::Dialect;
use crate::contract::canonical::Request;
use crate::contract::canonical::answer::Answer;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::event::Event;
use crate::contract::canonical::part::MediaKind;
use crate::contract::read::Wrong;
use crate::contract::refusal::{Category, Refusal};
use crate::contract::skim::Skim;
use crate::contract::usage::{Usage, UsedBeside};
use frames::{Frame, Framing};

/// One dialect of conversations, as a caller's and as a provider's.
pub trait Codec: Sync {
    /// How its streams are framed.
    fn framing(&self) -> Framing;

    /// Can it say this? What it cannot is lost on the way to it: told, and refused where it matters.
    fn carries(&self, element: Element) -> bool;

    /// Reads a caller's request. The body was skimmed: it is UTF-8, an object, and no member of it stands twice.
    fn read_request<'a>(&self, body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<Request<'a>, Wrong>;

    /// Writes a request for a provider. What it does not carry was told before; what it cannot say of the rest is told here.
    fn write_request(&self, request: &Request<'_>, to: &To<'_>) -> Written;

    /// Reads a provider's whole answer.
    fn read_answer<'a>(&self, body: &'a [u8], given: &Given<'_>) -> Result<Answer<'a>, Wrong>;

    /// Writes an answer for a caller.
    fn write_answer(&self, answer: &Answer<'_>, given: &Given<'_>) -> Written;

    /// Can a stream for a caller hold such media?
    fn shows(&self, _what: MediaKind) -> bool {
        false
    }

    /// Reads a provider's stream.
    fn stream_reader(&self, given: &Given<'_>) -> Box<dyn StreamReader>;

    /// Writes a stream for a caller, framing included.
    fn stream_writer(&self, given: &Given<'_>) -> Box<dyn StreamWriter>;

    /// What a provider's error says. `None` = the body is no error of this dialect (a proxy's page, nothing at all).
    fn read_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said>;

    /// A refusal as the body of an answer; in a stream that has begun, `stream_writer` says it.
    fn write_refusal(&self, refusal: &Refusal, request_id: &str) -> String;

    /// The status of a refusal, where this dialect's clients expect another than the contract's.
    fn refusal_status(&self, refusal: &Refusal) -> StatusCode {
        refusal.status()
    }

    /// Headers that this dialect's clients read of a refusal.
    fn refusal_headers(&self, _refusal: &Refusal, _headers: &mut HeaderMap) {}

    /// Usage and finish reason of a whole answer, read beside its bytes.
    fn glance(&self, body: &[u8]) -> Notes;

    /// The same of an answer whose members were found already.
    fn glance_at(&self, body: &[u8], _found: &Skim) -> Notes {
        self.glance(body)
    }

    /// What the head of a whole answer tells, where the body does not.
    fn glance_head(&self, _headers: &HeaderMap, _notes: &mut Notes) {}

    /// Notes what one frame of a stream tells, read beside its bytes. It is asked for every frame: a search that finds
    /// nothing is its usual end.
    fn note(&self, frame: &Frame<'_>, notes: &mut Notes);
}

/// What a stream or an answer told beside its bytes.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Notes {
    /// Later tells overwrite field by field, and never add.
    pub usage: Option<Usage>,
    /// What is billed with it, and is not in it.
    pub beside: Vec<UsedBeside>,
    pub finish_reason: Option<String>,
    /// The provider said that it is complete.
    pub done: bool,
    /// The provider's error; its message.
    pub error: Option<String>,
    /// What the caller's dialect cannot say of it.
    pub lost: Vec<String>,
    /// Tells nothing but what we asked for and the caller did not: to be taken out.
    pub ours: bool,
}

/// What a reader or writer is given besides the text: nothing is invented that could be given.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// Our call id: seeds ids where a dialect needs one and the provider told none.
    pub call_id: &'a str,
    /// Seconds since 1970.
    pub now_s: i64,
    /// The model as the caller asked for it (in some dialects it stands in the path).
    pub model: &'a str,
    /// The caller wants a stream (in some dialects the path says it).
    pub stream: bool,
    /// The caller asked for usage in a stream, where its dialect makes that optional.
    pub include_usage: bool,
    /// The caller takes a stream as one JSON array: where its dialect has both, and it did not ask for events.
    pub as_array: bool,
    /// `Request::own_tools` of the caller's request: answers say calls of these in the form of the caller's dialect.
    pub own_tools: &'a [&'a str],
    /// The caller's request as it came, for dialects whose answers tell it again; empty = not at hand.
    pub asked: &'a [u8],
}

/// Where a request is written for.
#[derive(Debug, Clone, Copy)]
pub struct To<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// The most that the model can answer with, where the catalog knows it.
    pub output_tokens_max: Option<u64>,
    /// The provider's ways, where it differs from the dialect's first speaker.
    pub quirks: &'a Quirks,
}

/// How a provider differs from the first speaker of its dialect: data, not code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quirks {
    /// The member that bounds the answer; absent = the dialect's newest.
    pub max_tokens: Option<&'static str>,
    /// Elements that it does not carry though its dialect does.
    pub lacks: &'static [Element],
    /// Elements that it carries though its dialect does not.
    pub has: &'static [Element],
    /// Members that are called differently: (`seed`, `random_seed`).
    pub renamed: &'static [(&'static str, &'static str)],
    /// What `tool_choice` calls a required tool, where it is not `required`.
    pub tool_required: Option<&'static str>,
    /// Ids of calls must be this many letters and digits.
    pub call_id_chars: Option<usize>,
    /// Ids of calls are no longer than this.
    pub call_id_chars_max: Option<usize>,
    /// Where the query names a version, the path names the model, and the body's is not read.
    pub deployments: bool,
    /// It takes `stream_options` with a stream.
    pub no_stream_options: bool,
    /// Instructions of the developer go as the system's.
    pub no_developer: bool,
    /// What it refuses of the words of callers who speak its own dialect.
    pub refuses: &'static [Refused],
}

/// What some who follow a dialect refuse, though it is the dialect's own or ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The role `developer`.
    Developer,
    /// `max_completion_tokens`, the newer name of the bound.
    NewerBound,
    /// Thoughts and seals that an earlier answer told, in members of ours.
    Thoughts,
}

impl Quirks {
    /// The ways of the dialect's first speaker.
    pub const NONE: Quirks = Quirks {
        max_tokens: None,
        lacks: &[],
        has: &[],
        renamed: &[],
        tool_required: None,
        call_id_chars: None,
        call_id_chars_max: None,
        deployments: false,
        no_stream_options: false,
        no_developer: false,
        refuses: &[],
    };
}

/// The id of a call that its provider told none for: by our call's id, and the call's place. OpenAI takes 40 letters at most.
pub fn made_call_id(call_id: &str, at: usize) -> String {
    format!("call_{}_{at}", call_id.replace('-', ""))
}

/// A written body, and what could not be said in it.
#[derive(Debug, Default, PartialEq)]
pub struct Written {
    pub body: Vec<u8>,
    pub lost: Vec<Loss>,
}

/// What a provider's error says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub message: String,
    /// The provider's own code or type.
    pub code: Option<String>,
    pub category: Category,
    /// The provider asks to wait so long; it may stand in the body.
    pub retry_after: Option<Duration>,
    /// The same call may do better at the same provider later, whatever the category usually means.
    pub retryable: Option<bool>,
}

/// A stream that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

pub trait StreamReader: Send {
    /// Takes a frame; adds what it tells.
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable>;

    /// The provider's bytes have ended: adds what an end without words means in this dialect. A stream that is not complete
    /// gets no `Done`.
    fn end(&mut self, out: &mut Vec<Event>);
}

pub trait StreamWriter: Send {
    /// Adds the bytes that say this event.
    fn event(&mut self, event: &Event, out: &mut Vec<u8>);

    /// A refusal inside a stream that has begun, as this dialect's error event.
    fn refusal(&mut self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>);
}

/// The codec of a dialect of conversations; `None` where there is no conversation to translate.
pub fn codec(dialect: Dialect) -> Option<&'static dyn Codec> {
    match dialect {
        Dialect::OpenaiChat => Some(&openai_chat::OpenaiChat),
        Dialect::OpenaiResponses => Some(&openai_responses::OpenaiResponses),
        Dialect::AnthropicMessages => Some(&anthropic::Anthropic),
        Dialect::Gemini => Some(&gemini::Gemini),
        Dialect::BedrockConverse => Some(&bedrock::Bedrock),
        Dialect::CohereChat => Some(&cohere::Cohere),
        Dialect::OllamaChat => Some(&ollama::Ollama),
        Dialect::BedrockInvoke => Some(&bedrock::invoke::Invoke),
        Dialect::OpenaiCompletions
        | Dialect::OpenaiEmbeddings
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches
        | Dialect::AnthropicCountTokens
        | Dialect::GeminiCountTokens
        | Dialect::GeminiEmbed
        | Dialect::GeminiBatchEmbed
        | Dialect::CohereEmbed
        | Dialect::CohereRerank
        | Dialect::OllamaGenerate
        | Dialect::BedrockInvokeEmbed
        | Dialect::BedrockCountTokens
        | Dialect::CohereV1Chat
        | Dialect::CohereV1Embed
        | Dialect::CohereV1Rerank
        | Dialect::VertexPredict => None,
    }
}

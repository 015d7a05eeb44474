//! Bedrock's `InvokeModel`: a body in its vendor's own form behind one path, and streams of such events as base64 in
//! Amazon's frames.
//!
//! Within the dialect all of it passes, whoever's model it is. Bodies in Anthropic's form, which name `anthropic_version`,
//! are that dialect without `model` and `stream`: they are translated like it. Refusals are Amazon's.

pub mod form;
mod notes;
mod stream;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::Bedrock;
use crate::contract::canonical::Request;
use crate::contract::canonical::answer::Answer;
use crate::contract::canonical::element::Element;
use crate::contract::read::Wrong;
use crate::contract::refusal::Refusal;
use crate::contract::skim::{Skim, skim};
use crate::contract::splice::Edits;
use crate::dialects::anthropic::Anthropic;
use crate::dialects::frames::{Frame, Framing};
use crate::dialects::{Codec, Given, Notes, Said, StreamReader, StreamWriter, To, Written};

/// What it is in bodies of Anthropic's form; a provider refuses them without it.
const VERSION: &str = "anthropic_version";
const VERSION_JSON: &str = "\"bedrock-2023-05-31\"";

/// Members of this form that ask for nothing: the form's version, and what a model may try out.
const OWN: [&str; 2] = [VERSION, "anthropic_beta"];

pub struct Invoke;

impl Codec for Invoke {
    fn framing(&self) -> Framing {
        Framing::EventStream
    }

    fn carries(&self, element: Element) -> bool {
        Anthropic.carries(element)
    }

    fn read_request<'a>(&self, body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<Request<'a>, Wrong> {
        if skim.find(body, VERSION).is_none() {
            return Err(Wrong {
                path: VERSION.to_owned(),
                why: "is missing: of the bodies for `invoke`, only those in Anthropic's form can be said in another dialect"
                    .to_owned(),
                unsupported: true,
            });
        }
        let mut request = Anthropic.read_request(body, skim, given)?;
        let begins = |path: &str, name: &str| path.strip_prefix(name).is_some_and(|rest| !rest.starts_with('_'));
        request.extra.retain(|(path, _)| !OWN.iter().any(|own| begins(path, own)));
        Ok(request)
    }

    fn write_request(&self, request: &Request<'_>, to: &To<'_>) -> Written {
        let written = Anthropic.write_request(request, to);
        let body = Bytes::from(written.body);
        let mut edits = Edits::default();
        edits.remove("model");
        edits.remove("stream");
        edits.set(VERSION, VERSION_JSON);
        let body = skim(&body).map_or(body.clone(), |skim| edits.apply(&body, &skim));
        Written { body: body.into(), lost: written.lost }
    }

    fn read_answer<'a>(&self, body: &'a [u8], given: &Given<'_>) -> Result<Answer<'a>, Wrong> {
        Anthropic.read_answer(body, given)
    }

    fn write_answer(&self, answer: &Answer<'_>, given: &Given<'_>) -> Written {
        Anthropic.write_answer(answer, given)
    }

    fn stream_reader(&self, given: &Given<'_>) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::new(given))
    }

    fn stream_writer(&self, given: &Given<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream::Writer::new(given))
    }

    fn read_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
        Bedrock.read_error(status, headers, body)
    }

    fn write_refusal(&self, refusal: &Refusal, request_id: &str) -> String {
        Bedrock.write_refusal(refusal, request_id)
    }

    fn refusal_status(&self, refusal: &Refusal) -> StatusCode {
        Bedrock.refusal_status(refusal)
    }

    fn refusal_headers(&self, refusal: &Refusal, headers: &mut HeaderMap) {
        Bedrock.refusal_headers(refusal, headers);
    }

    fn glance(&self, body: &[u8]) -> Notes {
        notes::glance(body)
    }

    fn glance_head(&self, headers: &HeaderMap, notes: &mut Notes) {
        notes::glance_head(headers, notes);
    }

    fn note(&self, frame: &Frame<'_>, notes: &mut Notes) {
        notes::note(frame, notes);
    }
}

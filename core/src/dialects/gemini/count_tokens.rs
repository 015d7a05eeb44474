//! `countTokens`: a conversation that shall be counted, bare or inside `generateContentRequest`, and the count.

use std::borrow::Cow;

use super::{read_request, write_request};
use crate::contract::canonical::Request;
use crate::contract::read::{Members, Reading, Wrong, as_whole, find, loose};
use crate::contract::skim::Skim;
use crate::contract::write::Writer;
use crate::dialects::{Given, To, Written};

/// The conversation. Where the body wraps it, paths begin with the wrapper's name.
pub fn read_request<'a>(body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<Request<'a>, Wrong> {
    let wrapped = ["generateContentRequest", "generate_content_request"];
    let Some(name) = wrapped.into_iter().find(|name| skim.find(body, name).is_some()) else {
        return read_request::read(body, skim, given);
    };
    let mut r = Reading::default();
    let mut members: Members<'a> = Vec::new();
    for member in &skim.members {
        let own = member.name(body);
        let raw = r.within(own, |r| r.value(&body[member.value.clone()]))?;
        if own == name {
            members = r.within(own, |r| r.object(raw))?;
        } else if own != "model" {
            r.extra(own, raw);
        }
    }
    read_request::read_members(r, members, skim, given)
        .map_err(|wrong| Wrong { path: format!("{name}.{}", wrong.path), ..wrong })
}

/// For Gemini the conversation is wrapped, so that tools and instructions are counted; Vertex takes it bare.
pub fn write_request(request: &Request<'_>, to: &To<'_>, wrapped: bool) -> Written {
    if !wrapped {
        return write_request::write(request, to);
    }
    let mut lost = Vec::new();
    let body = Writer::object_text(|w| {
        w.object_member("generateContentRequest", |w| {
            w.member("model", &model_path(to.model));
            write_request::members(w, request, to, &mut lost);
        });
    });
    Written { body, lost }
}

/// `models/M`, as bodies name a model.
pub fn model_path(model: &str) -> Cow<'_, str> {
    match model.contains('/') {
        true => Cow::Borrowed(model),
        false => Cow::Owned(format!("models/{model}")),
    }
}

/// How many tokens; `None` = the body is no count.
pub fn read_answer(body: &[u8]) -> Option<u64> {
    // Zeros are left out in Google's JSON, but an answer without any count is none.
    as_whole(find(&loose(serde_json::from_slice(body).ok()?), "totalTokens")?)
}

pub fn write_answer(tokens: u64) -> Vec<u8> {
    Writer::object_text(|w| w.member("totalTokens", &tokens))
}

//! A whole answer of Cohere.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::message::{self, For};
use super::{citations, logprobs, usage};
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Part};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_null, loose};
use crate::contract::write::Writer;
use crate::dialects::{Given, Notes, Written, made_call_id};

pub fn read<'a>(body: &'a [u8], given: &Given<'_>) -> Result<Answer<'a>, Wrong> {
    let mut reading = Reading::default();
    let root = reading.value(body)?;
    let (mut answer, mut choice, mut said) = (Answer::default(), Choice::default(), false);
    for (name, raw) in reading.object(root)? {
        if is_null(raw) {
            continue;
        }
        match &*name {
            "id" => answer.id = reading.within("id", |r| r.text(raw))?,
            "message" => {
                said = true;
                choice.parts = reading.within("message", |r| {
                    let members = r.object(raw)?;
                    message::read_assistant(r, members)
                })?;
            }
            "finish_reason" => choice.finish = Some(finish(&reading.within("finish_reason", |r| r.text(raw))?)),
            "usage" => answer.usage = usage::read(raw),
            "logprobs" => choice.logprobs_made = read_logprobs(raw),
            _ => {}
        }
    }
    if !said {
        return Err(reading.wrong("has no `message`"));
    }
    name_calls(&mut choice.parts, given);
    answer.choices.push(choice);
    Ok(answer)
}

/// Results can only be sent back to calls that have an id.
fn name_calls(parts: &mut [Part<'_>], given: &Given<'_>) {
    for (at, part) in parts.iter_mut().enumerate() {
        if let Kind::ToolCall(call) = &mut part.kind
            && call.id.is_empty()
        {
            call.id = Cow::Owned(made_call_id(given.call_id, at));
        }
    }
}

fn read_logprobs(raw: Raw<'_>) -> Option<Box<RawValue>> {
    let pieces = citations::items(raw);
    if pieces.is_empty() { None } else { RawValue::from_string(logprobs::from_items(&pieces)).ok() }
}

pub fn finish(reason: &str) -> Finish {
    match reason {
        "COMPLETE" => Finish::Stop,
        "STOP_SEQUENCE" => Finish::StopSequence,
        "MAX_TOKENS" => Finish::Length,
        "TOOL_CALL" => Finish::ToolCalls,
        "ERROR" => Finish::Error,
        // Of version 1, but still told by some hosts.
        "ERROR_TOXIC" => Finish::ContentFilter,
        "ERROR_LIMIT" => Finish::ContextLength,
        _ => Finish::Other(reason.to_owned()),
    }
}

/// Cohere's list is closed: what has no name in it gets the one that makes callers do what they should.
pub fn finish_name(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop => "COMPLETE",
        Finish::StopSequence => "STOP_SEQUENCE",
        Finish::Length | Finish::ContextLength | Finish::Pause => "MAX_TOKENS",
        Finish::ToolCalls => "TOOL_CALL",
        Finish::Error | Finish::ContentFilter | Finish::Refusal => "ERROR",
        Finish::Other(reason) if reason == "TIMEOUT" => "TIMEOUT",
        Finish::Other(_) => "COMPLETE",
    }
}

pub fn write(answer: &Answer<'_>, given: &Given<'_>) -> Written {
    let mut lost = Vec::new();
    if answer.choices.len() > 1 {
        lost.push(Loss::value(Element::SeveralAnswers, "only the first of them is told"));
    }
    let choice = answer.choices.first();
    let body = Writer::object_text(|w| {
        w.member("id", if answer.id.is_empty() { given.call_id } else { &*answer.id });
        w.object_member("message", |w| {
            w.member("role", "assistant");
            message::write_assistant(w, choice.map_or(&[], |c| &*c.parts), For::Caller, &mut lost);
        });
        let finish = choice.and_then(|c| c.finish.as_ref());
        w.member("finish_reason", finish.map_or("COMPLETE", finish_name));
        if let Some(told) = &answer.usage {
            usage::write(w, told);
        }
        if let Some(openai) = choice.and_then(Choice::logprobs_json) {
            w.list_member("logprobs", |w| logprobs::write_items(w, openai));
        }
    });
    Written { body, lost }
}

pub fn glance(body: &[u8]) -> Notes {
    let Ok(root) = serde_json::from_slice::<Raw<'_>>(body) else { return Notes::default() };
    let members = loose(root);
    let reason = find(&members, "finish_reason").and_then(as_text);
    // In `meta` by the first version.
    let told = ["usage", "meta"].into_iter().find_map(|name| find(&members, name).and_then(usage::read));
    Notes {
        // Embeddings and rankings tell it elsewhere; a ranking bills searches, and no token.
        usage: told.or_else(|| Some(usage::billed(body)?.usage())),
        done: reason.is_some(),
        finish_reason: reason.map(Cow::into_owned),
        ..Notes::default()
    }
}

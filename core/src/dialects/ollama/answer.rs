//! A whole answer of Ollama, and what it has in common with the pieces of a stream.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::message::{self, Said};
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Part};
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, as_whole, find, is_list, is_null, loose};
use crate::contract::usage::Usage;
use crate::contract::write::Writer;
use crate::dialects::{Given, Notes, Written, made_call_id};

/// Members that real answers have and that we know nothing of; SDKs read them as whole numbers.
const DURATIONS: [&str; 4] = ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"];

pub fn read<'a>(body: &'a [u8], given: &Given<'_>) -> Result<Answer<'a>, Wrong> {
    let mut reading = Reading::default();
    let root = reading.value(body)?;
    let root = reading.object(root)?;
    let (mut answer, mut choice, mut said) = (Answer::default(), Choice::default(), false);
    let mut reason = None;
    answer.usage = usage(&root);
    for (name, raw) in root {
        if is_null(raw) {
            continue;
        }
        match &*name {
            "model" => answer.model = reading.within("model", |r| r.text(raw))?,
            "created_at" => answer.created_s = as_text(raw).as_deref().and_then(seconds),
            "done_reason" => reason = Some(reading.within("done_reason", |r| r.text(raw))?),
            "logprobs" => choice.logprobs_made = logprobs(raw).and_then(|json| RawValue::from_string(json).ok()),
            "message" => {
                said = true;
                choice.parts = reading.within("message", |r| {
                    let members = r.object(raw)?;
                    Ok(message::read(r, members)?.parts())
                })?;
            }
            _ => {}
        }
    }
    if !said {
        return Err(reading.wrong("has no `message`"));
    }
    let calls = name_calls(&mut choice.parts, given.call_id);
    choice.finish = Some(finish(reason.as_deref(), calls > 0));
    answer.choices.push(choice);
    Ok(answer)
}

/// Gives ids to calls without; tells how many calls there are.
fn name_calls(parts: &mut [Part<'_>], call_id: &str) -> usize {
    let mut calls = 0;
    for part in parts {
        if let Kind::ToolCall(call) = &mut part.kind {
            if call.id.is_empty() {
                call.id = Cow::Owned(made_call_id(call_id, calls));
            }
            calls += 1;
        }
    }
    calls
}

/// Ollama says `stop` of an answer that calls tools as well. Old servers tell no reason.
pub fn finish(reason: Option<&str>, calls: bool) -> Finish {
    match reason {
        None | Some("stop" | "") if calls => Finish::ToolCalls,
        None | Some("stop" | "") => Finish::Stop,
        Some("length") => Finish::Length,
        Some(other) => Finish::Other(other.to_owned()),
    }
}

pub fn finish_name(finish: &Finish) -> &str {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::ToolCalls => "stop",
        Finish::Length | Finish::ContextLength | Finish::Pause => "length",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
        Finish::Error => "error",
        Finish::Other(reason) => reason,
    }
}

/// `prompt_eval_count` is absent where all of the prompt was cached; where neither count is told, nothing was used or known.
pub fn usage(root: &Members<'_>) -> Option<Usage> {
    let count = |name| find(root, name).and_then(as_whole);
    let (input, output) = (count("prompt_eval_count"), count("eval_count"));
    (input.is_some() || output.is_some()).then(|| Usage {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        ..Usage::default()
    })
}

/// A list of tokens in OpenAI's form, of which it is the inside.
pub fn logprobs(raw: Raw<'_>) -> Option<String> {
    is_list(raw).then(|| format!("{{\"content\":{}}}", raw.get()))
}

/// The inside of OpenAI's form.
pub fn write_logprobs(w: &mut Writer, openai: &RawValue) {
    if let Some(tokens) = find(&loose(openai), "content").filter(|tokens| is_list(tokens)) {
        w.member("logprobs", tokens);
    }
}

pub fn seconds(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// RFC 3339.
pub fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// What follows the message of a complete answer.
pub fn write_end(w: &mut Writer, finish: Option<&Finish>, usage: Option<&Usage>) {
    w.member("done", &true);
    w.member("done_reason", finish.map_or("stop", finish_name));
    DURATIONS.iter().for_each(|name| w.member(name, &0u64));
    w.member("prompt_eval_count", &usage.map_or(0, Usage::input_all));
    w.member("eval_count", &usage.map_or(0, Usage::output_all));
}

pub fn write(answer: &Answer<'_>, given: &Given<'_>) -> Written {
    let choice = answer.choices.first();
    let said = Said::of(choice.map_or(&[], |c| &*c.parts), Element::NativePart);
    let mut lost = said.lost.clone();
    lost.extend(said.broken_calls());
    if answer.choices.len() > 1 {
        lost.push(Loss::value(Element::SeveralAnswers, "only the first of them is told"));
    }
    let body = Writer::object_text(|w| {
        w.member("model", if answer.model.is_empty() { given.model } else { &*answer.model });
        w.member("created_at", &time(answer.created_s.unwrap_or(given.now_s)));
        w.object_member("message", |w| {
            w.member("role", "assistant");
            said.write(w, "", true);
        });
        if let Some(openai) = choice.and_then(Choice::logprobs_json) {
            write_logprobs(w, openai);
        }
        write_end(w, choice.and_then(|c| c.finish.as_ref()), answer.usage.as_ref());
    });
    Written { body, lost }
}

pub fn glance(body: &[u8]) -> Notes {
    let Ok(root) = serde_json::from_slice::<Raw<'_>>(body) else { return Notes::default() };
    let root = loose(root);
    Notes {
        usage: usage(&root),
        finish_reason: find(&root, "done_reason").and_then(as_text).map(Cow::into_owned),
        done: find(&root, "done").is_some_and(|done| done.get() == "true"),
        ..Notes::default()
    }
}

//! Answers: read from a provider, whole or as one chunk of a stream, and written for a caller.

use std::borrow::Cow;

use super::grounding::{self, Kept, Offsets};
use super::names::{finish_name, finish_of, reason, tier_of};
use super::{link, logprobs, read_parts, usage, write_parts};
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::part::{Kind, Part};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_list, is_null, loose};
use crate::contract::usage::Usage;
use crate::contract::write::Writer;
use crate::dialects::{Given, Written};

/// One answer of the service, or one chunk of it: they have the same members.
#[derive(Default)]
pub struct Reply<'a> {
    pub id: Cow<'a, str>,
    pub model: Cow<'a, str>,
    pub created_s: Option<i64>,
    pub candidates: Vec<Candidate<'a>>,
    pub usage: Option<Usage>,
    pub tier: Option<String>,
    /// The prompt was refused: there are no candidates.
    pub blocked: bool,
    pub error: Option<Raw<'a>>,
}

#[derive(Default)]
pub struct Candidate<'a> {
    pub index: u64,
    /// Calls may lack ids.
    pub parts: Vec<Part<'a>>,
    pub finish: Option<Cow<'a, str>>,
    pub grounding: Option<Raw<'a>>,
    pub recited: Option<Raw<'a>>,
    pub logprobs: Option<Raw<'a>>,
}

pub fn reply<'a>(body: &'a [u8]) -> Result<Reply<'a>, Wrong> {
    let mut r = Reading::default();
    let mut root = r.value(body)?;
    if is_list(root) {
        // Vertex puts some errors into a list.
        let items: Vec<Raw<'a>> = serde_json::from_str(root.get()).map_err(|why| r.wrong(why.to_string()))?;
        root = items.into_iter().next().ok_or_else(|| r.wrong("is an empty list"))?;
    }
    let mut reply = Reply::default();
    for (name, raw) in r.object(root)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "responseId" => reply.id = as_text(raw).unwrap_or_default(),
            "modelVersion" => reply.model = as_text(raw).unwrap_or_default(),
            "createTime" => reply.created_s = as_text(raw).and_then(|time| seconds(&time)),
            "candidates" => reply.candidates = r.within(name, |r| r.each(raw, candidate))?,
            "usageMetadata" => {
                let told = usage::Told::read(raw);
                reply.usage = told.as_ref().and_then(usage::Told::disjoint);
                let tier = told.and_then(|told| told.service_tier);
                reply.tier = tier.and_then(|tier| tier_of(tier.into()).map(Cow::into_owned));
            }
            "promptFeedback" => reply.blocked = find(&loose(raw), "blockReason").is_some(),
            "error" => reply.error = Some(raw),
            _ => {}
        }
    }
    Ok(reply)
}

fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(|time| time.as_second())
}

fn candidate<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Candidate<'a>, Wrong> {
    let mut candidate = Candidate::default();
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "index" => candidate.index = r.within(name, |r| r.whole(raw))?,
            "content" => candidate.parts = r.within(name, |r| read_parts::said(r, raw))?,
            "finishReason" => candidate.finish = reason(raw),
            "groundingMetadata" => candidate.grounding = Some(raw),
            "citationMetadata" => candidate.recited = Some(raw),
            "logprobsResult" => candidate.logprobs = Some(raw),
            _ => {}
        }
    }
    Ok(candidate)
}

/// The id of a call that the service gave none: of the answer's id, so that it is unique, and the call's place.
pub fn call_id(reply_id: &str, given: &str, choice: u64, at: u64) -> String {
    let of = if reply_id.is_empty() { given } else { reply_id };
    link::made_id(of, usize::try_from(at).unwrap_or(0), &format!("of {choice}"))
}

pub fn read<'a>(body: &'a [u8], given: &Given<'_>) -> Result<Answer<'a>, Wrong> {
    let reply = reply(body)?;
    let mut answer = Answer {
        model: reply.model,
        created_s: reply.created_s,
        usage: reply.usage,
        service_tier: reply.tier.map(Cow::Owned),
        ..Answer::default()
    };
    for candidate in reply.candidates {
        answer.choices.push(choice(candidate, &reply.id, given));
    }
    if answer.choices.is_empty() {
        let finish = Some(if reply.blocked { Finish::ContentFilter } else { Finish::Error });
        answer.choices.push(Choice { finish, ..Choice::default() });
    }
    answer.id = reply.id;
    Ok(answer)
}

fn choice<'a>(candidate: Candidate<'a>, reply_id: &str, given: &Given<'_>) -> Choice<'a> {
    let mut parts = candidate.parts;
    let (mut calls, mut offsets) = (0, Offsets::default());
    for part in &mut parts {
        match &mut part.kind {
            Kind::ToolCall(call) => {
                if call.id.is_empty() {
                    call.id = call_id(reply_id, given.call_id, candidate.index, calls).into();
                }
                calls += 1;
            }
            Kind::Text { text, .. } => offsets.said(text),
            Kind::Refusal(_) | Kind::Media(_) | Kind::ToolResult(_) | Kind::Reasoning(_) | Kind::Native { .. } => {}
        }
    }
    let citations = grounding::citations(candidate.grounding, candidate.recited, &offsets);
    grounding::cite(&mut parts, citations);
    Choice {
        index: candidate.index,
        parts,
        finish: candidate.finish.map(|name| finish_of(&name, calls > 0)),
        logprobs_made: candidate.logprobs.and_then(logprobs::read),
        ..Choice::default()
    }
}

pub fn write(answer: &Answer<'_>, given: &Given<'_>) -> Written {
    let mut written = Written::default();
    let mut writer = Writer::with_capacity(1_024);
    writer.object(|w| {
        w.list_member("candidates", |w| {
            for choice in &answer.choices {
                w.object(|w| write_choice(w, choice, &mut written));
            }
        });
        if let Some(usage) = &answer.usage {
            w.object_member("usageMetadata", |w| usage::write(w, usage, answer.service_tier.as_deref()));
        }
        tail(w, &answer.model, &answer.id, answer.created_s, given);
    });
    written.body = writer.into_bytes();
    written
}

/// What stands behind the words, in answers and in chunks.
pub fn tail(w: &mut Writer, model: &str, id: &str, created_s: Option<i64>, given: &Given<'_>) {
    w.member("modelVersion", if model.is_empty() { given.model } else { model });
    if let Some(created) = created_s.and_then(|s| jiff::Timestamp::from_second(s).ok()) {
        w.member("createTime", &created.to_string());
    }
    w.member("responseId", if id.is_empty() { given.call_id } else { id });
}

fn write_choice(w: &mut Writer, choice: &Choice<'_>, written: &mut Written) {
    w.object_member("content", |w| {
        w.list_member("parts", |w| write_parts::answer(w, &choice.parts, written));
        w.member("role", "model");
    });
    w.member("finishReason", choice.finish.as_ref().map_or("STOP", finish_name));
    w.member("index", &choice.index);
    let (mut citations, mut offsets): (Vec<Kept>, _) = (Vec::new(), Offsets::default());
    for part in &choice.parts {
        if let Kind::Text { text, citations: cited } = &part.kind {
            offsets.said(text);
            citations.extend(cited.iter().map(Kept::from));
        }
    }
    grounding::write(w, &citations, &offsets);
    if let Some(openai) = choice.logprobs_json() {
        logprobs::write(w, openai);
    }
}

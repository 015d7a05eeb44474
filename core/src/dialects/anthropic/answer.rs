//! Whole answers, read and written.

use serde::Deserialize;

use super::write_blocks::{input, redacted, seal};
use super::{blocks, finish_name, finish_of, fitting, made_id, tier_name, tier_of, usage};
use crate::contract::canonical::answer::{Answer, Choice};
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Citation, Kind, Maker, Part, Reasoning, Signature, ToolCall};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_null, loose};
use crate::contract::write::{Null, Writer};
use crate::dialects::{Given, Notes, Written};

pub fn read(body: &[u8]) -> Result<Answer<'_>, Wrong> {
    let mut r = Reading::default();
    let raw = r.value(body)?;
    let mut answer = Answer::default();
    let mut choice = Choice::default();
    let mut details = None;
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "id" => answer.id = r.within("id", |r| r.text(raw))?,
            "model" => answer.model = r.within("model", |r| r.text(raw))?,
            "content" => choice.parts = r.within("content", |r| blocks::read(r, raw))?,
            "stop_reason" => choice.finish = Some(finish_of(&r.within("stop_reason", |r| r.text(raw))?)),
            "stop_sequence" => choice.stop_sequence = Some(r.within("stop_sequence", |r| r.text(raw))?),
            "stop_details" => details = Some(raw),
            "usage" => {
                let told: usage::Told = r.within("usage", |r| {
                    serde_json::from_str(raw.get()).map_err(|why| r.wrong(format!("is not understood: {why}")))
                })?;
                answer.usage = Some(told.disjoint());
                answer.beside = told.beside();
                answer.service_tier = told.service_tier.map(|tier| tier_of(&tier).to_owned().into());
            }
            _ => {}
        }
    }
    if let Some(why) = details.and_then(explanation).filter(|_| choice.parts.is_empty()) {
        choice.parts.push(Kind::Refusal(why).into());
    }
    answer.choices.push(choice);
    Ok(answer)
}

/// Why the model would not answer, where the provider tells.
pub fn explanation(details: Raw<'_>) -> Option<std::borrow::Cow<'_, str>> {
    find(&loose(details), "explanation").and_then(as_text).filter(|why| !why.is_empty())
}

pub fn write(answer: &Answer<'_>, given: &Given<'_>) -> Written {
    let mut lost = Vec::new();
    if answer.choices.len() > 1 {
        lost.push(Loss::value(Element::SeveralAnswers, "only the first answer can be said"));
    }
    let none = Choice::default();
    let choice = answer.choices.first().unwrap_or(&none);
    let body = Writer::object_text(|w| {
        match answer.id.is_empty() {
            true => w.member("id", &made_id(given.call_id)),
            false => w.member("id", &answer.id),
        }
        w.member("type", "message");
        w.member("role", "assistant");
        w.member("model", if answer.model.is_empty() { given.model } else { &answer.model });
        w.list_member("content", |w| choice.parts.iter().for_each(|part| write_part(w, part, &mut lost)));
        let has = |is: fn(&Kind<'_>) -> bool| choice.parts.iter().any(|part| is(&part.kind));
        let calls = has(|kind| matches!(kind, Kind::ToolCall(_)));
        let refuses = has(|kind| matches!(kind, Kind::Refusal(_)));
        match &choice.finish {
            Some(finish) => w.member("stop_reason", finish_name(&fitting(finish.clone(), calls, refuses))),
            None => w.member("stop_reason", &Null),
        }
        match &choice.stop_sequence {
            Some(sequence) => w.member("stop_sequence", sequence),
            None => w.member("stop_sequence", &Null),
        }
        w.object_member("usage", |w| {
            usage::write(w, &answer.usage.unwrap_or_default());
            w.member_some("service_tier", &answer.service_tier.as_deref().map(tier_name));
        });
    });
    Written { body, lost }
}

fn write_part(w: &mut Writer, part: &Part<'_>, lost: &mut Vec<Loss>) {
    if let Kind::Reasoning(reasoning) = &part.kind {
        return write_thoughts(w, reasoning, part.signature.as_ref());
    }
    // Another maker's seal stands before what it was put on, and comes back there.
    if let Some(data) = part.signature.as_ref().filter(|s| s.by == Maker::Google).and_then(|s| seal(s.by, &s.data)) {
        redacted(w, &data);
    }
    match &part.kind {
        Kind::Text { text, citations } => w.object(|w| {
            w.member("type", "text");
            w.member("text", text);
            if !citations.is_empty() {
                w.list_member("citations", |w| citations.iter().for_each(|c| write_citation(w, c)));
            }
        }),
        Kind::Refusal(text) => w.object(|w| {
            w.member("type", "text");
            w.member("text", text);
        }),
        Kind::ToolCall(call) => w.object(|w| write_call(w, call, lost)),
        Kind::Native { kind, json } if super::write_blocks::is_own(kind) => w.value(*json),
        Kind::Native { kind, .. } => {
            lost.push(Loss::value(Element::NativePart, format!("`{kind}` is known to the provider's dialect only")));
        }
        Kind::Media(_) => lost.push(Loss::value(Element::ImageBase64, "the model answered with a picture or sound")),
        Kind::ToolResult(_) | Kind::Reasoning(_) => {}
    }
}

fn write_call(w: &mut Writer, call: &ToolCall<'_>, lost: &mut Vec<Loss>) {
    w.member("type", "tool_use");
    w.member("id", &call.id);
    w.member("name", &call.name);
    w.json_member("input", &call.arguments_told());
    if input(call).is_none() {
        let told = format!("the model wrote arguments for `{}` that are no JSON object", call.name);
        lost.push(Loss::value(Element::ToolCalls, told));
    }
}

fn write_thoughts(w: &mut Writer, reasoning: &Reasoning<'_>, signature: Option<&Signature<'_>>) {
    let by = signature.map_or(Maker::Other, |s| s.by);
    let data = reasoning.encrypted.as_deref().or(signature.map(|s| &*s.data)).unwrap_or_default();
    let sealed = if data.is_empty() { None } else { seal(by, data) };
    match (reasoning.text.is_empty(), sealed) {
        (true, None) => {}
        (true, Some(sealed)) if reasoning.encrypted.is_some() => redacted(w, &sealed),
        (_, sealed) => w.object(|w| {
            w.member("type", "thinking");
            w.member("thinking", &reasoning.text);
            w.member("signature", sealed.as_deref().unwrap_or_default());
        }),
    }
}

fn write_citation(w: &mut Writer, citation: &Citation<'_>) {
    match citation.json.filter(|json| blocks::cites_here(json)) {
        Some(json) => w.value(json),
        None => w.object(|w| {
            let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
            citation_members(w, &text(&citation.url), &text(&citation.title), &text(&citation.cited));
        }),
    }
}

/// A citation of another provider's: of a page where there is one, else of a document.
pub fn citation_members(w: &mut Writer, url: &str, title: &str, cited: &str) {
    let on_page = !url.is_empty();
    w.member("type", if on_page { "web_search_result_location" } else { "char_location" });
    w.member("cited_text", cited);
    if on_page {
        w.member("url", url);
        w.member("title", title);
        w.member("encrypted_index", "");
    } else {
        w.member("document_index", &0u64);
        w.member("document_title", title);
        w.member("start_char_index", &0u64);
        w.member("end_char_index", &(cited.chars().count() as u64));
    }
}

/// Usage and reason of an answer, beside its bytes.
pub fn glance(body: &[u8]) -> Notes {
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        usage: Option<usage::Told>,
        #[serde(default)]
        stop_reason: Option<String>,
    }
    let Ok(message) = serde_json::from_slice::<Message>(body) else { return Notes::default() };
    Notes {
        usage: message.usage.as_ref().map(usage::Told::disjoint),
        beside: message.usage.as_ref().map(usage::Told::beside).unwrap_or_default(),
        finish_reason: message.stop_reason,
        done: true,
        ..Notes::default()
    }
}

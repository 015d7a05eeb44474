//! Whole answers, read from providers and written for callers.

use std::borrow::Cow;

use serde::Deserialize;

use super::{details, finish_of};
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::part::{
    Citation, Kind, Maker, Media, MediaKind, Part, Reasoning, Signature, Source, ToolCall, data_url,
};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_list, is_null, is_object, loose};
use crate::contract::skim::Skim;
use crate::contract::usage::{OpenaiUsage, Usage};
use crate::dialects::{Given, Notes};

pub fn read<'a>(body: &'a [u8], given: &Given<'_>) -> Result<Answer<'a>, Wrong> {
    let mut r = Reading::default();
    let root = r.value(body)?;
    let members = r.object(root)?;
    let mut answer = Answer::default();
    for (name, raw) in members.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "id" => answer.id = as_text(raw).unwrap_or_default(),
            "model" => answer.model = as_text(raw).unwrap_or_default(),
            "created" => answer.created_s = raw.get().parse().ok(),
            "service_tier" => answer.service_tier = as_text(raw),
            "choices" => {
                answer.choices = r.within("choices", |r| r.each(raw, |r, item| choice(r, item, given)))?;
            }
            "usage" => answer.usage = usage(raw),
            _ => {}
        }
    }
    Ok(answer)
}

pub fn usage(raw: Raw<'_>) -> Option<Usage> {
    serde_json::from_str::<OpenaiUsage>(raw.get()).ok().and_then(|u| u.disjoint())
}

fn choice<'a>(r: &mut Reading<'a>, raw: Raw<'a>, given: &Given<'_>) -> Result<Choice<'a>, Wrong> {
    let mut choice = Choice::default();
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "index" => choice.index = r.whole(raw)?,
            "finish_reason" => {
                choice.finish = as_text(raw).filter(|name| !name.is_empty()).map(|name| finish_of(&name));
            }
            "logprobs" => choice.logprobs = Some(raw),
            "message" => choice.parts = r.within("message", |r| message(r, raw, given))?,
            _ => {}
        }
    }
    let calls = choice.parts.iter().any(|p| matches!(p.kind, Kind::ToolCall(_)));
    if calls && choice.finish == Some(Finish::Stop) {
        // Some servers say `stop` where the model called a tool.
        choice.finish = Some(Finish::ToolCalls);
    }
    let refuses = choice.parts.iter().any(|p| matches!(p.kind, Kind::Refusal(_)));
    choice.finish = choice.finish.map(|finish| finish.refusing(refuses));
    Ok(choice)
}

fn message<'a>(r: &mut Reading<'a>, raw: Raw<'a>, given: &Given<'_>) -> Result<Vec<Part<'a>>, Wrong> {
    let members = r.object(raw)?;
    let plain = ["reasoning_content", "reasoning"].into_iter().find_map(|name| as_text(find(&members, name)?));
    let plain = plain.filter(|text| !text.is_empty());
    let mut parts: Vec<Part<'a>> = match find(&members, "reasoning_details").filter(|raw| is_list(raw)) {
        Some(raw) => {
            let told = r.within("reasoning_details", |r| r.each(raw, |_, item| Ok(details::told(item))))?;
            details::parts(told, plain.clone())
        }
        None => Vec::new(),
    };
    if let Some(text) = plain.filter(|_| parts.is_empty()) {
        parts.push(Kind::Reasoning(Reasoning { text, ..Reasoning::default() }).into());
    }
    if let Some(raw) = find(&members, "content") {
        r.within("content", |r| content(r, raw, &mut parts))?;
    }
    parts.extend(find(&members, "images").into_iter().flat_map(pictures));
    if let Some(raw) = find(&members, "annotations").filter(|raw| is_list(raw)) {
        let citations = r.within("annotations", |r| r.each(raw, |_, item| Ok(citation(item))))?;
        cite(&mut parts, citations.into_iter().flatten().collect());
    }
    // Some servers send every member, empty where it says nothing.
    if let Some(text) = find(&members, "refusal").and_then(as_text).filter(|text| !text.is_empty()) {
        parts.push(Kind::Refusal(text).into());
    }
    if let Some(raw) = find(&members, "tool_calls").filter(|raw| is_list(raw)) {
        let mut at = 0;
        parts.extend(r.within("tool_calls", |r| {
            r.each(raw, |r, item| {
                at += 1;
                call(r, item, given, at - 1)
            })
        })?);
    }
    let is_named = |raw: &Raw<'_>| find(&loose(raw), "name").and_then(as_text).is_some_and(|name| !name.is_empty());
    if let Some(function) = find(&members, "function_call").filter(|raw| is_object(raw) && is_named(raw)) {
        parts.push(named_call(function, None, given, 0).into());
    }
    Ok(parts)
}

/// `[{type: "image_url", image_url: {url}}]`: what the model drew.
pub fn pictures<'a>(raw: Raw<'_>) -> Vec<Part<'a>> {
    let items: Vec<Raw<'_>> = serde_json::from_str(raw.get()).unwrap_or_default();
    let drawn = items.into_iter().filter_map(|item| {
        let url = as_text(find(&loose(find(&loose(item), "image_url")?), "url")?)?;
        let media = match data_url(&url) {
            Some((mime, data)) => Media::of(MediaKind::Image, Source::Base64(data.to_owned().into()), mime.to_owned()),
            None => Media::of(MediaKind::Image, Source::Url(url.into_owned().into()), ""),
        };
        Some(Kind::Media(media).into())
    });
    drawn.collect()
}

/// A text, or the list of parts that reasoning models of some providers answer with.
fn content<'a>(r: &mut Reading<'a>, raw: Raw<'a>, parts: &mut Vec<Part<'a>>) -> Result<(), Wrong> {
    if let Some(text) = as_text(raw) {
        if !text.is_empty() {
            parts.push(Part::text(text));
        }
        return Ok(());
    }
    for part in r.each(raw, |_, item| Ok(listed(item)))?.into_iter().flatten() {
        parts.push(part);
    }
    Ok(())
}

fn listed(raw: Raw<'_>) -> Option<Part<'_>> {
    let members = loose(raw);
    let text = |name: &str| find(&members, name).and_then(as_text);
    match text("type").as_deref() {
        Some("thinking") => {
            let raw = find(&members, "thinking")?;
            let text = as_text(raw).unwrap_or_else(|| thoughts(raw).into());
            Some(Kind::Reasoning(Reasoning { text, ..Reasoning::default() }).into())
        }
        Some("refusal") => text("refusal").map(|text| Kind::Refusal(text).into()),
        Some(_) | None => text("text").map(Part::text),
    }
}

/// `[{type: "text", text}]`, joined.
pub fn thoughts(raw: Raw<'_>) -> String {
    let items: Vec<Raw<'_>> = serde_json::from_str(raw.get()).unwrap_or_default();
    items.into_iter().filter_map(|item| as_text(find(&loose(item), "text")?)).collect()
}

/// `url_citation` annotations belong to the text as a whole: they tell where in it.
fn citation(raw: Raw<'_>) -> Option<Citation<'_>> {
    let members = loose(raw);
    let inner = loose(find(&members, "url_citation")?);
    let text = |name: &str| find(&inner, name).and_then(as_text);
    let whole = |name: &str| find(&inner, name).and_then(crate::contract::read::as_whole);
    Some(Citation {
        url: text("url"),
        title: text("title"),
        cited: text("content"),
        start: whole("start_index"),
        end: whole("end_index"),
        json: Some(raw),
    })
}

fn cite<'a>(parts: &mut [Part<'a>], all: Vec<Citation<'a>>) {
    for part in parts {
        if let Kind::Text { citations, .. } = &mut part.kind {
            *citations = all;
            return;
        }
    }
}

fn call<'a>(r: &mut Reading<'a>, raw: Raw<'a>, given: &Given<'_>, at: usize) -> Result<Part<'a>, Wrong> {
    let members = r.object(raw)?;
    let id = find(&members, "id").and_then(as_text).filter(|id| !id.is_empty());
    let Some(function) = find(&members, "function") else {
        let kind = find(&members, "type").and_then(as_text).unwrap_or_default();
        return Ok(Kind::Native { kind, json: raw }.into());
    };
    let signature = find(&members, "extra_content").and_then(|raw| {
        let google = find(&loose(raw), "google")?;
        let data = as_text(find(&loose(google), "thought_signature")?)?;
        Some(Signature { by: Maker::Google, data })
    });
    Ok(Part { signature, ..Part::from(named_call(function, id, given, at)) })
}

fn named_call<'a>(function: Raw<'a>, id: Option<Cow<'a, str>>, given: &Given<'_>, at: usize) -> Kind<'a> {
    let members = loose(function);
    let arguments = match find(&members, "arguments") {
        Some(raw) if is_object(raw) => Cow::Borrowed(raw.get()),
        Some(raw) => as_text(raw).unwrap_or_default(),
        None => Cow::Borrowed(""),
    };
    Kind::ToolCall(ToolCall {
        id: id.unwrap_or_else(|| made_id(given, at).into()),
        name: find(&members, "name").and_then(as_text).unwrap_or_default(),
        arguments,
    })
}

/// The id of a call that the provider gave none.
pub fn made_id(given: &Given<'_>, at: usize) -> String {
    let hash = blake3::hash(format!("{} {at}", given.call_id).as_bytes()).to_hex();
    format!("call_{}", &hash[..24])
}

/// Usage and finish reason of a JSON answer, and nothing else of it.
pub fn glance(body: &[u8], found: &Skim) -> Notes {
    #[derive(Deserialize)]
    struct Ended {
        #[serde(default)]
        finish_reason: Option<String>,
    }
    let usage = found.raw(body, "usage").and_then(|raw| serde_json::from_slice::<Option<OpenaiUsage>>(raw).ok());
    let choices = found.raw(body, "choices").and_then(|raw| serde_json::from_slice::<Option<Vec<Ended>>>(raw).ok());
    Notes {
        usage: usage.flatten().and_then(|u| u.disjoint()),
        finish_reason: choices.flatten().into_iter().flatten().find_map(|c| c.finish_reason),
        done: true,
        ..Notes::default()
    }
}

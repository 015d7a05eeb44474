//! A message of the assistant: plan, thoughts, texts, calls, citations. The same form stands in requests and in answers.

use std::borrow::Cow;

use super::{TOOL_PLAN, citations, documents};
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Citation, Kind, Media, MediaKind, Part, Reasoning, Source, ToolCall, data_url};
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, find, is_null};
use crate::contract::write::Writer;
use crate::dialects::sealed;

pub fn read_assistant<'a>(r: &mut Reading<'a>, members: Members<'a>) -> Result<Vec<Part<'a>>, Wrong> {
    let (mut parts, mut content, mut calls, mut cited) = (Vec::new(), Vec::new(), Vec::new(), None);
    for (name, raw) in members {
        if is_null(raw) {
            continue;
        }
        match &*name {
            "role" => {}
            "content" => content = r.within("content", |r| read_content(r, raw))?,
            "tool_calls" => calls = r.within("tool_calls", |r| r.each(raw, read_call))?,
            "citations" => cited = Some(raw),
            "tool_plan" => {
                let text = r.within("tool_plan", |r| r.text(raw))?;
                if !text.is_empty() {
                    parts.push(plan(text));
                }
            }
            _ => r.extra(&name, raw),
        }
    }
    if let Some(cited) = cited {
        citations::attach(&mut content, cited);
    }
    parts.append(&mut content);
    parts.append(&mut calls);
    Ok(parts)
}

fn plan(text: Cow<'_, str>) -> Part<'_> {
    Kind::Reasoning(Reasoning { text, id: Some(TOOL_PLAN.into()), ..Reasoning::default() }).into()
}

/// Is this reasoning a plan for calls?
pub fn is_plan(reasoning: &Reasoning<'_>) -> bool {
    reasoning.id.as_deref() == Some(TOOL_PLAN)
}

fn read_call<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Part<'a>, Wrong> {
    let mut call = ToolCall { id: "".into(), name: "".into(), arguments: "".into() };
    for (name, raw) in r.object(raw)? {
        match &*name {
            "type" => {}
            "id" if !is_null(raw) => call.id = r.within("id", |r| r.text(raw))?,
            "function" => r.within("function", |r| read_function(r, raw, &mut call))?,
            _ => r.extra(&name, raw),
        }
    }
    let (id, signature) = sealed::unseal_id(call.id);
    call.id = id;
    Ok(Part { signature, ..Kind::ToolCall(call).into() })
}

fn read_function<'a>(r: &mut Reading<'a>, raw: Raw<'a>, call: &mut ToolCall<'a>) -> Result<(), Wrong> {
    for (name, raw) in r.object(raw)? {
        match &*name {
            "name" => call.name = r.within("name", |r| r.text(raw))?,
            "arguments" if !is_null(raw) => call.arguments = r.within("arguments", |r| r.text(raw))?,
            _ => r.extra(&name, raw),
        }
    }
    Ok(())
}

/// A text, or a list of blocks.
pub fn read_content<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<Part<'a>>, Wrong> {
    match as_text(raw) {
        Some(text) => Ok(vec![Part::text(text)]),
        None => r.each(raw, read_block),
    }
}

fn read_block<'a>(r: &mut Reading<'a>, json: Raw<'a>) -> Result<Part<'a>, Wrong> {
    let members = r.object(json)?;
    let kind = find(&members, "type").ok_or_else(|| r.wrong("must have a `type`"))?;
    let kind = r.within("type", |r| r.text(kind))?;
    let mut part = None;
    let mut signature = None;
    for (name, raw) in members {
        match (&*kind, &*name) {
            (_, "type") => {}
            ("text", "text") => part = Some(Part::text(r.within("text", |r| r.text(raw))?)),
            ("thinking", "thinking") => {
                let text = r.within("thinking", |r| r.text(raw))?;
                part = Some(Kind::Reasoning(Reasoning { text, ..Reasoning::default() }).into());
            }
            // Ours: the seal of a foreign maker.
            ("thinking", "signature") if as_text(raw).is_some_and(|t| sealed::untag(&t).is_some()) => {
                signature = as_text(raw).and_then(|t| sealed::untag(&t));
            }
            ("image_url", "image_url") => part = Some(r.within("image_url", |r| read_image(r, raw))?),
            ("document", "document") => part = Some(r.within("document", |r| documents::read(r, raw, false))?),
            ("text" | "thinking" | "image_url" | "document", _) => r.extra(&name, raw),
            _ => return Ok(Kind::Native { kind, json }.into()),
        }
    }
    let part: Part<'a> = part.ok_or_else(|| r.wrong(format!("must have a member `{kind}`")))?;
    Ok(Part { signature, ..part })
}

/// `{url, detail}`, or the URL alone.
fn read_image<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Part<'a>, Wrong> {
    let (mut url, mut detail) = (as_text(raw), None);
    if url.is_none() {
        for (name, raw) in r.object(raw)? {
            match &*name {
                "url" => url = Some(r.within("url", |r| r.text(raw))?),
                "detail" if !is_null(raw) => detail = Some(r.within("detail", |r| r.text(raw))?),
                _ => r.extra(&name, raw),
            }
        }
    }
    let url = url.ok_or_else(|| r.wrong("must have a `url`"))?;
    let image = match url {
        Cow::Borrowed(url) => match data_url(url) {
            Some((mime, data)) => Media::of(MediaKind::Image, Source::Base64(data.into()), mime),
            None => Media::of(MediaKind::Image, Source::Url(url.into()), ""),
        },
        Cow::Owned(url) => match data_url(&url).map(|(mime, data)| (mime.to_owned(), data.to_owned())) {
            Some((mime, data)) => Media::of(MediaKind::Image, Source::Base64(data.into()), mime),
            None => Media::of(MediaKind::Image, Source::Url(url.into()), ""),
        },
    };
    Ok(Kind::Media(Media { detail, ..image }).into())
}

/// How a message of the assistant is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// What was said before, for the provider: a foreign seal would tell it nothing.
    Provider,
    /// An answer, for a caller: seals ride along, to come back.
    Caller,
}

/// The members of a message of the assistant behind `role`. Tells what of it cannot be said.
pub fn write_assistant(w: &mut Writer, parts: &[Part<'_>], whom: For, lost: &mut Vec<Loss>) {
    let plans: Vec<&str> = parts.iter().filter_map(plan_of).collect();
    if !plans.is_empty() {
        w.member("tool_plan", &plans.join("\n"));
    }
    let calls: Vec<(&Part<'_>, &ToolCall<'_>)> = parts.iter().filter_map(|p| Some((p, call_of(p)?))).collect();
    let blocks: Vec<&Part<'_>> = parts.iter().filter(|part| is_block(part, !calls.is_empty(), whom, lost)).collect();
    match &*blocks {
        [] => {}
        [Part { kind: Kind::Text { text, .. } | Kind::Refusal(text), .. }] if whom == For::Provider => {
            w.member("content", text);
        }
        _ => w.list_member("content", |w| blocks.iter().for_each(|part| write_block(w, part, whom))),
    }
    if !calls.is_empty() {
        w.list_member("tool_calls", |w| calls.iter().for_each(|(part, call)| write_call(w, part, call, whom)));
    }
    let cited: Vec<(u64, &Citation<'_>)> =
        (0..).zip(&blocks).flat_map(|(at, part)| citations_of(part).iter().map(move |c| (at, c))).collect();
    if !cited.is_empty() {
        w.list_member("citations", |w| cited.iter().for_each(|(at, citation)| citations::write(w, citation, *at)));
    }
}

/// Can anything of this part be said?
pub fn is_said(part: &Part<'_>) -> bool {
    match &part.kind {
        Kind::Text { .. } | Kind::Refusal(_) | Kind::ToolCall(_) => true,
        Kind::Reasoning(reasoning) => !reasoning.text.is_empty(),
        Kind::Media(_) | Kind::ToolResult(_) | Kind::Native { .. } => false,
    }
}

fn plan_of<'p>(part: &'p Part<'_>) -> Option<&'p str> {
    match &part.kind {
        Kind::Reasoning(reasoning) if is_plan(reasoning) => Some(&reasoning.text),
        Kind::Reasoning(_)
        | Kind::Text { .. }
        | Kind::Refusal(_)
        | Kind::Media(_)
        | Kind::ToolCall(_)
        | Kind::ToolResult(_)
        | Kind::Native { .. } => None,
    }
}

fn call_of<'p, 'a>(part: &'p Part<'a>) -> Option<&'p ToolCall<'a>> {
    match &part.kind {
        Kind::ToolCall(call) => Some(call),
        Kind::Text { .. }
        | Kind::Refusal(_)
        | Kind::Media(_)
        | Kind::ToolResult(_)
        | Kind::Reasoning(_)
        | Kind::Native { .. } => None,
    }
}

fn citations_of<'p, 'a>(part: &'p Part<'a>) -> &'p [Citation<'a>] {
    match &part.kind {
        Kind::Text { citations, .. } => citations,
        Kind::Refusal(_)
        | Kind::Media(_)
        | Kind::ToolCall(_)
        | Kind::ToolResult(_)
        | Kind::Reasoning(_)
        | Kind::Native { .. } => &[],
    }
}

/// Is it a block of the content? An empty text beside calls says nothing, and is left out. What a request loses because
/// the dialect does not carry it was told before.
fn is_block(part: &Part<'_>, calls: bool, whom: For, lost: &mut Vec<Loss>) -> bool {
    match &part.kind {
        Kind::Text { text, .. } => !(text.is_empty() && calls),
        Kind::Refusal(_) => true,
        Kind::Reasoning(reasoning) => {
            if reasoning.encrypted.is_some() && whom == For::Caller {
                lost.push(Loss::of(Element::ReasoningEncrypted));
            }
            !is_plan(reasoning) && !reasoning.text.is_empty()
        }
        Kind::ToolCall(_) | Kind::ToolResult(_) => false,
        Kind::Media(media) => {
            if media.what == MediaKind::Image || whom == For::Caller {
                lost.push(Loss::value(Element::ImageBase64, "a message of the assistant holds no media"));
            }
            false
        }
        Kind::Native { kind, .. } => {
            if whom == For::Caller {
                let why = format!("`{kind}` is known to its own dialect only");
                lost.push(Loss::value(Element::NativePart, why));
            }
            false
        }
    }
}

fn write_block(w: &mut Writer, part: &Part<'_>, whom: For) {
    match &part.kind {
        Kind::Text { text, .. } | Kind::Refusal(text) => write_text(w, text),
        Kind::Reasoning(reasoning) => w.object(|w| {
            w.member("type", "thinking");
            w.member("thinking", &reasoning.text);
            if whom == For::Caller {
                w.member_some("signature", &part.signature.as_ref().and_then(sealed::tag));
            }
        }),
        Kind::Media(_) | Kind::ToolCall(_) | Kind::ToolResult(_) | Kind::Native { .. } => {}
    }
}

pub fn write_text(w: &mut Writer, text: &str) {
    w.object(|w| {
        w.member("type", "text");
        w.member("text", text);
    });
}

fn write_call(w: &mut Writer, part: &Part<'_>, call: &ToolCall<'_>, whom: For) {
    let signature = part.signature.as_ref().filter(|_| whom == For::Caller);
    w.object(|w| {
        w.member("id", &sealed::seal_id(&call.id, signature));
        w.member("type", "function");
        w.object_member("function", |w| {
            w.member("name", &call.name);
            // Exact, where there is anything: what a model wrote need not be valid.
            w.member("arguments", if call.arguments.trim().is_empty() { "{}" } else { &*call.arguments });
        });
    });
}

//! Items, read: they stand in `input` and in `output`.

use std::borrow::Cow;

use super::own::{SHELL, wrap};
use super::parts::{content, need, rest, text};
use super::seal::{self, Place};
use crate::contract::canonical::Tool;
use crate::contract::canonical::part::{Kind, Maker, Message, Part, Reasoning, Role, Signature, ToolCall, ToolResult};
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, find, is_list, is_object, loose};

/// One item.
pub enum Item<'a> {
    /// A message of somebody who asks or instructs.
    Asked(Message<'a>),
    /// A message of the assistant.
    Said(Vec<Part<'a>>),
    /// What the assistant did besides: thoughts, calls, what only this dialect knows.
    Did(Vec<Part<'a>>),
    Result(Part<'a>),
    /// Tools that are added on the way.
    Tools(Vec<Tool<'a>>),
    /// The seal of a part that stands elsewhere.
    Seal(Place<'a>, Signature<'a>),
}

pub fn item<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Item<'a>, Wrong> {
    let members = r.object(raw)?;
    let kind = match text(r, &members, "type")? {
        Some(kind) => kind,
        None if find(&members, "role").is_some() => "message".into(),
        None if find(&members, "id").is_some() => "item_reference".into(),
        None => return r.within("type", |r| Err(r.wrong("is missing"))),
    };
    match &*kind {
        "message" => message(r, &members),
        "function_call" | "custom_tool_call" | "local_shell_call" => {
            call(r, &kind, &members).map(|p| Item::Did(vec![p]))
        }
        "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
            result(r, &members).map(Item::Result)
        }
        "reasoning" => reasoning(r, &members),
        "additional_tools" => {
            let raw = find(&members, "tools").ok_or_else(|| r.wrong("has no `tools`"))?;
            r.within("tools", |r| r.each(raw, super::read_request::tool)).map(Item::Tools)
        }
        // What the provider did or keeps itself: nobody else can read it.
        _ => Ok(Item::Did(vec![Kind::Native { kind, json: raw }.into()])),
    }
}

fn message<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Item<'a>, Wrong> {
    let role = match &*need(r, members, "role")? {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => {
            let told = format!("is `{other}`: known are system, developer, user and assistant");
            return r.within("role", |r| Err(r.unsupported(told)));
        }
    };
    let parts = match find(members, "content") {
        Some(raw) => r.within("content", |r| content(r, raw))?,
        None => return r.within("content", |r| Err(r.wrong("is missing"))),
    };
    // Ids and states are book-keeping, and phases a hint for the models that set them.
    rest(r, members, &["type", "role", "content", "id", "status", "phase"]);
    Ok(match role {
        Role::Assistant => Item::Said(parts),
        role => Item::Asked(Message { role, name: None, parts }),
    })
}

/// A call of a tool that the caller runs.
fn call<'a>(r: &mut Reading<'a>, kind: &str, members: &Members<'a>) -> Result<Part<'a>, Wrong> {
    let own = ["type", "id", "status", "call_id"];
    let call = match kind {
        "custom_tool_call" => {
            rest(r, members, &[&own[..], &["name", "input"]].concat());
            let input = text(r, members, "input")?.unwrap_or_default();
            ToolCall {
                id: need(r, members, "call_id")?,
                name: need(r, members, "name")?,
                arguments: wrap(&input).into(),
            }
        }
        "local_shell_call" => {
            rest(r, members, &[&own[..], &["action"]].concat());
            let id = text(r, members, "call_id")?.or(text(r, members, "id")?).unwrap_or_default();
            let action = find(members, "action").map_or("{}", |raw| raw.get());
            ToolCall { id, name: SHELL.into(), arguments: action.into() }
        }
        _ => {
            rest(r, members, &[&own[..], &["name", "arguments"]].concat());
            let arguments = match find(members, "arguments") {
                // Some servers have the object itself.
                Some(raw) if is_object(raw) => Cow::Borrowed(raw.get()),
                Some(raw) => r.within("arguments", |r| r.text(raw))?,
                None => Cow::Borrowed(""),
            };
            ToolCall { id: need(r, members, "call_id")?, name: need(r, members, "name")?, arguments }
        }
    };
    Ok(Kind::ToolCall(call).into())
}

fn result<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Part<'a>, Wrong> {
    let call_id = match text(r, members, "call_id")?.or(text(r, members, "id")?) {
        Some(id) => id,
        None => return r.within("call_id", |r| Err(r.wrong("is missing: it names the call whose result this is"))),
    };
    let mut result = ToolResult { call_id, name: text(r, members, "name")?, parts: Vec::new(), error: false };
    let raw = match find(members, "output") {
        Some(raw) => raw,
        None => return r.within("output", |r| Err(r.wrong("is missing"))),
    };
    if is_object(raw) {
        // As older agents send it: `{content, success}`.
        let output = loose(raw);
        result.error = find(&output, "success").is_some_and(|raw| raw.get() == "false");
        let raw = find(&output, "content").unwrap_or(raw);
        result.parts.push(Part::text(as_text(raw).unwrap_or_else(|| raw.get().into())));
    } else {
        result.parts = r.within("output", |r| content(r, raw))?;
    }
    rest(r, members, &["type", "id", "status", "call_id", "name", "output"]);
    Ok(Kind::ToolResult(result).into())
}

/// Thoughts: a part for each piece of text, the last one with what is encrypted.
fn reasoning<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Item<'a>, Wrong> {
    rest(r, members, &["type", "id", "status", "summary", "content", "encrypted_content"]);
    let id = text(r, members, "id")?;
    let texts = |r: &mut Reading<'a>, name: &'static str| match find(members, name) {
        Some(raw) if is_list(raw) => r.within(name, |r| {
            r.each(raw, |r, item| {
                let members = r.object(item)?;
                need(r, &members, "text")
            })
        }),
        Some(raw) => Ok(as_text(raw).into_iter().collect()),
        None => Ok(Vec::new()),
    };
    let (mut summary, thoughts) = (texts(r, "summary")?, texts(r, "content")?);
    if summary == thoughts {
        // Some servers and clients say the same twice.
        summary.clear();
    }
    let pieces = summary.into_iter().map(|t| (t, true)).chain(thoughts.into_iter().map(|t| (t, false)));
    let mut parts: Vec<Part<'a>> = pieces
        .map(|(text, summary)| Kind::Reasoning(Reasoning { text, summary, id: id.clone(), encrypted: None }).into())
        .collect();
    let Some(sealed) = text(r, members, "encrypted_content")?.filter(|sealed| !sealed.is_empty()) else {
        return Ok(Item::Did(parts));
    };
    let (place, signature) = match seal::read(&sealed) {
        Some(tagged) => tagged,
        None => (Place::Thoughts, Signature { by: Maker::Openai, data: sealed }),
    };
    match place {
        Place::Text | Place::Call(_) => return Ok(Item::Seal(place, signature)),
        Place::Own | Place::Thoughts => {}
    }
    if parts.is_empty() {
        parts.push(Kind::Reasoning(Reasoning { id, ..Reasoning::default() }).into());
    }
    if let Some(last) = parts.last_mut() {
        seal_thoughts(last, place, signature);
    }
    Ok(Item::Did(parts))
}

/// Whose thoughts are sealed is told by the signature alone: what is encrypted gets an empty one.
fn seal_thoughts<'a>(part: &mut Part<'a>, place: Place<'a>, signature: Signature<'a>) {
    if let (Kind::Reasoning(reasoning), true) = (&mut part.kind, place == Place::Thoughts) {
        reasoning.encrypted = Some(signature.data);
        part.signature = Some(Signature { by: signature.by, data: "".into() });
    } else {
        part.signature = Some(signature);
    }
}

/// The parts of one answer or turn of the assistant, in their order, with the seals that stood apart put back.
pub fn put_back<'a>(parts: &mut Vec<Part<'a>>, seal: Signature<'a>) {
    match parts.iter_mut().rev().find(|part| matches!(part.kind, Kind::Text { .. })) {
        Some(text) => text.signature = Some(seal),
        None => parts.push(Part { signature: Some(seal), ..Part::text("") }),
    }
}

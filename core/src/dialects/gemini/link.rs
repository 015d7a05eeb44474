//! Calls and their results find each other, though neither needs an id here: then name and order tell.

use std::borrow::Cow;

use crate::contract::canonical::part::{Kind, Maker, Message, Part, Role};

/// Turns of the model that follow on each other are one: callers that keep a stream keep it piece by piece.
pub fn append<'a>(messages: &mut Vec<Message<'a>>, message: Message<'a>) {
    match messages.last_mut() {
        Some(last) if last.role == Role::Assistant && message.role == Role::Assistant => {
            let mut parts = message.parts;
            join_text(&mut last.parts, &mut parts);
            parts.into_iter().for_each(|part| push(&mut last.parts, part));
        }
        Some(_) | None => {
            let mut message = message;
            if message.role == Role::Assistant {
                let parts = std::mem::take(&mut message.parts);
                parts.into_iter().for_each(|part| push(&mut message.parts, part));
            }
            messages.push(message);
        }
    }
}

/// A text that goes on where the turn before stopped is one text with it.
fn join_text<'a>(before: &mut [Part<'a>], parts: &mut Vec<Part<'a>>) {
    let (Some(last), Some(first)) = (before.last_mut(), parts.first()) else { return };
    if last.signature.is_some() || first.signature.is_some() {
        return;
    }
    if let (Kind::Text { text, .. }, Kind::Text { text: more, .. }) = (&mut last.kind, &first.kind) {
        text.to_mut().push_str(more);
        parts.remove(0);
    }
}

/// A foreign seal holds for the whole of the thoughts before it, which a stream brought in pieces.
fn push<'a>(parts: &mut Vec<Part<'a>>, mut part: Part<'a>) {
    let foreign = part.signature.as_ref().is_some_and(|s| s.by != Maker::Google);
    if let Kind::Reasoning(reasoning) = &mut part.kind
        && foreign
    {
        let pieces = parts.iter().rev().take_while(|p| is_open_thought(p)).count();
        let mut text = String::new();
        for piece in parts.drain(parts.len() - pieces..) {
            if let Kind::Reasoning(piece) = piece.kind {
                text.push_str(&piece.text);
            }
        }
        if !text.is_empty() {
            text.push_str(&reasoning.text);
            reasoning.text = Cow::Owned(text);
        }
        reasoning.summary &= reasoning.encrypted.is_some();
    }
    parts.push(part);
}

fn is_open_thought(part: &Part<'_>) -> bool {
    matches!(&part.kind, Kind::Reasoning(reasoning) if reasoning.encrypted.is_none()) && part.signature.is_none()
}

/// So many calls may wait for their results; real turns have at most some dozens.
const OPEN_MAX: usize = 1_024;

/// A call whose result has not come.
struct Open<'a> {
    message: usize,
    part: usize,
    name: Cow<'a, str>,
    id: Cow<'a, str>,
    /// The id is ours: a result may tell another.
    made: bool,
}

pub fn link<'a>(messages: &mut [Message<'a>]) {
    let (mut open, mut calls): (Vec<Open<'a>>, usize) = (Vec::new(), 0);
    for message in 0..messages.len() {
        for part in 0..messages[message].parts.len() {
            match &mut messages[message].parts[part].kind {
                Kind::ToolCall(call) => {
                    calls += 1;
                    let made = call.id.is_empty();
                    if made {
                        call.id = made_id("", calls, &call.name).into();
                    }
                    if open.len() == OPEN_MAX {
                        open.remove(0);
                    }
                    open.push(Open { message, part, name: call.name.clone(), id: call.id.clone(), made });
                }
                Kind::ToolResult(result) => {
                    let name = result.name.clone().unwrap_or_default();
                    if result.call_id.is_empty() {
                        let of_name = open.iter().position(|call| call.name == name);
                        result.call_id = match of_name {
                            Some(at) => open.remove(at).id,
                            None => made_id("result", calls, &name).into(),
                        };
                    } else if let Some(at) = open.iter().position(|call| call.id == result.call_id) {
                        open.remove(at);
                    } else if let Some(at) = open.iter().position(|call| call.made && call.name == name) {
                        let (id, call) = (result.call_id.clone(), open.remove(at));
                        if let Kind::ToolCall(call) = &mut messages[call.message].parts[call.part].kind {
                            call.id = id;
                        }
                    }
                }
                Kind::Text { .. } | Kind::Refusal(_) | Kind::Media(_) | Kind::Reasoning(_) | Kind::Native { .. } => {}
            }
        }
    }
}

/// The id of a call that was told none: the same each time that the same conversation is read, so that providers' prompt
/// caches see the same text.
pub fn made_id(of: &str, at: usize, name: &str) -> String {
    let hash = blake3::hash(format!("{of} {at} {name}").as_bytes()).to_hex();
    format!("call_{}", &hash[..24])
}

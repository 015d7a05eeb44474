//! A request as callers of Cohere write it.

use std::borrow::Cow;

use super::{documents, message, tools};
use crate::contract::canonical::part::{Kind, Message, Role, ToolResult};
use crate::contract::canonical::{Format, Logprobs, ReasoningAsk, Request, Tool, ToolChoice};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_null, is_object};
use crate::contract::skim::Skim;
use crate::dialects::sealed;

/// What bears on other members and is applied when all are read.
#[derive(Default)]
struct Also<'a> {
    documents: Option<Raw<'a>>,
    strict: Option<bool>,
    /// No citations are wanted.
    uncited: bool,
}

pub fn read<'a>(body: &'a [u8], skim: &'a Skim) -> Result<Request<'a>, Wrong> {
    let (mut reading, mut request, mut also) = (Reading::default(), Request::default(), Also::default());
    for member in &skim.members {
        let raw = reading.value(&body[member.value.clone()])?;
        let name = member.name(body);
        if is_null(raw) {
            continue;
        }
        let understood = reading.within(name, |r| {
            Ok(conversation(r, &mut request, &mut also, name, raw)? || sampling(r, &mut request, name, raw)?)
        })?;
        if !understood {
            reading.extra(name, raw);
        }
    }
    if let Some(strict) = also.strict {
        for tool in &mut request.tools {
            match tool {
                Tool::Function(function) => function.strict = Some(strict),
                Tool::Native { .. } => {}
            }
        }
    }
    if let Some(raw) = also.documents {
        place_documents(&mut reading, &mut request, raw, !also.uncited)?;
    }
    request.extra = reading.extra;
    Ok(request)
}

/// Documents are about the last question: they stand before it.
fn place_documents<'a>(r: &mut Reading<'a>, request: &mut Request<'a>, raw: Raw<'a>, cite: bool) -> Result<(), Wrong> {
    let Some(question) = request.messages.iter_mut().rfind(|m| m.role == Role::User) else {
        r.extra("documents", raw);
        return Ok(());
    };
    let documents = r.within("documents", |r| documents::read_all(r, raw, cite))?;
    question.parts.splice(0..0, documents);
    Ok(())
}

fn conversation<'a>(
    r: &mut Reading<'a>,
    request: &mut Request<'a>,
    also: &mut Also<'a>,
    name: &str,
    raw: Raw<'a>,
) -> Result<bool, Wrong> {
    match name {
        "model" => request.model = r.text(raw)?,
        "stream" => request.stream = r.bool(raw)?,
        "messages" => request.messages = r.each(raw, read_message)?,
        "documents" => also.documents = Some(raw),
        "citation_options" => return read_citation_options(r, raw, also),
        "tools" => request.tools = tools::read(r, raw)?,
        "strict_tools" => also.strict = Some(r.bool(raw)?),
        "tool_choice" => {
            request.tool_choice = Some(match &*r.text(raw)? {
                "REQUIRED" => ToolChoice::Required,
                "NONE" => ToolChoice::None,
                _ => return Err(r.wrong("must be `REQUIRED` or `NONE`")),
            });
        }
        "response_format" => request.format = read_format(r, raw)?,
        "thinking" => request.reasoning = Some(read_thinking(r, raw)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn sampling<'a>(r: &mut Reading<'a>, request: &mut Request<'a>, name: &str, raw: Raw<'a>) -> Result<bool, Wrong> {
    match name {
        "max_tokens" => request.max_tokens = Some(r.whole(raw)?),
        "temperature" => request.temperature = Some(r.number(raw)?),
        "p" => request.top_p = Some(r.number(raw)?),
        // 0 is the default: no such bound.
        "k" => request.top_k = Some(r.whole(raw)?).filter(|k| *k > 0),
        "frequency_penalty" => request.frequency_penalty = Some(r.number(raw)?),
        "presence_penalty" => request.presence_penalty = Some(r.number(raw)?),
        "seed" => request.seed = Some(r.number(raw)?),
        "stop_sequences" => request.stop = r.texts(raw)?,
        "logprobs" => request.logprobs = r.bool(raw)?.then_some(Logprobs { top: None }),
        _ => return Ok(false),
    }
    Ok(true)
}

/// That nothing shall be cited is what other dialects do anyway; how it shall be cited is Cohere's own.
fn read_citation_options<'a>(r: &mut Reading<'a>, raw: Raw<'a>, also: &mut Also<'a>) -> Result<bool, Wrong> {
    for (name, raw) in r.object(raw)? {
        let mode = as_text(raw).unwrap_or_default();
        match (&*name, mode.to_ascii_uppercase().as_str()) {
            ("mode", "OFF" | "DISABLED") => also.uncited = true,
            ("mode", "ENABLED") => {}
            _ => r.extra(&name, raw),
        }
    }
    Ok(true)
}

fn read_format<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Option<Format<'a>>, Wrong> {
    let (mut kind, mut schema) = (None, None);
    for (name, raw) in r.object(raw)? {
        match &*name {
            "type" => kind = Some(r.within("type", |r| r.text(raw))?),
            // `schema` is what it was called first.
            "json_schema" | "schema" if !is_null(raw) => {
                // What stands in it is for the provider alone to judge.
                if !is_object(raw) {
                    return r.within(name, |r| Err(r.wrong("must be an object")));
                }
                schema = Some(raw);
            }
            _ => r.extra(&name, raw),
        }
    }
    match (kind.as_deref(), schema) {
        (Some("text"), None) => Ok(None),
        (Some("json_object"), None) => Ok(Some(Format::Json)),
        (Some("json_object"), Some(schema)) => {
            Ok(Some(Format::Schema { name: None, description: None, schema: Cow::Borrowed(schema), strict: None }))
        }
        (Some(_) | None, _) => {
            Err(r.wrong("must have the `type` `text` or `json_object`, only the second with a schema"))
        }
    }
}

fn read_thinking<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<ReasoningAsk<'a>, Wrong> {
    let mut ask = ReasoningAsk::default();
    let mut off = false;
    for (name, raw) in r.object(raw)? {
        match &*name {
            "type" => match &*r.within("type", |r| r.text(raw))? {
                "enabled" => {}
                "disabled" => off = true,
                _ => return Err(r.wrong("must have the `type` `enabled` or `disabled`")),
            },
            "token_budget" if !is_null(raw) => {
                ask.budget_tokens = Some(r.within("token_budget", |r| r.whole(raw))?);
            }
            _ => r.extra(&name, raw),
        }
    }
    match off {
        true => ask.budget_tokens = Some(0),
        false => ask.adaptive = ask.budget_tokens.is_none(),
    }
    Ok(ask)
}

fn read_message<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Message<'a>, Wrong> {
    let members = r.object(raw)?;
    let role = find(&members, "role").ok_or_else(|| r.wrong("must have a `role`"))?;
    let role = match &*r.within("role", |r| r.text(role))? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => {
            return Ok(Message { role: Role::Assistant, name: None, parts: message::read_assistant(r, members)? });
        }
        "tool" => Role::Tool,
        _ => return Err(r.wrong("must have the `role` `system`, `user`, `assistant` or `tool`")),
    };
    let (mut parts, mut call_id) = (Vec::new(), None);
    for (name, raw) in members {
        match &*name {
            "role" => {}
            "content" if !is_null(raw) => parts = r.within("content", |r| message::read_content(r, raw))?,
            "tool_call_id" if role == Role::Tool && !is_null(raw) => {
                call_id = Some(r.within("tool_call_id", |r| r.text(raw))?);
            }
            _ => r.extra(&name, raw),
        }
    }
    if role == Role::Tool {
        let id = call_id.ok_or_else(|| r.wrong("must have a `tool_call_id`"))?;
        let result = ToolResult { call_id: sealed::unseal_id(id).0, name: None, parts, error: false };
        parts = vec![Kind::ToolResult(result).into()];
    }
    Ok(Message { role, name: None, parts })
}

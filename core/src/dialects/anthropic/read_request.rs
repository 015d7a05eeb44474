//! A caller's request, read. What the newest versions added and nobody else has (`container`, `mcp_servers`,
//! `context_management`, ...) goes to `extra`.

use std::borrow::Cow;

use super::blocks;
use crate::contract::canonical::part::{Kind, Message, Part, Role};
use crate::contract::canonical::{CacheMark, Format, Function, ReasoningAsk, Request, Tool, ToolChoice};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_list, is_null, is_object};
use crate::contract::skim::Skim;
use crate::dialects::Given;

pub fn read<'a>(body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<Request<'a>, Wrong> {
    let mut r = Reading::default();
    let mut request = Request { stream: given.stream, model: Cow::Borrowed(given.model), ..Request::default() };
    let (mut system, mut said, mut mark) = (Vec::new(), None, None);
    for member in &skim.members {
        let name = member.name(body);
        let raw = r.within(name, |r| r.value(&body[member.value.clone()]))?;
        if is_null(raw) {
            continue;
        }
        match name {
            "system" => system = r.within(name, |r| instructions(r, raw))?,
            "messages" => said = Some(r.within(name, |r| messages(r, raw))?),
            "cache_control" => mark = r.within(name, |r| blocks::cache_mark(r, raw))?,
            // It tells of members in two places: those that it does not know stand beside it.
            "thinking" | "output_config" | "output_format" | "metadata" => member_of(&mut r, name, raw, &mut request)?,
            _ => {
                if !r.within(name, |r| plain(r, name, raw, &mut request))? {
                    r.extra(name, raw);
                }
            }
        }
    }
    let Some(said) = said else { return r.within("messages", |r| Err(r.wrong("is missing"))) };
    if !system.is_empty() {
        request.messages.push(Message { role: Role::System, name: None, parts: system });
    }
    request.messages.extend(said);
    mark_last(&mut request.messages, mark);
    request.extra = r.extra;
    Ok(request)
}

/// `true` = the member was understood.
fn plain<'a>(r: &mut Reading<'a>, name: &str, raw: Raw<'a>, request: &mut Request<'a>) -> Result<bool, Wrong> {
    match name {
        "model" if !request.model.is_empty() => {}
        "model" => request.model = r.text(raw)?,
        "stream" => request.stream |= r.bool(raw)?,
        // The gateway's own.
        "tollgate" => {}
        "max_tokens" => request.max_tokens = Some(r.whole(raw)?),
        "temperature" => request.temperature = Some(r.number(raw)?),
        "top_p" => request.top_p = Some(r.number(raw)?),
        "top_k" => request.top_k = Some(r.whole(raw)?),
        "stop_sequences" => request.stop = r.texts(raw)?,
        "service_tier" => {
            let tier = r.text(raw)?;
            request.service_tier = Some(if tier == "standard_only" { "default".into() } else { tier });
        }
        "tools" => request.tools = r.each(raw, tool)?,
        "tool_choice" => tool_choice(r, raw, request)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn member_of<'a>(r: &mut Reading<'a>, name: &'a str, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    r.within(name, |r| match name {
        "thinking" => thinking(r, raw, request),
        "output_format" => {
            request.format = Some(format(r, raw)?);
            Ok(())
        }
        "output_config" => {
            for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
                match &*name {
                    "effort" => {
                        let effort = r.within("effort", |r| r.text(raw))?;
                        request.reasoning.get_or_insert_default().effort = Some(effort);
                    }
                    "format" => request.format = Some(r.within("format", |r| format(r, raw))?),
                    other => r.extra(other, raw),
                }
            }
            Ok(())
        }
        _ => {
            for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
                match &*name {
                    "user_id" => request.user = Some(r.within("user_id", |r| r.text(raw))?),
                    other => r.extra(other, raw),
                }
            }
            Ok(())
        }
    })
}

fn thinking<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    let ask: &mut ReasoningAsk<'a> = request.reasoning.get_or_insert_default();
    let members = r.object(raw)?;
    let kind = blocks::need_text(r, &members, "type")?;
    match &*kind {
        // Where thinking is switched on by hand, thoughts are shown unless the caller says otherwise.
        "enabled" => ask.show = Some("auto".into()),
        "adaptive" => ask.adaptive = true,
        "disabled" => ask.budget_tokens = Some(0),
        _ => r.extra("type", find(&members, "type").expect("it was read above")),
    }
    for (name, raw) in members.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "type" => {}
            "budget_tokens" if kind == "enabled" => {
                ask.budget_tokens = Some(r.within("budget_tokens", |r| r.whole(raw))?);
            }
            "display" => {
                ask.show = match &*r.within("display", |r| r.text(raw))? {
                    "summarized" => Some("auto".into()),
                    "omitted" => Some("".into()),
                    _ => return r.within("display", |r| Err(r.unsupported("must be `summarized` or `omitted`"))),
                }
            }
            other => r.extra(other, raw),
        }
    }
    Ok(())
}

/// `{type: json_schema, schema}`; the name and the rest are from an older version of the form.
fn format<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Format<'a>, Wrong> {
    let members = r.object(raw)?;
    let kind = blocks::need_text(r, &members, "type")?;
    if kind != "json_schema" {
        return r.within("type", |r| Err(r.unsupported(format!("is `{kind}`: only `json_schema` is known"))));
    }
    let Some(schema) = find(&members, "schema") else { return r.within("schema", |r| Err(r.wrong("is missing"))) };
    let name = blocks::text(r, &members, "name")?;
    for (name, raw) in members.iter().filter(|(name, _)| !matches!(&**name, "type" | "schema" | "name")) {
        r.extra(name, raw);
    }
    Ok(Format::Schema { name, description: None, schema: Cow::Borrowed(schema), strict: None })
}

fn instructions<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<Part<'a>>, Wrong> {
    match as_text(raw) {
        Some(text) if text.is_empty() => Ok(Vec::new()),
        Some(text) => Ok(vec![Part::text(text)]),
        None if is_list(raw) => blocks::read(r, raw),
        None => Err(r.wrong("must be a text or a list of blocks")),
    }
}

/// Results of tools stand in messages of the user here; they get a message of their own.
fn messages<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<Message<'a>>, Wrong> {
    let mut messages: Vec<Message<'a>> = Vec::new();
    for (role, parts) in r.each(raw, message)? {
        if role != Role::User || parts.is_empty() {
            messages.push(Message { role, name: None, parts });
            continue;
        }
        let begin = messages.len();
        for part in parts {
            let role = if matches!(part.kind, Kind::ToolResult(_)) { Role::Tool } else { Role::User };
            match messages[begin..].last_mut().filter(|last| last.role == role) {
                Some(last) => last.parts.push(part),
                None => messages.push(Message { role, name: None, parts: vec![part] }),
            }
        }
    }
    Ok(messages)
}

fn message<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<(Role, Vec<Part<'a>>), Wrong> {
    let members = r.object(raw)?;
    let role = match &*blocks::need_text(r, &members, "role")? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => {
            let told = format!("is `{other}`: known are user, assistant and system");
            return r.within("role", |r| Err(r.unsupported(told)));
        }
    };
    let mut parts = Vec::new();
    for (name, raw) in members.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "role" => {}
            "content" => parts = r.within("content", |r| instructions(r, raw))?,
            other => r.extra(other, raw),
        }
    }
    Ok((role, parts))
}

/// The mark on top stands for one on the last block that can bear it.
fn mark_last(messages: &mut [Message<'_>], mark: Option<CacheMark>) {
    let bears = |part: &&mut Part<'_>| !matches!(part.kind, Kind::Reasoning(_) | Kind::Native { .. });
    if let (Some(mark), Some(last)) = (mark, messages.iter_mut().flat_map(|m| &mut m.parts).rfind(bears)) {
        last.cache.get_or_insert(mark);
    }
}

fn tool<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Tool<'a>, Wrong> {
    let members = r.object(raw)?;
    if let Some(kind) = blocks::text(r, &members, "type")?.filter(|kind| kind != "custom") {
        return Ok(Tool::Native { kind, json: raw });
    }
    let mut read = Function { name: blocks::need_text(r, &members, "name")?, ..Function::default() };
    for (name, raw) in members.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "name" | "type" => {}
            "description" => read.description = Some(r.within("description", |r| r.text(raw))?),
            "input_schema" if is_object(raw) => read.parameters = Some(raw),
            "input_schema" => return r.within("input_schema", |r| Err(r.wrong("must be an object"))),
            "strict" => read.strict = Some(r.within("strict", |r| r.bool(raw))?),
            "cache_control" => read.cache = r.within("cache_control", |r| blocks::cache_mark(r, raw))?,
            // As nearly every tool is: known to the model from the begin.
            "defer_loading" if raw.get() == "false" => {}
            // Arguments unchecked and at once: so they come elsewhere anyway.
            "eager_input_streaming" if matches!(raw.get(), "true" | "false") => {}
            other => r.extra(other, raw),
        }
    }
    Ok(Tool::Function(read))
}

fn tool_choice<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    let members = r.object(raw)?;
    request.tool_choice = Some(match &*blocks::need_text(r, &members, "type")? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(blocks::need_text(r, &members, "name")?),
        other => {
            let told = format!("is `{other}`: known are auto, any, tool and none");
            return r.within("type", |r| Err(r.unsupported(told)));
        }
    });
    for (name, raw) in members.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "type" | "name" => {}
            "disable_parallel_tool_use" => {
                request.parallel_tools = Some(!r.within("disable_parallel_tool_use", |r| r.bool(raw))?);
            }
            other => r.extra(other, raw),
        }
    }
    Ok(())
}

//! A caller's request, read. The model and whether a stream is wanted stand in the path.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::additional;
use super::model::Family;
use super::read_blocks::{Blocks, Content, cache_mark};
use crate::contract::canonical::part::{Message, Role};
use crate::contract::canonical::{CacheMark, Format, Function, Request, Tool, ToolChoice};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_null};
use crate::contract::skim::Skim;
use crate::dialects::Given;

pub fn read<'a>(body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<Request<'a>, Wrong> {
    let mut reading = Reading::default();
    let mut request = Request { stream: given.stream, model: Cow::Borrowed(given.model), ..Request::default() };
    let (mut system, mut turns) = (Content::default(), Vec::new());
    for member in &skim.members {
        let name = member.name(body);
        let raw = reading.within(name, |r| r.value(&body[member.value.clone()]))?;
        if is_null(raw) {
            continue;
        }
        let maker = Family::of(given.model).maker();
        let understood = reading.within(name, |r| {
            match name {
                "system" => system = Blocks { role: Role::System, maker }.read(r, raw)?,
                "messages" => {
                    turns = r.each(raw, |r, raw| {
                        let members = r.object(raw)?;
                        let role = role(r, find(&members, "role"))?;
                        let Some(raw) = find(&members, "content") else {
                            return r.within("content", |r| Err(r.wrong("is missing")));
                        };
                        let others = members.iter().filter(|(name, _)| !matches!(&**name, "role" | "content"));
                        others.for_each(|(name, raw)| r.extra(name, raw));
                        Ok((role, r.within("content", |r| Blocks { role, maker }.read(r, raw))?))
                    })?;
                }
                _ => return member_of(r, name, raw, &mut request),
            }
            Ok(true)
        })?;
        if !understood {
            reading.extra(name, raw);
        }
    }
    converse(&mut request, system, turns);
    request.extra = reading.extra;
    Ok(request)
}

/// `true` = the member was understood.
fn member_of<'a>(r: &mut Reading<'a>, name: &str, raw: Raw<'a>, request: &mut Request<'a>) -> Result<bool, Wrong> {
    match name {
        // Not the provider's; or said by the path, and repeated by some clients.
        "tollgate" | "modelId" => {}
        "inferenceConfig" => inference(r, raw, request)?,
        "toolConfig" => tool_config(r, raw, request)?,
        "additionalModelRequestFields" => additional::read(r, raw, request)?,
        "outputConfig" => output_config(r, raw, request)?,
        "serviceTier" => {
            let members = r.object(raw)?;
            request.service_tier = find(&members, "type").map(|raw| r.within("type", |r| r.text(raw))).transpose()?;
        }
        "requestMetadata" => request.metadata = Some(raw),
        // How quick a model is asked to be bears on the price and the time alone, if it is the usual way.
        "performanceConfig" => {
            let members = r.object(raw)?;
            return Ok(find(&members, "latency").and_then(as_text).is_none_or(|latency| latency == "standard"));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn role<'a>(r: &mut Reading<'a>, raw: Option<Raw<'a>>) -> Result<Role, Wrong> {
    let role = raw.map(|raw| r.within("role", |r| r.text(raw))).transpose()?;
    r.within("role", |r| match role.as_deref() {
        Some("user") => Ok(Role::User),
        Some("assistant") => Ok(Role::Assistant),
        Some("system") => Ok(Role::System),
        Some(other) => Err(r.unsupported(format!("is `{other}`: known are user, assistant and system"))),
        None => Err(r.wrong("is missing")),
    })
}

/// The system first, then the turns. A mark at the begin of a message belongs to the end of the one before.
fn converse<'a>(request: &mut Request<'a>, system: Content<'a>, turns: Vec<(Role, Content<'a>)>) {
    let system = (!system.parts.is_empty() || system.mark_before.is_some()).then_some((Role::System, system));
    for (role, content) in system.into_iter().chain(turns) {
        if let Some(mark) = content.mark_before {
            let before = request.messages.iter_mut().rev().find_map(|m| m.parts.last_mut());
            match (before, request.tools.last_mut()) {
                (Some(part), _) => part.cache = Some(mark),
                (None, Some(Tool::Function(function))) => function.cache = Some(mark),
                // Nothing stands before it.
                (None, Some(Tool::Native { .. }) | None) => {}
            }
        }
        request.messages.push(Message { role, name: None, parts: content.parts });
    }
}

fn inference<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        let understood = r.within(name.clone(), |r| {
            match &*name {
                "maxTokens" => request.max_tokens = Some(r.whole(raw)?),
                "temperature" => request.temperature = Some(r.number(raw)?),
                "topP" => request.top_p = Some(r.number(raw)?),
                "stopSequences" => request.stop = r.each(raw, |r, item| r.text(item))?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if !understood {
            r.extra(&name, raw);
        }
    }
    Ok(())
}

fn tool_config<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "tools" => {
                let tools = &mut request.tools;
                r.within("tools", |r| r.each(raw, |r, item| tool(r, item, tools)))?;
            }
            "toolChoice" => request.tool_choice = r.within("toolChoice", |r| tool_choice(r, raw))?,
            other => r.extra(other, raw),
        }
    }
    Ok(())
}

fn tool<'a>(r: &mut Reading<'a>, raw: Raw<'a>, tools: &mut Vec<Tool<'a>>) -> Result<(), Wrong> {
    let members = r.object(raw)?;
    if let Some(point) = find(&members, "cachePoint") {
        let mark: CacheMark = r.within("cachePoint", |r| cache_mark(r, point))?;
        match tools.last_mut() {
            Some(Tool::Function(function)) => function.cache = Some(mark),
            // Behind a tool of the provider's own: it stays with it, as a thing of this dialect.
            Some(Tool::Native { .. }) | None => tools.push(Tool::Native { kind: "cachePoint".into(), json: raw }),
        }
        return Ok(());
    }
    let Some(spec) = find(&members, "toolSpec") else {
        let kind = match find(&members, "systemTool").and_then(|tool| find(&r.object(tool).ok()?, "name")) {
            Some(name) => r.text(name)?,
            None => members.into_iter().find(|(_, raw)| !is_null(raw)).map(|(name, _)| name).unwrap_or_default(),
        };
        tools.push(Tool::Native { kind, json: raw });
        return Ok(());
    };
    let function = r.within("toolSpec", |r| {
        let mut function = Function::default();
        for (name, raw) in r.object(spec)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
            match &*name {
                "name" => function.name = r.within("name", |r| r.text(raw))?,
                "description" => function.description = Some(r.within("description", |r| r.text(raw))?),
                "inputSchema" => {
                    let members = r.within("inputSchema", |r| r.object(raw))?;
                    function.parameters = find(&members, "json");
                }
                "strict" => function.strict = Some(r.within("strict", |r| r.bool(raw))?),
                other => r.extra(other, raw),
            }
        }
        Ok(function)
    })?;
    tools.push(Tool::Function(function));
    Ok(())
}

fn tool_choice<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Option<ToolChoice<'a>>, Wrong> {
    let members = r.object(raw)?;
    let Some((kind, raw)) = members.into_iter().find(|(_, raw)| !is_null(raw)) else { return Ok(None) };
    match &*kind {
        "auto" => Ok(Some(ToolChoice::Auto)),
        "any" => Ok(Some(ToolChoice::Required)),
        "tool" => r.within("tool", |r| {
            let members = r.object(raw)?;
            let name = find(&members, "name").ok_or_else(|| r.wrong("has no `name`"))?;
            Ok(Some(ToolChoice::Named(r.within("name", |r| r.text(name))?)))
        }),
        other => Err(r.unsupported(format!("is `{other}`: known are auto, any and tool"))),
    }
}

/// The schema stands inside a text.
fn output_config<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "effort" => {
                request.reasoning.get_or_insert_default().effort = Some(r.within("effort", |r| r.text(raw))?);
            }
            "textFormat" => request.format = Some(r.within("textFormat", |r| text_format(r, raw))?),
            other => r.extra(other, raw),
        }
    }
    Ok(())
}

fn text_format<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Format<'a>, Wrong> {
    let members = r.object(raw)?;
    let structure = find(&members, "structure").ok_or_else(|| r.wrong("has no `structure`"))?;
    r.within("structure", |r| {
        let members = r.object(structure)?;
        let Some(schema) = find(&members, "jsonSchema") else {
            return Err(r.unsupported("has no `jsonSchema`: no other form of answers is known"));
        };
        r.within("jsonSchema", |r| {
            let members = r.object(schema)?;
            let text = |r: &mut Reading<'a>, name: &'static str| {
                find(&members, name).map(|raw| r.within(name, |r| r.text(raw))).transpose()
            };
            let (name, description) = (text(r, "name")?, text(r, "description")?);
            let schema = text(r, "schema")?.ok_or_else(|| r.wrong("has no `schema`"))?;
            let schema = RawValue::from_string(schema.into_owned());
            let schema = schema.map_err(|why| r.wrong(format!("has a `schema` that is no JSON: {why}")))?;
            Ok(Format::Schema { name, description, schema: Cow::Owned(schema), strict: None })
        })
    })
}

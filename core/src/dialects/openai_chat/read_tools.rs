//! Tools of a request and calls of them: functions, tools of free text (`custom`), and the older form of both, `functions`
//! and `function_call`. The last two are functions elsewhere; their calls come back in the caller's own form.

use std::borrow::Cow;

use super::read_request::cache_mark;
use crate::contract::canonical::part::{Kind, Maker, Message, Part, Role, Signature, ToolCall};
use crate::contract::canonical::{Function, Tool, ToolChoice};
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, find, is_null, is_object, loose};
use crate::dialects::openai_responses::own;

/// What calls and results of the older form have for an id until they are given one: it has none.
pub const OLDER_ID: &str = "function_call";

/// Something that may be called.
pub fn tool<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Tool<'a>, Wrong> {
    let members = r.object(raw)?;
    if let Some(custom) = find(&members, "custom") {
        return r.within("custom", |r| {
            let members = r.object(custom)?;
            own::custom(r, raw, &members).map(Tool::Function)
        });
    }
    let Some(function) = find(&members, "function") else {
        let kind = find(&members, "type").map(|raw| r.text(raw)).transpose()?.unwrap_or_default();
        return Ok(Tool::Native { kind, json: raw });
    };
    let cache = cache_mark(r, &members)?;
    r.within("function", |r| declared(r, function)).map(|read| Tool::Function(Function { cache, ..read }))
}

/// The inside of a function's declaration.
fn declared<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Function<'a>, Wrong> {
    let mut read = Function::default();
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "name" => read.name = r.within("name", |r| r.text(raw))?,
            "description" => read.description = Some(r.within("description", |r| r.text(raw))?),
            "parameters" => read.parameters = Some(raw),
            "strict" => read.strict = Some(r.within("strict", |r| r.bool(raw))?),
            other => r.extra(other, raw),
        }
    }
    Ok(read)
}

/// An item of `functions`.
pub fn older_function<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Tool<'a>, Wrong> {
    declared(r, raw).map(|read| Tool::Function(Function { own: Some(raw), ..read }))
}

/// A call in an earlier turn.
pub fn tool_call<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Part<'a>, Wrong> {
    let members = r.object(raw)?;
    if let Some(custom) = find(&members, "custom") {
        return r.within("custom", |r| custom_call(r, &members, custom));
    }
    let Some(function) = find(&members, "function") else {
        let kind = find(&members, "type").map(|raw| r.text(raw)).transpose()?.unwrap_or_default();
        return Ok(Kind::Native { kind, json: raw }.into());
    };
    let id = find(&members, "id").map(|raw| r.within("id", |r| r.text(raw))).transpose()?.unwrap_or_default();
    let call = r.within("function", |r| called(r, id, function))?;
    let signature = find(&members, "extra_content").and_then(google_signature);
    Ok(Part { signature, ..Kind::ToolCall(call).into() })
}

fn called<'a>(r: &mut Reading<'a>, id: Cow<'a, str>, function: Raw<'a>) -> Result<ToolCall<'a>, Wrong> {
    let members = r.object(function)?;
    let name = find(&members, "name").ok_or_else(|| r.wrong("has no `name`"))?;
    let arguments = match find(&members, "arguments") {
        // Some clients send the object itself.
        Some(raw) if is_object(raw) => Cow::Borrowed(raw.get()),
        Some(raw) => r.within("arguments", |r| r.text(raw))?,
        None => Cow::Borrowed(""),
    };
    Ok(ToolCall { id, name: r.within("name", |r| r.text(name))?, arguments })
}

fn custom_call<'a>(r: &mut Reading<'a>, members: &Members<'a>, custom: Raw<'a>) -> Result<Part<'a>, Wrong> {
    let inner = r.object(custom)?;
    let text = |r: &mut Reading<'a>, members: &Members<'a>, name: &'static str| {
        find(members, name).map_or(Ok(Cow::Borrowed("")), |raw| r.within(name, |r| r.text(raw)))
    };
    let (id, name) = (text(r, members, "id")?, text(r, &inner, "name")?);
    let arguments = own::wrap(&text(r, &inner, "input")?).into();
    Ok(Kind::ToolCall(ToolCall { id, name, arguments }).into())
}

/// `function_call` of an earlier turn.
pub fn older_call<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Part<'a>, Wrong> {
    called(r, OLDER_ID.into(), raw).map(|call| Kind::ToolCall(call).into())
}

/// Gives calls of the older form ids, and their results the same: each answers the call before it.
pub fn name_older_calls(messages: &mut [Message<'_>]) {
    let mut calls = 0u64;
    let id = |calls: u64| Cow::Owned(format!("{OLDER_ID}_{calls}"));
    for message in messages.iter_mut().filter(|message| matches!(message.role, Role::Assistant | Role::Tool)) {
        for part in &mut message.parts {
            match &mut part.kind {
                Kind::ToolCall(call) if call.id == OLDER_ID => {
                    calls += 1;
                    call.id = id(calls);
                }
                Kind::ToolResult(result) if result.call_id == OLDER_ID => result.call_id = id(calls),
                Kind::ToolCall(_)
                | Kind::ToolResult(_)
                | Kind::Text { .. }
                | Kind::Refusal(_)
                | Kind::Media(_)
                | Kind::Reasoning(_)
                | Kind::Native { .. } => {}
            }
        }
    }
}

/// `extra_content: {google: {thought_signature}}`, as Google's own compatible endpoint has it.
fn google_signature(raw: Raw<'_>) -> Option<Signature<'_>> {
    let google = find(&loose(raw), "google")?;
    let data = find(&loose(google), "thought_signature")?;
    as_text(data).map(|data| Signature { by: Maker::Google, data })
}

pub fn tool_choice<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<ToolChoice<'a>, Wrong> {
    if !is_object(raw) {
        return match &*r.text(raw)? {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" | "any" => Ok(ToolChoice::Required),
            other => Err(r.wrong(format!("is `{other}`: known are auto, none and required"))),
        };
    }
    let members = r.object(raw)?;
    if let Some(function) = find(&members, "function").or_else(|| find(&members, "custom")) {
        let name = find(&r.object(function)?, "name").ok_or_else(|| r.wrong("names no function"))?;
        return Ok(ToolChoice::Named(r.text(name)?));
    }
    // The older form names the function itself.
    if let Some(name) = find(&members, "name") {
        return Ok(ToolChoice::Named(r.text(name)?));
    }
    let Some(allowed) = find(&members, "allowed_tools") else {
        return Err(r.unsupported("names no function: no other tool can be chosen here"));
    };
    r.within("allowed_tools", |r| {
        let members = r.object(allowed)?;
        let required = find(&members, "mode").map(|raw| r.text(raw)).transpose()?.as_deref() == Some("required");
        let tools = find(&members, "tools").ok_or_else(|| r.wrong("has no `tools`"))?;
        let names = r.each(tools, |r, item| {
            let members = r.object(item)?;
            let function = find(&members, "function").or_else(|| find(&members, "custom"));
            let function = function.ok_or_else(|| r.unsupported("is no function"))?;
            let name = find(&r.object(function)?, "name").ok_or_else(|| r.wrong("has no `name`"))?;
            r.text(name)
        })?;
        Ok(ToolChoice::Among { names, required })
    })
}

#[cfg(test)]
#[path = "read_tools_tests.rs"]
mod tests;

//! A caller's request, read.

use std::borrow::Cow;
use std::collections::HashMap;

use super::items::{Item, item, put_back};
use super::own;
use super::parts::{need, text};
use super::seal::Place;
use crate::contract::canonical::part::{Kind, Message, Part, Role, Signature};
use crate::contract::canonical::{Format, Function, Logprobs, Request, Tool, ToolChoice};
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, find, is_list, is_null, is_object};
use crate::contract::skim::Skim;
use crate::dialects::Given;

pub fn read<'a>(body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<Request<'a>, Wrong> {
    let mut r = Reading::default();
    let mut request = Request { stream: given.stream, model: Cow::Borrowed(given.model), ..Request::default() };
    let (mut instructions, mut top_logprobs) = (None, None);
    for member in &skim.members {
        let name = member.name(body);
        let raw = r.within(name, |r| r.value(&body[member.value.clone()]))?;
        if is_null(raw) {
            continue;
        }
        match name {
            "instructions" => instructions = Some(r.within(name, |r| r.text(raw))?),
            "top_logprobs" => top_logprobs = Some(r.within(name, |r| r.whole(raw))?).filter(|n| *n > 0),
            "input" => r.within(name, |r| input(r, raw, &mut request))?,
            // A tool of the provider's own is no choice elsewhere.
            "tool_choice" => match r.within(name, |r| tool_choice(r, raw))? {
                Some(choice) => request.tool_choice = Some(choice),
                None => r.extra(name, raw),
            },
            _ => {
                let understood = r.within(name, |r| {
                    Ok(asked(r, name, raw, &mut request)?
                        || says_nothing(name, raw)
                        || labels(r, name, raw, &mut request)?)
                })?;
                if !understood {
                    r.extra(name, raw);
                }
            }
        }
    }
    if let Some(text) = instructions.filter(|text| !text.is_empty()) {
        request.messages.insert(0, Message { role: Role::System, name: None, parts: vec![Part::text(text)] });
    }
    if let Some(top) = top_logprobs {
        request.logprobs.get_or_insert(Logprobs { top: None }).top = Some(top);
    }
    request.extra = r.extra;
    Ok(request)
}

/// Members that do not bear on what is answered, and those that say what is so anyway. Ids of what a provider keeps
/// (`previous_response_id`, ...) are none of them: they are extra, for only their own target knows what they name.
fn says_nothing(name: &str, raw: Raw<'_>) -> bool {
    match name {
        // Read before, or not the provider's; how long a cache may keep it bears on the price alone.
        "model" | "stream" | "stream_options" | "tollgate" | "client_metadata" => true,
        "prompt_cache_retention" | "prompt_cache_options" => true,
        "background" => raw.get() == "false",
        "truncation" => raw.get() == "\"disabled\"",
        _ => false,
    }
}

/// `true` = the member was understood.
fn asked<'a>(r: &mut Reading<'a>, name: &str, raw: Raw<'a>, request: &mut Request<'a>) -> Result<bool, Wrong> {
    match name {
        "tools" => {
            let mut tools = r.each(raw, tool)?;
            // Those that were added on the way stand behind.
            tools.append(&mut request.tools);
            request.tools = tools;
        }
        "parallel_tool_calls" => request.parallel_tools = Some(r.bool(raw)?),
        "text" => answer_text(r, raw, request)?,
        "reasoning" => reasoning(r, raw, request)?,
        "include" => include(r, raw, request)?,
        "max_output_tokens" => request.max_tokens = Some(r.whole(raw)?),
        "temperature" => request.temperature = Some(r.number(raw)?),
        "top_p" => request.top_p = Some(r.number(raw)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn labels<'a>(r: &mut Reading<'a>, name: &str, raw: Raw<'a>, request: &mut Request<'a>) -> Result<bool, Wrong> {
    match name {
        "store" => request.store = Some(r.bool(raw)?),
        "metadata" => request.metadata = Some(raw).filter(|raw| raw.get() != "{}"),
        "user" if request.user.is_none() => request.user = Some(r.text(raw)?),
        "user" => {}
        "safety_identifier" => request.user = Some(r.text(raw)?),
        "service_tier" => request.service_tier = Some(r.text(raw)?),
        "prompt_cache_key" => request.cache_key = Some(r.text(raw)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A text of the user, or items. Items of one turn make one message, so that calls and their results stay together.
fn input<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    if !is_list(raw) {
        let parts = vec![Part::text(r.text(raw)?)];
        request.messages.push(Message { role: Role::User, name: None, parts });
        return Ok(());
    }
    let mut seals: HashMap<String, Signature<'a>> = HashMap::new();
    for item in r.each(raw, item)? {
        let messages = &mut request.messages;
        match item {
            Item::Asked(message) => messages.push(message),
            Item::Said(parts) => {
                turn(messages, Role::Assistant, |last| !last.iter().any(|p| p.as_text().is_some()) || calls(last))
                    .extend(parts);
            }
            Item::Did(parts) => turn(messages, Role::Assistant, |_| true).extend(parts),
            Item::Result(part) => turn(messages, Role::Tool, |_| true).push(part),
            Item::Tools(tools) => request.tools.extend(tools),
            Item::Seal(Place::Call(id), seal) => drop(seals.insert(id.into_owned(), seal)),
            Item::Seal(_, seal) => put_back(turn(messages, Role::Assistant, |_| true), seal),
        }
    }
    if seals.is_empty() {
        return Ok(());
    }
    for part in request.messages.iter_mut().flat_map(|message| &mut message.parts) {
        if let Kind::ToolCall(call) = &part.kind {
            part.signature = seals.remove(&*call.id).or(part.signature.take());
        }
    }
    Ok(())
}

fn calls(parts: &[Part<'_>]) -> bool {
    parts.iter().any(|part| matches!(part.kind, Kind::ToolCall(_)))
}

/// The message under way, where it is of this role and takes more; else a new one.
fn turn<'m, 'a>(
    messages: &'m mut Vec<Message<'a>>,
    role: Role,
    takes: impl FnOnce(&[Part<'a>]) -> bool,
) -> &'m mut Vec<Part<'a>> {
    if !messages.last().is_some_and(|last| last.role == role && takes(&last.parts)) {
        messages.push(Message { role, name: None, parts: Vec::new() });
    }
    &mut messages.last_mut().expect("there is one").parts
}

pub fn tool<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Tool<'a>, Wrong> {
    let members = r.object(raw)?;
    let kind = need(r, &members, "type")?;
    match &*kind {
        "function" => function(r, &members).map(Tool::Function),
        "custom" => own::custom(r, raw, &members).map(Tool::Function),
        "local_shell" => Ok(Tool::Function(own::shell(raw))),
        _ => Ok(Tool::Native { kind, json: raw }),
    }
}

fn function<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Function<'a>, Wrong> {
    let mut read = Function { name: need(r, members, "name")?, ..Function::default() };
    for (name, raw) in members.iter().filter(|(_, raw)| !is_null(raw)) {
        match &**name {
            "type" | "name" => {}
            "description" => read.description = Some(r.within("description", |r| r.text(raw))?),
            "parameters" => read.parameters = Some(raw),
            "strict" => read.strict = Some(r.within("strict", |r| r.bool(raw))?),
            "defer_loading" if raw.get() == "false" => {}
            other => r.extra(other, raw),
        }
    }
    Ok(read)
}

/// `None` = a tool that only this dialect has.
fn tool_choice<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Option<ToolChoice<'a>>, Wrong> {
    if !is_object(raw) {
        return match &*r.text(raw)? {
            "auto" => Ok(Some(ToolChoice::Auto)),
            "none" => Ok(Some(ToolChoice::None)),
            "required" => Ok(Some(ToolChoice::Required)),
            other => Err(r.wrong(format!("is `{other}`: known are auto, none and required"))),
        };
    }
    let members = r.object(raw)?;
    if find(&members, "type").and_then(as_text).as_deref() != Some("allowed_tools") {
        return chosen(r, &members).map(|name| name.map(ToolChoice::Named));
    }
    let required = text(r, &members, "mode")?.as_deref() == Some("required");
    let tools = find(&members, "tools").ok_or_else(|| r.wrong("has no `tools`"))?;
    let names = r.within("tools", |r| {
        r.each(tools, |r, item| {
            let members = r.object(item)?;
            chosen(r, &members)
        })
    })?;
    let names: Option<Vec<Cow<'a, str>>> = names.into_iter().collect();
    Ok(names.map(|names| ToolChoice::Among { names, required }))
}

fn chosen<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Option<Cow<'a, str>>, Wrong> {
    match text(r, members, "type")?.as_deref() {
        Some("function" | "custom") | None => need(r, members, "name").map(Some),
        Some("local_shell") => Ok(Some(own::SHELL.into())),
        Some(_) => Ok(None),
    }
}

/// `text: {format, verbosity}`.
fn answer_text<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "format" => request.format = r.within("format", |r| format(r, raw))?,
            "verbosity" => request.verbosity = Some(r.within("verbosity", |r| r.text(raw))?),
            other => r.extra(other, raw),
        }
    }
    Ok(())
}

fn format<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Option<Format<'a>>, Wrong> {
    let members = r.object(raw)?;
    match text(r, &members, "type")?.as_deref() {
        None | Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Format::Json)),
        Some("json_schema") => {
            let schema = find(&members, "schema").ok_or_else(|| r.wrong("has no `schema`"))?;
            let strict = find(&members, "strict").map(|raw| r.within("strict", |r| r.bool(raw))).transpose()?;
            let (name, description) = (text(r, &members, "name")?, text(r, &members, "description")?);
            Ok(Some(Format::Schema { name, description, schema: Cow::Borrowed(schema), strict }))
        }
        Some(other) => Err(r.unsupported(format!("has the type `{other}`: known are text, json_object, json_schema"))),
    }
}

fn reasoning<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    let mut ask = request.reasoning.take().unwrap_or_default();
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "effort" => ask.effort = Some(r.within("effort", |r| r.text(raw))?),
            "summary" | "generate_summary" => ask.show = Some(r.within("summary", |r| r.text(raw))?),
            // Elsewhere the thoughts of all turns count that are sent.
            "context" if matches!(raw.get(), "\"auto\"" | "\"all_turns\"") => {}
            other => r.extra(other, raw),
        }
    }
    request.reasoning = Some(ask).filter(|ask| *ask != Default::default());
    Ok(())
}

fn include<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    r.each(raw, |r, item| {
        match &*r.text(item)? {
            "reasoning.encrypted_content" => request.reasoning.get_or_insert_default().encrypted = true,
            "message.output_text.logprobs" => {
                request.logprobs.get_or_insert(Logprobs { top: None });
            }
            // More about what the provider's own tools did, and about what was sent: without those there is nothing more.
            known if known.contains("_call.") || known.starts_with("message.input_image.") => {}
            known if known.starts_with("computer_call_output.") => {}
            _ => r.extra.push((r.place(), item)),
        }
        Ok(())
    })
    .map(drop)
}

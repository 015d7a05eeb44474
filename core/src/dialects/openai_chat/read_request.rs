//! A caller's request, read. Beside OpenAI's own members it reads those that the compatible world agreed on: reasoning of
//! earlier turns, marks for prompt caches, documents.

use std::borrow::Cow;

use super::details;
use super::read_media::{audio, by_url, file};
use super::read_tools::{OLDER_ID, name_older_calls, older_call, older_function, tool, tool_call, tool_choice};
use crate::contract::canonical::part::{Kind, MediaKind, Message, Part, Reasoning, Role, ToolResult};
use crate::contract::canonical::{CacheMark, Format, Logprobs, ReasoningAsk, Request};
use crate::contract::read::{Members, Raw, Reading, Wrong, find, is_list, is_null, is_object};
use crate::contract::skim::Skim;
use crate::dialects::Given;

pub fn read<'a>(body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<Request<'a>, Wrong> {
    let mut reading = Reading::default();
    let mut request = Request { stream: given.stream, model: Cow::Borrowed(given.model), ..Request::default() };
    let mut top_logprobs = None;
    for member in &skim.members {
        let name = member.name(body);
        let raw = reading.within(name, |r| r.value(&body[member.value.clone()]))?;
        if is_null(raw) {
            continue;
        }
        if name == "top_logprobs" {
            top_logprobs = Some(reading.within(name, |r| r.whole(raw))?);
            continue;
        }
        if !reading.within(name, |r| conversation(r, name, raw, &mut request))?
            && !reading.within(name, |r| sampling(r, name, raw, &mut request))?
        {
            reading.extra(name, raw);
        }
    }
    if let (Some(top), Some(logprobs)) = (top_logprobs, &mut request.logprobs) {
        logprobs.top = Some(top);
    }
    request.extra = reading.extra;
    Ok(request)
}

/// `true` = the member was understood.
fn conversation<'a>(
    r: &mut Reading<'a>,
    name: &'a str,
    raw: Raw<'a>,
    request: &mut Request<'a>,
) -> Result<bool, Wrong> {
    match name {
        // Read before, or not the provider's.
        "model" | "stream" | "stream_options" | "tollgate" => {}
        "messages" => {
            request.messages.extend(r.each(raw, message)?);
            name_older_calls(&mut request.messages);
        }
        "tools" => request.tools.extend(r.each(raw, tool)?),
        "functions" => request.tools.extend(r.each(raw, older_function)?),
        "tool_choice" | "function_call" => request.tool_choice = Some(tool_choice(r, raw)?),
        "parallel_tool_calls" => request.parallel_tools = Some(r.bool(raw)?),
        "response_format" => request.format = format(r, raw)?,
        "reasoning_effort" => request.reasoning.get_or_insert_default().effort = Some(r.text(raw)?),
        "reasoning" | "thinking" if is_object(raw) => reasoning(r, raw, request)?,
        "verbosity" => request.verbosity = Some(r.text(raw)?),
        "service_tier" => request.service_tier = Some(r.text(raw)?),
        "user" if request.user.is_none() => request.user = Some(r.text(raw)?),
        "user" => {}
        "safety_identifier" => request.user = Some(r.text(raw)?),
        "metadata" => request.metadata = Some(raw),
        "store" => request.store = Some(r.bool(raw)?),
        "prompt_cache_key" => request.cache_key = Some(r.text(raw)?),
        // How long a cache may keep it bears on the price alone.
        "prompt_cache_retention" => {}
        "modalities" if raw.get().replace(' ', "") == r#"["text"]"# => {}
        _ => return Ok(false),
    }
    Ok(true)
}

fn sampling<'a>(r: &mut Reading<'a>, name: &str, raw: Raw<'a>, request: &mut Request<'a>) -> Result<bool, Wrong> {
    match name {
        "max_tokens" | "max_completion_tokens" => {
            let asked = r.whole(raw)?;
            request.max_tokens = Some(request.max_tokens.map_or(asked, |known| known.min(asked)));
        }
        "temperature" => request.temperature = Some(r.number(raw)?),
        "top_p" => request.top_p = Some(r.number(raw)?),
        "top_k" => request.top_k = Some(r.whole(raw)?),
        "frequency_penalty" => request.frequency_penalty = Some(r.number(raw)?),
        "presence_penalty" => request.presence_penalty = Some(r.number(raw)?),
        "seed" | "random_seed" => request.seed = Some(r.number(raw)?),
        "stop" => request.stop = r.texts(raw)?,
        "n" => request.n = Some(r.whole(raw)?),
        "logprobs" => request.logprobs = r.bool(raw)?.then_some(Logprobs { top: None }),
        "logit_bias" if is_object(raw) => request.logit_bias = Some(raw),
        _ => return Ok(false),
    }
    Ok(true)
}

fn message<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Message<'a>, Wrong> {
    let members = r.object(raw)?;
    let role = match find(&members, "role").map(|raw| r.within("role", |r| r.text(raw))).transpose()?.as_deref() {
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        // The older name.
        Some("tool" | "function") => Role::Tool,
        Some(other) => {
            let told = format!("is `{other}`: known are system, developer, user, assistant, tool and function");
            return r.within("role", |r| Err(r.unsupported(told)));
        }
        None => return r.within("role", |r| Err(r.wrong("is missing"))),
    };
    let older = find(&members, "role").is_some_and(|role| role.get() == r#""function""#);
    let mut message = Message { role, name: None, parts: Vec::new() };
    let (mut thoughts, mut sealed, mut drawn) = (None, Vec::new(), Vec::new());
    let (mut said, mut calls, mut call_id) = (Vec::new(), Vec::new(), older.then_some(OLDER_ID.into()));
    for (name, raw) in members.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "role" | "annotations" => {}
            "content" => said = r.within("content", |r| content(r, raw))?,
            // What the model drew before, as its answer told it.
            "images" if role == Role::Assistant => drawn = r.within("images", |r| r.each(raw, part))?,
            "name" => message.name = Some(r.within("name", |r| r.text(raw))?),
            "tool_calls" => calls.extend(r.within("tool_calls", |r| r.each(raw, tool_call))?),
            "function_call" => calls.push(r.within("function_call", |r| older_call(r, raw))?),
            "tool_call_id" => call_id = Some(r.within("tool_call_id", |r| r.text(raw))?),
            "refusal" => message.parts.push(Kind::Refusal(r.within("refusal", |r| r.text(raw))?).into()),
            "reasoning_content" | "reasoning" if raw.get().starts_with('"') => {
                let text = r.text(raw)?;
                thoughts = thoughts.or(Some(text).filter(|text| !text.is_empty()));
            }
            "reasoning_details" => sealed = r.within("reasoning_details", |r| r.each(raw, details::read))?,
            // A text that the answer begins with: a trailing message of the assistant means the same.
            "prefix" if raw.get() == "false" => {}
            other => r.extra(other, raw),
        }
    }
    // The entries say all that the plain text says, and the seals.
    message.parts.splice(
        0..0,
        match sealed.is_empty() {
            false => details::parts(sealed, thoughts),
            true => thoughts.into_iter().map(plain_thoughts).collect(),
        },
    );
    message.parts.extend(said);
    message.parts.extend(drawn.into_iter().flatten());
    message.parts.extend(calls);
    if role == Role::Tool {
        let told = "is missing: it names the call whose result this is";
        let call_id = call_id.ok_or_else(|| Wrong { path: format!("{}.tool_call_id", r.place()), ..r.wrong(told) })?;
        let parts = std::mem::take(&mut message.parts);
        let result = ToolResult { call_id, name: message.name.take(), parts, error: false };
        message.parts.push(Kind::ToolResult(result).into());
    }
    Ok(message)
}

fn content<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<Part<'a>>, Wrong> {
    if is_list(raw) {
        return Ok(r.each(raw, part)?.into_iter().flatten().collect());
    }
    let text = r.text(raw).map_err(|wrong| Wrong { why: "must be a text or a list of parts".to_owned(), ..wrong })?;
    Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text)] })
}

fn part<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Option<Part<'a>>, Wrong> {
    let members = r.object(raw)?;
    let kind = match find(&members, "type") {
        Some(raw) => r.within("type", |r| r.text(raw))?,
        None => return r.within("type", |r| Err(r.wrong("is missing"))),
    };
    let need = |r: &mut Reading<'a>, name: &'static str| {
        find(&members, name).ok_or_else(|| Wrong { path: format!("{}.{name}", r.place()), ..r.wrong("is missing") })
    };
    let read = match &*kind {
        "text" => {
            let raw = need(r, "text")?;
            Part::text(r.within("text", |r| r.text(raw))?)
        }
        "refusal" => {
            let raw = need(r, "refusal")?;
            Kind::Refusal(r.within("refusal", |r| r.text(raw))?).into()
        }
        "image_url" => {
            let raw = need(r, "image_url")?;
            Kind::Media(r.within("image_url", |r| by_url(r, raw, MediaKind::Image))?).into()
        }
        "video_url" => {
            let raw = need(r, "video_url")?;
            Kind::Media(r.within("video_url", |r| by_url(r, raw, MediaKind::Video))?).into()
        }
        "document_url" => {
            let raw = need(r, "document_url")?;
            Kind::Media(r.within("document_url", |r| by_url(r, raw, MediaKind::Document))?).into()
        }
        "input_audio" => {
            let raw = need(r, "input_audio")?;
            Kind::Media(r.within("input_audio", |r| audio(r, raw))?).into()
        }
        "file" => {
            let raw = need(r, "file")?;
            Kind::Media(r.within("file", |r| file(r, raw))?).into()
        }
        "thinking" => return thinking(r, &members),
        _ => Kind::Native { kind, json: raw }.into(),
    };
    Ok(Some(Part { cache: cache_mark(r, &members)?, ..read }))
}

/// A part of thoughts, as some compatible providers put them into the content.
fn thinking<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Option<Part<'a>>, Wrong> {
    let Some(raw) = find(members, "thinking") else { return Ok(None) };
    let text: Cow<'a, str> = if is_list(raw) {
        let texts = r.within("thinking", |r| {
            r.each(raw, |r, item| {
                let members = r.object(item)?;
                find(&members, "text").map(|raw| r.text(raw)).transpose()
            })
        })?;
        texts.into_iter().flatten().collect::<Vec<_>>().concat().into()
    } else {
        r.within("thinking", |r| r.text(raw))?
    };
    Ok(Some(plain_thoughts(text)))
}

fn plain_thoughts(text: Cow<'_, str>) -> Part<'_> {
    Kind::Reasoning(Reasoning { text, ..Reasoning::default() }).into()
}

pub fn cache_mark<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Option<CacheMark>, Wrong> {
    if find(members, "prompt_cache_breakpoint").is_some() {
        return Ok(Some(CacheMark::Minutes5));
    }
    let Some(raw) = find(members, "cache_control") else { return Ok(None) };
    r.within("cache_control", |r| {
        let members = r.object(raw)?;
        let ttl = find(&members, "ttl").map(|raw| r.within("ttl", |r| r.text(raw))).transpose()?;
        Ok(Some(if ttl.as_deref() == Some("1h") { CacheMark::Hour } else { CacheMark::Minutes5 }))
    })
}

fn format<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Option<Format<'a>>, Wrong> {
    let members = r.object(raw)?;
    let kind = find(&members, "type").map(|raw| r.within("type", |r| r.text(raw))).transpose()?;
    match kind.as_deref() {
        None | Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Format::Json)),
        Some("json_schema") => {
            let inner = find(&members, "json_schema").ok_or_else(|| r.wrong("has no `json_schema`"))?;
            r.within("json_schema", |r| {
                let members = r.object(inner)?;
                let text = |r: &mut Reading<'a>, name: &'static str| {
                    find(&members, name).map(|raw| r.within(name, |r| r.text(raw))).transpose()
                };
                let strict = find(&members, "strict").map(|raw| r.within("strict", |r| r.bool(raw))).transpose()?;
                let schema = find(&members, "schema").ok_or_else(|| r.wrong("has no `schema`"))?;
                let (name, description) = (text(r, "name")?, text(r, "description")?);
                Ok(Some(Format::Schema { name, description, schema: Cow::Borrowed(schema), strict }))
            })
        }
        Some(other) => Err(r.unsupported(format!("has the type `{other}`: known are text, json_object, json_schema"))),
    }
}

/// `reasoning: {effort, max_tokens, enabled, exclude}` and `thinking: {type, budget_tokens}`, as compatible providers have them.
fn reasoning<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    let mut ask = request.reasoning.take().unwrap_or_default();
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match (&*name, raw.get()) {
            ("effort", _) => ask.effort = Some(r.within("effort", |r| r.text(raw))?),
            ("max_tokens" | "budget_tokens", _) => ask.budget_tokens = Some(r.whole(raw)?),
            ("type", "\"enabled\"") | ("enabled", "true") if ask == ReasoningAsk::default() => ask.adaptive = true,
            ("type", "\"enabled\"") | ("enabled", "true") => {}
            ("type", "\"adaptive\"") => ask.adaptive = true,
            ("type", "\"disabled\"") | ("enabled", "false") => ask.budget_tokens = Some(0),
            ("exclude", "true") => ask.show = Some("".into()),
            ("exclude", _) => {}
            ("summary", _) => ask.show = Some(r.text(raw)?),
            (other, _) => r.extra(other, raw),
        }
    }
    ask.adaptive &= ask.budget_tokens.is_none();
    request.reasoning = Some(ask);
    Ok(())
}

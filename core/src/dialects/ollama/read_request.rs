//! A request as callers of Ollama write it.

use std::borrow::Cow;

use super::message;
use crate::contract::canonical::part::{Kind, Message, Part, Role, ToolResult};
use crate::contract::canonical::{Format, Logprobs, ReasoningAsk, Request};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_null, is_object};
use crate::contract::skim::Skim;
use crate::dialects::cohere::tools;
use crate::dialects::sealed;

pub fn read<'a>(body: &'a [u8], skim: &'a Skim) -> Result<Request<'a>, Wrong> {
    // A stream is what it gives unless it is told not to.
    let (mut reading, mut request) = (Reading::default(), Request { stream: true, ..Request::default() });
    let mut top_logprobs = None;
    for member in &skim.members {
        let raw = reading.value(&body[member.value.clone()])?;
        let name = member.name(body);
        if is_null(raw) {
            continue;
        }
        let understood = reading.within(name, |r| {
            match name {
                "model" => request.model = r.text(raw)?,
                "stream" => request.stream = r.bool(raw)?,
                "messages" => {
                    let mut so_far = SoFar::default();
                    request.messages = r.each(raw, |r, raw| so_far.message(r, raw))?;
                }
                "tools" => request.tools = tools::read(r, raw)?,
                "format" => request.format = read_format(r, raw)?,
                "options" => read_options(r, &mut request, raw)?,
                "think" => request.reasoning = Some(read_think(r, raw)?),
                "logprobs" => request.logprobs = r.bool(raw)?.then_some(Logprobs { top: None }),
                "top_logprobs" => top_logprobs = Some(r.whole(raw)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if !understood {
            reading.extra(name, raw);
        }
    }
    if let Some(logprobs) = &mut request.logprobs {
        logprobs.top = top_logprobs;
    }
    request.extra = reading.extra;
    Ok(request)
}

/// `"json"`, or a schema; an empty text says nothing.
fn read_format<'a>(r: &Reading<'a>, raw: Raw<'a>) -> Result<Option<Format<'a>>, Wrong> {
    match as_text(raw).as_deref() {
        Some("") => Ok(None),
        Some("json") => Ok(Some(Format::Json)),
        None if is_object(raw) => {
            Ok(Some(Format::Schema { name: None, description: None, schema: Cow::Borrowed(raw), strict: None }))
        }
        Some(_) | None => Err(r.wrong("must be `json` or a schema")),
    }
}

/// Yes, no, or how much.
fn read_think<'a>(r: &Reading<'a>, raw: Raw<'a>) -> Result<ReasoningAsk<'a>, Wrong> {
    match as_text(raw) {
        Some(effort) => Ok(ReasoningAsk { effort: Some(effort), ..ReasoningAsk::default() }),
        None if r.bool(raw)? => Ok(ReasoningAsk { adaptive: true, ..ReasoningAsk::default() }),
        None => Ok(ReasoningAsk { budget_tokens: Some(0), ..ReasoningAsk::default() }),
    }
}

fn read_options<'a>(r: &mut Reading<'a>, request: &mut Request<'a>, raw: Raw<'a>) -> Result<(), Wrong> {
    for (name, raw) in r.object(raw)? {
        if is_null(raw) {
            continue;
        }
        let understood = r.within(name.clone(), |r| {
            match &*name {
                // No bound, which is what is so without the member.
                "num_predict" if raw.get() == "-1" => {}
                // To the end of the context: nobody else's words.
                "num_predict" if raw.get() == "-2" => return Ok(false),
                "num_predict" => request.max_tokens = Some(r.whole(raw)?),
                "temperature" => request.temperature = Some(r.number(raw)?),
                "top_p" => request.top_p = Some(r.number(raw)?),
                "top_k" => request.top_k = Some(r.whole(raw)?),
                "frequency_penalty" => request.frequency_penalty = Some(r.number(raw)?),
                "presence_penalty" => request.presence_penalty = Some(r.number(raw)?),
                "seed" => request.seed = Some(r.number(raw)?),
                "stop" => request.stop = r.texts(raw)?,
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

/// What the messages so far have called, so that results without ids find their calls.
#[derive(Default)]
struct SoFar<'a> {
    messages: usize,
    calls: Vec<Called<'a>>,
}

struct Called<'a> {
    id: Cow<'a, str>,
    name: Cow<'a, str>,
    answered: bool,
}

impl<'a> SoFar<'a> {
    fn message(&mut self, r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Message<'a>, Wrong> {
        let at = self.messages;
        self.messages += 1;
        let members = r.object(raw)?;
        let role = find(&members, "role").ok_or_else(|| r.wrong("must have a `role`"))?;
        let role = match &*r.within("role", |r| r.text(role))? {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            _ => return Err(r.wrong("must have the `role` `system`, `user`, `assistant` or `tool`")),
        };
        let mut said = message::read(r, members)?;
        self.name_calls(at, &mut said.calls);
        if role != Role::Tool {
            return Ok(Message { role, name: None, parts: said.parts() });
        }
        let (name, id) = (said.tool_name.take(), said.tool_call_id.take());
        let call_id = self.answered(id.map(|id| sealed::unseal_id(id).0), name.as_deref(), at);
        let result = ToolResult { call_id, name, parts: said.parts(), error: false };
        Ok(Message { role, name: None, parts: vec![Kind::ToolResult(result).into()] })
    }

    /// Calls without ids get one by their place: the same in each turn, so that beginnings stay the same.
    fn name_calls(&mut self, at: usize, parts: &mut [Part<'a>]) {
        for (index, part) in parts.iter_mut().enumerate() {
            if let Kind::ToolCall(call) = &mut part.kind {
                if call.id.is_empty() {
                    call.id = Cow::Owned(format!("call_{at}_{index}"));
                }
                self.calls.push(Called { id: call.id.clone(), name: call.name.clone(), answered: false });
            }
        }
    }

    /// The call that a result answers: by its id, by the name of its tool, or the first without a result.
    fn answered(&mut self, id: Option<Cow<'a, str>>, name: Option<&str>, at: usize) -> Cow<'a, str> {
        let mut open = self.calls.iter_mut().filter(|call| !call.answered);
        let found = match (&id, name) {
            (Some(id), _) => open.find(|call| call.id == *id),
            (None, Some(name)) => open.find(|call| call.name == name),
            (None, None) => open.next(),
        };
        if let Some(call) = found {
            call.answered = true;
            return call.id.clone();
        }
        id.unwrap_or_else(|| Cow::Owned(format!("call_{at}")))
    }
}

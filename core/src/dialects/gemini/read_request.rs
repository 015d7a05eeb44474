//! A caller's request, read.

use std::borrow::Cow;

use super::names::{each, each_of, tier_of};
use super::{link, read_parts, schema, thinking, tools};
use crate::contract::canonical::part::{Message, Role};
use crate::contract::canonical::{Format, Logprobs, Request, Tool};
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, is_list};
use crate::contract::skim::Skim;
use crate::dialects::Given;

/// What is put together when all members are read, for they may stand in any order.
#[derive(Default)]
struct Draft<'a> {
    request: Request<'a>,
    system: Option<Message<'a>>,
    /// Calls must keep to their schemas (`VALIDATED`).
    validated: bool,
    json: bool,
    schema: Option<Raw<'a>>,
    /// `schema` is in OpenAPI's words, not in JSON schema's.
    schema_is_openapi: bool,
    logprobs: bool,
    logprobs_top: Option<u64>,
    /// Places of tools whose parameters are in OpenAPI's words.
    openapi: Vec<usize>,
}

pub fn read<'a>(body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<Request<'a>, Wrong> {
    let mut r = Reading::default();
    let mut members: Members<'a> = Vec::with_capacity(skim.members.len());
    for member in &skim.members {
        let name = member.name(body);
        members.push((Cow::Borrowed(name), r.within(name, |r| r.value(&body[member.value.clone()]))?));
    }
    read_members(r, members, skim, given)
}

/// The same, of members that may stand deeper in the body.
pub fn read_members<'a>(
    mut r: Reading<'a>,
    members: Members<'a>,
    skim: &'a Skim,
    given: &Given<'a>,
) -> Result<Request<'a>, Wrong> {
    let request = Request { stream: given.stream, model: Cow::Borrowed(given.model), ..Request::default() };
    let mut draft = Draft { request, ..Draft::default() };
    each_of(&mut r, members, |r, name, raw| member(r, name, raw, &mut draft))?;
    Ok(draft.finish(r, skim))
}

fn member<'a>(r: &mut Reading<'a>, name: &str, raw: Raw<'a>, draft: &mut Draft<'a>) -> Result<bool, Wrong> {
    let request = &mut draft.request;
    match name {
        // The path says the model; `tollgate` is not the provider's.
        "model" | "tollgate" => {}
        "contents" => {
            for messages in r.each(raw, read_parts::content)? {
                messages.into_iter().for_each(|message| link::append(&mut request.messages, message));
            }
        }
        "systemInstruction" => {
            let parts = read_parts::instruction(r, raw)?;
            draft.system = (!parts.is_empty()).then_some(Message { role: Role::System, name: None, parts });
        }
        "tools" => {
            for (tool, openapi) in r.each(raw, tools::read)?.into_iter().flatten() {
                if openapi {
                    draft.openapi.push(request.tools.len());
                }
                request.tools.push(tool);
            }
        }
        "toolConfig" => each(r, raw, |r, name, raw| match name {
            "functionCallingConfig" => {
                (request.tool_choice, draft.validated) = tools::read_choice(r, raw)?;
                Ok(true)
            }
            _ => Ok(false),
        })?,
        "generationConfig" => {
            each(
                r,
                raw,
                |r, name, raw| Ok(sampling(r, name, raw, &mut draft.request)? || answer(r, name, raw, draft)?),
            )?
        }
        "labels" => request.metadata = Some(raw),
        "serviceTier" => request.service_tier = tier_of(r.text(raw)?),
        "store" => request.store = Some(r.bool(raw)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn sampling<'a>(r: &mut Reading<'a>, name: &str, raw: Raw<'a>, request: &mut Request<'a>) -> Result<bool, Wrong> {
    match name {
        "temperature" => request.temperature = Some(r.number(raw)?),
        "topP" => request.top_p = Some(r.number(raw)?),
        "topK" => request.top_k = Some(r.whole(raw)?),
        "candidateCount" => request.n = Some(r.whole(raw)?),
        "maxOutputTokens" => request.max_tokens = Some(r.whole(raw)?),
        "stopSequences" => request.stop = r.texts(raw)?,
        "presencePenalty" => request.presence_penalty = Some(r.number(raw)?),
        "frequencyPenalty" => request.frequency_penalty = Some(r.number(raw)?),
        "seed" => request.seed = Some(r.number(raw)?),
        "thinkingConfig" => request.reasoning = thinking::read(r, raw)?,
        // Text is what it answers with anyway.
        "responseModalities" if is_list(raw) => {
            let texts = r.each(raw, |_, item| Ok(as_text(item).is_some_and(|m| m.eq_ignore_ascii_case("TEXT"))))?;
            return Ok(texts.into_iter().all(|is| is));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// What the answer must look like, and what must be told of it.
fn answer<'a>(r: &mut Reading<'a>, name: &str, raw: Raw<'a>, draft: &mut Draft<'a>) -> Result<bool, Wrong> {
    match name {
        "responseMimeType" => match &*r.text(raw)? {
            "application/json" => draft.json = true,
            "text/plain" | "" => {}
            _ => return Ok(false),
        },
        "responseSchema" | "responseJsonSchema" => {
            if draft.schema.is_some() {
                return Err(r.wrong("is a second schema of the answer: only one of the two can hold"));
            }
            draft.schema = Some(raw);
            draft.schema_is_openapi = name == "responseSchema";
        }
        "responseLogprobs" => draft.logprobs = r.bool(raw)?,
        "logprobs" => draft.logprobs_top = Some(r.whole(raw)?),
        _ => return Ok(false),
    }
    Ok(true)
}

impl<'a> Draft<'a> {
    fn finish(mut self, r: Reading<'a>, skim: &'a Skim) -> Request<'a> {
        let mut request = self.request;
        link::link(&mut request.messages);
        if let Some(system) = self.system.take() {
            request.messages.insert(0, system);
        }
        if self.logprobs {
            request.logprobs = Some(Logprobs { top: self.logprobs_top });
        }
        let in_json_schema =
            in_json_schema(&request.tools, &self.openapi, self.schema.filter(|_| self.schema_is_openapi), skim);
        let mut made = in_json_schema.into_iter();
        for at in self.openapi {
            if let (Tool::Function(function), Some(schema)) = (&mut request.tools[at], made.next()) {
                function.parameters = Some(schema);
            }
        }
        if self.schema_is_openapi {
            self.schema = made.next().or(self.schema);
        }
        if self.validated {
            for tool in &mut request.tools {
                if let Tool::Function(function) = tool {
                    function.strict = Some(true);
                }
            }
        }
        request.format = match self.schema {
            Some(schema) => {
                Some(Format::Schema { name: None, description: None, schema: Cow::Borrowed(schema), strict: None })
            }
            None => self.json.then_some(Format::Json),
        };
        request.extra = r.extra;
        request
    }
}

/// Schemas in OpenAPI's words, in JSON schema's: of the tools at these places, then the answer's.
fn in_json_schema<'a>(tools: &[Tool<'a>], places: &[usize], answer: Option<Raw<'a>>, skim: &'a Skim) -> Vec<Raw<'a>> {
    if places.is_empty() && answer.is_none() {
        return Vec::new();
    }
    let of_tools = places.iter().filter_map(|at| match &tools[*at] {
        Tool::Function(function) => function.parameters,
        Tool::Native { .. } => None,
    });
    let made = skim.keep(|| schema::json_schemas(of_tools.chain(answer)));
    serde_json::from_str(made).unwrap_or_default()
}

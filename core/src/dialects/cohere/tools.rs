//! Tools in the form that OpenAI gave them and that Cohere and Ollama took over.

use std::borrow::Cow;

use crate::contract::canonical::{Function, Request, Tool, ToolChoice};
use crate::contract::read::{Raw, Reading, Wrong, find, is_null};
use crate::contract::write::Writer;

pub fn read<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<Tool<'a>>, Wrong> {
    r.each(raw, |r, json| {
        let members = r.object(json)?;
        let kind = find(&members, "type").map(|raw| r.within("type", |r| r.text(raw))).transpose()?;
        if let Some(kind) = kind.filter(|kind| kind != "function") {
            return Ok(Tool::Native { kind, json });
        }
        let mut function = Function::default();
        for (name, raw) in members {
            match &*name {
                "type" => {}
                "function" if !is_null(raw) => function = r.within("function", |r| read_function(r, raw))?,
                _ => r.extra(&name, raw),
            }
        }
        match function.name.is_empty() {
            true => Err(r.wrong("must have a `function` with a `name`")),
            false => Ok(Tool::Function(function)),
        }
    })
}

fn read_function<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Function<'a>, Wrong> {
    let mut function = Function::default();
    for (name, raw) in r.object(raw)? {
        if is_null(raw) {
            continue;
        }
        match &*name {
            "name" => function.name = r.within("name", |r| r.text(raw))?,
            "description" => function.description = Some(r.within("description", |r| r.text(raw))?),
            "parameters" => {
                r.within("parameters", |r| r.object(raw).map(drop))?;
                function.parameters = Some(raw);
            }
            _ => r.extra(&name, raw),
        }
    }
    Ok(function)
}

/// One function as an item of `tools`.
pub fn write(w: &mut Writer, function: &Function<'_>) {
    w.object(|w| {
        w.member("type", "function");
        w.object_member("function", |w| {
            w.member("name", &function.name);
            w.member_some("description", &function.description);
            match function.parameters {
                Some(schema) => w.member("parameters", schema),
                None => w.json_member("parameters", r#"{"type":"object","properties":{}}"#),
            }
        });
    });
}

/// The functions that the model is offered: where only some may be chosen, only those.
pub fn offered<'r, 'a>(request: &'r Request<'a>) -> Vec<&'r Function<'a>> {
    let functions = request.tools.iter().filter_map(|tool| match tool {
        Tool::Function(function) => Some(function),
        Tool::Native { .. } => None,
    });
    let among = |names: &[Cow<'_, str>], function: &Function<'_>| names.contains(&function.name);
    match &request.tool_choice {
        Some(ToolChoice::Named(name)) => functions.filter(|f| f.name == *name).collect(),
        Some(ToolChoice::Among { names, .. }) => functions.filter(|f| among(names, f)).collect(),
        Some(ToolChoice::None | ToolChoice::Auto | ToolChoice::Required) | None => functions.collect(),
    }
}

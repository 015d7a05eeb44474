//! Tools and the choice among them.

use std::borrow::Cow;

use super::names::each;
use crate::contract::canonical::{Function, Request, Tool, ToolChoice};
use crate::contract::read::{Raw, Reading, Wrong, is_null};
use crate::contract::write::Writer;

/// One entry of `tools`: declarations of functions, and tools that Google runs itself. `true` = its parameters are in
/// OpenAPI's words.
pub fn read<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<(Tool<'a>, bool)>, Wrong> {
    let mut tools = Vec::new();
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "functionDeclarations" | "function_declarations" => {
                tools.extend(r.within(name, |r| r.each(raw, function))?);
            }
            _ => tools.push((Tool::Native { kind: name, json: raw }, false)),
        }
    }
    Ok(tools)
}

fn function<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<(Tool<'a>, bool), Wrong> {
    let (mut function, mut openapi) = (Function::default(), false);
    each(r, raw, |r, name, raw| {
        match name {
            "name" => function.name = r.text(raw)?,
            "description" => function.description = Some(r.text(raw)?),
            "parameters" | "parametersJsonSchema" => {
                if function.parameters.is_some() {
                    return Err(r.wrong("is a second schema of the same parameters"));
                }
                function.parameters = Some(raw);
                openapi = name == "parameters";
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if function.name.is_empty() {
        return Err(r.wrong("has no `name`"));
    }
    Ok((Tool::Function(function), openapi))
}

/// The choice, and whether calls must keep to their schemas.
pub fn read_choice<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<(Option<ToolChoice<'a>>, bool), Wrong> {
    let (mut mode, mut names) = (None, Vec::new());
    each(r, raw, |r, name, raw| {
        match name {
            // Numbers from clients that send enums so.
            "mode" => {
                mode = Some(match raw.get() {
                    "0" => "MODE_UNSPECIFIED".into(),
                    "1" => "AUTO".into(),
                    "2" => "ANY".into(),
                    "3" => "NONE".into(),
                    _ => r.text(raw)?.to_ascii_uppercase(),
                });
            }
            "allowedFunctionNames" => names = r.texts(raw)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let among = |names: Vec<Cow<'a, str>>, required| Some(ToolChoice::Among { names, required });
    Ok(match (mode.as_deref(), names.len()) {
        (None | Some("MODE_UNSPECIFIED"), 0) => (None, false),
        (Some("NONE"), _) => (Some(ToolChoice::None), false),
        (Some("ANY"), 0) => (Some(ToolChoice::Required), false),
        (Some("ANY"), 1) => (names.pop().map(ToolChoice::Named), false),
        (Some("ANY"), _) => (among(names, true), false),
        (Some("AUTO"), 0) => (Some(ToolChoice::Auto), false),
        (Some("VALIDATED"), 0) => (Some(ToolChoice::Auto), true),
        (None | Some("MODE_UNSPECIFIED" | "AUTO"), _) => (among(names, false), false),
        (Some("VALIDATED"), _) => (among(names, false), true),
        (Some(other), _) => {
            let told = format!("is `{other}`: known are AUTO, ANY, NONE and VALIDATED");
            return r.within("mode", |r| Err(r.unsupported(told)));
        }
    })
}

pub fn write(w: &mut Writer, request: &Request<'_>) {
    // A choice of some that need not be called has no words here: the others are not declared.
    let only = match &request.tool_choice {
        Some(ToolChoice::Among { names, required: false }) => Some(names),
        Some(ToolChoice::Among { .. } | ToolChoice::Auto | ToolChoice::None | ToolChoice::Required)
        | Some(ToolChoice::Named(_))
        | None => None,
    };
    let functions: Vec<&Function<'_>> = request
        .tools
        .iter()
        .filter_map(|tool| match tool {
            Tool::Function(function) => Some(function),
            Tool::Native { .. } => None,
        })
        .filter(|function| only.is_none_or(|names| names.contains(&function.name)))
        .collect();
    if functions.is_empty() {
        return;
    }
    w.list_member("tools", |w| {
        w.object(|w| {
            w.list_member("functionDeclarations", |w| {
                for function in functions {
                    w.object(|w| {
                        w.member("name", &function.name);
                        w.member_some("description", &function.description);
                        w.member_some("parametersJsonSchema", &function.parameters);
                    });
                }
            });
        });
    });
    if let Some(choice) = &request.tool_choice {
        w.object_member("toolConfig", |w| w.object_member("functionCallingConfig", |w| write_choice(w, choice)));
    }
}

fn write_choice(w: &mut Writer, choice: &ToolChoice<'_>) {
    match choice {
        ToolChoice::Auto | ToolChoice::Among { required: false, .. } => w.member("mode", "AUTO"),
        ToolChoice::None => w.member("mode", "NONE"),
        ToolChoice::Required => w.member("mode", "ANY"),
        ToolChoice::Named(name) => {
            w.member("mode", "ANY");
            w.texts_member("allowedFunctionNames", std::slice::from_ref(name));
        }
        ToolChoice::Among { names, required: true } => {
            w.member("mode", "ANY");
            w.texts_member("allowedFunctionNames", names);
        }
    }
}

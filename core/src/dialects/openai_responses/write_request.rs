//! A request for a provider that speaks this dialect.

use super::own::Form;
use super::write_items::Items;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Message, Role, only_text};
use crate::contract::canonical::{Format, Function, Request, Tool, ToolChoice};
use crate::contract::write::Writer;
use crate::dialects::openai_chat::fit;
use crate::dialects::{Quirks, To, Written};

pub fn write(request: &Request<'_>, to: &To<'_>) -> Written {
    let own_tools = if natives(to.quirks) { request.own_tools() } else { Vec::new() };
    let mut items = Items { quirks: to.quirks, own_tools, own_calls: Vec::new(), lost: Vec::new() };
    let (instructions, messages) = instructions(request);
    let mut writer = Writer::with_capacity(1_024);
    writer.object(|w| {
        w.member("model", to.model);
        w.member_some("instructions", &instructions);
        w.list_member("input", |w| messages.iter().for_each(|message| items.message(w, message)));
        tools(w, request, to.quirks, &items.own_tools);
        asked(w, request, to, &mut items.lost);
        labels(w, request, to.quirks);
        if request.stream {
            w.member("stream", &true);
        }
    });
    Written { body: writer.into_bytes(), lost: items.lost }
}

/// Is it said here? What the dialect carries and the provider does not was told as lost.
fn has(quirks: &Quirks, element: Element) -> bool {
    !quirks.lacks.contains(&element)
}

/// Tools that only this dialect knows are said: the request was this dialect's own.
fn natives(quirks: &Quirks) -> bool {
    quirks.has.contains(&Element::NativeTool)
}

/// The first message of the system, where it is text alone; and all that follows it.
fn instructions<'r, 'a>(request: &'r Request<'a>) -> (Option<std::borrow::Cow<'a, str>>, &'r [Message<'a>]) {
    if let [Message { role: Role::System, parts, .. }, rest @ ..] = &request.messages[..]
        && let Some(text) = only_text(parts)
        && !parts.is_empty()
    {
        return (Some(text), rest);
    }
    (None, &request.messages)
}

fn tools(w: &mut Writer, request: &Request<'_>, quirks: &Quirks, own_tools: &[&str]) {
    let said = |tool: &&Tool<'_>| matches!(tool, Tool::Function(_)) || natives(quirks);
    if !request.tools.iter().any(|tool| said(&tool)) {
        return;
    }
    w.list_member("tools", |w| {
        for tool in request.tools.iter().filter(said) {
            match tool {
                Tool::Function(Function { own: Some(raw), .. }) if natives(quirks) => w.value(*raw),
                Tool::Native { json, .. } => w.value(*json),
                Tool::Function(function) => w.object(|w| write_function(w, function, quirks)),
            }
        }
    });
    if let Some(choice) = &request.tool_choice {
        write_choice(w, choice, own_tools);
    }
    if let Some(parallel) = request.parallel_tools.filter(|_| has(quirks, Element::ParallelTools)) {
        w.member("parallel_tool_calls", &parallel);
    }
}

fn write_function(w: &mut Writer, function: &Function<'_>, quirks: &Quirks) {
    w.member("type", "function");
    w.member("name", &function.name);
    w.member_some("description", &function.description);
    match function.parameters {
        Some(schema) => w.member("parameters", schema),
        None => w.object_member("parameters", |w| {
            w.member("type", "object");
            w.object_member("properties", |_| {});
        }),
    }
    if has(quirks, Element::ToolStrict) {
        // Left out it would be strict here, and the schema made to fit: nobody who does not ask for it means that.
        w.member("strict", &function.strict.unwrap_or(false));
    }
}

fn write_choice(w: &mut Writer, choice: &ToolChoice<'_>, own_tools: &[&str]) {
    let named = |w: &mut Writer, name: &str| match Form::of(name, own_tools) {
        Form::Shell => w.member("type", "local_shell"),
        form => {
            w.member("type", if form == Form::Custom { "custom" } else { "function" });
            w.member("name", name);
        }
    };
    match choice {
        ToolChoice::Auto => w.member("tool_choice", "auto"),
        ToolChoice::None => w.member("tool_choice", "none"),
        ToolChoice::Required => w.member("tool_choice", "required"),
        ToolChoice::Named(name) => w.object_member("tool_choice", |w| named(w, name)),
        ToolChoice::Among { names, required } => w.object_member("tool_choice", |w| {
            w.member("type", "allowed_tools");
            w.member("mode", if *required { "required" } else { "auto" });
            w.list_member("tools", |w| names.iter().for_each(|name| w.object(|w| named(w, name))));
        }),
    }
}

fn asked(w: &mut Writer, request: &Request<'_>, to: &To<'_>, lost: &mut Vec<Loss>) {
    let quirks = to.quirks;
    let fit = fit(request, to.model, |element| has(quirks, element), lost);
    w.member_some("max_output_tokens", &request.max_tokens);
    w.member_some("temperature", &fit.temperature);
    w.member_some("top_p", &fit.top_p);
    let mut include = Vec::new();
    if let Some(ask) = request.reasoning.as_ref().filter(|_| has(quirks, Element::ReasoningAsked)) {
        if ask.encrypted && has(quirks, Element::ReasoningEncrypted) {
            include.push("reasoning.encrypted_content");
        }
        let show = ask.show.as_ref().filter(|show| !show.is_empty() && has(quirks, Element::ReasoningShown));
        let effort = fit.effort;
        if effort.is_some() || show.is_some() {
            w.object_member("reasoning", |w| {
                w.member_some("effort", &effort);
                w.member_some("summary", &show);
            });
        } else if !ask.encrypted {
            lost.push(Loss::value(Element::ReasoningAsked, "it has no effort that can be named here"));
        }
    }
    if let Some(logprobs) = request.logprobs.filter(|_| has(quirks, Element::Logprobs)) {
        include.push("message.output_text.logprobs");
        w.member_some("top_logprobs", &logprobs.top);
    }
    if !include.is_empty() {
        w.list_member("include", |w| include.iter().for_each(|name| w.value(*name)));
    }
    let verbosity = request.verbosity.as_ref().filter(|_| has(quirks, Element::Verbosity));
    if request.format.is_some() || verbosity.is_some() {
        w.object_member("text", |w| {
            if let Some(format) = &request.format {
                w.object_member("format", |w| write_format(w, format));
            }
            w.member_some("verbosity", &verbosity);
        });
    }
}

fn write_format(w: &mut Writer, format: &Format<'_>) {
    match format {
        Format::Json => w.member("type", "json_object"),
        Format::Schema { name, description, schema, strict } => {
            w.member("type", "json_schema");
            w.member("name", name.as_deref().unwrap_or("answer"));
            w.member_some("description", description);
            w.member("schema", schema);
            w.member_some("strict", strict);
        }
    }
}

fn labels(w: &mut Writer, request: &Request<'_>, quirks: &Quirks) {
    for (element, name, value) in [
        (Element::ServiceTier, "service_tier", &request.service_tier),
        (Element::User, "user", &request.user),
        (Element::CacheKey, "prompt_cache_key", &request.cache_key),
    ] {
        if has(quirks, element) {
            w.member_some(name, value);
        }
    }
    if has(quirks, Element::Metadata) {
        w.member_some("metadata", &request.metadata);
    }
    if has(quirks, Element::NotStored) {
        // Here answers are stored unless it is forbidden; everywhere else nothing is stored unless it is asked for.
        w.member("store", &request.store.unwrap_or(false));
    }
}

//! A request as Ollama reads it.

use super::carries;
use super::message::Said;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Message, Role, ToolResult};
use crate::contract::canonical::{Format, ReasoningAsk, Request, ToolChoice};
use crate::contract::write::Writer;
use crate::dialects::cohere::tools;
use crate::dialects::{To, Written};

pub fn write(request: &Request<'_>, to: &To<'_>) -> Written {
    let mut lost = Vec::new();
    let mut called = Vec::new();
    let body = Writer::object_text(|w| {
        w.member("model", to.model);
        w.list_member("messages", |w| {
            request.messages.iter().for_each(|message| write_message(w, message, &mut called, &mut lost));
        });
        // In words: without the member it would stream.
        w.member("stream", &request.stream);
        write_tools(w, request, &mut lost);
        match &request.format {
            None => {}
            Some(Format::Json) => w.member("format", "json"),
            Some(Format::Schema { schema, .. }) => w.member("format", schema),
        }
        if let Some(ask) = &request.reasoning {
            write_think(w, ask, &mut lost);
        }
        if let Some(logprobs) = request.logprobs {
            w.member("logprobs", &true);
            w.member_some("top_logprobs", &logprobs.top);
        }
        write_options(w, request, to);
    });
    Written { body, lost }
}

/// `called` holds ids and names of the calls so far: a result names its tool.
fn write_message<'r>(
    w: &mut Writer,
    message: &'r Message<'_>,
    called: &mut Vec<(&'r str, &'r str)>,
    lost: &mut Vec<Loss>,
) {
    let mut results = 0;
    for part in &message.parts {
        match &part.kind {
            Kind::ToolCall(call) => called.push((&call.id, &call.name)),
            Kind::ToolResult(result) => {
                results += 1;
                let name = called.iter().rfind(|(id, _)| *id == result.call_id).map(|(_, name)| *name);
                write_result(w, result, result.name.as_deref().or(name), lost);
            }
            Kind::Text { .. } | Kind::Refusal(_) | Kind::Media(_) | Kind::Reasoning(_) | Kind::Native { .. } => {}
        }
    }
    let role = match message.role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => return,
    };
    // What other media a conversation has was told before.
    let mut said = Said::of(&message.parts, Element::NativePart);
    if said.is_nothing() && (results > 0 || message.role == Role::Assistant) {
        return;
    }
    if message.role != Role::Assistant {
        (said.thoughts, said.calls) = (Vec::new(), Vec::new());
    }
    lost.extend(said.broken_calls());
    w.object(|w| {
        w.member("role", role);
        // What a model said before is one text; of others each part is a line of its own.
        said.write(w, if message.role == Role::Assistant { "" } else { "\n" }, false);
    });
}

fn write_result(w: &mut Writer, result: &ToolResult<'_>, name: Option<&str>, lost: &mut Vec<Loss>) {
    let mut said = Said::of(&result.parts, Element::ToolResultMedia);
    lost.append(&mut said.lost);
    (said.thoughts, said.calls) = (Vec::new(), Vec::new());
    w.object(|w| {
        w.member("role", "tool");
        said.write(w, "\n", false);
        w.member_some("tool_name", &name);
        w.member("tool_call_id", &result.call_id);
    });
}

fn write_tools(w: &mut Writer, request: &Request<'_>, lost: &mut Vec<Loss>) {
    match &request.tool_choice {
        // What is not offered is not called.
        Some(ToolChoice::None) => return,
        Some(ToolChoice::Among { required: true, .. }) => {
            lost.push(Loss::value(Element::ToolChoiceAmong, "no call can be required"));
        }
        None
        | Some(ToolChoice::Auto | ToolChoice::Required | ToolChoice::Named(_))
        | Some(ToolChoice::Among { required: false, .. }) => {}
    }
    let functions = tools::offered(request);
    if !functions.is_empty() {
        w.list_member("tools", |w| functions.iter().for_each(|function| tools::write(w, function)));
    }
}

/// Thinking is on, off, or of three degrees.
fn write_think(w: &mut Writer, ask: &ReasoningAsk<'_>, lost: &mut Vec<Loss>) {
    match (ask.effort.as_deref(), ask.budget_tokens) {
        (Some("none"), _) | (None, Some(0)) => w.member("think", &false),
        (Some(level @ ("low" | "medium" | "high")), _) => w.member("think", level),
        (Some(other), _) => {
            let level = if other == "minimal" { "low" } else { "high" };
            w.member("think", level);
            lost.push(Loss::value(Element::ReasoningAsked, format!("`{other}` is said as `{level}`")));
        }
        (None, Some(_)) => {
            w.member("think", &true);
            lost.push(Loss::value(Element::ReasoningAsked, "thinking has no bound in tokens"));
        }
        (None, None) if ask.adaptive => w.member("think", &true),
        (None, None) => {}
    }
    if ask.show.as_deref() == Some("") {
        lost.push(Loss::value(Element::ReasoningShown, "thoughts are always shown"));
    }
}

fn write_options(w: &mut Writer, request: &Request<'_>, to: &To<'_>) {
    let says = |element: Element| carries(element) && !to.quirks.lacks.contains(&element);
    let options = Writer::object_text(|w| {
        w.member_some("num_predict", &request.max_tokens);
        let numbers = [
            ("temperature", &request.temperature, Element::Temperature),
            ("top_p", &request.top_p, Element::TopP),
            ("frequency_penalty", &request.frequency_penalty, Element::FrequencyPenalty),
            ("presence_penalty", &request.presence_penalty, Element::PresencePenalty),
            ("seed", &request.seed, Element::Seed),
        ];
        for (name, value, element) in numbers {
            w.member_some(name, &value.as_ref().filter(|_| says(element)));
        }
        w.member_some("top_k", &request.top_k.filter(|_| says(Element::TopK)));
        if !request.stop.is_empty() && says(Element::Stop) {
            w.texts_member("stop", &request.stop);
        }
    });
    if options != b"{}" {
        w.json_member("options", &String::from_utf8(options).unwrap_or_default());
    }
}

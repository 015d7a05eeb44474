//! A request for the provider, written: messages of one role joined, the system's in front, `max_tokens` always.
//!
//! A conversation that begins with the assistant stays as it is: nobody's words are put before it. Where the last message is
//! the assistant's, it is the begin of the answer, as everywhere in this dialect.

use super::thinking::{self, Able, Plan, Thinking, is_own_thought};
use super::write_blocks::{MARKS_MAX, Marks, content, is_own, sayable};
use crate::contract::canonical::element::{Element, Loss, of_part};
use crate::contract::canonical::part::{Kind, Message, Part, Role};
use crate::contract::canonical::{Format, Function, Request, Tool, ToolChoice};
use crate::contract::read::{Raw, find, loose};
use crate::contract::write::Writer;
use crate::dialects::{To, Written};

pub fn write(request: &Request<'_>, to: &To<'_>) -> Written {
    let able = thinking::able(to.model);
    let mut lost = Vec::new();
    let plan = thinking::plan(request, to, able, &mut lost);
    let body = Writer::object_text(|w| {
        w.member("model", to.model);
        w.member("max_tokens", &plan.max_tokens);
        if request.stream {
            w.member("stream", &true);
        }
        sampling(w, request, to, able, &mut lost);
        about(w, request, to, &mut lost);
        conversation(w, request, to, &plan, able, &mut lost);
    });
    Written { body, lost }
}

/// Does this provider carry what the dialect does?
fn has(to: &To<'_>, element: Element) -> bool {
    !to.quirks.lacks.contains(&element)
}

/// The same for counting: what is no input has no place there.
pub fn write_count(request: &Request<'_>, to: &To<'_>) -> Written {
    let able = thinking::able(to.model);
    let mut lost = Vec::new();
    let plan = thinking::plan(request, to, able, &mut Vec::new());
    let body = Writer::object_text(|w| {
        w.member("model", to.model);
        conversation(w, request, to, &plan, able, &mut lost);
    });
    Written { body, lost }
}

fn sampling(w: &mut Writer, request: &Request<'_>, to: &To<'_>, able: Able, lost: &mut Vec<Loss>) {
    let takes_none = |what: &str| format!("`{}` takes no `{what}`", to.model);
    let temperature = request.temperature.as_ref().filter(|_| has(to, Element::Temperature));
    let temperature = temperature.filter(|t| able.sampling || t.float() != 1.0);
    match temperature {
        Some(_) if !able.sampling => lost.push(Loss::value(Element::Temperature, takes_none("temperature"))),
        Some(t) if t.float() > 1.0 => {
            lost.push(Loss::value(Element::Temperature, format!("`{}` is above 1, the most here", t.0)));
        }
        Some(t) => w.member("temperature", t),
        None => {}
    }
    let top_p = request.top_p.as_ref().filter(|_| has(to, Element::TopP));
    let top_p = top_p.filter(|p| able.both_sampling && able.sampling || p.float() != 1.0);
    match top_p {
        Some(_) if !able.sampling => lost.push(Loss::value(Element::TopP, takes_none("top_p"))),
        Some(_) if temperature.is_some() && !able.both_sampling => {
            let told = format!("`{}` takes `temperature` or `top_p`, not both", to.model);
            lost.push(Loss::value(Element::TopP, told));
        }
        Some(p) => w.member("top_p", p),
        None => {}
    }
    match &request.top_k.filter(|_| has(to, Element::TopK)) {
        Some(_) if !able.sampling => lost.push(Loss::value(Element::TopK, takes_none("top_k"))),
        Some(k) => w.member("top_k", k),
        None => {}
    }
}

/// About the call: what ends the answer, for whom it is, how urgent it is.
fn about(w: &mut Writer, request: &Request<'_>, to: &To<'_>, lost: &mut Vec<Loss>) {
    let (blank, stop): (Vec<_>, Vec<_>) = request.stop.iter().cloned().partition(|s| s.trim().is_empty());
    if !blank.is_empty() {
        lost.push(Loss::value(Element::Stop, "a sequence of white space only ends nothing here"));
    }
    if !stop.is_empty() && has(to, Element::Stop) {
        w.texts_member("stop_sequences", &stop);
    }
    if let Some(user) = request.user.as_ref().filter(|_| has(to, Element::User)) {
        w.object_member("metadata", |w| w.member("user_id", user));
    }
    match request.service_tier.as_deref().filter(|_| has(to, Element::ServiceTier)) {
        None => {}
        Some("auto") => w.member("service_tier", "auto"),
        Some("default" | "standard" | "standard_only") => w.member("service_tier", "standard_only"),
        // It takes what the organisation has paid for in advance, as far as that goes.
        Some("priority") => w.member("service_tier", "auto"),
        Some(other) => lost.push(Loss::value(Element::ServiceTier, format!("`{other}` is unknown here"))),
    }
}

/// What is input, and what shapes the answer: the same for answers and for counts.
fn conversation(w: &mut Writer, request: &Request<'_>, to: &To<'_>, plan: &Plan, able: Able, lost: &mut Vec<Loss>) {
    let (marked, takes) = (marks(request), has(to, Element::CacheMarks));
    let mut marks = if takes { Marks::of(marked) } else { Marks::none() };
    if takes && marked > MARKS_MAX {
        let told = format!("{marked} marks: at most {MARKS_MAX} are taken, the last ones");
        lost.push(Loss::value(Element::CacheMarks, told));
    }
    think(w, plan);
    output_config(w, request, to, plan, able, lost);
    let chosen = chosen(request);
    if !chosen.is_empty() {
        w.list_member("tools", |w| chosen.iter().for_each(|tool| write_tool(w, tool, to, able, &mut marks, lost)));
    }
    tool_choice(w, request, !chosen.is_empty());
    let (system, rest) =
        if able.midway { request.split_system() } else { (&request.messages[..0], &request.messages[..]) };
    let instructs = |m: &&Message<'_>| m.role.instructs();
    if !able.midway && request.instructs_midway() {
        let told = format!("`{}` takes instructions in front only: they would stand there", to.model);
        lost.push(Loss::value(Element::SystemMidway, told));
    }
    let hoisted = rest.iter().filter(|m| !able.midway && instructs(m));
    let instructions: Vec<&Part<'_>> =
        system.iter().chain(hoisted).flat_map(|m| &m.parts).filter(|part| goes(part, to, lost)).collect();
    if !instructions.is_empty() {
        w.key("system");
        content(w, &instructions, &mut marks, lost);
    }
    let turns = turns(rest.iter().filter(|m| able.midway || !instructs(m)), to, lost);
    w.list_member("messages", |w| {
        for (role, parts) in &turns {
            w.object(|w| {
                w.member("role", *role);
                w.key("content");
                content(w, parts, &mut marks, lost);
            });
        }
    });
}

fn think(w: &mut Writer, plan: &Plan) {
    let Some(thinking) = plan.thinking else { return };
    w.object_member("thinking", |w| {
        match thinking {
            Thinking::Disabled => w.member("type", "disabled"),
            Thinking::Adaptive => w.member("type", "adaptive"),
            Thinking::Enabled(budget) => {
                w.member("type", "enabled");
                w.member("budget_tokens", &budget);
            }
        }
        w.member_some("display", &plan.display);
    });
}

fn output_config(w: &mut Writer, request: &Request<'_>, to: &To<'_>, plan: &Plan, able: Able, lost: &mut Vec<Loss>) {
    let schema = match request.format.as_ref().filter(|_| has(to, Element::JsonSchema)) {
        Some(Format::Schema { .. }) if !able.schemas => {
            lost.push(Loss::value(Element::JsonSchema, format!("`{}` keeps to no schema", to.model)));
            None
        }
        Some(Format::Schema { schema, .. }) => Some(&**schema),
        // Told by the element.
        Some(Format::Json) | None => None,
    };
    if plan.effort.is_none() && schema.is_none() {
        return;
    }
    w.object_member("output_config", |w| {
        w.member_some("effort", &plan.effort);
        if let Some(schema) = schema {
            w.object_member("format", |w| {
                w.member("type", "json_schema");
                w.member("schema", schema);
            });
        }
    });
}

/// The tools that may be called, and those of others' making left out.
fn chosen<'r, 'a>(request: &'r Request<'a>) -> Vec<&'r Tool<'a>> {
    let among = match &request.tool_choice {
        Some(ToolChoice::Among { names, .. }) => Some(names),
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Named(_)) | None => None,
    };
    let may = |tool: &&Tool<'_>| match tool {
        Tool::Function(function) => among.is_none_or(|names| names.contains(&function.name)),
        Tool::Native { kind, json } => {
            let name = find(&loose(json), "name").map_or("", |name| name.get().trim_matches('"'));
            is_own_tool(kind) && among.is_none_or(|names| names.iter().any(|known| known == name))
        }
    };
    request.tools.iter().filter(may).collect()
}

/// Tools that the provider runs are dated here in eight digits (`web_search_20250305`); those of others are not.
fn is_own_tool(kind: &str) -> bool {
    let dated = |date: &str| date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit());
    kind == "mcp_toolset" || kind.rsplit_once('_').is_some_and(|(_, date)| dated(date))
}

fn write_tool(w: &mut Writer, tool: &Tool<'_>, to: &To<'_>, able: Able, marks: &mut Marks, lost: &mut Vec<Loss>) {
    let function: &Function<'_> = match tool {
        Tool::Native { json, .. } => return w.value(*json),
        Tool::Function(function) => function,
    };
    w.object(|w| {
        w.member("name", &function.name);
        w.member_some("description", &function.description);
        w.key("input_schema");
        input_schema(w, function.parameters);
        if function.strict == Some(true) && has(to, Element::ToolStrict) {
            match able.schemas {
                true => w.member("strict", &true),
                false => lost.push(Loss::value(Element::ToolStrict, format!("`{}` keeps to no schema", to.model))),
            }
        }
        marks.write(w, function.cache);
    });
}

/// The provider wants a schema with a type; one without is that of an object.
fn input_schema(w: &mut Writer, schema: Option<Raw<'_>>) {
    let members = schema.map(loose).unwrap_or_default();
    match schema {
        Some(schema) if find(&members, "type").is_some() => w.value(schema),
        Some(_) | None => w.object(|w| {
            w.member("type", "object");
            members.iter().filter(|(name, _)| name != "type").for_each(|(name, raw)| w.member(name, *raw));
        }),
    }
}

/// Without tools there is nothing to choose, and the provider wants nothing said about it.
fn tool_choice(w: &mut Writer, request: &Request<'_>, tools: bool) {
    let one = request.parallel_tools == Some(false);
    let (kind, name) = match &request.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Among { required: true, .. }) => ("any", None),
        Some(ToolChoice::Named(name)) => ("tool", Some(name)),
        _ if !tools => return,
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Auto | ToolChoice::Among { required: false, .. }) => ("auto", None),
        None if one => ("auto", None),
        None => return,
    };
    w.object_member("tool_choice", |w| {
        w.member("type", kind);
        w.member_some("name", &name);
        if one && kind != "none" {
            w.member("disable_parallel_tool_use", &true);
        }
    });
}

/// Marks that will be written.
fn marks(request: &Request<'_>) -> usize {
    fn of(part: &Part<'_>) -> usize {
        let inside = match &part.kind {
            Kind::ToolResult(result) => result.parts.iter().map(of).sum(),
            Kind::Text { text, .. } if text.is_empty() => return 0,
            Kind::Reasoning(_) | Kind::Native { .. } => return 0,
            Kind::Text { .. } | Kind::Refusal(_) | Kind::Media(_) | Kind::ToolCall(_) => 0,
        };
        inside + usize::from(part.cache.is_some())
    }
    let of_tools = chosen(request).into_iter().filter(|tool| matches!(tool, Tool::Function(f) if f.cache.is_some()));
    of_tools.count() + request.messages.iter().flat_map(|m| &m.parts).map(of).sum::<usize>()
}

/// One message a turn. Results of tools stand first in a turn of the user; a turn in which nothing is said is none, but for
/// one that is all there is.
fn turns<'r, 'a>(
    messages: impl Iterator<Item = &'r Message<'a>>,
    to: &To<'_>,
    lost: &mut Vec<Loss>,
) -> Vec<(&'static str, Vec<&'r Part<'a>>)> {
    let mut turns: Vec<(&'static str, Vec<&Part<'_>>)> = Vec::new();
    let mut silent = None;
    for message in messages {
        let role = match message.role {
            Role::System | Role::Developer => "system",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let parts: Vec<&Part<'_>> = message.parts.iter().filter(|part| goes(part, to, lost)).collect();
        if parts.is_empty() {
            silent.get_or_insert(role);
            continue;
        }
        match turns.last_mut().filter(|(last, _)| *last == role) {
            Some((_, said)) => said.extend(parts),
            None => turns.push((role, parts)),
        }
    }
    for (_, parts) in turns.iter_mut().filter(|(role, _)| *role == "user") {
        parts.sort_by_key(|part| !matches!(part.kind, Kind::ToolResult(_)));
    }
    if let (true, Some(role)) = (turns.is_empty(), silent) {
        turns.push((role, Vec::new()));
    }
    turns
}

/// Does it go to the provider? What does not, and was not told by its element, is told.
fn goes(part: &Part<'_>, to: &To<'_>, lost: &mut Vec<Loss>) -> bool {
    let mut lacks = false;
    of_part(part, &mut |element| lacks |= !element.is_hint() && !has(to, element));
    if lacks {
        return false;
    }
    let mut tell = |loss: Loss| {
        if !lost.contains(&loss) {
            lost.push(loss);
        }
    };
    match &part.kind {
        Kind::Reasoning(_) if is_own_thought(part) => return true,
        Kind::Reasoning(reasoning) => {
            let (what, why) = match (&reasoning.encrypted, &part.signature) {
                (Some(_), _) => (Element::ReasoningEncrypted, "encrypted by another maker"),
                (None, Some(_)) => (Element::ReasoningSigned, "sealed by another maker"),
                (None, None) => (Element::ReasoningText, "thoughts without this maker's seal are refused"),
            };
            tell(Loss::value(what, why));
            return false;
        }
        Kind::Media(media) => {
            if let Err(told) = sayable(media) {
                told.into_iter().for_each(tell);
                return false;
            }
        }
        Kind::Native { kind, .. } => return is_own(kind),
        // An empty block is refused.
        Kind::Text { text, .. } if text.is_empty() => return false,
        Kind::Text { .. } | Kind::Refusal(_) | Kind::ToolCall(_) | Kind::ToolResult(_) => {}
    }
    if part.signature.is_some() {
        tell(Loss::value(Element::ReasoningSigned, "sealed by another maker"));
    }
    true
}

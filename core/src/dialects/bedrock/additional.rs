//! `additionalModelRequestFields`: what a maker's models take beside the dialect, in the maker's own words.
//!
//! How much to think, the k likeliest tokens, Anthropic's own choice of tools. What else stands there nobody else knows.

use std::borrow::Cow;

use super::model::Family;
use super::write_blocks::ToModel;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::{ReasoningAsk, Request, ToolChoice};
use crate::contract::read::{Number, Raw, Reading, Wrong, as_text, find, is_null, is_object};
use crate::contract::write::Writer;
use crate::dialects::anthropic::goes_on_without;

/// Anthropic's models think with at least so many tokens.
const BUDGET_MIN: u64 = 1_024;

pub fn read<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        let understood = r.within(name.clone(), |r| {
            match &*name {
                "thinking" | "reasoning_config" | "reasoningConfig" if is_object(raw) => thinking(r, raw, request)?,
                "output_config" if is_object(raw) => {
                    for (name, raw) in r.object(raw)? {
                        match &*name {
                            "effort" => ask(request).effort = Some(r.within("effort", |r| r.text(raw))?),
                            other => r.extra(other, raw),
                        }
                    }
                }
                "reasoning_effort" => ask(request).effort = Some(r.text(raw)?),
                "top_k" => request.top_k = Some(r.whole(raw)?),
                "inferenceConfig" if is_object(raw) => {
                    for (name, raw) in r.object(raw)? {
                        match &*name {
                            "topK" => request.top_k = Some(r.within("topK", |r| r.whole(raw))?),
                            other => r.extra(other, raw),
                        }
                    }
                }
                "tool_choice" if is_object(raw) => choice(r, raw, request)?,
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

fn ask<'r, 'a>(request: &'r mut Request<'a>) -> &'r mut ReasoningAsk<'a> {
    request.reasoning.get_or_insert_default()
}

/// `{type, budget_tokens, display}` of Anthropic's models, `{type, maxReasoningEffort}` of Amazon's.
fn thinking<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    let members = r.object(raw)?;
    let kind = find(&members, "type").map(|raw| r.within("type", |r| r.text(raw))).transpose()?;
    let ask = ask(request);
    for (name, raw) in members.iter().filter(|(_, raw)| !is_null(raw)) {
        match &**name {
            "type" => {}
            "budget_tokens" => ask.budget_tokens = Some(r.within("budget_tokens", |r| r.whole(raw))?),
            "maxReasoningEffort" => ask.effort = Some(r.within("maxReasoningEffort", |r| r.text(raw))?),
            "display" => {
                let shown = as_text(raw).as_deref() != Some("omitted");
                ask.show = Some(if shown { "auto".into() } else { "".into() });
            }
            other => r.extra(other, raw),
        }
    }
    match kind.as_deref() {
        Some("disabled") => ask.budget_tokens = Some(0),
        Some("adaptive") => ask.adaptive = true,
        Some(_) | None => ask.adaptive |= ask.budget_tokens.is_none() && ask.effort.is_none(),
    }
    Ok(())
}

/// Anthropic's own choice: `toolChoice` says more only where it stands too.
fn choice<'a>(r: &mut Reading<'a>, raw: Raw<'a>, request: &mut Request<'a>) -> Result<(), Wrong> {
    let (mut kind, mut named) = (None, None);
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "type" => kind = Some(r.within("type", |r| r.text(raw))?),
            "name" => named = Some(r.within("name", |r| r.text(raw))?),
            "disable_parallel_tool_use" => {
                request.parallel_tools = Some(!r.within("disable_parallel_tool_use", |r| r.bool(raw))?);
            }
            other => r.extra(other, raw),
        }
    }
    let choice = match (kind.as_deref(), named) {
        (Some("any"), _) => ToolChoice::Required,
        (Some("none"), _) => ToolChoice::None,
        (Some("tool"), Some(name)) => ToolChoice::Named(name),
        (Some(_) | None, _) => return Ok(()),
    };
    request.tool_choice.get_or_insert(choice);
    Ok(())
}

/// What goes there of a request, worked out before it is written.
#[derive(Default)]
pub struct Additional<'p> {
    thinking: Option<Thinking>,
    /// For Anthropic's models that decide themselves how long to think.
    effort: Option<Cow<'p, str>>,
    /// For OpenAI's open models.
    reasoning_effort: Option<&'static str>,
    /// For Amazon's.
    max_effort: Option<&'static str>,
    top_k: Option<u64>,
    nova_top_k: Option<u64>,
    /// Anthropic's own choice of tools.
    pub choice: Option<Choice<'p>>,
}

#[derive(Debug, PartialEq)]
enum Thinking {
    Disabled,
    Adaptive { display: Option<&'static str> },
    Budget(u64),
}

pub enum Choice<'p> {
    None,
    /// One tool at a time, chosen as the caller said.
    Single(Option<&'p ToolChoice<'p>>),
}

impl<'p> Additional<'p> {
    pub fn of(request: &'p Request<'_>, model: &mut ToModel<'_>) -> Additional<'p> {
        let mut additional = Additional::default();
        if let Some(ask) = request.reasoning.as_ref().filter(|_| model.says(Element::ReasoningAsked)) {
            match model.family {
                Family::Claude(..) => match in_the_way(request) {
                    Some(what) if !is_off(ask) => {
                        let why = format!("this model does not think where {what}");
                        model.lose(Loss::value(Element::ReasoningAsked, why));
                    }
                    Some(_) | None => additional.claude(ask, request, model),
                },
                Family::GptOss => additional.reasoning_effort = effort(ask),
                Family::Nova2 => additional.max_effort = effort(ask),
                Family::Nova | Family::Other | Family::Unknown => {
                    model.lose(Loss::value(Element::ReasoningAsked, "this model is not told how much to think"));
                }
            }
            if ask.show.is_some() && matches!(additional.thinking, Some(Thinking::Budget(_))) {
                let why = "this model does not let choose whether thoughts are shown";
                model.lose(Loss::value(Element::ReasoningShown, why));
            }
        }
        match model.family {
            _ if !model.says(Element::TopK) => {}
            Family::Claude(..) => additional.top_k = request.top_k,
            Family::Nova | Family::Nova2 => additional.nova_top_k = request.top_k,
            Family::GptOss | Family::Other | Family::Unknown if request.top_k.is_some() => {
                model.lose(Loss::value(Element::TopK, "this model is not told it here"));
            }
            Family::GptOss | Family::Other | Family::Unknown => {}
        }
        additional
    }

    /// Newer models are told an effort, those before a budget, the oldest do not think.
    fn claude(&mut self, ask: &'p ReasoningAsk<'_>, request: &Request<'_>, model: &mut ToModel<'_>) {
        let (family, max_tokens) = (model.family, request.max_tokens);
        let off =
            ask.budget_tokens == Some(0) || (ask.budget_tokens.is_none() && ask.effort.as_deref() == Some("none"));
        if family < (3, 7) {
            if !off {
                model.lose(Loss::value(Element::ReasoningAsked, "this model does not think before it answers"));
            }
            return;
        }
        if is_off(ask) {
            self.thinking = (ask.budget_tokens == Some(0)).then_some(Thinking::Disabled);
            return;
        }
        // From 4.7 on a budget is refused; before, who named one keeps it.
        if family.thinks_by_effort() && (ask.budget_tokens.is_none() || family >= (4, 7)) {
            let display = ask.show.as_deref().map(|show| if show.is_empty() { "omitted" } else { "summarized" });
            self.thinking = Some(Thinking::Adaptive { display });
            self.effort = match ask.effort.as_deref() {
                Some("minimal") => Some("low".into()),
                Some("xhigh") if family < (4, 7) => Some("high".into()),
                Some(effort) => Some(effort.into()),
                None if ask.budget_tokens.is_some() => effort(ask).map(Cow::Borrowed),
                None => None,
            };
            return;
        }
        if goes_on_without(request) {
            let why = "the turn that goes on began without thoughts of this maker's";
            return model.lose(Loss::value(Element::ReasoningAsked, why));
        }
        // The answer's bound holds thoughts and words: where nobody named a budget, half of it is left for words.
        let (asked, most) = match ask.budget_tokens {
            Some(named) => (named.max(BUDGET_MIN), max_tokens.map(|max| max.saturating_sub(1))),
            None => (budget(effort(ask)), max_tokens.map(|max| max / 2)),
        };
        let budget = most.map_or(asked, |most| asked.min(most));
        if budget < BUDGET_MIN {
            model.lose(Loss::value(Element::ReasoningAsked, "the bound of the answer leaves no room for thoughts"));
            return;
        }
        self.thinking = Some(Thinking::Budget(budget));
        if ask.budget_tokens.is_some() && family.takes_anthropic_choice() {
            self.effort = ask.effort.as_deref().map(Cow::Borrowed);
        }
    }

    pub fn is_empty(&self) -> bool {
        let Additional { thinking, effort, reasoning_effort, max_effort, top_k, nova_top_k, choice } = self;
        thinking.is_none()
            && effort.is_none()
            && reasoning_effort.is_none()
            && max_effort.is_none()
            && top_k.is_none()
            && nova_top_k.is_none()
            && choice.is_none()
    }

    pub fn write(&self, w: &mut Writer) {
        if let Some(thinking) = &self.thinking {
            w.object_member("thinking", |w| match thinking {
                Thinking::Disabled => w.member("type", "disabled"),
                Thinking::Adaptive { display } => {
                    w.member("type", "adaptive");
                    w.member_some("display", display);
                }
                Thinking::Budget(tokens) => {
                    w.member("type", "enabled");
                    w.member("budget_tokens", tokens);
                }
            });
        }
        if let Some(effort) = &self.effort {
            w.object_member("output_config", |w| w.member("effort", effort));
        }
        w.member_some("reasoning_effort", &self.reasoning_effort);
        if let Some(effort) = self.max_effort {
            w.object_member("reasoningConfig", |w| {
                w.member("type", if effort == "none" { "disabled" } else { "enabled" });
                if effort != "none" {
                    w.member("maxReasoningEffort", effort);
                }
            });
        }
        w.member_some("top_k", &self.top_k);
        if let Some(k) = self.nova_top_k {
            w.object_member("inferenceConfig", |w| w.member("topK", &k));
        }
        if let Some(choice) = &self.choice {
            w.object_member("tool_choice", |w| write_choice(w, choice));
        }
    }
}

fn write_choice(w: &mut Writer, choice: &Choice<'_>) {
    let choice = match choice {
        Choice::None => return w.member("type", "none"),
        Choice::Single(choice) => choice,
    };
    match choice {
        Some(ToolChoice::Required | ToolChoice::Among { required: true, .. }) => w.member("type", "any"),
        Some(ToolChoice::Named(name)) => {
            w.member("type", "tool");
            w.member("name", name);
        }
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Among { required: false, .. }) | None => {
            w.member("type", "auto");
        }
    }
    w.member("disable_parallel_tool_use", &true);
}

fn is_off(ask: &ReasoningAsk<'_>) -> bool {
    ask.budget_tokens == Some(0) || (ask.budget_tokens.is_none() && ask.effort.as_deref() == Some("none"))
}

/// What Anthropic's models refuse beside thinking. Thinking gives way: without it the answer means the same.
fn in_the_way(request: &Request<'_>) -> Option<&'static str> {
    let other = |n: &Option<Number<'_>>, least: f64| n.as_ref().is_some_and(|n| n.float() < least);
    match &request.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Among { required: true, .. }) => {
            Some("a tool must be called")
        }
        _ if other(&request.temperature, 1.0) => Some("a temperature below 1 is asked for"),
        _ if other(&request.top_p, 0.95) => Some("a `top_p` below 0.95 is asked for"),
        _ if request.top_k.is_some() => Some("`top_k` is asked for"),
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Among { required: false, .. }) | None => None,
    }
}

/// The three efforts that everybody knows, and none.
fn effort(ask: &ReasoningAsk<'_>) -> Option<&'static str> {
    match (ask.effort.as_deref(), ask.budget_tokens) {
        (Some("none"), _) | (None, Some(0)) => Some("none"),
        (Some("minimal" | "low"), _) | (None, Some(..=2_048)) => Some("low"),
        (Some("medium"), _) | (None, Some(..=16_384)) => Some("medium"),
        (Some(_), _) | (None, Some(_)) => Some("high"),
        (None, None) => ask.adaptive.then_some("medium"),
    }
}

fn budget(effort: Option<&str>) -> u64 {
    match effort {
        Some("low") => 2_048,
        Some("high") => 24_576,
        Some(_) | None => 8_192,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::dialects::bedrock::replayed::round;

    /// A turn that goes on must begin with thoughts where thinking is on, and a budget turns it on for the whole of it.
    #[test]
    fn thinking_does_not_begin_midway() {
        let claude = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
        let call = json!({"toolUse": {"toolUseId": "a", "name": "f", "input": {}}});
        let thought = json!({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "S"}}});
        let result = json!({"toolResult": {"toolUseId": "a", "content": [{"text": "r"}]}});
        for (model, said, after, thinks, why) in [
            (claude, vec![&call], vec![&result], false, "it would have had to think before the call"),
            (claude, vec![&thought, &call], vec![&result], true, "it did"),
            (claude, vec![&call], vec![&result, &json!({"text": "and?"})], true, "another turn begins"),
            (
                "us.anthropic.claude-opus-4-6-v1",
                vec![&call],
                vec![&result],
                true,
                "it decides for itself when to think",
            ),
        ] {
            let body = json!({
                "messages": [
                    {"role": "user", "content": [{"text": "a"}]},
                    {"role": "assistant", "content": said},
                    {"role": "user", "content": after},
                ],
                "additionalModelRequestFields": {"output_config": {"effort": "high"}},
            });
            let (written, lost) = round(&body, model).unwrap();
            let thinking = &written["additionalModelRequestFields"]["thinking"];
            assert_eq!(*thinking != Value::Null, thinks, "{why}: {written}");
            assert_eq!(lost.contains(&"reasoning".to_owned()), !thinks, "{why}: {lost:?}");
        }
    }
}

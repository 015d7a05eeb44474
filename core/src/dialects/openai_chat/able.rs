//! What OpenAI's models that think refuse, as far as a name tells. What is not known here gets what the caller said.

use std::borrow::Cow;

use super::write_request::effort;
use crate::contract::canonical::Request;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::read::Number;

/// What is asked of a model, as it takes it.
#[derive(Debug, Default)]
pub struct Fit<'r, 'a> {
    pub temperature: Option<&'r Number<'a>>,
    pub top_p: Option<&'r Number<'a>>,
    pub effort: Option<Cow<'r, str>>,
}

/// How a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thinks {
    /// Before every answer, with this effort at least.
    Always(&'static str),
    /// Where it is told to: without an effort it is a model like others.
    WhenTold,
    /// Never, or nobody knows.
    Unknown,
}

impl Thinks {
    fn of(model: &str) -> Thinks {
        let name = model.rsplit('/').next().unwrap_or_default();
        let digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        match name.strip_prefix("gpt-5") {
            _ if name.strip_prefix('o').is_some_and(digit) => Thinks::Always("low"),
            _ if ["-chat", "-search"].iter().any(|word| name.contains(word)) => Thinks::Unknown,
            Some(rest) if rest.starts_with('.') => Thinks::WhenTold,
            Some(rest) if rest.is_empty() || rest.starts_with('-') => Thinks::Always("minimal"),
            Some(_) | None => Thinks::Unknown,
        }
    }
}

/// What of the request a model takes; what is left out or goes otherwise is told. `has`: what the provider carries.
pub fn fit<'r, 'a>(
    request: &'r Request<'a>,
    model: &str,
    has: impl Fn(Element) -> bool,
    lost: &mut Vec<Loss>,
) -> Fit<'r, 'a> {
    let thinks = Thinks::of(model);
    let ask = request.reasoning.as_ref().filter(|_| has(Element::ReasoningAsked));
    let effort = ask.and_then(effort).map(|effort| match thinks {
        Thinks::Always(least) if effort == "none" => instead(&effort, least, lost),
        Thinks::Always("low") if effort == "minimal" => instead(&effort, "low", lost),
        Thinks::Always(_) if matches!(&*effort, "xhigh" | "max") => instead(&effort, "high", lost),
        Thinks::Always(_) | Thinks::WhenTold | Thinks::Unknown => effort,
    });
    let samples = match thinks {
        Thinks::Always(_) => false,
        Thinks::WhenTold => effort.as_deref().is_none_or(|effort| effort == "none"),
        Thinks::Unknown => true,
    };
    let mut taken = |number: &'r Option<Number<'a>>, element: Element| {
        let asked = number.as_ref().filter(|_| has(element));
        // 1 is what it does anyway.
        if asked.is_some_and(|n| n.float() != 1.0) && !samples {
            let why = format!("`{model}` takes none where it thinks");
            lost.push(Loss { hint: true, ..Loss::value(element, why) });
        }
        asked.filter(|_| samples)
    };
    let temperature = taken(&request.temperature, Element::Temperature);
    let top_p = taken(&request.top_p, Element::TopP);
    Fit { temperature, top_p, effort }
}

fn instead<'r>(asked: &str, given: &'static str, lost: &mut Vec<Loss>) -> Cow<'r, str> {
    lost.push(Loss::value(Element::ReasoningAsked, format!("effort `{asked}` goes as `{given}`")));
    given.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::canonical::ReasoningAsk;

    #[test]
    fn models_that_think_are_asked_for_what_they_take() {
        let no_told: &[&str] = &[];
        for (model, effort, temperature, expected, told, why) in [
            ("gpt-5", Some("low"), "0.5", (Some("low"), false), &["temperature"][..], "it always thinks"),
            ("gpt-5-mini-2025-08-07", None, "0.5", (None, false), &["temperature"][..], "asked or not"),
            ("gpt-5", None, "1", (None, false), no_told, "1 is what it does anyway"),
            ("gpt-5", Some("none"), "1", (Some("minimal"), false), &["reasoning"][..], "its least"),
            ("openai/o3", Some("minimal"), "1", (Some("low"), false), &["reasoning"][..], "the least of these"),
            ("o1", Some("max"), "0.5", (Some("high"), false), &["reasoning", "temperature"][..], "its most"),
            ("gpt-5.1", None, "0.5", (None, true), no_told, "it does not think unless it is told to"),
            ("gpt-5.1", Some("none"), "0.5", (Some("none"), true), no_told, "it is told not to"),
            ("gpt-5.1", Some("high"), "0.5", (Some("high"), false), &["temperature"][..], "it is told to"),
            ("gpt-5-chat-latest", None, "0.5", (None, true), no_told, "it chats"),
            ("gpt-4o", Some("high"), "0.5", (Some("high"), true), no_told, "the catalog knows, not the name"),
            ("my-own", Some("max"), "0.5", (Some("max"), true), no_told, "nobody knows: the caller does"),
        ] {
            let ask = effort.map(|effort| ReasoningAsk { effort: Some(effort.into()), ..ReasoningAsk::default() });
            let request =
                Request { temperature: Some(Number(temperature.into())), reasoning: ask, ..Request::default() };
            let mut lost = Vec::new();
            let fit = fit(&request, model, |_| true, &mut lost);
            assert_eq!((fit.effort.as_deref(), fit.temperature.is_some()), expected, "{model}: {why}");
            assert_eq!(lost.iter().map(|l| &*l.what).collect::<Vec<_>>(), told, "{model}: {why}");
            assert!(lost.iter().all(|loss| loss.hint), "{model}: the answer is made without");
        }
    }
}

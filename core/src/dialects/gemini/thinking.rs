//! `thinkingConfig`: levels, budgets, and whether thoughts are shown.

use std::borrow::Cow;

use super::names::each;
use crate::contract::canonical::ReasoningAsk;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::read::{Raw, Reading, Wrong};
use crate::contract::write::Writer;

pub fn read<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Option<ReasoningAsk<'a>>, Wrong> {
    let mut ask = ReasoningAsk::default();
    each(r, raw, |r, name, raw| {
        match name {
            "includeThoughts" => ask.show = Some(if r.bool(raw)? { "auto".into() } else { "".into() }),
            // The model decides.
            "thinkingBudget" if raw.get().starts_with('-') => ask.adaptive = true,
            "thinkingBudget" => ask.budget_tokens = Some(r.whole(raw)?),
            "thinkingLevel" => match r.text(raw)?.to_ascii_lowercase() {
                unspecified if unspecified == "thinking_level_unspecified" => {}
                level => ask.effort = Some(level.into()),
            },
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((ask != ReasoningAsk::default()).then_some(ask))
}

/// The generation of a model: `gemini-2.5-flash` is of the second. `None` = it is not named so.
pub fn generation(model: &str) -> Option<u32> {
    let rest = &model[model.rfind("gemini-")? + "gemini-".len()..];
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Levels came with the third generation; before it there were budgets only.
fn has_levels(model: &str) -> bool {
    generation(model).is_some_and(|generation| generation >= 3)
}

/// Models from before there was thinking, by name; they refuse to hear of it. What is not named so may think.
fn never(model: &str) -> bool {
    let named = |words: &[&str]| words.iter().any(|word| model.contains(word));
    named(&["gemini-1", "gemini-2.0", "gemma-2", "gemma-3"]) && !named(&["thinking"])
}

/// A budget as the model takes it: some cannot but think a little.
fn least(asked: u64, model: &str, lost: &mut Vec<Loss>) -> u64 {
    const PRO_MIN: u64 = 128;
    if asked >= PRO_MIN || !model.contains("gemini-2.5-pro") {
        return asked;
    }
    lost.push(Loss::value(Element::ReasoningAsked, format!("`{model}` thinks with {PRO_MIN} tokens at least")));
    PRO_MIN
}

pub fn write(w: &mut Writer, ask: &ReasoningAsk<'_>, model: &str, lost: &mut Vec<Loss>) {
    if never(model) {
        if !ask.is_off() {
            lost.push(Loss::value(Element::ReasoningAsked, format!("`{model}` does not think")));
        }
        return;
    }
    w.object_member("thinkingConfig", |w| {
        match (&ask.effort, ask.budget_tokens) {
            (_, Some(tokens)) => w.member("thinkingBudget", &least(tokens, model, lost)),
            (Some(effort), None) if has_levels(model) => {
                let level = level(effort);
                if level != effort.as_ref() {
                    lost.push(Loss::value(Element::ReasoningAsked, format!("`{effort}` is asked for as `{level}`")));
                }
                w.member("thinkingLevel", &level);
            }
            (Some(effort), None) => w.member("thinkingBudget", &least(budget(effort), model, lost)),
            (None, None) if ask.adaptive && !has_levels(model) => w.member("thinkingBudget", &-1i64),
            (None, None) => {}
        }
        if let Some(show) = &ask.show {
            w.member("includeThoughts", &!show.is_empty());
        }
    });
}

fn level(effort: &str) -> Cow<'_, str> {
    match effort {
        // Thinking cannot be turned off in these models.
        "none" => "minimal".into(),
        "max" => "high".into(),
        other => other.into(),
    }
}

/// The budgets that Google's own compatible endpoint gives to efforts.
fn budget(effort: &str) -> u64 {
    match effort {
        "none" => 0,
        "minimal" | "low" => 1_024,
        "medium" => 8_192,
        _ => 24_576,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efforts_are_levels_or_budgets_by_the_models_generation() {
        let effort = |effort: &'static str| ReasoningAsk { effort: Some(effort.into()), ..ReasoningAsk::default() };
        let budget = |tokens| ReasoningAsk { budget_tokens: Some(tokens), ..ReasoningAsk::default() };
        let adaptive = ReasoningAsk { adaptive: true, show: Some("auto".into()), ..ReasoningAsk::default() };
        for (ask, model, expected, losses) in [
            (effort("low"), "gemini-3-flash", r#"{"thinkingLevel":"low"}"#, 0),
            (effort("none"), "gemini-3-flash", r#"{"thinkingLevel":"minimal"}"#, 1),
            (effort("low"), "gemini-2.5-pro", r#"{"thinkingBudget":1024}"#, 0),
            (effort("none"), "models/gemini-2.5-flash", r#"{"thinkingBudget":0}"#, 0),
            (effort("none"), "gemini-2.5-pro", r#"{"thinkingBudget":128}"#, 1),
            (budget(0), "gemini-2.5-pro", r#"{"thinkingBudget":128}"#, 1),
            (effort("xhigh"), "my-own", r#"{"thinkingBudget":24576}"#, 0),
            (budget(100), "gemini-3-flash", r#"{"thinkingBudget":100}"#, 0),
            (adaptive.clone(), "gemini-2.5-pro", r#"{"thinkingBudget":-1,"includeThoughts":true}"#, 0),
            (adaptive, "gemini-3-pro", r#"{"includeThoughts":true}"#, 0),
        ] {
            let mut lost = Vec::new();
            let written = Writer::object_text(|w| write(w, &ask, model, &mut lost));
            let expected = format!(r#"{{"thinkingConfig":{expected}}}"#);
            assert_eq!((String::from_utf8(written).unwrap(), lost.len()), (expected, losses), "{model}");
        }
    }

    #[test]
    fn models_from_before_there_was_thinking_hear_nothing_of_it() {
        let effort = |effort: &'static str| ReasoningAsk { effort: Some(effort.into()), ..ReasoningAsk::default() };
        for (model, ask, told) in [
            ("gemini-2.0-flash", effort("high"), 1),
            ("gemini-2.0-flash", effort("none"), 0),
            ("gemma-3-27b-it", effort("high"), 1),
        ] {
            let mut lost = Vec::new();
            let written = Writer::object_text(|w| write(w, &ask, model, &mut lost));
            assert_eq!((&*written, lost.len()), (&b"{}"[..], told), "{model}");
        }
        assert!(!never("gemma-4-31b-it") && !never("gemini-2.0-flash-thinking-exp"), "these think");
    }
}

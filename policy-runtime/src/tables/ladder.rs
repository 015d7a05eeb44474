//! The ladder of a budget: what happens as it nears its end, step by step.

use tollgate_core::limits::rules::{Step, Then};

use crate::reading::{Reading, Table};
use crate::yaml::Node;

/// No ladder is longer.
const STEPS_MAX: usize = 8;
/// An answer of the house has at most so many bytes.
const ANSWER_BYTES_MAX: usize = 16 << 10;
const THEN: [&str; 4] = ["warn", "tier", "max_tokens", "answer"];

/// The steps, by rising share.
pub fn ladder(reading: &Reading<'_>, node: Option<&Node>) -> Vec<Step> {
    let Some(node) = node else { return Vec::new() };
    let mut steps: Vec<Step> = Vec::new();
    for node in reading.list(node, "`ladder`") {
        let Some(table) =
            reading.table(node, "a step of `ladder`", &["at_percent", "warn", "tier", "max_tokens", "answer"])
        else {
            continue;
        };
        if steps.len() == STEPS_MAX {
            reading.tell("TG0222", node.at, format!("a ladder has at most {STEPS_MAX} steps"));
            break;
        }
        let Some(step) = step(reading, &table) else { continue };
        if let Some(last) = steps.last() {
            if last.at_permille > step.at_permille {
                reading.tell("TG0222", node.at, "the steps of a ladder stand by rising `at_percent`");
                continue;
            }
            if matches!(last.then, Then::Answer(_)) {
                reading.tell("TG0222", node.at, "`answer` is the last step of a ladder: nothing comes behind it");
                continue;
            }
        }
        steps.push(step);
    }
    steps
}

fn step(reading: &Reading<'_>, table: &Table<'_, '_>) -> Option<Step> {
    table.need("at_percent", "how much of the budget is used and held when this step is taken, like 80");
    let at_percent = table.whole("at_percent", 1, 100)?;
    let at_permille = u64::try_from(at_percent).ok()? * 10;
    let given: Vec<&str> = THEN.into_iter().filter(|key| table.get(key).is_some()).collect();
    let [key] = given[..] else {
        reading.tell("TG0222", table.at, format!("a step of a ladder needs exactly one of `{}`", THEN.join("`, `")));
        return None;
    };
    let then = match key {
        "warn" => {
            if !table.flag("warn")? {
                reading.tell("TG0222", table.at, "a step that does nothing: write `warn: true`, or take it out");
                return None;
            }
            Then::Warn
        }
        "tier" => Then::Tier(table.name("tier")?),
        "max_tokens" => Then::MaxTokens(u64::try_from(table.whole("max_tokens", 1, i64::MAX)?).ok()?),
        _ => {
            let text = table.text("answer")?;
            if text.trim().is_empty() || text.len() > ANSWER_BYTES_MAX {
                let told = format!("`answer` is a text of 1 to {ANSWER_BYTES_MAX} bytes");
                reading.tell("TG0222", table.at, told);
                return None;
            }
            Then::Answer(text.into())
        }
    };
    Some(Step { at_permille, then })
}

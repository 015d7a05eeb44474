//! What a call used, as this provider counts: what its cache read and took is told outside `input_tokens`, thoughts inside
//! `output_tokens`.

use serde::Deserialize;

use crate::contract::usage::{Usage, UsedBeside, take};
use crate::contract::write::Writer;

/// Iterations of one answer that are read.
const ITERATIONS_MAX: usize = 256;

/// The member `usage`, of an answer or of one event.
#[derive(Debug, Default, Deserialize)]
pub struct Told {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation: Option<Split>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    output_tokens_details: Option<Details>,
    #[serde(default)]
    pub service_tier: Option<String>,
    #[serde(default, deserialize_with = "iterations")]
    iterations: Vec<Iteration>,
}

/// One of several turns that made the answer. The members around it count those that said it, and no others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Iteration {
    #[serde(rename = "type")]
    kind: String,
    model: Option<String>,
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<Split>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<Details>,
}

/// What cannot be read is none, and no reason to lose the rest.
fn iterations<'de, D: serde::Deserializer<'de>>(told: D) -> Result<Vec<Iteration>, D::Error> {
    let told = serde_json::Value::deserialize(told)?;
    Ok(serde_json::from_value(told).unwrap_or_default())
}

impl Iteration {
    /// What the answer's own use has not: a conversation made shorter before it was read, another model that was asked.
    fn is_beside(&self) -> bool {
        matches!(&*self.kind, "compaction" | "advisor_message")
    }

    fn beside(&self) -> UsedBeside {
        let usage = Told {
            input_tokens: self.input_tokens,
            cache_creation_input_tokens: self.cache_creation_input_tokens,
            cache_read_input_tokens: self.cache_read_input_tokens,
            cache_creation: self.cache_creation.clone(),
            output_tokens: self.output_tokens,
            output_tokens_details: self.output_tokens_details.clone(),
            ..Told::default()
        };
        UsedBeside { model: self.model.as_deref().unwrap_or_default().into(), usage: usage.disjoint() }
    }
}

/// What was written to the cache, by how long it is kept.
#[derive(Debug, Default, Clone, Deserialize)]
struct Split {
    #[serde(default)]
    ephemeral_5m_input_tokens: Option<u64>,
    #[serde(default)]
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Debug, Default, Clone, Deserialize)]
struct Details {
    #[serde(default)]
    thinking_tokens: Option<u64>,
}

impl Told {
    /// Lays what is told over what was: each field overwrites, none adds.
    pub fn over(&self, usage: &mut Usage) {
        usage.input = self.input_tokens.unwrap_or(usage.input);
        usage.cached_input = self.cache_read_input_tokens.unwrap_or(usage.cached_input);
        let split = self.cache_creation.as_ref();
        let hour = split.and_then(|s| s.ephemeral_1h_input_tokens);
        let minutes = split.and_then(|s| s.ephemeral_5m_input_tokens);
        let parts =
            (hour.is_some() || minutes.is_some()).then(|| hour.unwrap_or(0).saturating_add(minutes.unwrap_or(0)));
        let known = usage.cache_write.saturating_add(usage.cache_write_1h);
        usage.cache_write = self.cache_creation_input_tokens.or(parts).unwrap_or(known);
        usage.cache_write_1h = take(&mut usage.cache_write, hour.or(Some(usage.cache_write_1h)));
        usage.output = self.output_tokens.unwrap_or(usage.output.saturating_add(usage.reasoning));
        let thought = self.output_tokens_details.as_ref().and_then(|d| d.thinking_tokens);
        usage.reasoning = take(&mut usage.output, thought.or(Some(usage.reasoning)));
    }

    /// What is billed with the answer and is not in its use.
    pub fn beside(&self) -> Vec<UsedBeside> {
        let told = self.iterations.iter().take(ITERATIONS_MAX).filter(|one| one.is_beside());
        told.map(Iteration::beside).collect()
    }

    pub fn disjoint(&self) -> Usage {
        let mut usage = Usage::default();
        self.over(&mut usage);
        usage
    }
}

/// The members of `usage`.
pub fn write(w: &mut Writer, usage: &Usage) {
    w.member("input_tokens", &usage.input.saturating_add(usage.input_audio));
    w.member("cache_creation_input_tokens", &usage.cache_write.saturating_add(usage.cache_write_1h));
    w.member("cache_read_input_tokens", &usage.cached_input);
    w.object_member("cache_creation", |w| {
        w.member("ephemeral_5m_input_tokens", &usage.cache_write);
        w.member("ephemeral_1h_input_tokens", &usage.cache_write_1h);
    });
    w.member("output_tokens", &usage.output_all());
    if usage.reasoning > 0 {
        w.object_member("output_tokens_details", |w| w.member("thinking_tokens", &usage.reasoning));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> Told {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn later_fields_overwrite_and_never_add() {
        let mut usage = told(
            r#"{"input_tokens":10,"cache_creation_input_tokens":30,"cache_read_input_tokens":5,
                "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1}"#,
        )
        .disjoint();
        let before =
            Usage { input: 10, cached_input: 5, cache_write: 10, cache_write_1h: 20, output: 1, ..Usage::default() };
        assert_eq!(usage, before, "kinds are disjoint");
        told(r#"{"output_tokens":9,"output_tokens_details":{"thinking_tokens":4}}"#).over(&mut usage);
        assert_eq!(usage, Usage { output: 5, reasoning: 4, ..before }, "what is not told again stays");
        told(r#"{"input_tokens":12,"cache_creation_input_tokens":30,"output_tokens":10}"#).over(&mut usage);
        assert_eq!(usage, Usage { input: 12, output: 6, reasoning: 4, ..before }, "the split stays where the sum does");
        told(r#"{"cache_creation_input_tokens":7,"output_tokens":3}"#).over(&mut usage);
        assert_eq!((usage.cache_write, usage.cache_write_1h), (0, 7), "a part is never larger than its whole");
        assert_eq!((usage.output, usage.reasoning), (0, 3), "here either");
    }

    #[test]
    fn what_is_billed_beside_the_answer_is_told_by_its_model() {
        for (iterations, expected, why) in [
            ("null", &[][..], "none"),
            (r#"[{"type":"message","input_tokens":1128,"output_tokens":135}]"#, &[], "it is in the answer's use"),
            (
                r#"[{"type":"message","model":"claude-fable-5","input_tokens":408,"output_tokens":0},
                    {"type":"fallback_message","model":"claude-opus-4-8","input_tokens":412,"output_tokens":264}]"#,
                &[],
                "who gave the answer is in it; who would not is not billed",
            ),
            (
                r#"[{"type":"message","input_tokens":1},
                    {"type":"advisor_message","model":"claude-opus-4-8","input_tokens":2543,"output_tokens":18,
                     "cache_read_input_tokens":7},
                    {"type":"compaction","input_tokens":180000,"output_tokens":3500}]"#,
                &[("claude-opus-4-8", 2543, 7, 18), ("", 180_000, 0, 3_500)],
                "another model, and a conversation made shorter",
            ),
            (r#"[{"type":7}]"#, &[], "what is not understood"),
        ] {
            let told = told(&format!(r#"{{"input_tokens":2411,"output_tokens":145,"iterations":{iterations}}}"#));
            let beside = told.beside();
            let numbers = beside.iter().map(|b| (&*b.model, b.usage.input, b.usage.cached_input, b.usage.output));
            assert_eq!(numbers.collect::<Vec<_>>(), expected, "{why}");
            assert_eq!((told.disjoint().input, told.disjoint().output), (2411, 145), "{why}");
        }
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        let usage = Usage {
            input: 1,
            cached_input: 2,
            cache_write: 3,
            cache_write_1h: 4,
            output: 5,
            reasoning: 6,
            ..Usage::default()
        };
        let json = Writer::object_text(|w| write(w, &usage));
        assert_eq!(serde_json::from_slice::<Told>(&json).unwrap().disjoint(), usage);
    }
}

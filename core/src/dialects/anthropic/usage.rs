//! What a call used, as this provider counts: what its cache read and took is told outside `input_tokens`, thoughts inside
//! `output_tokens`.

use serde::Deserialize;

use crate::contract::usage::{Usage, take};
use crate::contract::write::Writer;

/// The member `usage`, of an answer or of one event. `iterations` is passed over: the members beside it are what the
/// provider calls the use of the answer, the rest is that of other models which it asked.
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
}

/// What was written to the cache, by how long it is kept.
#[derive(Debug, Default, Deserialize)]
struct Split {
    #[serde(default)]
    ephemeral_5m_input_tokens: Option<u64>,
    #[serde(default)]
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
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

//! What a call used, as disjoint kinds of tokens: no token is counted in two of them.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Input that was neither read from the provider's prompt cache nor written to it, and is no audio.
    pub input: u64,
    /// Input that was read from it.
    #[serde(skip_serializing_if = "is_zero")]
    pub cached_input: u64,
    /// Input that was written to it, to be kept for some minutes.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write: u64,
    /// Input that was written to it, to be kept for an hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub input_audio: u64,
    /// Output without reasoning and audio.
    pub output: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub output_audio: u64,
    /// Searches of a ranking, each a query with up to 100 documents: no tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub search_units: u64,
    /// Ours, because the provider told none or the stream was cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

/// What a provider used for an answer beside what it calls the answer's use, and bills with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedBeside {
    /// Another model of the same provider, which the answer's own asked; empty = the answer's.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub model: Box<str>,
    pub usage: Usage,
}

impl Usage {
    pub fn input_all(&self) -> u64 {
        [self.cached_input, self.cache_write, self.cache_write_1h, self.input_audio]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }

    pub fn output_all(&self) -> u64 {
        self.output.saturating_add(self.reasoning).saturating_add(self.output_audio)
    }

    pub fn total(&self) -> u64 {
        self.input_all().saturating_add(self.output_all())
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The `usage` member of OpenAI's chat and embeddings answers. Cached and reasoning tokens are counted in their totals there.
#[derive(Debug, Default, Deserialize)]
pub struct OpenaiUsage {
    #[serde(default, alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(default, alias = "output_tokens")]
    completion_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default, alias = "input_tokens_details", alias = "input_token_details")]
    prompt_tokens_details: Option<InputDetails>,
    #[serde(default, alias = "output_tokens_details")]
    completion_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Default, Deserialize)]
struct InputDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
    #[serde(default)]
    audio_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct OutputDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
    #[serde(default)]
    audio_tokens: Option<u64>,
}

impl OpenaiUsage {
    /// As disjoint kinds; `None` = it does not tell what was used: nothing stands there, or an answer without its prompt. A part larger than its whole stands beside it where the total has room for both (Mistral counts
    /// audio so); else it is cut to it: a provider's slip never makes a negative count.
    pub fn disjoint(&self) -> Option<Usage> {
        let input = self.prompt_tokens.or(self.total_tokens.filter(|_| self.completion_tokens.is_none()))?;
        let output = self.completion_tokens.unwrap_or(0);
        let of_input = |pick: fn(&InputDetails) -> Option<u64>| self.prompt_tokens_details.as_ref().and_then(pick);
        let of_output =
            |pick: fn(&OutputDetails) -> Option<u64>| self.completion_tokens_details.as_ref().and_then(pick);
        let mut usage = Usage { input, output, ..Usage::default() };
        let mut room = self.total_tokens.unwrap_or(0).saturating_sub(input.saturating_add(output));
        let mut take = |whole: &mut u64, part: Option<u64>| match part {
            Some(part) if part > *whole && part <= room => {
                room -= part;
                part
            }
            part => take(whole, part),
        };
        usage.cached_input = take(&mut usage.input, of_input(|d| d.cached_tokens));
        usage.cache_write = take(&mut usage.input, of_input(|d| d.cache_write_tokens));
        usage.input_audio = take(&mut usage.input, of_input(|d| d.audio_tokens));
        usage.reasoning = take(&mut usage.output, of_output(|d| d.reasoning_tokens));
        usage.output_audio = take(&mut usage.output, of_output(|d| d.audio_tokens));
        Some(usage)
    }
}

/// Takes a part out of its whole.
pub fn take(whole: &mut u64, part: Option<u64>) -> u64 {
    let part = part.unwrap_or(0).min(*whole);
    *whole -= part;
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_usage_becomes_disjoint_kinds() {
        for (json, input, cached, output, reasoning, why) in [
            (r#"{"prompt_tokens":10,"completion_tokens":5}"#, 10, 0, 5, 0, "the plain case"),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":8},"completion_tokens_details":{"reasoning_tokens":4}}"#,
                2,
                8,
                1,
                4,
                "parts leave their wholes",
            ),
            (
                r#"{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":9}}"#,
                0,
                3,
                0,
                0,
                "a part is never larger than its whole",
            ),
            (
                r#"{"prompt_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":9}}"#,
                3,
                9,
                0,
                0,
                "but beside it, where the total says so",
            ),
            (
                r#"{"prompt_tokens":3,"prompt_tokens_details":null,"completion_tokens":null}"#,
                3,
                0,
                0,
                0,
                "nulls are zero",
            ),
            (r#"{"total_tokens":8}"#, 8, 0, 0, 0, "embeddings of some servers tell only the total"),
        ] {
            let usage: OpenaiUsage = serde_json::from_str(json).unwrap();
            let expected = Usage { input, cached_input: cached, output, reasoning, ..Usage::default() };
            assert_eq!(usage.disjoint(), Some(expected), "{why}");
        }
        for (json, why) in [
            ("{}", "nothing"),
            (r#"{"prompt_tokens":null,"completion_tokens":null}"#, "nothing, in words"),
            (r#"{"completion_tokens":5,"total_tokens":15}"#, "an answer without its prompt"),
        ] {
            assert_eq!(serde_json::from_str::<OpenaiUsage>(json).unwrap().disjoint(), None, "{why}");
        }
    }
}

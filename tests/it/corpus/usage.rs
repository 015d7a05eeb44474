//! Usage as each provider tells it, as disjoint kinds: read here once more, so that the gateway's reading is compared with
//! another.

use serde_json::Value;

use super::exchange::{Exchange, Talk};

/// Disjoint: no token is counted twice.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    pub input: u64,
    pub cached: u64,
    pub written: u64,
    pub written_1h: u64,
    pub heard: u64,
    pub output: u64,
    pub reasoning: u64,
    pub spoken: u64,
    /// Searches of a ranking, which are no tokens.
    pub searches: u64,
}

impl Kinds {
    pub fn input_all(&self) -> u64 {
        self.input + self.cached + self.written + self.written_1h + self.heard
    }

    pub fn output_all(&self) -> u64 {
        self.output + self.reasoning + self.spoken
    }

    /// As a receipt has it.
    pub fn of_receipt(usage: &Value) -> Kinds {
        Kinds {
            input: count(&usage["input"]),
            cached: count(&usage["cached_input"]),
            written: count(&usage["cache_write"]),
            written_1h: count(&usage["cache_write_1h"]),
            heard: count(&usage["input_audio"]),
            output: count(&usage["output"]),
            reasoning: count(&usage["reasoning"]),
            spoken: count(&usage["output_audio"]),
            searches: count(&usage["search_units"]),
        }
    }

    /// What was recorded of an exchange, wherever its provider tells it.
    pub fn recorded(exchange: &Exchange) -> Option<Kinds> {
        match exchange.api.as_str() {
            api if api.starts_with("bedrock.invoke") => invoked(exchange),
            "vertex.predict" => {
                let said = exchange.json["predictions"].as_array()?;
                let tokens = said.iter().map(|p| count(&p["embeddings"]["statistics"]["token_count"]));
                Some(Kinds { input: tokens.sum(), ..Kinds::default() })
            }
            "ollama.generate" => Kinds::told(Some(Talk::Ollama), &exchange.usage),
            _ => Kinds::told(exchange.talk(), &exchange.usage),
        }
    }

    /// As a provider tells it; `None` = it tells nothing.
    pub fn told(talk: Option<Talk>, usage: &Value) -> Option<Kinds> {
        let members = usage.as_object().filter(|m| !m.is_empty())?;
        let has = |name: &str| members.get(name).is_some_and(|v| !v.is_null());
        match talk {
            Some(Talk::Messages) => Some(anthropic(usage)),
            Some(Talk::Gemini) => (has("promptTokenCount") || has("totalTokenCount")).then(|| gemini(usage)),
            Some(Talk::Bedrock) => Some(bedrock(usage)),
            Some(Talk::Cohere) => Some(cohere(usage)),
            Some(Talk::Ollama) => Some(Kinds {
                input: count(&usage["prompt_eval_count"]),
                output: count(&usage["eval_count"]),
                ..Kinds::default()
            }),
            Some(Talk::Chat | Talk::Responses) => Some(openai(usage)),
            None if has("billed_units") => Some(cohere(usage)),
            None if has("promptTokenCount") => Some(gemini(usage)),
            None => Some(openai(usage)),
        }
    }
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// A vendor's own count; where it has none, Amazon's in the stream or in the headers.
fn invoked(exchange: &Exchange) -> Option<Kinds> {
    let usage = &exchange.usage;
    let has = |name: &str| !usage[name].is_null();
    if has("input_tokens") {
        return Some(anthropic(usage));
    }
    if has("inputTokens") {
        return Some(bedrock(usage));
    }
    if has("inputTokenCount") {
        return Some(Kinds {
            input: count(&usage["inputTokenCount"]),
            cached: count(&usage["cacheReadInputTokenCount"]),
            written: count(&usage["cacheWriteInputTokenCount"]),
            output: count(&usage["outputTokenCount"]),
            ..Kinds::default()
        });
    }
    if has("prompt_token_count") {
        let (input, output) = (count(&usage["prompt_token_count"]), count(&usage["generation_token_count"]));
        return Some(Kinds { input, output, ..Kinds::default() });
    }
    let header = |kind: &str| -> Option<u64> {
        let name = format!("x-amzn-bedrock-{kind}-token-count");
        exchange.answer.headers.iter().find(|(known, _)| *known == name)?.1.parse().ok()
    };
    header("input").map(|input| Kinds { input, output: header("output").unwrap_or(0), ..Kinds::default() })
}

/// The first of these names that is a count.
fn first(usage: &Value, names: [&str; 2]) -> u64 {
    names.iter().find_map(|name| usage[*name].as_u64()).unwrap_or(0)
}

/// Parts stand inside their wholes; a part that is larger stands beside it where the total says so, else it is cut.
fn openai(usage: &Value) -> Kinds {
    let total = count(&usage["total_tokens"]);
    let mut input = first(usage, ["prompt_tokens", "input_tokens"]);
    let mut output = first(usage, ["completion_tokens", "output_tokens"]);
    if usage["prompt_tokens"].is_null() && usage["input_tokens"].is_null() {
        input = total;
    }
    let both = input + output;
    let part = |whole: &mut u64, part: u64| match part > *whole && total >= both + part {
        true => part,
        false => {
            let part = part.min(*whole);
            *whole -= part;
            part
        }
    };
    let detail = |names: [&str; 2], name: &str| names.iter().find_map(|of| usage[*of][name].as_u64()).unwrap_or(0);
    let of_input = ["prompt_tokens_details", "input_tokens_details"];
    let of_output = ["completion_tokens_details", "output_tokens_details"];
    let cached = part(&mut input, detail(of_input, "cached_tokens"));
    let written = part(&mut input, detail(of_input, "cache_write_tokens"));
    let heard = part(&mut input, detail(of_input, "audio_tokens"));
    let reasoning = part(&mut output, detail(of_output, "reasoning_tokens"));
    let spoken = part(&mut output, detail(of_output, "audio_tokens"));
    Kinds { input, cached, written, heard, output, reasoning, spoken, ..Kinds::default() }
}

/// Cache counts stand outside the input.
fn anthropic(usage: &Value) -> Kinds {
    let hour = count(&usage["cache_creation"]["ephemeral_1h_input_tokens"]);
    let reasoning = count(&usage["output_tokens_details"]["thinking_tokens"]);
    Kinds {
        input: count(&usage["input_tokens"]),
        cached: count(&usage["cache_read_input_tokens"]),
        written: count(&usage["cache_creation_input_tokens"]).saturating_sub(hour),
        written_1h: hour,
        output: count(&usage["output_tokens"]) - reasoning,
        reasoning,
        ..Kinds::default()
    }
}

/// Thoughts stand beside the output, what tools put in beside the input, the cache inside it.
fn gemini(usage: &Value) -> Kinds {
    let audio = |details: &str| -> u64 {
        let list = usage[details].as_array().into_iter().flatten();
        list.filter(|d| d["modality"] == "AUDIO" || d["modality"] == 4).map(|d| count(&d["tokenCount"])).sum()
    };
    let cached = count(&usage["cachedContentTokenCount"]);
    let heard = audio("promptTokensDetails") + audio("toolUsePromptTokensDetails") - audio("cacheTokensDetails");
    let spoken = audio("candidatesTokensDetails");
    Kinds {
        input: count(&usage["promptTokenCount"]) + count(&usage["toolUsePromptTokenCount"]) - cached - heard,
        cached,
        heard,
        output: count(&usage["candidatesTokenCount"]) - spoken,
        reasoning: count(&usage["thoughtsTokenCount"]),
        spoken,
        ..Kinds::default()
    }
}

fn bedrock(usage: &Value) -> Kinds {
    Kinds {
        input: count(&usage["inputTokens"]),
        cached: count(&usage["cacheReadInputTokens"]),
        written: count(&usage["cacheWriteInputTokens"]),
        output: count(&usage["outputTokens"]),
        ..Kinds::default()
    }
}

/// What is billed counts; of the cache, at most what is billed.
fn cohere(usage: &Value) -> Kinds {
    let billed = &usage["billed_units"];
    let (input, output) = (count(&billed["input_tokens"]), count(&billed["output_tokens"]));
    let cached = count(&usage["cached_tokens"]).min(input);
    let reasoning = count(&usage["tokens"]["reasoning_tokens"]).min(output);
    let searches = count(&billed["search_units"]);
    Kinds { input: input - cached, cached, searches, output: output - reasoning, reasoning, ..Kinds::default() }
}

//! What `sim` says: the same words for the same question, counted truly.

use serde_json::{Map, Value, json};

use super::script::Told;
use super::{Asked, CREATED};

/// Words of a made-up answer, some beyond ASCII: three, four and two bytes a letter.
const WORDS: [&str; 16] = [
    "the",
    "gate",
    "counts",
    "every",
    "token",
    "für",
    "alle",
    "calls",
    "and",
    "keeps",
    "日本語",
    "a",
    "receipt",
    "🙂",
    "of",
    "it",
];
/// Tokens of an answer where nobody says how many.
const TOKENS: u64 = 16;

/// A chat answer before it is written as JSON or as events.
pub struct Chat {
    pub id: String,
    /// One token each.
    pub words: Vec<String>,
    pub tool: Option<Tool>,
    pub finish: String,
    pub choices: u64,
    pub prompt_tokens: u64,
    pub told: Told,
}

/// A call of the first tool that was offered.
pub struct Tool {
    pub name: String,
    pub arguments: String,
}

/// About four bytes a token, at least one.
fn tokens_of(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4).max(1)
}

impl Chat {
    pub fn of(asked: &Asked) -> Chat {
        let (body, script) = (&asked.body, &asked.script);
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let last = messages.last().cloned().unwrap_or_default();
        let prompt_bytes: usize = messages.iter().map(|m| words_of(&m["content"]).len() + 4).sum();
        let tool = tool(body, &last, script.tool);
        let json = json_answer(&body["response_format"]);
        let mut words: Vec<String> = match (&tool, json, script.bytes) {
            (Some(_), ..) => Vec::new(),
            (None, Some(text), _) => pieces(&text),
            (None, None, Some(bytes)) => {
                "filler ".repeat(bytes as usize / 7 + 1).split_inclusive(' ').map(str::to_owned).collect()
            }
            (None, None, None) => spoken(&words_of(&last["content"]), script.tokens),
        };
        let asked_max = ["max_completion_tokens", "max_tokens"].iter().filter_map(|n| body[n].as_u64()).min();
        let cut = asked_max.filter(|max| (words.len() as u64) > *max);
        if let Some(max) = cut {
            words.truncate(max as usize);
        }
        let finish = match (&script.finish, &tool, cut) {
            (Some(reason), ..) => reason.as_str(),
            (None, Some(_), _) => "tool_calls",
            (None, None, Some(_)) => "length",
            (None, None, None) => "stop",
        };
        Chat {
            id: format!("chatcmpl-sim{:012}", asked.number),
            words,
            tool,
            finish: finish.to_owned(),
            choices: body["n"].as_u64().unwrap_or(1).clamp(1, 16),
            prompt_tokens: tokens_of(prompt_bytes),
            told: script.usage,
        }
    }

    /// The usage as it is told; `None` = the member is left out.
    pub fn usage(&self) -> Option<Value> {
        let tool = self.tool.as_ref().map_or(0, |t| tokens_of(t.arguments.len() + t.name.len()));
        let output = (self.words.len() as u64 + tool) * self.choices;
        let (input, output) = match self.told {
            Told::Truth => (self.prompt_tokens, output),
            Told::Wrong => (self.prompt_tokens + 100, output + 100),
            Told::Zero => (0, 0),
            Told::Absent => return None,
            Told::Null => return Some(Value::Null),
        };
        Some(json!({
            "prompt_tokens": input,
            "completion_tokens": output,
            "total_tokens": input + output,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0 },
        }))
    }

    /// The whole answer.
    pub fn json(&self, model: &str) -> Value {
        let message = match &self.tool {
            Some(tool) => json!({ "role": "assistant", "content": null, "refusal": null, "tool_calls": [{
                "id": self.tool_id(), "type": "function", "function": { "name": tool.name, "arguments": tool.arguments },
            }] }),
            None => json!({ "role": "assistant", "content": self.words.concat(), "refusal": null, "annotations": [] }),
        };
        let choices: Vec<Value> = (0..self.choices)
            .map(|n| json!({ "index": n, "message": message, "logprobs": null, "finish_reason": self.finish }))
            .collect();
        let mut answer = json!({
            "id": self.id, "object": "chat.completion", "created": CREATED, "model": model, "choices": choices,
            "service_tier": "default", "system_fingerprint": "fp_sim",
        });
        if let Some(usage) = self.usage() {
            answer["usage"] = usage;
        }
        answer
    }

    pub fn tool_id(&self) -> String {
        format!("call_{:0>24}", &self.id[12..])
    }
}

/// The models that `sim` lists.
pub fn models() -> Value {
    let model = |id: &str| json!({ "id": id, "object": "model", "created": CREATED, "owned_by": "sim" });
    let list = ["sim-1", "sim-large", "sim-small", "sim-embed"].map(model);
    json!({ "object": "list", "data": list })
}

/// The text of a message's content: a string, or parts.
fn words_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

/// An answer that begins with the question's first words and goes on as long as it was told to.
fn spoken(question: &str, tokens: Option<u64>) -> Vec<String> {
    let echo: Vec<&str> = question.split_whitespace().take(6).collect();
    let begin = ["sim:"].into_iter().chain(echo);
    let all = begin.chain(WORDS.into_iter().cycle());
    let wanted = tokens.unwrap_or(TOKENS) as usize;
    all.take(wanted).enumerate().map(|(n, word)| if n == 0 { word.to_owned() } else { format!(" {word}") }).collect()
}

fn pieces(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(4).map(|piece| piece.iter().collect()).collect()
}

/// A tool call, where one is asked for: by `tool_choice`, by the script, or by a question that names a tool.
fn tool(body: &Value, last: &Value, scripted: bool) -> Option<Tool> {
    let tools = body["tools"].as_array().filter(|t| !t.is_empty())?;
    if last["role"] == "tool" || body["tool_choice"] == "none" {
        return None;
    }
    let named = body["tool_choice"]["function"]["name"].as_str();
    let question = words_of(&last["content"]);
    let mentioned = || tools.iter().find(|t| t["function"]["name"].as_str().is_some_and(|n| question.contains(n)));
    let chosen = match (named, body["tool_choice"] == "required" || scripted) {
        (Some(name), _) => tools.iter().find(|t| t["function"]["name"] == name),
        (None, true) => mentioned().or(tools.first()),
        (None, false) => mentioned(),
    }?;
    let function = &chosen["function"];
    let arguments = example(&function["parameters"], 0);
    Some(Tool { name: function["name"].as_str()?.to_owned(), arguments: arguments.to_string() })
}

fn json_answer(format: &Value) -> Option<String> {
    match format["type"].as_str()? {
        "json_schema" => Some(example(&format["json_schema"]["schema"], 0).to_string()),
        "json_object" => Some(r#"{"answer":"sim"}"#.to_owned()),
        _ => None,
    }
}

/// The smallest value that fits a JSON schema.
fn example(schema: &Value, depth: usize) -> Value {
    if depth > 16 {
        return Value::Null;
    }
    if let Some(first) = schema["enum"].as_array().and_then(|e| e.first()) {
        return first.clone();
    }
    if let Some(first) = schema["anyOf"].as_array().and_then(|a| a.first()) {
        return example(first, depth + 1);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].as_array().and_then(|t| t.first()?.as_str()));
    match kind.unwrap_or("object") {
        "string" => "sim".into(),
        "integer" | "number" => schema["minimum"].as_i64().unwrap_or(1).into(),
        "boolean" => true.into(),
        "array" => json!([example(&schema["items"], depth + 1)]),
        "null" => Value::Null,
        _ => {
            let members = schema["properties"].as_object().cloned().unwrap_or_default();
            let filled = members.iter().map(|(name, inner)| (name.clone(), example(inner, depth + 1)));
            Value::Object(filled.collect::<Map<_, _>>())
        }
    }
}

//! What `sim` says: the same words for the same question, counted truly. How it is said is each dialect's.

use serde_json::{Map, Value, json};
use tollgate_core::contract::usage::Usage;

use super::CREATED;
use super::question::{Choice, Question};
use super::script::{Script, Told};

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
/// What it thinks where it is asked to think: a token each.
const THOUGHTS: [&str; 4] = ["sim", " thinks", " of", " this"];
/// References inside a schema may lead in a circle.
const SCHEMA_DEPTH_MAX: usize = 16;

/// An answer before it is said in any dialect.
pub struct Chat {
    /// The number of the request: ids come from it.
    pub number: u64,
    pub thoughts: Vec<&'static str>,
    /// One token each.
    pub words: Vec<String>,
    pub tool: Option<Tool>,
    /// As OpenAI's chat names it.
    pub finish: String,
    pub choices: u64,
    pub prompt_tokens: u64,
    pub told: Told,
}

/// A call of a tool that was offered.
pub struct Tool {
    pub name: String,
    pub arguments: String,
}

/// About four bytes a token, at least one.
pub fn tokens_of(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4).max(1)
}

impl Chat {
    pub fn of(question: &Question, script: &Script, number: u64) -> Chat {
        let tool = tool(question, script.tool);
        let mut words: Vec<String> = match (&tool, &question.format, script.bytes) {
            (Some(_), ..) => Vec::new(),
            (None, Some(schema), _) => pieces(&json_answer(schema.as_ref())),
            (None, None, Some(bytes)) => {
                "filler ".repeat(bytes as usize / 7 + 1).split_inclusive(' ').map(str::to_owned).collect()
            }
            (None, None, None) => spoken(&question.last, script.tokens),
        };
        let cut = question.max_tokens.filter(|max| (words.len() as u64) > *max);
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
            number,
            thoughts: if question.thinks { THOUGHTS.to_vec() } else { Vec::new() },
            words,
            tool,
            finish: finish.to_owned(),
            choices: question.n,
            prompt_tokens: tokens_of(question.prompt_bytes),
            told: script.usage,
        }
    }

    /// What it used, in truth.
    fn used(&self) -> Usage {
        let tool = self.tool.as_ref().map_or(0, |t| tokens_of(t.arguments.len() + t.name.len()));
        Usage {
            input: self.prompt_tokens,
            output: (self.words.len() as u64 + tool) * self.choices,
            reasoning: self.thoughts.len() as u64 * self.choices,
            ..Usage::default()
        }
    }

    /// What is told of it; `None` = nothing.
    pub fn usage(&self) -> Option<Usage> {
        let used = self.used();
        match self.told {
            Told::Truth => Some(used),
            Told::Wrong => Some(Usage { input: used.input + 100, output: used.output + 100, ..used }),
            Told::Zero => Some(Usage::default()),
            Told::Absent | Told::Null => None,
        }
    }

    /// The same as OpenAI's chat tells it; `None` = the member is left out.
    pub fn usage_json(&self) -> Option<Value> {
        if self.told == Told::Null {
            return Some(Value::Null);
        }
        let usage = self.usage()?;
        Some(json!({
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output_all(),
            "total_tokens": usage.total(),
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": usage.reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0 },
        }))
    }
}

/// The models that `sim` lists.
pub fn models() -> Value {
    let model = |id: &str| json!({ "id": id, "object": "model", "created": CREATED, "owned_by": "sim" });
    let list = ["sim-1", "sim-large", "sim-small", "sim-embed"].map(model);
    json!({ "object": "list", "data": list })
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

/// A tool call, where one is asked for: by the choice, by the script, or by a question that names a tool.
fn tool(question: &Question, scripted: bool) -> Option<Tool> {
    if question.answers_tool || question.choice == Choice::None {
        return None;
    }
    let mentioned = || question.tools.iter().find(|tool| question.last.contains(&tool.name));
    let chosen = match (&question.choice, scripted) {
        (Choice::Named(name), _) => question.tools.iter().find(|tool| tool.name == *name),
        (Choice::Required, _) | (Choice::Free, true) => mentioned().or(question.tools.first()),
        (Choice::Free, false) => mentioned(),
        (Choice::None, _) => None,
    }?;
    let arguments = example(&chosen.schema, &chosen.schema, 0);
    Some(Tool { name: chosen.name.clone(), arguments: arguments.to_string() })
}

fn json_answer(schema: Option<&Value>) -> String {
    match schema {
        Some(schema) => example(schema, schema, 0).to_string(),
        None => r#"{"answer":"sim"}"#.to_owned(),
    }
}

/// The smallest value that fits a JSON schema. References are looked up in the whole of it.
fn example(schema: &Value, whole: &Value, depth: usize) -> Value {
    if depth > SCHEMA_DEPTH_MAX {
        return Value::Null;
    }
    let inner = |schema: &Value| example(schema, whole, depth + 1);
    if let Some(known) = schema["$ref"].as_str().and_then(|path| whole.pointer(path.strip_prefix('#')?)) {
        return inner(known);
    }
    let first = |name: &str| schema[name].as_array().and_then(|list| list.first());
    if let Some(only) = schema.get("const").or_else(|| first("enum")) {
        return only.clone();
    }
    if let Some(one) = first("anyOf").or_else(|| first("oneOf")).or_else(|| first("allOf")) {
        return inner(one);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].as_array().and_then(|t| t.first()?.as_str()));
    match kind.unwrap_or("object") {
        "string" => "sim".into(),
        "integer" | "number" => schema["minimum"].as_i64().unwrap_or(1).into(),
        "boolean" => true.into(),
        "array" => json!([inner(&schema["items"])]),
        "null" => Value::Null,
        _ => {
            let members = schema["properties"].as_object().cloned().unwrap_or_default();
            let filled = members.iter().map(|(name, schema)| (name.clone(), inner(schema)));
            Value::Object(filled.collect::<Map<_, _>>())
        }
    }
}

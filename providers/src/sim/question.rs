//! What `sim` looks at in a request, whatever dialect it came in.

use serde_json::Value;
use tollgate_core::contract::canonical::part::{Kind, Message, Part, ToolResult};
use tollgate_core::contract::canonical::{Format, ReasoningAsk, Request, Tool, ToolChoice};

#[derive(Debug, Default)]
pub struct Question {
    /// The text of the last message.
    pub last: String,
    /// It holds the result of a tool.
    pub answers_tool: bool,
    /// Of all texts, and some for each message.
    pub prompt_bytes: usize,
    pub tools: Vec<Offered>,
    pub choice: Choice,
    /// A JSON answer, and the schema that it must fit where there is one.
    pub format: Option<Option<Value>>,
    pub max_tokens: Option<u64>,
    pub n: u64,
    /// Thoughts are wanted before the answer.
    pub thinks: bool,
}

#[derive(Debug)]
pub struct Offered {
    pub name: String,
    pub schema: Value,
}

/// Must a tool be called?
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Choice {
    #[default]
    Free,
    None,
    Required,
    Named(String),
}

/// What a message costs beyond its text.
const MESSAGE_BYTES: usize = 4;
const ANSWERS_MAX: u64 = 16;

impl Question {
    /// A body of OpenAI's chat, read leniently: what it does not know it passes over.
    pub fn of_chat(body: &Value) -> Question {
        let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let last = messages.last();
        let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(|tool| {
            let function = &tool["function"];
            Some(Offered { name: function["name"].as_str()?.to_owned(), schema: function["parameters"].clone() })
        });
        let choice = match &body["tool_choice"] {
            Value::String(word) if word == "none" => Choice::None,
            Value::String(word) if word == "required" => Choice::Required,
            other => other["function"]["name"].as_str().map_or(Choice::Free, |name| Choice::Named(name.to_owned())),
        };
        let format = &body["response_format"];
        Question {
            last: last.map(|m| words_of(&m["content"])).unwrap_or_default(),
            answers_tool: last.is_some_and(|m| m["role"] == "tool"),
            prompt_bytes: messages.iter().map(|m| words_of(&m["content"]).len() + MESSAGE_BYTES).sum(),
            tools: tools.collect(),
            choice,
            format: match format["type"].as_str() {
                Some("json_schema") => Some(Some(format["json_schema"]["schema"].clone())),
                Some("json_object") => Some(None),
                Some(_) | None => None,
            },
            max_tokens: ["max_completion_tokens", "max_tokens"].iter().filter_map(|n| body[n].as_u64()).min(),
            n: answers(body["n"].as_u64()),
            thinks: false,
        }
    }

    /// A request of any dialect, as its codec read it.
    pub fn of(request: &Request<'_>) -> Question {
        let tools = request.tools.iter().filter_map(|tool| match tool {
            Tool::Function(function) => {
                let schema = function.parameters.and_then(|raw| serde_json::from_str(raw.get()).ok());
                Some(Offered { name: function.name.to_string(), schema: schema.unwrap_or_default() })
            }
            // Nobody runs them here.
            Tool::Native { .. } => None,
        });
        let choice = match &request.tool_choice {
            None | Some(ToolChoice::Auto) => Choice::Free,
            Some(ToolChoice::None) => Choice::None,
            Some(ToolChoice::Required) => Choice::Required,
            Some(ToolChoice::Named(name)) => Choice::Named(name.to_string()),
            Some(ToolChoice::Among { names, required: true }) => {
                names.first().map_or(Choice::Required, |name| Choice::Named(name.to_string()))
            }
            Some(ToolChoice::Among { required: false, .. }) => Choice::Free,
        };
        Question {
            last: request.messages.last().map(text_of).unwrap_or_default(),
            answers_tool: request.messages.last().is_some_and(|m| m.parts.iter().any(|p| result(p).is_some())),
            prompt_bytes: request.messages.iter().map(|m| text_of(m).len() + MESSAGE_BYTES).sum(),
            tools: tools.collect(),
            choice,
            format: match &request.format {
                None => None,
                Some(Format::Json) => Some(None),
                Some(Format::Schema { schema, .. }) => Some(serde_json::from_str(schema.get()).ok()),
            },
            max_tokens: request.max_tokens,
            n: answers(request.n),
            thinks: request.reasoning.as_ref().is_some_and(thinks),
        }
    }
}

fn answers(n: Option<u64>) -> u64 {
    n.unwrap_or(1).clamp(1, ANSWERS_MAX)
}

/// Is thinking asked for, rather than forbidden?
fn thinks(asked: &ReasoningAsk<'_>) -> bool {
    let by_effort = asked.effort.as_deref().is_some_and(|effort| effort != "none");
    by_effort || asked.adaptive || asked.budget_tokens.is_some_and(|tokens| tokens > 0)
}

/// The text of a content of OpenAI's: a string, or parts.
fn words_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

fn text_of(message: &Message<'_>) -> String {
    texts(&message.parts).join(" ")
}

fn texts<'m>(parts: &'m [Part<'_>]) -> Vec<&'m str> {
    let of = |part: &'m Part<'_>| match result(part) {
        Some(result) => texts(&result.parts),
        None => part.as_text().into_iter().collect(),
    };
    parts.iter().flat_map(of).collect()
}

fn result<'m, 'a>(part: &'m Part<'a>) -> Option<&'m ToolResult<'a>> {
    match &part.kind {
        Kind::ToolResult(result) => Some(result),
        Kind::Text { .. }
        | Kind::Refusal(_)
        | Kind::Media(_)
        | Kind::ToolCall(_)
        | Kind::Reasoning(_)
        | Kind::Native { .. } => None,
    }
}

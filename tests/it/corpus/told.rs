//! What an answer tells, read from each dialect with that dialect's own expectations: its words, calls, end and usage.

use serde_json::Value;

use super::asked::squeezed;
use super::exchange::{Exchange, Talk};
use super::usage::Kinds;
use super::{frames, streams};

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Told {
    pub text: String,
    pub reasoning: String,
    pub calls: Vec<Call>,
    /// `stop`, `length`, `tool_calls`, `content_filter`, or the provider's own word.
    pub finish: String,
    pub usage: Option<Kinds>,
    /// It broke off with an error, inside a stream that had begun.
    pub failed: bool,
    /// It has parts that only its own dialect knows.
    pub native: bool,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Call {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

/// A recorded answer, whole or streamed.
pub fn recorded(exchange: &Exchange) -> Result<Told, String> {
    let talk = exchange.talk().ok_or("no conversation")?;
    let kind = exchange.answer.headers.iter().find(|(n, _)| n == "content-type").map_or("", |(_, v)| v.as_str());
    match exchange.stream {
        true => streamed(talk, kind, &exchange.answer.body, false),
        false => whole(talk, &exchange.json),
    }
}

/// A stream; `strict` = it must be formed as its dialect's clients expect it.
pub fn streamed(talk: Talk, content_type: &str, body: &[u8], strict: bool) -> Result<Told, String> {
    let frames = frames::cut(content_type, body)?;
    let mut told = streams::read(talk, &frames, strict)?;
    finished(&mut told);
    Ok(told)
}

pub fn whole(talk: Talk, body: &Value) -> Result<Told, String> {
    let mut told = match talk {
        Talk::Chat => chat(body)?,
        Talk::Responses => responses(body)?,
        Talk::Messages => messages(body)?,
        Talk::Gemini => gemini(body)?,
        Talk::Bedrock => bedrock(body)?,
        Talk::Cohere => cohere(body)?,
        Talk::Ollama => ollama(body)?,
    };
    finished(&mut told);
    Ok(told)
}

/// One spelling for what is compared.
fn finished(told: &mut Told) {
    told.text = squeezed(&told.text);
    told.reasoning = squeezed(&told.reasoning);
    for call in &mut told.calls {
        if call.arguments.trim().is_empty() {
            call.arguments = "{}".to_owned();
        }
        if let Ok(json) = serde_json::from_str::<Value>(&call.arguments) {
            call.arguments = json.to_string();
        }
    }
    told.finish = finish(&told.finish, !told.calls.is_empty());
}

/// The reasons to end, in one spelling.
fn finish(reason: &str, calls: bool) -> String {
    match reason.to_ascii_lowercase().as_str() {
        "stop" | "end_turn" | "complete" | "completed" | "stop_sequence" | "eos" | "load" | "unload" if !calls => {
            "stop"
        }
        // A forced call ends in `stop` with some.
        "stop" | "end_turn" | "complete" | "completed" | "tool_calls" | "tool_use" | "tool_call" | "function_call" => {
            "tool_calls"
        }
        "length" | "max_tokens" | "max_output_tokens" | "incomplete" | "model_length" => "length",
        "content_filter"
        | "safety"
        | "guardrail_intervened"
        | "content_filtered"
        | "prohibited_content"
        | "refusal"
        | "blocklist"
        | "recitation"
        | "spii"
        | "image_safety" => "content_filter",
        other => return other.to_owned(),
    }
    .to_owned()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn object<'a>(body: &'a Value, member: &str) -> Result<&'a Value, String> {
    body.get(member).filter(|v| !v.is_null()).ok_or_else(|| format!("it has no `{member}`: {body}"))
}

/// The parts of OpenAI's and Cohere's messages, whole or a piece of one.
pub fn message(told: &mut Told, message: &Value) {
    told.text.push_str(text(&message["content"]));
    for part in items(&message["content"]) {
        told.text.push_str(text(&part["text"]));
        told.reasoning.push_str(text(&part["thinking"]));
        items(&part["thinking"]).for_each(|t| told.reasoning.push_str(text(&t["text"])));
    }
    told.text.push_str(text(&message["refusal"]));
    for name in ["reasoning_content", "reasoning", "thinking", "tool_plan"] {
        let words = text(&message[name]);
        if !words.is_empty() {
            told.reasoning.push_str(words);
            break;
        }
    }
}

pub fn call(id: &Value, name: &Value, arguments: &Value) -> Call {
    let arguments = match arguments {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        json => json.to_string(),
    };
    Call { id: text(id).to_owned(), name: text(name).to_owned(), arguments }
}

fn chat(body: &Value) -> Result<Told, String> {
    let choice = items(object(body, "choices")?).next().ok_or("it has no choice")?;
    let mut told = Told { finish: text(&choice["finish_reason"]).to_owned(), ..Told::default() };
    message(&mut told, &choice["message"]);
    for c in items(&choice["message"]["tool_calls"]) {
        if c["type"] == "custom" {
            told.native = true;
            continue;
        }
        told.calls.push(call(&c["id"], &c["function"]["name"], &c["function"]["arguments"]));
    }
    let legacy = &choice["message"]["function_call"];
    if legacy["name"].as_str().is_some_and(|name| !name.is_empty()) {
        told.calls.push(call(&Value::Null, &legacy["name"], &legacy["arguments"]));
    }
    told.usage = Kinds::told(Some(Talk::Chat), &body["usage"]);
    Ok(told)
}

/// What goes to a tool of free text goes to a function as its one argument.
pub fn custom(item: &Value) -> Call {
    call(&item["call_id"], &item["name"], &serde_json::json!({ "input": item["input"] }))
}

pub fn responses(body: &Value) -> Result<Told, String> {
    let mut told = Told::default();
    for item in items(object(body, "output")?) {
        match text(&item["type"]) {
            "message" => {
                for part in items(&item["content"]) {
                    told.text.push_str(text(&part["text"]));
                    told.text.push_str(text(&part["refusal"]));
                }
            }
            "function_call" => told.calls.push(call(&item["call_id"], &item["name"], &item["arguments"])),
            "custom_tool_call" => told.calls.push(custom(item)),
            "reasoning" => {
                for part in items(&item["summary"]).chain(items(&item["content"])) {
                    told.reasoning.push_str(text(&part["text"]));
                }
            }
            _ => told.native = true,
        }
    }
    let reason = text(&body["incomplete_details"]["reason"]);
    told.finish = if reason.is_empty() { text(&body["status"]).to_owned() } else { reason.to_owned() };
    told.usage = Kinds::told(Some(Talk::Responses), &body["usage"]);
    Ok(told)
}

fn messages(body: &Value) -> Result<Told, String> {
    let mut told = Told { finish: text(&body["stop_reason"]).to_owned(), ..Told::default() };
    for block in items(object(body, "content")?) {
        match text(&block["type"]) {
            "text" => told.text.push_str(text(&block["text"])),
            "thinking" => told.reasoning.push_str(text(&block["thinking"])),
            "tool_use" => told.calls.push(call(&block["id"], &block["name"], &block["input"])),
            "redacted_thinking" => {}
            _ => told.native = true,
        }
    }
    told.usage = Kinds::told(Some(Talk::Messages), &body["usage"]);
    Ok(told)
}

/// A piece of a member of a call's arguments; the recordings have texts only, and no member within another.
fn gathered(arguments: &mut String, piece: &Value) {
    let mut all: Value = serde_json::from_str(arguments).unwrap_or_else(|_| serde_json::json!({}));
    let member = &mut all[text(&piece["jsonPath"]).trim_start_matches("$.")];
    *member = Value::String(format!("{}{}", text(member), text(&piece["stringValue"])));
    *arguments = all.to_string();
}

/// Of a whole answer, or of one chunk.
pub fn gemini_parts(told: &mut Told, body: &Value) {
    let first = |c: &&Value| c["index"].as_u64().unwrap_or(0) == 0;
    let Some(candidate) = items(&body["candidates"]).find(first) else { return };
    for part in items(&candidate["content"]["parts"]) {
        let function = &part["functionCall"];
        if let (true, Value::Null, Some(last)) = (function.is_object(), &function["name"], told.calls.last_mut()) {
            items(&function["partialArgs"]).for_each(|piece| gathered(&mut last.arguments, piece));
        } else if function.is_object() {
            told.calls.push(call(&function["id"], &function["name"], &function["args"]));
        } else if part["thought"] == true {
            told.reasoning.push_str(text(&part["text"]));
        } else if part["text"].is_string() {
            told.text.push_str(text(&part["text"]));
        } else if part.as_object().is_some_and(|p| p.keys().any(|k| k != "thoughtSignature")) {
            told.native = true;
        }
    }
    // Older clients of Vertex ask for numbers.
    let by_number = ["", "stop", "max_tokens", "safety", "recitation", "other", "blocklist", "prohibited_content"];
    match &candidate["finishReason"] {
        Value::String(reason) => told.finish.clone_from(reason),
        Value::Number(n) => {
            let at = n.as_u64().unwrap_or(0) as usize;
            told.finish = by_number.get(at).unwrap_or(&"other").to_string();
        }
        _ => {}
    }
}

fn gemini(body: &Value) -> Result<Told, String> {
    let mut told = Told::default();
    gemini_parts(&mut told, body);
    if body["promptFeedback"]["blockReason"].is_string() {
        told.finish = "safety".to_owned();
    } else if body["candidates"].as_array().is_none_or(Vec::is_empty) {
        return Err(format!("it has no candidate: {body}"));
    }
    told.usage = Kinds::told(Some(Talk::Gemini), &body["usageMetadata"]);
    Ok(told)
}

fn bedrock(body: &Value) -> Result<Told, String> {
    let mut told = Told { finish: text(&body["stopReason"]).to_owned(), ..Told::default() };
    for block in items(&object(body, "output")?["message"]["content"]) {
        let Some((kind, block)) = block.as_object().and_then(|members| members.iter().next()) else { continue };
        match kind.as_str() {
            "text" => told.text.push_str(text(block)),
            // Run by the provider itself.
            "toolUse" if block["type"] == "server_tool_use" => told.native = true,
            "toolUse" => told.calls.push(call(&block["toolUseId"], &block["name"], &block["input"])),
            "reasoningContent" => told.reasoning.push_str(text(&block["reasoningText"]["text"])),
            "citationsContent" => items(&block["content"]).for_each(|part| told.text.push_str(text(&part["text"]))),
            _ => told.native = true,
        }
    }
    told.usage = Kinds::told(Some(Talk::Bedrock), &body["usage"]);
    Ok(told)
}

fn cohere(body: &Value) -> Result<Told, String> {
    let mut told = Told { finish: text(&body["finish_reason"]).to_owned(), ..Told::default() };
    message(&mut told, object(body, "message")?);
    for c in items(&body["message"]["tool_calls"]) {
        told.calls.push(call(&c["id"], &c["function"]["name"], &c["function"]["arguments"]));
    }
    told.usage = Kinds::told(Some(Talk::Cohere), &body["usage"]);
    Ok(told)
}

fn ollama(body: &Value) -> Result<Told, String> {
    let mut told = Told { finish: text(&body["done_reason"]).to_owned(), ..Told::default() };
    message(&mut told, object(body, "message")?);
    for c in items(&body["message"]["tool_calls"]) {
        told.calls.push(call(&c["id"], &c["function"]["name"], &c["function"]["arguments"]));
    }
    told.usage = Kinds::told(Some(Talk::Ollama), body);
    Ok(told)
}

//! What a stream tells, read in each dialect as its clients gather it; strictly, where the gateway wrote it.

use serde_json::Value;

use super::exchange::Talk;
use super::frames::Frame;
use super::told::{Call, Told, call, custom, gemini_parts, items, message, responses, text};
use super::usage::Kinds;

pub fn read(talk: Talk, frames: &[Frame], strict: bool) -> Result<Told, String> {
    let mut told = Told::default();
    match talk {
        Talk::Chat => chat(&mut told, frames, strict),
        Talk::Responses => return gathered(frames, strict),
        Talk::Messages => messages(&mut told, frames, strict),
        Talk::Gemini => gemini(&mut told, frames, strict),
        Talk::Bedrock => bedrock(&mut told, frames, strict),
        Talk::Cohere => cohere(&mut told, frames, strict),
        Talk::Ollama => ollama(&mut told, frames, strict),
    }?;
    Ok(told)
}

/// A rule of a dialect's streams that only holds what the gateway wrote.
fn must(strict: bool, holds: bool, rule: &str) -> Result<(), String> {
    if strict && !holds { Err(format!("the stream is not well formed: {rule}")) } else { Ok(()) }
}

fn is_done(frame: &Frame) -> bool {
    frame.data == "[DONE]"
}

fn chat(told: &mut Told, frames: &[Frame], strict: bool) -> Result<(), String> {
    let mut at: Vec<(Option<u64>, usize)> = Vec::new();
    let mut ids: Vec<&str> = Vec::new();
    for frame in frames.iter().filter(|f| !is_done(f)) {
        let data = &frame.data;
        if !data["error"].is_null() || frame.name == "error" {
            told.failed = true;
            continue;
        }
        ids.push(text(&data["id"]));
        must(strict, data["object"] == "chat.completion.chunk" && data["choices"].is_array(), "chunks are chunks")?;
        for usage in [&data["x_groq"]["usage"], &data["usage"]] {
            told.usage = Kinds::told(Some(Talk::Chat), usage).or(told.usage);
        }
        for choice in items(&data["choices"]).filter(|c| c["index"].as_u64().unwrap_or(0) == 0) {
            let delta = &choice["delta"];
            message(told, delta);
            for piece in items(&delta["tool_calls"]) {
                let (index, function) = (piece["index"].as_u64(), &piece["function"]);
                let known = at.iter().find(|(known, _)| index.is_some() && *known == index).map(|(_, at)| *at);
                let new = call(&piece["id"], &function["name"], &function["arguments"]);
                match known {
                    Some(at) => told.calls[at].arguments.push_str(&new.arguments),
                    None => {
                        must(strict, !new.id.is_empty() && !new.name.is_empty(), "a call opens with id and name")?;
                        at.push((index, told.calls.len()));
                        told.calls.push(new);
                    }
                }
            }
            if let Some(reason) = choice["finish_reason"].as_str() {
                must(strict, told.finish.is_empty(), "an answer ends once")?;
                reason.clone_into(&mut told.finish);
            }
        }
    }
    must(strict, ids.iter().all(|id| !id.is_empty() && *id == ids[0]), "all chunks have one id")?;
    must(strict, told.failed || frames.last().is_some_and(is_done), "it ends with `[DONE]`")
}

/// The last event holds the whole answer; the pieces before it must add up to that.
fn gathered(frames: &[Frame], strict: bool) -> Result<Told, String> {
    let (mut pieces, mut thoughts, mut calls, mut number) = (String::new(), String::new(), Vec::new(), None);
    let mut told = Told::default();
    for frame in frames.iter().filter(|f| !is_done(f)) {
        let data = &frame.data;
        let now = data["sequence_number"].as_u64();
        must(strict, now.is_some() && (number.is_none() || now > number), "sequence numbers rise")?;
        must(strict, frame.name == text(&data["type"]), "events have their type's name")?;
        number = now;
        match text(&data["type"]) {
            "response.output_text.delta" | "response.refusal.delta" => pieces.push_str(text(&data["delta"])),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                thoughts.push_str(text(&data["delta"]));
            }
            "response.output_item.done" if data["item"]["type"] == "function_call" => {
                calls.push(call(&data["item"]["call_id"], &data["item"]["name"], &data["item"]["arguments"]));
            }
            "response.output_item.done" if data["item"]["type"] == "custom_tool_call" => {
                calls.push(custom(&data["item"]))
            }
            "response.completed" | "response.incomplete" => {
                told = responses(&data["response"])?;
                must(strict, told.text == pieces, "its pieces are its text")?;
                must(strict, told.calls == calls, "its calls are its items")?;
                must(strict, told.reasoning == thoughts, "its thoughts are its pieces")?;
            }
            "error" | "response.failed" => told.failed = true,
            _ => told.failed |= frame.name == "error",
        }
    }
    if told.text.is_empty() && told.calls.is_empty() {
        (told.text, told.calls, told.reasoning) = (pieces, calls, thoughts);
    }
    must(
        strict,
        frames.first().is_some_and(|f| f.data["type"] == "response.created" || told.failed),
        "it is created first",
    )?;
    must(strict, told.failed || !told.finish.is_empty(), "it ends")?;
    Ok(told)
}

fn messages(told: &mut Told, frames: &[Frame], strict: bool) -> Result<(), String> {
    let mut usage = serde_json::Map::new();
    let mut open: Option<(u64, Option<usize>)> = None;
    let mut last = "";
    for frame in frames {
        let data = &frame.data;
        let kind = text(&data["type"]);
        must(strict, frame.name == kind, "events have their type's name")?;
        let mut overlay = |more: &Value| {
            usage.extend(more.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        };
        match kind {
            "message_start" => overlay(&data["message"]["usage"]),
            "content_block_start" => {
                must(strict, open.is_none(), "one block is open at a time")?;
                let block = &data["content_block"];
                let mut at = None;
                match text(&block["type"]) {
                    "tool_use" => {
                        at = Some(told.calls.len());
                        told.calls.push(Call {
                            id: text(&block["id"]).to_owned(),
                            name: text(&block["name"]).to_owned(),
                            ..Call::default()
                        });
                    }
                    "text" => told.text.push_str(text(&block["text"])),
                    "thinking" => told.reasoning.push_str(text(&block["thinking"])),
                    "redacted_thinking" => {}
                    _ => told.native = true,
                }
                open = Some((data["index"].as_u64().ok_or("a block without index")?, at));
            }
            "content_block_delta" => {
                let (index, at) = open.ok_or("a piece of no block")?;
                must(strict, data["index"] == index, "pieces are of the open block")?;
                let delta = &data["delta"];
                told.text.push_str(text(&delta["text"]));
                told.reasoning.push_str(text(&delta["thinking"]));
                if let Some(at) = at {
                    told.calls[at].arguments.push_str(text(&delta["partial_json"]));
                }
            }
            "content_block_stop" => open = None,
            "message_delta" => {
                must(strict, open.is_none(), "blocks end before the message")?;
                overlay(&data["usage"]);
                text(&data["delta"]["stop_reason"]).clone_into(&mut told.finish);
            }
            "error" => told.failed = true,
            _ => {}
        }
        last = kind;
    }
    told.usage = Kinds::told(Some(Talk::Messages), &Value::Object(usage));
    let first = frames.first().map(|f| text(&f.data["type"]));
    must(strict, first == Some("message_start") || told.failed, "it begins with its message")?;
    must(strict, last == "message_stop" || told.failed, "it ends with its message")
}

fn gemini(told: &mut Told, frames: &[Frame], strict: bool) -> Result<(), String> {
    for frame in frames {
        if !frame.data["error"].is_null() {
            told.failed = true;
            continue;
        }
        must(strict, told.finish.is_empty(), "nothing comes behind its end")?;
        gemini_parts(told, &frame.data);
        if frame.data["promptFeedback"]["blockReason"].is_string() {
            "safety".clone_into(&mut told.finish);
        }
        told.usage = Kinds::told(Some(Talk::Gemini), &frame.data["usageMetadata"]).or(told.usage);
    }
    must(strict, told.failed || !told.finish.is_empty(), "it ends with a reason")
}

fn bedrock(told: &mut Told, frames: &[Frame], strict: bool) -> Result<(), String> {
    let mut calls: Vec<(u64, usize)> = Vec::new();
    for frame in frames {
        let data = &frame.data;
        match frame.name.as_str() {
            // Run by the provider itself, with what came of it.
            "contentBlockStart" if data["start"]["toolUse"]["type"] == "server_tool_use" => told.native = true,
            "contentBlockStart" if data["start"]["toolResult"].is_object() => told.native = true,
            "contentBlockStart" => {
                let tool = &data["start"]["toolUse"];
                must(strict, tool.is_object(), "only calls open a block")?;
                if !tool.is_object() {
                    continue;
                }
                calls.push((data["contentBlockIndex"].as_u64().unwrap_or(0), told.calls.len()));
                told.calls.push(call(&tool["toolUseId"], &tool["name"], &Value::Null));
            }
            "contentBlockDelta" => {
                let delta = &data["delta"];
                told.text.push_str(text(&delta["text"]));
                told.reasoning.push_str(text(&delta["reasoningContent"]["text"]));
                let index = data["contentBlockIndex"].as_u64().unwrap_or(0);
                let at = calls.iter().rev().find(|(known, _)| *known == index).map(|(_, at)| *at);
                if let (Some(at), Some(piece)) = (at, delta["toolUse"]["input"].as_str()) {
                    told.calls[at].arguments.push_str(piece);
                }
            }
            "messageStop" => text(&data["stopReason"]).clone_into(&mut told.finish),
            "metadata" => told.usage = Kinds::told(Some(Talk::Bedrock), &data["usage"]),
            name if name.ends_with("Exception") => told.failed = true,
            _ => {}
        }
    }
    let (first, last) = (frames.first().map(|f| f.name.as_str()), frames.last().map(|f| f.name.as_str()));
    must(strict, told.failed || first == Some("messageStart"), "it begins with its message")?;
    must(strict, told.failed || last == Some("metadata"), "it ends with what was used")
}

fn cohere(told: &mut Told, frames: &[Frame], strict: bool) -> Result<(), String> {
    for frame in frames.iter().filter(|f| !is_done(f)) {
        let data = &frame.data;
        let said = &data["delta"]["message"];
        must(strict, frame.name == text(&data["type"]), "events have their type's name")?;
        match text(&data["type"]) {
            "content-start" | "content-delta" => {
                told.text.push_str(text(&said["content"]["text"]));
                told.reasoning.push_str(text(&said["content"]["thinking"]));
            }
            "tool-plan-delta" => told.reasoning.push_str(text(&said["tool_plan"])),
            "tool-call-start" => {
                let c = &said["tool_calls"];
                told.calls.push(call(&c["id"], &c["function"]["name"], &c["function"]["arguments"]));
            }
            "tool-call-delta" => {
                let open = told.calls.last_mut().ok_or("a piece of no call")?;
                open.arguments.push_str(text(&said["tool_calls"]["function"]["arguments"]));
            }
            "message-end" => {
                text(&data["delta"]["finish_reason"]).clone_into(&mut told.finish);
                told.failed |= data["delta"]["error"].is_string();
                told.usage = Kinds::told(Some(Talk::Cohere), &data["delta"]["usage"]);
            }
            _ => {}
        }
    }
    let first = frames.first().map(|f| text(&f.data["type"]));
    must(strict, told.failed || first == Some("message-start"), "it begins with its message")?;
    must(strict, !told.finish.is_empty(), "it ends with its message")
}

fn ollama(told: &mut Told, frames: &[Frame], strict: bool) -> Result<(), String> {
    for frame in frames {
        let data = &frame.data;
        if !data["error"].is_null() {
            told.failed = true;
            continue;
        }
        message(told, &data["message"]);
        for c in items(&data["message"]["tool_calls"]) {
            told.calls.push(call(&c["id"], &c["function"]["name"], &c["function"]["arguments"]));
        }
        if data["done"] == true {
            text(&data["done_reason"]).clone_into(&mut told.finish);
            told.usage = Kinds::told(Some(Talk::Ollama), data);
        }
    }
    must(strict, told.failed || frames.last().is_some_and(|f| f.data["done"] == true), "it ends with `done`")
}

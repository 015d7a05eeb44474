//! What comes back, as JSON schemas: answers, chunks of streams, refusals.
//!
//! An answer of a provider that speaks OpenAI's dialect passes as it came: what is said here holds for what the gateway
//! writes itself, and asks no more of the rest than clients need.

use serde_json::{Map, Value, json};
use tollgate_core::contract::refusal::{Category, Fault};

use super::request::reference;

pub fn definitions() -> Map<String, Value> {
    let mut all = Map::new();
    for (name, schema) in [
        ("answer", answer()),
        ("chunk", chunk()),
        ("answer_message", answer_message()),
        ("answer_tool_call", answer_tool_call()),
        ("usage", usage()),
        ("refusal", refusal()),
        ("refusal_details", refusal_details()),
    ] {
        all.insert(name.to_owned(), schema);
    }
    all
}

fn text_or_null() -> Value {
    json!({ "type": ["string", "null"] })
}

fn whole() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn answer() -> Value {
    json!({
        "description": "A whole answer.",
        "type": "object",
        "required": ["id", "object", "created", "model", "choices"],
        "properties": {
            "id": { "type": "string" },
            "object": { "const": "chat.completion" },
            "created": { "type": "integer" },
            "model": { "type": "string" },
            "choices": { "type": "array", "items": {
                "type": "object",
                "required": ["index", "message"],
                "properties": {
                    "index": whole(),
                    "message": reference("answer_message"),
                    "logprobs": { "type": ["object", "array", "null"] },
                    "finish_reason": text_or_null(),
                },
            } },
            "usage": { "anyOf": [reference("usage"), { "type": "null" }] },
            "service_tier": text_or_null(),
        },
    })
}

fn chunk() -> Value {
    json!({
        "description": "One event of a stream. The last one before `[DONE]` has no choices and the usage, where `stream_options.include_usage` asks for it.",
        "type": "object",
        "required": ["id", "object", "created", "model", "choices"],
        "properties": {
            "id": { "type": "string" },
            "object": { "const": "chat.completion.chunk" },
            "created": { "type": "integer" },
            "model": { "type": "string" },
            "choices": { "type": "array", "items": {
                "type": "object",
                "required": ["index", "delta"],
                "properties": {
                    "index": whole(),
                    "delta": reference("answer_message"),
                    "logprobs": { "type": ["object", "array", "null"] },
                    "finish_reason": text_or_null(),
                },
            } },
            "usage": { "anyOf": [reference("usage"), { "type": "null" }] },
            "service_tier": text_or_null(),
        },
    })
}

/// A message, or the piece of one that a chunk brings.
fn answer_message() -> Value {
    json!({
        "type": "object",
        "properties": {
            "role": { "type": ["string", "null"] },
            "content": { "type": ["string", "null"] },
            "refusal": text_or_null(),
            "reasoning_content": text_or_null(),
            "reasoning_details": { "type": ["array", "null"], "items": reference("reasoning_detail") },
            "tool_calls": { "type": ["array", "null"], "items": reference("answer_tool_call") },
            "annotations": { "type": ["array", "null"], "items": { "type": "object" } },
            "images": { "type": ["array", "null"], "items": { "type": "object" } },
        },
    })
}

fn answer_tool_call() -> Value {
    json!({
        "type": "object",
        "properties": {
            "index": whole(),
            "id": text_or_null(),
            "type": text_or_null(),
            "function": {
                "type": "object",
                "properties": {
                    "name": text_or_null(),
                    "arguments": { "description": "JSON as text, in pieces where it is streamed.", "type": ["string", "null"] },
                },
            },
        },
    })
}

fn usage() -> Value {
    json!({
        "type": "object",
        "required": ["prompt_tokens", "total_tokens"],
        "properties": {
            "prompt_tokens": whole(),
            "completion_tokens": whole(),
            "total_tokens": whole(),
            "prompt_tokens_details": { "type": ["object", "null"] },
            "completion_tokens_details": { "type": ["object", "null"] },
        },
    })
}

fn refusal() -> Value {
    json!({
        "description": "Why a call was turned away, in OpenAI's shape; every other dialect has the object `tollgate` in its own.",
        "type": "object",
        "required": ["error"],
        "properties": { "error": {
            "type": "object",
            "required": ["message", "type", "code", "tollgate"],
            "properties": {
                "message": { "type": "string" },
                "type": { "type": "string" },
                "param": text_or_null(),
                "code": { "type": "string" },
                "tollgate": reference("refusal_details"),
            },
        } },
    })
}

fn refusal_details() -> Value {
    let categories: Vec<&str> = Category::ALL.iter().map(|category| category.name()).collect();
    json!({
        "type": "object",
        "required": ["category", "code", "retryable", "fault", "reason", "request_id"],
        "properties": {
            "category": { "enum": categories },
            "code": { "description": "Stable, for programs.", "type": "string" },
            "retryable": { "type": "boolean" },
            "retry_after_ms": { "type": ["integer", "null"], "minimum": 0 },
            "fault": { "enum": [Fault::Caller, Fault::Policy, Fault::Gateway, Fault::Provider] },
            "reason": { "description": "What happened, with which values, and what to do.", "type": "string" },
            "policy": text_or_null(),
            "at": { "description": "`file:line:column` of the rule that refused.", "type": ["string", "null"] },
            "request_id": { "type": "string" },
            "provider": text_or_null(),
            "provider_status": { "type": ["integer", "null"] },
            "provider_code": text_or_null(),
        },
        "additionalProperties": false,
    })
}

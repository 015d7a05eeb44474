//! OpenAI's chat, in a writer of its own: what it writes is compared byte for byte.

use axum::body::Bytes;
use serde_json::{Value, json};

use super::answer::{Chat, Tool};
use super::body::written;
use super::{Asked, CREATED};

fn id(chat: &Chat) -> String {
    format!("chatcmpl-sim{:012}", chat.number)
}

fn tool_id(chat: &Chat) -> String {
    format!("call_{:0>24}", format!("{:012}", chat.number))
}

/// The whole answer.
pub fn whole(chat: &Chat, model: &str) -> Value {
    let message = match &chat.tool {
        Some(tool) => json!({ "role": "assistant", "content": null, "refusal": null, "tool_calls": [{
            "id": tool_id(chat), "type": "function", "function": { "name": tool.name, "arguments": tool.arguments },
        }] }),
        None => json!({ "role": "assistant", "content": chat.words.concat(), "refusal": null, "annotations": [] }),
    };
    let choices: Vec<Value> = (0..chat.choices)
        .map(|n| json!({ "index": n, "message": message, "logprobs": null, "finish_reason": chat.finish }))
        .collect();
    let mut answer = json!({
        "id": id(chat), "object": "chat.completion", "created": CREATED, "model": model, "choices": choices,
        "service_tier": "default", "system_fingerprint": "fp_sim",
    });
    if let Some(usage) = chat.usage_json() {
        answer["usage"] = usage;
    }
    answer
}

/// The events of a stream, as OpenAI writes them.
pub fn events(chat: &Chat, asked: &Asked) -> Vec<Bytes> {
    let script = &asked.script;
    let wants_usage = asked.body["stream_options"]["include_usage"] == true;
    let chunk = |choices: Value| {
        let mut chunk = json!({
            "id": id(chat), "object": "chat.completion.chunk", "created": CREATED, "model": asked.model,
            "service_tier": "default", "system_fingerprint": "fp_sim", "choices": choices,
        });
        if wants_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    };
    let mut list: Vec<String> = Vec::new();
    for index in 0..chat.choices {
        let delta = |delta: Value, finish: Value| {
            chunk(json!([{ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish }])).to_string()
        };
        let content = if chat.tool.is_some() { Value::Null } else { "".into() };
        list.push(delta(json!({ "role": "assistant", "content": content, "refusal": null }), Value::Null));
        list.extend(chat.words.iter().map(|word| delta(json!({ "content": word }), Value::Null)));
        if let Some(tool) = &chat.tool {
            list.extend(calls(chat, tool).into_iter().map(|call| delta(json!({ "tool_calls": [call] }), Value::Null)));
        }
        list.push(delta(json!({}), chat.finish.clone().into()));
    }
    if let Some(usage) = chat.usage_json().filter(|_| wants_usage) {
        let mut last = chunk(json!([]));
        last["usage"] = usage;
        list.push(last.to_string());
    }
    if let Some(n) = script.malformed {
        list.insert((n as usize).min(list.len()), "{\"id\":\"chatcmpl-broken\",\"choices\":[{".to_owned());
    }
    if let Some(n) = script.error_at {
        list.truncate(n as usize);
        list.push(json!({ "error": { "message": "sim was told to fail here", "type": "server_error", "param": null, "code": "server_error" } }).to_string());
    } else if !script.nodone {
        list.push("[DONE]".to_owned());
    }
    let end = if script.crlf { "\r\n\r\n" } else { "\n\n" };
    written(list.into_iter().map(|data| Bytes::from(format!("data: {data}{end}"))), script)
}

/// A call, its head and the pieces of its arguments.
fn calls(chat: &Chat, tool: &Tool) -> Vec<Value> {
    let head = json!({ "index": 0, "id": tool_id(chat), "type": "function", "function": { "name": tool.name, "arguments": "" } });
    let letters: Vec<char> = tool.arguments.chars().collect();
    let pieces = letters.chunks(5).map(|piece| piece.iter().collect::<String>());
    [head].into_iter().chain(pieces.map(|piece| json!({ "index": 0, "function": { "arguments": piece } }))).collect()
}

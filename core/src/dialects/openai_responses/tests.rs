//! Recorded traffic of the dialect and of those who speak it nearly, and tables of what is easily got wrong.

mod broken;
mod crossing;
mod edges;
mod golden;
mod streams;

use serde_json::{Value, json};

use super::OpenaiResponses;
use crate::contract::canonical::element::Element;
use crate::contract::skim::skim;
use crate::contract::usage::{OpenaiUsage, Usage};
use crate::dialects::recorded::{Exchange, exchanges, given, meaning};
use crate::dialects::{Codec, Quirks, To};

const APIS: [&str; 6] = [
    "openai.responses",
    "azure.responses",
    "xai.responses",
    "deepseek.responses",
    "openrouter.responses",
    "bedrock-mantle.responses",
];

fn all() -> Vec<Exchange> {
    APIS.into_iter().flat_map(exchanges).collect()
}

/// A provider of the caller's own dialect, who is told all that only this dialect knows.
static SAME: Quirks = Quirks {
    has: &[Element::NativePart, Element::NativeTool, Element::CacheMarks, Element::ReasoningText],
    ..Quirks::NONE
};

/// A provider who is asked for a caller of another dialect.
static OTHER: Quirks = Quirks::NONE;

/// Reads a request and writes it again. The second is what could not be carried.
fn round(body: &Value, quirks: &Quirks) -> Result<(Value, Vec<String>), String> {
    let text = body.to_string();
    let skim = skim(text.as_bytes()).map_err(|e| e.to_string())?;
    let model = body["model"].as_str().unwrap_or_default();
    let request = OpenaiResponses.read_request(text.as_bytes(), &skim, &given(model)).map_err(|e| e.to_string())?;
    let written = OpenaiResponses.write_request(&request, &To { model, output_tokens_max: None, quirks });
    let carries = |e| OpenaiResponses.carries(e) || quirks.has.contains(&e);
    let lost = request.losses(carries).into_iter().chain(written.lost).map(|l| l.what.into_owned());
    Ok((serde_json::from_slice(&written.body).map_err(|e| e.to_string())?, lost.collect()))
}

/// What two requests may differ in and mean the same.
fn plain(request: &Value) -> Value {
    let mut request = meaning(request);
    let members = request.as_object_mut().unwrap();
    // The model is the target's; the rest bears on the framing, on the price, or says what is so anyway.
    for says_nothing in ["model", "stream", "stream_options", "prompt_cache_options"] {
        members.remove(says_nothing);
    }
    let defaults =
        [("store", json!(false)), ("background", json!(false)), ("metadata", json!({})), ("tools", json!([]))];
    members.retain(|name, value| !defaults.iter().any(|(n, v)| n == name && v == value));
    if let Some(input) = members.get_mut("input") {
        *input = items(input);
    }
    // A leading message of the system is what the instructions are.
    let leading = members.get("input").and_then(|i| i.get(0)).filter(|i| i["role"] == "system").cloned();
    if let (None, Some(leading)) = (members.get("instructions"), leading) {
        members.insert("instructions".into(), leading["content"][0]["text"].clone());
        members["input"].as_array_mut().unwrap().remove(0);
    }
    for tool in members.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        // Left out it is said to be off, and what may be deferred is told elsewhere as lost.
        if tool["type"] == "function" && tool.get("strict").is_none() {
            tool["strict"] = false.into();
        }
        if tool["defer_loading"] == false {
            tool.as_object_mut().unwrap().remove("defer_loading");
        }
    }
    // What is included of the provider's own tools is theirs.
    if let Some(include) = members.get_mut("include").and_then(Value::as_array_mut) {
        include.retain(|name| name == "reasoning.encrypted_content" || name == "message.output_text.logprobs");
    }
    if let Some(reasoning) = members.get_mut("reasoning").and_then(Value::as_object_mut) {
        reasoning.remove("context");
        // Its older name.
        if let Some(summary) = reasoning.remove("generate_summary") {
            reasoning.insert("summary".into(), summary);
        }
    }
    if members.get("text").is_some_and(|text| text["format"]["type"] == "text") {
        members.remove("text");
    }
    members.retain(|_, value| ![json!({}), json!([]), json!("")].contains(value));
    request
}

fn items(input: &Value) -> Value {
    let Value::Array(items) = input else { return json!([{ "role": "user", "content": parts(input, "input_text") }]) };
    items.iter().map(plain_item).collect()
}

fn plain_item(item: &Value) -> Value {
    let mut item = item.clone();
    let kind = item["type"].as_str().unwrap_or("message").to_owned();
    let known = ["message", "function_call", "function_call_output", "reasoning"].contains(&kind.as_str());
    let members = item.as_object_mut().unwrap();
    if !known {
        return item;
    }
    // Book-keeping, and a hint for the model that set it. Thoughts keep their id.
    for name in ["status", "phase"] {
        members.remove(name);
    }
    match kind.as_str() {
        "message" => {
            members.remove("id");
            members.remove("type");
            let text = if members["role"] == "assistant" { "output_text" } else { "input_text" };
            let content = parts(&members["content"], text);
            members.insert("content".into(), content);
        }
        "reasoning" => {
            // Some say the same twice.
            let texts = |list: Option<&Value>| -> Vec<Value> {
                list.and_then(Value::as_array).into_iter().flatten().map(|p| p["text"].clone()).collect()
            };
            if texts(members.get("summary")) == texts(members.get("content")) {
                members.insert("summary".into(), json!([]));
            }
            members.retain(|name, value| name != "content" || value != &json!([]));
        }
        _ => {
            members.remove("id");
            // Longer ones are refused: they are cut, the result's as the call's.
            if members["call_id"].as_str().is_some_and(|id| id.len() > 64) {
                members.insert("call_id".into(), "long".into());
            }
            if members["call_id"].as_str().is_some_and(|id| id.starts_with("call_") && id.len() == 29) {
                members.insert("call_id".into(), "long".into());
            }
            if let Some(output) = members.get_mut("output") {
                *output = parts(output, "input_text");
            }
        }
    }
    item
}

fn parts(content: &Value, text: &str) -> Value {
    let Value::Array(list) = content else { return json!([{ "type": text, "text": content }]) };
    let plain = |part: &Value| {
        let mut part = part.clone();
        let members = part.as_object_mut().unwrap();
        members.retain(|name, value| !(["annotations", "logprobs"].contains(&name.as_str()) && value == &json!([])));
        if members["type"] == "input_image" && !members.contains_key("detail") {
            members.insert("detail".into(), "auto".into());
        }
        part
    };
    list.iter().map(plain).collect()
}

#[test]
fn recorded_requests_mean_the_same_when_written_again() {
    let (mut same, mut told) = (0, Vec::new());
    for exchange in all().iter().filter(|e| e.status == 200) {
        let (written, lost) = round(&exchange.request, &SAME).unwrap_or_else(|why| panic!("{}: {why}", exchange.id));
        if lost.is_empty() && !exchange.request.to_string().contains("additional_tools") {
            assert_eq!(plain(&written), plain(&exchange.request), "{}", exchange.id);
            same += 1;
        } else {
            told.push(format!("{}: {lost:?}", exchange.id));
        }
    }
    println!("{same} requests the same, {} with losses that are told: {told:#?}", told.len());
}

fn recorded_usage(exchange: &Exchange) -> Option<Usage> {
    serde_json::from_value::<OpenaiUsage>(exchange.usage.clone()).ok().and_then(|u| u.disjoint())
}

#[test]
fn recorded_answers_mean_the_same_when_written_again() {
    for exchange in all().iter().filter(|e| e.status == 200 && e.body.starts_with(b"{")) {
        let given = given("asked");
        let answer =
            OpenaiResponses.read_answer(&exchange.body, &given).unwrap_or_else(|e| panic!("{}: {e}", exchange.id));
        assert_eq!(answer.usage, recorded_usage(exchange), "{}", exchange.id);
        assert_eq!(OpenaiResponses.glance(&exchange.body).usage, recorded_usage(exchange), "{}", exchange.id);
        let written = OpenaiResponses.write_answer(&answer, &given);
        // Only what a provider did itself: among responses answers pass, and nobody else's hold it.
        assert!(written.lost.iter().all(|l| l.what == "messages.native"), "{}: {:?}", exchange.id, written.lost);
        let (before, after): (Value, Value) =
            (serde_json::from_slice(&exchange.body).unwrap(), serde_json::from_slice(&written.body).unwrap());
        assert_eq!(said(&before), said(&after), "{}", exchange.id);
        // A background job is still at it, which is no answer yet.
        if before["status"] != "queued" {
            for member in ["status", "incomplete_details", "model", "usage"] {
                let shown = |v: &Value| match member {
                    "usage" => {
                        ["input_tokens", "output_tokens", "total_tokens"].iter().map(|n| v[member][n].clone()).collect()
                    }
                    _ if v[member] == "complete" => "completed".into(),
                    _ => v[member].clone(),
                };
                assert_eq!(shown(&before), shown(&after), "{} {member}", exchange.id);
            }
        }
    }
}

/// What an answer says, item by item, without the items that only this dialect knows.
fn said(response: &Value) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for item in response["output"].as_array().into_iter().flatten() {
        let text = |list: &Value| -> String {
            list.as_array().into_iter().flatten().map(|p| p["text"].as_str().unwrap_or_default()).collect()
        };
        match item["type"].as_str().unwrap() {
            "message" => {
                for part in item["content"].as_array().unwrap() {
                    let urls: Vec<&Value> =
                        part["annotations"].as_array().into_iter().flatten().map(|a| &a["url"]).collect();
                    told.push(format!("{} {} {urls:?}", part["text"], part["refusal"]));
                }
            }
            "reasoning" => {
                told.push(format!(
                    "{}{} {}",
                    text(&item["summary"]),
                    text(&item["content"]),
                    item["encrypted_content"]
                ));
            }
            "function_call" => told.push(format!("{} {} {}", item["call_id"], item["name"], item["arguments"])),
            // Written for a caller who declared a function.
            "custom_tool_call" => {
                let arguments = json!({ "input": item["input"] }).to_string();
                told.push(format!("{} {} {}", item["call_id"], item["name"], json!(arguments)));
            }
            _ => {}
        }
    }
    told.retain(|line| !line.starts_with(" null"));
    told
}

#[test]
fn recorded_failures_have_a_category() {
    let failures = all();
    for exchange in failures.iter().filter(|e| e.status >= 400) {
        let status = http::StatusCode::from_u16(exchange.status).unwrap();
        let said = OpenaiResponses.read_error(status, &exchange.headers, &exchange.body);
        let said = said.unwrap_or_else(|| panic!("{} is no error", exchange.id));
        assert!(!said.message.is_empty() && said.code.is_some(), "{}: {said:?}", exchange.id);
        assert!(!said.category.retryable(), "{}: {said:?}", exchange.id);
    }
}

#[test]
fn what_is_lost_is_named() {
    for (member, lost, why) in [
        (json!({"previous_response_id": "resp_1"}), vec!["previous_response_id"], "only its own target knows it"),
        (json!({"conversation": "conv_1", "prompt": {"id": "p"}}), vec!["conversation", "prompt"], "so are these"),
        (json!({"background": true, "truncation": "auto"}), vec!["background", "truncation"], "no canonical place"),
        (
            json!({"background": false, "truncation": "disabled", "metadata": {}, "tools": []}),
            vec![],
            "what says nothing",
        ),
        (json!({"max_tool_calls": 3}), vec!["max_tool_calls"], "no canonical place"),
        (json!({"include": ["something.new"]}), vec!["include[0]"], "an entry that is not known"),
        (
            json!({"include": ["reasoning.encrypted_content", "web_search_call.action.sources"]}),
            vec![],
            "those that are",
        ),
        (json!({"tools": [{"type": "web_search"}]}), vec!["tools.native"], "a tool that the provider runs"),
        (
            json!({"tools": [{"type": "function", "name": "f", "defer_loading": true}]}),
            vec!["tools[0].defer_loading"],
            "a nested member",
        ),
        (
            json!({"tool_choice": {"type": "web_search_preview"}}),
            vec!["tool_choice"],
            "a tool that is no choice elsewhere",
        ),
        (
            json!({"input": [{"type": "item_reference", "id": "msg_1"}]}),
            vec!["messages.native"],
            "what the provider keeps",
        ),
        (
            json!({"input": [{"type": "compaction", "encrypted_content": "x"}]}),
            vec!["messages.native"],
            "nobody else can read it",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}]}]}),
            vec!["messages.audio", "messages.media_url"],
            "sounds are not taken",
        ),
        (json!({"client_metadata": {"x": "y"}, "prompt_cache_key": "k", "store": false}), vec![], "what agents send"),
    ] {
        let mut body = json!({"model": "m", "input": "hi"});
        body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        assert_eq!(round(&body, &OTHER).unwrap().1, lost, "{why}");
    }
}

#[test]
fn wrong_requests_are_told_by_their_place() {
    for (input, told) in [
        (json!(5), "input"),
        (json!([{"role": "user"}]), "input[0].content"),
        (json!([{"role": "user", "content": [{"text": "x"}]}]), "input[0].content[0].type"),
        (json!([{"role": "user", "content": [{"type": "input_text"}]}]), "input[0].content[0].text"),
        (json!([{"role": "nobody", "content": "x"}]), "input[0].role"),
        (json!([{"content": "x"}]), "input[0].type"),
        (json!([{"type": "function_call", "name": "f"}]), "input[0].call_id"),
        (json!([{"type": "function_call_output", "output": "x"}]), "input[0].call_id"),
        (json!([{"type": "reasoning", "summary": [{"type": "summary_text"}]}]), "input[0].summary[0].text"),
    ] {
        let wrong = round(&json!({"model": "m", "input": input}), &OTHER).unwrap_err();
        assert!(wrong.starts_with(&format!("`{told}`")), "{wrong}");
    }
}

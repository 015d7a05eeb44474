//! Coding agents, as they were recorded before a gateway: their requests are sent again, to a provider that speaks the
//! agent's own dialect and to others. How the recordings were made stands in `tests/fixtures/agents/README.md`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::calls::client;
use crate::clients::before;
use crate::support::gateway::Gateway;
use crate::support::{hosts, root};

/// The requests of one recording, in their order.
fn recorded(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("tests/fixtures/agents").join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Sends a recorded request to another model; gives what was told as dropped, and the answer.
async fn send(gateway: &Gateway, request: &Value, model: &str) -> (u16, String, String) {
    let mut body = request["body"].clone();
    body["model"] = model.into();
    let mut call = client().post(gateway.url(request["path"].as_str().unwrap())).bearer_auth(&gateway.key);
    for (name, value) in request["headers"].as_object().unwrap() {
        call = call.header(name, value.as_str().unwrap());
    }
    let answer = call.body(body.to_string()).send().await.unwrap();
    let dropped = answer.headers().get("tollgate-dropped").map_or("", |v| v.to_str().unwrap()).to_owned();
    (answer.status().as_u16(), dropped, answer.text().await.unwrap())
}

fn events(answer: &str) -> Vec<Value> {
    answer.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

/// Calls of tools in a stream of responses, by name, with their arguments.
fn calls_of_responses(answer: &str) -> Vec<(String, String)> {
    let done = events(answer).into_iter().filter(|e| e["type"] == "response.output_item.done");
    let calls = done.map(|e| e["item"].clone()).filter(|item| item["type"] == "function_call");
    calls.map(|c| (c["name"].as_str().unwrap().to_owned(), c["arguments"].as_str().unwrap().to_owned())).collect()
}

/// The same of a stream of messages.
fn calls_of_messages(answer: &str) -> Vec<(String, String)> {
    let mut calls: Vec<(String, String)> = Vec::new();
    for event in events(answer) {
        if event["content_block"]["type"] == "tool_use" {
            calls.push((event["content_block"]["name"].as_str().unwrap().to_owned(), String::new()));
        }
        if let (Some(piece), Some((_, arguments))) = (event["delta"]["partial_json"].as_str(), calls.last_mut()) {
            arguments.push_str(piece);
        }
    }
    calls
}

/// One turn at one target: the first request is answered with a call of a tool, the next, that brings its result, with words.
/// What was dropped of either is told.
async fn turn(gateway: &Gateway, requests: &[Value], target: &str, dropped: &[&str]) {
    let mut lost = BTreeSet::new();
    let responses = requests[0]["path"].as_str().unwrap().contains("responses");
    let (calls, end) = if responses {
        (calls_of_responses as fn(&str) -> Vec<(String, String)>, "event: response.completed")
    } else {
        (calls_of_messages as fn(&str) -> Vec<(String, String)>, "event: message_stop")
    };
    for (at, request) in requests.iter().enumerate().take(2) {
        let (status, told, answer) = send(gateway, request, &format!("{target}/sim-1?tool")).await;
        assert_eq!(status, 200, "{target}: {answer}");
        lost.extend(told.split(", ").filter(|name| !name.is_empty()).map(str::to_owned));
        assert!(answer.contains(end), "{target}, request {at}: {answer}");
        let called = calls(&answer);
        assert_eq!(called.len(), usize::from(at == 0), "{target}, request {at}: {answer}");
        for (name, arguments) in called {
            let offered = request["body"]["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == name.as_str());
            assert!(offered, "{target}: `{name}` was not offered");
            assert!(serde_json::from_str::<Value>(&arguments).unwrap().is_object(), "{target}: {arguments}");
        }
    }
    assert_eq!(lost, dropped.iter().map(|name| (*name).to_owned()).collect(), "{target}");
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_works_at_every_provider() {
    let sim = hosts::sim();
    let gateway = before(&sim);
    let requests = recorded("codex/turn.jsonl");
    const ALWAYS: [&str; 2] = ["tools.native", "prompt_cache_key"];
    let (thoughts, shown, stored) = ("reasoning", "reasoning.summary", "store.false");
    for (target, besides) in [
        ("as_compatible", &[thoughts, shown, stored][..]),
        ("as_mistral", &[thoughts, shown, stored]),
        ("as_anthropic", &[thoughts]),
        ("as_gemini", &[stored]),
        ("as_bedrock", &[thoughts]),
        ("as_cohere", &[]),
        ("as_ollama", &[stored]),
    ] {
        turn(&gateway, &requests, target, &[&ALWAYS[..], besides].concat()).await;
    }
    turn(&gateway, &requests, "as_openai", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_works_at_every_provider() {
    let sim = hosts::sim();
    let gateway = before(&sim);
    const ALWAYS: [&str; 2] = ["cache_control", "context_management"];
    let (user, thoughts) = ("user", "reasoning");
    for recording in ["claude-code/turn.jsonl", "claude-code/all-tools.jsonl"] {
        let requests = recorded(recording);
        for (target, besides) in [
            ("as_openai", &[][..]),
            ("as_compatible", &[]),
            ("as_mistral", &[user, thoughts]),
            ("as_gemini", &[user]),
            ("as_bedrock", &[user, thoughts]),
            ("as_cohere", &[user, thoughts]),
            ("as_ollama", &[user]),
        ] {
            let mut dropped = [&ALWAYS[..], besides].concat();
            if recording.contains("all-tools") {
                // It has instructions midway, and a result that is an error: neither has a place everywhere.
                let in_front = ["as_gemini", "as_bedrock"].contains(&target);
                dropped.extend(in_front.then_some("messages.system_midway"));
                dropped.extend((target != "as_gemini").then_some("messages.tool_result_error"));
            }
            turn(&gateway, &requests, target, &dropped).await;
        }
        turn(&gateway, &requests, "as_anthropic", &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_their_own_provider_nothing_of_them_changes_on_the_way() {
    let sim = hosts::sim();
    let gateway = before(&sim);
    for (recording, target) in [
        ("codex/turn.jsonl", "as_openai"),
        ("claude-code/turn.jsonl", "as_anthropic"),
        ("claude-code/all-tools.jsonl", "as_anthropic"),
    ] {
        for request in recorded(recording) {
            let (status, _, answer) = send(&gateway, &request, &format!("{target}/sim-1")).await;
            assert_eq!(status, 200, "{answer}");
            let truth = client().get(format!("http://127.0.0.1:{}/sim/truth", sim.port)).send().await.unwrap();
            let truth = truth.text().await.unwrap();
            let reached: Value = serde_json::from_str(truth.lines().last().unwrap()).unwrap();
            // What was asked is kept up to a bound.
            let body = reached["body"].as_str().unwrap();
            let mut expected = request["body"].clone();
            expected["model"] = "sim-1".into();
            let expected = expected.to_string();
            assert!(expected.starts_with(body) && body.len() == expected.len().min(1 << 16), "{recording}: {body}");
            for (name, value) in request["headers"].as_object().unwrap() {
                if ["anthropic-beta", "anthropic-version", "user-agent"].contains(&name.as_str()) {
                    let told = reached["headers"].as_array().unwrap().iter().find(|pair| pair[0] == name.as_str());
                    assert_eq!(told.map(|pair| &pair[1]), Some(value), "{recording}: `{name}`");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosted_tool_that_is_the_point_of_a_call_is_not_dropped() {
    let sim = hosts::sim();
    let gateway = before(&sim);
    let mut request = recorded("codex/turn.jsonl").remove(0);
    let tools = request["body"]["tools"].as_array().unwrap().clone();
    let search: Vec<Value> = tools.iter().filter(|tool| tool["type"] == "web_search").cloned().collect();
    for (offered, choice, why) in [
        (search.clone(), json!("auto"), "the only tool"),
        (tools.clone(), json!("required"), "a call is demanded, and it may be meant"),
    ] {
        (request["body"]["tools"], request["body"]["tool_choice"]) = (offered.into(), choice);
        let (status, _, answer) = send(&gateway, &request, "as_anthropic/sim-1").await;
        assert_eq!(status, 400, "{why}: {answer}");
        assert!(answer.contains("`tools.native` cannot be said"), "{why}: {answer}");
    }
}

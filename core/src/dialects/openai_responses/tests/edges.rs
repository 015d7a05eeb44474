//! Answers that were recorded without their requests: server tools, custom tools, ids that change, servers of other makes.

use std::path::PathBuf;

use serde_json::Value;

use super::streams::{in_order, well_formed, write};
use crate::contract::canonical::event::Event;
use crate::dialects::Codec;
use crate::dialects::openai_responses::OpenaiResponses;
use crate::dialects::recorded::{events, given};

/// Those that are of this dialect, by the words of their first event or their body.
fn all() -> Vec<Value> {
    let root = std::env::var_os("TOLLGATE_CORPUS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), PathBuf::from);
    let path = root.join("responses-only/responses-only.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: there is no {} (TOLLGATE_CORPUS)", path.display());
        return Vec::new();
    };
    let ours = |row: &Value| {
        row["body"]["object"] == "response"
            || row["chunks"][0]["type"].as_str().is_some_and(|t| t.starts_with("response."))
    };
    text.lines().map(|line| serde_json::from_str(line).unwrap()).filter(ours).collect()
}

/// The texts and calls of a response, as it says them itself.
fn whole(response: &Value) -> Vec<String> {
    let mut told = Vec::new();
    for item in response["output"].as_array().into_iter().flatten() {
        match item["type"].as_str() {
            Some("message") => {
                let parts = item["content"].as_array().into_iter().flatten();
                told.extend(parts.filter_map(|p| p["text"].as_str()).filter(|t| !t.is_empty()).map(str::to_owned));
            }
            Some("function_call") => told.push(format!("{} {}", item["name"], item["arguments"].as_str().unwrap())),
            Some("custom_tool_call") => {
                told.push(format!("{} {}", item["name"], serde_json::json!({"input": item["input"]})))
            }
            Some(_) | None => {}
        }
    }
    told
}

#[test]
fn whole_answers_say_what_they_say() {
    for row in all().iter().filter(|row| row["body"].is_object()) {
        let (id, body) = (&row["id"], row["body"].to_string());
        let answer = OpenaiResponses.read_answer(body.as_bytes(), &given("m")).unwrap_or_else(|e| panic!("{id}: {e}"));
        let written = OpenaiResponses.write_answer(&answer, &given("m"));
        assert_eq!(whole(&row["body"]), whole(&serde_json::from_slice(&written.body).unwrap()), "{id}");
    }
}

#[test]
fn streams_say_what_their_response_says() {
    for row in all().iter().filter(|row| row["chunks"].is_array()) {
        let (id, chunks) = (row["id"].to_string(), row["chunks"].as_array().unwrap());
        let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        let told = events(&OpenaiResponses, &given("m"), body.as_bytes()).unwrap_or_else(|e| panic!("{id}: {e}"));
        in_order(&id, &told);
        // Some have the responses of several turns: the first one is read, for a stream has one.
        let ends =
            |chunk: &&Value| ["response.completed", "response.incomplete"].iter().any(|kind| chunk["type"] == *kind);
        let last = chunks.iter().find(ends).unwrap_or(&chunks[0]);
        let done = ends(&last);
        assert_eq!(told.last() == Some(&Event::Done), done, "{id}: a cut stream never looks complete");
        // One was shortened by hand: its pieces say less than its response.
        if done && !id.contains("openai-shell-container") {
            let bytes = write(&told, &given("m"));
            let written = well_formed(&id, &bytes);
            assert_eq!(whole(&last["response"]), whole(&written.last().unwrap()["response"]), "{id}");
        }
    }
}

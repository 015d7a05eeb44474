//! Between this dialect and the chat of OpenAI: what was recorded of either, said in the other and read again.

use serde_json::{Value, json};

use super::streams::{in_order, said, well_formed, write};
use super::{OTHER, all};
use crate::contract::canonical::Request;
use crate::contract::canonical::event::Event;
use crate::contract::canonical::part::{Kind, Maker, Part, Role};
use crate::contract::skim::{Skim, skim};
use crate::dialects::openai_chat::OpenaiChat;
use crate::dialects::openai_responses::OpenaiResponses;
use crate::dialects::recorded::{events, exchanges, given};
use crate::dialects::{Codec, Given, To};

const CHATS: [&str; 5] = ["openai.chat", "mistral.chat", "deepseek.chat", "openrouter.chat", "groq.chat"];

/// Texts, thoughts, calls and results, in their order, without regard to which message they stand in.
fn words(request: &Request<'_>) -> Vec<String> {
    let mut told = Vec::new();
    for (message, part) in request.messages.iter().flat_map(|m| m.parts.iter().map(move |p| (m, p))) {
        let role = if message.role == Role::Developer { Role::System } else { message.role };
        match &part.kind {
            Kind::Text { text, .. } | Kind::Refusal(text) if text.is_empty() => {}
            Kind::Text { text, .. } | Kind::Refusal(text) => told.push(format!("{role:?} {text}")),
            Kind::ToolCall(call) => told.push(format!("{} {} {}", call.id, call.name, call.arguments_json())),
            Kind::ToolResult(result) => {
                let texts: Vec<&str> = result.parts.iter().filter_map(Part::as_text).collect();
                told.push(format!("{} {}", result.call_id, texts.concat()));
            }
            Kind::Media(media) => told.push(format!("{:?} {:?}", media.what, media.source)),
            Kind::Reasoning(_) | Kind::Native { .. } => {}
        }
    }
    told
}

/// Texts of one speaker that follow each other, joined: not every dialect tells where one ends.
fn joined(words: Vec<String>) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for word in words {
        let role = word.split(' ').next().unwrap_or_default().to_owned();
        match told.last_mut() {
            Some(last)
                if ["System", "User", "Assistant"].contains(&&*role) && last.starts_with(&format!("{role} ")) =>
            {
                last.push_str(&word[role.len() + 1..]);
            }
            Some(_) | None => told.push(word),
        }
    }
    told
}

fn read<'a>(codec: &dyn Codec, body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Request<'a> {
    codec.read_request(body, skim, given).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn requests_of_chat_say_the_same_here() {
    let mut crossed = 0;
    for exchange in CHATS.into_iter().flat_map(exchanges).filter(|e| e.status == 200) {
        let body = exchange.request.to_string().into_bytes();
        let (skimmed, given) = (skim(&body).unwrap(), given("m"));
        let request = read(&OpenaiChat, &body, &skimmed, &given);
        if request.losses(|e| OpenaiResponses.carries(e)).iter().any(|loss| !loss.hint) {
            continue;
        }
        let written =
            OpenaiResponses.write_request(&request, &To { model: "m", output_tokens_max: None, quirks: &OTHER });
        let skimmed = skim(&written.body).unwrap();
        let again = read(&OpenaiResponses, &written.body, &skimmed, &given);
        assert_eq!(joined(words(&request)), joined(words(&again)), "{}", exchange.id);
        assert_eq!(request.max_tokens, again.max_tokens, "{}", exchange.id);
        assert_eq!(request.temperature, again.temperature, "{}", exchange.id);
        assert_eq!(request.tool_choice.filter(|_| !request.tools.is_empty()), again.tool_choice, "{}", exchange.id);
        assert_eq!(again.store, Some(request.store.unwrap_or(false)), "{}", exchange.id);
        assert_eq!(format!("{:?}", request.format), format!("{:?}", again.format), "{}", exchange.id);
        crossed += 1;
    }
    println!("{crossed} requests of chat");
}

#[test]
fn requests_of_ours_say_the_same_in_chat() {
    let mut crossed = 0;
    for exchange in all().iter().filter(|e| e.status == 200) {
        let body = exchange.request.to_string().into_bytes();
        let (skimmed, given) = (skim(&body).unwrap(), given("m"));
        let request = read(&OpenaiResponses, &body, &skimmed, &given);
        if request.losses(|e| OpenaiChat.carries(e)).iter().any(|loss| !loss.hint) {
            continue;
        }
        let written = OpenaiChat.write_request(&request, &To { model: "m", output_tokens_max: None, quirks: &OTHER });
        let skimmed = skim(&written.body).unwrap();
        let again = read(&OpenaiChat, &written.body, &skimmed, &given);
        let (before, mut after) = (joined(words(&request)), joined(words(&again)));
        // What else than text a tool gave stands behind its result there, as the user's.
        if let Some(behind) = after.iter().position(|w| w.contains("(what the tool gave")) {
            assert!(after.pop().is_some_and(|media| media.starts_with("Image") || media.starts_with("Document")));
            after[behind] = before[behind].clone();
        }
        assert_eq!(before, after, "{}", exchange.id);
        crossed += 1;
    }
    println!("{crossed} requests of ours");
}

/// Of the first answer: there is one here.
fn first(told: Vec<Event>) -> Vec<Event> {
    let of = |event: &Event| match event {
        Event::Begin { choice, .. }
        | Event::Delta { choice, .. }
        | Event::End { choice, .. }
        | Event::Logprobs { choice, .. }
        | Event::Finish { choice, .. } => *choice == 0,
        Event::Start { .. }
        | Event::Usage(_)
        | Event::Beside(_)
        | Event::ServiceTier(_)
        | Event::Error(_)
        | Event::Done => true,
    };
    told.into_iter().filter(of).collect()
}

/// Without what cannot be said in pieces: the provider's own time, and usage beside the last one.
fn plain(told: &[Event]) -> Vec<String> {
    let usage = told.iter().rposition(|e| matches!(e, Event::Usage(_)));
    let kept = |(at, event): (usize, &Event)| match event {
        Event::Usage(_) => Some(at) == usage,
        _ => true,
    };
    let kept: Vec<Event> = told.iter().enumerate().filter(|(at, e)| kept((*at, e))).map(|(_, e)| e.clone()).collect();
    // A call without arguments has an empty object.
    said(&kept)
        .into_iter()
        .map(|t| if t.starts_with("ToolCall") { t.replace(": \"\" ", ": \"{}\" ") } else { t })
        .collect()
}

#[test]
fn streams_of_chat_say_the_same_here() {
    let mut crossed = 0;
    for exchange in CHATS.into_iter().flat_map(exchanges).filter(|e| e.status == 200 && e.stream) {
        let given = given("asked");
        let told = first(events(&OpenaiChat, &given, &exchange.body).unwrap());
        // One that was cut, or that told no reason for its end.
        let finished = told.iter().any(|e| matches!(e, Event::Finish { .. }));
        if told.last() != Some(&Event::Done) || !finished {
            continue;
        }
        let bytes = write(&told, &given);
        well_formed(&exchange.id, &bytes);
        let again = events(&OpenaiResponses, &given, &bytes).unwrap();
        in_order(&exchange.id, &again);
        let mut before = plain(&told);
        // Where calls were, their response is complete because of them.
        if before.iter().any(|t| t.starts_with("ToolCall")) {
            before.iter_mut().filter(|t| *t == "Stop").for_each(|t| *t = "ToolCalls".to_owned());
        }
        let (mut before, mut after) = (before, plain(&again));
        for told in before.iter_mut().chain(&mut after) {
            *told = told.replace(" None", " Some(1790000000)");
            // Whose encrypted thoughts are is told where chat does not.
            for by in ["Other", "Openai", "Anthropic", "Google"] {
                *told = told.replace(&format!("Signature(Signature {{ by: {by}, data: \"\" }})"), "");
            }
        }
        assert_eq!(before, after, "{}", exchange.id);
        crossed += 1;
    }
    println!("{crossed} streams of chat");
}

#[test]
fn what_agents_send_crosses_and_comes_back() {
    let body = json!({
        "model": "m", "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "content": null, "encrypted_content": "tollgate:anthropic:SIG"},
            {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
            {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin"},
            {"type": "reasoning", "summary": [], "encrypted_content": "tollgate:google:call=c1;GOO"},
            {"type": "local_shell_call", "id": "lsh_1", "call_id": "c2", "status": "completed", "action": {"type": "exec", "command": ["ls"], "env": {}}},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "a.txt"}, {"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
        ],
        "tools": [
            {"type": "custom", "name": "apply_patch", "description": "Edits", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}},
            {"type": "local_shell"},
        ],
        "store": false, "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "high", "summary": "auto"},
        "tool_choice": {"type": "custom", "name": "apply_patch"},
    })
    .to_string();
    let skimmed = skim(body.as_bytes()).unwrap();
    let request = read(&OpenaiResponses, body.as_bytes(), &skimmed, &given("m"));
    assert_eq!(request.own_tools(), ["apply_patch", "local_shell"]);
    assert!(request.losses(|e| OpenaiChat.carries(e)).iter().all(|loss| loss.hint), "all of it can be said elsewhere");
    let [user, turn, results] = &request.messages[..] else { panic!("{:#?}", request.messages) };
    assert_eq!((user.role, turn.role, results.role), (Role::User, Role::Assistant, Role::Tool));
    let seals: Vec<Option<(Maker, &str)>> =
        turn.parts.iter().map(|p| p.signature.as_ref().map(|s| (s.by, &*s.data))).collect();
    let expected = [Some((Maker::Anthropic, "SIG")), Some((Maker::Openai, "")), Some((Maker::Google, "GOO")), None];
    assert_eq!(seals, expected, "seals are back on the parts that they belong to");
    let to = To { model: "m", output_tokens_max: None, quirks: &OTHER };
    let chat: Value = serde_json::from_slice(&OpenaiChat.write_request(&request, &to).body).unwrap();
    assert_eq!(
        chat["tools"][0]["function"]["description"],
        "Edits\n\nThe text of `input` must keep to this lark grammar:\nstart: x"
    );
    assert_eq!(chat["messages"][1]["tool_calls"][0]["function"]["arguments"], "{\"input\":\"*** Begin\"}");
    assert_eq!(chat["tool_choice"]["function"]["name"], "apply_patch");
    // And to a provider of this dialect: what others sealed stays here, and is told.
    let written = OpenaiResponses.write_request(&request, &to);
    let lost: Vec<&str> = written.lost.iter().map(|l| &*l.what).collect();
    assert_eq!(lost, ["messages.reasoning_signature", "messages.reasoning"]);
    assert!(!String::from_utf8(written.body).unwrap().contains("tollgate:"), "nobody else's seal is sent");
}

#[test]
fn ids_of_calls_match_their_results_whatever_their_length() {
    let id = "x".repeat(80);
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": id, "content": "x"},
    ]})
    .to_string();
    let skimmed = skim(body.as_bytes()).unwrap();
    let request = read(&OpenaiChat, body.as_bytes(), &skimmed, &given("m"));
    let written = OpenaiResponses.write_request(&request, &To { model: "m", output_tokens_max: None, quirks: &OTHER });
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    let (call, result) = (&body["input"][1], &body["input"][2]);
    assert_eq!(call["call_id"], result["call_id"]);
    assert!(call["call_id"].as_str().unwrap().len() <= 64, "longer ids are refused");
    assert_eq!(call["arguments"], "{}", "what models leave empty is an empty object");
}

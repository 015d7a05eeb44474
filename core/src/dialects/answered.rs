//! For tests: what one provider answers, as callers of every dialect are told it, whole and as a stream.

use serde_json::json;

use super::matrix::CONVERSATIONS;
use super::recorded::{events, given};
use super::{codec, unsaid};
use crate::contract::Dialect;

/// A whole answer of a provider, and what was lost of it.
fn whole(theirs: Dialect, ours: Dialect, body: &[u8]) -> (String, Vec<String>) {
    let answer = codec(theirs).unwrap().read_answer(body, &given("m")).unwrap();
    let written = codec(ours).unwrap().write_answer(&answer, &given("m"));
    let lost = written.lost.iter().map(|loss| loss.what.to_string()).collect();
    (String::from_utf8(written.body).unwrap(), lost)
}

/// A stream of a provider. What is no text in it (Bedrock's frames) is no matter here.
fn stream(theirs: Dialect, ours: Dialect, body: &[u8]) -> String {
    let told = events(codec(theirs).unwrap(), &given("m"), body).unwrap();
    let (mut writer, mut out) = (codec(ours).unwrap().stream_writer(&given("m")), Vec::new());
    told.iter().for_each(|event| writer.event(event, &mut out));
    String::from_utf8_lossy(&out).into_owned()
}

fn sse(chunks: &[serde_json::Value]) -> Vec<u8> {
    let data: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    (data + "data: [DONE]\n\n").into_bytes()
}

/// A tool that is called with nothing does something else than the model meant.
#[test]
fn arguments_that_are_no_json_reach_every_caller() {
    let function = json!({"name": "rm", "arguments": r#"{"path": "/tmp/x",}"#});
    let calls = json!([{"index": 0, "id": "c", "type": "function", "function": function}]);
    for (finish, bedrock, gemini) in
        [("tool_calls", "tool_use", "\"STOP\""), ("length", "max_tokens", "\"MAX_TOKENS\"")]
    {
        let choice =
            |said: &str| json!({"choices": [{"index": 0, said: {"tool_calls": calls}, "finish_reason": finish}]});
        let (answer, chunks) = (choice("message").to_string(), sse(&[choice("delta")]));
        for ours in CONVERSATIONS {
            let told = whole(Dialect::OpenaiChat, ours, answer.as_bytes()).0;
            let streamed = stream(Dialect::OpenaiChat, ours, &chunks);
            for told in [told, streamed] {
                assert!(told.contains("/tmp/x") && told.contains("rm"), "{}: {told}", ours.name());
                let reason = match ours {
                    Dialect::BedrockConverse => bedrock,
                    Dialect::Gemini => gemini,
                    _ => "",
                };
                assert!(told.contains(reason), "{}: the reason is the provider's: {told}", ours.name());
            }
        }
    }
}

/// That a model would not answer is told by the reason, in every dialect that has one for it.
#[test]
fn refusals_are_told_as_such() {
    let claude = json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "refusal",
        "content": [{"type": "text", "text": "No."}], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let claude_says = |kind: &str, rest: serde_json::Value| {
        let mut event = rest;
        event["type"] = kind.into();
        format!("event: {kind}\ndata: {event}\n\n")
    };
    let claude_stream = [
        claude_says("message_start", json!({"message": {"id": "m", "usage": {}}})),
        claude_says("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
        claude_says("content_block_delta", json!({"index": 0, "delta": {"type": "text_delta", "text": "No."}})),
        claude_says("content_block_stop", json!({"index": 0})),
        claude_says("message_delta", json!({"delta": {"stop_reason": "refusal"}, "usage": {"output_tokens": 1}})),
        claude_says("message_stop", json!({})),
    ];
    let chat = |said: &str| json!({"choices": [{"index": 0, said: {"refusal": "No."}, "finish_reason": "stop"}]});
    let content = json!([{"type": "refusal", "refusal": "No."}]);
    let items = json!([{"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": content}]);
    let response = json!({"id": "resp_1", "status": "completed", "output": items});
    let completed = json!({"type": "response.completed", "response": response});
    let (responses, anthropic) = (Dialect::OpenaiResponses, Dialect::AnthropicMessages);
    for (theirs, answer, stream_body) in [
        (anthropic, claude.to_string(), claude_stream.concat().into_bytes()),
        (Dialect::OpenaiChat, chat("message").to_string(), sse(&[chat("delta")])),
        (responses, response.to_string(), sse(&[completed])),
    ] {
        for (ours, expected) in [
            // OpenAI has a member for it, which Claude's words are not in.
            (Dialect::OpenaiChat, if theirs == anthropic { "content_filter" } else { r#""refusal":"No.""# }),
            (responses, if theirs == anthropic { "content_filter" } else { r#""refusal":"No.""# }),
            (anthropic, r#""stop_reason":"refusal""#),
            (Dialect::Gemini, r#""finishReason":"SAFETY""#),
            (Dialect::BedrockConverse, r#""stopReason":"content_filtered""#),
            (Dialect::CohereChat, r#""finish_reason":"ERROR""#),
            (Dialect::OllamaChat, r#""done_reason":"content_filter""#),
        ] {
            if ours == theirs {
                continue;
            }
            let told = [whole(theirs, ours, answer.as_bytes()).0, stream(theirs, ours, &stream_body)];
            for told in told {
                assert!(
                    told.contains(expected) && told.contains("No."),
                    "{} to {}: {told}",
                    theirs.name(),
                    ours.name()
                );
            }
        }
    }
}

/// A picture of Gemini's, or what stands for its loss.
#[test]
fn pictures_are_told_or_their_loss_is() {
    let drawn = json!([{"text": "here"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0="}}]);
    let candidate = json!({"content": {"role": "model", "parts": drawn}, "finishReason": "STOP", "index": 0});
    let answer = json!({"candidates": [candidate]}).to_string();
    let chunks = format!("data: {answer}\r\n\r\n");
    let gemini = codec(Dialect::Gemini).unwrap();
    let told = events(gemini, &given("m"), chunks.as_bytes()).unwrap();
    for (ours, shown, streamed) in [
        (Dialect::OpenaiChat, true, true),
        (Dialect::OpenaiResponses, false, false),
        (Dialect::AnthropicMessages, false, false),
        (Dialect::BedrockConverse, true, false),
        (Dialect::CohereChat, false, false),
        (Dialect::OllamaChat, true, true),
        (Dialect::Gemini, true, true),
    ] {
        let (written, lost) = whole(Dialect::Gemini, ours, answer.as_bytes());
        let lost: Vec<&str> = lost.iter().map(String::as_str).collect();
        let stands = lost == if shown { vec![] } else { vec!["messages.image"] };
        assert!(written.contains("iVBORw0=") == shown && stands, "{}: {written}, {lost:?}", ours.name());
        let written = stream(Dialect::Gemini, ours, chunks.as_bytes());
        let lost: Vec<_> = told.iter().filter_map(|event| unsaid::of_event(event, codec(ours).unwrap())).collect();
        let stands = lost.is_empty() == streamed;
        assert!(written.contains("iVBORw0=") == streamed && stands, "{}: {written}, {lost:?}", ours.name());
    }
    let url = r#"{"url":"data:image/png;base64,iVBORw0="}"#;
    let chat = whole(Dialect::Gemini, Dialect::OpenaiChat, answer.as_bytes()).0;
    assert!(chat.contains(&format!(r#""images":[{{"type":"image_url","image_url":{url}}}]"#)), "{chat}");
    // And back: from a provider that tells them so, and from a caller in the next turn.
    let back = whole(Dialect::OpenaiChat, Dialect::Gemini, chat.as_bytes()).0;
    assert!(back.contains(r#""inlineData":{"mimeType":"image/png","data":"iVBORw0="}"#), "{back}");
    let chunks = stream(Dialect::Gemini, Dialect::OpenaiChat, chunks.as_bytes());
    let again = stream(Dialect::OpenaiChat, Dialect::Gemini, chunks.as_bytes());
    assert!(again.contains("iVBORw0="), "{again}");
    let said: serde_json::Value = serde_json::from_str(&chat).unwrap();
    let next = json!({"model": "m", "messages": [said["choices"][0]["message"]]}).to_string();
    let skimmed = crate::contract::skim::skim(next.as_bytes()).unwrap();
    let request = codec(Dialect::OpenaiChat).unwrap().read_request(next.as_bytes(), &skimmed, &given("m")).unwrap();
    let quirks = super::Quirks::default();
    let to = super::To { model: "gemini-2.5-flash", output_tokens_max: None, quirks: &quirks };
    let written = String::from_utf8(gemini.write_request(&request, &to).body).unwrap();
    assert!(written.contains(r#""inlineData":{"mimeType":"image/png","data":"iVBORw0="}"#), "{written}");
}

/// What an answer lost is told apart from what a request lost, and once.
#[test]
fn losses_of_answers_have_names_of_their_own() {
    let mut notes = super::Notes::default();
    ["messages.image", "n", "messages.image"].iter().for_each(|what| notes.lose(what));
    assert_eq!(notes.lost, ["answer.image", "answer.n"]);
}

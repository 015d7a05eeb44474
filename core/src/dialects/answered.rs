//! For tests: what one provider answers, as callers of every dialect are told it, whole and as a stream.

use serde_json::json;

use super::codec;
use super::recorded::{events, given};
use crate::contract::Dialect;

const CALLERS: [Dialect; 7] = [
    Dialect::OpenaiChat,
    Dialect::OpenaiResponses,
    Dialect::AnthropicMessages,
    Dialect::Gemini,
    Dialect::BedrockConverse,
    Dialect::CohereChat,
    Dialect::OllamaChat,
];

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
        for ours in CALLERS {
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

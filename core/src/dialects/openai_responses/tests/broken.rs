//! Servers that tell less, errors after a 200, and whatever else bytes can be.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::streams::{in_order, noted, said, well_formed, write};
use crate::contract::canonical::event::{Event, StreamError};
use crate::dialects::frames::sse;
use crate::dialects::openai_responses::OpenaiResponses;
use crate::dialects::recorded::{events, given};
use crate::dialects::{Codec, Notes};

#[test]
fn servers_that_tell_less_are_read_as_well() {
    let item = json!({"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}"});
    let message = json!({"type": "message", "content": [{"type": "output_text", "text": "hi", "annotations": []}]});
    let completed = json!({"type": "response.completed", "response": {"status": "completed", "output": [message]}});
    let texts = |body: String| said(&events(&OpenaiResponses, &given("m"), body.as_bytes()).unwrap());
    let frames = |list: &[Value]| -> String { list.iter().map(|e| format!("data: {e}\n\n")).collect() };
    for (body, expected, why) in [
        (frames(std::slice::from_ref(&completed)), "Text: \"hi\"", "only the last event"),
        (
            frames(&[
                json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "function_call", "call_id": "c1", "name": "f"}}),
                json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
                completed.clone(),
            ]),
            "ToolCall { id: \"c1\", name: \"f\" }: \"{\\\"a\\\":1}\"",
            "arguments in the finished item only",
        ),
        (
            frames(&[
                json!({"type": "response.created", "response": {}}),
                json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "hi"}),
            ]) + "data: [DONE]\n\n",
            "Text: \"hi\"",
            "no item was added, and [DONE] is the only end",
        ),
        (
            frames(&[
                json!({"type": "response.something.new", "output_index": 7, "delta": {}}),
                json!({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "hi"}),
                completed.clone(),
            ]),
            "Text: \"hi\"",
            "unknown events are passed over, a text without pieces is told whole",
        ),
    ] {
        let told = texts(body);
        assert!(
            told[0].starts_with(expected) && told.iter().any(|t| t == "Stop" || t == "ToolCalls"),
            "{why}: {told:?}"
        );
    }
}

#[test]
fn errors_after_a_200_end_the_stream() {
    let created = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}\n\n";
    for (frame, code, message) in [
        (
            "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"An error occurred\",\"param\":null}\n\n",
            Some("server_error"),
            "An error occurred",
        ),
        (
            "data: {\"type\":\"error\",\"error\":{\"type\":\"server_error\",\"code\":null,\"message\":\"oh\"}}\n\n",
            Some("server_error"),
            "oh",
        ),
        (
            "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"slow\"}}}\n\n",
            Some("rate_limit_exceeded"),
            "slow",
        ),
        ("data: {\"error\":{\"code\":502,\"message\":\"upstream\"}}\n\n", Some("502"), "upstream"),
        ("error: {\"code\":500,\"message\":\"broken\"}\n\n", Some("500"), "broken"),
    ] {
        let body = format!("{created}{frame}{created}data: [DONE]\n\n");
        let told = events(&OpenaiResponses, &given("m"), body.as_bytes()).unwrap();
        let status = code.and_then(|code| code.parse().ok());
        let error = StreamError { message: message.to_owned(), code: code.map(str::to_owned), status };
        assert_eq!(told.last(), Some(&Event::Error(error)), "{frame}");
        let notes = noted(body.as_bytes());
        assert_eq!((notes.error.as_deref(), notes.done), (Some(message), false), "{frame}");
    }
}

const PIECES: [&str; 16] = [
    r#"{"type":"response.created","response":{"id":"resp_1","model":"m"}}"#,
    r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"rs_1"}}"#,
    r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"a"}"#,
    r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":1,"delta":"b"}"#,
    r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","encrypted_content":"x"}}"#,
    r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"message"}}"#,
    r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"c","logprobs":[{"token":"c"}]}"#,
    r#"{"type":"response.output_text.annotation.added","output_index":1,"content_index":0,"annotation":{"type":"url_citation","url":"u"}}"#,
    r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"message","content":[{"type":"output_text","text":"c"}]}}"#,
    r#"{"type":"response.output_item.added","output_index":2,"item":{"type":"custom_tool_call","call_id":"c","name":"f"}}"#,
    r#"{"type":"response.custom_tool_call_input.delta","output_index":2,"delta":"d\"\u00e4"}"#,
    r#"{"type":"response.output_item.done","output_index":2,"item":{"type":"custom_tool_call","call_id":"c","name":"f","input":"d"}}"#,
    r#"{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":1}}}"#,
    r#"{"type":"error","message":"e"}"#,
    r#"{"type":7,"output_index":9}"#,
    "[DONE]",
];

proptest! {
    #[test]
    fn any_order_of_pieces_keeps_the_promise(pieces in proptest::collection::vec(0..PIECES.len(), 0..24)) {
        let text: String = pieces.iter().map(|at| format!("data: {}\n\n", PIECES[*at])).collect();
        let told = events(&OpenaiResponses, &given("m"), text.as_bytes()).unwrap();
        in_order("any order", &told);
        let bytes = write(&told, &given("m"));
        if told.iter().any(|e| matches!(e, Event::Done)) {
            well_formed("any order", &bytes);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), wrap in "(data: |event: error\n)?") {
        let mut text = wrap.into_bytes();
        text.extend_from_slice(&bytes);
        let _ = events(&OpenaiResponses, &given("m"), &text);
        let _ = OpenaiResponses.read_answer(&bytes, &given("m")).map(|a| OpenaiResponses.write_answer(&a, &given("m")));
        let _ = OpenaiResponses.glance(&bytes);
        let _ = OpenaiResponses.read_error(http::StatusCode::BAD_REQUEST, &http::HeaderMap::new(), &bytes);
        OpenaiResponses.note(&sse::read(&text), &mut Notes::default());
    }
}

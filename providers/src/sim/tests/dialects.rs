//! One question in every dialect, read back by the core's own readers.

use bytes::Bytes;
use tollgate_core::contract::canonical::event::{Begins, Delta, Event};
use tollgate_core::contract::canonical::part::Kind;
use tollgate_core::contract::usage::Usage;
use tollgate_core::dialects::frames::{self, Framing};
use tollgate_core::dialects::paths;

use super::*;

/// The paths of a whole answer and of a stream, and the body of a question (`MODEL` is replaced).
const SPOKEN: [(&str, &str, &str); 8] = [
    (
        "/v1/chat/completions",
        "/v1/chat/completions",
        r#"{"model":"MODEL","messages":[{"role":"user","content":"Tell me"}]}"#,
    ),
    ("/v1/responses", "/v1/responses", r#"{"model":"MODEL","input":"Tell me"}"#),
    (
        "/v1/messages",
        "/v1/messages",
        r#"{"model":"MODEL","max_tokens":99,"messages":[{"role":"user","content":"Tell me"}]}"#,
    ),
    (
        "/v1beta/models/MODEL:generateContent",
        "/v1beta/models/MODEL:streamGenerateContent?alt=sse",
        r#"{"contents":[{"role":"user","parts":[{"text":"Tell me"}]}]}"#,
    ),
    (
        "/v1beta/models/MODEL:generateContent",
        "/v1/models/MODEL:streamGenerateContent",
        r#"{"contents":[{"role":"user","parts":[{"text":"Tell me"}]}]}"#,
    ),
    (
        "/model/MODEL/converse",
        "/model/MODEL/converse-stream",
        r#"{"messages":[{"role":"user","content":[{"text":"Tell me"}]}]}"#,
    ),
    ("/v2/chat", "/v2/chat", r#"{"model":"MODEL","messages":[{"role":"user","content":"Tell me"}]}"#),
    ("/api/chat", "/api/chat", r#"{"model":"MODEL","messages":[{"role":"user","content":"Tell me"}]}"#),
];

fn given() -> Given<'static> {
    Given {
        call_id: "c",
        now_s: 0,
        model: "sim-1",
        stream: false,
        include_usage: true,
        as_array: false,
        own_tools: &[],
        asked: &[],
    }
}

/// One call, streamed or not, in the dialect of a row.
async fn call(
    base: &str,
    (whole, streamed, body): (&str, &str, &str),
    model: &str,
    stream: bool,
) -> (Dialect, reqwest::Response) {
    let path = if stream { streamed } else { whole };
    let address = paths::address(path.split('?').next().unwrap()).unwrap();
    let mut body: Value = serde_json::from_str(&body.replace("MODEL", model)).unwrap();
    if address.stream.is_none() {
        body["stream"] = stream.into();
        if stream && address.dialect == Dialect::OpenaiChat {
            body["stream_options"] = json!({ "include_usage": true });
        }
    }
    let url = format!("{base}{}", path.replace("MODEL", &model.replace('?', "%3F")));
    (address.dialect, reqwest::Client::new().post(url).body(body.to_string()).send().await.unwrap())
}

fn framing(response: &reqwest::Response) -> Framing {
    match response.headers()["content-type"].to_str().unwrap().split(';').next().unwrap() {
        "text/event-stream" => Framing::Sse,
        "application/x-ndjson" => Framing::Ndjson,
        "application/vnd.amazon.eventstream" => Framing::EventStream,
        "application/json" => Framing::JsonArray,
        other => panic!("{other}"),
    }
}

/// What a stream told, and whether each of its frames could be read.
async fn told(dialect: Dialect, response: reqwest::Response) -> (Vec<Event>, bool) {
    let framing = framing(&response);
    let bytes: Bytes = response.bytes().await.unwrap();
    let (mut framer, mut cut, mut events) = (frames::framer(framing), Vec::new(), Vec::new());
    let mut readable = framer.feed(bytes, &mut cut).is_ok();
    let mut reader = codec(dialect).unwrap().stream_reader(&given());
    for frame in &cut {
        let read = frames::read(framing, frame);
        readable &= read.data.is_empty() || reader.frame(&read, &mut events).is_ok();
    }
    reader.end(&mut events);
    (events, readable)
}

fn text(events: &[Event]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        Event::Delta { delta: Delta::Text(text), .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn usage(events: &[Event]) -> Option<Usage> {
    events.iter().rev().find_map(|event| match event {
        Event::Usage(usage) => Some(*usage),
        _ => None,
    })
}

#[tokio::test]
async fn every_dialect_says_the_same_words_and_the_same_usage() {
    let base = start().await;
    let mut first: Option<(String, Usage)> = None;
    for row in SPOKEN {
        let (dialect, response) = call(&base, row, "sim-1", false).await;
        let (status, body) = (response.status(), response.bytes().await.unwrap());
        assert_eq!(status, 200, "{row:?}: {body:?}");
        let answer = codec(dialect).unwrap().read_answer(&body, &given()).unwrap();
        let words: String = answer.choices[0].parts.iter().filter_map(|part| part.as_text()).collect();
        let known = first.get_or_insert_with(|| (words.clone(), answer.usage.unwrap()));
        assert_eq!((&words, answer.usage), (&known.0, Some(known.1)), "{row:?}");
        let (dialect, response) = call(&base, row, "sim-1", true).await;
        let (events, readable) = told(dialect, response).await;
        assert!(readable && events.contains(&Event::Done), "{row:?}: {events:?}");
        assert_eq!((text(&events), usage(&events)), (words, Some(known.1)), "{row:?}");
    }
    let (words, usage) = first.unwrap();
    assert!(words.starts_with("sim: Tell me") && usage.output == 16, "{words}");
}

#[tokio::test]
async fn what_is_scripted_happens_in_every_dialect() {
    let base = start().await;
    for row in SPOKEN {
        for (model, status, category) in [
            ("sim-1?status=429", 429, "rate_limited"),
            ("sim-1?status=500", 500, "upstream_outage"),
            ("sim-1?status=401", 401, "auth"),
            ("sim-1?error=quota", 0, "budget_exceeded"),
            ("sim-1?error=context", 400, "context_length"),
            ("sim-1?latncy=1", 400, "invalid_request"),
        ] {
            let (dialect, response) = call(&base, row, model, true).await;
            let (got, headers) = (response.status(), response.headers().clone());
            let body = response.bytes().await.unwrap();
            let said = codec(dialect).unwrap().read_error(got, &headers, &body);
            let said = said.unwrap_or_else(|| panic!("{row:?} {model}: {body:?}"));
            assert!(status == 0 || got == status, "{row:?} {model}: {got}");
            // Bedrock tells a wrong key as forbidden.
            let forbidden = said.category.name() == "permission" && category == "auth";
            assert!(said.category.name() == category || forbidden, "{row:?} {model}: {said:?}");
        }
        let (dialect, response) = call(&base, row, "sim-1?error_at=2", true).await;
        let (events, _) = told(dialect, response).await;
        assert!(matches!(events.last(), Some(Event::Error(_))), "{row:?}: {events:?}");
        let (dialect, response) = call(&base, row, "sim-1?malformed=2", true).await;
        let (_, readable) = told(dialect, response).await;
        assert!(!readable, "{row:?}: a broken event was read");
        let (dialect, response) = call(&base, row, "sim-1?nodone", true).await;
        // What only ends the array was the last event.
        let is_array = framing(&response) == Framing::JsonArray;
        let (events, _) = told(dialect, response).await;
        // These are complete without their last event where a reason to finish was told.
        let told_before = matches!(dialect, Dialect::OpenaiChat | Dialect::CohereChat | Dialect::BedrockConverse);
        let lenient = is_array || told_before;
        assert!(lenient || !events.contains(&Event::Done), "{row:?}: {events:?}");
        let (_, response) = call(&base, row, "sim-1?cut=2", true).await;
        assert!(response.bytes().await.is_err(), "{row:?}: a cut stream looked whole");
        for script in ["crlf", "comments", "split"] {
            let (dialect, response) = call(&base, row, &format!("sim-1?{script}"), true).await;
            let (events, readable) = told(dialect, response).await;
            assert!(readable && text(&events).contains("日本語"), "{row:?} {script}: {events:?}");
        }
        let (dialect, response) = call(&base, row, "sim-1?usage=none", true).await;
        let counted = usage(&told(dialect, response).await.0).is_some_and(|usage| usage.output > 0);
        assert!(!counted, "{row:?}: it told a usage that it should keep");
    }
}

#[tokio::test]
async fn tools_thoughts_and_schemas_are_answered_in_kind() {
    let base = start().await;
    let schema = json!({ "type": "object", "properties": { "city": { "$ref": "#/$defs/city" } }, "$defs": { "city": { "type": "string" } } });
    let body = json!({
        "model": "sim-1", "max_tokens": 99, "thinking": { "type": "enabled", "budget_tokens": 1024 },
        "tools": [{ "name": "look", "input_schema": schema }],
        "messages": [{ "role": "user", "content": "look there" }],
    });
    let (_, answered) = post(&base, "/messages", body.clone()).await;
    let answer = codec(Dialect::AnthropicMessages).unwrap().read_answer(answered.as_bytes(), &given()).unwrap();
    let [thoughts, call] = &answer.choices[0].parts[..] else { panic!("{answered}") };
    assert!(matches!(&thoughts.kind, Kind::Reasoning(r) if r.text == "sim thinks of this"), "{answered}");
    assert!(thoughts.signature.is_some(), "{answered}");
    assert!(matches!(&call.kind, Kind::ToolCall(c) if c.arguments == r#"{"city":"sim"}"#), "{answered}");
    let mut streamed = body;
    streamed["stream"] = true.into();
    let url = format!("{base}/v1/messages");
    let response = reqwest::Client::new().post(url).body(streamed.to_string()).send().await.unwrap();
    let (events, _) = told(Dialect::AnthropicMessages, response).await;
    let begun: Vec<&Begins> =
        events.iter().filter_map(|e| if let Event::Begin { kind, .. } = e { Some(kind) } else { None }).collect();
    assert!(matches!(begun[..], [Begins::Reasoning { .. }, Begins::ToolCall { .. }]), "{begun:?}");
    let result = json!({ "contents": [
        { "role": "user", "parts": [{ "text": "look there" }] },
        { "role": "model", "parts": [{ "functionCall": { "name": "look", "args": {} } }] },
        { "role": "user", "parts": [{ "functionResponse": { "name": "look", "response": { "output": "sunny" } } }] },
    ], "tools": [{ "functionDeclarations": [{ "name": "look" }] }] });
    let url = format!("{base}/v1beta/models/sim-1:generateContent");
    let answered =
        reqwest::Client::new().post(url).body(result.to_string()).send().await.unwrap().text().await.unwrap();
    assert!(
        answered.contains("sunny") && !answered.contains("functionCall"),
        "a result is told, not called for again: {answered}"
    );
    let json = json!({ "model": "sim-1", "input": "x", "text": { "format": { "type": "json_schema", "name": "s", "schema": schema } } });
    let (_, answered) = post(&base, "/responses", json).await;
    assert!(answered.contains(r#"{\"city\":\"sim\"}"#), "{answered}");
}

#[tokio::test]
async fn prompts_are_counted_and_texts_embedded() {
    let base = start().await;
    let client = reqwest::Client::new();
    for (path, body, pointer, expected) in [
        (
            "/v1/messages/count_tokens",
            r#"{"model":"m","messages":[{"role":"user","content":"12345678"}]}"#,
            "/input_tokens",
            "3",
        ),
        ("/v1beta/models/m:countTokens", r#"{"contents":[{"parts":[{"text":"12345678"}]}]}"#, "/totalTokens", "3"),
        (
            "/v1beta/models/m:embedContent",
            r#"{"content":{"parts":[{"text":"a"}]},"outputDimensionality":1}"#,
            "/embedding/values",
            "[1.0]",
        ),
        (
            "/v1beta/models/m:batchEmbedContents",
            r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]},"outputDimensionality":1}]}"#,
            "/embeddings/0/values",
            "[1.0]",
        ),
        (
            "/v2/embed",
            r#"{"model":"m","texts":["a"],"input_type":"search_query","embedding_types":["int8"],"output_dimension":1}"#,
            "/embeddings/int8/0",
            "[127]",
        ),
    ] {
        let answered = client.post(format!("{base}{path}")).body(body).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answered).unwrap();
        let got = answer.pointer(pointer).unwrap_or_else(|| panic!("{path}: {answered}"));
        assert_eq!(got.to_string().replace("-", ""), expected, "{path}");
    }
}

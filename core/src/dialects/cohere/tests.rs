//! Cohere against its recordings; requests that are wrong or foreign; errors.

use serde_json::{Value, json};

use super::*;
use crate::contract::canonical::event::Event;
use crate::contract::refusal::Category;
use crate::contract::usage::Usage;
use crate::dialects::retold::{
    GIVEN, answer_lines, answers_only, event_lines, exchanges, golden, golden_input, read_stream, request_lines,
    with_request, write_request, write_stream,
};

/// What may differ, for it says the same: nulls; a text and a list of that one text; an empty text beside calls; `stream`
/// without words; what a tool gave as a document and as the JSON of that document.
fn normal_request(mut body: Value) -> Value {
    body.as_object_mut().unwrap().entry("stream").or_insert(Value::Bool(false));
    for message in body["messages"].as_array_mut().unwrap() {
        if let Some(text) = message["content"].as_str().map(str::to_owned) {
            message["content"] = json!([{"type": "text", "text": text}]);
        }
        let given_by_tool = message["role"] == "tool";
        for part in message["content"].as_array_mut().into_iter().flatten().filter(|_| given_by_tool) {
            let data = match part["type"] == "document" {
                true => part["document"]["data"].clone(),
                false => serde_json::from_str(part["text"].as_str().unwrap_or_default()).unwrap_or(Value::Null),
            };
            if data.is_object() {
                *part = data;
            }
        }
        let said = message["content"] == json!([{"type": "text", "text": ""}]) && message.get("tool_calls").is_some();
        if said || message["content"].is_null() {
            message.as_object_mut().unwrap().remove("content");
        }
    }
    without_nulls(body)
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            members.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn recorded_usage(told: &Value) -> Option<Usage> {
    let billed = told.get("billed_units")?;
    let count = |v: &Value| v.as_u64().unwrap_or(0);
    let (input, output) = (count(&billed["input_tokens"]), count(&billed["output_tokens"]));
    let cached_input = count(&told["cached_tokens"]).min(input);
    let reasoning = count(&told["tokens"]["reasoning_tokens"]).min(output);
    Some(Usage { input: input - cached_input, cached_input, output: output - reasoning, reasoning, ..Usage::default() })
}

#[test]
fn recorded_requests_come_back() {
    for (name, exchange) in exchanges("cohere.v2.chat") {
        let body = exchange["request"]["body"].to_string();
        let written = with_request(&Cohere, body.as_bytes(), |request| {
            let request = request.unwrap();
            assert_eq!(request.losses(carries), [], "{name}: all that real clients sent is understood");
            write_request(&Cohere, &request)
        });
        assert_eq!(written.lost, [], "{name}");
        let written: Value = serde_json::from_slice(&written.body).unwrap();
        assert_eq!(normal_request(written), normal_request(exchange["request"]["body"].clone()), "{name}");
    }
}

#[test]
fn recorded_answers_come_back() {
    let mut seen = 0;
    for (name, exchange) in exchanges("cohere.v2.chat") {
        let response = &exchange["response"];
        if response["body_encoding"] != "json" || response["status"] != 200 {
            continue;
        }
        seen += 1;
        let body = response["body"].to_string();
        let answer = Cohere.read_answer(body.as_bytes(), &GIVEN).unwrap();
        assert_eq!(answer.usage, recorded_usage(&exchange["usage"]), "{name}");
        let notes = Cohere.glance(body.as_bytes());
        assert_eq!((notes.usage, notes.done), (answer.usage, true), "{name}: beside the bytes the same is read");
        assert_eq!(notes.finish_reason.as_deref(), response["body"]["finish_reason"].as_str());
        let written = Cohere.write_answer(&answer, &GIVEN);
        assert_eq!(written.lost, [], "{name}");
        let again = Cohere.read_answer(&written.body, &GIVEN).unwrap();
        assert_eq!(again.usage, answer.usage, "{name}");
        let (mut written, mut recorded) = (serde_json::from_slice(&written.body).unwrap(), response["body"].clone());
        // The second count of tokens is not kept, for it is not paid for.
        for body in [&mut written, &mut recorded] {
            Value::as_object_mut(body).unwrap().remove("usage");
        }
        assert_eq!(written, recorded, "{name}");
    }
    assert!(seen != 0 || exchanges("cohere.v2.chat").is_empty());
}

#[test]
fn recorded_streams_come_back() {
    for (name, exchange) in exchanges("cohere.v2.chat") {
        let response = &exchange["response"];
        if response["body_encoding"] != "text" {
            continue;
        }
        let body = response["body"].as_str().unwrap().as_bytes();
        let (events, notes) = read_stream(&Cohere, body, &[]).unwrap();
        assert_eq!(events.last(), Some(&Event::Done), "{name}");
        assert_eq!(notes.usage, recorded_usage(&exchange["usage"]), "{name}");
        assert!(events.contains(&Event::Usage(notes.usage.unwrap())) && notes.done, "{name}");
        let written = write_stream(&Cohere, &events);
        let (again, notes_again) = read_stream(&Cohere, &written, &[]).unwrap();
        assert_eq!(again, events, "{name}");
        assert_eq!(notes_again, notes, "{name}");
        assert!(written.ends_with(b"data: [DONE]\n\n"), "{name}");
    }
}

#[test]
fn recorded_answers_without_requests_come_back() {
    for answer in answers_only("cohere") {
        let id = &answer["id"];
        if let Some(chunks) = answer["chunks"].as_array() {
            let stream: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
            let (events, notes) = read_stream(&Cohere, stream.as_bytes(), &[]).unwrap();
            assert!(events.last() == Some(&Event::Done) && notes.done && notes.usage.is_some(), "{id}");
            assert_eq!(read_stream(&Cohere, &write_stream(&Cohere, &events), &[]).unwrap(), (events, notes), "{id}");
        } else if answer["body"].get("message").is_some() {
            let body = answer["body"].to_string();
            let read = Cohere.read_answer(body.as_bytes(), &GIVEN).unwrap();
            let written: Value = serde_json::from_slice(&Cohere.write_answer(&read, &GIVEN).body).unwrap();
            assert_eq!(written["message"], answer["body"]["message"], "{id}");
            assert_eq!(written["finish_reason"], answer["body"]["finish_reason"], "{id}");
        }
    }
}

#[test]
fn recorded_embeddings_and_rankings_tell_what_they_bill() {
    for api in ["cohere.v2.embed", "cohere.v2.rerank"] {
        for (name, exchange) in exchanges(api) {
            let body = exchange["response"]["body"].to_string();
            let read = usage::billed;
            let units = &exchange["usage"]["billed_units"];
            let count = |name: &str| units[name].as_u64().unwrap_or(0);
            let expected = units.is_object().then(|| usage::Billed {
                input_tokens: count("input_tokens"),
                image_tokens: count("image_tokens"),
                images: count("images"),
                search_units: count("search_units"),
            });
            assert_eq!(read(body.as_bytes()), expected, "{name}");
            assert_eq!(Cohere.glance(body.as_bytes()).usage, expected.map(|billed| billed.usage()), "{name}");
        }
    }
    let billed = usage::billed(br#"{"meta":{"billed_units":{"input_tokens":3,"image_tokens":4.0}}}"#).unwrap();
    assert_eq!(billed.usage().total(), 7);
    assert_eq!(usage::billed(b"{}"), None, "nothing billed, nothing told");
}

fn text(bytes: Vec<u8>) -> String {
    format!("{}\n", String::from_utf8(bytes).unwrap())
}

#[test]
fn golden_files() {
    let request = golden_input("cohere", "request.json");
    let (read, written) = with_request(&Cohere, &request, |request| {
        let request = request.unwrap();
        (request_lines(&request), write_request(&Cohere, &request))
    });
    golden("cohere", "request.read.txt", &read);
    golden("cohere", "request.written.json", &text(written.body));
    let answer = golden_input("cohere", "answer.json");
    let answer = Cohere.read_answer(&answer, &GIVEN).unwrap();
    golden("cohere", "answer.read.txt", &answer_lines(&answer));
    golden("cohere", "answer.written.json", &text(Cohere.write_answer(&answer, &GIVEN).body));
    let (events, _) = read_stream(&Cohere, &golden_input("cohere", "stream.sse"), &[]).unwrap();
    golden("cohere", "stream.read.txt", &event_lines(&events));
    let written = String::from_utf8(write_stream(&Cohere, &events)).unwrap();
    golden("cohere", "stream.written.sse", &written);
    assert_eq!(read_stream(&Cohere, written.as_bytes(), &[]).unwrap().0, events);
}

#[test]
fn wrong_requests_name_their_place() {
    for (body, told) in [
        (
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":1}]}]}"#,
            "`messages[0].content[0].text` must be a text",
        ),
        (r#"{"messages":[{"role":"tool","content":"x"}]}"#, "`messages[0]` must have a `tool_call_id`"),
        (r#"{"messages":[{"role":"judge"}]}"#, "`messages[0]` must have the `role` `system`"),
        (r#"{"tool_choice":"required"}"#, "`tool_choice` must be `REQUIRED`"),
        (r#"{"thinking":{"type":"maybe"}}"#, "`thinking` must have the `type`"),
        (r#"{"response_format":{"type":"text","json_schema":{}}}"#, "`response_format` must have the `type`"),
        (
            r#"{"response_format":{"type":"json_object","json_schema":7}}"#,
            "`response_format.json_schema` must be an object",
        ),
        (r#"{"documents":[{"id":"x"}],"messages":[{"role":"user","content":""}]}"#, "`documents[0]` must have `data`"),
        (r#"{"tools":[{"type":"function"}]}"#, "`tools[0]` must have a `function`"),
        (r#"{"k":-1}"#, "`k` must be a whole number"),
    ] {
        let wrong = with_request(&Cohere, body.as_bytes(), |request| request.unwrap_err().to_string());
        assert!(wrong.starts_with(told), "{body}: {wrong}");
    }
}

#[test]
fn what_is_not_understood_is_named() {
    let body = r#"{"messages":[{"role":"user","name":"x","content":[{"type":"text","text":"a","mark":1}]}],
        "priority":1,"thinking":{"type":"enabled","depth":2},"citation_options":{"mode":"FAST"},"seed":null,"raw":null}"#;
    let extra: Vec<String> =
        with_request(&Cohere, body.as_bytes(), |r| r.unwrap().extra.into_iter().map(|(path, _)| path).collect());
    let expected =
        ["messages[0].name", "messages[0].content[0].mark", "priority", "thinking.depth", "citation_options.mode"];
    assert_eq!(extra, expected);
}

/// A foreign request with values that Cohere cannot say.
#[test]
fn values_that_cannot_be_said_are_told() {
    use crate::contract::canonical::{Function, Logprobs, ReasoningAsk, Tool, ToolChoice};
    use crate::contract::read::Number;
    let tool =
        |name: &'static str, strict| Tool::Function(Function { name: name.into(), strict, ..Function::default() });
    let request = Request {
        tools: vec![tool("a", Some(true)), tool("b", None), tool("c", None)],
        tool_choice: Some(ToolChoice::Among { names: vec!["a".into(), "b".into()], required: true }),
        presence_penalty: Some(Number("-0.5".into())),
        top_k: Some(900),
        stop: vec!["x".into(); 7],
        logprobs: Some(Logprobs { top: Some(3) }),
        reasoning: Some(ReasoningAsk { effort: Some("low".into()), ..ReasoningAsk::default() }),
        ..Request::default()
    };
    let written = write_request(&Cohere, &request);
    let lost: Vec<&str> = written.lost.iter().map(|l| &*l.what).collect();
    assert_eq!(lost, ["tools.strict", "top_k", "presence_penalty", "stop", "logprobs", "reasoning"]);
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    let names: Vec<&Value> = body["tools"].as_array().unwrap().iter().map(|t| &t["function"]["name"]).collect();
    assert_eq!(
        (json!(names), &body["tool_choice"]),
        (json!(["a", "b"]), &json!("REQUIRED")),
        "one of these two, and some one"
    );
    assert_eq!(body["thinking"], json!({"type": "enabled"}));
    assert_eq!(body["stop_sequences"].as_array().unwrap().len(), 5);
    assert_eq!(body.get("presence_penalty"), None);
}

#[test]
fn errors_have_their_category() {
    let none = HeaderMap::new();
    for (status, body, category, code) in [
        (400, r#"{"id":"x","message":"invalid request: k must be at most 500"}"#, Category::InvalidRequest, None),
        (400, r#"{"message":"too many tokens: size limit exceeded by 31 tokens"}"#, Category::ContextLength, None),
        (401, r#"{"id":"x","message":"invalid api token"}"#, Category::Auth, None),
        (402, r#"{"message":"add a payment method"}"#, Category::BudgetExceeded, None),
        (403, r#"{"message":"no access"}"#, Category::Permission, None),
        (404, r#"{"id":"x","message":"model 'm' was removed"}"#, Category::NoRoute, None),
        (422, r#"{"message":"x","error_type":"unprocessable"}"#, Category::InvalidRequest, Some("unprocessable")),
        (429, r#"{"message":"Too many requests"}"#, Category::RateLimited, None),
        (429, r#"{"message":"a Trial key is limited to 1000 API calls / month"}"#, Category::BudgetExceeded, None),
        (498, r#"{"message":"blocked"}"#, Category::ContentFiltered, None),
        (499, r#"{"message":"request cancelled"}"#, Category::Interrupted, None),
        (500, r#"{"message":"internal server error, this has been reported"}"#, Category::UpstreamOutage, None),
        (501, r#"{"message":"not implemented"}"#, Category::Unsupported, None),
        (503, r#"{"message":"service unavailable"}"#, Category::Overloaded, None),
        (504, r#"{"message":"gateway timeout"}"#, Category::Timeout, None),
    ] {
        let said = Cohere.read_error(StatusCode::from_u16(status).unwrap(), &none, body.as_bytes()).unwrap();
        assert_eq!((said.category, said.code.as_deref()), (category, code), "{status} {body}");
    }
    for body in ["", "<html>502</html>", "[]", r#"{"message":{}}"#] {
        assert_eq!(
            Cohere.read_error(StatusCode::BAD_GATEWAY, &none, body.as_bytes()),
            None,
            "{body}: none of Cohere's"
        );
    }
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "2.5".parse().unwrap());
    let said = Cohere.read_error(StatusCode::TOO_MANY_REQUESTS, &headers, br#"{"message":"x"}"#).unwrap();
    assert_eq!(said.retry_after, Some(std::time::Duration::from_millis(2_500)));
    for (_, exchange) in exchanges("cohere.v2.embed") {
        if exchange["response"]["status"] == 404 {
            let body = exchange["response"]["body"].to_string();
            let said = Cohere.read_error(StatusCode::NOT_FOUND, &none, body.as_bytes()).unwrap();
            assert_eq!(said.category, Category::NoRoute);
        }
    }
}

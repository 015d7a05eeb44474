//! Tables: what failures mean, what requests become for each generation of models, and what cannot be said.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{round, to};
use crate::contract::canonical::element::Element;
use crate::contract::canonical::part::{
    Kind, Maker, Media, MediaKind, Message, Part, Reasoning, Role, Signature, Source,
};
use crate::contract::canonical::part::{ToolCall, ToolResult};
use crate::contract::canonical::{CacheMark, Format, Function, ReasoningAsk, Request, Tool, ToolChoice};
use crate::contract::read::Number;
use crate::contract::refusal::{Category, Refusal};
use crate::dialects::anthropic::Anthropic;
use crate::dialects::recorded::{exchanges, given};
use crate::dialects::{Codec, Quirks, Said, To};

fn said(status: u16, header: Option<(&'static str, &str)>, kind: &str, message: &str) -> Option<Said> {
    let mut headers = HeaderMap::new();
    if let Some((name, value)) = header {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let body = json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}).to_string();
    Anthropic.read_error(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
}

#[test]
fn failures_have_their_category() {
    use Category::*;
    for (status, kind, message, category) in [
        (400, "invalid_request_error", "max_tokens: Field required", InvalidRequest),
        (400, "invalid_request_error", "prompt is too long: 3333404 tokens > 200000 maximum", ContextLength),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2", ContextLength),
        (400, "invalid_request_error", "Your credit balance is too low to access the API", BudgetExceeded),
        (400, "invalid_request_error", "Output blocked by content filtering policy", ContentFiltered),
        (401, "authentication_error", "invalid x-api-key", Auth),
        (402, "billing_error", "", BudgetExceeded),
        (403, "permission_error", "", Permission),
        (404, "not_found_error", "model: claude-does-not-exist", NoRoute),
        (409, "conflict_error", "", Conflict),
        (413, "request_too_large", "Request exceeds the maximum size", TooLarge),
        (429, "rate_limit_error", "Rate limit reached", RateLimited),
        (500, "api_error", "Internal server error", UpstreamOutage),
        (504, "timeout_error", "", Timeout),
        (529, "overloaded_error", "Overloaded", Overloaded),
        (529, "new_error", "", Overloaded),
        (418, "new_error", "", InvalidRequest),
    ] {
        let said = said(status, None, kind, message).unwrap();
        assert_eq!((said.category, said.code.as_deref()), (category, Some(kind)), "{status} {message}");
        assert_eq!(said.message, message);
    }
    let delays = [("retry-after", "12", 12_000), ("retry-after-ms", "150", 150), ("retry-after", "soon", 0)];
    for (name, value, ms) in delays {
        let delay = said(429, Some((name, value)), "rate_limit_error", "").unwrap().retry_after;
        assert_eq!(delay, (ms > 0).then(|| Duration::from_millis(ms)), "{name}: {value}");
    }
    assert_eq!(said(400, Some(("x-should-retry", "false")), "x", "").unwrap().retryable, Some(false));
    for body in ["", "<html>", "{}", r#"{"error":"no"}"#, r#"{"error":{}}"#, "[]"] {
        let none = Anthropic.read_error(StatusCode::BAD_GATEWAY, &HeaderMap::new(), body.as_bytes());
        assert_eq!(none, None, "{body}: no error of this dialect");
    }
}

#[test]
fn recorded_failures_are_understood() {
    for exchange in exchanges("anthropic.messages").iter().filter(|e| e.status >= 400) {
        let status = StatusCode::from_u16(exchange.status).unwrap();
        let said = Anthropic.read_error(status, &exchange.headers, &exchange.body).unwrap();
        assert!(!said.message.is_empty() && said.code.is_some(), "{}", exchange.id);
        assert!(!said.category.retryable(), "{}: {said:?}", exchange.id);
    }
}

#[test]
fn refusals_are_errors_of_this_dialect() {
    let refusal = Refusal { retry_after_ms: Some(5), ..Refusal::new(Category::RateLimited, "too_fast", "slow down") };
    let told: Value = serde_json::from_str(&Anthropic.write_refusal(&refusal, "req_7")).unwrap();
    assert_eq!((&told["type"], &told["request_id"]), (&json!("error"), &json!("req_7")));
    assert_eq!((&told["error"]["type"], &told["error"]["message"]), (&json!("rate_limit_error"), &json!("slow down")));
    assert_eq!(told["error"]["details"]["error_code"], "too_fast");
    assert_eq!(told["error"]["tollgate"], refusal.tollgate_object("req_7"));
    let said = Anthropic.read_error(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), told.to_string().as_bytes());
    assert_eq!(said.unwrap().category, Category::RateLimited);
}

fn user<'a>(parts: Vec<Part<'a>>) -> Message<'a> {
    Message { role: Role::User, name: None, parts }
}

fn message<'a>(role: Role, text: &'a str) -> Message<'a> {
    Message { role, name: None, parts: vec![Part::text(text)] }
}

/// The body, and what was lost by name.
fn write(request: &Request<'_>, model: &str) -> (Value, Vec<String>) {
    let written = Anthropic.write_request(request, &to(model));
    let lost = written.lost.iter().map(|l| l.what.to_string()).collect();
    (serde_json::from_slice(&written.body).unwrap(), lost)
}

#[test]
fn sampling_is_said_where_the_model_takes_it() {
    for (temperature, top_p, model, written, lost, why) in [
        ("0.20", "0.9", "claude-3-haiku-20240307", json!([0.2, 0.9]), vec![], "the oldest take both"),
        ("1.5", "1", "claude-sonnet-4-5", json!([null, null]), vec!["temperature"], "above the most"),
        ("0.2", "0.9", "claude-sonnet-4-5", json!([0.2, null]), vec!["top_p"], "one of the two"),
        ("0.2", "1.0", "claude-sonnet-4-5", json!([0.2, null]), vec![], "1 is no wish"),
        ("1.0", "1", "claude-opus-4-8", json!([null, null]), vec![], "neither is"),
        ("0.2", "1", "claude-opus-4-8", json!([null, null]), vec!["temperature"], "the newest take none"),
    ] {
        let number = |text: &'static str| Some(Number(text.into()));
        let request = Request { temperature: number(temperature), top_p: number(top_p), ..Request::default() };
        let (body, told) = write(&request, model);
        assert_eq!(json!([body["temperature"], body["top_p"]]), written, "{model}: {why}");
        assert_eq!(told, lost, "{model}: {why}");
    }
}

#[test]
fn max_tokens_always_stands() {
    for (asked, most, written, why) in [
        (None, None, 4_096, "nobody knows"),
        (None, Some(8_192), 8_192, "what the model can"),
        (None, Some(128_000), 64_000, "not more than is sensible"),
        (Some(100_000), Some(8_192), 8_192, "it could not say more"),
        (Some(5), None, 5, "the caller's word"),
    ] {
        let request = Request { max_tokens: asked, ..Request::default() };
        let to = To { output_tokens_max: most, ..to("claude-sonnet-4-5") };
        let body: Value = serde_json::from_slice(&Anthropic.write_request(&request, &to).body).unwrap();
        assert_eq!(body["max_tokens"], json!(written), "{why}");
    }
}

#[test]
fn thinking_gives_way_to_what_excludes_it() {
    let reasoning = || Some(ReasoningAsk { effort: Some("high".into()), ..ReasoningAsk::default() });
    let function = || Tool::Function(Function { name: "f".into(), ..Function::default() });
    let call = || Part::from(Kind::ToolCall(ToolCall { id: "c".into(), name: "f".into(), arguments: "".into() }));
    let result = || {
        let result = ToolResult { call_id: "c".into(), name: None, parts: vec![], error: false };
        Message { role: Role::Tool, name: None, parts: vec![Kind::ToolResult(result).into()] }
    };
    let thought = |by| Part {
        signature: Some(Signature { by, data: "S".into() }),
        ..Kind::Reasoning(Reasoning { text: "hm".into(), ..Reasoning::default() }).into()
    };
    let turn = |parts| vec![message(Role::User, "?"), Message { role: Role::Assistant, name: None, parts }, result()];
    let ask = |messages| Request { reasoning: reasoning(), messages, ..Request::default() };
    let forced = Request { tools: vec![function()], tool_choice: Some(ToolChoice::Required), ..ask(vec![]) };
    let cold = Request { temperature: Some(Number("0".into())), ..ask(vec![]) };
    for (request, thinks, why) in [
        (ask(vec![message(Role::User, "?")]), true, "nothing hinders"),
        (forced, false, "a tool must be called"),
        (cold, false, "temperature weighs more"),
        (ask(turn(vec![thought(Maker::Anthropic), call()])), true, "the turn began with its own thoughts"),
        (ask(turn(vec![call()])), false, "the turn began without"),
        (ask(turn(vec![thought(Maker::Google), call()])), false, "with another maker's, which do not go"),
        (ask(vec![message(Role::User, "?"), message(Role::Assistant, "{")]), false, "the answer's begin is given"),
    ] {
        let (body, lost) = write(&request, "claude-sonnet-4-5");
        assert_eq!(body.get("thinking").is_some(), thinks, "{why}");
        assert_eq!(!lost.contains(&"reasoning".to_owned()), thinks, "{why}: told");
    }
}

#[test]
fn the_conversation_takes_the_dialects_form() {
    let result = |id: &'static str| {
        Part::from(Kind::ToolResult(ToolResult {
            call_id: id.into(),
            name: None,
            parts: vec![Part::text(id)],
            error: true,
        }))
    };
    let call = |id: &'static str, arguments: &'static str| {
        Part::from(Kind::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() }))
    };
    let messages = vec![
        message(Role::System, "A"),
        message(Role::Developer, "B"),
        message(Role::User, "1"),
        Message { role: Role::Assistant, name: None, parts: vec![Part::text(""), call("x", "{}"), call("f:0", "[1]")] },
        user(vec![Part::text("2")]),
        Message { role: Role::Tool, name: None, parts: vec![result("x")] },
        Message { role: Role::Tool, name: None, parts: vec![result("f:0")] },
        message(Role::Assistant, ""),
    ];
    let (body, lost) = write(&Request { messages, ..Request::default() }, "claude-sonnet-4-5");
    let id = body["messages"][1]["content"][1]["id"].clone();
    assert!(id.as_str().unwrap().starts_with("toolu_"), "{id}");
    let result =
        |id: Value, text: &str| json!({"type": "tool_result", "tool_use_id": id, "content": text, "is_error": true});
    let call = |id: Value| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let text = |text: &str| json!({"type": "text", "text": text});
    assert_eq!(body["system"], json!([text("A"), text("B")]));
    let expected = json!([
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": [call(json!("x")), call(id.clone())]},
        {"role": "user", "content": [result(json!("x"), "x"), result(id, "f:0"), text("2")]},
    ]);
    assert_eq!(body["messages"], expected, "one message a turn, results first, nothing empty");
    assert_eq!(lost, ["messages.tool_calls"], "arguments that are a list");
}

#[test]
fn instructions_midway_stand_where_the_model_takes_them() {
    let messages = || vec![message(Role::System, "A"), message(Role::User, "1"), message(Role::Developer, "B")];
    let request = Request { messages: messages(), ..Request::default() };
    let (newest, lost) = write(&request, "claude-opus-4-8");
    assert_eq!(newest["messages"][1], json!({"role": "system", "content": "B"}));
    assert_eq!((&newest["system"], lost.len()), (&json!("A"), 0));
    let (older, lost) = write(&request, "claude-sonnet-4-5");
    assert_eq!((older["system"].as_array().unwrap().len(), older["messages"].as_array().unwrap().len()), (2, 1));
    assert_eq!(lost, ["messages.system_midway"]);
}

#[test]
fn what_cannot_be_said_is_told() {
    let media = |what, source, mime: &'static str| Part::from(Kind::Media(Media::of(what, source, mime)));
    let data = |data: &'static str| Source::Base64(data.into());
    for (part, lost, why) in [
        (media(MediaKind::Image, data("iVBORw0K"), ""), None, "a PNG is known by its begin"),
        (media(MediaKind::Image, data("AAAA"), "image/bmp"), Some("messages.image"), "no such pictures"),
        (media(MediaKind::Document, data("AAAA"), "text/csv"), Some("messages.document"), "PDF only"),
        (media(MediaKind::Document, Source::File("file-1".into()), ""), Some("messages.file_id"), "OpenAI's"),
        (media(MediaKind::Document, Source::File("file_1".into()), ""), None, "its own"),
        (media(MediaKind::Audio, data("AAAA"), "audio/wav"), None, "the element told it"),
    ] {
        let request = Request { messages: vec![user(vec![Part::text("?"), part])], ..Request::default() };
        assert_eq!(write(&request, "claude-sonnet-4-5").1, lost.map(str::to_owned).as_slice(), "{why}");
    }
    let schema = serde_json::value::to_raw_value(&json!({"type": "object"})).unwrap();
    let format = Some(Format::Schema {
        name: None,
        description: None,
        schema: std::borrow::Cow::Borrowed(&*schema),
        strict: None,
    });
    let request = Request { format, stop: vec![" ".into(), "x".into()], ..Request::default() };
    let (body, lost) = write(&request, "claude-3-5-haiku-latest");
    assert_eq!(lost, ["stop", "response_format.json_schema"]);
    assert_eq!(body["stop_sequences"], json!(["x"]));
    assert!(!Anthropic.carries(Element::JsonObject));
}

/// Servers that copied the dialect and lack some of it: what was told before is not written.
#[test]
fn what_a_provider_lacks_is_not_written() {
    let quirks = Quirks { lacks: &[Element::TopK, Element::ImageBase64, Element::CacheMarks], ..Quirks::default() };
    let picture = Media::of(MediaKind::Image, Source::Base64("iVBORw0K".into()), "image/png");
    let marked = Part { cache: Some(CacheMark::Minutes5), ..Part::text("?") };
    let messages = vec![user(vec![Kind::Media(picture).into(), marked])];
    let request = Request { top_k: Some(3), messages, ..Request::default() };
    let written = Anthropic.write_request(&request, &To { quirks: &quirks, ..to("deepseek-chat") });
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(body["messages"][0]["content"], json!([{"type": "text", "text": "?"}]));
    assert_eq!((body.get("top_k"), written.lost), (None, vec![]));
}

#[test]
fn four_marks_are_written_the_last_ones() {
    let marked = |text: &'static str| Part { cache: Some(CacheMark::Hour), ..Part::text(text) };
    let messages = vec![user(vec![marked("1"), marked("2"), marked(""), marked("3"), marked("4"), marked("5")])];
    let (body, lost) = write(&Request { messages, ..Request::default() }, "claude-sonnet-4-5");
    let marks = body["messages"][0]["content"].as_array().unwrap().iter().map(|b| b.get("cache_control").is_some());
    assert_eq!(marks.collect::<Vec<_>>(), [false, true, true, true, true]);
    assert_eq!(lost, ["cache_control"]);
}

#[test]
fn tools_and_their_choice() {
    let function = |name: &'static str| Tool::Function(Function { name: name.into(), ..Function::default() });
    let tools = || vec![function("f"), function("g")];
    let among = |required| ToolChoice::Among { names: vec!["g".into()], required };
    for (choice, parallel, written, count) in [
        (None, None, Value::Null, 2),
        (None, Some(true), Value::Null, 2),
        (None, Some(false), json!({"type": "auto", "disable_parallel_tool_use": true}), 2),
        (Some(ToolChoice::None), Some(false), json!({"type": "none"}), 2),
        (Some(ToolChoice::Required), None, json!({"type": "any"}), 2),
        (Some(ToolChoice::Named("f".into())), None, json!({"type": "tool", "name": "f"}), 2),
        (Some(among(true)), None, json!({"type": "any"}), 1),
        (Some(among(false)), None, json!({"type": "auto"}), 1),
    ] {
        let told = format!("{choice:?} {parallel:?}");
        let request = Request { tools: tools(), tool_choice: choice, parallel_tools: parallel, ..Request::default() };
        let (body, _) = write(&request, "claude-sonnet-4-5");
        assert_eq!((&body["tool_choice"], body["tools"].as_array().unwrap().len()), (&written, count), "{told}");
        assert_eq!(body["tools"][0]["input_schema"], json!({"type": "object"}), "a schema always stands");
    }
}

#[test]
fn wrong_requests_name_the_place() {
    for (body, told) in [
        (json!({}), "`messages` is missing"),
        (json!({"messages": 1}), "`messages` must be a list"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            "`messages[0].content[0].text` is missing",
        ),
        (json!({"messages": [{"role": "tool"}]}), "`messages[0].role` is `tool`"),
        (
            json!({"messages": [], "thinking": {"type": "enabled", "budget_tokens": -1}}),
            "`thinking.budget_tokens` must",
        ),
        (
            json!({"messages": [], "tools": [{"name": "f", "input_schema": []}]}),
            "`tools[0].input_schema` must be an object",
        ),
        (json!({"messages": [], "cache_control": {"ttl": "9h"}}), "`cache_control.ttl` is `9h`"),
    ] {
        let wrong = round(&body.to_string()).unwrap_err();
        assert!(wrong.starts_with(told), "{wrong}");
    }
}

#[test]
fn an_answer_always_has_an_id_and_a_model() {
    let written = Anthropic.write_answer(&crate::contract::canonical::answer::Answer::default(), &given("asked"));
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!((&body["id"], &body["model"]), (&json!("msg_01890a5dac96774bbcceb302099a8057"), &json!("asked")));
}

//! What Google says when it fails, and what callers are told in its shape.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{Gemini, all};
use crate::contract::canonical::event::Event;
use crate::contract::refusal::{Category, Refusal};
use crate::dialects::Codec;
use crate::dialects::recorded::{events, given};

fn read(status: u16, body: &str) -> Option<crate::dialects::Said> {
    Gemini.read_error(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
}

#[test]
fn failures_have_their_categories() {
    let with = |code: u16, status: &str, message: &str, details: Value| json!({"error": {"code": code, "message": message, "status": status, "details": details}});
    let info = |reason: &str| json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]);
    let quota = |id: &str, delay: &str| {
        json!([
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
        ])
    };
    let none = json!([]);
    for (body, category, code, delay_ms, retryable, why) in [
        (
            with(400, "INVALID_ARGUMENT", "API key not valid.", info("API_KEY_INVALID")),
            Category::Auth,
            "API_KEY_INVALID",
            None,
            None,
            "a bad key is a bad request here",
        ),
        (
            with(400, "INVALID_ARGUMENT", "bad", none.clone()),
            Category::InvalidRequest,
            "INVALID_ARGUMENT",
            None,
            None,
            "a bad request",
        ),
        (
            with(
                400,
                "INVALID_ARGUMENT",
                "The input token count (9) exceeds the maximum number of tokens allowed (8).",
                none.clone(),
            ),
            Category::ContextLength,
            "INVALID_ARGUMENT",
            None,
            None,
            "a prompt that is too long",
        ),
        (
            with(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes.", none.clone()),
            Category::TooLarge,
            "INVALID_ARGUMENT",
            None,
            None,
            "a body that is too large",
        ),
        (
            with(400, "FAILED_PRECONDITION", "User location is not supported.", none.clone()),
            Category::Permission,
            "FAILED_PRECONDITION",
            None,
            None,
            "not in this country",
        ),
        (
            with(401, "UNAUTHENTICATED", "", info("ACCESS_TOKEN_EXPIRED")),
            Category::Auth,
            "ACCESS_TOKEN_EXPIRED",
            None,
            None,
            "an old token",
        ),
        (
            with(403, "PERMISSION_DENIED", "", none.clone()),
            Category::Auth,
            "PERMISSION_DENIED",
            None,
            None,
            "a key without the right",
        ),
        (with(404, "NOT_FOUND", "", none.clone()), Category::NoRoute, "NOT_FOUND", None, None, "no such model"),
        (
            with(429, "RESOURCE_EXHAUSTED", "", quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "34.4s")),
            Category::RateLimited,
            "RESOURCE_EXHAUSTED",
            Some(34_400),
            None,
            "the delay stands in the body",
        ),
        (
            with(429, "RESOURCE_EXHAUSTED", "", quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "20s")),
            Category::RateLimited,
            "RESOURCE_EXHAUSTED",
            Some(20_000),
            Some(false),
            "a day's quota is not there again in seconds",
        ),
        (
            with(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.", none.clone()),
            Category::BudgetExceeded,
            "RESOURCE_EXHAUSTED",
            None,
            None,
            "nothing is left to pay with",
        ),
        (with(500, "INTERNAL", "", none.clone()), Category::UpstreamOutage, "INTERNAL", None, None, "a failure"),
        (
            with(503, "UNAVAILABLE", "overloaded", none.clone()),
            Category::Overloaded,
            "UNAVAILABLE",
            None,
            None,
            "too much",
        ),
        (
            with(504, "DEADLINE_EXCEEDED", "", none.clone()),
            Category::Timeout,
            "DEADLINE_EXCEEDED",
            None,
            None,
            "too slow",
        ),
    ] {
        let status = body["error"]["code"].as_u64().unwrap() as u16;
        for body in [body.to_string(), json!([body]).to_string()] {
            let said = read(status, &body).unwrap();
            assert_eq!(said.category, category, "{why}");
            assert_eq!(said.code.as_deref(), Some(code), "{why}");
            assert_eq!(said.retry_after, delay_ms.map(Duration::from_millis), "{why}");
            assert_eq!(said.retryable, retryable, "{why}");
        }
    }
    for (body, why) in [
        ("<html>", "a proxy's page"),
        ("", "nothing"),
        ("{}", "no error"),
        ("[]", "an empty list"),
        ("[5]", "a list of none"),
    ] {
        assert_eq!(read(502, body), None, "{why}");
    }
}

#[test]
fn recorded_failures_are_read() {
    for exchange in all().iter().filter(|e| e.status != 200) {
        let status = StatusCode::from_u16(exchange.status).unwrap();
        let said = Gemini.read_error(status, &exchange.headers, &exchange.body).unwrap();
        let expected = if said.message.contains("API key") { Category::Auth } else { Category::InvalidRequest };
        assert_eq!(said.category, expected, "{}", exchange.id);
        assert!(!said.message.is_empty(), "{}", exchange.id);
    }
}

#[test]
fn errors_inside_a_stream_end_it() {
    let chunk = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#;
    let error = r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
    for error in [error.to_owned(), format!("[{error}]")] {
        let told = events(
            &Gemini,
            &given("m"),
            format!("data: {chunk}\r\n\r\ndata: {error}\r\n\r\ndata: {chunk}\r\n\r\n").as_bytes(),
        )
        .unwrap();
        let Some(Event::Error(said)) = told.last() else { panic!("{told:?}") };
        assert_eq!((said.status, said.code.as_deref()), (Some(503), Some("UNAVAILABLE")));
        assert_eq!(said.message, "The model is overloaded.");
        let mut notes = crate::dialects::Notes::default();
        Gemini.note(&crate::dialects::frames::Frame::data(error.as_bytes()), &mut notes);
        assert_eq!(notes.error.as_deref(), Some("The model is overloaded."));
    }
}

#[test]
fn refusals_have_googles_shape() {
    for (category, code, status) in [
        (Category::InvalidRequest, 400, "INVALID_ARGUMENT"),
        (Category::PolicyViolation, 400, "FAILED_PRECONDITION"),
        (Category::Auth, 401, "UNAUTHENTICATED"),
        (Category::Permission, 403, "PERMISSION_DENIED"),
        (Category::NoRoute, 404, "NOT_FOUND"),
        (Category::RateLimited, 429, "RESOURCE_EXHAUSTED"),
        (Category::Overloaded, 503, "UNAVAILABLE"),
        (Category::Timeout, 504, "DEADLINE_EXCEEDED"),
        (Category::Internal, 500, "INTERNAL"),
    ] {
        let refusal = Refusal { retry_after_ms: Some(1_500), ..Refusal::new(category, "some_code", "say it so") };
        let text = Gemini.write_refusal(&refusal, "call-1");
        // Google's SDKs find an error in a stream by how the chunk begins.
        assert!(text.starts_with(&format!("{{\"error\":{{\"code\":{code},\"message\":")), "{text}");
        let body: Value = serde_json::from_str(&text).unwrap();
        let error = &body["error"];
        assert_eq!((error["code"].as_u64(), error["status"].as_str()), (Some(code), Some(status)));
        assert_eq!(error["message"], "say it so");
        assert_eq!(error["tollgate"]["request_id"], "call-1");
        assert_eq!(error["tollgate"]["category"], category.name());
        assert_eq!(error["details"][1]["retryDelay"], "1.5s");
    }
}

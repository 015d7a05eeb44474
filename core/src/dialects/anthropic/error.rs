//! What the provider says when it fails, and refusals in its words.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::contract::canonical::event::StreamError;
use crate::contract::read::{Raw, as_text, find, is_object, loose};
use crate::contract::refusal::{Category, Refusal};
use crate::dialects::Said;

/// `{type: error, error: {type, message}, request_id}`.
pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
    let root: Raw<'_> = serde_json::from_slice(body).ok()?;
    let error = find(&loose(root), "error").filter(|error| is_object(error))?;
    let members = loose(error);
    let text = |name: &str| find(&members, name).and_then(as_text).map(std::borrow::Cow::into_owned);
    let (kind, message) = (text("type"), text("message"));
    if kind.is_none() && message.is_none() {
        return None;
    }
    let message = message.unwrap_or_default();
    let category = category(kind.as_deref().unwrap_or_default(), &message, status.as_u16());
    let should_retry = match headers.get("x-should-retry").map(http::HeaderValue::as_bytes) {
        Some(b"true") => Some(true),
        Some(b"false") => Some(false),
        Some(_) | None => None,
    };
    Some(Said { message, code: kind, category, retry_after: retry_after(headers), retryable: should_retry })
}

/// By its type, and where that says little, by its status. Two types say several things: there the words must tell.
fn category(kind: &str, message: &str, status: u16) -> Category {
    let words = message.to_ascii_lowercase();
    let says = |some: &[&str]| some.iter().any(|word| words.contains(word));
    match (kind, status) {
        ("invalid_request_error", _) | ("", 400) => match () {
            () if says(&["prompt is too long", "exceed context limit", "context window"]) => Category::ContextLength,
            () if says(&["credit balance", "usage limits"]) => Category::BudgetExceeded,
            () if says(&["content filtering policy"]) => Category::ContentFiltered,
            () if status == 413 => Category::TooLarge,
            () if status == 404 => Category::NoRoute,
            () => Category::InvalidRequest,
        },
        ("authentication_error", _) => Category::Auth,
        ("billing_error", _) => Category::BudgetExceeded,
        ("permission_error", _) => Category::Permission,
        ("not_found_error", _) => Category::NoRoute,
        ("conflict_error", _) => Category::Conflict,
        ("request_too_large", _) => Category::TooLarge,
        ("rate_limit_error", _) => Category::RateLimited,
        ("timeout_error", _) => Category::Timeout,
        ("overloaded_error", _) => Category::Overloaded,
        (_, 401) => Category::Auth,
        (_, 402) => Category::BudgetExceeded,
        (_, 403) => Category::Permission,
        (_, 404) => Category::NoRoute,
        (_, 408 | 504) => Category::Timeout,
        (_, 409) => Category::Conflict,
        (_, 413) => Category::TooLarge,
        (_, 429) => Category::RateLimited,
        (_, 503 | 529) => Category::Overloaded,
        (_, 400..=499) => Category::InvalidRequest,
        _ => Category::UpstreamOutage,
    }
}

/// `retry-after-ms`, or `retry-after` in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok().filter(|n| *n >= 0.0);
    let ms = number("retry-after-ms").or_else(|| number("retry-after").map(|s| s * 1_000.0))?;
    Some(Duration::from_millis(ms.min(3_600_000.0) as u64))
}

/// An error inside a stream. It has no status; its type stands for one.
pub fn in_stream(data: &[u8]) -> StreamError {
    let Ok(root) = serde_json::from_slice::<Raw<'_>>(data) else {
        return StreamError { message: String::from_utf8_lossy(data).into_owned(), ..StreamError::default() };
    };
    let outer = loose(root);
    let members = find(&outer, "error").map(loose).unwrap_or(outer);
    let text = |name: &str| find(&members, name).and_then(as_text).map(std::borrow::Cow::into_owned);
    let code = text("type");
    let status = match code.as_deref() {
        Some("invalid_request_error") => Some(400),
        Some("authentication_error") => Some(401),
        Some("billing_error") => Some(402),
        Some("permission_error") => Some(403),
        Some("not_found_error") => Some(404),
        Some("conflict_error") => Some(409),
        Some("request_too_large") => Some(413),
        Some("rate_limit_error") => Some(429),
        Some("api_error") => Some(500),
        Some("timeout_error") => Some(504),
        Some("overloaded_error") => Some(529),
        Some(_) | None => None,
    };
    StreamError { message: text("message").unwrap_or_else(|| root.get().to_owned()), code, status }
}

pub fn write(refusal: &Refusal, request_id: &str) -> String {
    json!({
        "type": "error",
        "error": {
            "type": kind_of(refusal.category),
            "message": refusal.message(),
            "details": { "error_code": refusal.code },
            "tollgate": refusal.tollgate_object(request_id),
        },
        "request_id": request_id,
    })
    .to_string()
}

/// The type that the official SDKs and their users know; the class they raise is told by the status.
fn kind_of(category: Category) -> &'static str {
    match category {
        Category::InvalidRequest
        | Category::PolicyViolation
        | Category::Unsupported
        | Category::ContextLength
        | Category::ContentFiltered => "invalid_request_error",
        Category::Auth => "authentication_error",
        Category::Permission => "permission_error",
        Category::NoRoute => "not_found_error",
        Category::Conflict => "conflict_error",
        Category::TooLarge => "request_too_large",
        Category::RateLimited => "rate_limit_error",
        Category::BudgetExceeded => "billing_error",
        Category::Overloaded => "overloaded_error",
        Category::Timeout => "timeout_error",
        Category::UpstreamOutage | Category::Internal | Category::Interrupted => "api_error",
    }
}

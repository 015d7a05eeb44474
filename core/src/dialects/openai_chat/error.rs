//! What providers of this dialect say when they fail, in the shapes that they have.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::contract::read::{Raw, as_text, find, is_list, is_object, loose};
use crate::contract::refusal::Category;
use crate::dialects::Said;

pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
    let root: Raw<'_> = serde_json::from_slice(body).ok()?;
    let (message, code, kind) = words(root)?;
    let is = |name: &str| code.as_deref() == Some(name) || kind.as_deref() == Some(name);
    let says = |words: &str| message.to_ascii_lowercase().contains(words);
    let category = match status.as_u16() {
        400 | 413 | 422
            if is("context_length_exceeded") || says("maximum context length") || says("context window") =>
        {
            Category::ContextLength
        }
        400 | 403
            if is("content_filter") || is("content_policy_violation") || is("responsible_ai_policy_violation") =>
        {
            Category::ContentFiltered
        }
        // xAI answers a bad key with 400.
        400 if is("invalid-argument") && says("api key") => Category::Auth,
        401 | 403 => Category::Auth,
        402 => Category::BudgetExceeded,
        404 => Category::NoRoute,
        408 | 504 => Category::Timeout,
        413 => Category::TooLarge,
        429 if is("insufficient_quota") || is("billing_hard_limit_reached") || is("credits_exhausted") => {
            Category::BudgetExceeded
        }
        429 => Category::RateLimited,
        503 | 529 => Category::Overloaded,
        400..=499 => Category::InvalidRequest,
        _ => Category::UpstreamOutage,
    };
    Some(Said { message, code: code.or(kind), category, retry_after: retry_after(headers), retryable: None })
}

/// Message, code and type: `{error: {...}}`, `{error: "text", code}`, `{message, type, code}`, `{detail}`, or a list around one.
fn words(root: Raw<'_>) -> Option<(String, Option<String>, Option<String>)> {
    if is_list(root) {
        let items: Vec<Raw<'_>> = serde_json::from_str(root.get()).ok()?;
        return items.first().filter(|item| is_object(item)).and_then(|item| words(item));
    }
    let outer = loose(root);
    let inner = match find(&outer, "error") {
        Some(raw) if is_object(raw) => loose(raw),
        Some(raw) => {
            let code = find(&outer, "code").map(plain);
            return as_text(raw).map(|text| (text.into_owned(), code, None));
        }
        None if find(&outer, "message").is_some() || find(&outer, "detail").is_some() => outer,
        None => return None,
    };
    let message = find(&inner, "message").or_else(|| find(&inner, "detail")).map(plain).unwrap_or_default();
    Some((message, find(&inner, "code").map(plain), find(&inner, "type").map(plain)))
}

/// A text, or the JSON of what is none.
fn plain(raw: Raw<'_>) -> String {
    as_text(raw).map_or_else(|| raw.get().to_owned(), std::borrow::Cow::into_owned)
}

/// `retry-after-ms`, or `retry-after` in seconds. A date is passed over: nobody's clock is ours.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok().filter(|n| *n >= 0.0);
    let ms = number("retry-after-ms").or_else(|| number("retry-after").map(|s| s * 1_000.0))?;
    Some(Duration::from_millis(ms.min(3_600_000.0) as u64))
}

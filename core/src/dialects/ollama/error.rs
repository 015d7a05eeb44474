//! What Ollama says when it fails, and refusals in its words: `{error: "text"}`.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::contract::read::{Raw, as_text, find, loose};
use crate::contract::refusal::{Category, Refusal};
use crate::dialects::Said;

/// No provider's wish to wait is believed beyond an hour.
const WAIT_MS_MAX: f64 = 3_600_000.0;

pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
    let root: Raw<'_> = serde_json::from_slice(body).ok()?;
    let message = words(root)?;
    let category = category(status.as_u16(), &message.to_ascii_lowercase());
    Some(Said { message, code: None, category, retry_after: retry_after(headers), retryable: None })
}

/// The text, or the message of an object in OpenAI's form, as proxies before it write.
pub fn words(root: Raw<'_>) -> Option<String> {
    let error = find(&loose(root), "error")?;
    let inner = loose(error);
    as_text(error).or_else(|| find(&inner, "message").and_then(as_text)).map(String::from)
}

fn category(status: u16, said: &str) -> Category {
    let says = |words: &[&str]| words.iter().any(|w| said.contains(w));
    match status {
        400 | 413 | 500 if says(&["context length", "context window"]) => Category::ContextLength,
        400 if says(&["does not support"]) => Category::Unsupported,
        401 => Category::Auth,
        402 => Category::BudgetExceeded,
        403 => Category::Permission,
        404 => Category::NoRoute,
        408 | 504 => Category::Timeout,
        413 => Category::TooLarge,
        429 if says(&["weekly", "monthly", "upgrade"]) => Category::BudgetExceeded,
        429 => Category::RateLimited,
        // `server busy, please try again. maximum pending requests exceeded`
        503 | 529 => Category::Overloaded,
        499 => Category::Interrupted,
        400..=498 => Category::InvalidRequest,
        _ => Category::UpstreamOutage,
    }
}

/// `retry-after-ms`, or `retry-after` in seconds. A date is passed over: nobody's clock is ours.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok().filter(|n| *n >= 0.0);
    let ms = number("retry-after-ms").or_else(|| number("retry-after").map(|s| s * 1_000.0))?;
    Some(Duration::from_millis(ms.min(WAIT_MS_MAX) as u64))
}

/// The body of an answer, and the last line of a stream that failed: the official SDKs read `error` in both.
pub fn refusal_json(refusal: &Refusal, request_id: &str) -> String {
    serde_json::json!({ "error": refusal.message(), "tollgate": refusal.tollgate_object(request_id) }).to_string()
}

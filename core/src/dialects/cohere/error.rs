//! What Cohere says when it fails, and refusals in its words: `{id, message, error_type}`.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::contract::read::{Raw, as_text, find, loose};
use crate::contract::refusal::{Category, Refusal};
use crate::dialects::Said;

/// No provider's wish to wait is believed beyond an hour.
const WAIT_MS_MAX: f64 = 3_600_000.0;

pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
    let root: Raw<'_> = serde_json::from_slice(body).ok()?;
    let members = loose(root);
    let message = find(&members, "message").or_else(|| find(&members, "error")).and_then(as_text)?.into_owned();
    let code = find(&members, "error_type").and_then(as_text).map(String::from);
    let said = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| said.contains(w));
    let category = match status.as_u16() {
        400 | 413 | 422 if says(&["too many tokens", "context length", "maximum context"]) => Category::ContextLength,
        401 => Category::Auth,
        402 => Category::BudgetExceeded,
        403 => Category::Permission,
        404 => Category::NoRoute,
        408 | 504 => Category::Timeout,
        413 => Category::TooLarge,
        // A trial key's month is over: waiting for some seconds does not bring a new one.
        429 if says(&["/ month", "per month", "monthly", "billing"]) => Category::BudgetExceeded,
        429 => Category::RateLimited,
        // Cohere's own: what was sent or said is blocked; the call was cancelled.
        498 => Category::ContentFiltered,
        499 => Category::Interrupted,
        501 => Category::Unsupported,
        503 | 529 => Category::Overloaded,
        400..=497 => Category::InvalidRequest,
        _ => Category::UpstreamOutage,
    };
    Some(Said { message, code, category, retry_after: retry_after(headers), retryable: None })
}

/// `retry-after-ms`, or `retry-after` in seconds. A date is passed over: nobody's clock is ours.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok().filter(|n| *n >= 0.0);
    let ms = number("retry-after-ms").or_else(|| number("retry-after").map(|s| s * 1_000.0))?;
    Some(Duration::from_millis(ms.min(WAIT_MS_MAX) as u64))
}

/// The official SDKs tell their error by the status and show the body.
pub fn refusal_json(refusal: &Refusal, request_id: &str) -> String {
    serde_json::json!({
        "id": request_id,
        "message": refusal.message(),
        "error_type": refusal.code,
        "tollgate": refusal.tollgate_object(request_id),
    })
    .to_string()
}

//! What Google says when it fails, and refusals in its shape.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::contract::canonical::event::StreamError;
use crate::contract::read::{Members, Raw, as_text, find, is_list, is_object, loose};
use crate::contract::refusal::{Category, Refusal};
use crate::contract::write::Writer;
use crate::dialects::Said;

/// Nobody is kept waiting longer, whatever is asked for.
const DELAY_MAX: Duration = Duration::from_secs(3_600);
const DETAILS_MAX: usize = 64;

pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
    let root: Raw<'_> = serde_json::from_slice(body).ok()?;
    let error = error_object(root)?;
    let details = details(&error);
    let reason = details.iter().find_map(|detail| find(detail, "reason").and_then(as_text));
    let name = find(&error, "status").and_then(as_text).unwrap_or_default();
    let message = find(&error, "message").and_then(as_text).unwrap_or_default();
    let category = category(status.as_u16(), &name, reason.as_deref().unwrap_or_default(), &message);
    let daily = details.iter().any(|detail| is_daily(detail));
    let delay = details.iter().find_map(|detail| as_text(find(detail, "retryDelay")?).and_then(|text| seconds(&text)));
    let asked = headers.get("retry-after").and_then(|value| value.to_str().ok()).and_then(seconds);
    Some(Said {
        message: message.into_owned(),
        code: reason.or(Some(name)).filter(|code| !code.is_empty()).map(Into::into),
        category,
        retry_after: delay.or(asked),
        // A day's quota asks to wait some seconds, but it is spent until the day ends.
        retryable: (category == Category::RateLimited && daily).then_some(false),
    })
}

/// `{error: {...}}`, or a list around one.
fn error_object(root: Raw<'_>) -> Option<Members<'_>> {
    if is_list(root) {
        let items: Vec<Raw<'_>> = serde_json::from_str(root.get()).ok()?;
        return items.into_iter().next().filter(|item| is_object(item)).and_then(error_object);
    }
    let error = find(&loose(root), "error").filter(|raw| is_object(raw))?;
    Some(loose(error))
}

fn details<'a>(error: &Members<'a>) -> Vec<Members<'a>> {
    let items = find(error, "details").filter(|raw| is_list(raw));
    let items: Vec<Raw<'_>> = items.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    items.into_iter().take(DETAILS_MAX).map(loose).collect()
}

/// A `QuotaFailure` of a quota by day.
fn is_daily(detail: &Members<'_>) -> bool {
    let violations = find(detail, "violations").filter(|raw| is_list(raw));
    let violations: Vec<Raw<'_>> = violations.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    violations.into_iter().any(|violation| {
        find(&loose(violation), "quotaId").and_then(as_text).is_some_and(|quota| quota.contains("PerDay"))
    })
}

/// `34.4s`, or a number of seconds.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().trim_end_matches('s').parse().ok()?;
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(DELAY_MAX.as_secs_f64())))
}

fn category(status: u16, name: &str, reason: &str, message: &str) -> Category {
    let message = message.to_ascii_lowercase();
    let says = |words: &str| message.contains(words);
    let of_key = ["API_KEY_", "ACCESS_TOKEN_", "CREDENTIALS_"].iter().any(|begin| reason.starts_with(begin));
    match (status, name) {
        // A bad key is told as a bad request.
        (400 | 401 | 403, _) if of_key || says("api key not valid") || says("api key expired") => Category::Auth,
        (400, _) if says("token count") && says("exceeds") => Category::ContextLength,
        (400, _) if says("payload size exceeds") => Category::TooLarge,
        // Not in this country, or not without billing.
        (400, "FAILED_PRECONDITION") => Category::Permission,
        (401 | 403, _) => Category::Auth,
        (404, _) => Category::NoRoute,
        (408 | 504, _) | (_, "DEADLINE_EXCEEDED") => Category::Timeout,
        (413, _) => Category::TooLarge,
        (429, _) | (_, "RESOURCE_EXHAUSTED") if says("credits are depleted") => Category::BudgetExceeded,
        (429, _) | (_, "RESOURCE_EXHAUSTED") => Category::RateLimited,
        (503 | 529, _) | (_, "UNAVAILABLE") => Category::Overloaded,
        (400..=499, _) => Category::InvalidRequest,
        _ => Category::UpstreamOutage,
    }
}

/// An error inside a stream that had begun.
pub fn error_of(data: &[u8]) -> StreamError {
    let known = serde_json::from_slice::<Raw<'_>>(data).ok().and_then(error_object);
    let Some(error) = known else {
        return StreamError { message: String::from_utf8_lossy(data).trim().to_owned(), ..StreamError::default() };
    };
    let text = |name: &str| find(&error, name).and_then(as_text).map(std::borrow::Cow::into_owned);
    StreamError {
        message: text("message").unwrap_or_default(),
        code: text("status"),
        status: find(&error, "code").and_then(|raw| raw.get().parse().ok()),
    }
}

/// The name that goes with a refusal's status; Google's SDKs show it.
fn status_name(category: Category) -> &'static str {
    match category {
        Category::InvalidRequest
        | Category::Unsupported
        | Category::TooLarge
        | Category::ContextLength
        | Category::ContentFiltered => "INVALID_ARGUMENT",
        Category::PolicyViolation => "FAILED_PRECONDITION",
        Category::Auth => "UNAUTHENTICATED",
        Category::Permission => "PERMISSION_DENIED",
        Category::NoRoute => "NOT_FOUND",
        Category::Conflict => "ABORTED",
        Category::RateLimited | Category::BudgetExceeded => "RESOURCE_EXHAUSTED",
        Category::Overloaded | Category::UpstreamOutage | Category::Interrupted => "UNAVAILABLE",
        Category::Timeout => "DEADLINE_EXCEEDED",
        Category::Internal => "INTERNAL",
    }
}

/// `error` is the first member: Google's SDKs find an error in a stream by how the chunk begins. The useful sentence comes
/// before all details, for some show the text as it is.
pub fn write(refusal: &Refusal, request_id: &str) -> String {
    let json = Writer::object_text(|w| {
        w.object_member("error", |w| {
            w.member("code", &u64::from(refusal.status().as_u16()));
            w.member("message", &refusal.message());
            w.member("status", status_name(refusal.category));
            w.list_member("details", |w| {
                w.object(|w| {
                    w.member("@type", "type.googleapis.com/google.rpc.ErrorInfo");
                    w.member("reason", &refusal.code.to_ascii_uppercase());
                    w.member("domain", "tollgate");
                });
                if let Some(ms) = refusal.retry_after_ms {
                    w.object(|w| {
                        w.member("@type", "type.googleapis.com/google.rpc.RetryInfo");
                        w.member("retryDelay", &format!("{}s", ms as f64 / 1_000.0));
                    });
                }
            });
            w.json_member("tollgate", &refusal.tollgate_object(request_id).to_string());
        });
    });
    String::from_utf8(json).expect("a written text is a text")
}

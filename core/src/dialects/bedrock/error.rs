//! What Bedrock says when it fails: a kind, in a header or in the body, and a message. And how we say that we refused.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::contract::read::{Raw, as_text, find, is_object, loose};
use crate::contract::refusal::{Category, Refusal};
use crate::dialects::Said;

pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
    let root = serde_json::from_slice::<Raw<'_>>(body).ok().filter(|raw| is_object(raw));
    let members = root.map(loose).unwrap_or_default();
    let text = |name: &str| find(&members, name).and_then(as_text);
    let header = headers.get("x-amzn-errortype").and_then(|kind| kind.to_str().ok());
    let kind = header.map(kind_of).or_else(|| text("__type").map(|t| kind_of(&t)));
    let kind = kind.or_else(|| text("code").map(|t| kind_of(&t)));
    let message = text("message").or_else(|| text("Message")).or_else(|| text("errorMessage"));
    if message.is_none() && kind.is_none() {
        return None;
    }
    let message = message.map_or_else(|| kind.clone().unwrap_or_default(), std::borrow::Cow::into_owned);
    let (category, retryable) = meaning(kind.as_deref(), status, &message);
    Some(Said { message, code: kind, category, retry_after: retry_after(headers), retryable })
}

/// `ValidationException:http://...` and `com.amazon.coral.service#AccessDeniedException` without what is beside the name.
fn kind_of(text: &str) -> String {
    let name = text.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().to_owned()
}

/// By the kind where one is told, else by the status.
pub fn meaning(kind: Option<&str>, status: StatusCode, message: &str) -> (Category, Option<bool>) {
    let says = |words: &str| message.to_ascii_lowercase().contains(words);
    // In a stream the kinds begin with a small letter.
    let kind = kind.map(str::to_ascii_lowercase).unwrap_or_default();
    let by_kind = match &*kind {
        "validationexception" => Some(invalid(message)),
        "accessdeniedexception" => Some(Category::Permission),
        "unrecognizedclientexception"
        | "expiredtoken"
        | "expiredtokenexception"
        | "incompletesignatureexception"
        | "invalidsignatureexception"
        | "signaturedoesnotmatch"
        | "invalidclienttokenid"
        | "missingauthenticationtokenexception"
        | "missingauthenticationtoken"
        | "requesttimetooskewed" => Some(Category::Auth),
        "resourcenotfoundexception" | "unknownoperationexception" => Some(Category::NoRoute),
        // A day's tokens are not back in a minute.
        "throttlingexception" | "toomanyrequestsexception" if says("per day") => {
            return (Category::RateLimited, Some(false));
        }
        "throttlingexception" | "toomanyrequestsexception" => Some(Category::RateLimited),
        "servicequotaexceededexception" => return (Category::BudgetExceeded, Some(false)),
        // A model that is being loaded.
        "modelnotreadyexception" => return (Category::Overloaded, Some(true)),
        "modeltimeoutexception" => Some(Category::Timeout),
        "modelerrorexception" | "modelstreamerrorexception" => return (Category::UpstreamOutage, Some(true)),
        "internalserverexception" | "internalfailure" => Some(Category::UpstreamOutage),
        "serviceunavailableexception" | "serviceunavailable" => Some(Category::Overloaded),
        "conflictexception" => Some(Category::Conflict),
        _ => None,
    };
    let category = by_kind.unwrap_or_else(|| match status.as_u16() {
        400 => invalid(message),
        401 => Category::Auth,
        403 if says("security token") || says("signature") || says("authentication token") || says("api key") => {
            Category::Auth
        }
        403 => Category::Permission,
        404 => Category::NoRoute,
        408 | 504 => Category::Timeout,
        409 => Category::Conflict,
        413 => Category::TooLarge,
        429 => Category::RateLimited,
        503 => Category::Overloaded,
        424 | 500..=599 => Category::UpstreamOutage,
        _ => Category::InvalidRequest,
    });
    (category, None)
}

/// A request that is refused as invalid has one kind for many reasons: the words tell them apart.
fn invalid(message: &str) -> Category {
    let message = message.to_ascii_lowercase();
    let says = |any: &[&str]| any.iter().any(|words| message.contains(words));
    if says(&[
        "input is too long",
        "prompt is too long",
        "too many input tokens",
        "maximum context length",
        "maximum number of tokens",
        "exceeds the maximum number of input tokens",
        "context window",
        "exceed context limit",
    ]) {
        Category::ContextLength
    } else if says(&["content filter", "content moderation", "blocked by"]) {
        Category::ContentFiltered
    } else if says(&["model identifier is invalid", "no such model", "model is not found"]) {
        Category::NoRoute
    } else {
        Category::InvalidRequest
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    (seconds >= 0.0).then(|| Duration::from_millis((seconds * 1_000.0).min(3_600_000.0) as u64))
}

/// A refusal, as the body of an answer. The kind stands in it too: SDKs look there where the header tells none.
pub fn write(refusal: &Refusal, request_id: &str) -> String {
    serde_json::json!({
        "__type": http_kind(refusal.category),
        "message": refusal.message(),
        "tollgate": refusal.tollgate_object(request_id),
    })
    .to_string()
}

/// The kind that makes SDKs raise the class which fits; it stands in the header `x-amzn-errortype` as well.
pub fn http_kind(category: Category) -> &'static str {
    match category {
        Category::InvalidRequest
        | Category::PolicyViolation
        | Category::Unsupported
        | Category::TooLarge
        | Category::ContextLength
        | Category::ContentFiltered => "ValidationException",
        Category::Auth | Category::Permission => "AccessDeniedException",
        Category::NoRoute => "ResourceNotFoundException",
        Category::Conflict => "ConflictException",
        Category::RateLimited => "ThrottlingException",
        Category::BudgetExceeded => "ServiceQuotaExceededException",
        Category::Timeout => "ModelTimeoutException",
        Category::Overloaded | Category::UpstreamOutage | Category::Interrupted => "ServiceUnavailableException",
        Category::Internal => "InternalServerException",
    }
}

/// The five kinds that a stream may end with.
pub fn stream_kind(category: Category) -> &'static str {
    match category {
        Category::RateLimited | Category::BudgetExceeded => "throttlingException",
        Category::Overloaded => "serviceUnavailableException",
        Category::UpstreamOutage | Category::Interrupted | Category::Timeout => "modelStreamErrorException",
        Category::Internal => "internalServerException",
        Category::InvalidRequest
        | Category::PolicyViolation
        | Category::Unsupported
        | Category::Auth
        | Category::Permission
        | Category::NoRoute
        | Category::Conflict
        | Category::TooLarge
        | Category::ContextLength
        | Category::ContentFiltered => "validationException",
    }
}

/// The status that an exception in a stream would have had.
pub fn stream_status(kind: &str) -> Option<u16> {
    match kind {
        "validationException" => Some(400),
        "throttlingException" => Some(429),
        "modelStreamErrorException" => Some(424),
        "modelTimeoutException" => Some(408),
        "internalServerException" => Some(500),
        "serviceUnavailableException" => Some(503),
        _ => None,
    }
}

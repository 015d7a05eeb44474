//! The headers of answers and refusals: ours, and what of the provider's goes on.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::contract::refusal::Refusal;
use crate::evidence::receipt::Receipt;
use crate::limits::money::usd_text;
use crate::policy::Mode;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Anthropic's clients look for this one.
const REQUEST_ID_SHORT: HeaderName = HeaderName::from_static("request-id");
const CALL_ID: HeaderName = HeaderName::from_static("tollgate-call-id");
const REVISION: HeaderName = HeaderName::from_static("tollgate-revision");
const VERSION: HeaderName = HeaderName::from_static("tollgate-version");
const TARGET: HeaderName = HeaderName::from_static("tollgate-target");
const ATTEMPTS: HeaderName = HeaderName::from_static("tollgate-attempts");
const COST: HeaderName = HeaderName::from_static("tollgate-cost-usd");
const CACHE: HeaderName = HeaderName::from_static("tollgate-cache");
const WARN: HeaderName = HeaderName::from_static("tollgate-warn");
const DROPPED: HeaderName = HeaderName::from_static("tollgate-dropped");
const DEGRADED: HeaderName = HeaderName::from_static("tollgate-degraded");
const REFUSAL: HeaderName = HeaderName::from_static("tollgate-refusal");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// Of the provider's headers so many go on, each so long: clients refuse heads beyond a hundred of them. Real ones are about ten.
const PROVIDER_HEADERS_MAX: usize = 40;
const PROVIDER_HEADER_BYTES_MAX: usize = 1_024;

/// The headers that are ours, or that we answer with whoever the provider is: for who describes them.
pub fn described() -> [(HeaderName, &'static str); 17] {
    [
        (REQUEST_ID, "The caller's own id of the request where it sent one that fits, else the call id."),
        (REQUEST_ID_SHORT, "The same, where Anthropic's clients look for it."),
        (CALL_ID, "The id of the call: receipts, `explain` and spans are found by it."),
        (REVISION, "The revision of the policies that decided."),
        (VERSION, "The version of the contract that was used."),
        (TARGET, "Who answered: provider, model and region."),
        (ATTEMPTS, "How many targets were asked."),
        (COST, "The cost in dollars, where it is known before the head leaves."),
        (CACHE, "`hit`, or `bypass`."),
        (WARN, "Policies in mode `warn` that would have acted."),
        (
            DROPPED,
            "What of the request could not be said to the target and was left out; of the answer as `answer.image`.",
        ),
        (DEGRADED, "What is less than was asked for, and by whom."),
        (REFUSAL, "The category of the refusal."),
        (SHOULD_RETRY, "`true` where the same call may do better later."),
        (header::RETRY_AFTER, "Seconds to wait before trying again."),
        (RETRY_AFTER_MS, "The same in milliseconds."),
        (header::CONTENT_TYPE, "`application/json`, or the framing of the stream."),
    ]
}

/// Headers of every answer, whatever it is.
pub fn common(receipt: &Receipt) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    put(&mut headers, REQUEST_ID, &receipt.request_id);
    put(&mut headers, REQUEST_ID_SHORT, &receipt.request_id);
    put(&mut headers, CALL_ID, &receipt.call_id);
    let short = crate::policy::tree::RevisionId(receipt.revision.clone());
    put(&mut headers, REVISION, short.short());
    put(&mut headers, VERSION, &receipt.contract);
    let policies = receipt.verdicts.iter().filter(|v| v.mode == Mode::Warn && v.says()).map(|v| &*v.policy.name);
    let warned: Vec<&str> = policies.chain(receipt.warned.iter().map(String::as_str)).collect();
    list(&mut headers, WARN, &warned);
    let policies = receipt.terms.degraded.iter().map(|name| &**name);
    let degraded: Vec<&str> = policies.chain(receipt.degraded.iter().map(|what| &**what)).collect();
    list(&mut headers, DEGRADED, &degraded);
    headers
}

/// Headers of an answer that a provider gave.
pub fn answer(receipt: &Receipt, provider: &HeaderMap) -> HeaderMap {
    let mut headers = common(receipt);
    let family = super::arrive::family(receipt.dialect);
    // The class of an error at Bedrock is among them. However many others there are, these go on.
    let needed = [header::CONTENT_TYPE, header::RETRY_AFTER, HeaderName::from_static("x-amzn-errortype")];
    let goes = |name: &HeaderName| name.as_str().starts_with(family) || name.as_str().starts_with("x-ratelimit-");
    let short = || provider.iter().filter(|(_, value)| value.len() <= PROVIDER_HEADER_BYTES_MAX);
    let first = short().filter(|(name, _)| needed.contains(name));
    let others = short().filter(|(name, _)| goes(name) && !needed.contains(name)).take(PROVIDER_HEADERS_MAX);
    for (name, value) in first.chain(others) {
        headers.append(name.clone(), value.clone());
    }
    if let Some(attempt) = receipt.attempts.last() {
        put(&mut headers, TARGET, &attempt.target);
    }
    put(&mut headers, ATTEMPTS, &receipt.attempts.len().to_string());
    headers.insert(CACHE, HeaderValue::from_static("bypass"));
    let dropped: Vec<&str> = receipt.dropped.iter().map(String::as_str).collect();
    list(&mut headers, DROPPED, &dropped);
    super::rates::put(&mut headers, receipt);
    headers
}

/// Headers of an answer that is handed over as content: with the name that a file has.
pub fn content(receipt: &Receipt, provider: &HeaderMap) -> HeaderMap {
    let mut headers = answer(receipt, provider);
    if let Some(disposition) = provider.get(header::CONTENT_DISPOSITION) {
        headers.insert(header::CONTENT_DISPOSITION, disposition.clone());
    }
    headers
}

/// The cost, where it is known before the head leaves.
pub fn cost(headers: &mut HeaderMap, receipt: &Receipt) {
    if let Some(nanousd) = receipt.cost_nanousd {
        put(headers, COST, &usd_text(nanousd));
    }
}

/// What clients need to know to retry or not.
pub fn retry(headers: &mut HeaderMap, refusal: &Refusal) {
    let should = if refusal.retryable() { "true" } else { "false" };
    headers.insert(SHOULD_RETRY, HeaderValue::from_static(should));
    put(headers, REFUSAL, refusal.category.name());
    if let Some(ms) = refusal.retry_after_ms {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(ms));
    }
}

pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    // Names of policies and targets may hold what no header may: such a header is left out, the receipt has it.
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

fn list(headers: &mut HeaderMap, name: HeaderName, names: &[&str]) {
    if !names.is_empty() {
        put(headers, name, &names.join(", "));
    }
}

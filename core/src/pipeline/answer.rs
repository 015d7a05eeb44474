//! Stage five: an answer from the shelf, or from targets in turn, within one deadline. Every attempt is noted.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use http::{HeaderMap, StatusCode, header};

use super::Core;
use super::admit::Admitted;
use super::outlet::Outlet;
use super::settle::After;
use super::shape::Shape;
use crate::contract::refusal::{Category, Fault as Whose, Refusal};
use crate::evidence::receipt::{Attempt, Receipt};
use crate::policy::facts::Facts;
use crate::ports::{Fault, Kept, Reply, ReplyBody};
use crate::routing::catalog::Target;

/// A provider's error body is read up to this size.
const ERROR_BYTES_MAX: usize = 1 << 20;

/// What goes back to the caller, before a byte of it was sent.
pub struct Answer {
    pub facts: Arc<Facts>,
    pub content: Content,
}

pub enum Content {
    /// Given before, under the same idempotency key.
    Stored(Kept),
    /// A provider's reply.
    Live { target: Arc<Target>, status: StatusCode, headers: HeaderMap, body: LiveBody },
}

pub enum LiveBody {
    /// JSON, read whole.
    Whole(Bytes),
    /// The provider's own error, in the caller's dialect, with what it means.
    Error(Bytes, Box<Refusal>),
    /// More than is read whole: what was read, and the rest as it comes.
    Passing(Bytes, ReplyBody),
    /// Server-sent events.
    Events { body: ReplyBody, strip_usage: bool },
}

/// How one attempt ended without an answer.
struct Failed {
    refusal: Refusal,
    /// Another target may do better.
    go_on: bool,
    /// What to hand over if nobody does better: the provider's own words.
    said: Option<(StatusCode, HeaderMap, Bytes)>,
}

pub async fn answer(
    core: &Core,
    call: Admitted,
    receipt: &mut Receipt,
    after: &mut After,
    outlet: &mut Outlet,
) -> Result<Answer, Refusal> {
    let facts = call.facts.clone();
    if let Some(kept) = call.stored {
        return Ok(Answer { facts, content: Content::Stored(kept) });
    }
    let shape = Shape::new(&call.call, &call.terms)?;
    receipt.dropped.clone_from(&shape.dropped);
    let deadline_ms = [call.terms.deadline_ms, facts.intent.max_latency_ms, Some(core.bounds.deadline_ms)]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(core.bounds.deadline_ms);
    let attempts_max = call.terms.attempts.unwrap_or(core.bounds.attempts_max).min(core.bounds.attempts_max);
    let mut last: Option<(Arc<Target>, Failed)> = None;
    for target in call.targets.iter().take(attempts_max as usize) {
        let begun_ms = (core.clock.steady_ms)();
        let left_ms = deadline_ms.saturating_sub(begun_ms.saturating_sub(call.call.started_ms));
        if left_ms == 0 {
            last = Some((target.clone(), failed(Fault::Deadline(deadline_ms), target)));
            break;
        }
        let besides = core.upstream.forwards(&target.provider);
        let outgoing = shape.outgoing(&call.call, &facts.intent, &call.terms, target, besides, left_ms);
        receipt.attempts.push(Attempt {
            target: target.id.clone(),
            latency_ms: 0,
            status: None,
            fault: None,
            provider_request_id: None,
        });
        after.left_for = Some(target.clone());
        let sent = core.upstream.send(target, outgoing);
        let came = match select(sent, std::pin::pin!(outlet.closed())).await {
            Either::Left((came, _)) => came,
            Either::Right(_) => return Err(super::settle::caller_left()),
        };
        let read = match came {
            Ok(reply) => take(core, reply, target, shape.strip_usage, call.call.stream, receipt, outlet).await?,
            Err(fault) => {
                note(receipt, |a| a.fault = Some(fault.to_string()));
                Err(failed(fault, target))
            }
        };
        let took_ms = (core.clock.steady_ms)().saturating_sub(begun_ms);
        note(receipt, |a| a.latency_ms = took_ms);
        match read {
            Ok(content) => return Ok(Answer { facts, content }),
            Err(failed) => {
                let go_on = failed.go_on;
                last = Some((target.clone(), failed));
                if !go_on {
                    break;
                }
            }
        }
    }
    gave_up(facts, last, &call.call.revision.id.0)
}

/// No target answered: the last provider's own words where it had any, else why.
fn gave_up(facts: Arc<Facts>, last: Option<(Arc<Target>, Failed)>, revision: &Arc<str>) -> Result<Answer, Refusal> {
    let Some((target, failed)) = last else {
        let told = format!("revision {revision} plans no attempt for this call (`cap.attempts`)");
        return Err(Refusal::new(Category::NoRoute, "no_attempt", told));
    };
    match failed.said {
        Some((status, headers, body)) => {
            let body = LiveBody::Error(body, Box::new(failed.refusal));
            Ok(Answer { facts, content: Content::Live { target, status, headers, body } })
        }
        None => Err(failed.refusal),
    }
}

fn note(receipt: &mut Receipt, change: impl FnOnce(&mut Attempt)) {
    if let Some(attempt) = receipt.attempts.last_mut() {
        change(attempt);
    }
}

/// Reads the head of a reply, and its body where that is JSON. The outer error is a caller that left.
async fn take(
    core: &Core,
    reply: Reply,
    target: &Arc<Target>,
    strip_usage: bool,
    stream: bool,
    receipt: &mut Receipt,
    outlet: &mut Outlet,
) -> Result<Result<Content, Failed>, Refusal> {
    let Reply { status, headers, body } = reply;
    let id = headers.get("x-request-id").or_else(|| headers.get("request-id")).and_then(|v| v.to_str().ok());
    note(receipt, |a| (a.status, a.provider_request_id) = (Some(status.as_u16()), id.map(str::to_owned)));
    let live = |body| Content::Live { target: target.clone(), status, headers: headers.clone(), body };
    let is_events = headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream"));
    let (body, looks_like_events) = match status.is_success() && stream && !is_events {
        true => look(body).await,
        false => (body, false),
    };
    if status.is_success() && (is_events || looks_like_events) {
        return Ok(Ok(live(LiveBody::Events { body, strip_usage })));
    }
    let max = if status.is_success() { core.bounds.answer_bytes_max } else { ERROR_BYTES_MAX };
    let read = match select(std::pin::pin!(gather(body, max)), std::pin::pin!(outlet.closed())).await {
        Either::Left((read, _)) => read,
        Either::Right(_) => return Err(super::settle::caller_left()),
    };
    Ok(match read {
        Err(fault) => {
            note(receipt, |a| a.fault = Some(fault.to_string()));
            Err(failed(fault, target))
        }
        Ok((bytes, None)) if status.is_success() && whole_json(&bytes) => Ok(live(LiveBody::Whole(bytes))),
        Ok((_, None)) if status.is_success() => Err(Failed {
            refusal: Refusal {
                provider: Some(target.provider.clone()),
                provider_status: Some(status.as_u16()),
                ..Refusal::new(
                    Category::UpstreamOutage,
                    "provider_answer_unreadable",
                    format!("`{}` answered {} with a body that is no JSON object", target.id, status.as_u16()),
                )
            },
            go_on: true,
            said: None,
        }),
        Ok((begun, Some(rest))) if status.is_success() => Ok(live(LiveBody::Passing(begun, rest))),
        Ok((bytes, _)) => Err(provider_said(status, headers, bytes, target)),
    })
}

/// Some servers say that a stream of events is JSON: its first bytes tell.
async fn look(mut body: ReplyBody) -> (ReplyBody, bool) {
    let first = body.next().await;
    let is_events = first.as_ref().and_then(|f| f.as_ref().ok()).is_some_and(|piece| {
        let text = piece.trim_ascii_start();
        text.starts_with(b"data:") || text.starts_with(b"event:") || text.starts_with(b":")
    });
    (Box::pin(futures_util::stream::iter(first).chain(body)), is_events)
}

/// A cheap look: does it begin and end as an object? Its members are read where they are needed.
fn whole_json(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii();
    text.starts_with(b"{") && text.ends_with(b"}")
}

/// A body whole; above the bound, what was read and the rest.
async fn gather(mut body: ReplyBody, max: usize) -> Result<(Bytes, Option<ReplyBody>), Fault> {
    let Some(first) = body.next().await.transpose()? else { return Ok((Bytes::new(), None)) };
    let Some(second) = body.next().await.transpose()? else { return Ok((first, None)) };
    let mut whole = BytesMut::with_capacity((first.len() + second.len()) * 2);
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    while whole.len() <= max {
        match body.next().await.transpose()? {
            Some(piece) => whole.extend_from_slice(&piece),
            None => return Ok((whole.freeze(), None)),
        }
    }
    Ok((whole.freeze(), Some(body)))
}

fn failed(fault: Fault, target: &Target) -> Failed {
    let (category, code, fault_of) = match &fault {
        Fault::Connect(_) => (Category::UpstreamOutage, "provider_unreachable", Whose::Provider),
        Fault::Broken(_) => (Category::UpstreamOutage, "provider_broke_off", Whose::Provider),
        Fault::FirstByte(_) | Fault::Idle(_) => (Category::Timeout, "provider_silent", Whose::Provider),
        Fault::Deadline(_) => (Category::Timeout, "deadline", Whose::Provider),
        Fault::NoSecret { .. } => (Category::UpstreamOutage, "no_provider_secret", Whose::Gateway),
    };
    let go_on = !matches!(fault, Fault::Deadline(_));
    let reason = format!("`{}` did not answer: {fault}", target.id);
    let refusal =
        Refusal { provider: Some(target.provider.clone()), fault: fault_of, ..Refusal::new(category, code, reason) };
    Failed { refusal, go_on, said: None }
}

/// What a provider's error means, whether another target may do better, and whether its words can be handed over.
fn provider_said(status: StatusCode, headers: HeaderMap, body: Bytes, target: &Target) -> Failed {
    #[derive(serde::Deserialize)]
    struct Envelope {
        error: Said,
    }
    #[derive(serde::Deserialize)]
    struct Said {
        #[serde(default)]
        message: Option<String>,
        #[serde(default, rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        code: Option<serde_json::Value>,
    }
    let said: Option<Said> = serde_json::from_slice::<Envelope>(&body).ok().map(|e| e.error);
    let code = said.as_ref().and_then(|s| s.code.as_ref()).and_then(|c| match c {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    let quota = [code.as_deref(), said.as_ref().and_then(|s| s.kind.as_deref())].contains(&Some("insufficient_quota"));
    let (category, ours) = match (status.as_u16(), code.as_deref()) {
        (400, Some("context_length_exceeded")) => (Category::ContextLength, "context_length_exceeded"),
        (400, Some("content_filter" | "content_policy_violation")) => (Category::ContentFiltered, "content_filtered"),
        (401 | 403, _) => (Category::UpstreamOutage, "provider_credential_refused"),
        (404, _) => (Category::NoRoute, "provider_model_not_found"),
        (408, _) | (504, _) => (Category::Timeout, "provider_timeout"),
        (413, _) => (Category::TooLarge, "provider_too_large"),
        (429, _) if quota => (Category::BudgetExceeded, "provider_quota"),
        (429, _) => (Category::RateLimited, "provider_rate_limit"),
        (400..=499, _) => (Category::InvalidRequest, "provider_refused"),
        _ => (Category::UpstreamOutage, "provider_error"),
    };
    // A caller's own mistake is the same everywhere; what is the provider's may go better elsewhere.
    let go_on = !matches!(
        category,
        Category::InvalidRequest | Category::ContextLength | Category::ContentFiltered | Category::TooLarge
    );
    let message = said.as_ref().and_then(|s| s.message.clone());
    let told = message.unwrap_or_else(|| "it gave no reason that could be read".to_owned());
    let refusal = Refusal {
        fault: if go_on { Whose::Provider } else { Whose::Caller },
        provider: Some(target.provider.clone()),
        provider_status: Some(status.as_u16()),
        provider_code: code,
        retry_after_ms: retry_after_ms(&headers),
        ..Refusal::new(category, ours, format!("`{}` answered {}: {told}", target.id, status.as_u16()))
    };
    // Only an error in the caller's dialect is handed over as it is: a proxy's HTML page tells no program anything.
    let said = said.is_some().then_some((status, headers, body));
    Failed { refusal, go_on, said }
}

fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok().filter(|n| *n >= 0.0);
    let ms = number("retry-after-ms").or_else(|| number("retry-after").map(|s| s * 1_000.0))?;
    Some(ms.min(3_600_000.0) as u64)
}

//! Stage five: an answer from the shelf, or from targets in turn, within one deadline. Every attempt is noted.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{HeaderMap, StatusCode, header};

use super::admit::Admitted;
use super::course::{self, Course};
use super::failed::{Failed, failed, unreadable};
use super::framing::framing;
use super::outlet::Outlet;
use super::readable::{self, Unread};
use super::settle::After;
use super::shape::{At, Shape};
use super::template::Said;
use super::translate::{speech, voice};
use super::{Core, allowance, count, departure, plain};
use crate::contract::Dialect;
use crate::contract::refusal::{Category, Fault as Whose, Refusal};
use crate::contract::skim::Skim;
use crate::dialects::embeddings::Wanted;
use crate::dialects::paths::Place;
use crate::dialects::{Given, Notes, codec};
use crate::evidence::receipt::{Attempt, Receipt};
use crate::policy::facts::Facts;
use crate::ports::{Fault, Kept, Reply, ReplyBody, Used};
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
    /// A ladder's own.
    Ours(Said),
    /// A provider's reply.
    Live { target: Arc<Target>, status: StatusCode, headers: HeaderMap, body: LiveBody },
}

pub enum LiveBody {
    /// JSON, read whole, and what it told.
    Whole(Bytes, Notes),
    /// The provider's own error, in the caller's dialect, with what it means.
    Error(Bytes, Box<Refusal>),
    /// More than is read whole: it goes on as it comes.
    Passing(ReplyBody),
    /// A stream, and its course to the caller.
    Events { body: ReplyBody, course: Box<Course> },
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
    if let Some(said) = call.ours {
        return Ok(Answer { facts, content: Content::Ours(said) });
    }
    let shape = Shape::new(&call.call, &call.terms)?;
    let deadline_ms = [call.terms.deadline_ms, facts.intent.max_latency_ms, Some(core.bounds.deadline_ms)]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(core.bounds.deadline_ms);
    let attempts_max = call.terms.attempts.unwrap_or(core.bounds.attempts_max).min(core.bounds.attempts_max);
    let mut last: Option<(Arc<Target>, Failed)> = None;
    let mut targets = call.targets.iter();
    // A target whose provider refused a secret, where there is another.
    let mut again: Option<&Arc<Target>> = None;
    for _ in 0..attempts_max {
        let is_again = again.is_some();
        let Some(target) = again.take().or_else(|| targets.next()) else { break };
        let begun_ms = (core.clock.steady_ms)();
        let left_ms = deadline_ms.saturating_sub(begun_ms.saturating_sub(call.call.started_ms));
        if left_ms == 0 {
            last = Some((target.clone(), failed(Fault::Deadline(deadline_ms), target)));
            break;
        }
        let provider = &target.provider;
        let speaks = core.upstream.speaks(provider);
        let Some(dialect) = speech(call.call.dialect, speaks) else {
            if count::estimates(call.call.dialect, speaks) {
                return Ok(estimated(call.call.dialect, facts, target, receipt));
            }
            continue;
        };
        let at = At {
            target,
            dialect,
            quirks: core.upstream.quirks(provider),
            besides: core.upstream.forwards(provider),
            deadline_ms: left_ms,
        };
        let ready = match shape.ready(&call.call, &facts.intent, &call.terms, &at) {
            Ok(ready) => ready,
            // Another target may be able to say it.
            Err(refusal) => {
                last = last.or(Some((target.clone(), Failed { refusal, go_on: true, billed: false, said: None })));
                continue;
            }
        };
        if last.as_ref().is_some_and(|(_, failed)| failed.billed)
            && let Err(refused) = allowance::another(core, after, target).await
        {
            // The attempt before may have cost something: there is no room for another beside it.
            receipt.hold_refused = Some(refused);
            break;
        }
        receipt.dropped.clone_from(&shape.dropped);
        receipt.dropped.extend(ready.dropped);
        let own_tools = ready.own_tools;
        departure::depart(core, receipt, after, target).await?;
        after.unknown = None;
        receipt.attempts.push(Attempt {
            target: target.id.clone(),
            secret: None,
            latency_ms: 0,
            status: None,
            fault: None,
            provider_request_id: None,
            may_have_cost_nanousd: None,
            may_have_used_tokens: None,
        });
        let mut secret = None;
        let sent = core.upstream.send(target, ready.outgoing, &mut secret);
        let came = match select(sent, std::pin::pin!(outlet.closed())).await {
            Either::Left((came, _)) => Some(came),
            Either::Right(_) => None,
        };
        note(receipt, |a| a.secret = secret);
        let came = came.ok_or_else(super::settle::caller_left)?;
        if came.as_ref().is_ok_and(|reply| reply.other_secret) && !is_again {
            again = Some(target);
        }
        let read = match came {
            Ok(reply) => {
                let own_tools: Vec<&str> = own_tools.iter().map(String::as_str).collect();
                let given = Given { own_tools: &own_tools, ..shape.given(&call.call, &facts.intent) };
                let (wanted, asked_bytes) = (ready.wanted, call.call.body.len());
                let (ours, place) = (call.call.dialect, &call.call.place);
                let ways = Ways { target, ours, theirs: dialect, given, wanted, asked_bytes, place };
                take(core, reply, &ways, receipt, outlet).await?
            }
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
                if failed.billed {
                    lost(receipt, after, &facts, target);
                }
                last = Some((target.clone(), failed));
                if !go_on && again.is_none() {
                    break;
                }
            }
        }
    }
    gave_up(facts, last, &call.call.revision.id.0)
}

/// Books what an attempt that came to nothing may have cost: its prompt. How far its answer had come nobody knows; where no
/// other attempt follows, all is booked that was held.
fn lost(receipt: &mut Receipt, after: &mut After, facts: &Facts, target: &Target) {
    let usage = super::stream::estimate(facts, 0);
    let cost = target.price.as_ref().map(|row| row.price.cost(&usage));
    after.maybe.nanousd = after.maybe.nanousd.saturating_add(cost.unwrap_or(0));
    after.maybe.tokens = after.maybe.tokens.saturating_add(usage.total());
    after.unknown = Some(Used { nanousd: cost.unwrap_or(0), tokens: usage.total() });
    note(receipt, |a| (a.may_have_cost_nanousd, a.may_have_used_tokens) = (cost, Some(usage.total())));
}

/// A count where the target has none: no provider is asked.
fn estimated(ours: Dialect, facts: Arc<Facts>, target: &Arc<Target>, receipt: &mut Receipt) -> Answer {
    receipt.degraded.push(count::ESTIMATED.into());
    let (status, headers, bytes) = count::estimated(ours, &facts, &target.upstream_model);
    let body = LiveBody::Whole(bytes, count::notes());
    Answer { facts, content: Content::Live { target: target.clone(), status, headers, body } }
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

/// Between whom an answer goes.
struct Ways<'a> {
    target: &'a Arc<Target>,
    ours: Dialect,
    theirs: Dialect,
    given: Given<'a>,
    /// Of embeddings in another dialect.
    wanted: Option<Wanted>,
    asked_bytes: usize,
    place: &'a Place,
}

/// Reads the head of a reply, and its body where that is JSON. The outer error is a caller that left.
async fn take(
    core: &Core,
    reply: Reply,
    ways: &Ways<'_>,
    receipt: &mut Receipt,
    outlet: &mut Outlet,
) -> Result<Result<Content, Failed>, Refusal> {
    let Reply { status, headers, body, .. } = reply;
    let id = REQUEST_IDS.iter().find_map(|name| headers.get(*name)).and_then(|v| v.to_str().ok());
    note(receipt, |a| (a.status, a.provider_request_id) = (Some(status.as_u16()), id.map(str::to_owned)));
    let target = ways.target;
    let live = |headers, body| Content::Live { target: target.clone(), status, headers, body };
    let mut headers = headers;
    let kind = plain::kind(ways.ours, ways.theirs, ways.place, &headers);
    if status.is_success() && kind == plain::Kind::Content {
        return Ok(Ok(live(headers, LiveBody::Passing(body))));
    }
    let (body, framing) = match status.is_success() && (ways.given.stream || kind == plain::Kind::Events) {
        true => match select(std::pin::pin!(framing(&mut headers, body)), std::pin::pin!(outlet.closed())).await {
            Either::Left((framed, _)) => framed,
            Either::Right(_) => return Err(super::settle::caller_left()),
        },
        false => (body, None),
    };
    if let Some(framing) = framing {
        let course = Box::new(Course::new(framing, ways.ours, ways.theirs, &ways.given));
        let headers = course::headers(headers, ways.ours, ways.theirs, true);
        return Ok(Ok(live(headers, LiveBody::Events { body, course })));
    }
    let max = if status.is_success() { core.bounds.answer_bytes_max } else { ERROR_BYTES_MAX };
    let read = match select(std::pin::pin!(readable::gather(body, max)), std::pin::pin!(outlet.closed())).await {
        Either::Left((read, _)) => read,
        Either::Right(_) => return Err(super::settle::caller_left()),
    };
    Ok(match read {
        Err(fault) => {
            note(receipt, |a| a.fault = Some(fault.to_string()));
            Err(failed(fault, target))
        }
        Ok((bytes, rest)) if status.is_success() => {
            let checked = match rest {
                Some(_) => Ok(Skim::default()),
                None => readable::check(&bytes, ways.theirs, ways.place),
            };
            match checked {
                Ok(found) => {
                    let mut ours = course::headers(headers, ways.ours, ways.theirs, false);
                    let said = whole(bytes, (&found, rest), ways, &mut ours);
                    said.map(|body| live(ours, body)).map_err(|why| unreadable(&why, status, target))
                }
                Err(Unread::Error(status)) => Err(provider_said(status, headers, bytes, ways)),
                Err(Unread::Why(why)) => Err(unreadable(&why, status, target)),
            }
        }
        Ok((bytes, _)) => Err(provider_said(status, headers, bytes, ways)),
    })
}

/// Where providers tell their own id of a request.
const REQUEST_IDS: [&str; 4] = ["x-request-id", "request-id", "x-amzn-requestid", "x-goog-request-id"];

/// A successful answer that came whole and was checked, said in the caller's dialect.
fn whole(
    bytes: Bytes,
    (found, rest): (&Skim, Option<ReplyBody>),
    ways: &Ways<'_>,
    headers: &mut HeaderMap,
) -> Result<LiveBody, String> {
    let same = ways.ours == ways.theirs;
    match rest {
        Some(rest) if same && !ways.given.stream => return Ok(LiveBody::Passing(rest)),
        Some(_) => return Err("its answer is larger than is read whole here".to_owned()),
        None => {}
    }
    readable::is_json(headers);
    if ways.given.stream {
        let (Some(ours), Some(theirs)) = (codec(ways.ours), codec(ways.theirs)) else {
            return Err("it came whole, and a stream was asked for".to_owned());
        };
        let (said, notes, framing) = readable::as_stream(&bytes, (ours, theirs), &ways.given)?;
        headers.insert(header::CONTENT_TYPE, course::content_type(framing));
        return Ok(LiveBody::Whole(said.into(), notes));
    }
    let (Some(ours), Some(theirs)) = (codec(ways.ours), codec(ways.theirs)) else {
        let Ways { ours, theirs, given, wanted, asked_bytes, .. } = *ways;
        let between = plain::Between { ours, theirs, given, wanted, asked_bytes };
        let (said, mut notes) = plain::answer(bytes, &between)?;
        voice(theirs).glance_head(headers, &mut notes);
        return Ok(LiveBody::Whole(said, notes));
    };
    if same {
        let mut notes = theirs.glance_at(&bytes, found);
        theirs.glance_head(headers, &mut notes);
        return Ok(LiveBody::Whole(bytes, notes));
    }
    let answer = theirs.read_answer(&bytes, &ways.given).map_err(|wrong| wrong.to_string())?;
    let finish = answer.choices.iter().find_map(|c| c.finish.as_ref());
    let mut notes = Notes {
        usage: answer.usage,
        beside: answer.beside.clone(),
        finish_reason: finish.map(|finish| finish.name().to_owned()),
        done: true,
        ..Notes::default()
    };
    let said = ours.write_answer(&answer, &ways.given);
    said.lost.iter().for_each(|loss| notes.lose(&loss.what));
    Ok(LiveBody::Whole(said.body.into(), notes))
}

/// What a provider's error means, whether another target may do better, and whether its words can be handed over.
fn provider_said(status: StatusCode, headers: HeaderMap, body: Bytes, ways: &Ways<'_>) -> Failed {
    let target = ways.target;
    let said = voice(ways.theirs).read_error(status, &headers, &body);
    let (category, ours) = match said.as_ref().map_or_else(|| readable::by_status(status), |said| said.category) {
        Category::Auth | Category::Permission => (Category::UpstreamOutage, "provider_credential_refused"),
        Category::BudgetExceeded => (Category::BudgetExceeded, "provider_quota"),
        Category::RateLimited => (Category::RateLimited, "provider_rate_limit"),
        Category::NoRoute => (Category::NoRoute, "provider_model_not_found"),
        Category::Timeout => (Category::Timeout, "provider_timeout"),
        Category::TooLarge => (Category::TooLarge, "provider_too_large"),
        Category::ContextLength => (Category::ContextLength, "context_length_exceeded"),
        Category::ContentFiltered => (Category::ContentFiltered, "content_filtered"),
        Category::Overloaded => (Category::Overloaded, "provider_overloaded"),
        Category::InvalidRequest | Category::Unsupported | Category::Conflict | Category::PolicyViolation => {
            (Category::InvalidRequest, "provider_refused")
        }
        Category::UpstreamOutage | Category::Internal | Category::Interrupted => {
            (Category::UpstreamOutage, "provider_error")
        }
    };
    // A caller's own mistake is the same everywhere; what is the provider's may go better elsewhere.
    let go_on = !matches!(
        category,
        Category::InvalidRequest | Category::ContextLength | Category::ContentFiltered | Category::TooLarge
    );
    let told = match (&said, status.is_redirection()) {
        (Some(said), _) => readable::brief(&said.message),
        (None, true) => "a call is never sent on to where a provider points: mend its `base_url`".to_owned(),
        (None, false) => "it gave no reason that could be read".to_owned(),
    };
    let delay = said.as_ref().and_then(|said| said.retry_after);
    let refusal = Refusal {
        fault: if go_on { Whose::Provider } else { Whose::Caller },
        provider: Some(target.provider.clone()),
        provider_status: Some(status.as_u16()),
        provider_code: said.as_ref().and_then(|said| said.code.as_deref()).map(readable::brief),
        retry_after_ms: delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        ..Refusal::new(category, ours, format!("`{}` answered {}: {told}", target.id, status.as_u16()))
    };
    // Only an error in the caller's dialect is handed over as it is: a proxy's HTML page tells no program anything.
    let is_error = status.is_client_error() || status.is_server_error();
    let said = (said.is_some() && is_error && ways.ours == ways.theirs).then_some((status, headers, body));
    Failed { refusal, go_on, billed: false, said }
}

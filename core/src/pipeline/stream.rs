//! Stage six: the answer handed over, metered on its way, its first byte before its last; hook *post-response*.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use http::{HeaderMap, StatusCode, header};

use super::allowance::Allowance;
use super::answer::{Answer, Content, LiveBody};
use super::course::{self, Course};
use super::gathered::Gathered;
use super::outlet::{Outlet, Pieces};
use super::settle::{self, After};
use super::template::Said;
use super::{Core, broke, head, plain, rates, stateful};
use crate::contract::Operation;
use crate::contract::canonical::answer::Finish;
use crate::contract::refusal::{Category, Refusal};
use crate::contract::usage::Usage;
use crate::contract::words::tokens_estimate;
use crate::evidence::receipt::{Outcome, Receipt, ReplayedFrom};
use crate::limits::money::usd_text;
use crate::policy::facts::Facts;
use crate::ports::{Fault, Kept, ReplyBody};
use crate::routing::catalog::Target;

/// Hands an answer over and settles the call.
pub async fn hand_over(core: &Core, answer: Answer, mut receipt: Box<Receipt>, after: After, outlet: Outlet) {
    let Answer { facts, content } = answer;
    let (target, status, headers, body) = match content {
        Content::Stored(kept) => return stored(core, kept, receipt, after, outlet).await,
        Content::Ours(said) => return ours(core, said, receipt, after, outlet).await,
        Content::Live { target, status, headers, body } => (target, status, headers, body),
    };
    match body {
        LiveBody::Whole(bytes, notes) => {
            receipt.usage = Some(after.used(notes.usage, || estimate(&facts, bytes.len())));
            receipt.finish_reason = notes.finish_reason;
            receipt.dropped.extend(notes.lost);
            receipt.usage_beside = after.beside_of(notes.beside);
            let tenant = &facts.caller.tenant;
            if after.learns {
                stateful::learn(core, tenant, &target, after.dialect, &bytes).await;
            }
            let bytes = stateful::own(core, &after, tenant, bytes).await;
            whole(core, Whole { target, status, headers, bytes, facts }, receipt, after, outlet).await;
        }
        LiveBody::Error(bytes, refusal) => {
            let mut headers = head::answer(&receipt, &headers);
            head::retry(&mut headers, &refusal);
            receipt.outcome = Outcome::ProviderError { status: status.as_u16(), refusal: *refusal };
            receipt.answer_bytes = bytes.len() as u64;
            settle::settle(core, &mut receipt, after, None).await;
            outlet.send(status, headers, bytes);
            core.trail.record(receipt).await;
        }
        LiveBody::Passing(body) => {
            if after.lists_all {
                let told = format!("`{}` lists more than can be looked through here: ask for a `limit`", target.id);
                let refusal = Refusal::new(Category::UpstreamOutage, "list_too_large", told);
                return settle::refused(core, refusal, receipt, after, outlet).await;
            }
            let headers = head::content(&receipt, &headers);
            let Some(pieces) = outlet.open(status, headers.clone()) else {
                return left(core, receipt, after, &target, &facts, 0).await;
            };
            pass(core, body, headers, Going { target, facts, status, pieces, receipt, after }).await;
        }
        LiveBody::Events { body, course } => {
            let mut headers = head::answer(&receipt, &headers);
            headers.entry(header::CACHE_CONTROL).or_insert(http::HeaderValue::from_static("no-cache"));
            headers.entry(header::CONTENT_TYPE).or_insert(course.content_type());
            let kept_headers = headers.clone();
            let Some(pieces) = outlet.open(status, headers) else {
                return left(core, receipt, after, &target, &facts, 0).await;
            };
            let going = Going { target, facts, status, pieces, receipt, after };
            events(core, body, *course, kept_headers, going).await;
        }
    }
}

struct Whole {
    target: Arc<Target>,
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
    facts: Arc<Facts>,
}

/// A JSON answer: everything is known before its head leaves, so a policy may still refuse it.
async fn whole(core: &Core, answer: Whole, mut receipt: Box<Receipt>, after: After, outlet: Outlet) {
    let Whole { target, status, headers, bytes, facts } = answer;
    let now_ms = (core.clock.steady_ms)();
    receipt.first_byte_ms = Some(now_ms.saturating_sub(after.started_ms));
    receipt.answer_bytes = bytes.len() as u64;
    settle::price(&mut receipt, &target, &after);
    receipt.outcome = Outcome::Answered { status: status.as_u16() };
    if let Err(refusal) = settle::post_response(core, &mut receipt, &after, &facts, status) {
        return settle::refused(core, refusal, receipt, after, outlet).await;
    }
    let mut headers = head::answer(&receipt, &headers);
    head::cost(&mut headers, &receipt);
    let kept = Kept {
        status,
        headers: headers.clone(),
        body: bytes.clone(),
        call_id: receipt.call_id.clone(),
        revision: receipt.revision.clone(),
    };
    settle::settle(core, &mut receipt, after, Some(kept)).await;
    outlet.send(status, headers, bytes);
    core.trail.record(receipt).await;
}

/// An answer that was given before: neither routed nor charged again.
async fn stored(core: &Core, kept: Kept, mut receipt: Box<Receipt>, after: After, outlet: Outlet) {
    receipt.replayed_from = Some(ReplayedFrom { call_id: kept.call_id, revision: kept.revision });
    receipt.outcome = Outcome::Answered { status: kept.status.as_u16() };
    receipt.answer_bytes = kept.body.len() as u64;
    let mut headers = kept.headers;
    headers.extend(head::common(&receipt));
    headers.insert("tollgate-cache", http::HeaderValue::from_static("hit"));
    settle::settle(core, &mut receipt, after, None).await;
    outlet.send(kept.status, headers, kept.body);
    core.trail.record(receipt).await;
}

/// The answer of a ladder: nobody was asked, and it costs nothing.
async fn ours(core: &Core, said: Said, mut receipt: Box<Receipt>, after: After, outlet: Outlet) {
    receipt.outcome = Outcome::Answered { status: said.status.as_u16() };
    receipt.answer_bytes = said.body.len() as u64;
    receipt.finish_reason = Some(Finish::Stop.name().to_owned());
    let mut headers = head::common(&receipt);
    rates::put(&mut headers, &receipt);
    headers.extend(said.headers);
    settle::settle(core, &mut receipt, after, None).await;
    outlet.send(said.status, headers, said.body);
    core.trail.record(receipt).await;
}

/// A body under way to the caller.
struct Going {
    target: Arc<Target>,
    facts: Arc<Facts>,
    status: StatusCode,
    pieces: Pieces,
    receipt: Box<Receipt>,
    after: After,
}

/// How a body ended on its way.
enum End {
    Complete,
    CallerLeft,
    Broke(Fault),
    Unreadable(String),
    /// The provider said in another dialect that it failed.
    Failed,
    /// It said so in the caller's own dialect: the caller has read it.
    Told,
    /// No more is held for it, and no more was to be had.
    Spent(Refusal),
}

/// What is no JSON, or too large to be read whole: its cost is in the receipt only, and estimated.
async fn pass(core: &Core, mut body: ReplyBody, headers: HeaderMap, mut going: Going) {
    going.receipt.first_byte_ms = Some((core.clock.steady_ms)().saturating_sub(going.after.started_ms));
    let mut bytes = 0;
    let mut kept = Gathered::new(&going.after);
    let mut end = End::Complete;
    while let End::Complete = end {
        match next(&mut body, &going.pieces).await {
            None => end = End::CallerLeft,
            Some(None) => break,
            Some(Some(Err(fault))) => end = End::Broke(fault),
            Some(Some(Ok(piece))) => {
                bytes += piece.len();
                kept.add(&piece);
                if !going.pieces.send(piece).await {
                    end = End::CallerLeft;
                }
            }
        }
    }
    let kind = headers.get(header::CONTENT_TYPE);
    let estimate = || match going.facts.call.operation {
        Operation::Chat | Operation::Completions => estimate(&going.facts, bytes),
        Operation::Embeddings
        | Operation::CountTokens
        | Operation::Rerank
        | Operation::Images
        | Operation::Audio
        | Operation::Moderations
        | Operation::Files
        | Operation::Batches => plain::estimate(&going.facts, kind, bytes),
    };
    going.receipt.usage = Some(going.after.used(None, estimate));
    let kept = kept.complete(matches!(end, End::Complete), going.status, headers, &going.receipt);
    finish(core, going, end, bytes, kept, None).await;
}

/// Server-sent events, whole events at a time.
async fn events(core: &Core, mut body: ReplyBody, mut course: Course, headers: HeaderMap, mut going: Going) {
    let mut ready: Vec<Bytes> = Vec::with_capacity(4);
    let mut bytes = 0usize;
    let mut kept = Gathered::new(&going.after);
    let mut allowance = Allowance::of(&going.after, &going.target);
    if allowance.is_some() {
        course.meter();
    }
    let end = loop {
        let piece = match next(&mut body, &going.pieces).await {
            None => break End::CallerLeft,
            Some(Some(Err(fault))) if !course.notes.done => break End::Broke(fault),
            // Behind the provider's own end there is nothing that a broken connection could have lost.
            Some(None | Some(Err(_))) => {
                if let Err(why) = course.end(&mut ready) {
                    break End::Unreadable(why.to_string());
                }
                None
            }
            Some(Some(Ok(piece))) => Some(piece),
        };
        let ended = piece.is_none();
        if let Some(piece) = piece
            && let Err(why) = course.feed(piece, &mut ready)
        {
            break End::Unreadable(why.to_string());
        }
        if going.receipt.first_byte_ms.is_none() && !ready.is_empty() {
            going.receipt.first_byte_ms = Some((core.clock.steady_ms)().saturating_sub(going.after.started_ms));
        }
        bytes += ready.iter().map(Bytes::len).sum::<usize>();
        let gone = !hand_on(core, &mut ready, &mut going, &mut kept).await;
        if let Some(allowance) = allowance.as_mut().filter(|_| !gone && !ended && !course.complete())
            && let Err(refusal) = allowance.reach(core, &mut going.after, course.metered()).await
        {
            break End::Spent(refusal);
        }
        match (gone, ended) {
            (true, _) => break End::CallerLeft,
            (false, _) if course.has_failed() => break End::Failed,
            (false, true) if course.has_told_its_error().is_some() => break End::Told,
            (false, true) if course.complete() => break End::Complete,
            (false, true) => break End::Broke(Fault::Broken("the stream ended before its end".to_owned())),
            (false, false) => {}
        }
    };
    going.receipt.finish_reason.clone_from(&course.notes.finish_reason);
    going.receipt.dropped.append(&mut course.notes.lost);
    if let End::Spent(_) = end {
        going.receipt.finish_reason = Some(Finish::Length.name().to_owned());
    }
    let usage = used(&course, &end, &going.facts);
    going.receipt.usage = Some(going.after.used(Some(usage), || usage));
    going.receipt.usage_beside = going.after.beside_of(std::mem::take(&mut course.notes.beside));
    let kept = kept.complete(matches!(end, End::Complete), going.status, headers, &going.receipt);
    finish(core, going, end, bytes, kept, Some(course)).await;
}

/// Hands pieces on, and looks at them on the way. `false` = the caller has left.
async fn hand_on(core: &Core, ready: &mut Vec<Bytes>, going: &mut Going, kept: &mut Gathered) -> bool {
    let mut is_there = true;
    for piece in ready.drain(..) {
        kept.add(&piece);
        if going.after.learns
            && let Some(response) = stateful::in_event(&piece)
        {
            going.after.learns = false;
            let tenant = &going.facts.caller.tenant;
            stateful::learn(core, tenant, &going.target, going.after.dialect, response).await;
        }
        is_there = is_there && going.pieces.send(piece).await;
    }
    is_there
}

/// What a stream used: as its provider told, or as we counted where it told nothing, or not all of it before it was cut.
fn used(course: &Course, end: &End, facts: &Facts) -> Usage {
    let metered = course.metered();
    match course.notes.usage {
        None => Usage { output: metered, ..estimate(facts, 0) },
        Some(told) if matches!(end, End::Complete) || told.output_all() >= metered => told,
        Some(told) => {
            Usage { output: metered.saturating_sub(told.output_all() - told.output), estimated: true, ..told }
        }
    }
}

/// The next piece, or `None` when the caller has left.
async fn next(body: &mut ReplyBody, pieces: &Pieces) -> Option<Option<Result<Bytes, Fault>>> {
    match select(body.next(), std::pin::pin!(pieces.closed())).await {
        Either::Left((piece, _)) => Some(piece),
        Either::Right(_) => None,
    }
}

/// Ends a body: prices it, asks the last hook, tells the caller what went wrong, settles.
async fn finish(core: &Core, going: Going, end: End, bytes: usize, kept: Option<Kept>, mut course: Option<Course>) {
    let Going { target, facts, status, pieces, mut receipt, after } = going;
    receipt.answer_bytes = bytes as u64;
    settle::price(&mut receipt, &target, &after);
    receipt.outcome = match end {
        End::Complete => Outcome::Answered { status: status.as_u16() },
        End::CallerLeft => Outcome::CallerLeft,
        End::Broke(fault @ Fault::Deadline(_)) => Outcome::Interrupted {
            refusal: Refusal {
                category: Category::Timeout,
                code: "deadline".into(),
                ..broke::interrupted(&target, &fault.to_string())
            },
        },
        End::Broke(fault) => Outcome::Interrupted { refusal: broke::interrupted(&target, &fault.to_string()) },
        End::Unreadable(why) => Outcome::Interrupted { refusal: broke::interrupted(&target, &why) },
        End::Spent(refusal) => Outcome::Interrupted { refusal },
        End::Failed | End::Told => Outcome::Interrupted { refusal: broke::failed(&target, course.as_mut()) },
    };
    // Nothing can be taken back at the end of a stream: what a policy says now is recorded.
    let _ = settle::post_response(core, &mut receipt, &after, &facts, status);
    let trailer = after.trailer && course.as_ref().is_some_and(Course::takes_comments);
    let cut = match (&receipt.outcome, &mut course) {
        (Outcome::Interrupted { .. }, Some(course)) if course.has_told_its_error().is_some() => false,
        (Outcome::Interrupted { refusal }, Some(course)) => {
            pieces.send(course.refusal(refusal, &receipt.request_id)).await;
            false
        }
        (Outcome::Interrupted { .. }, None) => true,
        (
            Outcome::Answered { .. }
            | Outcome::Refused { .. }
            | Outcome::ProviderError { .. }
            | Outcome::CallerLeft
            | Outcome::Unknown { .. },
            _,
        ) => false,
    };
    settle::settle(core, &mut receipt, after, kept).await;
    if trailer {
        pieces.send(trailing(&receipt)).await;
    }
    if cut {
        pieces.cut().await;
    } else {
        drop(pieces);
    }
    core.trail.record(receipt).await;
}

/// The caller left before the head of the answer.
async fn left(core: &Core, mut receipt: Box<Receipt>, after: After, target: &Target, facts: &Arc<Facts>, bytes: usize) {
    receipt.usage = Some(after.used(None, || estimate(facts, bytes)));
    settle::price(&mut receipt, target, &after);
    receipt.outcome = Outcome::CallerLeft;
    settle::settle(core, &mut receipt, after, None).await;
    core.trail.record(receipt).await;
}

/// A comment that every reader passes over: what headers cannot tell of a stream.
fn trailing(receipt: &Receipt) -> Bytes {
    let cost = receipt.cost_nanousd.map_or_else(|| "unknown".to_owned(), usd_text);
    let usage = receipt.usage.unwrap_or_default();
    course::comment(&format!(
        "tollgate call-id={} cost-usd={cost} input-tokens={} output-tokens={} estimated={}",
        receipt.call_id,
        usage.input_all(),
        usage.output_all(),
        usage.estimated,
    ))
}

/// Our count where the provider told none: said to be one.
pub(super) fn estimate(facts: &Facts, answer_bytes: usize) -> Usage {
    let output = match facts.call.operation {
        Operation::Chat | Operation::Completions => answer_bytes as u64 / 4,
        Operation::Embeddings
        | Operation::CountTokens
        | Operation::Rerank
        | Operation::Images
        | Operation::Audio
        | Operation::Moderations
        | Operation::Files
        | Operation::Batches => 0,
    };
    let input = match facts.prompt().tokens {
        0 => tokens_estimate(facts.call.body_bytes as usize),
        tokens => tokens,
    };
    Usage { input, output, estimated: true, ..Usage::default() }
}

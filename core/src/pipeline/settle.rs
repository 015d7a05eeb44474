//! The last stage: holds settled at true cost, the shelf filled, the receipt written. It runs on every way out.

use std::sync::Arc;

use futures_util::FutureExt;
use http::{HeaderValue, StatusCode, header};

use super::allowance::Allowed;
use super::arrive::Arrival;
use super::bound::Bound;
use super::outlet::Outlet;
use super::rungs::Rung;
use super::translate::voice;
use super::{Core, body, head, rates};
use crate::contract::Dialect;
use crate::contract::refusal::{Category, Refusal};
use crate::contract::usage::{Usage, UsedBeside};
use crate::evidence::digest;
use crate::evidence::intent::call_id;
use crate::evidence::receipt::{LimitAlert, Outcome, Receipt, Recorded};
use crate::limits::rules::Unit;
use crate::policy::Hook;
use crate::policy::facts::{AnswerFacts, Facts};
use crate::policy::revision::Revision;
use crate::policy::schema::{Group, GroupSet};
use crate::policy::terms::Terms;
use crate::ports::{Beside, Kept, Used};
use crate::routing::catalog::{Catalog, PriceRow, Target};

/// What must be undone or finished when the call ends, gathered on its way.
///
/// A call that ends by no way at all (it panicked, its task was dropped) gives back in `drop` what is still here.
pub struct After {
    core: Arc<Core>,
    pub revision: Arc<Revision>,
    /// What the caller speaks.
    pub dialect: Dialect,
    /// A second revision that was live when the call came, and is told of its end.
    pub beside: Option<Arc<dyn Beside>>,
    pub hold_id: u128,
    pub started_ms: u64,
    /// A hold was taken.
    pub held: bool,
    /// The last step by which it was extended.
    pub step: u32,
    /// What the call may use, as it was admitted.
    pub allowed: Option<Allowed>,
    /// What attempts that failed on the way may have cost.
    pub maybe: Used,
    /// The call ends with an attempt of which nobody knows how far it came; what is counted for it so far.
    pub unknown: Option<Used>,
    /// Units of the process's budget of body bytes.
    pub body_units: usize,
    /// The idempotency key that this call has claimed.
    pub shelf_key: Option<String>,
    /// The target that the call has left for: from there on it may have cost something.
    pub left_for: Option<Arc<Target>>,
    /// The caller wants cost and usage in a comment behind a stream.
    pub trailer: bool,
    /// What a provider holds is looked up or kept: what its answer tells of usage was paid for before.
    pub computes_nothing: bool,
    /// The answer lists what all tenants have at a provider.
    pub lists_all: bool,
    /// The answer may tell of something that a provider now holds.
    pub learns: bool,
}

impl After {
    pub fn new(core: &Arc<Core>, arrival: &Arrival) -> Self {
        After {
            core: core.clone(),
            revision: arrival.revision.clone(),
            dialect: arrival.dialect,
            beside: arrival.beside.clone(),
            hold_id: arrival.hold_id,
            started_ms: arrival.started_ms,
            held: false,
            step: 0,
            allowed: None,
            maybe: Used::default(),
            unknown: None,
            body_units: 0,
            shelf_key: None,
            left_for: None,
            trailer: arrival.declared.trailer(),
            computes_nothing: arrival.place.computes_nothing(arrival.dialect),
            lists_all: arrival.place.lists_all(),
            learns: false,
        }
    }

    /// What the call used: as told, else estimated; nothing, where nothing was computed.
    pub fn used(&self, told: Option<Usage>, estimate: impl FnOnce() -> Usage) -> Usage {
        match self.computes_nothing {
            true => Usage::default(),
            false => told.unwrap_or_else(estimate),
        }
    }

    /// What is billed with it.
    pub fn beside_of(&self, told: Vec<UsedBeside>) -> Vec<UsedBeside> {
        if self.computes_nothing { Vec::new() } else { told }
    }

    /// By what the call is metered once it is admitted: with nothing held and no cap on its cost, by nothing, and its prompt
    /// is not sized.
    pub(super) fn allow(&mut self, bound: &Bound<'_>, rung: &Rung) {
        self.allowed = (self.held || bound.caps_cost()).then(|| bound.allowed(&rung.targets));
    }
}

impl Drop for After {
    /// Only what need not wait: a lock each, and none of them where `settle` has run.
    fn drop(&mut self) {
        let is_lost = self.held || self.left_for.is_some();
        let now_ms = if is_lost { (self.core.clock.now_ms)() } else { 0 };
        if self.held {
            self.core.ledger.lost(self.hold_id, self.left_for.is_some(), now_ms);
        }
        if self.left_for.is_some() {
            self.core.trail.lost(self.hold_id, now_ms);
        }
        body::release(&self.core, std::mem::take(&mut self.body_units));
        match self.shelf_key.take() {
            // A retry shall not make it again in silence.
            Some(key) if self.left_for.is_some() => self.core.shelf.lost(&key, &call_id(self.hold_id).into()),
            // A shelf that would have to wait keeps the key until it is too old.
            Some(key) => drop(self.core.shelf.forget(&key).now_or_never()),
            None => {}
        }
    }
}

/// A refusal that stands for a caller that left: nobody reads it.
pub fn caller_left() -> Refusal {
    Refusal::new(Category::Interrupted, CALLER_LEFT, "the caller left before the answer")
}

const CALLER_LEFT: &str = "caller_left";

/// Ends a call that came to no answer.
pub async fn refused(core: &Core, refusal: Refusal, mut receipt: Box<Receipt>, mut after: After, outlet: Outlet) {
    let left = refusal.code == CALLER_LEFT;
    if left && let Some(target) = after.left_for.clone() {
        // The provider may have counted the prompt already: it is told as an estimate, never as nothing.
        let tokens = crate::contract::words::tokens_estimate(receipt.body_bytes as usize);
        receipt.usage = Some(after.used(None, || Usage { input: tokens, estimated: true, ..Usage::default() }));
        price(&mut receipt, &target, &after);
        let nanousd = receipt.cost_nanousd.unwrap_or(0);
        after.unknown = Some(Used { nanousd, tokens: receipt.usage.map_or(0, |usage| usage.total()) });
    }
    let voice = voice(after.dialect);
    let status = voice.refusal_status(&refusal);
    let mut headers = head::common(&receipt);
    rates::put(&mut headers, &receipt);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head::retry(&mut headers, &refusal);
    voice.refusal_headers(&refusal, &mut headers);
    let body = voice.write_refusal(&refusal, &receipt.request_id);
    receipt.outcome = match left {
        true => Outcome::CallerLeft,
        false => Outcome::Refused { status: status.as_u16(), refusal },
    };
    receipt.answer_bytes = body.len() as u64;
    settle(core, &mut receipt, after, None).await;
    outlet.send(status, headers, body.into());
    core.trail.record(receipt).await;
}

/// Settles or voids the hold, keeps or forgets the answer, gives back the body's room. The receipt is recorded after it.
pub async fn settle(core: &Core, receipt: &mut Receipt, mut after: After, kept: Option<Kept>) {
    if after.held {
        let now_ms = (core.clock.now_ms)();
        let mut used = after.maybe;
        if let (Some(usage), None) = (&receipt.usage, &receipt.replayed_from) {
            used.nanousd = used.nanousd.saturating_add(receipt.cost_nanousd.unwrap_or(0));
            let beside = receipt.usage_beside.iter().map(|beside| beside.usage.total());
            used.tokens = beside.fold(used.tokens.saturating_add(usage.total()), u64::saturating_add);
        }
        match after.unknown {
            Some(counted) => used = at_hold(receipt, used, counted),
            None => above_hold(receipt, used, after.step),
        }
        match used == Used::default() {
            false => core.ledger.settle(after.hold_id, used, now_ms).await,
            true => core.ledger.void(after.hold_id, now_ms).await,
        }
        after.held = false;
    }
    if let Some(key) = &after.shelf_key {
        match kept {
            Some(kept) => core.shelf.finish(key, kept).await,
            // A retry shall not make it again in silence.
            None if after.unknown.is_some() => core.shelf.lost(key, &call_id(after.hold_id).into()),
            None => core.shelf.forget(key).await,
        }
    }
    after.shelf_key = None;
    body::release(core, std::mem::take(&mut after.body_units));
    receipt.latency_ms = (core.clock.steady_ms)().saturating_sub(after.started_ms);
    // Whoever called records the receipt now.
    after.left_for = None;
    if let Some(beside) = &after.beside {
        beside.ended(receipt);
    }
}

/// What nobody knows is booked at what was held for it, in place of what was counted; the attempt tells the difference.
fn at_hold(receipt: &mut Receipt, used: Used, counted: Used) -> Used {
    let held = |unit| receipt.holds.iter().filter(|held| held.unit == unit).map(|held| held.held).max().unwrap_or(0);
    let nanousd = i64::try_from(held(Unit::Nanousd)).unwrap_or(i64::MAX).saturating_sub(counted.nanousd).max(0);
    let tokens = held(Unit::Tokens).saturating_sub(counted.tokens);
    if let Some(attempt) = receipt.attempts.last_mut().filter(|_| nanousd > 0 || tokens > 0) {
        let (cost, used) = (&mut attempt.may_have_cost_nanousd, &mut attempt.may_have_used_tokens);
        *cost = Some(cost.unwrap_or(0).saturating_add(nanousd));
        *used = Some(used.unwrap_or(0).saturating_add(tokens));
    }
    Used { nanousd: used.nanousd.saturating_add(nanousd), tokens: used.tokens.saturating_add(tokens) }
}

/// Notes what was used above what was held. What was extended was held too, and is looked at by the ledger alone.
fn above_hold(receipt: &mut Receipt, used: Used, steps: u32) {
    let Receipt { holds, limit_alerts, .. } = receipt;
    for held in holds.iter().filter(|_| steps == 0) {
        let used = match held.unit {
            Unit::Nanousd => u64::try_from(used.nanousd).unwrap_or(0),
            Unit::Tokens => used.tokens,
            Unit::Requests | Unit::InFlight => continue,
        };
        if used > held.held {
            limit_alerts.push(LimitAlert::AboveHold { rule: held.rule.clone(), held: held.held, used });
        }
    }
}

/// The cost of what was used, by the target's dated price row; what other models used beside it, by theirs.
pub fn price(receipt: &mut Receipt, target: &Target, after: &After) {
    // A row that prices tokens need not price searches, and an unknown price is never zero.
    if let (Some(usage), Some(row)) = (&receipt.usage, &target.price)
        && row.price.knows(usage)
    {
        let catalog = &after.revision.catalog;
        let beside = receipt.usage_beside.iter().map(|beside| cost_beside(beside, catalog, target, row));
        receipt.cost_nanousd = Some(beside.fold(row.price.cost(usage), i64::saturating_add));
        receipt.price = Some(row.clone());
    }
}

/// By the row of the model that was asked beside the target's: of its provider, and of its region where there are several.
/// One that the catalog does not know is as dear as the dearest of the family.
fn cost_beside(beside: &UsedBeside, catalog: &Catalog, target: &Target, own: &PriceRow) -> i64 {
    let cost = |row: &PriceRow| row.price.cost(&beside.usage);
    if beside.model.is_empty() {
        return cost(own);
    }
    let of_provider = || catalog.targets().iter().filter(|other| other.provider == target.provider);
    let is_named = |other: &&Arc<Target>| *other.model == *beside.model || *other.upstream_model == *beside.model;
    let named =
        of_provider().filter(is_named).filter_map(|other| Some((other.region != target.region, other.price.as_ref()?)));
    if let Some((_, row)) = named.min_by_key(|(is_elsewhere, _)| *is_elsewhere) {
        return cost(row);
    }
    let of_family =
        of_provider().filter(|other| other.family == target.family).filter_map(|other| other.price.as_ref());
    of_family.map(cost).fold(cost(own), i64::max)
}

/// Asks the last hook. An error is a denial, which acts only where nothing was sent yet.
pub fn post_response(
    core: &Core,
    receipt: &mut Receipt,
    after: &After,
    facts: &Arc<Facts>,
    status: StatusCode,
) -> Result<(), Refusal> {
    let judge = &after.revision.judge;
    if !judge.sits_at(Hook::PostResponse) {
        return Ok(());
    }
    let usage = receipt.usage.unwrap_or_default();
    let mut last = Facts::default();
    last.call = facts.call.clone();
    last.caller = facts.caller.clone();
    last.meta = facts.meta.clone();
    last.intent = facts.intent.clone();
    last.budget = facts.budget.clone();
    last.rate = facts.rate.clone();
    last.words = facts.words.clone();
    last.give_buckets(facts.buckets());
    last.answer = Some(AnswerFacts {
        target: receipt.attempts.last().map_or_else(|| "".into(), |a| a.target.clone()),
        status: status.as_u16(),
        input_tokens: usage.input,
        cached_input_tokens: usage.cached_input,
        cache_write_tokens: usage.cache_write.saturating_add(usage.cache_write_1h),
        output_tokens: usage.output,
        reasoning_tokens: usage.reasoning,
        estimated: usage.estimated,
        cost_nanousd: receipt.cost_nanousd,
        latency_ms: (core.clock.steady_ms)().saturating_sub(after.started_ms),
        first_token_ms: receipt.first_byte_ms.unwrap_or(0),
        attempts: receipt.attempts.len() as u32,
        finish_reason: receipt.finish_reason.clone().unwrap_or_default(),
    });
    let last = Arc::new(last);
    let verdicts = judge.ask(Hook::PostResponse, &last);
    let mut groups: GroupSet = judge.reads(Hook::PostResponse);
    [Group::Call, Group::Meta, Group::Intent, Group::Answer].into_iter().for_each(|g| groups.insert(g));
    groups.remove(Group::Caller);
    if let Some(Recorded::Live { user, address, .. }) = receipt.facts.get(&Hook::PreRoute) {
        let recorded = Recorded::Live { facts: last, groups, user: user.clone(), address: address.clone() };
        receipt.facts.insert(Hook::PostResponse, recorded);
    }
    let denials_before = receipt.terms.deny.len();
    receipt.verdicts.extend(verdicts);
    receipt.decision_digest = digest::decision(&receipt.verdicts);
    let terms = Terms::resolve(&receipt.verdicts);
    receipt.shadow = Terms::resolve_shadow(&receipt.verdicts, &terms);
    receipt.terms = Arc::new(terms);
    match receipt.terms.deny.len() > denials_before {
        true => super::plan::refuse_denied(receipt),
        false => Ok(()),
    }
}

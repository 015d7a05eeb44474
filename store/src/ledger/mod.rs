//! Balances in memory: holds over many counters at once, all or none.
//!
//! Counters and holds lie in shards, each behind a lock of its own, held for well under a microsecond and never across
//! an await. Locks are taken in one order: the hold's shard first, then the counters' shards by index. So no two calls
//! wait for each other, and a hold is seen by others whole or not at all.
//!
//! A hold counts in the period that it was made in. Settled after that period's end, it is booked there, which is to say
//! nowhere that could still refuse a call: a closed period is never opened again, and the new one starts at zero. What is
//! added to it after that end counts in the new period.

pub(crate) mod amended;
pub(crate) mod books;
mod count;
mod counter;
pub mod event;
pub(crate) mod hold;
mod journalled;
mod listing;
mod replay;
mod telling;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tollgate_core::limits::amendment::Amendment;
use tollgate_core::limits::balance::{Balance, Listing, Undone};
use tollgate_core::limits::claim::{Claim, Held, HoldId, Refused, Standing};
use tollgate_core::limits::rules::{Rule, Unit};
use tollgate_core::ports::{Later, Ledger, Used};

use amended::Amendments;
use books::{Counters, End, SWEEP_EVERY_MS, lock};
use counter::Counter;
use event::{Event, Sink};
use hold::{Hold, Holds, Part, in_unit};

pub use journalled::{JournalLedger, LedgerError, Started};

/// Several times a call for each of its limits, so it is a quick one. Its seeds are of this process: nobody may know beforehand
/// which scopes share a shard, or a place in one, else one could be filled with invented names.
type Quick = foldhash::quality::RandomState;
#[cfg(not(test))]
type Hasher = Quick;
#[cfg(test)]
type Hasher = crate::simulation::Chance;

const SHARDS: usize = 16;
/// Bounds of one shard. A counter is about 200 bytes: all together stay below 256 MiB.
const SCOPES_MAX: usize = 65_536;
const HOLDS_MAX: usize = 16_384;
/// A hold that is older belongs to a call that was lost: twice the longest call.
const HOLD_MS_MAX: i64 = 30 * 60 * 1_000;
/// When a call may try again that came while a shard was full.
const FULL_RETRY_MS: u64 = 10_000;

/// The ledger of one node.
pub struct MemoryLedger {
    counters: [Mutex<Counters>; SHARDS],
    holds: [Mutex<Holds>; SHARDS],
    hasher: Hasher,
    epochs: AtomicU64,
    /// The latest moment that was ever told.
    latest_ms: AtomicI64,
    scopes_max: usize,
    amendments: Amendments,
    sink: Option<Sink>,
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger").field("has_sink", &self.sink.is_some()).finish_non_exhaustive()
    }
}

impl Default for MemoryLedger {
    fn default() -> Self {
        MemoryLedger {
            counters: Default::default(),
            holds: Default::default(),
            hasher: Hasher::default(),
            epochs: AtomicU64::new(0),
            latest_ms: AtomicI64::new(i64::MIN),
            scopes_max: SCOPES_MAX,
            amendments: Amendments::default(),
            sink: None,
        }
    }
}

impl Ledger for MemoryLedger {
    fn standing<'a>(&'a self, claims: &'a [Claim], now_ms: i64) -> Later<'a, Vec<Standing>> {
        Box::pin(std::future::ready(claims.iter().map(|claim| self.standing_of(claim, now_ms)).collect()))
    }

    fn hold<'a>(&'a self, id: HoldId, claims: &'a [Claim], now_ms: i64) -> Later<'a, Result<Vec<Held>, Refused>> {
        Box::pin(std::future::ready(self.hold_now(id, claims, now_ms)))
    }

    fn extend<'a>(&'a self, id: HoldId, step: u32, more: Used, now_ms: i64) -> Later<'a, Result<(), Refused>> {
        Box::pin(std::future::ready(self.extend_now(id, step, more, now_ms)))
    }

    fn settle<'a>(&'a self, id: HoldId, used: Used, now_ms: i64) -> Later<'a, ()> {
        self.end(id, End::Settled(Some(used)), now_ms);
        Box::pin(std::future::ready(()))
    }

    fn void<'a>(&'a self, id: HoldId, now_ms: i64) -> Later<'a, ()> {
        self.end(id, End::Voided, now_ms);
        Box::pin(std::future::ready(()))
    }

    fn lost(&self, id: HoldId, had_left: bool, now_ms: i64) {
        self.end(id, if had_left { End::Settled(None) } else { End::Voided }, now_ms);
    }

    fn adjust<'a>(&'a self, id: HoldId, claim: &'a Claim, delta: i64, now_ms: i64) -> Later<'a, ()> {
        if self.adjust_now(id, &claim.rule, &claim.scope, delta, now_ms) {
            let (rule, scope) = (claim.rule.clone(), Arc::from(&*claim.scope));
            self.told_of(|| Event::Adjusted { id, rule, scope, delta, at_ms: now_ms });
        }
        Box::pin(std::future::ready(()))
    }

    fn amend(&self, amendment: Arc<Amendment>, now_ms: i64) -> Later<'_, Result<(), Undone>> {
        let made = self.amend_now(&amendment, now_ms).map(drop);
        if made.is_ok() {
            self.told_of(|| Event::Amended { amendment, at_ms: now_ms });
        }
        Box::pin(std::future::ready(made))
    }

    fn amendments(&self) -> Vec<Arc<Amendment>> {
        self.amendments.all()
    }

    fn balances<'a>(&'a self, listing: Listing<'a>, now_ms: i64) -> Later<'a, Result<Vec<Balance>, Undone>> {
        Box::pin(std::future::ready(Ok(self.list(&listing, now_ms))))
    }
}

impl MemoryLedger {
    /// A ledger that tells of every change.
    pub fn with_sink(sink: Sink) -> Self {
        MemoryLedger { sink: Some(sink), ..MemoryLedger::default() }
    }

    fn hold_now(&self, id: HoldId, claims: &[Claim], now_ms: i64) -> Result<Vec<Held>, Refused> {
        let held = self.hold_untold(id, claims, now_ms)?;
        self.told_of(|| Event::held(id, claims, now_ms));
        Ok(held)
    }

    fn hold_untold(&self, id: HoldId, claims: &[Claim], now_ms: i64) -> Result<Vec<Held>, Refused> {
        let mut holds = lock(&self.holds[hold_shard(id)]);
        self.expire(&mut holds, now_ms);
        if let Some(hold) = holds.by_id.get(&id) {
            return Ok(self.repeated(hold, now_ms));
        }
        if holds.has_ended(id) || holds.by_id.len() >= HOLDS_MAX {
            return Err(full(claims));
        }
        let mut locked = self.lock_shards(claims.iter().map(|c| &*c.scope));
        for (at, claim) in claims.iter().enumerate() {
            let before = claims[..at].iter().filter(|c| c.scope == claim.scope).map(|c| c.worst).sum();
            let Some((_, counter)) = self.counter(&mut locked, &claim.rule, &claim.scope, now_ms) else {
                return Err(full(std::slice::from_ref(claim)));
            };
            room(counter, &claim.rule, &claim.scope, claim.worst, before, now_ms)?;
        }
        // All fit, and nobody else can come between: their shards are locked.
        let (mut parts, mut held) = (Vec::with_capacity(claims.len()), Vec::with_capacity(claims.len()));
        for claim in claims {
            let known = self.counter(&mut locked, &claim.rule, &claim.scope, now_ms);
            let (scope, counter) = known.expect("its counter was made above, under the same lock");
            let used = counter.used();
            parts.push(counter.part(scope, claim.worst, now_ms));
            held.push(told(&claim.rule, &claim.scope, claim.worst, used, counter, now_ms));
        }
        holds.by_id.insert(id, made(parts, now_ms));
        Ok(held)
    }

    fn extend_now(&self, id: HoldId, step: u32, more: Used, now_ms: i64) -> Result<(), Refused> {
        self.extend_untold(id, step, more, now_ms)?;
        self.told_of(|| Event::Extended { id, step, more, at_ms: now_ms });
        Ok(())
    }

    fn extend_untold(&self, id: HoldId, step: u32, more: Used, now_ms: i64) -> Result<(), Refused> {
        let mut holds = lock(&self.holds[hold_shard(id)]);
        let Some(hold) = holds.by_id.get_mut(&id).filter(|hold| !hold.is_expired) else { return Err(full(&[])) };
        if step <= hold.step {
            return Ok(());
        }
        let mut locked = self.lock_shards(hold.parts.iter().map(|p| &*p.scope));
        for (at, part) in hold.parts.iter().enumerate() {
            let is_first = !hold.parts[..at].iter().any(|p| p.scope == part.scope);
            let Some(amount) = in_unit(more, part.rule.unit).filter(|n| *n > 0 && is_first) else { continue };
            let Some(rule) = self.rule_now(&locked, part) else { continue };
            let Some((_, counter)) = self.counter(&mut locked, &rule, &part.scope, now_ms) else {
                return Err(full(&[]));
            };
            room(counter, &rule, &part.scope, amount, 0, now_ms)?;
        }
        hold.step = step;
        self.extend_parts(&mut locked, hold, more, now_ms);
        Ok(())
    }

    fn end(&self, id: HoldId, end: End, now_ms: i64) {
        if self.take_out(id, end, now_ms).is_some() {
            self.told_of(|| Event::ended(id, end, now_ms));
        }
    }

    fn take_out(&self, id: HoldId, end: End, now_ms: i64) -> Option<Hold> {
        let mut holds = lock(&self.holds[hold_shard(id)]);
        let hold = holds.by_id.remove(&id)?;
        holds.end(id);
        self.release(&hold, &end, now_ms);
        Some(hold)
    }

    fn adjust_now(&self, id: HoldId, rule: &Arc<Rule>, scope: &str, delta: i64, now_ms: i64) -> bool {
        let mut holds = lock(&self.holds[hold_shard(id)]);
        if !holds.end(id) {
            return false;
        }
        let mut locked = self.lock_shards(std::iter::once(scope));
        let counter = self.counter(&mut locked, rule, scope, now_ms).map(|(_, counter)| counter.adjust(delta));
        counter.is_some()
    }

    /// Holds of lost calls are given back, so that no budget stays spent by calls that nobody makes any more.
    fn expire(&self, holds: &mut Holds, now_ms: i64) {
        if now_ms.saturating_sub(holds.swept_ms) < SWEEP_EVERY_MS && holds.by_id.len() < HOLDS_MAX {
            return;
        }
        holds.swept_ms = now_ms;
        let due = holds.by_id.iter().filter(|(_, hold)| now_ms >= hold.until_ms);
        let mut due: Vec<HoldId> = due.map(|(id, _)| *id).collect();
        // By their ids: the same calls make the same journal.
        due.sort_unstable();
        for id in due {
            match holds.by_id.get_mut(&id) {
                Some(hold) if !hold.is_expired => {
                    tracing::warn!(hold = %format_args!("{id:032x}"), "a hold expired: its call never ended");
                    self.give_back(hold, now_ms);
                    self.told_of(|| Event::Expired { id, at_ms: now_ms });
                }
                Some(_) | None => {
                    holds.by_id.remove(&id);
                    holds.end(id);
                }
            }
        }
    }

    fn give_back(&self, hold: &mut Hold, now_ms: i64) {
        self.release(hold, &End::Voided, now_ms);
        hold.is_expired = true;
        hold.until_ms = now_ms.saturating_add(HOLD_MS_MAX);
    }

    /// What was answered when the hold was made; how its counters stand is as it is now.
    fn repeated(&self, hold: &Hold, now_ms: i64) -> Vec<Held> {
        let mut locked = self.lock_shards(hold.parts.iter().map(|p| &*p.scope));
        let parts = hold.parts.iter();
        let told = parts.filter_map(|part| {
            let rule = self.rule_now(&locked, part)?;
            let (_, counter) = self.counter(&mut locked, &rule, &part.scope, now_ms)?;
            Some(told(&rule, &part.scope, part.claimed, counter.used(), counter, now_ms))
        });
        told.collect()
    }

    fn standing_of(&self, claim: &Claim, now_ms: i64) -> Standing {
        let limit = self.amendments.limit(&claim.rule, &claim.scope, now_ms);
        let mut counters = lock(&self.counters[self.shard(&claim.scope)]);
        match counters.by_scope.get_mut(&*claim.scope) {
            Some(counter) => {
                counter.advance(&claim.rule, limit, now_ms, || self.epoch());
                counter.standing()
            }
            None => Counter::new(&claim.rule, limit, 0, self.begin_ms(&claim.rule, now_ms)).standing(),
        }
    }

    /// Tells the sink, where there is one: the event is made only then.
    fn told_of(&self, event: impl FnOnce() -> Event) {
        if let Some(sink) = &self.sink {
            sink(&event());
        }
    }

    fn shard(&self, scope: &str) -> usize {
        (self.hasher.hash_one(scope) % SHARDS as u64) as usize
    }

    /// When a new counter begins. A clock that was set back opens no period that others have left.
    fn begin_ms(&self, rule: &Rule, now_ms: i64) -> i64 {
        let latest_ms = self.latest_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms);
        if rule.is_budget() { latest_ms } else { now_ms }
    }

    fn epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::Relaxed)
    }
}

fn made(parts: Vec<Part>, now_ms: i64) -> Hold {
    Hold { parts, made_ms: now_ms, until_ms: now_ms.saturating_add(HOLD_MS_MAX), step: 0, is_expired: false }
}

/// Is there room for `wanted` and for what the same call claims `before` it? Else why not.
fn room(counter: &Counter, rule: &Rule, scope: &str, wanted: u64, before: u64, now_ms: i64) -> Result<(), Refused> {
    counter.fits(wanted.saturating_add(before), now_ms).map_err(|retry_after_ms| Refused {
        rule: rule.name.clone(),
        scope: scope.into(),
        unit: rule.unit,
        is_budget: rule.is_budget(),
        wanted,
        limit: counter.limit(),
        used: counter.used(),
        held: counter.held.saturating_add(before),
        resets_in_ms: counter.resets_in_ms(now_ms),
        retry_after_ms,
        is_unreachable: false,
    })
}

fn told(rule: &Rule, scope: &str, held: u64, used: u64, counter: &Counter, now_ms: i64) -> Held {
    Held {
        rule: rule.name.clone(),
        scope: scope.into(),
        held,
        limit: counter.limit(),
        used,
        unit: rule.unit,
        remaining: counter.remaining(),
        resets_in_ms: counter.resets_in_ms(now_ms),
        is_budget: rule.is_budget(),
    }
}

/// Ids are UUIDv7: their low bits are random.
fn hold_shard(id: HoldId) -> usize {
    (id % SHARDS as u128) as usize
}

/// No room for another scope or hold. What is known already goes on; what is new waits, and nothing is forgotten for it:
/// else a flood of invented names could wash away the budget of somebody else.
pub(crate) fn full(claims: &[Claim]) -> Refused {
    tracing::error!("the ledger is full, or a hold is gone: a call was refused");
    let claim = claims.first();
    Refused {
        rule: claim.map_or_else(|| "".into(), |c| c.rule.name.clone()),
        scope: claim.map_or_else(|| "".into(), |c| c.scope.clone()),
        unit: claim.map_or(Unit::Requests, |c| c.rule.unit),
        is_budget: false,
        wanted: claim.map_or(1, |c| c.worst),
        limit: claim.map_or(0, |c| c.rule.limit),
        used: 0,
        held: 0,
        resets_in_ms: 0,
        retry_after_ms: Some(FULL_RETRY_MS),
        is_unreachable: false,
    }
}

#[cfg(test)]
mod edited_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

//! Balances in memory: holds over many counters at once, all or none.
//!
//! Counters and holds lie in shards, each behind a lock of its own, held for well under a microsecond and never across
//! an await. Locks are taken in one order: the hold's shard first, then the counters' shards by index. So no two calls
//! wait for each other, and a hold is seen by others whole or not at all.
//!
//! A hold counts in the period that it was made in. Settled after that period's end, it is booked there, which is to say
//! nowhere that could still refuse a call: a closed period is never opened again, and the new one starts at zero.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tollgate_core::limits::claim::{Claim, Held, HoldId, Refused, Standing};
use tollgate_core::limits::rules::{Rule, Unit};
use tollgate_core::ports::{Later, Ledger, Used};

use crate::counter::Counter;

mod event;
mod journalled;
mod replay;

pub use journalled::{JournalLedger, LedgerError, Started};

const SHARDS: usize = 16;
/// Bounds of one shard. A counter is about 200 bytes: all together stay below 256 MiB.
const SCOPES_MAX: usize = 65_536;
const HOLDS_MAX: usize = 16_384;
/// A hold that is older belongs to a call that was lost: twice the longest call.
const HOLD_MS_MAX: i64 = 30 * 60 * 1_000;
/// How often a shard is swept of what is over.
const SWEEP_EVERY_MS: i64 = 60_000;
/// A full shard is swept again no sooner than this.
const SWEEP_FULL_MS: i64 = 1_000;
/// When a call may try again that came while a shard was full.
const FULL_RETRY_MS: u64 = 10_000;

/// The ledger of one node.
#[derive(Debug)]
pub struct MemoryLedger {
    counters: [Mutex<Counters>; SHARDS],
    holds: [Mutex<Holds>; SHARDS],
    hasher: RandomState,
    epochs: AtomicU64,
    scopes_max: usize,
}

#[derive(Debug, Default)]
struct Counters {
    by_scope: HashMap<Arc<str>, Counter>,
    swept_ms: i64,
}

#[derive(Debug, Default)]
struct Holds {
    by_id: HashMap<HoldId, Hold>,
    swept_ms: i64,
}

#[derive(Debug)]
struct Hold {
    parts: Vec<Part>,
    until_ms: i64,
    /// Given back already; kept so that a late settle is still booked, where its counter is still there.
    is_expired: bool,
}

/// One claim of a hold.
#[derive(Debug)]
struct Part {
    rule: Arc<Rule>,
    scope: Arc<str>,
    epoch: u64,
    /// What was claimed; of it, requests are used at once and all else is held.
    claimed: u64,
}

impl Part {
    fn held(&self) -> u64 {
        match self.rule.unit {
            Unit::Requests => 0,
            Unit::Nanousd | Unit::Tokens | Unit::InFlight => self.claimed,
        }
    }
}

/// What becomes of a hold.
#[derive(Clone, Copy)]
enum End {
    Settled(Used),
    Voided,
    /// Nobody saw how the call ended: what was held is taken for used.
    Unknown,
}

type Locked<'a> = [Option<MutexGuard<'a, Counters>>; SHARDS];

impl Default for MemoryLedger {
    fn default() -> Self {
        MemoryLedger {
            counters: Default::default(),
            holds: Default::default(),
            hasher: RandomState::new(),
            epochs: AtomicU64::new(0),
            scopes_max: SCOPES_MAX,
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

    fn settle<'a>(&'a self, id: HoldId, used: Used, now_ms: i64) -> Later<'a, ()> {
        self.end(id, End::Settled(used), now_ms);
        Box::pin(std::future::ready(()))
    }

    fn void<'a>(&'a self, id: HoldId, now_ms: i64) -> Later<'a, ()> {
        self.end(id, End::Voided, now_ms);
        Box::pin(std::future::ready(()))
    }
}

impl MemoryLedger {
    fn hold_now(&self, id: HoldId, claims: &[Claim], now_ms: i64) -> Result<Vec<Held>, Refused> {
        let mut holds = lock(&self.holds[hold_shard(id)]);
        self.expire(&mut holds, now_ms);
        if let Some(hold) = holds.by_id.get(&id) {
            return Ok(self.repeated(hold));
        }
        if holds.by_id.len() >= HOLDS_MAX {
            return Err(full(claims));
        }
        let mut locked = self.lock_shards(claims.iter().map(|c| &*c.scope));
        let mut held = Vec::with_capacity(claims.len());
        let mut parts = Vec::with_capacity(claims.len());
        for claim in claims {
            match self.take(&mut locked, claim, now_ms) {
                Ok((part, told)) => {
                    parts.push(part);
                    held.push(told);
                }
                Err(refused) => {
                    // All or none: nobody has seen the ones before, their shards are locked.
                    for part in &parts {
                        if let Some(counter) = self.of_part(&mut locked, part) {
                            counter.untake(part.claimed);
                        }
                    }
                    return Err(refused);
                }
            }
        }
        holds.by_id.insert(id, Hold { parts, until_ms: now_ms.saturating_add(HOLD_MS_MAX), is_expired: false });
        Ok(held)
    }

    /// Takes one claim from its counter, which is made where there is none.
    fn take(&self, locked: &mut Locked<'_>, claim: &Claim, now_ms: i64) -> Result<(Part, Held), Refused> {
        let counters = locked[self.shard(&claim.scope)].as_mut().expect("the shards of all claims are locked");
        counters.sweep(now_ms, self.scopes_max);
        let scope = match counters.by_scope.get_key_value(&*claim.scope) {
            Some((scope, _)) => scope.clone(),
            None if counters.by_scope.len() >= self.scopes_max => return Err(full(std::slice::from_ref(claim))),
            None => Arc::from(&*claim.scope),
        };
        let counter =
            counters.by_scope.entry(scope.clone()).or_insert_with(|| Counter::new(&claim.rule, self.epoch(), now_ms));
        counter.advance(&claim.rule, now_ms, || self.epoch());
        let (rule, limit) = (claim.rule.name.clone(), claim.rule.limit);
        let used = counter.used();
        match counter.take(claim.worst, now_ms) {
            Ok(()) => {
                let part = Part { rule: claim.rule.clone(), scope, epoch: counter.epoch, claimed: claim.worst };
                Ok((part, Held { rule, scope: claim.scope.clone(), held: claim.worst, limit, used }))
            }
            Err(retry_after_ms) => Err(Refused {
                rule,
                scope: claim.scope.clone(),
                unit: claim.rule.unit,
                is_budget: claim.rule.is_budget(),
                wanted: claim.worst,
                limit,
                used,
                held: counter.held,
                retry_after_ms,
            }),
        }
    }

    /// `false` = there is no such hold, or it has ended before.
    fn end(&self, id: HoldId, end: End, now_ms: i64) -> bool {
        let mut holds = lock(&self.holds[hold_shard(id)]);
        let Some(hold) = holds.by_id.remove(&id) else { return false };
        self.release(&hold, end, now_ms);
        true
    }

    /// Gives back what a hold holds and books what was used, each part in the period that it was made in.
    fn release(&self, hold: &Hold, end: End, now_ms: i64) {
        let mut locked = self.lock_shards(hold.parts.iter().map(|p| &*p.scope));
        for part in &hold.parts {
            let Some(counter) = self.of_part(&mut locked, part) else { continue };
            if !hold.is_expired {
                counter.release(part.held());
            }
            let used = match (part.rule.unit, end) {
                // The request was counted when it came; a call that has ended is in flight no more.
                (Unit::Requests | Unit::InFlight, _) | (_, End::Voided) => continue,
                (Unit::Nanousd, End::Settled(used)) => u64::try_from(used.nanousd).unwrap_or(0),
                (Unit::Tokens, End::Settled(used)) => used.tokens,
                (Unit::Nanousd | Unit::Tokens, End::Unknown) => part.claimed,
            };
            if used > part.claimed {
                // A provider counted more than the worst case: it is true all the same, so it is booked.
                let (rule, scope, held) = (&*part.rule.name, &*part.scope, part.claimed);
                tracing::warn!(rule, scope, held, used, "a call used more than was held for it");
            }
            counter.touch(now_ms);
            counter.book(used);
        }
    }

    /// Holds of lost calls are given back, so that no budget stays spent by calls that nobody makes any more.
    fn expire(&self, holds: &mut Holds, now_ms: i64) {
        if now_ms.saturating_sub(holds.swept_ms) < SWEEP_EVERY_MS && holds.by_id.len() < HOLDS_MAX {
            return;
        }
        holds.swept_ms = now_ms;
        holds.by_id.retain(|id, hold| {
            if now_ms < hold.until_ms {
                return true;
            }
            if hold.is_expired {
                return false;
            }
            tracing::warn!(hold = %format_args!("{id:032x}"), "a hold expired: its call never ended");
            self.release(hold, End::Voided, now_ms);
            hold.is_expired = true;
            hold.until_ms = now_ms.saturating_add(HOLD_MS_MAX);
            true
        });
    }

    /// What was answered when the hold was made; `used` is as it is now.
    fn repeated(&self, hold: &Hold) -> Vec<Held> {
        let mut locked = self.lock_shards(hold.parts.iter().map(|p| &*p.scope));
        let mut told = |part: &Part| Held {
            rule: part.rule.name.clone(),
            scope: (&*part.scope).into(),
            held: part.claimed,
            limit: part.rule.limit,
            used: self.of_part(&mut locked, part).map_or(0, |counter| counter.used()),
        };
        hold.parts.iter().map(&mut told).collect()
    }

    fn standing_of(&self, claim: &Claim, now_ms: i64) -> Standing {
        let mut counters = lock(&self.counters[self.shard(&claim.scope)]);
        match counters.by_scope.get_mut(&*claim.scope) {
            Some(counter) => {
                counter.advance(&claim.rule, now_ms, || self.epoch());
                Standing { used: counter.used(), held: counter.held, resets_at_ms: counter.resets_at_ms() }
            }
            None => {
                let resets_at_ms = Counter::new(&claim.rule, 0, now_ms).resets_at_ms();
                Standing { used: 0, held: 0, resets_at_ms }
            }
        }
    }

    /// The counter that a part was taken from; `None` where its period is over.
    fn of_part<'l>(&self, locked: &'l mut Locked<'_>, part: &Part) -> Option<&'l mut Counter> {
        let counters = locked[self.shard(&part.scope)].as_mut()?;
        counters.by_scope.get_mut(&part.scope).filter(|counter| counter.epoch == part.epoch)
    }

    fn lock_shards<'s>(&self, scopes: impl Iterator<Item = &'s str>) -> Locked<'_> {
        let mut wanted = [false; SHARDS];
        scopes.for_each(|scope| wanted[self.shard(scope)] = true);
        // Invariant: by index, lowest first, so that two calls never hold what the other waits for.
        std::array::from_fn(|at| wanted[at].then(|| lock(&self.counters[at])))
    }

    fn shard(&self, scope: &str) -> usize {
        (self.hasher.hash_one(scope) % SHARDS as u64) as usize
    }

    fn epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::Relaxed)
    }

    /// Checks that each counter holds what its live holds hold, no more and no less. Stops the ledger meanwhile.
    pub fn check(&self) -> Result<(), String> {
        let holds: Vec<_> = self.holds.iter().map(lock).collect();
        let counters: Vec<_> = self.counters.iter().map(lock).collect();
        let mut sums: HashMap<(&str, u64), u64> = HashMap::new();
        let live = holds.iter().flat_map(|shard| shard.by_id.values()).filter(|hold| !hold.is_expired);
        for part in live.flat_map(|hold| &hold.parts) {
            *sums.entry((&part.scope, part.epoch)).or_default() += part.held();
        }
        for (scope, counter) in counters.iter().flat_map(|shard| &shard.by_scope) {
            let sum = sums.get(&(&**scope, counter.epoch)).copied().unwrap_or(0);
            if sum != counter.held {
                return Err(format!("`{scope}` holds {}, its live holds are {sum}", counter.held));
            }
        }
        Ok(())
    }
}

impl Counters {
    /// Forgets counters that say nothing any more.
    fn sweep(&mut self, now_ms: i64, scopes_max: usize) {
        let is_full = self.by_scope.len() >= scopes_max;
        let every = if is_full { SWEEP_FULL_MS } else { SWEEP_EVERY_MS };
        if now_ms.saturating_sub(self.swept_ms) < every {
            return;
        }
        self.swept_ms = now_ms;
        self.by_scope.retain(|_, counter| !counter.is_idle(now_ms));
    }
}

/// A panic elsewhere leaves numbers that are whole: every change of a counter is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ids are UUIDv7: their low bits are random.
fn hold_shard(id: HoldId) -> usize {
    (id % SHARDS as u128) as usize
}

/// No room for another scope or hold. What is known already goes on; what is new waits, and nothing is forgotten for it:
/// else a flood of invented names could wash away the budget of somebody else.
fn full(claims: &[Claim]) -> Refused {
    tracing::error!("the ledger is full: a call was refused");
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
        retry_after_ms: Some(FULL_RETRY_MS),
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;

//! The counters in their shards, and how holds lie on them: what every change of the ledger is made of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tollgate_core::limits::rules::Rule;
use tollgate_core::ports::Used;

use super::counter::Counter;
use super::hold::{Hold, Part, in_unit};
use super::{MemoryLedger, Quick, SHARDS};

/// How often a shard is swept of what is over.
pub(super) const SWEEP_EVERY_MS: i64 = 60_000;
/// A full shard is swept again no sooner than this.
const SWEEP_FULL_MS: i64 = 1_000;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub by_scope: HashMap<Arc<str>, Counter, Quick>,
    swept_ms: i64,
}

impl Counters {
    /// Forgets counters that say nothing any more.
    fn sweep(&mut self, now_ms: i64, scopes_max: usize, latest_ms: &AtomicI64) {
        let is_full = self.by_scope.len() >= scopes_max;
        let every = if is_full { SWEEP_FULL_MS } else { SWEEP_EVERY_MS };
        if now_ms.saturating_sub(self.swept_ms) < every {
            return;
        }
        self.swept_ms = now_ms;
        // What is forgotten begins no sooner when it comes again.
        latest_ms.fetch_max(now_ms, Ordering::Relaxed);
        self.by_scope.retain(|_, counter| !counter.is_idle(now_ms));
    }
}

pub(super) type Locked<'a> = [Option<MutexGuard<'a, Counters>>; SHARDS];

/// A panic elsewhere leaves numbers that are whole: every change of a counter is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryLedger {
    /// The counter of a scope at `now_ms`, made where there is none; `None` = there is no room for another.
    pub(super) fn counter<'l>(
        &self,
        locked: &'l mut Locked<'_>,
        rule: &Arc<Rule>,
        scope: &str,
        now_ms: i64,
    ) -> Option<(Arc<str>, &'l mut Counter)> {
        let counters = locked[self.shard(scope)].as_mut().expect("the shards of all claims are locked");
        counters.sweep(now_ms, self.scopes_max, &self.latest_ms);
        let name = match counters.by_scope.get_key_value(scope) {
            Some((name, _)) => name.clone(),
            None if counters.by_scope.len() >= self.scopes_max => return None,
            None => Arc::from(scope),
        };
        let limit = self.amendments.limit(rule, scope, now_ms);
        let made = || Counter::new(rule, limit, self.epoch(), self.begin_ms(rule, now_ms));
        let counter = counters.by_scope.entry(name.clone()).or_insert_with(made);
        counter.advance(rule, limit, now_ms, || self.epoch());
        Some((name, counter))
    }

    /// Adds to what a hold holds, in the periods of now. Whether it fits was asked before.
    pub(super) fn extend_parts(&self, locked: &mut Locked<'_>, hold: &mut Hold, more: Used, now_ms: i64) {
        for at in 0..hold.parts.len() {
            let part = &hold.parts[at];
            let is_last = !hold.parts[at + 1..].iter().any(|p| p.scope == part.scope);
            let Some(amount) = in_unit(more, part.rule.unit).filter(|n| *n > 0 && is_last) else { continue };
            let Some(rule) = self.rule_now(locked, part) else { continue };
            let scope = part.scope.clone();
            let Some((_, counter)) = self.counter(locked, &rule, &scope, now_ms) else { continue };
            if counter.epoch == part.epoch {
                counter.take(amount);
                hold.parts[at].claimed = part.claimed.saturating_add(amount);
            } else {
                // The period that the hold was made in is over: what it holds there stays there.
                hold.parts.push(counter.part(scope, amount, now_ms));
            }
        }
    }

    /// Gives back what a hold holds; books `used` (or, where that is `None`, all that was held), each part in its period.
    pub(super) fn release(&self, hold: &Hold, end: &End, now_ms: i64) {
        let mut locked = self.lock_shards(hold.parts.iter().map(|p| &*p.scope));
        let shares = match end {
            End::Settled(used) => hold.shares(*used),
            End::Voided => vec![0; hold.parts.len()],
        };
        for (part, used) in hold.parts.iter().zip(shares) {
            if used > part.claimed {
                let (rule, scope, held) = (&*part.rule.name, &*part.scope, part.claimed);
                tracing::warn!(rule, scope, held, used, "a call used more than was held for it");
            }
            if !hold.is_expired
                && let Some(counter) = self.known(&mut locked, &part.scope)
            {
                counter.leave(part);
            }
            if used == 0 {
                continue;
            }
            let counter = match self.known(&mut locked, &part.scope).filter(|counter| counter.epoch == part.epoch) {
                Some(counter) => Some(counter),
                // What was given back may have been forgotten, and is counted all the same.
                None => self.again(&mut locked, part, now_ms),
            };
            if let Some(counter) = counter {
                counter.relimit(self.amendments.limit(&counter.rule, &part.scope, now_ms), now_ms);
                counter.pass(now_ms);
                counter.book(used);
            }
        }
    }

    /// The rule that a part's scope has by now: a call that began under an older one does not bring that back. `None` = the
    /// scope is counted in another unit since, and what the part held counts nowhere.
    pub(super) fn rule_now(&self, locked: &Locked<'_>, part: &Part) -> Option<Arc<Rule>> {
        let counters = locked[self.shard(&part.scope)].as_ref();
        let known = counters.and_then(|counters| counters.by_scope.get(&part.scope));
        let rule = known.map_or(&part.rule, |counter| &counter.rule);
        Some(rule).filter(|rule| rule.unit == part.rule.unit).cloned()
    }

    /// The counter of a part's scope that counts what it counted, though it was forgotten since; `None` = its period is over.
    fn again<'l>(&self, locked: &'l mut Locked<'_>, part: &Part, now_ms: i64) -> Option<&'l mut Counter> {
        let rule = self.rule_now(locked, part)?;
        let (_, counter) = self.counter(locked, &rule, &part.scope, now_ms)?;
        Some(counter).filter(|counter| !counter.began_after(part.made_ms))
    }

    /// The counter of a scope as it was left, where there is one.
    fn known<'l>(&self, locked: &'l mut Locked<'_>, scope: &str) -> Option<&'l mut Counter> {
        locked[self.shard(scope)].as_mut()?.by_scope.get_mut(scope)
    }

    pub(super) fn lock_shards<'s>(&self, scopes: impl Iterator<Item = &'s str>) -> Locked<'_> {
        let mut wanted = [false; SHARDS];
        scopes.for_each(|scope| wanted[self.shard(scope)] = true);
        // Invariant: by index, lowest first, so that two calls never hold what the other waits for.
        std::array::from_fn(|at| wanted[at].then(|| lock(&self.counters[at])))
    }

    /// Checks that each counter holds what its live holds hold, no more and no less, and knows how many they are. Stops the ledger meanwhile.
    pub fn check(&self) -> Result<(), String> {
        let holds: Vec<_> = self.holds.iter().map(lock).collect();
        let counters: Vec<_> = self.counters.iter().map(lock).collect();
        let (mut sums, mut parts) = (HashMap::<(&str, u64), u64>::new(), HashMap::<&str, usize>::new());
        let live = holds.iter().flat_map(|shard| shard.by_id.values()).filter(|hold| !hold.is_expired);
        for part in live.flat_map(|hold| &hold.parts) {
            *sums.entry((&part.scope, part.epoch)).or_default() += part.held();
            *parts.entry(&part.scope).or_default() += 1;
        }
        for (scope, counter) in counters.iter().flat_map(|shard| &shard.by_scope) {
            let sum = sums.get(&(&**scope, counter.epoch)).copied().unwrap_or(0);
            if sum != counter.held {
                return Err(format!("`{scope}` holds {}, its live holds are {sum}", counter.held));
            }
            let of_scope = parts.get(&**scope).copied().unwrap_or(0);
            if of_scope != counter.parts {
                return Err(format!("`{scope}` knows of {} parts of live holds, there are {of_scope}", counter.parts));
            }
        }
        Ok(())
    }
}

/// What becomes of a hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// `None` = nobody knows how much: all that is held.
    Settled(Option<Used>),
    Voided,
}

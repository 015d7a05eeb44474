//! The ledger in memory: holds, settles and voids by id, all scopes of a call at once. A restart forgets.
//!
//! Nothing is checked and then added: check and hold happen under the locks of all shards that a call touches,
//! taken in the order of their numbers, so that two calls never wait for each other in a circle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tollgate_core::limits::claim::{Claim, Held, HoldId, Refused, Standing};
use tollgate_core::limits::rules::{Rule, Unit};
use tollgate_core::ports::{Later, Ledger, Used};

use crate::counter::Counter;

/// Scopes are spread over this many locks.
const SHARDS: usize = 16;
/// No shard keeps more scopes; idle ones go first.
const SCOPES_MAX: usize = 65_536;
/// A hold that nobody settled for this long is given back: twice the longest call.
const HOLD_MS_MAX: i64 = 30 * 60 * 1_000;
/// Holds are looked through for expired ones at most this often.
const SWEEP_MS: i64 = 60_000;

#[derive(Default)]
pub struct MemoryLedger {
    shards: [Mutex<HashMap<Box<str>, Entry>>; SHARDS],
    holds: [Mutex<Holds>; SHARDS],
}

struct Entry {
    rule: Arc<Rule>,
    counter: Counter,
}

#[derive(Default)]
struct Holds {
    live: HashMap<HoldId, Hold>,
    swept_ms: i64,
}

struct Hold {
    parts: Vec<Part>,
    made_ms: i64,
}

/// What a hold has taken from one scope.
struct Part {
    rule: Arc<Rule>,
    scope: Box<str>,
    held: u64,
    period: i64,
}

type Scopes = HashMap<Box<str>, Entry>;

impl MemoryLedger {
    /// Locks the shards of these scopes in the order of their numbers.
    fn lock<'a, 's>(&'a self, scopes: impl Iterator<Item = &'s str>) -> Vec<(usize, MutexGuard<'a, Scopes>)> {
        let mut numbers: Vec<usize> = scopes.map(shard).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let lock = |n: usize| (n, self.shards[n].lock().expect("no code panics while it holds a shard"));
        numbers.into_iter().map(lock).collect()
    }

    fn holds(&self, id: HoldId) -> MutexGuard<'_, Holds> {
        self.holds[(id % SHARDS as u128) as usize].lock().expect("no code panics while it holds the holds")
    }

    fn try_hold(&self, id: HoldId, claims: &[Claim], now_ms: i64) -> Result<Vec<Held>, Refused> {
        self.expire(id, now_ms);
        let mut holds = self.holds(id);
        if let Some(hold) = holds.live.get(&id) {
            // Asked again: the same answer, nothing is held twice.
            return Ok(hold.parts.iter().map(|p| told(p, 0)).collect());
        }
        let mut locked = self.lock(claims.iter().map(|c| &*c.scope));
        for claim in claims {
            let counter = entry(&mut locked, claim, now_ms);
            if !counter.fits(&claim.rule, claim.worst) {
                return Err(Refused {
                    rule: claim.rule.name.clone(),
                    scope: claim.scope.clone(),
                    unit: claim.rule.unit,
                    is_budget: claim.rule.is_budget(),
                    wanted: claim.worst,
                    limit: claim.rule.limit,
                    used: counter.used(&claim.rule),
                    held: counter.held,
                    retry_after_ms: counter.retry_after_ms(&claim.rule, claim.worst, now_ms),
                });
            }
        }
        let mut parts = Vec::with_capacity(claims.len());
        let mut held = Vec::with_capacity(claims.len());
        for claim in claims {
            let counter = entry(&mut locked, claim, now_ms);
            counter.held += claim.worst;
            let part = Part {
                rule: claim.rule.clone(),
                scope: claim.scope.clone(),
                held: claim.worst,
                period: counter.period(&claim.rule),
            };
            held.push(told(&part, counter.used(&claim.rule)));
            parts.push(part);
        }
        holds.live.insert(id, Hold { parts, made_ms: now_ms });
        Ok(held)
    }

    /// Ends a hold; `used` is `None` where the call came to nothing.
    fn end(&self, id: HoldId, used: Option<Used>, now_ms: i64) {
        let Some(hold) = self.holds(id).live.remove(&id) else { return };
        self.give_back(hold, used, now_ms);
    }

    fn give_back(&self, hold: Hold, used: Option<Used>, now_ms: i64) {
        let mut locked = self.lock(hold.parts.iter().map(|p| &*p.scope));
        for part in hold.parts {
            let shard = shard(&part.scope);
            let Some((_, scopes)) = locked.iter_mut().find(|(n, _)| *n == shard) else { continue };
            let Some(entry) = scopes.get_mut(&part.scope) else { continue };
            entry.counter.held = entry.counter.held.saturating_sub(part.held);
            entry.counter.advance(&part.rule, now_ms);
            let units = match (part.rule.unit, used) {
                // A request stays counted, whatever became of it.
                (Unit::Requests, _) => part.held,
                (Unit::InFlight, _) | (Unit::Nanousd | Unit::Tokens, None) => 0,
                (Unit::Nanousd, Some(used)) => u64::try_from(used.nanousd).unwrap_or(0),
                (Unit::Tokens, Some(used)) => used.tokens,
            };
            // A hold of a closed period is booked there, and that book is closed: it never counts in the next one.
            if entry.counter.period(&part.rule) == part.period {
                entry.counter.add_used(&part.rule, units);
            }
        }
    }

    /// Gives back what nobody settled in time. Each shard is looked through at most once a minute.
    fn expire(&self, id: HoldId, now_ms: i64) {
        let expired: Vec<Hold> = {
            let mut holds = self.holds(id);
            if now_ms - holds.swept_ms < SWEEP_MS {
                return;
            }
            holds.swept_ms = now_ms;
            holds.live.extract_if(|_, hold| now_ms - hold.made_ms > HOLD_MS_MAX).map(|(_, hold)| hold).collect()
        };
        for hold in expired {
            self.give_back(hold, None, now_ms);
        }
    }

    /// Held in the counters equals held by live holds; the sentence names the scope where not.
    pub fn check(&self) -> Result<(), String> {
        let mut sums: HashMap<Box<str>, u64> = HashMap::new();
        for holds in &self.holds {
            let holds = holds.lock().expect("no code panics while it holds the holds");
            for part in holds.live.values().flat_map(|h| &h.parts) {
                *sums.entry(part.scope.clone()).or_default() += part.held;
            }
        }
        for shard in &self.shards {
            let scopes = shard.lock().expect("no code panics while it holds a shard");
            for (scope, entry) in scopes.iter() {
                let sum = sums.get(scope).copied().unwrap_or(0);
                if entry.counter.held != sum {
                    return Err(format!("scope `{scope}` holds {}, its live holds {sum}", entry.counter.held));
                }
            }
        }
        Ok(())
    }
}

fn told(part: &Part, used: u64) -> Held {
    Held { rule: part.rule.name.clone(), scope: part.scope.clone(), held: part.held, limit: part.rule.limit, used }
}

/// FNV-1a: any even spread will do.
fn shard(scope: &str) -> usize {
    let hash = scope.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (hash % SHARDS as u64) as usize
}

/// The counter of a claim, brought to now. An edited rule keeps its usage: the scope is its name.
fn entry<'a>(locked: &'a mut [(usize, MutexGuard<'_, Scopes>)], claim: &Claim, now_ms: i64) -> &'a mut Counter {
    let number = shard(&claim.scope);
    let (_, scopes) = locked.iter_mut().find(|(n, _)| *n == number).expect("the shards of all claims are locked");
    if !scopes.contains_key(&claim.scope) {
        if scopes.len() >= SCOPES_MAX {
            scopes.retain(|_, e| {
                e.counter.advance(&e.rule, now_ms);
                !e.counter.idle(&e.rule)
            });
        }
        scopes.insert(claim.scope.clone(), Entry { rule: claim.rule.clone(), counter: Counter::default() });
    }
    let entry = scopes.get_mut(&claim.scope).expect("it was put in above");
    entry.rule = claim.rule.clone();
    entry.counter.advance(&claim.rule, now_ms);
    &mut entry.counter
}

impl Ledger for MemoryLedger {
    fn standing<'a>(&'a self, claims: &'a [Claim], now_ms: i64) -> Later<'a, Vec<Standing>> {
        let mut locked = self.lock(claims.iter().map(|c| &*c.scope));
        let standings = claims.iter().map(|c| entry(&mut locked, c, now_ms).standing(&c.rule)).collect();
        Box::pin(std::future::ready(standings))
    }

    fn hold<'a>(&'a self, id: HoldId, claims: &'a [Claim], now_ms: i64) -> Later<'a, Result<Vec<Held>, Refused>> {
        Box::pin(std::future::ready(self.try_hold(id, claims, now_ms)))
    }

    fn settle<'a>(&'a self, id: HoldId, used: Used, now_ms: i64) -> Later<'a, ()> {
        self.end(id, Some(used), now_ms);
        Box::pin(std::future::ready(()))
    }

    fn void<'a>(&'a self, id: HoldId, now_ms: i64) -> Later<'a, ()> {
        self.end(id, None, now_ms);
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;

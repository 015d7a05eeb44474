//! Balances put together again from what was kept: the same steps as in life, without asking whether they fit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_core::limits::claim::HoldId;
use tollgate_core::limits::rules::Rule;

use super::event::{Counted, Rules};
use super::{End, HOLD_MS_MAX, Hold, MemoryLedger, Part, hold_shard, lock};
use crate::counter::{Count, Counter};
use crate::journal::Head;

/// How one counter stood when it was kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Balance {
    pub scope: String,
    rule: Counted<'static>,
    count: Count,
}

/// A hold that was open when it was kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OpenHold {
    until_ms: i64,
    is_expired: bool,
    parts: Vec<OpenPart>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OpenPart {
    scope: String,
    rule: Counted<'static>,
    claimed: u64,
    /// Its counter is still in the period that it was made in.
    is_current: bool,
}

/// A whole ledger at one moment.
pub(super) struct Frozen {
    /// The end of the journal at that moment: what is behind it was done later, or knows that it was done.
    pub head: Head,
    pub balances: Vec<Balance>,
    pub holds: Vec<(HoldId, OpenHold)>,
}

impl MemoryLedger {
    /// Holds once more what was held: it did fit when it was.
    pub(super) fn hold_again(&self, id: HoldId, parts: Vec<(Arc<Rule>, String, u64)>, at_ms: i64) {
        let mut holds = lock(&self.holds[hold_shard(id)]);
        if holds.by_id.contains_key(&id) {
            return;
        }
        let mut made = Vec::with_capacity(parts.len());
        for (rule, scope, claimed) in parts {
            let mut counters = lock(&self.counters[self.shard(&scope)]);
            let scope: Arc<str> = match counters.by_scope.get_key_value(&*scope) {
                Some((scope, _)) => scope.clone(),
                None => scope.into(),
            };
            let new = || Counter::new(&rule, self.epoch(), at_ms);
            let counter = counters.by_scope.entry(scope.clone()).or_insert_with(new);
            counter.advance(&rule, at_ms, || self.epoch());
            counter.claim(claimed);
            let epoch = counter.epoch;
            drop(counters);
            made.push(Part { rule, scope, epoch, claimed });
        }
        let until_ms = at_ms.saturating_add(HOLD_MS_MAX);
        holds.by_id.insert(id, Hold { parts: made, until_ms, is_expired: false });
    }

    /// Settles every hold at what it holds: nobody saw how its call ended. How many there were.
    pub(super) fn end_unknown(&self, at_ms: i64) -> u64 {
        let mut count = 0;
        for shard in &self.holds {
            for (_, hold) in lock(shard).by_id.drain() {
                count += u64::from(!hold.is_expired);
                let end = if hold.is_expired { End::Voided } else { End::Unknown };
                self.release(&hold, end, at_ms);
            }
        }
        count
    }

    /// Stops the ledger, and copies what it has: about a millisecond for ten thousand counters.
    ///
    /// Whatever happens is done in memory first and written to the journal then. So all that the journal has up to its
    /// end at this moment is in the copy. A hold or an end that is in the copy and reaches the journal later finds itself
    /// done when it is done again: holds are known by their id, and one that has ended is not there to end.
    pub(super) fn freeze(&self, written: impl FnOnce() -> Head) -> Frozen {
        let holds: Vec<_> = self.holds.iter().map(lock).collect();
        let counters: Vec<_> = self.counters.iter().map(lock).collect();
        let head = written();
        let mut copied = Vec::new();
        for (scope, counter) in counters.iter().flat_map(|shard| &shard.by_scope) {
            let (rule, count) = counter.kept();
            copied.push((scope.clone(), rule.clone(), count.clone()));
        }
        let mut open = Vec::new();
        for (id, hold) in holds.iter().flat_map(|shard| &shard.by_id) {
            let part = |part: &Part| OpenPart {
                scope: part.scope.to_string(),
                rule: Counted::of(&part.rule).into_owned(),
                claimed: part.claimed,
                is_current: counters[self.shard(&part.scope)]
                    .by_scope
                    .get(&part.scope)
                    .is_some_and(|counter| counter.epoch == part.epoch),
            };
            let parts = hold.parts.iter().map(part).collect();
            open.push((*id, OpenHold { until_ms: hold.until_ms, is_expired: hold.is_expired, parts }));
        }
        drop((holds, counters));
        // Calls in flight are counted by their holds alone.
        let counting = copied.into_iter().filter(|(.., count)| !matches!(count, Count::Flight));
        let balances = counting
            .map(|(scope, rule, count)| Balance {
                scope: scope.to_string(),
                rule: Counted::of(&rule).into_owned(),
                count,
            })
            .collect();
        Frozen { head, balances, holds: open }
    }

    /// A hold as it was kept; the balances must be there before.
    pub(super) fn restore_hold(&self, id: HoldId, kept: OpenHold, rules: &mut Rules) -> Result<(), jiff::Error> {
        let mut parts = Vec::with_capacity(kept.parts.len());
        for part in kept.parts {
            let rule = rules.rule(part.rule)?;
            let scope: Arc<str> = part.scope.into();
            // An epoch that no counter has: the period of such a part is over.
            let mut epoch = self.epoch();
            if part.is_current {
                let mut counters = lock(&self.counters[self.shard(&scope)]);
                let new = || Counter::again(&rule, epoch, Count::Flight);
                let counter = counters.by_scope.entry(scope.clone()).or_insert_with(new);
                epoch = counter.epoch;
                let held = Part { rule: rule.clone(), scope: scope.clone(), epoch, claimed: part.claimed }.held();
                counter.held += if kept.is_expired { 0 } else { held };
            }
            parts.push(Part { rule, scope, epoch, claimed: part.claimed });
        }
        let hold = Hold { parts, until_ms: kept.until_ms, is_expired: kept.is_expired };
        lock(&self.holds[hold_shard(id)]).by_id.insert(id, hold);
        Ok(())
    }

    pub(super) fn restore(&self, balance: Balance, rules: &mut Rules) -> Result<(), jiff::Error> {
        let rule = rules.rule(balance.rule)?;
        let counter = Counter::again(&rule, self.epoch(), balance.count);
        lock(&self.counters[self.shard(&balance.scope)]).by_scope.insert(balance.scope.into(), counter);
        Ok(())
    }
}

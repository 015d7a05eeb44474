//! The holds of a ledger, and the ids of those that have ended.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tollgate_core::limits::claim::HoldId;
use tollgate_core::limits::rules::{Rule, Unit};
use tollgate_core::ports::Used;

use super::Quick;

/// So many of a shard's last ended holds and adjustments are known: what comes again for one of them does nothing.
const ENDED_MAX: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Hold {
    pub parts: Vec<Part>,
    pub made_ms: i64,
    pub until_ms: i64,
    /// The last step by which it was extended.
    pub step: u32,
    /// Given back already; kept so that a late settle is still booked, where its counter is still there.
    pub is_expired: bool,
}

/// What a hold holds in one period of one scope. An extension in another period is a part of its own.
#[derive(Debug)]
pub(crate) struct Part {
    pub rule: Arc<Rule>,
    pub scope: Arc<str>,
    pub epoch: u64,
    /// What was claimed; of it, requests are used at once and all else is held.
    pub claimed: u64,
    /// In the period that was then.
    pub made_ms: i64,
}

impl Part {
    pub(crate) fn held(&self) -> u64 {
        match self.rule.unit {
            Unit::Requests => 0,
            Unit::Nanousd | Unit::Tokens | Unit::InFlight => self.claimed,
        }
    }
}

/// What of a usage counts in a unit; `None` = a call's usage says nothing of it.
pub(crate) fn in_unit(used: Used, unit: Unit) -> Option<u64> {
    match unit {
        Unit::Nanousd => Some(u64::try_from(used.nanousd).unwrap_or(0)),
        Unit::Tokens => Some(used.tokens),
        // The request was counted when it came; a call that has ended is in flight no more.
        Unit::Requests | Unit::InFlight => None,
    }
}

impl Hold {
    /// What to book in each part: its share of what was used. The first part of a scope is filled first, and the last takes
    /// what is above all of them: a provider that counted more than the worst case is believed all the same.
    pub(crate) fn shares(&self, used: Option<Used>) -> Vec<u64> {
        let mut shares = Vec::with_capacity(self.parts.len());
        for (at, part) in self.parts.iter().enumerate() {
            let used_here = match used {
                None if part.rule.unit == Unit::InFlight => None,
                None => Some(part.held()),
                Some(used) => in_unit(used, part.rule.unit).map(|all| {
                    let of_scope = |p: &&Part| p.scope == part.scope;
                    let before: u64 = self.parts[..at].iter().filter(of_scope).map(|p| p.claimed).sum();
                    let is_last = !self.parts[at + 1..].iter().any(|p| p.scope == part.scope);
                    let left = all.saturating_sub(before);
                    if is_last { left } else { left.min(part.claimed) }
                }),
            };
            shares.push(used_here.unwrap_or(0));
        }
        shares
    }
}

#[derive(Debug, Default)]
pub(super) struct Holds {
    pub by_id: HashMap<HoldId, Hold, Quick>,
    pub swept_ms: i64,
    ended: HashSet<HoldId, Quick>,
    /// The same, the oldest first.
    ended_order: VecDeque<HoldId>,
}

impl Holds {
    /// Marks an id as done with. `false` = it was already.
    pub(super) fn end(&mut self, id: HoldId) -> bool {
        if !self.ended.insert(id) {
            return false;
        }
        if self.ended_order.len() == ENDED_MAX
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        self.ended_order.push_back(id);
        true
    }

    pub(super) fn has_ended(&self, id: HoldId) -> bool {
        self.ended.contains(&id)
    }
}

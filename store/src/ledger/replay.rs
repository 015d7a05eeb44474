//! The same balances again: changes applied as they were made, and the list of changes that makes what there is now.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use tollgate_core::limits::claim::HoldId;
use tollgate_core::ports::Used;

use super::books::{End, lock};
use super::event::{Booked, Event};
use super::hold::Holds;
use super::{MemoryLedger, hold_shard, made};

impl MemoryLedger {
    /// Makes a change that was made before: nothing is asked, and nobody is told. What was applied already does nothing.
    pub fn apply(&self, event: &Event) {
        match event {
            Event::Held { id, at_ms, parts } => self.put(*id, parts, *at_ms),
            Event::Extended { id, step, more, at_ms } => self.put_more(*id, *step, *more, *at_ms),
            Event::Settled { id, used, at_ms } => drop(self.take_out(*id, End::Settled(*used), *at_ms)),
            Event::Voided { id, at_ms } => drop(self.take_out(*id, End::Voided, *at_ms)),
            Event::Expired { id, at_ms } => {
                let mut holds = lock(&self.holds[hold_shard(*id)]);
                if let Some(hold) = holds.by_id.get_mut(id).filter(|hold| !hold.is_expired) {
                    self.give_back(hold, *at_ms);
                }
            }
            Event::Adjusted { id, rule, scope, delta, at_ms } => {
                self.adjust_now(*id, rule, scope, *delta, *at_ms);
            }
            Event::Passed { at_ms } => drop(self.latest_ms.fetch_max(*at_ms, Ordering::Relaxed)),
            Event::Amended { amendment, at_ms } => {
                if let Err(why) = self.amend_now(amendment, *at_ms) {
                    tracing::error!(id = &*amendment.id, %why, "a grant or an override of the journal is not in force");
                }
            }
        }
    }

    /// Changes that make these balances and these holds from nothing. Stops the ledger meanwhile; `mark` is taken then.
    pub fn told<T>(&self, now_ms: i64, mark: impl FnOnce() -> T) -> (T, Vec<Event>) {
        let holds: Vec<_> = self.holds.iter().map(lock).collect();
        let counters: Vec<_> = self.counters.iter().map(lock).collect();
        let mark = mark();
        let latest_ms = self.latest_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms);
        let mut events = Vec::new();
        for (id, hold) in holds.iter().flat_map(|shard| &shard.by_id).filter(|(_, hold)| !hold.is_expired) {
            // Requests were used when they came, and are among what is used.
            let (mut parts, mut at_ms) = (Vec::new(), None);
            for part in hold.parts.iter().filter(|part| part.held() > 0) {
                let known = counters.iter().find_map(|shard| shard.by_scope.get(&part.scope));
                // By the rule of now, as for an extension: what is counted in another unit since counts nowhere.
                let rule = known.map_or(&part.rule, |counter| &counter.rule).clone();
                if rule.unit != part.rule.unit {
                    continue;
                }
                let lives = known.is_none_or(|counter| counter.epoch == part.epoch);
                // What is over is put into the period that is now, so that none is opened again that was left.
                let put_ms = known.filter(|_| !lives).map_or(part.made_ms, |counter| counter.within(now_ms));
                at_ms = at_ms.max(Some(put_ms));
                let scope = part.scope.clone();
                parts.push(Booked { rule, scope, amount: part.claimed, over_ms: (!lives).then_some(part.made_ms) });
            }
            let at_ms = at_ms.unwrap_or(hold.made_ms);
            events.push(Event::Held { id: *id, at_ms, parts });
            if hold.step > 0 {
                // What it was extended by is in its parts; the step is known, so that it is not taken twice.
                events.push(Event::Extended { id: *id, step: hold.step, more: Used::default(), at_ms });
            }
        }
        for (n, (scope, counter)) in counters.iter().flat_map(|shard| &shard.by_scope).enumerate() {
            // One that is ahead of a clock that was set back is told though nothing is used: else its start would open the
            // period again that was left, at zero.
            let is_told = |(_, (at_ms, used)): &(usize, (i64, u64))| *used > 0 || *at_ms > now_ms;
            for (m, (at_ms, used)) in counter.told(now_ms).into_iter().enumerate().filter(is_told) {
                // Ids of calls begin with their time: none is this low.
                let id = (n as u128) << 16 | m as u128;
                let (rule, scope) = (counter.rule.clone(), scope.clone());
                events.push(Event::Adjusted { id, rule, scope, delta: i64::try_from(used).unwrap_or(i64::MAX), at_ms });
            }
        }
        // The oldest first: a budget that is new to a ledger begins at the latest time which that was told.
        events.sort_by_key(|event| match event {
            Event::Held { at_ms, .. } | Event::Extended { at_ms, .. } | Event::Adjusted { at_ms, .. } => *at_ms,
            Event::Settled { .. }
            | Event::Voided { .. }
            | Event::Expired { .. }
            | Event::Passed { .. }
            | Event::Amended { .. } => i64::MAX,
        });
        events.splice(0..0, self.amendments_told(now_ms));
        // Last of all: what is told begins when it did.
        events.push(Event::Passed { at_ms: latest_ms });
        (mark, events)
    }

    /// Books every hold at what it holds: after a crash nobody knows what the calls used. Tells how many there were.
    pub fn settle_unknown(&self, now_ms: i64) -> usize {
        let open = |shard: &Mutex<Holds>| {
            lock(shard).by_id.iter().map(|(id, hold)| (*id, hold.is_expired)).collect::<Vec<_>>()
        };
        let all: Vec<(HoldId, bool)> = self.holds.iter().flat_map(open).collect();
        for (id, is_expired) in &all {
            // What expired was given back already.
            self.end(*id, if *is_expired { End::Voided } else { End::Settled(None) }, now_ms);
        }
        all.iter().filter(|(_, is_expired)| !is_expired).count()
    }

    fn put(&self, id: HoldId, parts: &[Booked], now_ms: i64) {
        let mut holds = lock(&self.holds[hold_shard(id)]);
        if holds.has_ended(id) || holds.by_id.contains_key(&id) {
            return;
        }
        let mut locked = self.lock_shards(parts.iter().map(|p| &*p.scope));
        let mut held = Vec::with_capacity(parts.len());
        for part in parts {
            let Some((scope, counter)) = self.counter(&mut locked, &part.rule, &part.scope, now_ms) else { continue };
            held.push(match part.over_ms {
                None => counter.part(scope, part.amount, now_ms),
                Some(made_ms) => counter.part_over(&part.rule, scope, part.amount, made_ms),
            });
        }
        holds.by_id.insert(id, made(held, now_ms));
    }

    fn put_more(&self, id: HoldId, step: u32, more: Used, now_ms: i64) {
        let mut holds = lock(&self.holds[hold_shard(id)]);
        let Some(hold) = holds.by_id.get_mut(&id).filter(|hold| !hold.is_expired && step > hold.step) else { return };
        let mut locked = self.lock_shards(hold.parts.iter().map(|p| &*p.scope));
        hold.step = step;
        self.extend_parts(&mut locked, hold, more, now_ms);
    }
}

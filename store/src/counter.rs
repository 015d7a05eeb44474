//! One counter of the ledger: a budget of a calendar period, a bucket that drains, or calls in flight. Whole numbers only.
//!
//! A counter knows what is used and what is held; whose the holds are is known by the ledger.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_core::limits::rules::{Rule, Unit, Window};

/// After this long a call in flight may have ended; nobody knows better.
const IN_FLIGHT_RETRY_MS: u64 = 1_000;

/// How one scope of one rule stands.
#[derive(Debug)]
pub(crate) struct Counter {
    /// Unlike for every period and every counter there ever was: a hold names the one that it was made in.
    pub epoch: u64,
    /// Invariant: the sum of what live holds of this epoch hold here.
    pub held: u64,
    /// The rule as it was seen last; an edited one is adopted with the usage kept.
    rule: Arc<Rule>,
    count: Count,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Count {
    /// Begins at 0 in each period.
    Period { to_ms: i64, used: u64 },
    /// Drains by the limit per window. `spent` is in units times `per_ms`, so that a millisecond drains exactly `limit`.
    Bucket { spent: u128, per_ms: u64, at_ms: i64 },
    /// Nothing but what is held.
    Flight,
}

impl Counter {
    pub(crate) fn new(rule: &Arc<Rule>, epoch: u64, now_ms: i64) -> Counter {
        Counter { epoch, held: 0, rule: rule.clone(), count: Count::new(rule, now_ms) }
    }

    /// A counter that was kept, with the rule that it had.
    pub(crate) fn again(rule: &Arc<Rule>, epoch: u64, count: Count) -> Counter {
        Counter { epoch, held: 0, rule: rule.clone(), count }
    }

    /// What is kept of it: all but what is held.
    pub(crate) fn kept(&self) -> (&Arc<Rule>, &Count) {
        (&self.rule, &self.count)
    }

    /// Brings the counter to `now_ms` and to the rule as it is now. `epoch` is taken where a new count begins.
    ///
    /// A time before the period is taken as within it: calls carry the time of their arrival and may come here out of
    /// order, and a period that was closed is never opened again.
    pub(crate) fn advance(&mut self, rule: &Arc<Rule>, now_ms: i64, epoch: impl FnOnce() -> u64) {
        if !Arc::ptr_eq(rule, &self.rule) {
            let same_kind = self.rule.unit == rule.unit && self.count.is_of(rule);
            if !same_kind {
                // Dollars say nothing about tokens, nor a month about a rate: the count begins anew.
                *self = Counter::new(rule, epoch(), now_ms);
                return;
            }
            self.drain(now_ms);
            self.adopt(rule, now_ms);
        }
        match &mut self.count {
            Count::Period { to_ms, .. } if now_ms >= *to_ms => {
                // What is still held belongs to the period that has ended, and will be booked nowhere else.
                *self = Counter::new(rule, epoch(), now_ms);
            }
            Count::Period { .. } | Count::Flight => {}
            Count::Bucket { .. } => self.drain(now_ms),
        }
    }

    /// Edits keep usage: what was used so far counts in the new window.
    fn adopt(&mut self, rule: &Arc<Rule>, now_ms: i64) {
        let is_same = self.rule.window == rule.window;
        self.rule = rule.clone();
        if is_same {
            return;
        }
        match (&mut self.count, Count::new(rule, now_ms)) {
            (Count::Period { to_ms, .. }, Count::Period { to_ms: new, .. }) => *to_ms = new,
            (Count::Bucket { spent, per_ms, .. }, Count::Bucket { per_ms: new, .. }) => {
                *spent = spent.div_ceil(u128::from(*per_ms)) * u128::from(new);
                *per_ms = new;
            }
            (Count::Period { .. } | Count::Bucket { .. } | Count::Flight, _) => {}
        }
    }

    fn drain(&mut self, now_ms: i64) {
        if let Count::Bucket { spent, at_ms, .. } = &mut self.count
            && now_ms > *at_ms
        {
            *spent = spent.saturating_sub(u128::from(now_ms.abs_diff(*at_ms)) * u128::from(self.rule.limit));
            *at_ms = now_ms;
        }
    }

    /// What is used, rounded up.
    pub(crate) fn used(&self) -> u64 {
        match &self.count {
            Count::Period { used, .. } => *used,
            Count::Bucket { spent, per_ms, .. } => {
                u64::try_from(spent.div_ceil(u128::from(*per_ms))).unwrap_or(u64::MAX)
            }
            Count::Flight => 0,
        }
    }

    /// Milliseconds since 1970 at which nothing will be used; 0 = never.
    pub(crate) fn resets_at_ms(&self) -> i64 {
        match &self.count {
            Count::Period { to_ms: i64::MAX, .. } | Count::Flight => 0,
            Count::Period { to_ms, .. } => *to_ms,
            Count::Bucket { spent, at_ms, .. } => {
                let ms = spent.div_ceil(u128::from(self.rule.limit.max(1)));
                at_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
            }
        }
    }

    /// Takes `wanted`, or tells in how many milliseconds it may fit; `Err(None)` = never.
    pub(crate) fn take(&mut self, wanted: u64, now_ms: i64) -> Result<(), Option<u64>> {
        let limit = u128::from(self.rule.limit);
        let claimed = u128::from(self.held) + u128::from(wanted);
        let fits = match &self.count {
            Count::Period { used, .. } => claimed + u128::from(*used) <= limit,
            Count::Bucket { spent, per_ms, .. } => claimed * u128::from(*per_ms) + spent <= limit * u128::from(*per_ms),
            Count::Flight => claimed <= limit,
        };
        if !fits {
            return Err(if u128::from(wanted) > limit { None } else { self.retry_after_ms(claimed, now_ms) });
        }
        self.claim(wanted);
        Ok(())
    }

    /// Takes `wanted` without asking whether it fits.
    pub(crate) fn claim(&mut self, wanted: u64) {
        match self.rule.unit {
            // Counted when it comes, not when it ends: a slow call is no reason for a slower rate.
            Unit::Requests => self.book(wanted),
            Unit::Nanousd | Unit::Tokens | Unit::InFlight => self.held = self.held.saturating_add(wanted),
        }
    }

    fn retry_after_ms(&self, claimed: u128, now_ms: i64) -> Option<u64> {
        match &self.count {
            Count::Period { to_ms: i64::MAX, .. } => None,
            Count::Period { to_ms, .. } => u64::try_from(to_ms.saturating_sub(now_ms)).ok(),
            Count::Bucket { spent, per_ms, .. } => {
                let limit = u128::from(self.rule.limit.max(1));
                let above = (claimed * u128::from(*per_ms) + spent).saturating_sub(limit * u128::from(*per_ms));
                Some(u64::try_from(above.div_ceil(limit)).unwrap_or(u64::MAX))
            }
            Count::Flight => Some(IN_FLIGHT_RETRY_MS),
        }
    }

    /// Undoes a `take` that was made at the same moment.
    pub(crate) fn untake(&mut self, wanted: u64) {
        if self.rule.unit != Unit::Requests {
            return self.release(wanted);
        }
        match &mut self.count {
            Count::Period { used, .. } => *used = used.saturating_sub(wanted),
            Count::Bucket { spent, per_ms, .. } => {
                *spent = spent.saturating_sub(u128::from(wanted) * u128::from(*per_ms));
            }
            Count::Flight => {}
        }
    }

    /// Gives back what was held.
    pub(crate) fn release(&mut self, amount: u64) {
        self.held = self.held.saturating_sub(amount);
    }

    /// Books what was used.
    pub(crate) fn book(&mut self, amount: u64) {
        match &mut self.count {
            Count::Period { used, .. } => *used = used.saturating_add(amount),
            Count::Bucket { spent, per_ms, .. } => {
                *spent = spent.saturating_add(u128::from(amount) * u128::from(*per_ms));
            }
            Count::Flight => {}
        }
    }

    /// A bucket drains before anything is booked at `now_ms`; a period stays the one that it is.
    pub(crate) fn touch(&mut self, now_ms: i64) {
        self.drain(now_ms);
    }

    /// True where forgetting the counter changes nothing.
    pub(crate) fn is_idle(&self, now_ms: i64) -> bool {
        let is_over = match &self.count {
            Count::Period { to_ms, used } => *used == 0 || now_ms >= *to_ms,
            Count::Bucket { .. } => now_ms >= self.resets_at_ms(),
            Count::Flight => true,
        };
        is_over && self.held == 0
    }
}

impl Count {
    fn new(rule: &Rule, now_ms: i64) -> Count {
        match (rule.unit, &rule.window) {
            (Unit::InFlight, _) => Count::Flight,
            (_, Window::Calendar { every, zone }) => Count::Period { to_ms: every.around(now_ms, zone).1, used: 0 },
            (_, Window::Rolling { per_ms }) => Count::Bucket { spent: 0, per_ms: (*per_ms).max(1), at_ms: now_ms },
            // A sum for ever.
            (_, Window::None) => Count::Period { to_ms: i64::MAX, used: 0 },
        }
    }

    fn is_of(&self, rule: &Rule) -> bool {
        match self {
            Count::Flight => rule.unit == Unit::InFlight,
            Count::Period { .. } => {
                rule.unit != Unit::InFlight && matches!(rule.window, Window::Calendar { .. } | Window::None)
            }
            Count::Bucket { .. } => rule.unit != Unit::InFlight && matches!(rule.window, Window::Rolling { .. }),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use tollgate_core::limits::rules::{Calendar, ScopeGlobs};

    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn rule(unit: Unit, limit: u64, window: Window) -> Arc<Rule> {
        Arc::new(Rule { name: "r".into(), per: Vec::new(), scope: ScopeGlobs::default(), unit, limit, window })
    }

    fn daily(limit: u64) -> Arc<Rule> {
        rule(Unit::Tokens, limit, Window::Calendar { every: Calendar::Day, zone: TimeZone::UTC })
    }

    /// One bucket of 10 a second; each row follows on the row before.
    #[test]
    fn a_bucket_drains_exactly_and_tells_when_it_fits() {
        let rule = rule(Unit::Requests, 10, Window::Rolling { per_ms: 1_000 });
        let mut counter = Counter::new(&rule, 0, 0);
        for (at_ms, wanted, answer, why) in [
            (0, 10, Ok(()), "an empty bucket takes all it has room for"),
            (0, 1, Err(Some(100)), "and is full then, for a tenth of a second"),
            (99, 1, Err(Some(1)), "a millisecond early is early"),
            (100, 1, Ok(()), "now it fits"),
            (50, 1, Err(Some(100)), "a clock that goes back drains nothing"),
            (60_000, 10, Ok(()), "a minute's rest makes room"),
            (60_000, 11, Err(None), "above the limit it never fits"),
        ] {
            counter.advance(&rule, at_ms, || 1);
            assert_eq!(counter.take(wanted, at_ms), answer, "{why}");
        }
        assert_eq!(counter.resets_at_ms(), 61_000);
    }

    #[test]
    fn a_period_ends_at_midnight_and_never_comes_back() {
        let rule = daily(10);
        let mut counter = Counter::new(&rule, 0, 1_000);
        counter.take(4, 1_000).unwrap();
        counter.book(6);
        assert_eq!(counter.take(1, 1_000), Err(Some(DAY_MS as u64 - 1_000)));
        counter.advance(&rule, DAY_MS, || 7);
        assert_eq!((counter.epoch, counter.held, counter.used()), (7, 0, 0));
        counter.book(1);
        counter.advance(&rule, DAY_MS - 1, || 8);
        assert_eq!((counter.epoch, counter.used()), (7, 1), "a call of yesterday counts today");
    }

    #[test]
    fn an_edited_rule_keeps_what_was_used() {
        let mut counter = Counter::new(&daily(10), 0, 0);
        counter.book(6);
        counter.take(4, 0).unwrap();
        counter.advance(&daily(20), 0, || 1);
        assert_eq!((counter.epoch, counter.used(), counter.held), (0, 6, 4), "another limit");
        let monthly = rule(Unit::Tokens, 20, Window::Calendar { every: Calendar::Month, zone: TimeZone::UTC });
        counter.advance(&monthly, 0, || 1);
        assert_eq!((counter.used(), counter.resets_at_ms()), (6, 31 * DAY_MS), "another period");
        let rate = rule(Unit::Tokens, 20, Window::Rolling { per_ms: 1_000 });
        counter.advance(&rate, 0, || 1);
        assert_eq!((counter.epoch, counter.used()), (1, 0), "a rate is another thing");
        counter.book(20);
        let slower = rule(Unit::Tokens, 20, Window::Rolling { per_ms: 60_000 });
        counter.advance(&slower, 500, || 2);
        assert_eq!((counter.epoch, counter.used()), (1, 10), "drained at the old rate up to the edit");
        counter.advance(&slower, 3_500, || 2);
        assert_eq!(counter.used(), 9, "and at the new one from there");
    }
}

//! One counter of the ledger: what is used, what is held, and the rule that they are held against.
//!
//! A counter knows how much is held; whose the holds are is known by the ledger.

use std::sync::Arc;

use tollgate_core::limits::amendment::Limit;
use tollgate_core::limits::claim::Standing;
use tollgate_core::limits::rules::{Rule, Unit, Window};

use super::count::Count;
use super::hold::Part;

/// How one scope of one rule stands.
#[derive(Debug)]
pub(super) struct Counter {
    /// Unlike for every period and every counter there ever was: a hold names the one that it was made in.
    pub epoch: u64,
    /// Invariant: the sum of what live holds of this epoch hold here.
    pub held: u64,
    /// Invariant: how many parts of live holds are of this scope, whatever their epoch. While there is one the counter is
    /// kept: it knows the rule that an extension of it is judged by.
    pub parts: usize,
    /// The rule as it was seen last; an edited one is adopted with the usage kept.
    pub rule: Arc<Rule>,
    /// What the rule says and operators changed of it, as of the last look.
    limit: Limit,
    count: Count,
}

impl Counter {
    pub(super) fn new(rule: &Arc<Rule>, limit: Limit, epoch: u64, now_ms: i64) -> Counter {
        Counter { epoch, held: 0, parts: 0, rule: rule.clone(), limit, count: Count::new(rule, now_ms) }
    }

    /// Brings the counter to `now_ms`, and to the rule and the limit as they are now. `epoch` is taken where a new count begins.
    ///
    /// A time before the period is taken as within it: calls carry the time of their arrival and may come here out of
    /// order, and a period that was closed is never opened again.
    pub(super) fn advance(&mut self, rule: &Arc<Rule>, limit: Limit, now_ms: i64, epoch: impl FnOnce() -> u64) {
        self.relimit(limit, now_ms);
        if !Arc::ptr_eq(rule, &self.rule) {
            if self.rule.unit != rule.unit || !self.count.is_of(rule) {
                *self = Counter { parts: self.parts, ..Counter::new(rule, limit, epoch(), now_ms) };
                return;
            }
            self.pass(now_ms);
            if self.rule.window != rule.window && !self.count.is_over(now_ms) {
                self.count.adopt(rule, now_ms);
            }
            self.rule = rule.clone();
        }
        if self.count.is_over(now_ms) {
            // What is still held belongs to the period that has ended, and will be booked nowhere else.
            *self = Counter { parts: self.parts, ..Counter::new(rule, limit, epoch(), now_ms) };
        }
        self.pass(now_ms);
    }

    /// Takes another limit, up to now at the one that it had.
    pub(super) fn relimit(&mut self, limit: Limit, now_ms: i64) {
        if limit.most != self.limit.most {
            self.pass(now_ms.min(self.limit.until_ms));
        }
        self.limit = limit;
    }

    pub(super) fn standing(&self) -> Standing {
        let (limit, used, held) = (self.limit.most, self.used(), self.held);
        Standing { limit, used, held, resets_at_ms: self.resets_at_ms() }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.most
    }

    /// What leaves with time leaves; a period stays the one that it is.
    pub(super) fn pass(&mut self, now_ms: i64) {
        self.count.pass(now_ms, self.limit.most);
    }

    pub(super) fn used(&self) -> u64 {
        self.count.used()
    }

    /// What the limit has left beyond what is used and held.
    pub(super) fn remaining(&self) -> u64 {
        self.limit.most.saturating_sub(self.count.used()).saturating_sub(self.held)
    }

    /// Milliseconds since 1970 at which nothing will be used; 0 = never.
    pub(super) fn resets_at_ms(&self) -> i64 {
        self.count.resets_at_ms(self.limit.most)
    }

    /// Until nothing will be used; 0 = never, or now.
    pub(super) fn resets_in_ms(&self, now_ms: i64) -> u64 {
        u64::try_from(self.resets_at_ms().saturating_sub(now_ms)).unwrap_or(0)
    }

    /// Is there room for `wanted`? Else in how many milliseconds there may be; `Err(None)` = never.
    pub(super) fn fits(&self, wanted: u64, now_ms: i64) -> Result<(), Option<u64>> {
        let claimed = u128::from(self.held) + u128::from(wanted);
        match self.count.fits(claimed, self.limit.most) {
            true => Ok(()),
            false if wanted > self.limit.most => Err(None),
            false => Err(self.count.retry_after_ms(claimed, self.limit.most, now_ms)),
        }
    }

    /// Makes a hold's part of what is claimed, fits it or not.
    pub(super) fn part(&mut self, scope: Arc<str>, claimed: u64, now_ms: i64) -> Part {
        self.take(claimed);
        self.parts += 1;
        Part { rule: self.rule.clone(), scope, epoch: self.epoch, claimed, made_ms: self.within(now_ms) }
    }

    /// A part of a period that is over.
    pub(super) fn part_over(&mut self, rule: &Arc<Rule>, scope: Arc<str>, claimed: u64, made_ms: i64) -> Part {
        self.parts += 1;
        Part { rule: rule.clone(), scope, epoch: u64::MAX, claimed, made_ms }
    }

    /// The part is no longer one of a live hold: gives back what it held here.
    pub(super) fn leave(&mut self, part: &Part) {
        self.parts = self.parts.saturating_sub(1);
        if part.epoch == self.epoch {
            self.held = self.held.saturating_sub(part.held());
        }
    }

    /// Takes `amount`, fits it or not.
    pub(super) fn take(&mut self, amount: u64) {
        match self.rule.unit {
            // Counted when it comes, not when it ends: a slow call is no reason for a slower rate.
            Unit::Requests => self.book(amount),
            Unit::Nanousd | Unit::Tokens | Unit::InFlight => self.held = self.held.saturating_add(amount),
        }
    }

    /// Books what was used.
    pub(super) fn book(&mut self, amount: u64) {
        self.count.book(amount);
    }

    /// What an operator adds, or takes back.
    pub(super) fn adjust(&mut self, delta: i64) {
        match delta < 0 {
            true => self.count.give_back(delta.unsigned_abs()),
            false => self.count.book(delta.unsigned_abs()),
        }
    }

    /// What is used, with the moments at which to book it again for the same count.
    pub(super) fn told(&self, now_ms: i64) -> Vec<(i64, u64)> {
        let mut told = self.count.told(now_ms);
        if let (Window::Calendar { every, zone }, Count::Period { to_ms, .. }) = (&self.rule.window, &self.count) {
            // Where a zone's clock steps by half an hour, two of its hours overlap: the first half of this one is the other.
            for (at_ms, _) in told.iter_mut().filter(|(at_ms, _)| every.around(*at_ms, zone).1 != *to_ms) {
                *at_ms = to_ms.saturating_sub(1);
            }
        }
        told
    }

    /// The moment, or the begin of the period that it is taken into.
    pub(super) fn within(&self, ms: i64) -> i64 {
        match self.count {
            Count::Period { from_ms, .. } => ms.max(from_ms),
            Count::Sliding(_) | Count::Bucket { .. } | Count::Flight => ms,
        }
    }

    /// Its period began after this moment.
    pub(super) fn began_after(&self, ms: i64) -> bool {
        matches!(self.count, Count::Period { from_ms, .. } if ms < from_ms)
    }

    /// True where forgetting the counter changes nothing.
    pub(super) fn is_idle(&self, now_ms: i64) -> bool {
        let is_over = match &self.count {
            Count::Period { used, .. } => *used == 0 || self.count.is_over(now_ms),
            Count::Bucket { .. } => now_ms >= self.resets_at_ms(),
            Count::Sliding(_) => self.used() == 0 || now_ms >= self.resets_at_ms(),
            Count::Flight => true,
        };
        is_over && self.parts == 0 && !self.count.is_ahead(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use tollgate_core::limits::rules::{Calendar, ScopeGlobs, Window};

    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn rule(unit: Unit, limit: u64, window: Window) -> Arc<Rule> {
        Arc::new(Rule {
            name: "r".into(),
            per: Vec::new(),
            scope: ScopeGlobs::default(),
            unit,
            limit,
            window,
            ladder: Vec::new(),
        })
    }

    fn daily(limit: u64) -> Arc<Rule> {
        rule(Unit::Tokens, limit, Window::Calendar { every: Calendar::Day, zone: TimeZone::UTC })
    }

    fn new(rule: &Arc<Rule>, epoch: u64, now_ms: i64) -> Counter {
        Counter::new(rule, Limit::of(rule), epoch, now_ms)
    }

    fn advance(counter: &mut Counter, rule: &Arc<Rule>, now_ms: i64, epoch: u64) {
        counter.advance(rule, Limit::of(rule), now_ms, || epoch);
    }

    fn take(counter: &mut Counter, wanted: u64, now_ms: i64) -> Result<(), Option<u64>> {
        counter.fits(wanted, now_ms).map(|()| counter.take(wanted))
    }

    /// One bucket of 10 a second; each row follows on the row before.
    #[test]
    fn a_bucket_drains_exactly_and_tells_when_it_fits() {
        let rule = rule(Unit::Requests, 10, Window::Rolling { per_ms: 1_000 });
        let mut counter = new(&rule, 0, 0);
        for (at_ms, wanted, answer, why) in [
            (0, 10, Ok(()), "an empty bucket takes all it has room for"),
            (0, 1, Err(Some(100)), "and is full then, for a tenth of a second"),
            (99, 1, Err(Some(1)), "a millisecond early is early"),
            (100, 1, Ok(()), "now it fits"),
            (50, 1, Err(Some(100)), "a clock that goes back drains nothing"),
            (60_000, 10, Ok(()), "a minute's rest makes room"),
            (60_000, 11, Err(None), "above the limit it never fits"),
        ] {
            advance(&mut counter, &rule, at_ms, 1);
            assert_eq!(take(&mut counter, wanted, at_ms), answer, "{why}");
        }
        assert_eq!(counter.resets_at_ms(), 61_000);
    }

    #[test]
    fn a_period_ends_at_midnight_and_never_comes_back() {
        let rule = daily(10);
        let mut counter = new(&rule, 0, 1_000);
        take(&mut counter, 4, 1_000).unwrap();
        counter.book(6);
        assert_eq!(take(&mut counter, 1, 1_000), Err(Some(DAY_MS as u64 - 1_000)));
        advance(&mut counter, &rule, DAY_MS, 7);
        assert_eq!((counter.epoch, counter.held, counter.used()), (7, 0, 0));
        counter.book(1);
        advance(&mut counter, &rule, DAY_MS - 1, 8);
        assert_eq!((counter.epoch, counter.used()), (7, 1), "a call of yesterday counts today");
    }

    #[test]
    fn an_edited_rule_keeps_what_was_used() {
        let mut counter = new(&daily(10), 0, 0);
        counter.book(6);
        take(&mut counter, 4, 0).unwrap();
        advance(&mut counter, &daily(20), 0, 1);
        assert_eq!((counter.epoch, counter.used(), counter.held), (0, 6, 4), "another limit");
        let monthly = rule(Unit::Tokens, 20, Window::Calendar { every: Calendar::Month, zone: TimeZone::UTC });
        advance(&mut counter, &monthly, 0, 1);
        assert_eq!((counter.used(), counter.resets_at_ms()), (6, 31 * DAY_MS), "another period");
        let rate = rule(Unit::Tokens, 20, Window::Rolling { per_ms: 1_000 });
        advance(&mut counter, &rate, 0, 1);
        assert_eq!((counter.epoch, counter.used()), (1, 0), "a rate is another thing");
        counter.book(20);
        let slower = rule(Unit::Tokens, 20, Window::Rolling { per_ms: 60_000 });
        advance(&mut counter, &slower, 500, 2);
        assert_eq!((counter.epoch, counter.used()), (1, 10), "drained at the old rate up to the edit");
        advance(&mut counter, &slower, 3_500, 2);
        assert_eq!(counter.used(), 9, "and at the new one from there");
    }

    /// A span of 64 s, in slots of a second; each row follows on the row before.
    #[test]
    fn a_span_slides_and_no_part_of_it_is_ever_counted_less() {
        let rule = rule(Unit::Tokens, 10, Window::Sliding { span_ms: 64_000 });
        let mut counter = new(&rule, 0, 0);
        for (at_ms, wanted, answer, why) in [
            (500, 6, Ok(()), "an empty span has room"),
            (10_000, 4, Ok(()), "and is full then"),
            (10_000, 5, Err(Some(55_000)), "until the first slot has left whole"),
            (64_999, 1, Err(Some(1)), "its last millisecond is not a span old"),
            (65_000, 6, Ok(()), "now it is"),
            (60_000, 1, Err(Some(15_000)), "a clock that goes back opens nothing"),
            (75_000, 4, Ok(()), "the second slot left too"),
            (1_000_000, 11, Err(None), "above the limit it never fits"),
            (1_000_000, 10, Ok(()), "a long rest empties it"),
        ] {
            advance(&mut counter, &rule, at_ms, 1);
            let answered = counter.fits(wanted, at_ms).map(|()| counter.book(wanted));
            assert_eq!(answered, answer, "{why}");
        }
        assert_eq!((counter.epoch, counter.used(), counter.resets_at_ms()), (0, 10, 1_065_000));
        counter.adjust(-4);
        assert_eq!(counter.used(), 6);
        let monthly = self::rule(Unit::Tokens, 20, Window::Calendar { every: Calendar::Month, zone: TimeZone::UTC });
        advance(&mut counter, &monthly, 1_000_001, 1);
        assert_eq!((counter.epoch, counter.used()), (0, 6), "a budget by the calendar is the same budget");
    }

    #[test]
    fn an_amended_rate_drains_at_its_limit_until_that_ends() {
        let rule = rule(Unit::Tokens, 10, Window::Rolling { per_ms: 1_000 });
        let mut counter = new(&rule, 0, 0);
        counter.book(100);
        counter.advance(&rule, Limit { most: 20, until_ms: 2_000 }, 1_000, || 1);
        assert_eq!(counter.used(), 90, "ten in the first second");
        counter.advance(&rule, Limit::of(&rule), 4_000, || 1);
        assert_eq!(counter.used(), 50, "twenty in the next, and ten in each behind it");
        assert_eq!((counter.epoch, counter.limit()), (0, 10));
    }
}

//! How a counter counts: by calendar periods, over a span that slides, by a bucket that drains, or not at all.
//! Whole numbers only.

use tollgate_core::limits::rules::{Rule, Unit, Window};

/// A sliding span is counted in so many slots, and the one that is filled now.
const SLOTS: usize = 65;
/// A time that is so much earlier than one before is that of a clock that was set back.
const BACK_MS: i64 = 1_000;
/// After this long a call in flight may have ended; nobody knows better.
const IN_FLIGHT_RETRY_MS: u64 = 1_000;

/// More is never counted: it is the most that a checkpoint can say of a count, so a restart changes nothing.
const USED_MAX: u64 = i64::MAX as u64;

#[derive(Debug)]
pub(super) enum Count {
    /// Begins at 0 in each period.
    Period { from_ms: i64, to_ms: i64, used: u64 },
    /// What the slots hold is used. A slot leaves when its last millisecond is a whole span old: no span anywhere sees more.
    Sliding(Box<Slots>),
    /// Drains by the limit per window. `spent` is in units times `per_ms`, so that a millisecond drains exactly `limit`.
    Bucket { spent: u128, per_ms: u64, at_ms: i64 },
    /// Nothing but what is held.
    Flight,
}

#[derive(Debug)]
pub(super) struct Slots {
    /// By slot number modulo their count.
    slots: [u64; SLOTS],
    /// The number of the slot that is filled now.
    at: i64,
    slot_ms: i64,
    /// Invariant: the sum of all slots.
    used: u64,
}

impl Slots {
    fn new(span_ms: u64, now_ms: i64) -> Self {
        let slot_ms = i64::try_from(span_ms.div_ceil(SLOTS as u64 - 1)).unwrap_or(i64::MAX).max(1);
        Slots { slots: [0; SLOTS], at: now_ms.div_euclid(slot_ms), slot_ms, used: 0 }
    }

    fn slot(number: i64) -> usize {
        number.rem_euclid(SLOTS as i64) as usize
    }

    /// A clock that goes back moves nothing.
    fn advance(&mut self, now_ms: i64) {
        let now = now_ms.div_euclid(self.slot_ms);
        for number in (self.at.max(now.saturating_sub(SLOTS as i64)) + 1)..=now {
            self.used -= std::mem::take(&mut self.slots[Self::slot(number)]);
        }
        self.at = self.at.max(now);
    }

    fn book(&mut self, amount: u64) {
        let slot = &mut self.slots[Self::slot(self.at)];
        // The sum must stay what the slots hold: what does not fit into it is in none.
        let amount = amount.min(USED_MAX - self.used);
        *slot += amount;
        self.used += amount;
    }

    /// Takes back from the newest slots first.
    fn give_back(&mut self, amount: u64) {
        let mut left = amount.min(self.used);
        self.used -= left;
        for number in (self.at - (SLOTS as i64 - 1)..=self.at).rev() {
            let slot = &mut self.slots[Self::slot(number)];
            let taken = left.min(*slot);
            *slot -= taken;
            left -= taken;
        }
    }

    /// The moment at which `amount` of what is used has left; `None` = there is less.
    fn leaves_at_ms(&self, amount: u64) -> Option<i64> {
        let mut left = amount;
        for number in self.at - (SLOTS as i64 - 1)..=self.at {
            left = left.saturating_sub(self.slots[Self::slot(number)]);
            if left == 0 {
                return Some((number + SLOTS as i64).saturating_mul(self.slot_ms));
            }
        }
        None
    }

    /// What each slot holds, with a moment in it: oldest first.
    fn told(&self) -> impl Iterator<Item = (i64, u64)> {
        (self.at - (SLOTS as i64 - 1)..=self.at)
            .map(|number| (number.saturating_mul(self.slot_ms), self.slots[Self::slot(number)]))
            .filter(|(_, used)| *used > 0)
    }
}

impl Count {
    pub(super) fn new(rule: &Rule, now_ms: i64) -> Count {
        match (rule.unit, &rule.window) {
            (Unit::InFlight, _) => Count::Flight,
            (_, Window::Calendar { every, zone }) => {
                let (from_ms, to_ms) = every.around(now_ms, zone);
                Count::Period { from_ms, to_ms, used: 0 }
            }
            (_, Window::Sliding { span_ms }) => Count::Sliding(Box::new(Slots::new(*span_ms, now_ms))),
            (_, Window::Rolling { per_ms }) => Count::Bucket { spent: 0, per_ms: (*per_ms).max(1), at_ms: now_ms },
            // A sum for ever.
            (_, Window::None) => Count::Period { from_ms: i64::MIN, to_ms: i64::MAX, used: 0 },
        }
    }

    /// Does what was counted so far say something under this rule? Dollars say nothing about tokens, nor a month about a rate.
    pub(super) fn is_of(&self, rule: &Rule) -> bool {
        match self {
            Count::Flight => rule.unit == Unit::InFlight,
            Count::Period { .. } | Count::Sliding(_) => {
                rule.unit != Unit::InFlight && !matches!(rule.window, Window::Rolling { .. })
            }
            Count::Bucket { .. } => rule.unit != Unit::InFlight && matches!(rule.window, Window::Rolling { .. }),
        }
    }

    /// Its period is over, and another one begins at zero.
    pub(super) fn is_over(&self, now_ms: i64) -> bool {
        matches!(self, Count::Period { to_ms, .. } if now_ms >= *to_ms)
    }

    /// It has seen a later time than this: forgotten now, it would begin again in a period that was left.
    pub(super) fn is_ahead(&self, now_ms: i64) -> bool {
        match self {
            Count::Period { from_ms, .. } => now_ms < *from_ms,
            Count::Sliding(slots) => now_ms.div_euclid(slots.slot_ms) < slots.at,
            Count::Bucket { .. } | Count::Flight => false,
        }
    }

    /// The same usage under an edited rule: it counts in the new window from now on.
    pub(super) fn adopt(&mut self, rule: &Rule, now_ms: i64) {
        let used = self.used();
        *self = Count::new(rule, now_ms);
        self.book(used);
    }

    /// What leaves with time leaves.
    pub(super) fn pass(&mut self, now_ms: i64, limit: u64) {
        match self {
            Count::Bucket { spent, at_ms, .. } if now_ms > *at_ms => {
                *spent = spent.saturating_sub(u128::from(now_ms.abs_diff(*at_ms)) * u128::from(limit));
                *at_ms = now_ms;
            }
            // The clock was set back: what drains next drains from there. Calls of one moment may come in any order.
            Count::Bucket { at_ms, .. } if now_ms.saturating_add(BACK_MS) < *at_ms => *at_ms = now_ms,
            Count::Sliding(slots) => slots.advance(now_ms),
            Count::Bucket { .. } | Count::Period { .. } | Count::Flight => {}
        }
    }

    /// What is used, rounded up.
    pub(super) fn used(&self) -> u64 {
        match self {
            Count::Period { used, .. } => *used,
            Count::Sliding(slots) => slots.used,
            Count::Bucket { spent, per_ms, .. } => {
                u64::try_from(spent.div_ceil(u128::from(*per_ms))).unwrap_or(u64::MAX)
            }
            Count::Flight => 0,
        }
    }

    /// Milliseconds since 1970 at which nothing will be used; 0 = never.
    pub(super) fn resets_at_ms(&self, limit: u64) -> i64 {
        match self {
            Count::Period { to_ms: i64::MAX, .. } | Count::Flight => 0,
            Count::Period { to_ms, .. } => *to_ms,
            Count::Sliding(slots) => slots.leaves_at_ms(slots.used).unwrap_or(0),
            Count::Bucket { spent, at_ms, .. } => {
                let ms = spent.div_ceil(u128::from(limit.max(1)));
                at_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
            }
        }
    }

    /// Is there room for `claimed` beside what is used?
    pub(super) fn fits(&self, claimed: u128, limit: u64) -> bool {
        let limit = u128::from(limit);
        match self {
            Count::Period { used, .. } => claimed + u128::from(*used) <= limit,
            Count::Sliding(slots) => claimed + u128::from(slots.used) <= limit,
            Count::Bucket { spent, per_ms, .. } => claimed * u128::from(*per_ms) + spent <= limit * u128::from(*per_ms),
            Count::Flight => claimed <= limit,
        }
    }

    /// In how many milliseconds `claimed` may fit, which does not fit now; `None` = waiting does not help.
    pub(super) fn retry_after_ms(&self, claimed: u128, limit: u64, now_ms: i64) -> Option<u64> {
        let until = |at_ms: i64| u64::try_from(at_ms.saturating_sub(now_ms).max(1)).unwrap_or(u64::MAX);
        match self {
            Count::Period { to_ms: i64::MAX, .. } => None,
            Count::Period { to_ms, .. } => Some(until(*to_ms)),
            Count::Sliding(slots) => {
                let above = (claimed + u128::from(slots.used)).saturating_sub(u128::from(limit));
                // Where what is held is in the way, time alone does not tell.
                let leaves = slots.leaves_at_ms(u64::try_from(above).unwrap_or(u64::MAX));
                Some(leaves.map_or(IN_FLIGHT_RETRY_MS, until))
            }
            Count::Bucket { spent, per_ms, .. } => {
                let limit = u128::from(limit.max(1));
                let above = (claimed * u128::from(*per_ms) + spent).saturating_sub(limit * u128::from(*per_ms));
                Some(u64::try_from(above.div_ceil(limit)).unwrap_or(u64::MAX))
            }
            Count::Flight => Some(IN_FLIGHT_RETRY_MS),
        }
    }

    /// Books what was used.
    pub(super) fn book(&mut self, amount: u64) {
        match self {
            Count::Period { used, .. } => *used = used.saturating_add(amount).min(USED_MAX),
            Count::Sliding(slots) => slots.book(amount),
            Count::Bucket { spent, per_ms, .. } => {
                let more = u128::from(amount) * u128::from(*per_ms);
                *spent = spent.saturating_add(more).min(u128::from(USED_MAX) * u128::from(*per_ms));
            }
            Count::Flight => {}
        }
    }

    /// Takes back what was booked, down to nothing.
    pub(super) fn give_back(&mut self, amount: u64) {
        match self {
            Count::Period { used, .. } => *used = used.saturating_sub(amount),
            Count::Sliding(slots) => slots.give_back(amount),
            Count::Bucket { spent, per_ms, .. } => {
                *spent = spent.saturating_sub(u128::from(amount) * u128::from(*per_ms));
            }
            Count::Flight => {}
        }
    }

    /// What is used, with the moments at which to book it again for the same count; a bucket's is rounded up.
    pub(super) fn told(&self, now_ms: i64) -> Vec<(i64, u64)> {
        match self {
            Count::Sliding(slots) => slots.told().collect(),
            // Of its own period also where the clock was set back to one before.
            Count::Period { from_ms, to_ms, used } => vec![(now_ms.max(*from_ms).min(to_ms.saturating_sub(1)), *used)],
            Count::Bucket { at_ms, .. } => vec![(*at_ms, self.used())],
            Count::Flight => Vec::new(),
        }
    }
}

//! One counter of one scope: what is used and held in its window. Whole numbers only; time is given.

use tollgate_core::limits::claim::Standing;
use tollgate_core::limits::rules::{Rule, Window};

/// The state of one scope of one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counter {
    /// Calendar: used in the period. Rolling: the level of the bucket, in parts (units x `per_ms`).
    used: u128,
    pub held: u64,
    /// Calendar: the first and first-not millisecond of the period. Rolling: `from` is when the level was true.
    from_ms: i64,
    to_ms: i64,
}

impl Counter {
    /// Brings the counter to `now`: a new period begins empty, a bucket has drained. A clock that steps back changes nothing.
    pub fn advance(&mut self, rule: &Rule, now_ms: i64) {
        match &rule.window {
            Window::None => {}
            Window::Calendar { every, zone } => {
                if now_ms >= self.to_ms {
                    (self.from_ms, self.to_ms) = every.around(now_ms, zone);
                    self.used = 0;
                }
            }
            Window::Rolling { .. } => {
                let passed = now_ms.saturating_sub(self.from_ms);
                if passed > 0 {
                    // In `per_ms` milliseconds `limit` units drain: in one, `limit` parts.
                    let drained = u128::from(rule.limit) * passed.unsigned_abs() as u128;
                    self.used = self.used.saturating_sub(drained);
                    self.from_ms = now_ms;
                }
            }
        }
    }

    /// Whole units used, rounded up.
    pub fn used(&self, rule: &Rule) -> u64 {
        let units = match &rule.window {
            Window::Rolling { per_ms } => self.used.div_ceil(u128::from((*per_ms).max(1))),
            Window::Calendar { .. } | Window::None => self.used,
        };
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    pub fn fits(&self, rule: &Rule, wanted: u64) -> bool {
        let taken = u128::from(self.used(rule)) + u128::from(self.held) + u128::from(wanted);
        taken <= u128::from(rule.limit)
    }

    pub fn add_used(&mut self, rule: &Rule, units: u64) {
        let parts = match &rule.window {
            Window::Rolling { per_ms } => u128::from(units) * u128::from((*per_ms).max(1)),
            Window::Calendar { .. } | Window::None => u128::from(units),
        };
        self.used = self.used.saturating_add(parts);
    }

    /// The period that a hold made now belongs to: its usage never reopens a closed one.
    pub fn period(&self, rule: &Rule) -> i64 {
        match &rule.window {
            Window::Calendar { .. } => self.from_ms,
            Window::Rolling { .. } | Window::None => 0,
        }
    }

    /// When `wanted` may fit; `None` where waiting does not help.
    pub fn retry_after_ms(&self, rule: &Rule, wanted: u64, now_ms: i64) -> Option<u64> {
        if wanted > rule.limit {
            return None;
        }
        match &rule.window {
            Window::None => Some(1_000),
            Window::Calendar { .. } => u64::try_from(self.to_ms.saturating_sub(now_ms)).ok(),
            Window::Rolling { per_ms } => {
                let room = u128::from(rule.limit - wanted).saturating_sub(u128::from(self.held)) * u128::from(*per_ms);
                let over = self.used.saturating_sub(room);
                u64::try_from(over.div_ceil(u128::from(rule.limit.max(1)))).ok().map(|ms| ms.max(1))
            }
        }
    }

    pub fn standing(&self, rule: &Rule) -> Standing {
        let resets_at_ms = match &rule.window {
            Window::Calendar { .. } => self.to_ms,
            Window::Rolling { per_ms } => {
                let drains = self.used.div_ceil(u128::from(rule.limit.max(1)));
                self.from_ms.saturating_add(i64::try_from(drains).unwrap_or(i64::MAX)).max(self.from_ms + i64::from(*per_ms == 0))
            }
            Window::None => 0,
        };
        Standing { used: self.used(rule), held: self.held, resets_at_ms }
    }

    /// Nothing is lost when it is forgotten now.
    pub fn idle(&self, rule: &Rule) -> bool {
        self.held == 0 && (self.used == 0 || matches!(rule.window, Window::None))
    }
}

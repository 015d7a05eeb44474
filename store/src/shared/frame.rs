//! In what a rule counts, as the store is told it: a kind, and the period, span or window that it counts in.

use tollgate_core::limits::rules::{Rule, Unit, Window};

/// Lua counts in doubles: whole numbers are exact up to here. A larger limit is held as this one.
pub(super) const AMOUNT_MAX: i64 = (1 << 53) - 1;
/// A sliding span is counted in so many slots, as on one node.
const SLOTS: u64 = 64;
/// The end of a period that never ends: a moment that every part of the store can still count with.
const FOR_EVER_MS: i64 = 253_402_300_799_000;
const DAY_MS: i64 = 86_400_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Calendar,
    Sliding,
    Bucket,
    Flight,
}

impl Kind {
    pub(super) fn of(rule: &Rule) -> Kind {
        match (rule.unit, &rule.window) {
            (Unit::InFlight, _) => Kind::Flight,
            (_, Window::Calendar { .. } | Window::None) => Kind::Calendar,
            (_, Window::Sliding { .. }) => Kind::Sliding,
            (_, Window::Rolling { .. }) => Kind::Bucket,
        }
    }

    /// As the script knows it.
    pub(super) fn letter(self) -> &'static str {
        match self {
            Kind::Calendar => "C",
            Kind::Sliding => "S",
            Kind::Bucket => "B",
            Kind::Flight => "F",
        }
    }
}

/// A period of the calendar, `[from, to)`; else the length of a slot or of a window, and how long the store keeps the scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub kind: Kind,
    pub from: i64,
    pub to: i64,
}

impl Frame {
    pub(super) fn of(rule: &Rule, now_ms: i64) -> Frame {
        let kind = Kind::of(rule);
        let ms = |n: u64| i64::try_from(n).unwrap_or(i64::MAX / 256).max(1);
        let (from, to) = match (&rule.window, kind) {
            (_, Kind::Flight) => (0, DAY_MS),
            (Window::Calendar { every, zone }, _) => {
                let (from, to) = every.around(now_ms, zone);
                (from.max(0), to.min(FOR_EVER_MS))
            }
            (Window::None, _) => (0, FOR_EVER_MS),
            (Window::Sliding { span_ms }, _) => {
                let slot = ms(span_ms.div_ceil(SLOTS));
                (slot, slot * (SLOTS as i64 + 2) + DAY_MS)
            }
            (Window::Rolling { per_ms }, _) => (ms(*per_ms), ms(*per_ms) * 2 + DAY_MS),
        };
        Frame { kind, from, to }
    }

    /// It is a period that has ended.
    pub(super) fn is_over(&self, now_ms: i64) -> bool {
        self.kind == Kind::Calendar && now_ms >= self.to
    }

    /// When a call may fit that needs so much more than there is; `None` = waiting does not help.
    pub(super) fn retry_after_ms(&self, above: i64, limit: i64, now_ms: i64) -> Option<u64> {
        /// Something may have ended by then; nobody knows better.
        const AGAIN_MS: u64 = 1_000;
        match self.kind {
            Kind::Calendar if self.to == FOR_EVER_MS => None,
            Kind::Calendar => u64::try_from((self.to - now_ms).max(1)).ok(),
            Kind::Sliding | Kind::Flight => Some(AGAIN_MS),
            Kind::Bucket => {
                let ms = i128::from(above.max(1)) * i128::from(self.from) / i128::from(limit.max(1)) + 1;
                Some(u64::try_from(ms).unwrap_or(u64::MAX))
            }
        }
    }

    /// When nothing will be used, by what is known here; 0 = never.
    pub(super) fn resets_at_ms(&self, used: i64, limit: i64, now_ms: i64) -> i64 {
        match self.kind {
            Kind::Calendar if self.to == FOR_EVER_MS => 0,
            Kind::Flight => 0,
            Kind::Calendar => self.to,
            Kind::Sliding => now_ms.saturating_add(self.from * (SLOTS as i64 + 1)),
            Kind::Bucket => {
                let ms = i128::from(used.max(0)) * i128::from(self.from) / i128::from(limit.max(1));
                now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
            }
        }
    }
}

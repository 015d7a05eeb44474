//! `limits.yaml`: named budgets and rates. What they have counted lives in the ledger, under name and scope.

use std::sync::Arc;

use jiff::civil::Weekday;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// All rules of a revision, in the order of their names.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    pub rules: Vec<Arc<Rule>>,
    pub unknown_price: UnknownPrice,
}

/// What becomes of targets without a price, in calls that a rule in money applies to. It is never taken for zero in silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownPrice {
    /// They are not called.
    Deny,
    /// They are held and booked at the dearest price of their provider; where it has none, of the whole catalog.
    #[default]
    WorstCase,
    /// They are called and book no money; the receipt says that the cost is not known.
    Flagged,
}

impl UnknownPrice {
    pub const ALL: [UnknownPrice; 3] = [UnknownPrice::Deny, UnknownPrice::WorstCase, UnknownPrice::Flagged];

    /// As `limits.yaml` says it.
    pub fn name(self) -> &'static str {
        match self {
            UnknownPrice::Deny => "deny",
            UnknownPrice::WorstCase => "worst_case",
            UnknownPrice::Flagged => "flagged",
        }
    }
}

/// One budget or rate.
///
/// Written out it is what a journal needs to count with it again: not whom it applies to, nor what happens near its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub name: Arc<str>,
    /// One counter per combination of these; empty = one for all.
    pub per: Vec<Per>,
    /// Which calls it applies to.
    #[serde(skip)]
    pub scope: ScopeGlobs,
    pub unit: Unit,
    /// In the rule's unit: nano-dollars, tokens, requests, or calls in flight.
    pub limit: u64,
    pub window: Window,
    /// What happens as a budget nears its end, by rising share.
    #[serde(skip)]
    pub ladder: Vec<Step>,
}

impl Rule {
    /// Budgets count by calendar periods, or what the last span used; rates refill, or count calls in flight.
    pub fn is_budget(&self) -> bool {
        matches!(self.window, Window::Calendar { .. } | Window::Sliding { .. })
    }
}

/// One step of a ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Taken by calls that find this much of the budget used and held, in thousandths.
    pub at_permille: u64,
    pub then: Then,
}

/// What a step does to the call. Behind the last one the call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The caller is told, and the operators are when the step is passed.
    Warn,
    /// Another tier answers.
    Tier(Arc<str>),
    /// The answer has at most this many tokens.
    MaxTokens(u64),
    /// This text is the answer; no provider is called.
    Answer(Arc<str>),
}

/// What a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Nanousd,
    Tokens,
    Requests,
    InFlight,
}

/// What a rule counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    Tenant,
    App,
    UseCase,
    User,
    Key,
    Session,
    Family,
    Operation,
}

/// When a count begins again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Calendar periods in a time zone: they begin at its midnights, also across clock changes.
    Calendar {
        every: Calendar,
        #[serde(with = "zone_name")]
        zone: TimeZone,
    },
    /// What the last so many milliseconds used, wherever they begin.
    Sliding { span_ms: u64 },
    /// A bucket that refills evenly: `limit` per this many milliseconds.
    Rolling { per_ms: u64 },
    /// Never: calls in flight.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calendar {
    Hour,
    Day,
    Week,
    Month,
}

/// Globs over names of the caller; an empty list admits all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScopeGlobs {
    pub tenant: Vec<crate::contract::glob::Glob>,
    pub app: Vec<crate::contract::glob::Glob>,
    pub use_case: Vec<crate::contract::glob::Glob>,
    pub operation: Vec<crate::contract::glob::Glob>,
    /// Of these, only calls for which a policy reserves the rule.
    pub reserved: bool,
}

/// A time zone by its name in the IANA database.
mod zone_name {
    use jiff::tz::TimeZone;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(zone: &TimeZone, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(zone.iana_name().unwrap_or("UTC"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TimeZone, D::Error> {
        TimeZone::get(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl Calendar {
    /// The period around `now_ms`: its first and its first-not millisecond.
    pub fn around(self, now_ms: i64, zone: &TimeZone) -> (i64, i64) {
        if self == Calendar::Hour {
            return hour(now_ms, zone);
        }
        let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone.clone());
        let midnight = now.start_of_day().unwrap_or_else(|_| now.clone());
        let from = match self {
            Calendar::Hour | Calendar::Day => midnight,
            Calendar::Week => {
                let back = i64::from(midnight.weekday().since(Weekday::Monday));
                midnight.checked_sub(back.days()).unwrap_or(midnight)
            }
            Calendar::Month => midnight.first_of_month().unwrap_or(midnight),
        };
        let to = match self {
            Calendar::Hour | Calendar::Day => from.checked_add(1.day()),
            Calendar::Week => from.checked_add(1.week()),
            Calendar::Month => from.checked_add(1.month()),
        };
        let start = |z: &jiff::Zoned| z.start_of_day().map_or(z.timestamp(), |s| s.timestamp()).as_millisecond();
        let to = to.map_or(i64::MAX, |z| start(&z));
        (start(&from), to)
    }
}

/// The hour around `now_ms` as clocks of the zone show it. Where a clock is set back an hour comes twice: those are two.
fn hour(now_ms: i64, zone: &TimeZone) -> (i64, i64) {
    const HOUR_MS: i64 = 3_600_000;
    let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    // Some zones are half an hour off: hours begin where their own clock shows a full one.
    let offset_ms = i64::from(zone.to_offset(now).seconds()) * 1_000;
    let from = (now_ms.saturating_add(offset_ms)).div_euclid(HOUR_MS).saturating_mul(HOUR_MS).saturating_sub(offset_ms);
    (from, from.saturating_add(HOUR_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_at_the_midnight_of_their_zone_also_across_clock_changes() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        for (every, zone, now, from, to, why) in [
            (
                Calendar::Day,
                "UTC",
                "2026-11-23T10:00:00Z",
                "2026-11-23T00:00:00Z",
                "2026-11-24T00:00:00Z",
                "a plain day",
            ),
            (
                Calendar::Day,
                "Europe/Berlin",
                "2026-10-25T10:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
                "25 hours",
            ),
            (
                Calendar::Week,
                "UTC",
                "2026-11-22T10:00:00Z",
                "2026-11-16T00:00:00Z",
                "2026-11-23T00:00:00Z",
                "Sunday ends the week",
            ),
            (
                Calendar::Month,
                "Europe/Berlin",
                "2026-03-31T23:30:00Z",
                "2026-03-31T22:00:00Z",
                "2026-04-30T22:00:00Z",
                "April there, March here",
            ),
            (
                Calendar::Hour,
                "Asia/Kolkata",
                "2026-11-24T10:00:00Z",
                "2026-11-24T09:30:00Z",
                "2026-11-24T10:30:00Z",
                "half an hour off",
            ),
            (
                Calendar::Day,
                "America/New_York",
                "2026-03-08T12:00:00Z",
                "2026-03-08T05:00:00Z",
                "2026-03-09T04:00:00Z",
                "23 hours",
            ),
            (
                Calendar::Day,
                "Australia/Lord_Howe",
                "2026-10-03T20:00:00Z",
                "2026-10-03T13:30:00Z",
                "2026-10-04T13:00:00Z",
                "a change of half an hour",
            ),
        ] {
            let zone = TimeZone::get(zone).unwrap();
            assert_eq!(every.around(at(now), &zone), (at(from), at(to)), "{why}");
        }
    }
}

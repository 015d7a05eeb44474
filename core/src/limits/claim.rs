//! What a call asks of a ledger: one claim per rule that applies, each with its scope.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rules::{Rule, Unit};

/// The call id: one hold per call.
pub type HoldId = u128;

/// One rule, the scope of this call in it, and how much the call may use at most.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    pub rule: Arc<Rule>,
    /// Rule name and the values of its `per`: the identity of the counter, so that editing a rule keeps its usage.
    pub scope: Box<str>,
    /// The worst case, in the rule's unit.
    pub worst: u64,
}

/// How a counter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Of now: the rule's, with what operators changed of it.
    pub limit: u64,
    pub used: u64,
    pub held: u64,
    /// Milliseconds since 1970; 0 = never.
    pub resets_at_ms: i64,
}

/// One claim that was held, for the receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub rule: Arc<str>,
    pub scope: Box<str>,
    pub held: u64,
    pub limit: u64,
    /// Before this call; what others held besides is not in it.
    pub used: u64,
    #[serde(default = "requests")]
    pub unit: Unit,
    /// What the limit has left beyond this hold and those of others.
    #[serde(default)]
    pub remaining: u64,
    /// In so many milliseconds nothing will be used; 0 = never.
    #[serde(default)]
    pub resets_in_ms: u64,
    #[serde(default)]
    pub is_budget: bool,
}

/// Older receipts do not say it.
fn requests() -> Unit {
    Unit::Requests
}

impl Standing {
    /// How much of the limit is used and held, in thousandths. Of nothing everything is used.
    pub fn permille(&self) -> u64 {
        let taken = u128::from(self.used) + u128::from(self.held);
        let share = (taken * 1_000).checked_div(u128::from(self.limit)).unwrap_or(1_000);
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used).saturating_sub(self.held)
    }
}

impl Held {
    /// How much of the limit was used and held before this call and with it, in thousandths.
    pub fn passed_permille(&self) -> (u64, u64) {
        let with = u128::from(self.limit.saturating_sub(self.remaining));
        let before = with.saturating_sub(u128::from(self.held));
        let permille = |n: u128| u64::try_from(n * 1_000 / u128::from(self.limit.max(1))).unwrap_or(u64::MAX);
        (permille(before), permille(with))
    }
}

/// The claim that could not be held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub rule: Arc<str>,
    pub scope: Box<str>,
    pub unit: Unit,
    /// A calendar budget; else a rate.
    pub is_budget: bool,
    pub wanted: u64,
    pub limit: u64,
    pub used: u64,
    pub held: u64,
    /// In so many milliseconds nothing will be used; 0 = never.
    #[serde(default)]
    pub resets_in_ms: u64,
    /// When it may fit; `None` where waiting does not help (the call alone is above the limit).
    pub retry_after_ms: Option<u64>,
    /// Nobody can say whether there is room: the store that is shared does not answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unreachable: bool,
}

/// Ids as 32 digits: no reader of JSON has numbers that large.
pub mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(id: &u128, to: S) -> Result<S::Ok, S::Error> {
        let mut digits = [0; 32];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(id.to_be_bytes()) {
            *pair = [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
        }
        to.serialize_str(std::str::from_utf8(&digits).map_err(serde::ser::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        u128::from_str_radix(&String::deserialize(from)?, 16).map_err(serde::de::Error::custom)
    }
}

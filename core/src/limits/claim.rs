//! What a call asks of a ledger: one claim per rule that applies, each with its scope.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rules::Rule;

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
    pub used: u64,
}

/// The claim that could not be held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub rule: Arc<str>,
    pub scope: Box<str>,
    pub unit: super::rules::Unit,
    /// A calendar budget; else a rate.
    pub is_budget: bool,
    pub wanted: u64,
    pub limit: u64,
    pub used: u64,
    pub held: u64,
    /// When it may fit; `None` where waiting does not help (the call alone is above the limit).
    pub retry_after_ms: Option<u64>,
}

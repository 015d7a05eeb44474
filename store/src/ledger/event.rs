//! What changes a ledger, as small records: the same changes in the same order make the same balances.
//!
//! A journal keeps them as they come and gives them back after a restart (`MemoryLedger::apply`). A checkpoint is a list
//! of them as well (`MemoryLedger::told`): shorter, for the same balances.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_core::limits::amendment::Amendment;
use tollgate_core::limits::claim::{Claim, HoldId, hex};
use tollgate_core::limits::rules::Rule;
use tollgate_core::ports::Used;

use super::books::End;

/// One change. Ids are those of calls, but for an adjustment's, which is its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Held {
        #[serde(with = "hex")]
        id: HoldId,
        at_ms: i64,
        parts: Vec<Booked>,
    },
    Extended {
        #[serde(with = "hex")]
        id: HoldId,
        step: u32,
        more: Used,
        at_ms: i64,
    },
    /// Without `used` nobody knows it: all that is held counts as used.
    Settled {
        #[serde(with = "hex")]
        id: HoldId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        used: Option<Used>,
        at_ms: i64,
    },
    Voided {
        #[serde(with = "hex")]
        id: HoldId,
        at_ms: i64,
    },
    Expired {
        #[serde(with = "hex")]
        id: HoldId,
        at_ms: i64,
    },
    Adjusted {
        #[serde(with = "hex")]
        id: HoldId,
        rule: Arc<Rule>,
        scope: Arc<str>,
        delta: i64,
        at_ms: i64,
    },
    /// Of a checkpoint: so late it was, and what said nothing any more was forgotten. What begins anew begins no sooner.
    Passed { at_ms: i64 },
    /// A grant or an override as it is from now on: made, or revoked.
    Amended { amendment: Arc<Amendment>, at_ms: i64 },
}

impl Event {
    pub(super) fn held(id: HoldId, claims: &[Claim], at_ms: i64) -> Event {
        let booked = |claim: &Claim| Booked {
            rule: claim.rule.clone(),
            scope: Arc::from(&*claim.scope),
            amount: claim.worst,
            over_ms: None,
        };
        Event::Held { id, at_ms, parts: claims.iter().map(booked).collect() }
    }

    pub(super) fn ended(id: HoldId, end: End, at_ms: i64) -> Event {
        match end {
            End::Settled(used) => Event::Settled { id, used, at_ms },
            End::Voided => Event::Voided { id, at_ms },
        }
    }
}

/// One claim of a hold: so much, in the rule's unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Booked {
    pub rule: Arc<Rule>,
    pub scope: Arc<str>,
    pub amount: u64,
    /// Of a checkpoint: it was held in a period that was over then, since this moment. Nothing holds it any more, and of what the
    /// call used it has its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_ms: Option<i64>,
}

/// Where events go as they happen. Called once for each and in order for each id; outside of all locks, but for a hold that
/// expires.
pub type Sink = Box<dyn Fn(&Event) + Send + Sync>;

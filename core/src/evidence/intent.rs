//! What a call is about to do, kept before its first byte leaves for a provider; and the receipt of a call that left and
//! of which nobody saw the end. No words of its prompt.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::receipt::{Attempt, Booked, Opening, Outcome, Receipt};
use crate::contract::Dialect;
use crate::limits::claim::{HoldId, hex};
use crate::policy::facts::Caller;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The call id.
    #[serde(with = "hex")]
    pub id: HoldId,
    pub request_id: Arc<str>,
    /// When the call came.
    pub time_ms: i64,
    pub contract: Cow<'static, str>,
    pub revision: Arc<str>,
    pub dialect: Dialect,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Box<str>>,
    pub stream: bool,
    pub tenant: Arc<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub app: Arc<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub key: Arc<str>,
    pub body_bytes: u64,
    /// Where it goes.
    pub target: Arc<str>,
}

/// What is known of a call whose end nobody saw.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    /// The targets that it left for, in their order.
    pub targets: Vec<Arc<str>>,
    /// What budgets were booked for it.
    pub booked: Vec<Booked>,
    /// What it cost, where that was settled before the gateway died.
    pub cost_nanousd: Option<i64>,
}

impl Intent {
    pub fn of(id: HoldId, receipt: &Receipt, target: &Arc<str>) -> Intent {
        let Receipt { caller, .. } = receipt;
        Intent {
            id,
            request_id: receipt.request_id.clone(),
            time_ms: receipt.time_ms,
            contract: receipt.contract.clone(),
            revision: receipt.revision.clone(),
            dialect: receipt.dialect,
            place: receipt.place.clone(),
            stream: receipt.stream,
            tenant: caller.tenant.clone(),
            app: caller.app.clone(),
            key: caller.key.clone(),
            body_bytes: receipt.body_bytes,
            target: target.clone(),
        }
    }

    /// The receipt of a call that left, and of which nobody saw the end.
    pub fn unknown(self, known: Known, found_ms: i64) -> Receipt {
        let opening = Opening {
            call_id: call_id(self.id).into(),
            request_id: self.request_id,
            time_ms: self.time_ms,
            contract: self.contract,
            revision: self.revision,
            dialect: self.dialect,
        };
        let attempt = |target| Attempt { target, ..Attempt::default() };
        Receipt {
            place: self.place,
            stream: self.stream,
            caller: Caller { tenant: self.tenant, app: self.app, key: self.key, ..Caller::default() },
            attempts: known.targets.into_iter().map(attempt).collect(),
            cost_nanousd: known.cost_nanousd,
            body_bytes: self.body_bytes,
            outcome: Outcome::Unknown { found_ms, booked: known.booked },
            ..Receipt::open(opening)
        }
    }
}

/// The id of a call as callers see it.
pub fn call_id(id: HoldId) -> String {
    let digits = format!("{id:032x}");
    let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// The same back; `None` = it is none of ours.
pub fn hold_id(call_id: &str) -> Option<HoldId> {
    let (mut id, mut digits): (HoldId, _) = (0, 0);
    for letter in call_id.chars().filter(|letter| *letter != '-') {
        id = id << 4 | HoldId::from(letter.to_digit(16)?);
        digits += 1;
    }
    (digits == 32).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_there_and_back() {
        for id in [0, 1, 0x0193_5f2a_7b1c_7def_8123_4567_89ab_cdef, u128::MAX] {
            assert_eq!(hold_id(&call_id(id)), Some(id));
        }
        assert_eq!(call_id(1), "00000000-0000-0000-0000-000000000001");
        for other in ["", "c", "call-1", "0193-", "zz935f2a-7b1c-7def-8123-456789abcdef"] {
            assert_eq!(hold_id(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_known_of_a_lost_call_stands_in_its_receipt() {
        let opening = Opening {
            call_id: call_id(7).into(),
            request_id: "mine".into(),
            time_ms: 5,
            contract: "2026-12-01".into(),
            revision: "r".into(),
            dialect: Dialect::OpenaiChat,
        };
        let mut receipt = Receipt::open(opening);
        receipt.caller = Caller { tenant: "acme".into(), user: "somebody".into(), ..Caller::default() };
        let intent = Intent::of(7, &receipt, &"sim/sim-1".into());
        let line = serde_json::to_string(&intent).unwrap();
        assert!(!line.contains("somebody"), "no more than is needed: {line}");
        assert_eq!(serde_json::from_str::<Intent>(&line).unwrap(), intent);
        let known = Known { targets: vec!["sim/sim-1".into()], cost_nanousd: Some(3), ..Known::default() };
        let unknown = serde_json::to_value(intent.unknown(known, 9)).unwrap();
        assert_eq!((&unknown["call_id"], &unknown["request_id"]), (&call_id(7).into(), &"mine".into()));
        assert_eq!((&unknown["outcome"]["kind"], &unknown["outcome"]["found_ms"]), (&"unknown".into(), &9.into()));
        assert_eq!((&unknown["attempts"][0]["target"], &unknown["cost_nanousd"]), (&"sim/sim-1".into(), &3.into()));
    }
}

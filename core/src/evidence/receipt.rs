//! The one record of a call: who, what was decided by which lines, where it went, what it cost, how it ended.
//!
//! No words of prompt or answer, no credentials; user and address as keyed digests.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::contract::refusal::Refusal;
use crate::contract::usage::{Usage, UsedBeside};
use crate::contract::{Dialect, Operation};
use crate::limits::claim::{Held, Refused};
use crate::limits::rules::Unit;
use crate::policy::Hook;
use crate::policy::facts::{Caller, Facts, Intent, Meta};
use crate::policy::schema::{Group, GroupSet};
use crate::policy::terms::Terms;
use crate::policy::verdict::Verdict;
use crate::routing::catalog::PriceRow;
use crate::routing::choose::Considered;

/// Times are milliseconds, money is nano-dollars, sizes are bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receipt {
    /// The version of this record's shape.
    pub receipt: u32,
    pub call_id: Arc<str>,
    pub request_id: Arc<str>,
    pub time_ms: i64,
    pub contract: Cow<'static, str>,
    pub revision: Arc<str>,
    pub dialect: Dialect,
    pub operation: Operation,
    /// What was done where, in words of the dialect's paths: `DELETE /files/file-1`. Absent = its usual call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Box<str>>,
    pub stream: bool,
    /// As far as it was known when the call ended; user and address as keyed digests.
    pub caller: Caller,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<Hook, Recorded>,
    pub verdicts: Vec<Verdict>,
    pub decision_digest: String,
    pub terms: Arc<Terms>,
    /// What the terms would have been if `observe` and `warn` acted; absent = the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Box<Terms>>,
    /// What another revision, live for rehearsal, would have decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsed: Option<Box<Rehearsed>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Considered>,
    /// The intent's tier or family that policies replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_replaced: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Held>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_refused: Option<Refused>,
    /// Budgets that are near their end, as their ladders warn of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warned: Vec<String>,
    /// What operators should know of limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limit_alerts: Vec<LimitAlert>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// What is less than was asked for, besides policies that failed: `estimated` = a count that is ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What the provider bills with it, and does not count in it: other models that it asked. The cost has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage_beside: Vec<UsedBeside>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceRow>,
    /// `None` where the price or the usage is not known: never a silent zero.
    pub cost_nanousd: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    pub outcome: Outcome,
    pub body_bytes: u64,
    pub answer_bytes: u64,
    pub first_byte_ms: Option<u64>,
    pub latency_ms: u64,
    /// The call whose stored answer was given, under the same idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed_from: Option<ReplayedFrom>,
}

/// How a call ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Outcome {
    /// The whole answer was handed over.
    Answered { status: u16 },
    /// Turned away, or no provider could answer.
    Refused { status: u16, refusal: Refusal },
    /// The provider's own error was handed over.
    ProviderError { status: u16, refusal: Refusal },
    /// The stream broke off after it had begun; the caller was told with an error event.
    Interrupted { refusal: Refusal },
    /// The caller left before the end.
    CallerLeft,
    /// The gateway died while the call was on its way: nobody saw how it ended.
    Unknown {
        /// When that was found: at the next start.
        found_ms: i64,
        /// What budgets were booked for it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        booked: Vec<Booked>,
    },
}

/// What was booked in one budget: what was held there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booked {
    pub rule: Arc<str>,
    pub scope: Box<str>,
    pub unit: Unit,
    pub amount: u64,
}

/// Something about a limit that operators should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum LimitAlert {
    /// With this call the budget passed a step of its ladder.
    Passed { rule: Arc<str>, at_permille: u64 },
    /// The provider counted more than was held for the call; it is booked all the same.
    AboveHold { rule: Arc<str>, held: u64, used: u64 },
}

/// One try at one target.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Attempt {
    pub target: Arc<str>,
    /// The id of the secret that it was sent with: where it is, and a keyed fingerprint. Absent = it needed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Arc<str>>,
    pub latency_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What went wrong on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The provider's own id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    /// It failed after it had left, and its provider may bill it: so much is booked, as an estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_have_cost_nanousd: Option<i64>,
    /// The same in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_have_used_tokens: Option<u64>,
}

/// What a revision in rehearsal would have decided; it acted on nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rehearsed {
    pub revision: Arc<str>,
    pub decision_digest: String,
    /// Empty = the call would have gone the same way under the same terms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// One difference, and the policy that makes it where one can be named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub kind: DifferenceKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<str>>,
    /// From what to what, for people.
    pub told: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// It would be turned away.
    Refused,
    /// It would pass where it was turned away.
    Admitted,
    /// Its first target would be another.
    Rerouted,
    /// The same way under other terms: caps, requirements, parameters, tags.
    Terms,
    /// A policy would fail.
    Failed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplayedFrom {
    pub call_id: Arc<str>,
    pub revision: Arc<str>,
}

/// The facts that policies of a hook could see, as far as they may be recorded.
#[derive(Debug, Clone)]
pub enum Recorded {
    /// In a live call: the facts themselves, written when the receipt is.
    Live { facts: Arc<Facts>, groups: GroupSet, user: Arc<str>, address: Arc<str> },
    /// From a trail.
    Read(serde_json::Value),
}

impl Serialize for Recorded {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (facts, groups, user, address) = match self {
            Recorded::Read(value) => return value.serialize(to),
            Recorded::Live { facts, groups, user, address } => (facts, *groups, user, address),
        };
        let mut map = to.serialize_map(None)?;
        for group in Group::ALL.into_iter().filter(|g| groups.contains(*g)) {
            match group {
                Group::Call => map.serialize_entry("call", &facts.call)?,
                Group::Caller => map.serialize_entry("caller", &sealed(&facts.caller, user, address))?,
                Group::Meta => map.serialize_entry("meta", &facts.meta)?,
                Group::Intent => map.serialize_entry("intent", &facts.intent)?,
                Group::Prompt => map.serialize_entry("prompt", facts.prompt())?,
                Group::Budget => map.serialize_entry("budget", &facts.budget)?,
                Group::Rate => map.serialize_entry("rate", &facts.rate)?,
                Group::Answer => map.serialize_entry("answer", &facts.answer)?,
                Group::Text => {}
            }
        }
        let buckets = facts.buckets();
        if !buckets.is_empty() {
            map.serialize_entry("bucket", &buckets)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Recorded {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(from).map(Recorded::Read)
    }
}

/// The caller with user and address replaced by their keyed digests.
pub fn sealed(caller: &Caller, user: &Arc<str>, address: &Arc<str>) -> Caller {
    Caller { user: user.clone(), address: address.clone(), ..caller.clone() }
}

/// What identifies a call from its arrival on.
pub struct Opening {
    pub call_id: Arc<str>,
    pub request_id: Arc<str>,
    pub time_ms: i64,
    pub contract: Cow<'static, str>,
    pub revision: Arc<str>,
    pub dialect: Dialect,
}

impl Receipt {
    pub fn open(opening: Opening) -> Self {
        Receipt {
            receipt: 1,
            call_id: opening.call_id,
            request_id: opening.request_id,
            time_ms: opening.time_ms,
            contract: opening.contract,
            revision: opening.revision,
            dialect: opening.dialect,
            operation: opening.dialect.operation(),
            place: None,
            stream: false,
            caller: Caller::default(),
            facts: BTreeMap::new(),
            verdicts: Vec::new(),
            decision_digest: String::new(),
            terms: Arc::default(),
            shadow: None,
            rehearsed: None,
            candidates: Vec::new(),
            intent_replaced: None,
            holds: Vec::new(),
            hold_refused: None,
            warned: Vec::new(),
            limit_alerts: Vec::new(),
            attempts: Vec::new(),
            dropped: Vec::new(),
            degraded: Vec::new(),
            usage: None,
            usage_beside: Vec::new(),
            price: None,
            cost_nanousd: None,
            finish_reason: None,
            outcome: Outcome::CallerLeft,
            body_bytes: 0,
            answer_bytes: 0,
            first_byte_ms: None,
            latency_ms: 0,
            replayed_from: None,
        }
    }

    /// The facts that a hook was given. From pre-route on the caller is the receipt's own, and is not written twice.
    pub fn facts_at(&self, hook: Hook) -> Option<Result<Facts, serde_json::Error>> {
        let value = match self.facts.get(&hook)? {
            Recorded::Read(value) => Ok(value.clone()),
            live @ Recorded::Live { .. } => serde_json::to_value(live),
        };
        Some(value.and_then(|mut value| {
            if value.get("caller").is_none() {
                value["caller"] = serde_json::to_value(&self.caller)?;
            }
            serde_json::from_value(value)
        }))
    }

    /// What a policy could know of the intent and the meta data, for readers of the receipt.
    pub fn asked(&self) -> Option<(Intent, Meta)> {
        let facts = self.facts_at(Hook::PreRoute)?.ok()?;
        Some((facts.intent, facts.meta))
    }
}

//! What one policy said of one call, and what became of it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::effect::{At, Said};
use super::{Hook, Mode, OnError};

/// How high a policy stands. Higher layers win ties; lower ones only tighten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    #[default]
    Platform,
    Org,
    Team,
    App,
}

impl Layer {
    fn is_platform(&self) -> bool {
        *self == Layer::Platform
    }
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// In which language a policy is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Cel,
    Rhai,
    Wasm,
}

/// Name and standing of a policy; one per policy and revision, shared by its verdicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub name: Arc<str>,
    #[serde(default, skip_serializing_if = "Layer::is_platform")]
    pub layer: Layer,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    pub engine: Engine,
    /// The file of its manifest entry and the line, for messages.
    pub declared: At,
}

/// What one policy said at one hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub policy: Arc<Standing>,
    pub hook: Hook,
    pub mode: Mode,
    /// Why it acted less than it declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowered: Option<Arc<Lowered>>,
    pub outcome: Outcome,
    /// Operations that the engine counted; they replay.
    pub ops: u64,
}

/// Why a policy acted less than it declares, and until when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lowered {
    pub by: LoweredBy,
    /// Milliseconds since 1970.
    pub until_ms: i64,
    pub reason: String,
    /// The waiver's line; an operator has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<At>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoweredBy {
    /// A higher layer lets these calls pass: part of the revision, it repeats in a replay.
    Waiver,
    /// At run time, by whoever operates the gateway.
    Operator,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was asked and answered; no effects means that it had nothing to say.
    Decided(Vec<Said>),
    /// Its selectors did not match: `for.tenant`, or `when`.
    NotMatched(Cow<'static, str>),
    /// It erred, trapped or exceeded a limit.
    Failed(Failure),
}

/// Why a policy failed, and which way it was declared to fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub what: String,
    pub at: At,
    pub on_error: OnError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A run-time error of the policy itself: it repeats in a replay.
    Error,
    /// It used up its operations or bytes: it repeats in a replay.
    Budget,
    /// It used up its thread CPU time: recorded, and honoured by a replay, never derived again.
    CpuTime,
    /// It was not asked, because it kept failing: recorded and honoured in the same way.
    Quarantine,
}

impl Verdict {
    pub fn effects(&self) -> &[Said] {
        match &self.outcome {
            Outcome::Decided(effects) => effects,
            Outcome::NotMatched(_) | Outcome::Failed(_) => &[],
        }
    }

    /// Did it say anything, or fail?
    pub fn says(&self) -> bool {
        match &self.outcome {
            Outcome::Decided(effects) => !effects.is_empty(),
            Outcome::Failed(_) => true,
            Outcome::NotMatched(_) => false,
        }
    }

    pub fn matched(&self) -> bool {
        !matches!(self.outcome, Outcome::NotMatched(_))
    }
}

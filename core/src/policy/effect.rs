//! The things one decision may say. How many of them become one is in `terms`.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::Hook;
pub use crate::contract::place::At;

/// One thing a decision says. Money is nano-dollars, time is milliseconds.
///
/// Members stand in the order of the alphabet: written out as they are, they are canonical JSON (see `evidence::digest`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    Deny(Deny),
    Cap(Cap),
    Require(Require),
    Reserve(String),
    Prefer(Prefer),
    Pin(Pin),
    Split(Split),
    Fallback(Vec<String>),
    /// A parameter of the request body, and the value it gets.
    Set(String, Value),
    /// A member of the request body that is not sent on.
    Drop(String),
    Tag(String, String),
    Note(String),
    Alert(Alert),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deny {
    pub code: String,
    #[serde(default)]
    pub reason: String,
}

/// An upper bound; the smallest of all counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cap {
    MaxTokens(u64),
    MaxCostNanousd(i64),
    DeadlineMs(u64),
    Attempts(u32),
}

/// What of a target a `require` speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trait {
    Models,
    Families,
    Providers,
    Regions,
    Tiers,
}

/// Only targets whose trait matches one of the globs remain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Require {
    pub any: BTreeSet<String>,
    pub of: Trait,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    Target(String),
    Tier(String),
    Family(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefer {
    pub score: i32,
    pub wish: Wish,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_replace_pinned: bool,
    pub target: String,
}

/// Sticky shares: a call's bucket (0..9999) chooses one of the targets by weight, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    #[serde(default)]
    pub by: StickyBy,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_replace_pinned: bool,
    pub name: String,
    pub weights: BTreeMap<String, u32>,
}

/// What stays together in a split or a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StickyBy {
    /// The session, else the user, else the key, else the call.
    #[default]
    Sticky,
    Tenant,
    App,
    User,
    Key,
    Session,
    Call,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    pub severity: Severity,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// An effect and the line that said it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Said {
    #[serde(flatten)]
    pub effect: Effect,
    pub at: At,
}

impl Serialize for Said {
    /// As `flatten` would write it, which takes five times as long: receipts have many effects.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (mut said, name) = (to.serialize_struct("Said", 2)?, self.effect.name());
        match &self.effect {
            Effect::Deny(deny) => said.serialize_field(name, deny)?,
            Effect::Cap(cap) => said.serialize_field(name, cap)?,
            Effect::Require(require) => said.serialize_field(name, require)?,
            Effect::Prefer(prefer) => said.serialize_field(name, prefer)?,
            Effect::Pin(pin) => said.serialize_field(name, pin)?,
            Effect::Split(split) => said.serialize_field(name, split)?,
            Effect::Fallback(targets) => said.serialize_field(name, targets)?,
            Effect::Set(param, value) => said.serialize_field(name, &(param, value))?,
            Effect::Tag(key, value) => said.serialize_field(name, &(key, value))?,
            Effect::Reserve(text) | Effect::Drop(text) | Effect::Note(text) => said.serialize_field(name, text)?,
            Effect::Alert(alert) => said.serialize_field(name, alert)?,
        }
        said.serialize_field("at", &self.at)?;
        said.end()
    }
}

/// Parameters that `set` may write: members of the request that shape sampling, never its words.
pub const SETTABLE: [&str; 14] = [
    "temperature",
    "top_p",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "service_tier",
    "parallel_tool_calls",
    "store",
    "n",
    "dimensions",
    "verbosity",
];

/// Members of the request that `drop` may never take: without them there is no call.
pub const UNDROPPABLE: [&str; 4] = ["model", "messages", "input", "stream"];

impl Effect {
    /// What only one policy's voice is heard for, as `overridden` names it; `None` = effects of all are joined.
    pub fn single_writer(&self) -> Option<String> {
        match self {
            Effect::Pin(_) | Effect::Split(_) => Some(self.name().to_owned()),
            Effect::Set(param, _) => Some(format!("set {param}")),
            _ => None,
        }
    }

    /// The name in rules, receipts and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Effect::Deny(_) => "deny",
            Effect::Cap(_) => "cap",
            Effect::Require(_) => "require",
            Effect::Reserve(_) => "reserve",
            Effect::Prefer(_) => "prefer",
            Effect::Pin(_) => "pin",
            Effect::Split(_) => "split",
            Effect::Fallback(_) => "fallback",
            Effect::Set(..) => "set",
            Effect::Drop(_) => "drop",
            Effect::Tag(..) => "tag",
            Effect::Note(_) => "note",
            Effect::Alert(_) => "alert",
        }
    }

    /// The names of all effects that this version knows.
    pub const NAMES: [&'static str; 13] = [
        "deny", "cap", "require", "reserve", "prefer", "pin", "split", "fallback", "set", "drop", "tag", "note",
        "alert",
    ];

    /// May this be said at `hook`? Elsewhere it is a load error, or a policy error where only a run can tell.
    pub fn name_legal_at(name: &str, hook: Hook) -> bool {
        match hook {
            Hook::PreRoute => true,
            Hook::PreAuth | Hook::PostResponse => matches!(name, "deny" | "tag" | "note" | "alert"),
        }
    }

    pub fn legal_at(&self, hook: Hook) -> bool {
        Self::name_legal_at(self.name(), hook)
    }
}

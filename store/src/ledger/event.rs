//! What the journal keeps of a ledger: holds and their ends, as JSON.
//!
//! A hold names the rules that it was made under with all that a counter needs of them: a journal is read again before
//! any policy is loaded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tollgate_core::limits::claim::{Claim, HoldId};
use tollgate_core::limits::rules::{Calendar, Rule, ScopeGlobs, Unit, Window};

/// One thing that happened to a ledger. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event<'e> {
    Held {
        id: Id,
        at_ms: i64,
        parts: Vec<Share<'e>>,
    },
    Settled {
        id: Id,
        at_ms: i64,
        nanousd: i64,
        tokens: u64,
    },
    Voided {
        id: Id,
        at_ms: i64,
    },
    /// A gateway started. Holds without an end before it belong to calls whose end nobody saw: they were settled at what
    /// they held.
    Restarted {
        at_ms: i64,
        unknown: u64,
    },
}

/// A call id, as it is written everywhere: 32 hex digits, without hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub HoldId);

/// One claim of a hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Share<'e> {
    pub scope: Cow<'e, str>,
    pub rule: Counted<'e>,
    pub claimed: u64,
}

/// What a counter needs of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Counted<'e> {
    name: Cow<'e, str>,
    unit: Unit,
    limit: u64,
    window: Span<'e>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Span<'e> {
    Calendar(Calendar, Cow<'e, str>),
    RollingMs(u64),
    Never,
}

impl<'e> Share<'e> {
    pub(super) fn of(claim: &'e Claim) -> Share<'e> {
        Share { scope: (&*claim.scope).into(), rule: Counted::of(&claim.rule), claimed: claim.worst }
    }
}

impl<'e> Counted<'e> {
    pub(super) fn of(rule: &'e Rule) -> Counted<'e> {
        let window = match &rule.window {
            // Zones come by their names from `limits.yaml`; only UTC could be without one.
            Window::Calendar { every, zone } => Span::Calendar(*every, zone.iana_name().unwrap_or("UTC").into()),
            Window::Rolling { per_ms } => Span::RollingMs(*per_ms),
            Window::None => Span::Never,
        };
        Counted { name: (&*rule.name).into(), unit: rule.unit, limit: rule.limit, window }
    }

    pub(super) fn into_owned(self) -> Counted<'static> {
        let window = match self.window {
            Span::Calendar(every, zone) => Span::Calendar(every, Cow::Owned(zone.into_owned())),
            Span::RollingMs(per_ms) => Span::RollingMs(per_ms),
            Span::Never => Span::Never,
        };
        Counted { name: Cow::Owned(self.name.into_owned()), unit: self.unit, limit: self.limit, window }
    }

    fn rule(&self) -> Result<Rule, jiff::Error> {
        let window = match &self.window {
            Span::Calendar(every, zone) => Window::Calendar { every: *every, zone: TimeZone::get(zone)? },
            Span::RollingMs(per_ms) => Window::Rolling { per_ms: *per_ms },
            Span::Never => Window::None,
        };
        let (name, scope) = (self.name.as_ref().into(), ScopeGlobs::default());
        Ok(Rule { name, per: Vec::new(), scope, unit: self.unit, limit: self.limit, window })
    }
}

/// Rules as they were read, each made once. As many as there were edits of rules.
#[derive(Debug, Default)]
pub(super) struct Rules {
    known: HashMap<Counted<'static>, Arc<Rule>>,
}

impl Rules {
    pub(super) fn rule(&mut self, counted: Counted<'static>) -> Result<Arc<Rule>, jiff::Error> {
        if let Some(rule) = self.known.get(&counted) {
            return Ok(rule.clone());
        }
        let rule = Arc::new(counted.rule()?);
        self.known.insert(counted, rule.clone());
        Ok(rule)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        HoldId::from_str_radix(&text, 16).map(Id).map_err(|_| D::Error::custom("a call id is 32 hex digits"))
    }
}

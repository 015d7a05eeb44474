//! One commit of the policy repository, compiled and immutable: the tables, and somebody to ask.

use std::sync::Arc;

use serde::Serialize;

use super::Hook;
use super::effect::At;
use super::facts::Facts;
use super::schema::{FactValue, Field, Group, GroupSet};
use super::tree::RevisionId;
use super::verdict::{Outcome, Verdict};
use crate::identity::tenants::Tenants;
use crate::limits::rules::Limits;
use crate::routing::catalog::Catalog;

/// Everything that a call is decided by. A call pins one and keeps it to its end.
pub struct Revision {
    pub id: RevisionId,
    pub catalog: Catalog,
    pub tenants: Tenants,
    pub limits: Limits,
    pub judge: Box<dyn Judge>,
}

/// The compiled policies of a revision.
pub trait Judge: Send + Sync {
    /// Asks every policy of the hook. Never fails: a failing policy is an outcome of its own.
    fn ask(&self, hook: Hook, facts: &Arc<Facts>) -> Vec<Verdict>;

    /// Is there any policy at this hook?
    fn sits_at(&self, hook: Hook) -> bool;

    /// Policies that are not asked for some tenants, because they kept failing for them.
    fn quarantined(&self) -> Vec<Quarantined> {
        Vec::new()
    }

    /// The groups that some policy of the hook reads: only these are made.
    fn reads(&self, hook: Hook) -> GroupSet;

    /// What the policy looks at of these facts that no receipt holds: `text`, `caller.user`, `caller.address`.
    fn unrecorded(&self, _hook: Hook, _policy: &str, _facts: &Arc<Facts>) -> Vec<String> {
        Vec::new()
    }

    /// For people: why a policy of the hook did or did not apply.
    fn why(&self, _hook: Hook, _policy: &str, _known: &Known<'_>) -> Vec<Reason> {
        Vec::new()
    }
}

/// What is known of a call when somebody asks about it.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub facts: &'a Arc<Facts>,
    /// The groups whose facts are there.
    pub groups: GroupSet,
    /// The caller's user and address are there as keyed digests only.
    pub sealed: bool,
    /// What the policy came to, where that is on record: it stands, whatever the facts let one guess.
    pub came: Option<&'a Outcome>,
}

impl<'a> Known<'a> {
    /// Every fact, in clear.
    pub fn all(facts: &'a Arc<Facts>) -> Known<'a> {
        Known { facts, groups: GroupSet::all(), sealed: false, came: None }
    }

    /// Why the fact is not known, in words.
    pub fn lacks(&self, field: &Field) -> Option<String> {
        let name = format!("{}.{}", field.group.name(), field.name);
        let is_digest = self.sealed && field.is_sealed() && (field.get)(self.facts) != FactValue::Text("".into());
        match (self.lacks_group(field.group), is_digest) {
            (Some(why), _) => Some(why),
            (None, true) => Some(format!("{name} is recorded as a keyed digest alone")),
            (None, false) => None,
        }
    }

    /// The same, of all facts of a group.
    pub fn lacks_group(&self, group: Group) -> Option<String> {
        (!self.groups.contains(group)).then(|| format!("{} is not recorded", group.name()))
    }
}

/// Did a condition hold?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    Yes,
    No,
    /// It hangs on facts that are not known.
    Untold,
}

/// A condition that was asked, and what it came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    pub at: At,
    pub applied: Applies,
    /// The parts of the condition that kept it from being true, each with the values of its facts.
    pub parts: Vec<String>,
}

/// A policy that is not asked for a tenant: its `on_error` holds at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quarantined {
    pub policy: Arc<str>,
    pub tenant: Arc<str>,
    /// When it is tried again, milliseconds since 1970.
    pub until_ms: i64,
    pub failures: u64,
    pub last: String,
}

impl std::fmt::Debug for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Revision({})", self.id)
    }
}

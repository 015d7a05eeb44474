//! One commit of the policy repository, compiled and immutable: the tables, and somebody to ask.

use std::sync::Arc;

use serde::Serialize;

use super::Hook;
use super::effect::At;
use super::facts::Facts;
use super::schema::GroupSet;
use super::tree::RevisionId;
use super::verdict::Verdict;
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

    /// For people: why a policy of the hook did or did not apply. Facts of groups outside `recorded` are not known.
    fn why(&self, _hook: Hook, _policy: &str, _facts: &Arc<Facts>, _recorded: GroupSet) -> Vec<Reason> {
        Vec::new()
    }
}

/// A condition that was asked, and what it came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    pub at: At,
    pub applied: bool,
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

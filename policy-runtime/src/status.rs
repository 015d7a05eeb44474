//! How the revisions stand, for operators: what acts, what waits, what was refused and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tollgate_core::policy::revision::Quarantined;
use tollgate_core::policy::tree::RevisionId;

use crate::diagnostic::Diagnostic;
use crate::load::PolicyInfo;
use crate::retired::Old;
use crate::second::Report;
use crate::switches::Switch;

/// How things stand, for operators.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub active: RevisionId,
    /// When it became active, milliseconds since 1970.
    pub since_ms: i64,
    pub source: String,
    /// Who signed it; empty where the source requires no signatures.
    pub signers: Vec<String>,
    /// The source was down, or its newest revision refused, when the gateway began: this one was kept on disk.
    pub from_disk: bool,
    /// How often a new revision became active since the start.
    pub swaps: u64,
    /// An operator holds it: what the source brings waits until it is let go.
    pub pinned: bool,
    /// The newest revision of the source, where it waits for that.
    pub waiting: Option<RevisionId>,
    /// The one before the active, for a rollback.
    pub previous: Option<RevisionId>,
    /// A second revision that is live beside the active one.
    pub second: Option<Report>,
    /// Revisions that decide no new call, and that calls under way still end on; the oldest first.
    pub old: Vec<Old>,
    /// Refused and not replaced by a good one since.
    pub rejected: Option<Rejected>,
    /// Why the source gave nothing when it was last asked.
    pub source_error: Option<String>,
    /// Policies that are not asked for a tenant, because they kept failing for it.
    pub quarantined: Vec<Quarantined>,
    /// What operators lowered, and until when.
    pub lowered: BTreeMap<Arc<str>, Switch>,
    pub policies: Arc<[PolicyInfo]>,
    /// What `load` warned of in the active revision.
    pub warnings: Arc<[Diagnostic]>,
}

/// A refused revision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rejected {
    pub id: RevisionId,
    pub at_ms: i64,
    pub findings: Arc<[Diagnostic]>,
}

//! What operators do with revisions while calls go on: try a second one, hold one, go back to the one before.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use tollgate_core::contract::nearest;
use tollgate_core::policy::Mode;
use tollgate_core::policy::revision::Revision;
use tollgate_core::policy::tree::{RevisionId, Tree};
use tollgate_core::ports::Beside as _;

use crate::diagnostic::Diagnostic;
use crate::kept::Kept;
use crate::load::{PolicyInfo, load};
use crate::reload::{Active, Offered, given};
use crate::second::{Report, Role, Second};
use crate::switches::{Switch, Wrong};

/// Why a wish was not granted; nothing changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Unwilling {
    #[error("revision {} cannot be used: {} finding(s), the first: {}", id.short(), findings.len(), first(findings))]
    Rejected { id: RevisionId, findings: Vec<Diagnostic> },
    #[error("revision {} is the active one already", id.short())]
    Same { id: RevisionId },
    #[error("there is no revision before the active one: it has not changed since the start")]
    NoPrevious,
    #[error("no second revision is live")]
    NoSecond,
    #[error("the active revision has no policy `{name}`{hint}")]
    NoPolicy { name: String, hint: String },
    #[error(transparent)]
    Wrong(#[from] Wrong),
}

fn first(findings: &[Diagnostic]) -> String {
    findings.first().map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// What differs between two revisions, by policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Diff {
    pub from: Option<RevisionId>,
    pub to: Option<RevisionId>,
    pub added: Vec<Arc<str>>,
    pub removed: Vec<Arc<str>>,
    pub changed: Vec<Changed>,
    /// Files outside policies: tables, the catalog.
    pub files: Vec<String>,
}

/// One policy that is there in both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    pub policy: Arc<str>,
    /// `mode`, `with`, `program`, ...
    pub what: Vec<&'static str>,
    /// Of those that are one word: what it was and what it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<&'static str, [Value; 2]>,
}

impl Active {
    /// Loads a second revision and lets it decide beside the active one. It replaces the one that was live so.
    pub fn try_beside(&self, tree: &Tree, role: Role) -> Result<Report, Unwilling> {
        let _one = self.loading.lock().unwrap_or_else(|broken| broken.into_inner());
        if self.status().active == tree.id {
            return Err(Unwilling::Same { id: tree.id.clone() });
        }
        let loaded = load(tree, &self.setup.builtin, &given(&self.setup));
        let Some(revision) = loaded.revision else {
            return Err(Unwilling::Rejected { id: tree.id.clone(), findings: loaded.findings });
        };
        let second = Arc::new(Second::new(revision, role, self.setup.clock.clone()));
        let report = second.report();
        self.retire(self.second.swap(Some(second)));
        tracing::info!(revision = tree.id.short(), role = report.role, "a second revision is live");
        Ok(report)
    }

    /// Ends it, and tells what it came to. Calls that it decides finish on it.
    pub fn end_second(&self) -> Result<Report, Unwilling> {
        let second = self.second.swap(None).ok_or(Unwilling::NoSecond)?;
        let report = second.report();
        self.retire(Some(second));
        tracing::info!(revision = report.revision.short(), role = report.role, "the second revision has ended");
        Ok(report)
    }

    /// From now on this one decides new calls; gives the time. A second revision that has become the active one has
    /// nothing to be compared with any more, and ends.
    pub(crate) fn put(&self, revision: Arc<Revision>) -> i64 {
        let (id, since_ms) = (revision.id.clone(), (self.setup.clock)());
        self.retired.add(&self.current.swap(revision), since_ms);
        if self.second.load().as_ref().is_some_and(|second| second.revision().id == id) {
            self.retire(self.second.swap(None));
            tracing::info!(revision = id.short(), "the second revision has become the active one");
        }
        since_ms
    }

    fn retire(&self, second: Option<Arc<Second>>) {
        if let Some(second) = second {
            self.retired.add(second.revision(), (self.setup.clock)());
        }
    }

    /// Makes a revision active and holds it: what the source brings waits.
    pub fn hold(&self, tree: &Tree) -> Result<(), Unwilling> {
        match self.take(tree) {
            Offered::Rejected(id) | Offered::RejectedBefore(id) => {
                let findings = self.status().rejected.map_or(Vec::new(), |r| r.findings.to_vec());
                return Err(Unwilling::Rejected { id, findings });
            }
            Offered::Accepted(_) | Offered::Unchanged | Offered::Held(_) => {}
        }
        self.set_pinned(Some(&tree.id));
        tracing::info!(revision = tree.id.short(), "the revision is held");
        Ok(())
    }

    /// Lets go: the newest revision of the source acts again.
    pub fn let_go(&self) -> Offered {
        self.set_pinned(None);
        tracing::info!("no revision is held");
        let newest = self.state().newest.clone();
        self.take(&newest)
    }

    /// Back to the revision before the active one, and holds it. It needs no git host: the files are here.
    pub fn roll_back(&self) -> Result<RevisionId, Unwilling> {
        let previous = self.state().previous.clone().ok_or(Unwilling::NoPrevious)?;
        self.hold(&previous)?;
        Ok(previous.id)
    }

    /// A policy acts less than it declares, for so long, whatever revision decides. It never acts more.
    pub fn lower(&self, policy: &str, to: Mode, last_ms: i64, reason: &str) -> Result<Switch, Unwilling> {
        let policies = self.state().status.policies.clone();
        if !policies.iter().any(|known| *known.name == *policy) {
            let hint = nearest::hint(policy, policies.iter().map(|known| &*known.name));
            return Err(Unwilling::NoPolicy { name: policy.to_owned(), hint });
        }
        let switch = self.setup.switches.lower(policy, to, last_ms, reason, (self.setup.clock)())?;
        let until_ms = switch.until_ms;
        tracing::warn!(policy, ?to, until_ms, reason, "an operator lowered a policy");
        Ok(switch)
    }

    /// The policy acts as it declares again.
    pub fn restore(&self, policy: &str) -> Result<(), Unwilling> {
        self.setup.switches.restore(policy, (self.setup.clock)())?;
        tracing::warn!(policy, "an operator restored a policy");
        Ok(())
    }

    fn set_pinned(&self, id: Option<&RevisionId>) {
        self.state().status.pinned = id.is_some();
        let Some(folder) = &self.setup.kept else { return };
        if let Err(error) = Kept::at(folder).set_pinned(id) {
            tracing::error!(%error, "that a revision is held was not noted on disk: a restart would not know it");
        }
    }

    /// What another revision would change.
    pub fn diff(&self, tree: &Tree) -> Result<Diff, Unwilling> {
        let loaded = load(tree, &self.setup.builtin, &given(&self.setup));
        if loaded.revision.is_none() {
            return Err(Unwilling::Rejected { id: tree.id.clone(), findings: loaded.findings });
        }
        let (own, own_tree) = {
            let state = self.state();
            (state.status.policies.clone(), state.tree.clone())
        };
        Ok(differences((&own_tree, &own), (tree, &loaded.policies)))
    }
}

fn differences(from: (&Tree, &[PolicyInfo]), to: (&Tree, &[PolicyInfo])) -> Diff {
    let find = |list: &[PolicyInfo], name: &str| list.iter().find(|p| *p.name == *name).cloned();
    let mut diff = Diff { from: Some(from.0.id.clone()), to: Some(to.0.id.clone()), ..Diff::default() };
    diff.added = to.1.iter().filter(|p| find(from.1, &p.name).is_none()).map(|p| p.name.clone()).collect();
    diff.removed = from.1.iter().filter(|p| find(to.1, &p.name).is_none()).map(|p| p.name.clone()).collect();
    for policy in to.1 {
        let Some(before) = find(from.1, &policy.name) else { continue };
        let program = before.file != policy.file || from.0.read(&before.file) != to.0.read(&policy.file);
        let what: Vec<&'static str> = [
            ("mode", before.mode != policy.mode),
            ("share", before.share_below != policy.share_below),
            ("hook", before.hooks != policy.hooks),
            ("when", before.when != policy.when),
            ("with", before.with != policy.with),
            ("on_error", before.on_error != policy.on_error),
            ("priority", before.priority != policy.priority),
            ("program", program),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect();
        let values: BTreeMap<_, _> = [
            ("mode", [json!(before.mode), json!(policy.mode)]),
            ("on_error", [json!(before.on_error), json!(policy.on_error)]),
            ("priority", [json!(before.priority), json!(policy.priority)]),
        ]
        .into_iter()
        .filter(|(name, _)| what.contains(name))
        .collect();
        if !what.is_empty() {
            diff.changed.push(Changed { policy: policy.name.clone(), what, values });
        }
    }
    let paths = from.0.files.keys().chain(to.0.files.keys().filter(|path| !from.0.files.contains_key(*path)));
    diff.files =
        paths.filter(|path| !path.starts_with("policies/") && from.0.read(path) != to.0.read(path)).cloned().collect();
    diff
}

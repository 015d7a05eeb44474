//! The active revision: offered trees are loaded, tried, and swapped in whole, or refused with every reason.
//!
//! A call pins what is active and keeps it; whatever happens here, the last good revision stays. The thread that asks a
//! source for news is in `watch`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::tz::TimeZone;
use tollgate_core::policy::revision::Revision;
use tollgate_core::policy::tree::{RevisionId, Tree};
use tollgate_core::ports::{Beside, Policies};

use crate::diagnostic::{Diagnostic, Severity};
use crate::engine::Foreign;
use crate::kept::Kept;
use crate::load::{Given, Loaded, load};
use crate::retired::Retired;
use crate::second::Second;
use crate::source::{Source, SourceError};
use crate::status::{Rejected, Status};
use crate::switches::Switches;

/// What the keeper of the active revision is given.
pub struct Setup {
    pub builtin: Arc<Tree>,
    /// The id of the gateway's pepper.
    pub pepper: Option<Arc<str>>,
    /// Who compiles `policy.wasm`.
    pub wasm: Option<Arc<dyn Foreign>>,
    /// Milliseconds since 1970.
    pub clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// What operators lowered at run time.
    pub switches: Arc<Switches>,
    /// The folder where the last good tree is kept; `None` = nowhere.
    pub kept: Option<PathBuf>,
    /// Told of every change, for metrics. Called on the thread that loads, one event at a time.
    pub on_event: Option<Listener>,
}

/// Somebody who is told of events.
pub type Listener = Box<dyn Fn(&Event<'_>) + Send + Sync>;

/// What happened to the active revision.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A new revision is active.
    Accepted { id: &'a RevisionId, policies: usize, took_ms: u64 },
    /// A revision was refused; the active one stays.
    Rejected { id: &'a RevisionId, findings: &'a [Diagnostic] },
    /// The source gave nothing; it is asked again.
    SourceFailed { error: &'a SourceError },
}

/// What became of an offered tree.
#[derive(Debug, Clone, PartialEq)]
pub enum Offered {
    /// It is active now.
    Accepted(RevisionId),
    /// It is active already.
    Unchanged,
    /// It was refused; the findings stand in the status.
    Rejected(RevisionId),
    /// It was refused before, with the same content: it is not compiled again.
    RejectedBefore(RevisionId),
    /// An operator holds another revision; it waits.
    Held(RevisionId),
}

/// Why there is no revision to begin with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    #[error("the policies of `{from}` cannot be used: {} error(s)", errors(findings))]
    Rejected { from: String, findings: Vec<Diagnostic> },
    #[error("the policies of `{from}` cannot be read, and no earlier revision is kept: {error}")]
    Unreachable { from: String, error: SourceError },
    #[error("the source `{from}` gave no revision")]
    Nothing { from: String },
}

fn errors(findings: &[Diagnostic]) -> usize {
    findings.iter().filter(|f| f.severity == Severity::Error).count()
}

/// Name and content: a folder that is changed back is the same again, and a commit of the same content is another.
type Key = (RevisionId, String);

/// The holder of the active revision.
pub struct Active {
    pub(crate) current: ArcSwap<Revision>,
    pub(crate) second: ArcSwapOption<Second>,
    pub(crate) retired: Retired,
    state: Mutex<State>,
    /// One load at a time; calls never touch it.
    pub(crate) loading: Mutex<()>,
    pub(crate) setup: Setup,
    source: String,
}

pub(crate) struct State {
    pub status: Status,
    key: Key,
    rejected: Option<Key>,
    /// The active tree and the one before it: files are shared, so both cost little more than one.
    pub tree: Tree,
    pub previous: Option<Tree>,
    /// What the source brought last: it acts, was refused, or waits while another is held.
    pub newest: Tree,
}

impl Policies for Active {
    fn pin(&self) -> Arc<Revision> {
        self.current.load_full()
    }

    fn beside(&self) -> Option<Arc<dyn Beside>> {
        self.second.load_full().map(|second| second as Arc<dyn Beside>)
    }
}

impl Active {
    /// Begins with what the source gives; if that fails, with the last good revision on disk.
    pub fn start(source: &mut dyn Source, setup: Setup) -> Result<Arc<Active>, StartError> {
        let from = source.describe();
        if let Some((tree, loaded, begun)) = Self::pinned_on_disk(source, &setup) {
            return Ok(Self::begin(&tree, loaded, from, setup, true, begun));
        }
        let polled = source.poll();
        let (why, rejected, error) = match &polled {
            Ok(Some(tree)) => {
                let begun = Instant::now();
                let loaded = load(tree, &setup.builtin, &given(&setup));
                if loaded.revision.is_some() {
                    return Ok(Self::begin(tree, loaded, from, setup, false, begun));
                }
                let findings = loaded.findings;
                (StartError::Rejected { from: from.clone(), findings: findings.clone() }, Some((tree, findings)), None)
            }
            Ok(None) => return Err(StartError::Nothing { from }),
            Err(error) => (StartError::Unreachable { from: from.clone(), error: error.clone() }, None, Some(error)),
        };
        let Some((tree, loaded, begun)) = Self::from_disk(source, &setup) else { return Err(why) };
        let active = Self::begin(&tree, loaded, from, setup, true, begun);
        if let Some((tree, findings)) = rejected {
            active.reject(tree, findings);
        }
        if let Some(error) = error {
            active.source_failed(error);
        }
        Ok(active)
    }

    /// A revision that an operator holds outlives a restart.
    fn pinned_on_disk(source: &mut dyn Source, setup: &Setup) -> Option<(Tree, Loaded, Instant)> {
        let kept = Kept::at(setup.kept.as_ref()?);
        let tree = kept.read(&source.describe()).ok()??;
        if kept.is_pinned(&tree.id) { Self::from_disk(source, setup) } else { None }
    }

    fn from_disk(source: &mut dyn Source, setup: &Setup) -> Option<(Tree, Loaded, Instant)> {
        let tree = match Kept::at(setup.kept.as_ref()?).read(&source.describe()) {
            Ok(tree) => tree?,
            Err(error) => {
                tracing::error!(%error, "the last good revision cannot be read");
                return None;
            }
        };
        if let Err(error) = source.vouch(&tree) {
            tracing::error!(%error, revision = %tree.id.short(), "the last good revision on disk is not trusted any more");
            return None;
        }
        let begun = Instant::now();
        let loaded = load(&tree, &setup.builtin, &given(setup));
        if loaded.revision.is_none() {
            tell_findings(&loaded.findings);
            tracing::error!(revision = %tree.id, "the last good revision on disk cannot be used any more");
        }
        loaded.revision.is_some().then_some((tree, loaded, begun))
    }

    fn begin(
        tree: &Tree,
        loaded: Loaded,
        source: String,
        setup: Setup,
        from_disk: bool,
        begun: Instant,
    ) -> Arc<Active> {
        let Loaded { revision, findings, policies, .. } = loaded;
        let revision = revision.expect("callers begin only with what has loaded");
        let status = Status {
            active: tree.id.clone(),
            since_ms: (setup.clock)(),
            source: source.clone(),
            signers: tree.signers.clone(),
            from_disk,
            swaps: 0,
            pinned: from_disk && setup.kept.as_ref().is_some_and(|folder| Kept::at(folder).is_pinned(&tree.id)),
            waiting: None,
            previous: None,
            second: None,
            old: Vec::new(),
            rejected: None,
            source_error: None,
            quarantined: Vec::new(),
            lowered: BTreeMap::new(),
            policies: policies.into(),
            warnings: findings.into(),
        };
        let state = State {
            status,
            key: (tree.id.clone(), tree.digest()),
            rejected: None,
            tree: tree.clone(),
            previous: None,
            newest: tree.clone(),
        };
        let active = Active {
            current: ArcSwap::new(revision),
            second: ArcSwapOption::empty(),
            retired: Retired::default(),
            state: Mutex::new(state),
            loading: Mutex::new(()),
            setup,
            source,
        };
        active.tell_accepted(&tree.id, begun);
        if !from_disk {
            active.keep(tree);
        }
        Arc::new(active)
    }

    /// Asks the source once, and takes what it gives. `None` = nothing new, or the source failed.
    pub fn check(&self, source: &mut dyn Source) -> Option<Offered> {
        match source.poll() {
            Ok(tree) => {
                self.state().status.source_error = None;
                tree.map(|tree| self.offer(&tree))
            }
            Err(error) => {
                self.source_failed(&error);
                None
            }
        }
    }

    /// What the source brings: it is loaded and swapped in, whole or not at all; while another is held, it waits.
    pub fn offer(&self, tree: &Tree) -> Offered {
        {
            let mut state = self.state();
            state.newest = tree.clone();
            if state.status.pinned && state.key != (tree.id.clone(), tree.digest()) {
                return Offered::Held(tree.id.clone());
            }
        }
        self.take(tree)
    }

    /// Loads a tree and swaps it in, whoever wants it.
    pub(crate) fn take(&self, tree: &Tree) -> Offered {
        let _one = self.loading.lock().unwrap_or_else(|broken| broken.into_inner());
        let key = (tree.id.clone(), tree.digest());
        {
            let mut state = self.state();
            if state.key == key {
                state.rejected = None;
                state.status.rejected = None;
                return Offered::Unchanged;
            }
            if state.rejected.as_ref() == Some(&key) {
                return Offered::RejectedBefore(key.0);
            }
        }
        let begun = Instant::now();
        let Loaded { revision, findings, policies, .. } = load(tree, &self.setup.builtin, &given(&self.setup));
        let Some(revision) = revision else {
            self.reject(tree, findings);
            return Offered::Rejected(key.0);
        };
        let since_ms = self.put(revision);
        {
            let mut state = self.state();
            state.status.active = key.0.clone();
            state.status.since_ms = since_ms;
            state.status.from_disk = false;
            state.status.signers = tree.signers.clone();
            state.status.swaps += 1;
            state.status.rejected = None;
            state.status.policies = policies.into();
            state.status.warnings = findings.into();
            state.rejected = None;
            state.key = key.clone();
            let before = std::mem::replace(&mut state.tree, tree.clone());
            state.status.previous = Some(before.id.clone());
            state.previous = Some(before);
        }
        self.tell_accepted(&key.0, begun);
        self.keep(tree);
        Offered::Accepted(key.0)
    }

    pub fn status(&self) -> Status {
        let second = self.second.load().as_ref().map(|second| second.report());
        let (quarantined, old) = (self.current.load().judge.quarantined(), self.retired.live());
        let lowered = self.setup.switches.live((self.setup.clock)());
        let state = self.state();
        let waits = state.status.pinned && state.newest.id != state.status.active;
        let waiting = waits.then(|| state.newest.id.clone());
        Status { second, old, waiting, quarantined, lowered, ..state.status.clone() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    fn reject(&self, tree: &Tree, findings: Vec<Diagnostic>) {
        tell_findings(&findings);
        let active = {
            let mut state = self.state();
            let at_ms = (self.setup.clock)();
            state.status.rejected = Some(Rejected { id: tree.id.clone(), at_ms, findings: findings.clone().into() });
            state.rejected = Some((tree.id.clone(), tree.digest()));
            state.status.active.clone()
        };
        tracing::error!(
            rejected = %tree.id.short(), active = %active.short(), errors = errors(&findings),
            "revision rejected, the active one stays"
        );
        self.emit(&Event::Rejected { id: &tree.id, findings: &findings });
    }

    fn source_failed(&self, error: &SourceError) {
        let told = error.to_string();
        let news = self.state().status.source_error.replace(told.clone()) != Some(told);
        // The same failure on every poll is told once.
        if news {
            tracing::warn!(source = %self.source, %error, "policies cannot be read, the active revision stays");
        }
        self.emit(&Event::SourceFailed { error });
    }

    fn tell_accepted(&self, id: &RevisionId, begun: Instant) {
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = self.status();
        let policies = status.policies.len();
        tell_findings(&status.warnings);
        self.setup.kept.iter().for_each(|folder| Kept::at(folder).note_acting(id));
        tracing::info!(
            revision = %id.short(), policies, ms = took_ms, source = %self.source, from_disk = status.from_disk,
            "revision accepted"
        );
        self.emit(&Event::Accepted { id, policies, took_ms });
    }

    /// A disk that is full must not keep a good revision from acting: the failure is told and that is all.
    fn keep(&self, tree: &Tree) {
        let Some(folder) = &self.setup.kept else { return };
        if tree.id == self.setup.builtin.id {
            return;
        }
        if let Err(error) = Kept::at(folder).write(tree, &self.source) {
            tracing::error!(%error, "the last good revision was not kept on disk");
        }
    }

    fn emit(&self, event: &Event<'_>) {
        if let Some(tell) = &self.setup.on_event {
            tell(event);
        }
    }
}

pub(crate) fn given(setup: &Setup) -> Given {
    let now = jiff::Timestamp::from_millisecond((setup.clock)()).ok();
    Given {
        today: now.map(|now| now.to_zoned(TimeZone::UTC).date()),
        pepper: setup.pepper.clone(),
        wasm: setup.wasm.clone(),
        live: Some(setup.switches.clone()),
        strict: false,
    }
}

fn tell_findings(findings: &[Diagnostic]) {
    for finding in findings {
        let place = format!("{}:{}:{}", finding.file, finding.line, finding.column);
        let help = finding.help.as_deref().unwrap_or("");
        match finding.severity {
            Severity::Error => tracing::error!(%place, code = finding.code, help, "{}", finding.message),
            Severity::Warning => tracing::warn!(%place, code = finding.code, help, "{}", finding.message),
        }
    }
}

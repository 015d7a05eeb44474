//! Revisions that decide no new call. Each lives as long as the last call that began with it, and no longer.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use serde::Serialize;
use tollgate_core::policy::revision::Revision;
use tollgate_core::policy::tree::RevisionId;

/// One that some call or stream still decides by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Old {
    pub revision: RevisionId,
    /// When it stopped to decide new calls, milliseconds since 1970.
    pub since_ms: i64,
}

/// What is remembered of them holds none of them.
#[derive(Default)]
pub(crate) struct Retired(Mutex<Vec<(Old, Weak<Revision>)>>);

impl Retired {
    /// The list is as long as there are such revisions: whoever is added sweeps out those that are gone.
    pub fn add(&self, revision: &Arc<Revision>, since_ms: i64) {
        let mut list = self.list();
        list.retain(|(_, held)| held.strong_count() > 0);
        list.push((Old { revision: revision.id.clone(), since_ms }, Arc::downgrade(revision)));
    }

    /// The oldest first.
    pub fn live(&self) -> Vec<Old> {
        self.list().iter().filter(|(_, held)| held.strong_count() > 0).map(|(old, _)| old.clone()).collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<(Old, Weak<Revision>)>> {
        self.0.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

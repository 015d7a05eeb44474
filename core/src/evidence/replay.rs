//! Deciding a recorded call again, from its receipt alone, by the code that decided it.

use std::sync::Arc;

use super::digest;
use super::receipt::Receipt;
use crate::policy::Hook;
use crate::policy::revision::Revision;
use crate::policy::verdict::{FailureKind, Outcome, Verdict};

/// What became of a second decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Again {
    pub verdicts: Vec<Verdict>,
    pub digest: String,
    /// The digest equals the recorded one.
    pub same: bool,
}

/// Asks the revision about the recorded facts. Outcomes that time decided (CPU kills, quarantine) are honoured as recorded.
pub fn decide_again(receipt: &Receipt, revision: &Revision) -> Result<Again, serde_json::Error> {
    let mut verdicts: Vec<Verdict> = Vec::new();
    for (hook, facts) in receipt.facts.keys().filter_map(|hook| Some((hook, receipt.facts_at(*hook)?))) {
        let facts = Arc::new(facts?);
        let fresh = revision.judge.ask(*hook, &facts);
        verdicts.extend(fresh.into_iter().map(|verdict| honoured(receipt, *hook, verdict)));
    }
    let digest = digest::decision(&verdicts);
    Ok(Again { same: digest == receipt.decision_digest, verdicts, digest })
}

fn honoured(receipt: &Receipt, hook: Hook, fresh: Verdict) -> Verdict {
    let killed = receipt.verdicts.iter().find(|v| {
        v.hook == hook
            && v.policy.name == fresh.policy.name
            && matches!(&v.outcome, Outcome::Failed(f) if matches!(f.kind, FailureKind::CpuTime | FailureKind::Quarantine))
    });
    killed.cloned().unwrap_or(fresh)
}

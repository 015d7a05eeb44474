//! A second revision that is live beside the active one: in rehearsal it decides and does not act, as a canary it acts for
//! a share of the callers and ends by itself where a guard breaks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use serde::Serialize;
use tollgate_core::contract::refusal::Fault;
use tollgate_core::evidence::receipt::{DifferenceKind, Outcome, Receipt};
use tollgate_core::policy::effect::StickyBy;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::revision::Revision;
use tollgate_core::policy::tree::RevisionId;
use tollgate_core::policy::verdict::Outcome as Said;
use tollgate_core::ports::Beside;

use crate::guard::{Guard, Side};

/// Rows of differences: by policy, tenant and kind.
const ROWS_MAX: usize = 1_000;
/// Call ids that are kept of one row.
const SAMPLES_MAX: usize = 5;
/// Buckets are hundredths of a percent.
pub const ALL: u16 = 10_000;

/// What the second revision does.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    Rehearsal,
    Canary(Canary),
}

/// For whom a canary acts, and when it ends by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// Hundredths of a percent at the beginning and at the end.
    pub from: u16,
    pub to: u16,
    /// From the one to the other in so many milliseconds.
    pub over_ms: u64,
    pub by: StickyBy,
    pub guards: Vec<Guard>,
}

/// One that is live.
pub struct Second {
    revision: Arc<Revision>,
    role: Role,
    begun_ms: i64,
    clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// The name of the bucket that deals the callers.
    bucket: String,
    tally: Mutex<Tally>,
    /// Why it ended by itself.
    ended: OnceLock<String>,
}

#[derive(Default)]
struct Tally {
    active: Side,
    second: Side,
    compared: u64,
    differing: u64,
    rows: BTreeMap<(DifferenceKind, Arc<str>, Arc<str>), Row>,
    rows_left_out: u64,
}

#[derive(Default)]
struct Row {
    calls: u64,
    samples: Vec<Arc<str>>,
    told: String,
}

/// How it stands, for operators.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub revision: RevisionId,
    pub role: &'static str,
    pub since_ms: i64,
    /// Percent of the callers for whom it acts now.
    pub percent: f64,
    /// Why it ended by itself; absent = it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
    pub active: Side,
    pub second: Side,
    /// Calls that both decided.
    pub compared: u64,
    pub differing: u64,
    pub differences: Vec<ReportRow>,
    /// Differences beyond the rows that are kept.
    pub rows_left_out: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct ReportRow {
    pub kind: DifferenceKind,
    pub policy: Arc<str>,
    pub tenant: Arc<str>,
    pub calls: u64,
    /// Ids of such calls, for `tollgate explain`.
    pub samples: Vec<Arc<str>>,
    /// What the first of them was.
    pub told: String,
}

impl Second {
    pub fn new(revision: Arc<Revision>, role: Role, clock: Arc<dyn Fn() -> i64 + Send + Sync>) -> Second {
        let bucket = format!("canary:{}", revision.id);
        Second { begun_ms: clock(), revision, role, clock, bucket, tally: Mutex::default(), ended: OnceLock::new() }
    }

    pub fn report(&self) -> Report {
        let tally = self.tally();
        Report {
            revision: self.revision.id.clone(),
            role: match self.role {
                Role::Rehearsal => "rehearsal",
                Role::Canary(_) => "canary",
            },
            since_ms: self.begun_ms,
            percent: f64::from(self.share()) / 100.0,
            rolled_back: self.ended.get().cloned(),
            active: tally.active,
            second: tally.second,
            compared: tally.compared,
            differing: tally.differing,
            differences: tally
                .rows
                .iter()
                .map(|((kind, policy, tenant), row)| ReportRow {
                    kind: *kind,
                    policy: policy.clone(),
                    tenant: tenant.clone(),
                    calls: row.calls,
                    samples: row.samples.clone(),
                    told: row.told.clone(),
                })
                .collect(),
            rows_left_out: tally.rows_left_out,
        }
    }

    /// Hundredths of a percent of the callers for whom it acts at this moment.
    fn share(&self) -> u16 {
        let Role::Canary(canary) = &self.role else { return 0 };
        if self.ended.get().is_some() {
            return 0;
        }
        let passed = u64::try_from((self.clock)() - self.begun_ms).unwrap_or(0);
        if passed >= canary.over_ms {
            return canary.to.min(ALL);
        }
        let (from, to) = (f64::from(canary.from), f64::from(canary.to));
        (from + (to - from) * passed as f64 / canary.over_ms as f64) as u16
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Ends it for good where a guard is broken: the next call is the active revision's.
    fn look_at_guards(&self, active: &Side, second: &Side) {
        let Role::Canary(canary) = &self.role else { return };
        let Some(why) = canary.guards.iter().find_map(|guard| guard.broken(active, second)) else { return };
        if self.ended.set(why.clone()).is_ok() {
            let (revision, calls) = (self.revision.id.short(), second.calls);
            tracing::error!(revision, calls, why, "the canary was rolled back: the active revision decides every call");
        }
    }
}

impl Beside for Second {
    fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }

    fn rehearses(&self) -> bool {
        self.role == Role::Rehearsal
    }

    fn acts_for(&self, facts: &Facts) -> bool {
        let Role::Canary(canary) = &self.role else { return false };
        let share = self.share();
        share > 0 && facts.bucket(&self.bucket, canary.by) < share
    }

    fn ended(&self, receipt: &Receipt) {
        let mut tally = self.tally();
        let is_second = *receipt.revision == *self.revision.id.0;
        let side = if is_second { &mut tally.second } else { &mut tally.active };
        add(side, receipt);
        if let Some(rehearsed) = receipt.rehearsed.as_ref().filter(|r| *r.revision == *self.revision.id.0) {
            tally.compared += 1;
            tally.differing += u64::from(!rehearsed.differences.is_empty());
            for difference in &rehearsed.differences {
                let policy = difference.policy.clone().unwrap_or_default();
                let key = (difference.kind, policy, receipt.caller.tenant.clone());
                if !tally.rows.contains_key(&key) && tally.rows.len() >= ROWS_MAX {
                    tally.rows_left_out += 1;
                    continue;
                }
                let row = tally.rows.entry(key).or_default();
                row.calls += 1;
                if row.samples.len() < SAMPLES_MAX {
                    row.samples.push(receipt.call_id.clone());
                }
                if row.told.is_empty() {
                    row.told.clone_from(&difference.told);
                }
            }
        }
        let (active, second) = (tally.active, tally.second);
        drop(tally);
        if is_second {
            self.look_at_guards(&active, &second);
        }
    }
}

/// Adds a call to the side that decided it.
fn add(side: &mut Side, receipt: &Receipt) {
    side.calls += 1;
    let failed = receipt.verdicts.iter().any(|v| matches!(v.outcome, Said::Failed(_)));
    let (denied, erred) = match &receipt.outcome {
        Outcome::Answered { .. } | Outcome::CallerLeft | Outcome::Unknown { .. } => (false, false),
        Outcome::Refused { refusal, .. } => match refusal.fault {
            Fault::Caller | Fault::Policy => (true, false),
            Fault::Gateway | Fault::Provider => (false, true),
        },
        Outcome::ProviderError { refusal, .. } => (false, refusal.fault != Fault::Caller),
        Outcome::Interrupted { .. } => (false, true),
    };
    side.denied += u64::from(denied);
    side.errors += u64::from(erred || failed);
    side.cost_nanousd = side.cost_nanousd.saturating_add(receipt.cost_nanousd.unwrap_or(0));
    side.latency_ms = side.latency_ms.saturating_add(receipt.latency_ms);
}

#[cfg(test)]
#[path = "second_tests.rs"]
mod tests;

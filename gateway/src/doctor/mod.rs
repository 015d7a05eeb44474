//! What `tollgate doctor` looks at: findings, each with what to do, and how a gateway that runs tells of itself.

pub mod offline;
pub mod probe;
pub mod secrets;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_providers::{Providers, Report};
use tollgate_store::ledger::JournalLedger;
use tollgate_store::trail::FileTrail;

use crate::alerts::Alerts;
use crate::state::State;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, and may not for long.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at. Nothing of a secret is ever in it.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub level: Level,
    pub told: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub fn ok(check: &'static str, told: impl Into<String>) -> Finding {
        Finding { check, level: Level::Ok, told: told.into(), remedy: None }
    }

    pub fn warn(check: &'static str, told: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, level: Level::Warn, told: told.into(), remedy: Some(remedy.into()) }
    }

    pub fn fail(check: &'static str, told: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, level: Level::Fail, told: told.into(), remedy: Some(remedy.into()) }
    }
}

/// What a running gateway can be asked.
pub struct Live {
    state: PathBuf,
    providers: Arc<Providers>,
    alerts: Arc<Alerts>,
    ledger: Arc<JournalLedger>,
    trail: Arc<FileTrail>,
    started_ms: i64,
}

/// How it stands.
#[derive(Debug, Serialize)]
pub struct Standing {
    version: &'static str,
    /// Milliseconds since 1970, as all times here.
    started_ms: i64,
    now_ms: i64,
    state: PathBuf,
    secrets: Vec<Report>,
    alerts: Option<AlertsStanding>,
    /// What is wrong with the balances in memory; absent = nothing.
    balances_wrong: Option<String>,
    receipts_waiting: usize,
    files: Option<Files>,
}

#[derive(Debug, Serialize)]
struct AlertsStanding {
    host: String,
    waiting: usize,
}

/// Descriptors of a process: open now, and how many may be.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Files {
    pub open: u64,
    pub max: u64,
}

impl Files {
    /// Of this process; `None` where the system does not tell.
    pub fn own() -> Option<Files> {
        let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let max = line.split_whitespace().next()?;
        let max = if max == "unlimited" { u64::MAX } else { max.parse().ok()? };
        let open = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        Some(Files { open, max })
    }
}

impl Live {
    pub fn new(
        state: &State,
        providers: Arc<Providers>,
        alerts: Arc<Alerts>,
        ledger: Arc<JournalLedger>,
        trail: Arc<FileTrail>,
    ) -> Arc<Live> {
        let started_ms = jiff::Timestamp::now().as_millisecond();
        Arc::new(Live { state: state.path.clone(), providers, alerts, ledger, trail, started_ms })
    }

    pub fn report(&self) -> Standing {
        Standing {
            version: env!("CARGO_PKG_VERSION"),
            started_ms: self.started_ms,
            now_ms: jiff::Timestamp::now().as_millisecond(),
            state: self.state.clone(),
            secrets: self.providers.secrets(),
            alerts: self.alerts.standing().map(|(host, waiting)| AlertsStanding { host, waiting }),
            balances_wrong: self.ledger.check().err(),
            receipts_waiting: self.trail.waiting(),
            files: Files::own(),
        }
    }
}

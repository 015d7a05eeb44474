//! The policies of a revision as they are listed: for operators, for `check`, for whoever compares revisions.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tollgate_core::policy::effect::At;
use tollgate_core::policy::verdict::{Engine, Layer, Standing};
use tollgate_core::policy::{Hook, Mode, OnError};

use crate::home::Home;
use crate::manifest::Entry;

/// One policy, for listings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyInfo {
    pub name: Arc<str>,
    /// Where the manifest declares it: `tollgate-policies.yaml` and the line.
    pub declared: At,
    pub hooks: Vec<Hook>,
    pub mode: Mode,
    /// Hundredths of a percent of the callers for whom it acts; `None` = all.
    pub share_below: Option<u16>,
    pub layer: Layer,
    pub priority: i32,
    pub engine: Engine,
    /// The program: `policies/tiers/policy.rhai`, `std/residency/rules.yaml`.
    pub file: String,
    pub when: Option<String>,
    /// Parameters over the defaults of the schema.
    pub with: Arc<Value>,
    pub on_error: OnError,
    pub owner: Option<String>,
    pub expires: Option<String>,
}

pub(crate) fn standing(entry: &Entry, layer: Layer, engine: Engine) -> Arc<Standing> {
    let declared = At { file: entry.file.clone(), line: entry.at.line, column: entry.at.column };
    Arc::new(Standing { name: entry.name.clone(), layer, priority: entry.priority, engine, declared })
}

pub(crate) fn info(entry: &Entry, home: &Home<'_>, standing: &Standing, with: Arc<Value>) -> PolicyInfo {
    PolicyInfo {
        name: entry.name.clone(),
        declared: standing.declared.clone(),
        hooks: entry.hooks.clone(),
        mode: entry.mode,
        share_below: entry.share.map(|s| s.below),
        layer: standing.layer,
        priority: entry.priority,
        engine: home.engine,
        file: home.program_shown(),
        when: entry.when.as_ref().map(|w| w.text.clone()),
        with,
        on_error: entry.on_error,
        owner: entry.owner.clone(),
        expires: entry.expires.map(|d| d.to_string()),
    }
}

//! What the operators' side tells without a word of who asks: `/readyz`, `/metrics`. Never on the callers' port.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::json;

use crate::metrics::Metrics;
use tollgate_policy_runtime::reload::Active;
use tollgate_store::ledger::JournalLedger;

/// What the operators' side can tell.
#[derive(Clone)]
pub struct Operators {
    pub metrics: Arc<Metrics>,
    pub policies: Arc<Active>,
    pub providers: Arc<[String]>,
    pub ledger: Arc<JournalLedger>,
}

impl Operators {
    /// Ready as soon as a revision decides; which one, since when, and why a newer one was rejected. Not while the journal's
    /// disk takes nothing: no call leaves then.
    pub fn ready(&self) -> impl IntoResponse + use<> {
        let status = self.policies.status();
        let failing = self.ledger.failing();
        let mut body = json!({
            "status": if failing.is_none() { "ready" } else { "not_ready" },
            "policies": status,
            "providers": &self.providers[..],
        });
        let mut code = StatusCode::OK;
        if let Some(why) = failing {
            body["journal"] = format!("it cannot be written, and no call leaves without a record: {why}").into();
            code = StatusCode::SERVICE_UNAVAILABLE;
        }
        (code, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n"))
    }

    pub fn metrics(&self) -> impl IntoResponse + use<> {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], self.metrics.text())
    }
}

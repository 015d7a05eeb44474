//! What the operators' side tells without a word of who asks: `/readyz`, `/metrics`. Never on the callers' port.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::json;

use crate::metrics::Metrics;
use tollgate_policy_runtime::reload::Active;

/// What the operators' side can tell.
#[derive(Clone)]
pub struct Operators {
    pub metrics: Arc<Metrics>,
    pub policies: Arc<Active>,
    pub providers: Arc<[String]>,
}

impl Operators {
    /// Ready as soon as a revision decides; which one, since when, and why a newer one was rejected.
    pub fn ready(&self) -> impl IntoResponse + use<> {
        let status = self.policies.status();
        let body = json!({
            "status": "ready",
            "policies": status,
            "providers": &self.providers[..],
        });
        (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n"))
    }

    pub fn metrics(&self) -> impl IntoResponse + use<> {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], self.metrics.text())
    }
}

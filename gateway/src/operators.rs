//! The operators' side: `/livez`, `/readyz`, `/metrics`. Never on the callers' port.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;

use crate::admin::{self, Admin};
use crate::metrics::Metrics;
use tollgate_policy_runtime::reload::Active;

/// What the operators' side can tell.
#[derive(Clone)]
pub struct Operators {
    pub metrics: Arc<Metrics>,
    pub policies: Arc<Active>,
    pub providers: Arc<[String]>,
}

pub fn router(operators: Operators, admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "here are /livez, /readyz, /metrics and /admin/v1/policies\n") })
        .with_state(operators)
        .merge(admin::router(admin))
}

/// Ready as soon as a revision decides; which one, since when, and why a newer one was rejected.
async fn ready(State(operators): State<Operators>) -> impl IntoResponse {
    let status = operators.policies.status();
    let body = json!({
        "status": "ready",
        "policies": status,
        "providers": &operators.providers[..],
    });
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n"))
}

async fn metrics(State(operators): State<Operators>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], operators.metrics.text())
}

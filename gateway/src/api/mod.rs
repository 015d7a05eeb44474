//! The callers' side: HTTP in, one call to the core, HTTP out. No decision is made here.

pub mod body;
pub mod calls;
pub mod edge;
pub mod ids;
pub mod models;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::{get, post};
use tollgate_core::contract::nearest;
use tollgate_core::contract::refusal::{Category, Refusal};
use tollgate_core::pipeline::{Core, arrive};

use crate::metrics::Metrics;

/// What every call needs; shared by all connections.
pub struct Gate {
    pub core: Arc<Core>,
    pub metrics: Arc<Metrics>,
    pub ids: ids::Ids,
    /// A body of which no byte comes for this long is given up.
    pub body_idle: Duration,
}

/// One connection: the gate, and who is at the other end.
#[derive(Clone)]
pub struct Connection {
    pub gate: Arc<Gate>,
    /// The peer's address, and its keyed digest for receipts.
    pub peer: Arc<str>,
    pub peer_sealed: Arc<str>,
}

/// The routes for all but calls, before they know their connection.
pub fn router() -> Router<Connection> {
    // Calls themselves never come here, only what is no `POST` at their paths.
    edge::CALLS
        .iter()
        .fold(Router::new(), |routes, (path, _)| routes.route(path, post(unknown)))
        .route("/", get(hello))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
}

const PATHS: [&str; 3] = ["/v1/chat/completions", "/v1/embeddings", "/v1/models"];

/// Some clients ask for `HEAD /` before their first call.
async fn hello() -> &'static str {
    "tollgate: POST /v1/chat/completions, POST /v1/embeddings, GET /v1/models\n"
}

async fn unknown(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    let hint = nearest::hint(path, PATHS);
    let hint = if hint.is_empty() { format!(": here are {}", PATHS.join(", ")) } else { hint };
    refuse(&headers, Refusal::new(Category::NoRoute, "unknown_path", format!("nothing is at `{method} {path}`{hint}")))
}

async fn wrong_method(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let told = format!("`{}` does not take `{method}`", uri.path());
    let mut response = refuse(&headers, Refusal::invalid("wrong_method", "method", told));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// A refusal outside any call: it has no receipt, but the same shape.
pub fn refuse(headers: &HeaderMap, refusal: Refusal) -> Response {
    let id = arrive::sent_request_id(headers).unwrap_or("-");
    let mut response = Response::new(refusal.openai_json(id).into());
    *response.status_mut() = refusal.status();
    let out = response.headers_mut();
    tollgate_core::pipeline::head::retry(out, &refusal);
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    echo(headers, out);
    response
}

/// A caller's own request id comes back on every answer.
fn echo(headers: &HeaderMap, out: &mut HeaderMap) {
    if let Some(Ok(id)) = arrive::sent_request_id(headers).map(HeaderValue::from_str) {
        out.insert("x-request-id", id);
    }
}

//! The callers' side: HTTP in, one call to the core, HTTP out. No decision is made here.

pub mod body;
pub mod calls;
pub mod edge;
pub mod ids;
pub mod models;
pub mod published;
pub mod tickets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::{get, post};
use tollgate_core::contract::refusal::{Category, Refusal};
use tollgate_core::contract::{Dialect, nearest};
use tollgate_core::dialects::paths;
use tollgate_core::identity::certificate::Certified;
use tollgate_core::pipeline::{Core, arrive, translate};

use crate::metrics::Metrics;
use crate::tls::peer::Peer;

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
    /// The client certificate that it showed.
    pub certificate: Option<Arc<Peer>>,
}

impl Connection {
    /// Whom the client certificate speaks of, if there is one and it is still good.
    pub fn certified(&self, headers: &HeaderMap, now_ms: i64) -> Result<Option<&Arc<Certified>>, Refusal> {
        self.certificate.as_ref().map_or(Ok(None), |peer| peer.certified(headers, now_ms))
    }
}

/// The routes for all but calls, before they know their connection.
pub fn router() -> Router<Connection> {
    let lists = models::PATHS.into_iter().fold(Router::new(), |router, path| {
        router.route(path, get(models::list)).route(&format!("{path}/{{*id}}"), get(models::one))
    });
    lists
        .route("/", get(hello))
        .route(published::PATH, get(published::openapi))
        .route("/v1/keys", post(tickets::make))
        .fallback(unknown)
        .method_not_allowed_fallback(not_here)
}

const PATHS: [&str; 14] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/images/generations",
    "/v1/audio/transcriptions",
    "/v1/moderations",
    "/v1/files",
    "/v1/batches",
    "/v1/models",
    "/v1/messages",
    "/v1beta/models/MODEL:generateContent",
    "/model/MODEL/converse",
    "/model/MODEL/invoke",
    "/v2/chat",
];

/// Some clients ask for `HEAD /` before their first call.
async fn hello() -> &'static str {
    "tollgate: POST /v1/chat/completions, /v1/responses, /v1/messages, /v1/embeddings and more; GET /v1/models\n"
}

async fn unknown(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    // Calls themselves never come here, only what is no method of theirs at their paths.
    if let Some(dialect) = paths::dialect(path) {
        return wrong_method(dialect, method, uri, headers).await;
    }
    let hint = nearest::hint(path, PATHS);
    let hint = if hint.is_empty() { format!(": here are {}", PATHS.join(", ")) } else { hint };
    let dialect = dialect_of(path);
    refuse(
        dialect,
        &headers,
        Refusal::new(Category::NoRoute, "unknown_path", format!("nothing is at `{method} {path}`{hint}")),
    )
}

/// Whose words a client at this path understands.
fn dialect_of(path: &str) -> Dialect {
    match path {
        p if p.starts_with("/v1/messages") => Dialect::AnthropicMessages,
        p if p.starts_with("/v1beta") => Dialect::Gemini,
        p if p.starts_with("/model/") => Dialect::BedrockConverse,
        p if p.starts_with("/v2/") => Dialect::CohereChat,
        p if p.starts_with("/api/") => Dialect::OllamaChat,
        _ => Dialect::OpenaiChat,
    }
}

async fn wrong_method(dialect: Dialect, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let told = format!("`{}` does not take `{method}`", uri.path());
    let mut response = refuse(dialect, &headers, Refusal::invalid("wrong_method", "method", told));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

async fn not_here(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    wrong_method(dialect_of(uri.path()), method, uri, headers).await
}

/// A refusal outside any call: it has no receipt, but the same shape.
pub fn refuse(dialect: Dialect, headers: &HeaderMap, refusal: Refusal) -> Response {
    let voice = translate::voice(dialect);
    let id = arrive::sent_request_id(headers).unwrap_or("-");
    let mut response = Response::new(voice.write_refusal(&refusal, id).into());
    *response.status_mut() = voice.refusal_status(&refusal);
    let out = response.headers_mut();
    tollgate_core::pipeline::head::retry(out, &refusal);
    voice.refusal_headers(&refusal, out);
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

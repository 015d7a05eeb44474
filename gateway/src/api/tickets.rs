//! `POST /v1/keys`: a key exchanged for a short-lived one. On the callers' port, for those who ask are callers.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tollgate_core::contract::Dialect;
use tollgate_core::contract::refusal::Refusal;
use tollgate_core::pipeline::arrive;
use tollgate_core::pipeline::exchange::{Wanted, exchange};
use tollgate_core::pipeline::prove::Shown;

use super::{Connection, echo, refuse};

/// What is wanted is said in a few words.
const BODY_BYTES_MAX: usize = 16 << 10;

pub async fn make(State(connection): State<Connection>, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    match made(&connection, &headers, &uri, &body).await {
        Ok(mut response) => {
            echo(&headers, response.headers_mut());
            response
        }
        Err(refusal) => refuse(Dialect::OpenaiChat, &headers, refusal),
    }
}

async fn made(connection: &Connection, headers: &HeaderMap, uri: &Uri, body: &[u8]) -> Result<Response, Refusal> {
    let core = &connection.gate.core;
    let credential = arrive::credential(headers, uri.query())?;
    if body.len() > BODY_BYTES_MAX {
        let told = format!("the body has {} bytes, at most {BODY_BYTES_MAX} are read here", body.len());
        return Err(Refusal::invalid("too_long", "body", told));
    }
    let wanted = match body.is_empty() {
        true => Wanted::default(),
        false => serde_json::from_slice(body)
            .map_err(|why| Refusal::invalid("not_json", "body", format!("the body cannot be read: {why}")))?,
    };
    let now_ms = (core.clock.now_ms)();
    let certificate = connection.certified(headers, now_ms)?.map(|of| &**of);
    let shown = Shown { credential: credential.as_ref(), certificate, address: &connection.peer, now_ms };
    let (ticket, key) = exchange(core, &core.policies.pin(), &shown, wanted).await?;
    let told = json!({
        "object": "tollgate.key",
        "key": key,
        "of": ticket.key,
        "tenant": ticket.tenant,
        "app": ticket.app,
        "user": ticket.user,
        "scopes": ticket.scopes,
        "expires_ms": ticket.expires_ms,
    });
    let mut response = (StatusCode::CREATED, told.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

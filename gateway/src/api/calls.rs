//! The first stage of a call: its head read, the revision pinned, the rest given to a task of its own.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use axum::response::Response;
use tollgate_core::contract::meta::Declared;
use tollgate_core::contract::refusal::{Category, Refusal};
use tollgate_core::dialects::paths::Address;
use tollgate_core::pipeline::arrive::{self, Arrival, Head};
use tollgate_core::pipeline::outlet::{self, Outlet};
use uuid::Uuid;

use super::body::{Incoming, Pieces};
use super::{Connection, refuse};

/// One call. A caller that leaves drops this future, and the call's own task notices and settles.
pub async fn call(address: Address, connection: Connection, request: Request<hyper::body::Incoming>) -> Response {
    let gate = &connection.gate;
    let (parts, body) = request.into_parts();
    let dialect = address.dialect;
    let arrival = arrive(address, &connection, parts.headers, parts.uri.query(), body);
    let request_id = arrival.request_id.clone();
    let (outlet, answer) = Outlet::new();
    gate.metrics.in_flight.inc();
    // In a box: a task moves its future several times, and a call's is large.
    let course = Box::pin(tollgate_core::pipeline::run(gate.core.clone(), Box::new(arrival), outlet));
    tokio::spawn(course);
    match answer.await {
        Ok(answer) => respond(answer),
        // The task is gone without an answer: it panicked, and the panic is in the log.
        Err(_) => {
            let mut headers = HeaderMap::new();
            if let Ok(id) = request_id.parse() {
                headers.insert("x-request-id", id);
            }
            let told = "the gateway failed on this call: its log says why";
            refuse(dialect, &headers, Refusal::new(Category::Internal, "internal", told))
        }
    }
}

fn arrive(
    address: Address,
    connection: &Connection,
    headers: HeaderMap,
    query: Option<&str>,
    body: hyper::body::Incoming,
) -> Arrival {
    let core = &connection.gate.core;
    let time_ms = (core.clock.now_ms)();
    let id = connection.gate.ids.next(time_ms);
    let call_id: Arc<str> = Arc::from(&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    let (declared, mut wrong) = match Declared::from_headers(&headers) {
        Ok(declared) => (declared, None),
        Err(refusal) => (Declared::default(), Some(refusal)),
    };
    let credential = arrive::credential(&headers, query).unwrap_or_else(|refusal| {
        wrong.get_or_insert(refusal);
        None
    });
    let certificate = connection.certified(&headers, time_ms).unwrap_or_else(|refusal| {
        wrong.get_or_insert(refusal);
        None
    });
    if let Err(refusal) = arrive::version(&declared) {
        wrong.get_or_insert(refusal);
    }
    let content_length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    Arrival {
        hold_id: id.as_u128(),
        request_id: arrive::request_id(&headers, &call_id),
        call_id,
        time_ms,
        started_ms: (core.clock.steady_ms)(),
        dialect: address.dialect,
        asked: address.model,
        stream: address.stream,
        place: address.place,
        revision: core.policies.pin(),
        beside: core.policies.beside(),
        wrong,
        declared,
        credential,
        certificate: certificate.cloned(),
        content_length,
        body: Box::pin(Incoming::new(body, connection.gate.body_idle)),
        head: Head {
            headers,
            query: query.map(str::to_owned),
            address: connection.peer.clone(),
            address_sealed: connection.peer_sealed.clone(),
        },
    }
}

fn respond(answer: outlet::Response) -> Response {
    let body = match answer.body {
        outlet::Body::Whole(bytes) => Body::from(bytes),
        outlet::Body::Pieces(pieces) => Body::new(Pieces(pieces)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

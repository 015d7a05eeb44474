//! One connection's service: calls go straight to the core, everything else through the routes.
//!
//! A call is found by one comparison of its path. What the routes do for the rest (patterns, extractors, layers) costs more
//! than reading the call.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::Service;
use tollgate_core::contract::Dialect;
use tollgate_core::contract::refusal::{Category, Refusal};
use tollgate_core::dialects::paths;
use tower_http::catch_panic::CatchPanic;
use tower_service::Service as _;

use super::{Connection, calls, refuse};

/// What one connection is served by.
pub struct Edge {
    connection: Connection,
    routes: CatchPanic<Router, tower_http::catch_panic::DefaultResponseForPanic>,
}

impl Edge {
    pub fn new(connection: Connection, routes: &Router<Connection>) -> Edge {
        Edge { routes: CatchPanic::new(routes.clone().with_state(connection.clone())), connection }
    }
}

impl Service<Request<Incoming>> for Edge {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        match paths::call(request.method(), path) {
            Some(address) => {
                let call = calls::call(address, self.connection.clone(), request);
                Box::pin(AssertUnwindSafe(call).catch_unwind().map(|came| Ok(came.unwrap_or_else(|_| failed()))))
            }
            None => {
                let mut routes = self.routes.clone();
                Box::pin(async move {
                    let answer = routes.call(request.map(Body::new)).await?;
                    Ok(answer.map(Body::new))
                })
            }
        }
    }
}

/// It panicked before it was a call; the panic is in the log.
fn failed() -> Response {
    let told = "the gateway failed on this call: its log says why";
    refuse(Dialect::default(), &HeaderMap::new(), Refusal::new(Category::Internal, "internal", told))
}

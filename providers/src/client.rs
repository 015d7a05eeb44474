//! The client below all providers: pooled connections, plain or TLS. It follows no redirect and uses no proxy, so that a
//! call and its secret reach the configured host and no other.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service;

type Boxed = Box<dyn std::error::Error + Send + Sync>;

/// One pool of connections.
pub type Client = legacy::Client<Within<HttpsConnector<HttpConnector>>, Full<Bytes>>;

/// Connections that wait for a next call, to one host.
const IDLE_MAX: usize = 1_024;
/// How long they wait.
const IDLE_TIME: Duration = Duration::from_secs(90);

/// A client whose connections are up, TLS included, within `connect`.
pub fn client(connect: Duration) -> Result<Client, Boxed> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let https = HttpsConnectorBuilder::new().try_with_platform_verifier()?;
    let https = https.https_or_http().enable_all_versions().wrap_connector(tcp);
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME)
        .pool_max_idle_per_host(IDLE_MAX)
        .build(Within { inner: https, at_most: connect }))
}

/// A connector that gives up after a while.
#[derive(Debug, Clone)]
pub struct Within<C> {
    inner: C,
    at_most: Duration,
}

impl<C> Service<Uri> for Within<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Response: Send,
    C::Error: Into<Boxed>,
{
    type Response = C::Response;
    type Error = Boxed;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, Boxed>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Boxed>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, at_most) = (self.inner.call(to), self.at_most);
        Box::pin(async move {
            match tokio::time::timeout(at_most, connecting).await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => {
                    let told = format!("no connection within {} ms", at_most.as_millis());
                    Err(io::Error::new(io::ErrorKind::TimedOut, told).into())
                }
            }
        })
    }
}

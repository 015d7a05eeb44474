//! The client below all providers: pooled connections, plain or TLS. It follows no redirect and uses no proxy, so that a
//! call and its secret reach the configured host and no other.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::gathered::Gathered;

type Boxed = Box<dyn std::error::Error + Send + Sync>;

/// One pool of connections.
pub type Client = legacy::Client<Within<HttpsConnector<Tcp>>, Full<Bytes>>;

/// Connections that wait for a next call, to one host.
const IDLE_MAX: usize = 1_024;
/// A reply is read in pieces up to this, its head too: pieces wait for slow callers, so that their size times their number
/// is what one call may take.
const READ_BYTES_MAX: usize = 64 << 10;
/// How long they wait.
const IDLE_TIME: Duration = Duration::from_secs(90);

/// A client whose connections are up, TLS included, within `connect`.
pub fn client(connect: Duration) -> Result<Client, Boxed> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let https = HttpsConnectorBuilder::new().try_with_platform_verifier()?;
    let https = https.https_or_http().enable_all_versions().wrap_connector(Tcp(tcp));
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME)
        .pool_max_idle_per_host(IDLE_MAX)
        .http1_max_buf_size(READ_BYTES_MAX)
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

/// Plain connections whose writes are gathered.
#[derive(Debug, Clone)]
pub struct Tcp(HttpConnector);

impl Service<Uri> for Tcp {
    type Response = Wire;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move { Ok(Wire(TokioIo::new(Gathered::new(connecting.await?.into_inner())))) })
    }
}

/// One such connection.
#[derive(Debug)]
pub struct Wire(TokioIo<Gathered<TcpStream>>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        self.0.inner().inner().connected()
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, to)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

//! Connections of callers: taken until a signal, each served for itself, and let end in order.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tollgate_providers::gathered::Gathered;

use crate::api::edge::Edge;
use crate::api::{self, Connection, Gate};
use crate::opening::Opening;
use crate::tls::Door;
use crate::tls::handshake::Through;

/// A connection that has not sent a whole head after this long is closed, between its calls too.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Calls under way may end within this long after a signal.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Takes connections until a signal, then lets calls end. `false` = some were cut.
pub async fn accept(listener: TcpListener, gate: Arc<Gate>, connections_max: usize, door: Option<Arc<Door>>) -> bool {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    // Whoever is gone without a word does not answer a ping.
    http.http2().timer(TokioTimer::new()).max_concurrent_streams(256).keep_alive_interval(HEAD_MAX);
    let http = Arc::new(http);
    let graceful = GracefulShutdown::new();
    let routes = Arc::new(api::router());
    let room = Arc::new(Semaphore::new(connections_max));
    let mut signal = std::pin::pin!(stopped());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut signal => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => {
                // Out of file descriptors: the ones under way will give some back.
                tracing::warn!(%why, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            tracing::warn!(connections_max, "a connection was closed: no more are taken (`edge.connections_max`)");
            continue;
        };
        // Small answers must not wait for an acknowledgement; where it fails the answer is only slower.
        let _ = stream.set_nodelay(true);
        let peer: Arc<str> = peer.ip().to_string().into();
        let peer_sealed = gate.core.pepper.pseudonym("address", &peer).into();
        let connection = Connection { gate: gate.clone(), peer, peer_sealed, certificate: None };
        let (http, routes, watched) = (http.clone(), routes.clone(), graceful.watcher());
        // A broken connection is the caller's affair; its call settles by itself.
        let Some(door) = door.clone() else {
            let served = http.serve_connection(taken(stream), Edge::new(connection, &routes));
            let served = watched.watch(served.into_owned());
            tokio::spawn(async move {
                let _ = served.await;
                drop(permit);
            });
            continue;
        };
        tokio::spawn(async move {
            if let Some(Through { stream, peer }) = door.shake(stream).await {
                let edge = Edge::new(Connection { certificate: peer, ..connection }, &routes);
                let served = http.serve_connection(taken(stream), edge);
                let _ = watched.watch(served.into_owned()).await;
            }
            drop(permit);
        });
    }
    tracing::info!("stopping: calls under way may end within {} s", DRAIN_MAX.as_secs());
    tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await.is_ok()
}

/// As the HTTP library takes a connection.
fn taken<S>(stream: S) -> TokioIo<Opening<Gathered<S>>> {
    TokioIo::new(Opening::new(Gathered::new(stream), HEAD_MAX))
}

/// SIGTERM or SIGINT.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

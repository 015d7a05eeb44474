//! The operators' listener: axum takes connections from it, plain ones or those whose handshake has ended.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

use super::Door;
use super::handshake::Through;
use super::peer::Peer;

/// Connections that are through and not yet taken.
const WAITING_MAX: usize = 16;

/// Who is at the other end.
#[derive(Clone)]
pub struct Visitor {
    pub address: SocketAddr,
    pub peer: Option<Arc<Peer>>,
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The operators' port.
pub struct OperatorsPort {
    address: SocketAddr,
    taken: mpsc::Receiver<(Wire, Visitor)>,
}

/// One connection.
pub enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl OperatorsPort {
    /// Takes connections from here on; `door` where they are to speak TLS.
    pub fn open(listener: TcpListener, door: Option<Arc<Door>>) -> io::Result<OperatorsPort> {
        let address = listener.local_addr()?;
        let (take, taken) = mpsc::channel(WAITING_MAX);
        tokio::spawn(accept(listener, door, take));
        Ok(OperatorsPort { address, taken })
    }
}

/// Until nobody takes any more.
async fn accept(listener: TcpListener, door: Option<Arc<Door>>, take: mpsc::Sender<(Wire, Visitor)>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = take.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => {
                tracing::warn!(%why, "a connection of an operator could not be taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let Some(door) = door.clone() else {
            let _ = take.send((Wire::Plain(stream), Visitor { address, peer: None })).await;
            continue;
        };
        let take = take.clone();
        // The door bounds how many of them there are.
        tokio::spawn(async move {
            if let Some(Through { stream, peer }) = door.shake(stream).await {
                let _ = take.send((Wire::Tls(Box::new(stream)), Visitor { address, peer })).await;
            }
        });
    }
}

impl Listener for OperatorsPort {
    type Io = Wire;
    type Addr = Visitor;

    async fn accept(&mut self) -> (Wire, Visitor) {
        match self.taken.recv().await {
            Some(taken) => taken,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Visitor> {
        Ok(Visitor { address: self.address, peer: None })
    }
}

impl Connected<IncomingStream<'_, OperatorsPort>> for Visitor {
    fn connect_info(stream: IncomingStream<'_, OperatorsPort>) -> Self {
        stream.remote_addr().clone()
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, to),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

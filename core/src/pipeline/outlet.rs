//! Where a call's answer goes: a head once, then a body, whole or in pieces. A closed outlet means that the caller left.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::{mpsc, oneshot};

/// Pieces that may wait for a slow caller; then the provider is not read further.
const PIECES_MAX: usize = 64;

/// The answer as the edge sends it.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

#[derive(Debug)]
pub enum Body {
    Whole(Bytes),
    /// Ends when the sender goes; `Cut` ends the connection without a proper end.
    Pieces(mpsc::Receiver<Result<Bytes, Cut>>),
}

/// The body must not look complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer was cut")]
pub struct Cut;

/// The call's end of the line.
pub struct Outlet {
    head: Option<oneshot::Sender<Response>>,
}

/// A body under way.
pub struct Pieces {
    sender: mpsc::Sender<Result<Bytes, Cut>>,
}

impl Outlet {
    pub fn new() -> (Outlet, oneshot::Receiver<Response>) {
        let (sender, receiver) = oneshot::channel();
        (Outlet { head: Some(sender) }, receiver)
    }

    /// Resolves when the caller has left before the head was sent.
    pub async fn closed(&mut self) {
        match &mut self.head {
            Some(head) => head.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Sends a whole answer. `false` = the caller had left.
    pub fn send(self, status: StatusCode, headers: HeaderMap, body: Bytes) -> bool {
        let response = Response { status, headers, body: Body::Whole(body) };
        self.head.is_some_and(|head| head.send(response).is_ok())
    }

    /// Sends the head of a body that comes in pieces.
    pub fn open(self, status: StatusCode, headers: HeaderMap) -> Option<Pieces> {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let response = Response { status, headers, body: Body::Pieces(receiver) };
        self.head?.send(response).ok().map(|()| Pieces { sender })
    }
}

impl Pieces {
    /// Waits while the caller is slow. `false` = the caller has left.
    pub async fn send(&self, piece: Bytes) -> bool {
        match self.sender.try_send(Ok(piece)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(piece)) => self.sender.send(piece).await.is_ok(),
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Ends the body so that nobody takes it for complete.
    pub async fn cut(self) {
        // A caller that has left needs no telling.
        let _ = self.sender.send(Err(Cut)).await;
    }

    /// Resolves when the caller has left.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

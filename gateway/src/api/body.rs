//! Bodies across the edge: in with an idle bound, out as they come.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body as _, Frame};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tollgate_core::pipeline::arrive::BodyFault;
use tollgate_core::pipeline::outlet::Cut;

/// A request body; gives up when no byte comes for `idle`. The timer is made only when one has to wait.
pub struct Incoming {
    body: hyper::body::Incoming,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub fn new(body: hyper::body::Incoming, idle: Duration) -> Self {
        Incoming { body, idle, timer: None }
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, BodyFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let me = &mut *self;
        loop {
            match Pin::new(&mut me.body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(BodyFault::Broken(error.to_string()))));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(timer) = &mut me.timer {
                        timer.as_mut().reset(Instant::now() + me.idle);
                    }
                    // Trailers carry nothing for us.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Pending => {
                    let idle = me.idle;
                    let timer = me.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                    ready!(timer.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(BodyFault::Slow(idle.as_millis() as u64))));
                }
            }
        }
    }
}

/// An answer's body in pieces; dropped when the caller leaves, which the call notices.
pub struct Pieces(pub mpsc::Receiver<Result<Bytes, Cut>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|p| p.map(Frame::data)))
    }
}

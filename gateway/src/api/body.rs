//! Bodies across the edge: in with an idle bound, out as they come.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, timeout};
use tollgate_core::pipeline::arrive::BodyFault;
use tollgate_core::pipeline::outlet::Cut;

/// What is read of a body that nobody wants, and for how long: a caller that is refused has often not written all of it, and
/// would find its connection reset instead of the refusal.
const REST_BYTES_MAX: usize = 256 << 20;
const REST_MAX: Duration = Duration::from_secs(30);

/// A request body; gives up when no byte comes for `idle`. The timer is made only when one has to wait.
pub struct Incoming {
    /// `None` behind its end.
    body: Option<hyper::body::Incoming>,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub fn new(body: hyper::body::Incoming, idle: Duration) -> Self {
        let body = (!body.is_end_stream()).then_some(body);
        Incoming { body, idle, timer: None }
    }

    fn fault(&mut self, fault: BodyFault) -> Poll<Option<Result<Bytes, BodyFault>>> {
        self.body = None;
        Poll::Ready(Some(Err(fault)))
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, BodyFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let me = &mut *self;
        loop {
            let Some(body) = &mut me.body else { return Poll::Ready(None) };
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(None) => me.body = None,
                Poll::Ready(Some(Err(error))) => return me.fault(BodyFault::Broken(error.to_string())),
                Poll::Ready(Some(Ok(frame))) => {
                    if body.is_end_stream() {
                        me.body = None;
                    } else if let Some(timer) = &mut me.timer {
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
                    return me.fault(BodyFault::Slow(idle.as_millis() as u64));
                }
            }
        }
    }
}

impl Drop for Incoming {
    /// A body that was read to its end, as nearly all are, costs nothing here.
    fn drop(&mut self) {
        if let (Some(body), Ok(runtime)) = (self.body.take(), Handle::try_current()) {
            runtime.spawn(timeout(REST_MAX, rest(body)));
        }
    }
}

/// Reads on and keeps nothing.
async fn rest(mut body: hyper::body::Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await
        && bytes <= REST_BYTES_MAX
    {
        bytes += frame.data_ref().map_or(0, Bytes::len);
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

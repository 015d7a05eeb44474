//! An answer on its way: whole, or event by event, each flushed alone, with what the script does to it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use http_body::Frame;
use tokio::time::Sleep;

use super::script::Script;
use super::truth::Sent;
use super::{Asked, STALL, Sim, common};

/// An answer, ready to be written.
pub struct Ready {
    pub pieces: Vec<Bytes>,
    /// Events, rather than JSON of a known length.
    pub stream: bool,
    pub content_type: &'static str,
}

/// Writes an answer. The truth is told when the body has ended, or was dropped.
pub fn answer(sim: Arc<Sim>, asked: &Asked, sent: Sent, ready: Ready) -> Response {
    let Ready { pieces, stream, content_type } = ready;
    let script = &asked.script;
    let bytes: usize = pieces.iter().map(Bytes::len).sum();
    let gap = script.tps.filter(|_| stream).map_or(Duration::ZERO, |tps| Duration::from_micros(1_000_000 / tps));
    let body = Writing {
        pieces: pieces.into_iter(),
        gap,
        wait: Some(script.first),
        ends: ends(script, stream),
        sim,
        sent: Some(sent),
        written: 0,
        timer: None,
        yielded: true,
    };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if !stream {
        // A cut answer was promised whole.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    common(headers, asked.dialect, asked.number);
    response
}

/// How a body ends before its end.
#[derive(Clone, Copy)]
enum Ends {
    Properly,
    /// After this many events (or bytes) the connection breaks.
    Cut(u64),
    /// After this many events nothing more comes.
    Stall(u64),
}

fn ends(script: &Script, stream: bool) -> Ends {
    match (script.cut, script.stall) {
        (Some(n), _) => Ends::Cut(if stream { n } else { 1 }),
        (None, Some(n)) => Ends::Stall(if stream { n } else { 1 }),
        (None, None) => Ends::Properly,
    }
}

/// A JSON answer in one piece; in two where it will be cut or stall.
pub fn whole(bytes: Bytes, script: &Script) -> Vec<Bytes> {
    match script.cut.or(script.stall) {
        Some(n) => {
            let at = (n as usize).clamp(1, bytes.len() - 1);
            vec![bytes.slice(..at), bytes.slice(at..)]
        }
        None => vec![bytes],
    }
}

/// Events of a stream of server-sent events with comments between them, and cut within letters, as scripted.
pub fn written(list: impl Iterator<Item = Bytes>, script: &Script) -> Vec<Bytes> {
    let comment = if script.crlf { ": sim\r\n\r\n" } else { ": sim\n\n" };
    let mut pieces = Vec::with_capacity(list.size_hint().0);
    for event in list {
        if script.comments {
            pieces.push(Bytes::from_static(comment.as_bytes()));
        }
        pieces.extend(divided(event, script));
    }
    pieces
}

/// A piece, in two where the script divides letters.
pub fn divided(piece: Bytes, script: &Script) -> Vec<Bytes> {
    match piece.iter().position(|b| *b >= 0x80).filter(|_| script.split) {
        Some(at) => vec![piece.slice(..=at), piece.slice(at + 1..)],
        None => vec![piece],
    }
}

/// A body being written.
struct Writing {
    pieces: std::vec::IntoIter<Bytes>,
    gap: Duration,
    /// How long to wait before the next piece.
    wait: Option<Duration>,
    ends: Ends,
    sim: Arc<Sim>,
    sent: Option<Sent>,
    written: u64,
    timer: Option<Pin<Box<Sleep>>>,
    yielded: bool,
}

impl http_body::Body for Writing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let me = &mut *self;
        if let Some(timer) = &mut me.timer {
            ready!(timer.as_mut().poll(cx));
            me.timer = None;
        } else if let Some(wait) = me.wait.take().filter(|w| !w.is_zero()) {
            let timer = me.timer.insert(Box::pin(tokio::time::sleep(wait)));
            ready!(timer.as_mut().poll(cx));
            me.timer = None;
        } else if !me.yielded {
            // Between two events the one before is flushed.
            me.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match me.ends {
            Ends::Cut(n) if me.written >= n => {
                me.tell(false);
                return Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())));
            }
            Ends::Stall(n) if me.written >= n => {
                let timer = me.timer.insert(Box::pin(tokio::time::sleep(STALL)));
                ready!(timer.as_mut().poll(cx));
            }
            Ends::Properly | Ends::Cut(_) | Ends::Stall(_) => {}
        }
        let Some(piece) = me.pieces.next() else {
            me.tell(true);
            return Poll::Ready(None);
        };
        me.written += 1;
        if let Some(sent) = &mut me.sent {
            sent.bytes += piece.len();
            sent.events = me.written;
        }
        me.wait = Some(me.gap);
        me.yielded = false;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Writing {
    /// Writes the truth, once.
    fn tell(&mut self, complete: bool) {
        if let Some(sent) = self.sent.take() {
            self.sim.truth.push(Sent { complete, ..sent });
        }
    }
}

impl Drop for Writing {
    /// Dropped before its end: the caller has left. A JSON body of known length is dropped at its end, too.
    fn drop(&mut self) {
        let complete = self.pieces.len() == 0;
        self.tell(complete);
    }
}

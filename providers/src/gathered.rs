//! Writes that wait for the rest of the turn.
//!
//! A write to a peer that sleeps costs ten times one to a peer that is awake. So a connection that has something to write
//! first lets the tasks go on that are ready too, and writes when its turn comes again: what those tasks add goes out in
//! the same write, and the writes of many calls follow one another. An idle gateway loses a fraction of a microsecond.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose writes are gathered.
#[derive(Debug)]
pub struct Gathered<S> {
    inner: S,
    /// The turn was given away; the next write goes through.
    waited: bool,
}

impl<S> Gathered<S> {
    pub fn new(inner: S) -> Self {
        Gathered { inner, waited: false }
    }

    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn wait(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.waited = !self.waited;
        if !self.waited {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.wait(cx));
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.wait(cx));
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn tasks_that_are_ready_go_before_a_write_and_no_byte_is_lost() {
        let (near, mut far) = duplex(8);
        let order = std::sync::Arc::new(Mutex::new(Vec::new()));
        let noted = order.clone();
        let writing = async move {
            let mut near = Gathered::new(near);
            near.write_all(b"0123456789abcdef").await.unwrap();
            noted.lock().unwrap().push("written");
            near.shutdown().await.unwrap();
        };
        let noted = order.clone();
        let other = async move { noted.lock().unwrap().push("another task") };
        let mut read = Vec::new();
        let (_, _, got) = tokio::join!(writing, other, far.read_to_end(&mut read));
        assert_eq!((got.unwrap(), &read[..]), (16, &b"0123456789abcdef"[..]));
        assert_eq!(*order.lock().unwrap(), ["another task", "written"]);
    }
}

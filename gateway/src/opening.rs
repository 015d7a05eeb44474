//! Connections that say nothing. The HTTP library looks at the first bytes to tell which version is spoken, and none of its
//! timers runs before it can.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What HTTP/2 begins with is so long: with as many bytes the version is known, whichever it is.
const TELLING: usize = 24;

/// A stream that breaks off when its first bytes do not come.
pub struct Opening<S> {
    inner: S,
    missing: usize,
    /// Until they are there.
    end: Option<Pin<Box<Sleep>>>,
}

impl<S> Opening<S> {
    pub fn new(inner: S, within: Duration) -> Self {
        Opening { inner, missing: TELLING, end: Some(Box::pin(tokio::time::sleep(within))) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, to);
        let Some(end) = &mut self.end else { return read };
        if read.is_pending() {
            return end.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        self.missing = self.missing.saturating_sub(to.filled().len() - before);
        if self.missing == 0 {
            self.end = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_stream_that_says_too_little_breaks_off_and_another_does_not() {
        for (said, expected, why) in [
            (0, Err(io::ErrorKind::TimedOut), "nothing"),
            (TELLING - 1, Err(io::ErrorKind::TimedOut), "the beginning of HTTP/2, and no more"),
            (TELLING, Ok(()), "enough; what comes behind it has timers of its own"),
        ] {
            let (mut far, near) = duplex(64);
            let mut stream = Opening::new(near, Duration::from_millis(30));
            far.write_all(&[b'x'; TELLING][..said]).await.unwrap();
            let mut read = [0; 64];
            let waited = tokio::time::timeout(Duration::from_millis(300), stream.read_exact(&mut read));
            let ended = waited.await.map_or(Ok(()), |read| read.map(drop).map_err(|why| why.kind()));
            assert_eq!(ended, expected, "{why}");
        }
    }
}

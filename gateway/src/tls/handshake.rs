//! The handshake of one connection, within a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;

use super::meters::Handshake;
use super::peer::Peer;
use super::{Door, Side};

/// From the connection to the end of its handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The first byte of every handshake.
const RECORD_OF_HANDSHAKE: u8 = 0x16;

/// A connection whose handshake has ended well, and who is at its other end.
pub struct Through {
    pub stream: TlsStream<TcpStream>,
    /// `None` = it showed no certificate.
    pub peer: Option<Arc<Peer>>,
}

impl Door {
    /// `None` where it came to nothing: it was counted and, where it may be a mistake, answered.
    pub async fn shake(self: &Arc<Door>, stream: TcpStream) -> Option<Through> {
        let mut turn = self.turns.take();
        let came = tokio::select! {
            came = tokio::time::timeout(HANDSHAKE_MAX, self.try_to_shake(stream)) => came.unwrap_or(Err(Handshake::Slow)),
            () = turn.over() => Err(Handshake::MadeRoom),
        };
        self.meters.shook(self.side, came.as_ref().map_or_else(|how| *how, |_| Handshake::Through));
        came.ok()
    }

    async fn try_to_shake(self: &Arc<Door>, mut stream: TcpStream) -> Result<Through, Handshake> {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == RECORD_OF_HANDSHAKE => {}
            Ok(1) => {
                // It is told what it can read; whether it does is its affair.
                let _ = stream.write_all(&told_in_plain(self.side)).await;
                let _ = stream.shutdown().await;
                return Err(Handshake::Plain);
            }
            Ok(_) | Err(_) => return Err(Handshake::Failed),
        }
        let start =
            LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(|why| failed(self.side, &why))?;
        // Behind the client's first words: they may have been long in coming.
        let loaded = self.now.load_full();
        let stream = start.into_stream(loaded.server.clone()).await.map_err(|why| failed(self.side, &why))?;
        let peer = stream.get_ref().1.peer_certificates().map(|chain| Arc::new(Peer::new(self, chain, loaded.epoch)));
        Ok(Through { stream, peer })
    }
}

fn failed(side: Side, why: &io::Error) -> Handshake {
    tracing::debug!(side = side.name(), %why, "a handshake failed");
    match why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Handshake::Refused,
        Some(_) | None => Handshake::Failed,
    }
}

/// For who speaks plain HTTP here.
fn told_in_plain(side: Side) -> Vec<u8> {
    let told = format!("this port speaks TLS: write the address with `https://` (`{}`)\n", side.key());
    let length = told.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{told}"
    )
    .into_bytes()
}

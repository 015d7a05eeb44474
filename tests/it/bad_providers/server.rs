//! A provider whose every byte is scripted: it reads a request and then does what it was told, be that HTTP or not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One thing that it does. Behind the last it closes the connection.
#[derive(Clone)]
pub enum Step {
    Send(Vec<u8>),
    /// A byte at a time, each in a packet of its own as far as the system lets it.
    Drip(Vec<u8>),
    /// Until the other side has enough.
    Forever(Vec<u8>),
    /// Nothing more, and the connection stays open.
    Stall,
    /// Ends the connection with a reset.
    Reset,
}

#[derive(Clone, Default)]
pub struct Faulty {
    script: Arc<Mutex<Vec<Step>>>,
    asked: Arc<AtomicUsize>,
    pub port: u16,
}

impl Faulty {
    pub async fn serve() -> Faulty {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let faulty = Faulty { port: listener.local_addr().unwrap().port(), ..Faulty::default() };
        let shared = faulty.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let _ = shared.act(socket).await;
                });
            }
        });
        faulty
    }

    pub fn does(&self, steps: &[Step]) {
        *self.script.lock().unwrap() = steps.to_vec();
        self.asked.store(0, Ordering::SeqCst);
    }

    /// Requests since it was told what to do.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn act(&self, mut socket: TcpStream) -> std::io::Result<()> {
        socket.set_nodelay(true)?;
        if !request(&mut socket).await? {
            return Ok(());
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let steps = self.script.lock().unwrap().clone();
        for step in steps {
            match step {
                Step::Send(bytes) => socket.write_all(&bytes).await?,
                Step::Drip(bytes) => {
                    for byte in bytes {
                        socket.write_all(&[byte]).await?;
                        tokio::task::yield_now().await;
                    }
                }
                Step::Forever(bytes) => loop {
                    socket.write_all(&bytes).await?;
                },
                Step::Stall => while socket.read(&mut [0; 64]).await? > 0 {},
                Step::Reset => socket.set_zero_linger()?,
            }
        }
        Ok(())
    }
}

/// Reads one request to its end; `false` = there was none.
async fn request(socket: &mut TcpStream) -> std::io::Result<bool> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if bytes.len() >= head + 4 + length.unwrap_or(0usize) {
                return Ok(true);
            }
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Ok(false);
        }
    }
}

/// An answer with its true length.
pub fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// An answer that is as long as its connection, under a head of one's own.
pub fn until_closed(headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{headers}connection: close\r\n\r\n").as_bytes(), body].concat()
}

/// An answer in chunks of this size.
pub fn chunked(headers: &str, body: &[u8], by: usize) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.chunks(by) {
        bytes.extend(format!("{:x}\r\n", piece.len()).bytes().chain(piece.iter().copied()).chain(*b"\r\n"));
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

/// A frame of `application/vnd.amazon.eventstream`.
pub fn frame(kind: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [(":message-type", "event"), (":event-type", kind), (":content-type", "application/json")] {
        headers.push(name.len() as u8);
        headers.extend(name.bytes().chain([7, 0, value.len() as u8]).chain(value.bytes()));
    }
    let total = (12 + headers.len() + payload.len() + 4) as u32;
    let mut bytes: Vec<u8> = total.to_be_bytes().into_iter().chain((headers.len() as u32).to_be_bytes()).collect();
    bytes.extend(crc32(&bytes).to_be_bytes());
    bytes.extend(headers.into_iter().chain(payload.bytes()));
    bytes.extend(crc32(&bytes).to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

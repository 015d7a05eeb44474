//! Writing: what is ready goes out in one piece. A full queue holds calls back; nothing is dropped.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tollgate_core::evidence::receipt::Receipt;
use tollgate_core::ports::{Later, Trail};

/// Receipts that may wait for the disk.
const QUEUE_MAX: usize = 8_192;
/// Receipts that are written in one piece.
const BATCH_MAX: usize = 256;
/// How long a disk that takes nothing is left alone.
const RETRY: Duration = Duration::from_millis(250);
/// A disk that takes nothing is told of once in this time.
const TELL: Duration = Duration::from_secs(60);

/// The trail below one folder.
pub struct FileTrail {
    queue: Mutex<Option<mpsc::Sender<Box<Receipt>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl FileTrail {
    /// Begins a new file; older ones stay as they are.
    pub fn open(folder: PathBuf, file_bytes_max: u64) -> io::Result<FileTrail> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let files = Files { file: next_file(&folder)?, folder, bytes: 0, bytes_max: file_bytes_max };
        let writer = std::thread::Builder::new().name("trail".to_owned()).spawn(move || write_all(receiver, files))?;
        Ok(FileTrail { queue: Mutex::new(Some(sender)), writer: Mutex::new(Some(writer)) })
    }

    /// Takes no more and writes what waits. `false` = it was not done within `limit`.
    pub async fn close(self: &Arc<Self>, limit: Duration) -> bool {
        drop(self.queue.lock().expect("no code panics while it holds the queue").take());
        let writer = self.writer.lock().expect("no code panics while it holds the writer").take();
        let Some(writer) = writer else { return true };
        let joined = tokio::task::spawn_blocking(move || writer.join().is_ok());
        tokio::time::timeout(limit, joined).await.is_ok_and(|done| done.unwrap_or(false))
    }
}

impl Trail for FileTrail {
    fn record(&self, receipt: Box<Receipt>) -> Later<'_, ()> {
        let queue = self.queue.lock().expect("no code panics while it holds the queue").clone();
        Box::pin(async move {
            let id = receipt.call_id.clone();
            let Some(queue) = queue else {
                return tracing::error!(call_id = &*id, "a receipt came after the trail was closed, and is lost");
            };
            if queue.send(receipt).await.is_err() {
                tracing::error!(call_id = &*id, "the trail's writer has ended, and a receipt is lost");
            }
        })
    }
}

/// The file that is written, and how far it may grow.
struct Files {
    folder: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

fn write_all(mut queue: mpsc::Receiver<Box<Receipt>>, mut files: Files) {
    let mut batch: Vec<Box<Receipt>> = Vec::with_capacity(BATCH_MAX);
    let mut text: Vec<u8> = Vec::with_capacity(64 * 1024);
    while queue.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        for receipt in batch.drain(..) {
            let begin = text.len();
            match serde_json::to_writer(&mut text, &receipt) {
                Ok(()) => text.push(b'\n'),
                Err(why) => {
                    text.truncate(begin);
                    tracing::error!(call_id = &*receipt.call_id, %why, "a receipt could not be written as JSON");
                }
            }
        }
        files.write(&text);
        text.clear();
        text.shrink_to(1 << 20);
    }
}

impl Files {
    /// Tries until the disk takes it: calls wait behind the bound of the queue, and nothing is lost while the process lives.
    fn write(&mut self, mut text: &[u8]) {
        let mut told: Option<Instant> = None;
        while !text.is_empty() {
            let written = match self.bytes >= self.bytes_max {
                true => self.rotate().and_then(|()| self.file.write(text)),
                false => self.file.write(text),
            };
            match written {
                Ok(bytes) => {
                    self.bytes += bytes as u64;
                    text = &text[bytes..];
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => {
                    if told.is_none_or(|at| at.elapsed() > TELL) {
                        let folder = self.folder.display();
                        tracing::error!(%folder, %why, "the trail cannot be written: calls wait when its queue is full");
                        told = Some(Instant::now());
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = next_file(&self.folder)?;
        self.bytes = 0;
        Ok(())
    }
}

/// `trail-<ms since 1970>-<n>.jsonl`: names sort by time.
fn next_file(folder: &Path) -> io::Result<File> {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    let mut number = 0;
    loop {
        let path = folder.join(format!("trail-{ms:015}-{number:04}.jsonl"));
        match OpenOptions::new().create_new(true).append(true).mode(0o600).open(path) {
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists && number < 9_999 => number += 1,
            opened => return opened,
        }
    }
}

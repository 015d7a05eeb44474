//! Writes receipts to files, on a thread of its own, in batches.
//!
//! While the disk does not take a batch, it is tried again, the queue fills, and calls wait at its bound: nothing is
//! dropped. Receipts reach the kernel within `REST` and the disk within `SYNC_EVERY`, so a kill of the process may lose
//! 2 ms and a power cut about 10. Where a sync fails, what it did not confirm is written again to a new file: a receipt
//! may then stand in the trail twice.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{timeout, timeout_at};
use tollgate_core::evidence::receipt::Receipt;
use tollgate_core::ports::{Later, Trail};

use super::names;

/// Receipts that wait for the writer; above it, calls wait.
const QUEUE_MAX: usize = 8_192;
/// A batch is handed over when it is this large.
const BATCH_BYTES: usize = 1 << 20;
/// What is handed over and not synced is kept up to this size.
const UNSYNCED_BYTES_MAX: usize = 4 << 20;
const SYNC_EVERY: Duration = Duration::from_millis(10);
/// After a batch the thread rests: what comes meanwhile goes out together, and no call pays for waking it.
const REST: Duration = Duration::from_millis(2);
/// Between two tries on a disk that fails, growing.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a failing disk is told of.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// For a writer whose trail was let go of without `close`.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The trail of one gateway, in one folder.
pub struct FileTrail {
    sender: mpsc::Sender<Box<Receipt>>,
    /// The moment at which the writer gives up.
    closing: watch::Sender<Option<Instant>>,
    /// How it ended: everything written, or not.
    ended: watch::Receiver<Option<bool>>,
}

impl FileTrail {
    /// Begins a new file in `dir`, and another whenever one would exceed `file_bytes_max`.
    pub fn open(dir: impl Into<PathBuf>, file_bytes_max: u64) -> io::Result<FileTrail> {
        let now_ms = || jiff::Timestamp::now().as_millisecond();
        FileTrail::open_with(dir, file_bytes_max, Arc::new(now_ms))
    }

    /// The same with another clock, for the names of the files.
    pub fn open_with(dir: impl Into<PathBuf>, file_bytes_max: u64, clock: Clock) -> io::Result<FileTrail> {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let (closing, closed) = watch::channel(None);
        let (end, ended) = watch::channel(None);
        // A folder that cannot be written is told at the start, not at the first call.
        let disk = Disk::begin(dir.into(), file_bytes_max, clock)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let writer = Writer { receiver, closed, disk };
        thread::Builder::new().name("trail".to_owned()).spawn(move || {
            let all = runtime.block_on(writer.run());
            // Nobody may wait for it: the trail may be gone.
            let _ = end.send(Some(all));
        })?;
        Ok(FileTrail { sender, closing, ended })
    }

    /// Receipts that wait to be written.
    pub fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// Takes no more receipts, writes what is there; `false` where that was not done within the time.
    pub async fn close(&self, within: Duration) -> bool {
        let _ = self.closing.send(Some(Instant::now() + within));
        let mut ended = self.ended.clone();
        let all = timeout(within, ended.wait_for(Option::is_some)).await;
        matches!(all, Ok(Ok(end)) if *end == Some(true))
    }
}

impl Trail for FileTrail {
    fn record(&self, receipt: Box<Receipt>) -> Later<'_, ()> {
        Box::pin(async move {
            if let Err(lost) = self.sender.send(receipt).await {
                tracing::error!(call_id = %lost.0.call_id, "a receipt came after the trail was closed and is lost");
            }
        })
    }
}

/// The loop: receives, batches, hands over.
struct Writer {
    receiver: mpsc::Receiver<Box<Receipt>>,
    closed: watch::Receiver<Option<Instant>>,
    disk: Disk,
}

/// What the loop woke up for.
enum Woken {
    Receipt(Box<Receipt>),
    SyncDue,
    Closing,
    End,
}

impl Writer {
    async fn run(mut self) -> bool {
        let mut is_closing = false;
        loop {
            match self.wait(is_closing).await {
                Woken::Receipt(receipt) => {
                    self.disk.push(&receipt);
                    while self.disk.batch.len() < BATCH_BYTES
                        && let Ok(receipt) = self.receiver.try_recv()
                    {
                        self.disk.push(&receipt);
                    }
                }
                Woken::SyncDue => {}
                Woken::Closing => {
                    is_closing = true;
                    // What is in the queue is still received.
                    self.receiver.close();
                }
                // Twice: lines that a failing file gave back are written by the first, and confirmed by the second.
                Woken::End => return self.persist(true) && self.persist(true) && self.disk.end(),
            }
            let is_due = self.disk.sync_at.is_some_and(|at| at <= Instant::now());
            if !self.persist(is_due) {
                tracing::error!(receipts = self.receiver.len(), "the trail was closed before its disk took everything");
                return false;
            }
            if self.receiver.is_empty() && !self.receiver.is_closed() {
                thread::sleep(REST);
            }
        }
    }

    async fn wait(&mut self, is_closing: bool) -> Woken {
        let received = async {
            tokio::select! {
                biased;
                receipt = self.receiver.recv() => receipt.map_or(Woken::End, Woken::Receipt),
                // An error means that the trail is gone, and its queue ends by itself.
                Ok(()) = self.closed.changed(), if !is_closing => Woken::Closing,
            }
        };
        match self.disk.sync_at {
            Some(at) => timeout_at(at.into(), received).await.unwrap_or(Woken::SyncDue),
            None => received.await,
        }
    }

    /// Hands the batch over, and syncs where that is due; tries until it succeeds, or until there is no time left.
    fn persist(&mut self, sync: bool) -> bool {
        let mut pause = PAUSE_MIN;
        let mut since: Option<Instant> = None;
        loop {
            let Err(why) = self.disk.attempt(sync) else {
                if let Some(since) = since {
                    let seconds = since.elapsed().as_secs();
                    tracing::warn!(seconds, "the trail is written again, nothing was lost");
                }
                return true;
            };
            self.disk.tell(&why, self.receiver.len());
            let began = *since.get_or_insert_with(Instant::now);
            let has_owner = self.closed.has_changed().is_ok();
            let until = (*self.closed.borrow()).or((!has_owner).then_some(began + CLOSE_MAX));
            if until.is_some_and(|until| until <= Instant::now()) {
                return false;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// The files, and what they have not confirmed.
struct Disk {
    dir: PathBuf,
    file_bytes_max: u64,
    clock: Clock,
    file: Option<Open>,
    /// The name of the newest file there ever was.
    last: Option<String>,
    /// Lines that no file has.
    batch: Vec<u8>,
    /// Lines that the kernel has and the disk may not.
    unsynced: Vec<u8>,
    sync_at: Option<Instant>,
    told: Option<Instant>,
}

struct Open {
    file: File,
    path: PathBuf,
    /// Whole lines in it.
    size: u64,
    /// Behind them may be a part of a line.
    is_torn: bool,
}

impl Disk {
    fn begin(dir: PathBuf, file_bytes_max: u64, clock: Clock) -> io::Result<Disk> {
        let mut disk = Disk {
            dir,
            file_bytes_max,
            clock,
            file: None,
            last: None,
            batch: Vec::new(),
            unsynced: Vec::new(),
            sync_at: None,
            told: None,
        };
        disk.file = Some(disk.create()?);
        Ok(disk)
    }

    fn push(&mut self, receipt: &Receipt) {
        let before = self.batch.len();
        if let Err(why) = serde_json::to_writer(&mut self.batch, receipt) {
            self.batch.truncate(before);
            tracing::error!(call_id = %receipt.call_id, %why, "a receipt cannot be written as JSON: only its ids are");
            let left = serde_json::json!({
                "receipt": receipt.receipt,
                "call_id": &*receipt.call_id,
                "request_id": &*receipt.request_id,
                "time_ms": receipt.time_ms,
                "unwritable": why.to_string(),
            });
            self.batch.extend_from_slice(left.to_string().as_bytes());
        }
        self.batch.push(b'\n');
    }

    fn attempt(&mut self, sync: bool) -> io::Result<()> {
        self.write()?;
        if sync || self.unsynced.len() > UNSYNCED_BYTES_MAX {
            self.sync()?;
            // A file that did not confirm has given its lines back; one that was deleted is followed by another.
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = self.batch.len() as u64;
        if self.file.as_ref().is_some_and(|open| open.size > 0 && open.size + batch > self.file_bytes_max) {
            self.sync()?;
            self.file = None;
        }
        let mut open = match self.file.take() {
            Some(open) => open,
            None => self.create()?,
        };
        // A file that cannot be cut back to whole lines is left; a new one takes its place at the next try.
        if open.is_torn {
            open.file.set_len(open.size)?;
            open.is_torn = false;
        }
        let written = open.file.write_all(&self.batch);
        open.is_torn = written.is_err();
        if written.is_ok() {
            open.size += batch;
            self.unsynced.append(&mut self.batch);
            self.sync_at.get_or_insert_with(|| Instant::now() + SYNC_EVERY);
        }
        self.file = Some(open);
        written
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.is_empty() {
            self.sync_at = None;
            return Ok(());
        }
        let synced = match &self.file {
            Some(open) => open.file.sync_data().map(|()| is_there(&open.file)),
            None => Ok(false),
        };
        match synced {
            Ok(true) => {
                self.unsynced.clear();
                self.sync_at = None;
                Ok(())
            }
            // Deleted under our hands: nobody could read what goes on to be written there.
            Ok(false) => {
                self.take_back();
                Ok(())
            }
            Err(why) => {
                self.take_back();
                Err(why)
            }
        }
    }

    /// After a failed sync the kernel may have thrown the lines away and call the next sync a success. So the file is
    /// left, and they are written again.
    fn take_back(&mut self) {
        self.file = None;
        self.unsynced.append(&mut self.batch);
        std::mem::swap(&mut self.batch, &mut self.unsynced);
        self.sync_at = None;
    }

    fn create(&mut self) -> io::Result<Open> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        let mut options = File::options();
        options.append(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
            builder.mode(0o700);
            options.mode(0o600);
        }
        builder.create(&self.dir)?;
        let newest = names::list(&self.dir)?.pop().max(self.last.take());
        let name = names::next(newest.as_deref(), (self.clock)());
        let path = self.dir.join(&name);
        self.last = newest;
        let file = options.open(&path)?;
        self.last = Some(name);
        sync_folder(&self.dir)?;
        Ok(Open { file, path, size: 0, is_torn: false })
    }

    /// At the end everything is synced; a file that got nothing is taken away.
    fn end(&mut self) -> bool {
        if let Some(open) = self.file.take().filter(|open| open.size == 0) {
            // One that stays is empty and harms nobody.
            let _ = fs::remove_file(open.path);
        }
        self.unsynced.is_empty() && self.batch.is_empty()
    }

    fn tell(&mut self, why: &io::Error, waiting: usize) {
        if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let dir = self.dir.display();
        tracing::error!(%dir, %why, waiting, "receipts cannot be written: they are kept and tried again, calls wait when {QUEUE_MAX} wait");
    }
}

#[cfg(unix)]
fn is_there(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|m| m.nlink() > 0)
}

#[cfg(not(unix))]
fn is_there(_file: &File) -> bool {
    true
}

/// The name of a new file survives a power cut only when its folder is synced.
fn sync_folder(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;

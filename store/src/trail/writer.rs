//! Writes receipts to files, on a thread of its own, in batches.
//!
//! While the disk does not take a batch, it is tried again, the queue fills, and calls wait at its bound: nothing is
//! dropped. Receipts reach the kernel within `REST` and the disk within `SYNC_EVERY`, so a kill of the process may lose
//! 2 ms and a power cut about 10: the next start finds their calls without an end in the journal. Where a sync fails,
//! what it did not confirm is written again to a new file: a receipt may then stand in the trail twice.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{timeout, timeout_at};
use tollgate_core::evidence::intent::Intent;
use tollgate_core::evidence::receipt::Receipt;
use tollgate_core::limits::claim::HoldId;
use tollgate_core::ports::{Later, Trail, Unkept};

use super::disk::{Disk, Line};
use crate::calls::{Calls, Durability, WAIT_MAX};

/// Receipts that wait for the writer; above it, calls wait.
pub(super) const QUEUE_MAX: usize = 8_192;
/// A batch is handed over when it is this large.
const BATCH_BYTES: usize = 1 << 20;
/// After a batch the thread rests: what comes meanwhile goes out together, and no call pays for waking it.
const REST: Duration = Duration::from_millis(2);
/// Between two tries on a disk that fails, growing.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// For a writer whose trail was let go of without `close`.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The trail of one gateway, in one folder.
pub struct FileTrail {
    sender: mpsc::Sender<Line>,
    /// Where intents are kept, and how safely; `None` = nowhere.
    calls: Option<(Arc<Calls>, Durability)>,
    /// The moment at which the writer gives up.
    closing: watch::Sender<Option<Instant>>,
    /// How it ended: everything written, or not.
    ended: watch::Receiver<Option<bool>>,
}

impl FileTrail {
    /// Begins a new file in `dir`, and another whenever one would exceed `file_bytes_max`. A journal keeps intents and
    /// vouches for receipts.
    pub fn open(
        dir: impl Into<PathBuf>,
        file_bytes_max: u64,
        calls: Arc<Calls>,
        durability: Durability,
    ) -> io::Result<FileTrail> {
        let now_ms = || jiff::Timestamp::now().as_millisecond();
        FileTrail::begin(dir.into(), file_bytes_max, Arc::new(now_ms), Some((calls, durability)))
    }

    /// Receipts alone, and another clock for the names of the files.
    pub fn open_with(dir: impl Into<PathBuf>, file_bytes_max: u64, clock: Clock) -> io::Result<FileTrail> {
        FileTrail::begin(dir.into(), file_bytes_max, clock, None)
    }

    fn begin(
        dir: PathBuf,
        file_bytes_max: u64,
        clock: Clock,
        calls: Option<(Arc<Calls>, Durability)>,
    ) -> io::Result<FileTrail> {
        let (end, ended) = watch::channel(None);
        let (trail, writer) = FileTrail::halves(dir, file_bytes_max, clock, calls, ended)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        thread::Builder::new().name("trail".to_owned()).spawn(move || {
            let all = runtime.block_on(writer.run());
            // Nobody may wait for it: the trail may be gone.
            let _ = end.send(Some(all));
        })?;
        Ok(trail)
    }

    /// The side of the calls, and the writer, for whoever runs it: tests do it by hand.
    pub(crate) fn halves(
        dir: PathBuf,
        file_bytes_max: u64,
        clock: Clock,
        calls: Option<(Arc<Calls>, Durability)>,
        ended: watch::Receiver<Option<bool>>,
    ) -> io::Result<(FileTrail, Writer)> {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let (closing, closed) = watch::channel(None);
        // A folder that cannot be written is told at the start, not at the first call.
        let disk = Disk::begin(dir, file_bytes_max, clock, calls.as_ref().map(|(calls, _)| calls.clone()))?;
        Ok((FileTrail { sender, calls, closing, ended }, Writer { receiver, closed, disk }))
    }

    fn line(&self, receipt: &Receipt) -> Line {
        Line::of(receipt, self.calls.is_some())
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
    fn intend<'a>(&'a self, intent: &'a Intent) -> Later<'a, Result<(), Unkept>> {
        Box::pin(async move {
            let Some((calls, durability)) = &self.calls else { return Ok(()) };
            let sequence = calls.intend(intent).await.map_err(|why| Unkept(why.to_string()))?;
            if *durability == Durability::Strict && !calls.confirmed(sequence).await {
                let waited = WAIT_MAX.as_secs();
                return Err(Unkept(format!("the journal's disk did not confirm it within {waited} s")));
            }
            Ok(())
        })
    }

    fn lost(&self, id: HoldId, now_ms: i64) {
        let Some(receipt) = self.calls.as_ref().and_then(|(calls, _)| calls.unknown(id, now_ms)) else { return };
        if self.sender.try_send(self.line(&receipt)).is_err() {
            let call = tollgate_core::evidence::intent::call_id(id);
            tracing::error!(call, "the receipt of a lost call finds no room: it is written at the next start");
        }
    }

    fn record(&self, receipt: Box<Receipt>) -> Later<'_, ()> {
        Box::pin(async move {
            let (line, call_id) = (self.line(&receipt), receipt.call_id.clone());
            drop(receipt);
            if self.sender.send(line).await.is_err() {
                tracing::error!(%call_id, "a receipt came after the trail was closed and is lost");
            }
        })
    }
}

/// The loop: receives, batches, hands over.
pub(crate) struct Writer {
    receiver: mpsc::Receiver<Line>,
    closed: watch::Receiver<Option<Instant>>,
    disk: Disk,
}

/// What the loop woke up for.
enum Woken {
    Line(Line),
    SyncDue,
    Closing,
    End,
}

impl Writer {
    async fn run(mut self) -> bool {
        let mut is_closing = false;
        loop {
            match self.wait(is_closing).await {
                Woken::Line(line) => {
                    self.disk.push(line);
                    self.gather();
                }
                Woken::SyncDue => {}
                Woken::Closing => {
                    is_closing = true;
                    self.disk.is_closing = true;
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

    /// What waits besides, as far as a batch has room.
    fn gather(&mut self) {
        while self.disk.batch.bytes.len() < BATCH_BYTES
            && let Ok(line) = self.receiver.try_recv()
        {
            self.disk.push(line);
        }
    }

    /// A turn that waits for nothing: what is there is handed over, and synced where that is asked for.
    #[cfg(test)]
    pub(crate) fn turn_now(&mut self, sync: bool) -> io::Result<()> {
        self.gather();
        self.disk.attempt(sync)
    }

    async fn wait(&mut self, is_closing: bool) -> Woken {
        let received = async {
            tokio::select! {
                biased;
                line = self.receiver.recv() => line.map_or(Woken::End, Woken::Line),
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

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;

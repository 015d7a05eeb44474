//! A journal with the thread that syncs it.
//!
//! Whoever appends hands its record to the kernel itself: no other thread is waited for, and none is woken while one
//! sync is due anyway. The thread syncs within `Bounds::sync_every`; those who wait for a sync are gathered into groups.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::bounds::{Bounds, OpenError, Recovered, Refused};
use super::log::{Log, NowMs};
use super::record::Head;
use super::storage::Storage;
use crate::time::no_longer;

/// Between two tries on a disk that fails, growing.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a failing disk is told of.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// For a journal that was let go of without `close`.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// The journal ended before the record was synced: it may be there after a restart, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal was closed before its disk confirmed the record")]
pub struct Closed;

/// One journal, open for writing. There must be one for a folder: see the lock of the state folder.
pub struct Journal {
    shared: Arc<Shared>,
    /// How it ended: everything confirmed, or not.
    ended: watch::Receiver<Option<bool>>,
}

struct Shared {
    log: Log,
    bounds: Bounds,
    signal: Mutex<Signal>,
    wake: Condvar,
    /// Something was appended since the last sync began, or could not be.
    is_dirty: AtomicBool,
    is_closed: AtomicBool,
    /// Everything before this sequence is on disk.
    synced: watch::Sender<u64>,
    /// Told after every step of the thread: there may be room.
    room: Notify,
}

#[derive(Debug, Default)]
struct Signal {
    /// So many wait for a sync that has not begun.
    waiting: usize,
    /// The moment at which the thread gives up.
    closing: Option<Instant>,
}

impl Journal {
    /// Recovers what is there, and begins a new segment. With `known`, a journal that is shorter than it was is refused.
    pub fn open(
        storage: Arc<dyn Storage>,
        bounds: Bounds,
        known: Option<Head>,
    ) -> Result<(Journal, Recovered), OpenError> {
        let now_ms = Arc::new(|| jiff::Timestamp::now().as_millisecond());
        let (journal, syncer, recovered) = Journal::begin(storage, bounds, now_ms, known)?;
        thread::Builder::new().name("journal".to_owned()).spawn(move || syncer.run())?;
        Ok((journal, recovered))
    }

    /// A journal and the work of its thread, for whoever does that: tests do it by hand.
    pub(crate) fn begin(
        storage: Arc<dyn Storage>,
        bounds: Bounds,
        now_ms: NowMs,
        known: Option<Head>,
    ) -> Result<(Journal, Syncer, Recovered), OpenError> {
        let (log, recovered) = Log::open(storage, bounds, now_ms, known)?;
        if let Some(cut) = &recovered.cut {
            tracing::warn!("{cut}: a crash left them, they are passed over");
        }
        let (end, ended) = watch::channel(None);
        let shared = Arc::new(Shared {
            log,
            bounds,
            signal: Mutex::default(),
            wake: Condvar::new(),
            is_dirty: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            synced: watch::Sender::new(recovered.head.next),
            room: Notify::new(),
        });
        let syncer = Syncer { shared: shared.clone(), end, trouble: Trouble::default() };
        Ok((Journal { shared, ended }, syncer, recovered))
    }

    /// Hands a record to the kernel before it returns, and tells its sequence. It does not wait.
    pub fn append(&self, payload: &[u8]) -> Result<u64, Refused> {
        if self.shared.is_closed.load(Ordering::Acquire) {
            return Err(Refused::Closed);
        }
        let appended = self.shared.log.append(payload);
        if !self.shared.is_dirty.swap(true, Ordering::AcqRel) {
            // Under the lock: the thread is either before its look at the flag, or asleep.
            drop(self.shared.lock());
            self.shared.wake.notify_one();
        }
        appended
    }

    /// The same, waiting for room and for a disk that fails: as long as the caller lets it.
    pub async fn write(&self, payload: &[u8]) -> Result<u64, Refused> {
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            room.as_mut().enable();
            match self.append(payload) {
                Err(Refused::Busy | Refused::Disk(_)) => room.await,
                ended @ (Ok(_) | Err(Refused::TooLarge(_) | Refused::Closed)) => return ended,
            }
        }
    }

    /// Waits until the disk has confirmed a record that was appended.
    pub async fn synced(&self, sequence: u64) -> Result<(), Closed> {
        let mut synced = self.shared.synced.subscribe();
        if *synced.borrow_and_update() > sequence {
            return Ok(());
        }
        let waiting = {
            let mut signal = self.shared.lock();
            signal.waiting += 1;
            signal.waiting
        };
        if waiting == 1 || waiting >= self.shared.bounds.group_max {
            self.shared.wake.notify_one();
        }
        let mut ended = self.ended.clone();
        let is_synced = tokio::select! {
            biased;
            confirmed = synced.wait_for(|synced| *synced > sequence) => confirmed.is_ok(),
            _ = ended.wait_for(Option::is_some) => *self.shared.synced.borrow() > sequence,
        };
        if is_synced { Ok(()) } else { Err(Closed) }
    }

    /// The end that the disk has confirmed: to be kept elsewhere, and given to `open` and `verify` later.
    pub fn head(&self) -> Head {
        self.shared.log.synced_head()
    }

    /// The end that the kernel has.
    pub fn written(&self) -> Head {
        self.shared.log.written_head()
    }

    /// Why the disk takes nothing at this time; it is tried again until it does. `None` = it took what it was given last.
    pub fn failing(&self) -> Option<String> {
        self.shared.log.failing()
    }

    /// Waits, with its thread, until the disk has confirmed all records before `next`; `false` = not within the time.
    pub fn confirms(&self, next: u64, within: Duration) -> bool {
        let until = Instant::now() + within;
        while self.head().next < next {
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(self.shared.bounds.sync_every);
        }
        true
    }

    /// Records from this sequence on are needed to recover: retention leaves them. At first nothing may be removed.
    pub fn keep_from(&self, sequence: u64) {
        self.shared.log.keep_from(sequence);
    }

    /// Takes no more records, syncs what is there; `false` where that was not done within the time.
    pub async fn close(&self, within: Duration) -> bool {
        self.shared.close(within);
        let mut ended = self.ended.clone();
        let all = no_longer(within, ended.wait_for(Option::is_some)).await;
        matches!(all, Some(Ok(end)) if *end == Some(true))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.close(CLOSE_MAX);
    }
}

/// The work of the thread.
pub(crate) struct Syncer {
    shared: Arc<Shared>,
    end: watch::Sender<Option<bool>>,
    trouble: Trouble,
}

impl Syncer {
    /// The thread: waits for something to sync, syncs, begins segments.
    fn run(mut self) {
        let mut group = 0;
        loop {
            let closing;
            (group, closing) = self.shared.wait(group, self.trouble.pause);
            if self.turn(closing) {
                return;
            }
        }
    }

    /// One turn of it; `true` = it was the last.
    fn turn(&mut self, closing: Option<Instant>) -> bool {
        let shared = &self.shared;
        match shared.step() {
            Ok(()) => self.trouble.is_over(),
            Err(why) => self.trouble.tell(&why),
        }
        let standing = shared.log.standing();
        shared.synced.send_replace(standing.synced);
        shared.room.notify_waiters();
        let all = standing.synced == standing.written;
        match closing {
            None => return false,
            Some(until) if !all && until > Instant::now() => return false,
            Some(_) => {}
        }
        if !all {
            let records = standing.written - standing.synced;
            tracing::error!(records, "the journal was closed before its disk confirmed everything");
        }
        shared.is_closed.store(true, Ordering::Release);
        shared.room.notify_waiters();
        // Nobody may wait for it: the journal may be gone.
        let _ = self.end.send(Some(all));
        true
    }

    /// A turn that waits for nothing; `None` = it was the last, else in how long the next is due.
    #[cfg(test)]
    pub(crate) fn turn_now(&mut self) -> Option<Duration> {
        let closing = {
            let mut signal = self.shared.lock();
            signal.waiting = 0;
            signal.closing
        };
        if closing.is_some() {
            self.shared.is_closed.store(true, Ordering::Release);
        }
        let is_last = self.turn(closing);
        (!is_last).then(|| self.trouble.pause.unwrap_or(self.shared.bounds.sync_every))
    }
}

impl Shared {
    fn step(&self) -> io::Result<()> {
        self.is_dirty.store(false, Ordering::Release);
        let probed = self.log.probe();
        let synced = self.log.sync();
        let done = probed.and(synced.map(drop));
        if !self.log.standing().is_replacing_due {
            return done;
        }
        // A new segment takes along what the old one did not confirm.
        done.and(self.log.replace())
    }

    /// Waits for work: how many wait for the sync that is to come, and whether this is the end.
    fn wait(&self, group_before: usize, pause: Option<Duration>) -> (usize, Option<Instant>) {
        let mut signal = self.lock();
        match pause {
            // A disk that failed is tried again whether anybody asks for it or not, and no sooner because of a close.
            Some(pause) => signal = self.sleep(signal, pause, |_| true),
            None => {
                while !self.is_dirty.load(Ordering::Acquire) && signal.waiting == 0 && signal.closing.is_none() {
                    signal = self.wake.wait(signal).unwrap_or_else(PoisonError::into_inner);
                }
                signal = self.sleep(signal, self.bounds.sync_every, |s| s.waiting == 0 && s.closing.is_none());
                let group_max = self.bounds.group_max;
                // Where one came alone, waiting for others would only make it wait.
                if group_before > 1 && signal.waiting > 0 {
                    let gathers = |s: &Signal| s.waiting < group_max && s.closing.is_none();
                    signal = self.sleep(signal, self.bounds.group_wait, gathers);
                }
            }
        }
        if signal.closing.is_some() {
            self.is_closed.store(true, Ordering::Release);
        }
        (std::mem::take(&mut signal.waiting), signal.closing)
    }

    /// Sleeps for a time, or until `goes_on` no longer holds.
    fn sleep<'s>(
        &self,
        signal: MutexGuard<'s, Signal>,
        time: Duration,
        goes_on: impl Fn(&Signal) -> bool,
    ) -> MutexGuard<'s, Signal> {
        self.wake.wait_timeout_while(signal, time, |s| goes_on(s)).unwrap_or_else(PoisonError::into_inner).0
    }

    fn close(&self, within: Duration) {
        let until = Instant::now() + within;
        let mut signal = self.lock();
        signal.closing = Some(signal.closing.map_or(until, |at| at.min(until)));
        drop(signal);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Signal> {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk that fails: when it is tried again, and when it was told of.
#[derive(Debug, Default)]
struct Trouble {
    pause: Option<Duration>,
    told: Option<Instant>,
}

impl Trouble {
    fn is_over(&mut self) {
        if self.pause.take().is_some() {
            tracing::warn!("the journal is written again, nothing was lost");
        }
    }

    fn tell(&mut self, why: &io::Error) {
        self.pause = Some(self.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX)));
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::error!(%why, "the journal cannot be written: what is not confirmed is kept and written again, calls wait");
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;

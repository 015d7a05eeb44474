//! The thread that asks a source for news: when it rings, and every now and then in any case.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::reload::Active;
use crate::source::{Bell, Source};

/// After a ring, so long must be quiet: an editor saves in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// But no change waits longer, however busy the folder is.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// A source that failed is asked again after this, then after twice as long, up to the usual pause.
const RETRY: Duration = Duration::from_secs(1);

/// A running watch. Dropped, it ends with its next step; `stop` waits for that.
pub struct Watch {
    bell: Bell,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches `source` for `active`, asking at least every `pause` (give or take a fifth, so that replicas spread).
    pub fn begin(active: Arc<Active>, mut source: Box<dyn Source>, pause: Duration) -> std::io::Result<Watch> {
        // One place: many rings before the next poll are one.
        let (sender, rings) = sync_channel(1);
        let bell = Bell(sender);
        let ended = Arc::new(AtomicBool::new(false));
        source.listen(bell.clone());
        let flag = ended.clone();
        let thread = std::thread::Builder::new()
            .name("tollgate-policies".to_owned())
            .spawn(move || run(&active, source.as_mut(), &rings, &flag, pause))?;
        Ok(Watch { bell, ended, thread: Some(thread) })
    }

    /// Rings for a poll at once: an operator's wish, or a webhook.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    pub fn stop(mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was told by its own message.
            let _ = thread.join();
        }
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.bell.ring();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(active: &Active, source: &mut dyn Source, rings: &Receiver<()>, ended: &AtomicBool, pause: Duration) {
    let spread = spread(pause);
    let mut retry = RETRY;
    // What changed between the start and the first watch is seen at once.
    let mut wait = Duration::ZERO;
    while !ended.load(Ordering::Relaxed) {
        match rings.recv_timeout(wait) {
            Ok(()) => settle(rings, ended),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if ended.load(Ordering::Relaxed) {
            return;
        }
        active.check(source);
        wait = match active.status().source_error {
            None => {
                retry = RETRY;
                spread
            }
            Some(_) => {
                let now = retry.min(spread);
                retry = retry.saturating_mul(2);
                now
            }
        };
    }
}

/// Waits until nobody rang for a while.
fn settle(rings: &Receiver<()>, ended: &AtomicBool) {
    let begun = Instant::now();
    while begun.elapsed() < QUIET_MAX && !ended.load(Ordering::Relaxed) {
        if rings.recv_timeout(QUIET).is_err() {
            return;
        }
    }
}

/// Between four and six fifths of the pause.
fn spread(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(pause) % 401;
    pause.mul_f64(0.8 + random as f64 / 1000.0)
}

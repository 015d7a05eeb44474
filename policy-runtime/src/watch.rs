//! The thread that asks a source for news: when it rings, and every now and then in any case.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::reload::Active;
use crate::source::{Bell, Source, SourceError};
use tollgate_core::policy::tree::Tree;

/// After a ring, so long must be quiet: an editor saves in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// But no change waits longer, however busy the folder is.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// A source that failed is asked again after this, then after twice as long, up to the usual pause.
const RETRY: Duration = Duration::from_secs(1);

/// A running watch. Dropped, it ends with its next step; `stop` waits for that.
pub struct Watch {
    bell: Bell,
    wishes: SyncSender<Wish>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches `source` for `active`, asking at least every `pause` (give or take a fifth, so that replicas spread).
    pub fn begin(active: Arc<Active>, mut source: Box<dyn Source>, pause: Duration) -> std::io::Result<Watch> {
        // One place: many rings before the next poll are one.
        let (sender, rings) = sync_channel(1);
        let (wishes, wished) = sync_channel(WISHES_MAX);
        let bell = Bell(sender);
        let ended = Arc::new(AtomicBool::new(false));
        source.listen(bell.clone());
        let flag = ended.clone();
        let thread = std::thread::Builder::new()
            .name("tollgate-policies".to_owned())
            .spawn(move || run(&active, source.as_mut(), (&rings, &wished), &flag, pause))?;
        Ok(Watch { bell, wishes, ended, thread: Some(thread) })
    }

    /// Whoever asks the source for other revisions.
    pub fn asker(&self) -> Asker {
        Asker { bell: self.bell.clone(), wishes: self.wishes.clone() }
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

/// A wish for a revision, and where the answer goes.
type Wish = (String, SyncSender<Result<Tree, SourceError>>);

/// Wishes that wait; more are refused.
const WISHES_MAX: usize = 4;
/// A fetch that takes longer is no answer.
const WISH_MAX: Duration = Duration::from_secs(60);

/// Asks the thread that owns the source.
#[derive(Debug, Clone)]
pub struct Asker {
    bell: Bell,
    wishes: SyncSender<Wish>,
}

impl Asker {
    /// A revision by its name. Waits for the source, up to a minute.
    pub fn revision(&self, name: &str) -> Result<Tree, SourceError> {
        let other = |why: &str| SourceError::Other(why.to_owned());
        let (sender, answer) = sync_channel(1);
        self.wishes.try_send((name.to_owned(), sender)).map_err(|_| other("the source is busy: try again"))?;
        self.bell.ring();
        answer.recv_timeout(WISH_MAX).map_err(|_| other("the source gave no answer within a minute"))?
    }
}

fn run(
    active: &Active,
    source: &mut dyn Source,
    (rings, wished): (&Receiver<()>, &Receiver<Wish>),
    ended: &AtomicBool,
    pause: Duration,
) {
    let mut retry = RETRY;
    // What changed between the start and the first watch is seen at once.
    let mut wait = Duration::ZERO;
    while !ended.load(Ordering::Relaxed) {
        let rung = rings.recv_timeout(wait);
        for (name, answer) in wished.try_iter() {
            // Whoever asked may have given up.
            let _ = answer.send(source.at(&name));
        }
        match rung {
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
                spread(pause)
            }
            Some(_) => {
                let now = retry.min(pause);
                retry = retry.saturating_mul(2);
                spread(now)
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

/// Between four and six fifths of the pause, another each time: replicas that began together, or lost a host together,
/// do not ask it together.
fn spread(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(pause) % 401;
    pause.mul_f64(0.8 + random as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_by_a_fifth_at_most() {
        let pause = Duration::from_secs(100);
        let drawn: std::collections::BTreeSet<Duration> = (0..100).map(|_| spread(pause)).collect();
        let (least, most) = (drawn.first().unwrap(), drawn.last().unwrap());
        assert!(*least >= pause.mul_f64(0.8) && *most <= pause.mul_f64(1.2), "{least:?} to {most:?}");
        assert!(*most - *least > pause.mul_f64(0.2), "they spread: {least:?} to {most:?}");
    }
}

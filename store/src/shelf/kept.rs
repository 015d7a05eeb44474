//! A shelf that outlives its process: in memory for those that ask soon, on disk for those that ask after a restart.
//!
//! A key is claimed on disk before its call leaves for a provider, and that is waited for: whatever happens then, the call
//! is not carried out twice in silence. All else is written behind the calls. So a key whose call was on its way when the
//! gateway died, or whose answer was not on disk yet, is `unknown` at the next start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tollgate_core::ports::{Begun, Kept, Later, Origin, Shelf, Unkept};

use super::keeper::{self, Change, Keeper};
use super::memory::{ANSWER_AGE_MAX, Claim, MemoryShelf};
use super::rows::{self, ANSWERS, Claimed, Noted};
use crate::keyed::{Keyed, KeyedError, RAW_BYTES_MAX};

/// A call waits so long until its claim is on disk.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Changes that wait for the disk; above it, calls wait.
const QUEUE_MAX: usize = 4_096;

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The shelf of one node, kept in its state file.
pub struct KeptShelf {
    memory: MemoryShelf,
    known: Arc<Known>,
    keyed: Arc<Keyed>,
    changes: mpsc::Sender<Change>,
    clock: Clock,
}

/// What lies on disk, by the name of its row: keys without an answer are those of calls whose end nobody saw.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<String, Claimed>>);

impl Known {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<String, Claimed>> {
        // A panic elsewhere leaves whole entries: each change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptShelf {
    /// Reads what is there. Keys that have no answer belong to calls that were on their way when the gateway ended.
    pub fn open(keyed: Arc<Keyed>, clock: Clock) -> Result<KeptShelf, KeyedError> {
        KeptShelf::open_within(keyed, clock, keeper::KEPT_BYTES_MAX)
    }

    fn open_within(keyed: Arc<Keyed>, clock: Clock, bytes_max: u64) -> Result<KeptShelf, KeyedError> {
        let (memory, known) = (MemoryShelf::default(), Arc::new(Known::default()));
        let kept = keeper::read(&keyed, &known, bytes_max, |id, origin| {
            memory.note_now(id, origin);
        })?;
        let (changes, receiver) = mpsc::channel(QUEUE_MAX);
        Keeper { keyed: keyed.clone(), known: known.clone(), clock: clock.clone(), kept }.begin(receiver);
        Ok(KeptShelf { memory, known, keyed, changes, clock })
    }

    /// Waits until everything so far is on disk; `false` = not within the time.
    pub async fn close(&self, within: Duration) -> bool {
        let (done, confirmed) = oneshot::channel();
        let all = async {
            self.changes.send(Change::Reached(done)).await.ok()?;
            confirmed.await.ok()
        };
        matches!(timeout(within, all).await, Ok(Some(Ok(()))))
    }

    async fn begin_kept(&self, key: &str, tenant: &Arc<str>, body_digest: [u8; 32]) -> Begun {
        match self.memory.begin_now(key, tenant, body_digest) {
            Begun::Fresh => {}
            other => return other,
        }
        let name = rows::name(key);
        let oldest_ms = (self.clock)().saturating_sub(keeper::millis(ANSWER_AGE_MAX));
        let known = self.known.lock().get(&name).filter(|claimed| claimed.at_ms >= oldest_ms).cloned();
        let Some(known) = known else { return Begun::Fresh };
        self.memory.forget_now(key);
        if known.body_digest != body_digest {
            return Begun::OtherBody;
        }
        let answer = match known.answer_bytes {
            Some(_) => self.answer(name).await,
            None => None,
        };
        match answer.and_then(|bytes| Some((rows::read(bytes.clone())?, bytes))) {
            Some((kept, bytes)) => {
                self.memory.answered(key, body_digest, bytes);
                Begun::Answered(kept)
            }
            None => Begun::Unknown { call_id: known.call_id },
        }
    }

    /// From disk.
    async fn answer(&self, name: String) -> Option<Bytes> {
        let keyed = self.keyed.clone();
        let read = tokio::task::spawn_blocking(move || keyed.bytes(&ANSWERS, &name)).await;
        match read {
            Ok(Ok(bytes)) => bytes.map(Bytes::from),
            Ok(Err(why)) => {
                tracing::error!(%why, "a stored answer cannot be read: its caller is told that its outcome is unknown");
                None
            }
            Err(_) => None,
        }
    }

    async fn claim(&self, key: &str, call_id: &Arc<str>) -> Result<(), Unkept> {
        let gone = || Unkept("the shelf is closed".to_owned());
        let row = self.row(self.memory.leaves_now(key).ok_or_else(gone)?, call_id.clone());
        let (done, confirmed) = oneshot::channel();
        let claimed = async {
            let change = Change::Claim { name: rows::name(key), row, done };
            self.changes.send(change).await.map_err(|_| gone())?;
            confirmed.await.map_err(|_| gone())?.map_err(Unkept)
        };
        let waited = WAIT_MAX.as_secs();
        let late = || Unkept(format!("the state file did not take its idempotency key within {waited} s"));
        timeout(WAIT_MAX, claimed).await.map_err(|_| late())?
    }

    /// Of a key that has no answer so far.
    fn row(&self, Claim { tenant, body_digest }: Claim, call_id: Arc<str>) -> Claimed {
        Claimed { call_id, body_digest, at_ms: (self.clock)(), tenant, answer_bytes: None }
    }

    async fn tell(&self, change: Change) {
        // The keeper ends with the shelf.
        let _ = self.changes.send(change).await;
    }
}

impl Shelf for KeptShelf {
    fn begin<'a>(&'a self, key: &'a str, tenant: &'a Arc<str>, body_digest: [u8; 32]) -> Later<'a, Begun> {
        Box::pin(self.begin_kept(key, tenant, body_digest))
    }

    fn leaves<'a>(&'a self, key: &'a str, call_id: &'a Arc<str>) -> Later<'a, Result<(), Unkept>> {
        Box::pin(self.claim(key, call_id))
    }

    fn finish<'a>(&'a self, key: &'a str, answer: Kept) -> Later<'a, ()> {
        Box::pin(async move {
            let bytes = rows::write(&answer);
            let Some(claim) = self.memory.finish_now(key, bytes.clone()) else { return };
            let answer_bytes = (bytes.len() <= RAW_BYTES_MAX).then_some(bytes.len() as u64);
            let row = Claimed { answer_bytes, ..self.row(claim, answer.call_id) };
            // One that is too large is given again as long as memory has it, and is said to be unknown then.
            let bytes = if answer_bytes.is_some() { bytes } else { Bytes::new() };
            self.tell(Change::Answer { name: rows::name(key), row, bytes }).await;
        })
    }

    fn forget<'a>(&'a self, key: &'a str) -> Later<'a, ()> {
        let had_left = self.memory.forget_now(key);
        Box::pin(async move {
            if had_left {
                self.tell(Change::Forget { name: rows::name(key) }).await;
            }
        })
    }

    fn lost(&self, key: &str, call_id: &Arc<str>) {
        let Some(claim) = self.memory.claimed_with(key) else { return };
        // Its claim is on disk already, and goes with it.
        let row = self.row(claim, call_id.clone());
        self.known.lock().insert(rows::name(key), row);
        self.memory.forget_now(key);
    }

    fn note_origin<'a>(&'a self, id: &'a str, origin: Origin) -> Later<'a, ()> {
        let row = Noted::of(&origin, (self.clock)());
        let is_new = self.memory.note_now(id, origin);
        Box::pin(async move {
            if is_new {
                self.tell(Change::Note { id: id.to_owned(), row }).await;
            }
        })
    }

    fn origin<'a>(&'a self, id: &'a str) -> Later<'a, Option<Origin>> {
        self.memory.origin(id)
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;

//! What the journal knows of calls: the intent of each that leaves for a provider, and which receipts the trail has.
//!
//! An intent is written before the first byte leaves, in one record with what its call holds. When the trail's disk has
//! confirmed a receipt, the journal is told its digest; until then its call is open. So each intent ends in a receipt
//! that the journal vouches for, or is found open at the next start and gets one that says `unknown`.

mod line;
mod replay;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tollgate_core::contract::json;
use tollgate_core::evidence::intent::{Intent, Known, hold_id};
use tollgate_core::evidence::receipt::{Booked, Receipt};
use tollgate_core::limits::claim::HoldId;
use tollgate_core::ports::Used;

use crate::journal::{Journal, Refused};
use crate::ledger::books::lock;
use crate::time::no_longer;
pub(crate) use line::{Booking, Digest, Line, Receipts, Told};
pub(crate) use replay::{Replay, booked};

/// A call waits so long for a journal that has no room or whose disk fails.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(2);
const SHARDS: usize = 16;
/// Calls of one shard that are on their way or whose receipts are not written yet.
const OPEN_MAX: usize = 8_192;

/// When a call may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When the kernel has its intent: it survives every end of the process, and a power cut may take the last 10 ms.
    #[default]
    Relaxed,
    /// When the disk has confirmed it.
    Strict,
}

/// The calls of one gateway.
pub struct Calls {
    journal: Arc<Journal>,
    open: [Mutex<HashMap<HoldId, Open>>; SHARDS],
    /// Up to where the trail is vouched for. Held while that is moved on and while a checkpoint is made: a checkpoint has
    /// either all of it or nothing.
    mark: Mutex<Option<Mark>>,
}

/// A call between its hold and its receipt.
#[derive(Debug)]
enum Open {
    /// It has not left: its hold is in memory, and is written when it leaves or ends.
    Held(Booking),
    Left(Box<Left>),
}

/// A call that has left.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Left {
    pub intent: Intent,
    /// Further targets, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Arc<str>>,
    /// Of its last record.
    #[serde(skip)]
    pub sequence: u64,
    /// What was held for it, as far as a start found it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub booked: Vec<Booked>,
    /// What it was settled at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
}

impl Left {
    fn of(intent: Intent) -> Left {
        Left { intent, others: Vec::new(), sequence: 0, booked: Vec::new(), used: None }
    }

    fn target(&self) -> &Arc<str> {
        self.others.last().unwrap_or(&self.intent.target)
    }

    fn receipt(self, found_ms: i64) -> Receipt {
        let targets = std::iter::once(self.intent.target.clone()).chain(self.others).collect();
        let cost_nanousd = self.used.map(|used| used.nanousd);
        self.intent.unknown(Known { targets, booked: self.booked, cost_nanousd }, found_ms)
    }
}

/// A place in the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub file: Box<str>,
    pub bytes: u64,
}

impl Calls {
    pub(crate) fn new(journal: Arc<Journal>) -> Calls {
        Calls { journal, open: Default::default(), mark: Mutex::default() }
    }

    /// Calls that were open when a gateway on this journal ended.
    pub(crate) fn put_back(&self, replay: Replay) {
        for (id, left) in replay.open {
            lock(self.shard(id)).insert(id, Open::Left(Box::new(left)));
        }
        *lock(&self.mark) = replay.mark;
    }

    /// Keeps a hold until its call leaves or ends; `false` = there is no room for another call.
    pub(crate) fn park(&self, booking: Booking) -> bool {
        let mut open = lock(self.shard(booking.id));
        let has_room = open.len() < OPEN_MAX;
        if has_room {
            open.entry(booking.id).or_insert(Open::Held(booking));
        }
        has_room
    }

    /// The hold of a call that ends and has not left: it is to be written first.
    pub(crate) fn unpark(&self, id: HoldId) -> Option<Booking> {
        let mut open = lock(self.shard(id));
        match open.remove(&id)? {
            Open::Held(booking) => Some(booking),
            left @ Open::Left(_) => {
                open.insert(id, left);
                None
            }
        }
    }

    /// Hands the intent to the kernel, with the hold of its call; the sequence of the record. A call that goes on to
    /// another target adds a short one.
    pub async fn intend(&self, intent: &Intent) -> Result<u64, Refused> {
        let id = intent.id;
        let (bytes, before) = {
            let mut open = lock(self.shard(id));
            let is_full = open.len() >= OPEN_MAX;
            match open.get_mut(&id) {
                Some(Open::Left(left)) if *left.target() == intent.target => return Ok(left.sequence),
                Some(Open::Left(left)) => {
                    left.others.push(intent.target.clone());
                    (encoded(&Line::Attempt { id, target: intent.target.clone() }), None)
                }
                Some(Open::Held(booking)) => {
                    let bytes = encoded(&line::Leaving::Held { held: booking, intent });
                    (bytes, open.insert(id, Open::Left(Box::new(Left::of(intent.clone())))))
                }
                None if is_full => return Err(Refused::Busy),
                None => {
                    let bytes = encoded(&line::Leaving::Alone { intent });
                    (bytes, open.insert(id, Open::Left(Box::new(Left::of(intent.clone())))))
                }
            }
        };
        let written = write(&self.journal, &bytes).await;
        let mut open = lock(self.shard(id));
        let mut has_left = true;
        if let Some(Open::Left(left)) = open.get_mut(&id) {
            match &written {
                Ok(sequence) => left.sequence = *sequence,
                // Nothing of it is in the journal: the call does not leave.
                Err(_) => has_left = left.others.pop().is_some(),
            }
        }
        if !has_left {
            open.remove(&id);
            if let Some(held) = before {
                open.insert(id, held);
            }
        }
        written
    }

    /// Waits until the disk has confirmed a record; `false` = not within the time that a call waits.
    pub async fn confirmed(&self, sequence: u64) -> bool {
        matches!(no_longer(WAIT_MAX, self.journal.synced(sequence)).await, Some(Ok(())))
    }

    /// Vouches for receipts that the trail's disk has confirmed: their calls are closed. It does not wait.
    pub(crate) fn vouch(&self, receipts: &Receipts) -> Result<(), Refused> {
        let bytes = encoded(&Leading { receipts });
        let mut mark = lock(&self.mark);
        self.journal.append(&bytes)?;
        for id in receipts.lines.iter().filter_map(|told| hold_id(&told.call)) {
            lock(self.shard(id)).remove(&id);
        }
        *mark = Some(Mark { file: receipts.file.clone(), bytes: receipts.end() });
        Ok(())
    }

    /// Up to where the trail is vouched for; `None` = it never was.
    pub(crate) fn mark(&self) -> Option<Mark> {
        lock(&self.mark).clone()
    }

    /// The receipt of a call that nobody carries on any more, where it had left.
    pub(crate) fn unknown(&self, id: HoldId, now_ms: i64) -> Option<Box<Receipt>> {
        match lock(self.shard(id)).get(&id)? {
            Open::Left(left) => Some(Box::new((**left).clone().receipt(now_ms))),
            Open::Held(_) => None,
        }
    }

    /// The receipts of all calls that are open, oldest first: at a start nobody carries them on.
    pub(crate) fn all_unknown(&self, now_ms: i64) -> Vec<Receipt> {
        let mut left = self.left();
        left.sort_by_key(|left| (left.intent.time_ms, left.intent.id));
        left.into_iter().map(|left| left.receipt(now_ms)).collect()
    }

    /// What is known here and what `others` know, at one moment: see `mark`.
    pub(crate) fn still<T>(&self, others: impl FnOnce() -> T) -> (T, Vec<Left>, Option<Mark>) {
        let mark = lock(&self.mark);
        // The end of the journal is taken first: what has reached it was put into the map before.
        let others = others();
        (others, self.left(), mark.clone())
    }

    fn left(&self) -> Vec<Left> {
        let mut all = Vec::new();
        for shard in &self.open {
            all.extend(lock(shard).values().filter_map(|open| match open {
                Open::Left(left) => Some((**left).clone()),
                Open::Held(_) => None,
            }));
        }
        all
    }

    /// Ids of calls are UUIDv7: their low bits are random.
    fn shard(&self, id: HoldId) -> &Mutex<HashMap<HoldId, Open>> {
        &self.open[(id % SHARDS as u128) as usize]
    }
}

/// `Line::Receipts`, from what is lent.
#[derive(Serialize)]
struct Leading<'a> {
    receipts: &'a Receipts,
}

/// Writes a record, and waits for room and for a disk that fails as long as a call may.
pub(crate) async fn write(journal: &Journal, bytes: &[u8]) -> Result<u64, Refused> {
    match journal.append(bytes) {
        Err(first @ (Refused::Busy | Refused::Disk(_))) => {
            no_longer(WAIT_MAX, journal.write(bytes)).await.unwrap_or(Err(first))
        }
        ended @ (Ok(_) | Err(Refused::TooLarge(_) | Refused::Closed)) => ended,
    }
}

pub(crate) fn encoded(line: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1_024);
    json::put(&mut bytes, line).expect("a line has nothing that JSON cannot say");
    bytes
}

#[cfg(test)]
mod tests;

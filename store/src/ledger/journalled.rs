//! A ledger that outlives its process: balances in memory, what happened to them in a journal.
//!
//! A hold is handed to the kernel before its call leaves for a provider, and its end before the caller has the last byte.
//! So a kill of the process loses neither; a power cut may lose what came within the last `Bounds::sync_every`.
//!
//! At the start the balances of the last checkpoint are read, and what the journal says since then is done again. A hold
//! whose end the journal does not have is settled at what it held: its call may have cost that much, and a budget must
//! not be overspent because a gateway died.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tollgate_core::limits::claim::{Claim, Held, HoldId, Refused, Standing};
use tollgate_core::ports::{Later, Ledger, Used};

use super::books::{End, lock};
use super::event::Event;
use super::{MemoryLedger, full};
use crate::journal::{self, Bounds, Cut, Folder, Head, Journal, OpenError, ReadError, Reader};
use crate::keyed::{Keyed, KeyedError, Table};

/// A call waits so long for a journal that has no room or whose disk fails.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// So long the start waits for its first sync.
const START_MAX: Duration = Duration::from_secs(30);
/// A checkpoint is made when so many records came since the last: a start reads them again in well under a second.
const CHECKPOINT_RECORDS: u64 = 100_000;
/// How often that is looked at.
const CHECKPOINT_LOOK: Duration = Duration::from_secs(1);
/// Changes that make the balances and open holds of the checkpoint, by their order.
const CHANGES: Table<Event> = Table::named("balances");
/// The end of the journal that the balances are as of.
const CHECKPOINT: Table<Head> = Table::named("checkpoints");
const LEDGER: &str = "ledger";

/// The ledger of one node, kept in a journal.
pub struct JournalLedger {
    pub(crate) memory: MemoryLedger,
    journal: Arc<Journal>,
    keyed: Keyed,
    /// Between an operator's adjustment and its record no checkpoint is made.
    adjusting: Mutex<()>,
    /// The end of the journal at the last checkpoint.
    kept: AtomicU64,
}

/// A record of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// A gateway started. Holds without an end before it belong to calls whose end nobody saw: they were settled at what
    /// they held.
    Restarted { at_ms: i64, unknown: u64 },
    #[serde(untagged)]
    Changed(Event),
}

/// What a start found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Records that were read again.
    pub replayed: u64,
    /// Holds whose calls nobody saw end.
    pub unknown: u64,
    pub cut: Option<Cut>,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Journal(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Keyed(#[from] KeyedError),
    #[error("cannot make the journal's folder: {0}")]
    Folder(#[from] std::io::Error),
    #[error("record {sequence} of the journal cannot be read: {why}; it may be of a newer version of this program")]
    Record { sequence: u64, why: String },
    #[error("the journal's disk did not confirm the first record within {} s", START_MAX.as_secs())]
    Unconfirmed,
}

impl JournalLedger {
    /// Reads what was kept, and begins where it ends. `journal` is a folder, `keyed` a file.
    pub async fn open(
        journal: &Path,
        keyed: &Path,
        bounds: Bounds,
        now_ms: i64,
    ) -> Result<(JournalLedger, Started), LedgerError> {
        let folder = Arc::new(Folder::make(journal)?);
        let keyed = Keyed::open(keyed)?;
        let known = keyed.get(&CHECKPOINT, LEDGER)?;
        let (journal, recovered) = Journal::open(folder.clone(), bounds, known)?;
        let journal = Arc::new(journal);
        let told = journal.clone();
        let memory = MemoryLedger::with_sink(Box::new(move |event| {
            // All else is written by who waits for it.
            if let Event::Expired { id, .. } = event {
                append(&told, *id, event);
            }
        }));
        let from = known.unwrap_or_default().next;
        keyed.each(&CHANGES, |_, change| memory.apply(&change))?;
        let mut replayed = 0;
        for found in Reader::from(folder, from)? {
            let found = found?;
            match serde_json::from_slice(&found.payload) {
                Ok(Line::Changed(event)) => memory.apply(&event),
                Ok(Line::Restarted { at_ms, .. }) => drop(memory.settle_unknown(at_ms)),
                Err(why) => return Err(LedgerError::Record { sequence: found.sequence, why: why.to_string() }),
            }
            replayed += 1;
        }
        let unknown = memory.settle_unknown(now_ms) as u64;
        let ledger = JournalLedger { memory, journal, keyed, adjusting: Mutex::new(()), kept: AtomicU64::new(from) };
        let sequence = ledger.write(&Line::Restarted { at_ms: now_ms, unknown }).await;
        let sequence = sequence.map_err(|_| LedgerError::Unconfirmed)?;
        let confirmed = timeout(START_MAX, ledger.journal.synced(sequence)).await;
        confirmed.ok().and_then(Result::ok).ok_or(LedgerError::Unconfirmed)?;
        ledger.journal.keep_from(from);
        if unknown > 0 {
            tracing::warn!(unknown, "calls whose end nobody saw: they are booked at what was held for them");
        }
        Ok((ledger, Started { replayed, unknown, cut: recovered.cut }))
    }

    /// Makes checkpoints, for ever. To be run beside the calls.
    pub async fn keep(self: Arc<Self>, now_ms: impl Fn() -> i64) {
        loop {
            tokio::time::sleep(CHECKPOINT_LOOK).await;
            let came = self.journal.written().next - self.kept.load(Ordering::Relaxed);
            if came >= CHECKPOINT_RECORDS {
                let (ledger, now_ms) = (self.clone(), now_ms());
                // A task that panics is told by the hook; the next look tries again.
                let _ = tokio::task::spawn_blocking(move || ledger.checkpoint_or_tell(now_ms)).await;
            }
        }
    }

    /// After the last call: everything confirmed, and the balances kept, so that the next start reads nothing again.
    /// `false` where the disk did not take it within the time; the next start then reads the journal.
    pub async fn close(&self, within: Duration, now_ms: i64) -> bool {
        let is_confirmed = self.journal.close(within).await;
        if is_confirmed {
            self.checkpoint_or_tell(now_ms);
        }
        is_confirmed
    }

    fn checkpoint_or_tell(&self, now_ms: i64) {
        if let Err(why) = self.checkpoint(now_ms) {
            tracing::warn!(%why, "the balances were not kept: the next start reads them from the journal");
        }
    }

    /// Keeps all balances and open holds as of one moment, when the disk has confirmed the journal up to there: a
    /// checkpoint must not know more than the journal has.
    fn checkpoint(&self, now_ms: i64) -> Result<(), KeyedError> {
        // Whatever happens is done in memory first and written to the journal then. So all that the journal has up to its
        // end at this moment is in the copy. A hold or an end that is in the copy and reaches the journal later finds
        // itself done when it is done again: a call ends only when its hold is written, holds are known by their id, and
        // one that has ended is not there to end.
        let (head, changes) = {
            let _none_between = lock(&self.adjusting);
            self.memory.told(now_ms, || self.journal.written())
        };
        if !self.journal.confirms(head.next, WAIT_MAX) {
            // The disk is slow: the next look tries again.
            return Ok(());
        }
        self.keyed.change(|change| {
            change.clear(&CHANGES)?;
            for (at, event) in changes.iter().enumerate() {
                change.put(&CHANGES, &format!("{at:010}"), event)?;
            }
            change.put(&CHECKPOINT, LEDGER, &head)
        })?;
        self.kept.store(head.next, Ordering::Relaxed);
        self.journal.keep_from(head.next);
        Ok(())
    }

    /// Balances in memory: see `MemoryLedger::check`.
    pub fn check(&self) -> Result<(), String> {
        self.memory.check()
    }

    async fn write(&self, line: &Line) -> Result<u64, journal::Refused> {
        let bytes = encoded(line);
        match self.journal.append(&bytes) {
            Err(journal::Refused::Busy | journal::Refused::Disk(_)) => {
                match timeout(WAIT_MAX, self.journal.write(&bytes)).await {
                    Ok(written) => written,
                    Err(_) => Err(journal::Refused::Busy),
                }
            }
            ended @ (Ok(_) | Err(journal::Refused::TooLarge(_) | journal::Refused::Closed)) => ended,
        }
    }

    async fn end(&self, id: HoldId, end: End, now_ms: i64) {
        if self.memory.take_out(id, end, now_ms).is_some()
            && let Err(why) = self.write(&Line::Changed(Event::ended(id, end, now_ms))).await
        {
            not_kept(id, &why);
        }
    }
}

impl Ledger for JournalLedger {
    fn standing<'a>(&'a self, claims: &'a [Claim], now_ms: i64) -> Later<'a, Vec<Standing>> {
        self.memory.standing(claims, now_ms)
    }

    fn hold<'a>(&'a self, id: HoldId, claims: &'a [Claim], now_ms: i64) -> Later<'a, Result<Vec<Held>, Refused>> {
        Box::pin(async move {
            let held = self.memory.hold_untold(id, claims, now_ms)?;
            match self.write(&Line::Changed(Event::held(id, claims, now_ms))).await {
                Ok(_) => Ok(held),
                Err(why) => {
                    tracing::error!(hold = %format_args!("{id:032x}"), %why, "a hold could not be kept: its call is refused");
                    self.memory.take_out(id, End::Voided, now_ms);
                    Err(full(claims))
                }
            }
        })
    }

    fn extend<'a>(&'a self, id: HoldId, step: u32, more: Used, now_ms: i64) -> Later<'a, Result<(), Refused>> {
        Box::pin(async move {
            self.memory.extend_untold(id, step, more, now_ms)?;
            self.write(&Line::Changed(Event::Extended { id, step, more, at_ms: now_ms })).await.map(drop).map_err(|why| {
                tracing::error!(hold = %format_args!("{id:032x}"), %why, "more of a hold could not be kept: its call ends");
                full(&[])
            })
        })
    }

    fn settle<'a>(&'a self, id: HoldId, used: Used, now_ms: i64) -> Later<'a, ()> {
        Box::pin(self.end(id, End::Settled(Some(used)), now_ms))
    }

    fn void<'a>(&'a self, id: HoldId, now_ms: i64) -> Later<'a, ()> {
        Box::pin(self.end(id, End::Voided, now_ms))
    }

    fn lost(&self, id: HoldId, had_left: bool, now_ms: i64) {
        let end = if had_left { End::Settled(None) } else { End::Voided };
        if self.memory.take_out(id, end, now_ms).is_some() {
            append(&self.journal, id, &Event::ended(id, end, now_ms));
        }
    }

    fn adjust<'a>(&'a self, id: HoldId, claim: &'a Claim, delta: i64, now_ms: i64) -> Later<'a, ()> {
        let _no_checkpoint = lock(&self.adjusting);
        if self.memory.adjust_now(id, &claim.rule, &claim.scope, delta, now_ms) {
            let (rule, scope) = (claim.rule.clone(), Arc::from(&*claim.scope));
            append(&self.journal, id, &Event::Adjusted { id, rule, scope, delta, at_ms: now_ms });
        }
        Box::pin(std::future::ready(()))
    }
}

/// Where nothing may wait.
fn append(journal: &Journal, id: HoldId, event: &Event) {
    if let Err(why) = journal.append(&encoded(event)) {
        not_kept(id, &why);
    }
}

fn not_kept(id: HoldId, why: &journal::Refused) {
    let id = format_args!("{id:032x}");
    tracing::error!(hold = %id, %why, "the end of a hold is not in the journal: after a restart it is booked whole");
}

fn encoded(line: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, line).expect("an event has nothing that JSON cannot say, and memory takes it");
    bytes
}

#[cfg(test)]
#[path = "journalled_tests.rs"]
mod tests;

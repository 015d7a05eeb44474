//! A ledger that outlives its process: balances in memory, what happened to them in a journal.
//!
//! A hold is handed to the kernel before its call leaves for a provider, and its end before the caller has the last byte.
//! So a kill of the process loses neither; a power cut may lose what came within the last `Bounds::sync_every`.
//!
//! At the start the balances of the last checkpoint are read, and what the journal says since then is done again. A hold
//! whose end the journal does not have is settled at what it held: its call may have cost that much, and a budget must
//! not be overspent because a gateway died.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tollgate_core::limits::claim::{Claim, Held, HoldId, Refused, Standing};
use tollgate_core::ports::{Later, Ledger, Used};

use super::event::{Event, Id, Rules, Share};
use super::replay::{Balance, OpenHold};
use super::{End, MemoryLedger, full};
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
/// Balances as of the checkpoint, by the digest of their scope.
const BALANCES: Table<Balance> = Table::named("balances");
/// Holds that were open at the checkpoint, by their id.
const HOLDS: Table<OpenHold> = Table::named("holds");
/// The end of the journal that the balances are as of.
const CHECKPOINT: Table<Head> = Table::named("checkpoints");
const LEDGER: &str = "ledger";

/// The ledger of one node, kept in a journal.
pub struct JournalLedger {
    memory: MemoryLedger,
    journal: Journal,
    keyed: Keyed,
    /// The end of the journal at the last checkpoint.
    kept: AtomicU64,
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
        let memory = MemoryLedger::default();
        let mut rules = Rules::default();
        let from = known.unwrap_or_default().next;
        let record = |sequence| move |why: String| LedgerError::Record { sequence, why };
        restore(&memory, &keyed, &mut rules)?.map_err(record(from))?;
        let mut replayed = 0;
        for found in Reader::from(folder, from)? {
            let found = found?;
            memory.again(&found.payload, &mut rules).map_err(record(found.sequence))?;
            replayed += 1;
        }
        let unknown = memory.end_unknown(now_ms);
        let ledger = JournalLedger { memory, journal, keyed, kept: AtomicU64::new(from) };
        let sequence = ledger.write(&Event::Restarted { at_ms: now_ms, unknown }).await;
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
    pub async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(CHECKPOINT_LOOK).await;
            let came = self.journal.written().next - self.kept.load(Ordering::Relaxed);
            if came >= CHECKPOINT_RECORDS {
                let ledger = self.clone();
                // A task that panics is told by the hook; the next look tries again.
                let _ = tokio::task::spawn_blocking(move || ledger.checkpoint_or_tell()).await;
            }
        }
    }

    /// After the last call: everything confirmed, and the balances kept, so that the next start reads nothing again.
    /// `false` where the disk did not take it within the time; the next start then reads the journal.
    pub async fn close(&self, within: Duration) -> bool {
        let is_confirmed = self.journal.close(within).await;
        if is_confirmed {
            self.checkpoint_or_tell();
        }
        is_confirmed
    }

    fn checkpoint_or_tell(&self) {
        if let Err(why) = self.checkpoint() {
            tracing::warn!(%why, "the balances were not kept: the next start reads them from the journal");
        }
    }

    /// Keeps all balances and open holds as of one moment, when the disk has confirmed the journal up to there: a
    /// checkpoint must not know more than the journal has.
    fn checkpoint(&self) -> Result<(), KeyedError> {
        let frozen = self.memory.freeze(|| self.journal.written());
        if !self.journal.confirms(frozen.head.next, WAIT_MAX) {
            // The disk is slow: the next look tries again.
            return Ok(());
        }
        self.keyed.change(|change| {
            change.clear(&BALANCES)?;
            change.clear(&HOLDS)?;
            for balance in &frozen.balances {
                change.put(&BALANCES, &blake3::hash(balance.scope.as_bytes()).to_hex(), balance)?;
            }
            for (id, hold) in &frozen.holds {
                change.put(&HOLDS, &Id(*id).to_string(), hold)?;
            }
            change.put(&CHECKPOINT, LEDGER, &frozen.head)
        })?;
        self.kept.store(frozen.head.next, Ordering::Relaxed);
        self.journal.keep_from(frozen.head.next);
        Ok(())
    }

    /// Balances in memory: see `MemoryLedger::check`.
    pub fn check(&self) -> Result<(), String> {
        self.memory.check()
    }

    async fn write(&self, event: &Event<'_>) -> Result<u64, journal::Refused> {
        let bytes = encoded(event);
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

    async fn end(&self, id: HoldId, end: End, event: Event<'_>, now_ms: i64) {
        if self.memory.end(id, end, now_ms)
            && let Err(why) = self.write(&event).await
        {
            tracing::error!(hold = %Id(id), %why, "the end of a hold is not in the journal: after a restart it is booked whole");
        }
    }
}

/// Balances and holds of the last checkpoint. The inner error is a row that says nothing to this program.
fn restore(memory: &MemoryLedger, keyed: &Keyed, rules: &mut Rules) -> Result<Result<(), String>, KeyedError> {
    let mut wrong = Ok(());
    keyed.each(&BALANCES, |_, balance| {
        let restored = memory.restore(balance, rules).map_err(|why| why.to_string());
        wrong = std::mem::replace(&mut wrong, Ok(())).and(restored);
    })?;
    keyed.each(&HOLDS, |key, hold| {
        let restored = match HoldId::from_str_radix(key, 16) {
            Ok(id) => memory.restore_hold(id, hold, rules).map_err(|why| why.to_string()),
            Err(why) => Err(format!("the hold `{key}`: {why}")),
        };
        wrong = std::mem::replace(&mut wrong, Ok(())).and(restored);
    })?;
    Ok(wrong)
}

impl MemoryLedger {
    /// Does once more what a record of the journal says was done.
    fn again(&self, payload: &[u8], rules: &mut Rules) -> Result<(), String> {
        match serde_json::from_slice::<Event<'static>>(payload).map_err(|why| why.to_string())? {
            Event::Held { id, at_ms, parts } => {
                let mut made = Vec::with_capacity(parts.len());
                for share in parts {
                    let rule = rules.rule(share.rule).map_err(|why| why.to_string())?;
                    made.push((rule, share.scope.into_owned(), share.claimed));
                }
                self.hold_again(id.0, made, at_ms);
            }
            Event::Settled { id, at_ms, nanousd, tokens } => {
                self.end(id.0, End::Settled(Used { nanousd, tokens }), at_ms);
            }
            Event::Voided { id, at_ms } => {
                self.end(id.0, End::Voided, at_ms);
            }
            Event::Restarted { at_ms, .. } => {
                self.end_unknown(at_ms);
            }
        }
        Ok(())
    }
}

impl Ledger for JournalLedger {
    fn standing<'a>(&'a self, claims: &'a [Claim], now_ms: i64) -> Later<'a, Vec<Standing>> {
        self.memory.standing(claims, now_ms)
    }

    fn hold<'a>(&'a self, id: HoldId, claims: &'a [Claim], now_ms: i64) -> Later<'a, Result<Vec<Held>, Refused>> {
        Box::pin(async move {
            let held = self.memory.hold_now(id, claims, now_ms)?;
            let event = Event::Held { id: Id(id), at_ms: now_ms, parts: claims.iter().map(Share::of).collect() };
            match self.write(&event).await {
                Ok(_) => Ok(held),
                Err(why) => {
                    tracing::error!(hold = %Id(id), %why, "a hold could not be kept: its call is refused");
                    self.memory.end(id, End::Voided, now_ms);
                    Err(full(claims))
                }
            }
        })
    }

    fn settle<'a>(&'a self, id: HoldId, used: Used, now_ms: i64) -> Later<'a, ()> {
        let event = Event::Settled { id: Id(id), at_ms: now_ms, nanousd: used.nanousd, tokens: used.tokens };
        Box::pin(self.end(id, End::Settled(used), event, now_ms))
    }

    fn void<'a>(&'a self, id: HoldId, now_ms: i64) -> Later<'a, ()> {
        Box::pin(self.end(id, End::Voided, Event::Voided { id: Id(id), at_ms: now_ms }, now_ms))
    }
}

fn encoded(event: &Event<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, event).expect("an event has nothing that JSON cannot say, and memory takes it");
    bytes
}

#[cfg(test)]
#[path = "journalled_tests.rs"]
mod tests;

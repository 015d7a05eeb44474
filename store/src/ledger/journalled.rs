//! A ledger that outlives its process: balances in memory, what happened to them in a journal.
//!
//! A hold is handed to the kernel before its call leaves for a provider, and its end before the caller has the last byte.
//! So a kill of the process loses neither; a power cut may lose what came within the last `Bounds::sync_every`.
//!
//! At the start the balances of the last checkpoint are read, and what the journal says since then is done again. A hold
//! whose end the journal does not have is settled at what it held: its call may have cost that much, and a budget must
//! not be overspent because a gateway died.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate_core::limits::amendment::Amendment;
use tollgate_core::limits::balance::{Balance, Listing, Undone};
use tollgate_core::limits::claim::{Claim, Held, HoldId, Refused, Standing};
use tollgate_core::ports::{Later, Ledger, Used};

use super::books::{End, lock};
use super::event::Event;
use super::telling::Telling;
use super::{MemoryLedger, full};
use crate::calls::{Booking, Calls, Left, Line, Mark, Replay, WAIT_MAX, booked, encoded, write};
use crate::journal::{self, Bounds, Cut, Folder, Head, Journal, OpenError, ReadError, Reader, Recovered, Storage};
use crate::keyed::{Keyed, KeyedError, Table};
use crate::time::no_longer;

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
/// Calls that had left and whose receipts were not in the trail, by their order.
const CALLS: Table<Left> = Table::named("calls");
/// Up to where the trail was vouched for.
const MARK: Table<Mark> = Table::named("marks");
const LEDGER: &str = "ledger";

/// The ledger of one node, kept in a journal.
pub struct JournalLedger {
    pub(crate) memory: MemoryLedger,
    journal: Arc<Journal>,
    telling: Arc<Telling>,
    calls: Arc<Calls>,
    keyed: Arc<Keyed>,
    /// Between an operator's adjustment and its record no checkpoint is made.
    adjusting: Mutex<()>,
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
        let keyed = Arc::new(Keyed::open(keyed)?);
        let open = |known| Journal::open(folder.clone(), bounds, known);
        JournalLedger::open_in(folder.clone(), keyed, open, now_ms).await
    }

    /// The same, on any storage; `open` opens the journal in it, which had come so far when it was known last.
    pub(crate) async fn open_in(
        storage: Arc<dyn Storage>,
        keyed: Arc<Keyed>,
        open: impl FnOnce(Option<Head>) -> Result<(Journal, Recovered), OpenError>,
        now_ms: i64,
    ) -> Result<(JournalLedger, Started), LedgerError> {
        let known = keyed.get(&CHECKPOINT, LEDGER)?;
        let (journal, recovered) = open(known)?;
        let journal = Arc::new(journal);
        let telling = Arc::new(Telling::to(journal.clone()));
        let told = telling.clone();
        let memory = MemoryLedger::with_sink(Box::new(move |event| {
            // All else is written by who waits for it.
            if let Event::Expired { id, .. } = event {
                told.at_once(*id, event);
            }
        }));
        let from = known.unwrap_or_default().next;
        keyed.each(&CHANGES, |_, change| memory.apply(&change))?;
        let mut replay = Replay { mark: keyed.get(&MARK, LEDGER)?, ..Replay::default() };
        keyed.each(&CALLS, |_, left| drop(replay.open.insert(left.intent.id, left)))?;
        let mut replayed = 0;
        for found in Reader::from(storage, from)? {
            let found = found?;
            let line: Line = serde_json::from_slice(&found.payload)
                .map_err(|why| LedgerError::Record { sequence: found.sequence, why: why.to_string() })?;
            replay.line(&line);
            match line {
                Line::Changed(event) => memory.apply(&event),
                Line::Left { held, .. } => memory.apply(&held.into()),
                Line::Restarted { at_ms, .. } => drop(memory.settle_unknown(at_ms)),
                Line::Ended { .. } | Line::Intent(_) | Line::Attempt { .. } | Line::Receipts(_) => {}
            }
            replayed += 1;
        }
        let unknown = memory.settle_unknown(now_ms) as u64;
        let calls = Arc::new(Calls::new(journal.clone()));
        calls.put_back(replay);
        let (adjusting, kept) = (Mutex::new(()), AtomicU64::new(from));
        let ledger = JournalLedger { memory, journal, telling, calls, keyed, adjusting, kept };
        let sequence = ledger.write(&Line::Restarted { at_ms: now_ms, unknown }).await;
        let sequence = sequence.map_err(|_| LedgerError::Unconfirmed)?;
        let confirmed = no_longer(START_MAX, ledger.journal.synced(sequence)).await;
        confirmed.and_then(Result::ok).ok_or(LedgerError::Unconfirmed)?;
        ledger.journal.keep_from(from);
        if unknown > 0 {
            tracing::warn!(unknown, "calls whose end nobody saw: they are booked at what was held for them");
        }
        Ok((ledger, Started { replayed, unknown, cut: recovered.cut }))
    }

    /// The calls that are kept in the same journal.
    pub fn calls(&self) -> Arc<Calls> {
        self.calls.clone()
    }

    /// The state file of this gateway.
    pub fn keyed(&self) -> Arc<Keyed> {
        self.keyed.clone()
    }

    /// Why its disk takes nothing at this time, and so no call leaves; `None` = it does.
    pub fn failing(&self) -> Option<String> {
        self.journal.failing()
    }

    #[cfg(test)]
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Makes checkpoints, for ever. To be run beside the calls.
    pub async fn keep(self: Arc<Self>, now_ms: impl Fn() -> i64) {
        loop {
            tokio::time::sleep(CHECKPOINT_LOOK).await;
            let came = self.journal.written().next - self.kept.load(Ordering::Relaxed);
            if came >= CHECKPOINT_RECORDS || self.telling.is_due() {
                let (ledger, now_ms) = (self.clone(), now_ms());
                // A task that panics is told by the hook; the next look tries again.
                let _ = tokio::task::spawn_blocking(move || ledger.checkpoint_or_tell(now_ms)).await;
            }
        }
    }

    /// After the last call: everything confirmed, and the balances kept, so that the next start reads nothing again.
    /// `false` where the disk did not take it within the time; the next start then reads the journal.
    pub async fn close(&self, within: Duration, now_ms: i64) -> bool {
        // Where it is not written, the next start looks at the end of the trail as it does after a kill.
        let _ = self.journal.append(&encoded(&Line::Ended { at_ms: now_ms }));
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
    pub(crate) fn checkpoint(&self, now_ms: i64) -> Result<(), KeyedError> {
        let was_behind = self.telling.begins();
        let made = self.made(now_ms);
        match made {
            Ok(true) if was_behind => {
                tracing::warn!("the balances are kept: what the journal did not take is made good")
            }
            Ok(true) => {}
            // Where the disk is slow, the next look tries again.
            Ok(false) | Err(_) => self.telling.came_to_nothing(was_behind),
        }
        made.map(drop)
    }

    /// `false` = the disk did not confirm the journal in time.
    fn made(&self, now_ms: i64) -> Result<bool, KeyedError> {
        // Whatever happens is done in memory first and written to the journal then. So all that the journal has up to its
        // end at this moment is in the copy. A hold or an end that is in the copy and reaches the journal later finds
        // itself done when it is done again: a call ends only when its hold is written, holds are known by their id, and
        // one that has ended is not there to end.
        let ((head, changes), mut calls, mark) = {
            let _none_between = lock(&self.adjusting);
            self.calls.still(|| self.memory.told(now_ms, || self.journal.written()))
        };
        with_holds(&mut calls, &changes);
        if !self.journal.confirms(head.next, WAIT_MAX) {
            return Ok(false);
        }
        self.keyed.change(|change| {
            change.clear(&CHANGES)?;
            for (at, event) in changes.iter().enumerate() {
                change.put(&CHANGES, &format!("{at:010}"), event)?;
            }
            change.clear(&CALLS)?;
            for (at, left) in calls.iter().enumerate() {
                change.put(&CALLS, &format!("{at:010}"), left)?;
            }
            if let Some(mark) = &mark {
                change.put(&MARK, LEDGER, mark)?;
            }
            change.put(&CHECKPOINT, LEDGER, &head)
        })?;
        self.kept.store(head.next, Ordering::Relaxed);
        self.journal.keep_from(head.next);
        Ok(true)
    }

    /// Balances in memory: see `MemoryLedger::check`.
    pub fn check(&self) -> Result<(), String> {
        self.memory.check()
    }

    async fn write(&self, line: &Line) -> Result<u64, journal::Refused> {
        write(&self.journal, &encoded(line)).await
    }

    async fn end(&self, id: HoldId, end: End, now_ms: i64) {
        // An end is written behind its hold, and a call ends only when that is written: see `checkpoint`.
        let booking = self.calls.unpark(id);
        let has_left = booking.is_none();
        if let Some(booking) = booking {
            self.telling.at_once(id, &booking.into());
        }
        if self.memory.take_out(id, end, now_ms).is_none() {
            return;
        }
        let event = Event::ended(id, end, now_ms);
        match has_left {
            true => self.telling.patiently(id, event).await,
            // Its caller has waited for the journal already, or waits for nothing that costs.
            false => self.telling.at_once(id, &event),
        }
    }
}

/// What is held for calls that have left, by the changes that make the holds.
fn with_holds(calls: &mut [Left], changes: &[Event]) {
    let held = |event: &Event| {
        let Event::Held { id, parts, .. } = event else { return None };
        Some((*id, booked(parts)))
    };
    let mut holds: HashMap<HoldId, _> = changes.iter().filter_map(held).collect();
    for left in calls {
        // Where there is none any more, what a start found stays.
        if let Some(booked) = holds.remove(&left.intent.id) {
            left.booked = booked;
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

    fn hold_for<'a>(&'a self, id: HoldId, claims: &'a [Claim], now_ms: i64) -> Later<'a, Result<Vec<Held>, Refused>> {
        Box::pin(async move {
            let held = self.memory.hold_untold(id, claims, now_ms)?;
            // It is written with the intent of its call, or when that ends without having left.
            if !self.calls.park(Booking::of(id, claims, now_ms)) {
                self.memory.take_out(id, End::Voided, now_ms);
                return Err(full(claims));
            }
            Ok(held)
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
        if let Some(booking) = self.calls.unpark(id) {
            self.telling.at_once(id, &booking.into());
        }
        if self.memory.take_out(id, end, now_ms).is_some() {
            self.telling.at_once(id, &Event::ended(id, end, now_ms));
        }
    }

    fn adjust<'a>(&'a self, id: HoldId, claim: &'a Claim, delta: i64, now_ms: i64) -> Later<'a, ()> {
        let _no_checkpoint = lock(&self.adjusting);
        if self.memory.adjust_now(id, &claim.rule, &claim.scope, delta, now_ms) {
            let (rule, scope) = (claim.rule.clone(), Arc::from(&*claim.scope));
            self.telling.at_once(id, &Event::Adjusted { id, rule, scope, delta, at_ms: now_ms });
        }
        Box::pin(std::future::ready(()))
    }

    fn amend(&self, amendment: Arc<Amendment>, now_ms: i64) -> Later<'_, Result<(), Undone>> {
        Box::pin(async move {
            let sequence = {
                let _no_checkpoint = lock(&self.adjusting);
                let before = self.memory.amend_now(&amendment, now_ms)?;
                let change = Event::Amended { amendment: amendment.clone(), at_ms: now_ms };
                self.journal.append(&encoded(&change)).map_err(|why| {
                    self.memory.amend_back(&amendment.id, before, now_ms);
                    Undone::Journal(why.to_string())
                })?
            };
            let confirmed = no_longer(WAIT_MAX, self.journal.synced(sequence)).await;
            confirmed.and_then(Result::ok).ok_or(Undone::Unconfirmed)
        })
    }

    fn amendments(&self) -> Vec<Arc<Amendment>> {
        self.memory.amendments()
    }

    fn balances<'a>(&'a self, listing: Listing<'a>, now_ms: i64) -> Later<'a, Result<Vec<Balance>, Undone>> {
        self.memory.balances(listing, now_ms)
    }
}

#[cfg(test)]
#[path = "journalled_tests.rs"]
mod tests;

//! The thread that writes a shelf to disk: it gathers changes into transactions, and lets old rows go.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tollgate_core::ports::Origin;

use super::kept::{Clock, Known};
use super::memory::{ANSWER_AGE_MAX, ORIGIN_IDLE_MAX};
use super::rows::{ANSWERS, Claimed, KEYS, Noted, ORIGINS};
use super::shares::Shares;
use crate::keyed::{self, Keyed, KeyedError};

/// What nobody waits for is gathered so long. A kill may lose so much of it, and what the transaction takes.
const GATHER: Duration = Duration::from_millis(20);
/// Of one transaction.
const CHANGES_MAX: usize = 256;
/// Keys and answers on disk, all tenants together.
pub(super) const KEPT_BYTES_MAX: u64 = 256 << 20;
/// What a key counts at least, with its answer: so there are at most 65,536.
pub(super) const KEY_BYTES: u64 = 4 << 10;
/// The oldest go first.
const ORIGINS_MAX: usize = 60_000;

/// Whoever waits is told why not, or nothing.
pub(super) type Done = oneshot::Sender<Result<(), String>>;

pub(super) enum Change {
    Claim {
        name: String,
        row: Claimed,
        done: Done,
    },
    Answer {
        name: String,
        row: Claimed,
        bytes: Bytes,
    },
    Forget {
        name: String,
    },
    Note {
        id: String,
        row: Noted,
    },
    /// All changes before it are made.
    Reached(Done),
}

pub(super) struct Keeper {
    pub keyed: Arc<Keyed>,
    pub known: Arc<Known>,
    pub clock: Clock,
    pub kept: Rows,
}

/// What there is, for those who let it go.
#[derive(Debug)]
pub(super) struct Rows {
    keys: Shares,
    /// In the order of their age.
    origins: VecDeque<(i64, String)>,
}

impl Rows {
    fn keep(&mut self, name: &str, row: &Claimed) {
        self.keys.put(name, &row.tenant, row.at_ms, row.answer_bytes.unwrap_or(0).max(KEY_BYTES));
    }
}

/// What a shelf on this file had.
pub(super) fn read(
    keyed: &Keyed,
    known: &Known,
    bytes_max: u64,
    mut note: impl FnMut(&str, Origin),
) -> Result<Rows, KeyedError> {
    let mut rows = Rows { keys: Shares::within(bytes_max), origins: VecDeque::new() };
    let mut known = known.lock();
    keyed.each(&KEYS, |name, row: Claimed| {
        rows.keep(name, &row);
        known.insert(name.to_owned(), row);
    })?;
    let mut origins = Vec::new();
    keyed.each(&ORIGINS, |id, row: Noted| origins.push((row.at_ms, id.to_owned(), row)))?;
    origins.sort_by_key(|(at_ms, ..)| *at_ms);
    for (at_ms, id, row) in origins {
        note(&id, row.origin());
        rows.origins.push_back((at_ms, id));
    }
    Ok(rows)
}

impl Keeper {
    /// It ends when its shelf is gone and all changes are made.
    pub(super) fn begin(mut self, mut changes: mpsc::Receiver<Change>) {
        let run = move || {
            while let Some(first) = changes.blocking_recv() {
                let mut batch = vec![first];
                let mut waits = false;
                loop {
                    while batch.len() < CHANGES_MAX
                        && let Ok(next) = changes.try_recv()
                    {
                        batch.push(next);
                    }
                    let is_waited_for = |change: &Change| matches!(change, Change::Claim { .. } | Change::Reached(_));
                    if waits || batch.iter().any(is_waited_for) || batch.len() >= CHANGES_MAX {
                        break;
                    }
                    waits = true;
                    thread::sleep(GATHER);
                }
                self.make(batch);
            }
        };
        if let Err(why) = thread::Builder::new().name("shelf".to_owned()).spawn(run) {
            tracing::error!(%why, "the shelf has no thread: calls with an idempotency key are refused");
        }
    }

    fn make(&mut self, batch: Vec<Change>) {
        let gone = self.gone(&batch);
        let made = self.keyed.change(|change| {
            for one in &batch {
                put(change, one)?;
            }
            for name in &gone.keys {
                change.remove(&KEYS, name)?;
                change.remove(&ANSWERS, name)?;
            }
            gone.origins.iter().try_for_each(|id| change.remove(&ORIGINS, id))
        });
        if let Err(why) = &made {
            let changes = batch.len();
            tracing::error!(%why, changes, "the shelf cannot be written: after a restart their keys are unknown");
        }
        for one in batch {
            if let Change::Claim { done, .. } | Change::Reached(done) = one {
                // Whoever waited may be gone.
                let _ = done.send(made.as_ref().map(drop).map_err(ToString::to_string));
            }
        }
    }

    /// Notes what a batch changes, and says which rows are too old or too many with it.
    fn gone(&mut self, batch: &[Change]) -> Gone {
        let mut known = self.known.lock();
        let rows = &mut self.kept;
        for one in batch {
            match one {
                // In memory it is on its way: what is known here is what no memory has.
                Change::Claim { name, row, .. } => rows.keep(name, row),
                Change::Answer { name, row, .. } => {
                    rows.keep(name, row);
                    known.insert(name.clone(), row.clone());
                }
                Change::Forget { name } => {
                    rows.keys.remove(name);
                    known.remove(name);
                }
                Change::Note { id, row } => rows.origins.push_back((row.at_ms, id.clone())),
                Change::Reached(_) => {}
            }
        }
        let now_ms = (self.clock)();
        let mut gone = Gone::default();
        let oldest_ms = now_ms.saturating_sub(millis(ANSWER_AGE_MAX));
        while let Some(name) = rows.keys.take_gone(oldest_ms) {
            known.remove(&*name);
            gone.keys.insert(name);
        }
        let oldest_ms = now_ms.saturating_sub(millis(ORIGIN_IDLE_MAX));
        while let Some((at_ms, id)) = rows.origins.front()
            && (*at_ms < oldest_ms || rows.origins.len() > ORIGINS_MAX)
        {
            gone.origins.push(id.clone());
            rows.origins.pop_front();
        }
        gone
    }
}

#[derive(Default)]
struct Gone {
    keys: HashSet<Arc<str>>,
    origins: Vec<String>,
}

fn put(change: &keyed::Change<'_>, one: &Change) -> Result<(), KeyedError> {
    match one {
        Change::Claim { name, row, .. } => change.put(&KEYS, name, row),
        Change::Answer { name, row, bytes } => {
            change.put(&KEYS, name, row)?;
            if row.answer_bytes.is_some() { change.put_bytes(&ANSWERS, name, bytes) } else { Ok(()) }
        }
        Change::Forget { name } => change.remove(&KEYS, name).and_then(|()| change.remove(&ANSWERS, name)),
        Change::Note { id, row } => change.put(&ORIGINS, id, row),
        Change::Reached(_) => Ok(()),
    }
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

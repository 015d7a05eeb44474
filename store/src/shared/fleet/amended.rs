//! Grants and overrides, which all gateways of a store have: what one was asked for goes to the store first, and every gateway
//! hears of it there, acts by it and keeps it in its own journal.
//!
//! The store numbers the changes and tells the last number with every answer, so that a change is heard of when the store is
//! next spoken to. A change takes the place of what a node read, or of nothing: who comes second reads again. An emptied
//! store is told again by all who know, each by its journal; of two under one id all choose the same (`Amendment::or_later`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tollgate_core::limits::amendment::Amendment;
use tollgate_core::limits::balance::Undone;
use tollgate_core::ports::Ledger;

use super::{Ended, Fleet};
use crate::ledger::amended::{AMENDMENTS_MAX, is_forgotten};
use crate::ledger::books::lock;
use crate::shared::Happened;
use crate::shared::line::{Amended, Outcome, Put};

/// So many are told to the store in one operation.
const PUTS_MAX: usize = 64;
/// So often one is brought to a store that others change meanwhile.
const TRIES: u8 = 8;
/// Operations until a node and the store agree: each brings or reads a part.
const ROUNDS_MAX: usize = 4 * AMENDMENTS_MAX / PUTS_MAX;
/// So long an end waits for the journal to keep what was heard.
const KEEP_MAX: Duration = Duration::from_secs(1);

type Told = oneshot::Sender<Result<(), Undone>>;

/// What an operator asked this node for.
pub(in crate::shared) struct Change {
    pub amendment: Arc<Amendment>,
    /// Who waits; taken when it is told.
    pub told: Option<Told>,
    /// The store may have it, whatever came back.
    pub was_sent: bool,
}

impl Change {
    fn answer(&mut self, done: Result<(), Undone>) {
        if let Some(told) = self.told.take() {
            // Who has stopped waiting need not hear it.
            let _ = told.send(done);
        }
    }

    pub(super) fn turn_away(mut self) {
        let why = if self.was_sent { Undone::Unsaid(self.amendment.id.clone()) } else { Undone::Away };
        self.answer(Err(why));
    }
}

/// What the store has, as far as this node heard in the epoch.
#[derive(Default)]
pub(super) struct Book {
    /// By id, with the number of the change.
    kept: HashMap<Arc<str>, (i64, Arc<Amendment>)>,
    /// All changes up to this one were read,
    upto: i64,
    /// and this one is the last that there is.
    last: i64,
}

impl Book {
    /// There are so many changes by now. Tells whether one of them was not read.
    pub(super) fn heard(&mut self, last: i64) -> bool {
        self.last = last;
        self.last != self.upto
    }

    fn is_read(&self) -> bool {
        self.upto == self.last
    }

    fn put(&self, one: &Amendment) -> Put {
        let known = self.kept.get(&one.id).map_or(0, |(number, _)| *number);
        let text = serde_json::to_string(one).expect("it is made of numbers and texts");
        Put { id: one.id.clone(), known, text }
    }

    /// Those that nobody need know any more make room, and for want of room the one that ended first.
    fn room(&self, now_ms: i64) -> Vec<Put> {
        let all = || self.kept.values().filter(|(_, one)| !one.is_in_force(now_ms));
        let mut left: Vec<_> = all().filter(|(_, one)| is_forgotten(one, now_ms)).take(PUTS_MAX).collect();
        if left.is_empty() && self.kept.len() >= AMENDMENTS_MAX {
            left.extend(all().min_by_key(|(_, one)| one.ends_ms()));
        }
        left.into_iter().map(|(known, one)| Put { id: one.id.clone(), known: *known, text: String::new() }).collect()
    }
}

impl Fleet {
    /// Reads all changes, and tells the store what it does not have.
    pub(super) async fn agree(&mut self) -> Result<(), Ended> {
        let mut tried: HashMap<Arc<str>, u8> = HashMap::new();
        let mut has_read = false;
        for _ in 0..ROUNDS_MAX {
            let mut owed = if has_read && self.book.is_read() { self.owed() } else { Vec::new() };
            let is_all = owed.is_empty();
            owed.retain(|one| tried.get(&one.id).is_none_or(|tries| *tries < TRIES));
            owed.truncate(PUTS_MAX);
            if has_read && self.book.is_read() && owed.is_empty() {
                if !is_all {
                    break;
                }
                return Ok(());
            }
            let puts = owed.iter().map(|one| self.book.put(one)).collect();
            let outcomes = self.bring(puts, None).await?;
            has_read = true;
            for (one, outcome) in owed.iter().zip(outcomes) {
                *tried.entry(one.id.clone()).or_default() += if outcome == Outcome::Full { TRIES } else { 1 };
            }
        }
        tracing::error!(
            "grants and overrides of this gateway are not all known to the others: the store has no room for them"
        );
        Ok(())
    }

    /// What the store does not have, or not as late as this node.
    fn owed(&self) -> Vec<Arc<Amendment>> {
        let now_ms = self.now_ms();
        let mut all = self.desk.amendments.all();
        all.retain(|one| {
            let theirs = self.book.kept.get(&one.id).map(|(_, theirs)| theirs);
            !is_forgotten(one, now_ms) && theirs.is_none_or(|theirs| theirs.or_later(one) != theirs)
        });
        all
    }

    /// Carries what operators asked for; what could not be carried stays the first.
    pub(super) async fn carry_changes(&mut self) -> Result<(), Ended> {
        loop {
            let next = lock(&self.desk.changes).pop_front();
            let Some(mut change) = next else { return Ok(()) };
            if !change.was_sent && change.told.as_ref().is_none_or(Told::is_closed) {
                // Who asked was told that it may not be done: then it is not.
                continue;
            }
            if let Err(why) = self.carry(&mut change).await {
                if change.told.is_some() {
                    lock(&self.desk.changes).push_front(change);
                }
                return Err(why);
            }
        }
    }

    async fn carry(&mut self, change: &mut Change) -> Result<(), Ended> {
        let wanted = change.amendment.clone();
        for _ in 0..TRIES {
            while !self.book.is_read() {
                self.bring(Vec::new(), Some(change)).await?;
            }
            if change.told.is_none() {
                return Ok(());
            }
            if let Some(known) = self.desk.amendments.get(&wanted.id) {
                let says_as = known.says_as(&wanted);
                let is_same = says_as && (known.made_ms, &known.by) == (wanted.made_ms, &wanted.by);
                let was_made = says_as && wanted.revoked_ms.is_none();
                if !is_same && !was_made {
                    change.answer(Err(Undone::Taken(wanted.id.clone())));
                    return Ok(());
                }
                if !is_same || known.or_later(&wanted) == &known {
                    change.answer(Ok(()));
                    return Ok(());
                }
            }
            let mut puts = self.book.room(self.now_ms());
            puts.push(self.book.put(&wanted));
            change.was_sent = true;
            let outcomes = self.bring(puts, Some(change)).await?;
            match outcomes.last() {
                // Not where it was just heard that another one has ended.
                Some(Outcome::Full) if self.book.room(self.now_ms()).is_empty() => {
                    change.answer(Err(Undone::Full(AMENDMENTS_MAX)));
                    return Ok(());
                }
                Some(Outcome::Full | Outcome::Taken | Outcome::Other | Outcome::Gone) | None => {}
            }
        }
        change.answer(Err(Undone::Unsaid(wanted.id.clone())));
        Ok(())
    }

    /// One operation: brings these, reads what changed, and tells what became of what was brought.
    async fn bring(&mut self, puts: Vec<Put>, change: Option<&mut Change>) -> Result<Vec<Outcome>, Ended> {
        let epoch = self.epoch.clone().unwrap_or_default();
        let answered = self.line.amend(&epoch, self.book.upto, AMENDMENTS_MAX, &puts).await;
        (self.observer)(Happened::RoundTrip);
        let (last, upto, outcomes, changed) = match answered.map_err(Ended::Failed)? {
            Amended::Fenced(why) => return Err(Ended::Fenced(why)),
            Amended::Done { last, upto, outcomes, changed } => (last, upto, outcomes, changed),
        };
        for (put, outcome) in puts.iter().zip(&outcomes) {
            if *outcome == Outcome::Gone || (*outcome == Outcome::Taken && put.text.is_empty()) {
                self.book.kept.remove(&put.id);
            }
        }
        let mut read = Vec::with_capacity(changed.len());
        for (number, text) in changed {
            match serde_json::from_str::<Amendment>(&text) {
                Ok(one) => {
                    let one = Arc::new(one);
                    self.book.kept.insert(one.id.clone(), (number, one.clone()));
                    read.push(one);
                }
                Err(why) => tracing::error!(
                    text, %why,
                    "the store has a grant or an override that this gateway cannot read, and does not act by: it may be of a newer version"
                ),
            }
        }
        self.merge(read, change).await;
        (self.book.upto, self.book.last) = (upto, last);
        Ok(outcomes)
    }

    /// What is heard of acts at once, and is in the journal soon; who waits is told then.
    async fn merge(&self, theirs: Vec<Arc<Amendment>>, mut change: Option<&mut Change>) {
        let later = |theirs: Arc<Amendment>| {
            let mine = self.desk.amendments.get(&theirs.id);
            let one = mine.as_ref().map_or(&theirs, |mine| mine.or_later(&theirs));
            (mine.as_ref() != Some(one)).then(|| one.clone())
        };
        let new: Vec<_> = theirs.into_iter().filter_map(later).collect();
        let now_ms = self.now_ms();
        if let Err(why) = self.desk.amendments.put_all(&new, now_ms) {
            tracing::error!(%why, "not all grants and overrides of other gateways count at this one");
        }
        for one in new {
            let told = change.as_mut().filter(|change| change.amendment == one).and_then(|change| change.told.take());
            self.keeper.keep(one, now_ms, told).await;
        }
    }

    fn now_ms(&self) -> i64 {
        self.desk.gate.now_ms().unwrap_or_default()
    }
}

/// Writes what was heard into this node's own journal, one after the other: a disk that is slow keeps nobody from the store.
pub(super) struct Keeper {
    heard: mpsc::Sender<(Arc<Amendment>, i64, Option<Told>)>,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn new(local: Arc<dyn Ledger>) -> Keeper {
        let (heard, mut next) = mpsc::channel::<(Arc<Amendment>, i64, Option<Told>)>(AMENDMENTS_MAX);
        let task = tokio::spawn(async move {
            while let Some((one, now_ms, told)) = next.recv().await {
                let kept = local.amend(one.clone(), now_ms).await;
                if let Err(why) = &kept {
                    tracing::error!(id = &*one.id, %why, "a grant or an override is in the store, and not in this gateway's journal");
                }
                if let Some(told) = told {
                    let _ = told.send(kept.map_err(|_| Undone::Unconfirmed));
                }
            }
        });
        Keeper { heard, task }
    }

    async fn keep(&self, one: Arc<Amendment>, now_ms: i64, told: Option<Told>) {
        // It ends with this node, and what is not kept then is heard of again.
        let _ = self.heard.send((one, now_ms, told)).await;
    }

    /// All that was heard is kept.
    pub(super) async fn close(self) {
        drop(self.heard);
        let _ = tokio::time::timeout(KEEP_MAX, self.task).await;
    }
}

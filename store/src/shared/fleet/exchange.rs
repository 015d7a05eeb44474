//! One operation over scopes: what the store is told of each, and what becomes of its answers.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tollgate_core::limits::claim::Claim;

use super::{BEAT_MAX, BEATS_PER_LEASE, Ended, Fleet, LOOK_EVERY, MISSES_MAX};
use crate::ledger::books::lock;
use crate::shared::Happened;
use crate::shared::desk::{Cell, amount};
use crate::shared::fault::Fault;
use crate::shared::frame::Kind;
use crate::shared::gate::State;
use crate::shared::line::{Synced, Telling, Told};
use crate::shared::slice::{Answer, Ask};

type Waiter = (i64, oneshot::Sender<Answer>);

impl Fleet {
    /// One operation over these scopes.
    pub(super) async fn exchange(&mut self, batch: &[Arc<Cell>], telling: Telling) -> Result<(), Ended> {
        let epoch = self.epoch.clone().unwrap_or_default();
        let mut asks: Vec<(i64, Ask, Vec<Waiter>)> = Vec::with_capacity(batch.len());
        for cell in batch {
            let (ask, waiters) = self.ask_of(cell, telling).await;
            self.number += 1;
            asks.push((self.number, ask, waiters));
        }
        let told: Vec<_> = batch.iter().zip(&asks).map(|(cell, (number, ask, _))| (&*cell.key, *number, ask)).collect();
        let asked = Instant::now();
        let answered = self.line.sync(&epoch, &told, telling).await;
        (self.observer)(Happened::RoundTrip);
        match answered {
            Ok(Synced::Done { now_ms, is_open, amended, answers }) => {
                self.desk.gate.heard(now_ms);
                self.desk.gate.renew(asked, self.lease);
                self.beat_at = asked + (self.lease / BEATS_PER_LEASE).min(BEAT_MAX);
                self.misses = 0;
                if !is_open && self.desk.gate.state() == State::Open {
                    self.opens_at = Instant::now() + LOOK_EVERY;
                    self.turn_to(State::Waiting);
                }
                // Before anybody is told that there is no more: the limit may have been raised.
                let agreed = if self.book.heard(amended) { self.agree().await } else { Ok(()) };
                // Numbers rise: only somebody with this node's name can have been there with a later one.
                let has_twin = answers.contains(&Told::Stale);
                for ((cell, (_, ask, waiters)), told) in batch.iter().zip(asks).zip(answers) {
                    self.take_in(cell, &ask, waiters, told, is_open);
                }
                if has_twin { Err(Ended::Failed(Fault::Twin)) } else { agreed }
            }
            Ok(Synced::Fenced(why)) => {
                self.unanswered(batch, asks, true);
                Err(Ended::Fenced(why))
            }
            Err(fault) => {
                self.unanswered(batch, asks, self.misses + 1 >= MISSES_MAX);
                Err(Ended::Failed(fault))
            }
        }
    }

    async fn ask_of(&self, cell: &Arc<Cell>, telling: Telling) -> (Ask, Vec<Waiter>) {
        let now_ms = self.desk.gate.now_ms().unwrap_or_default();
        let (kind, plain) = {
            let slice = lock(&cell.slice);
            (slice.frame.kind, slice.plain.clone())
        };
        // Of a span the node's own ledger knows what still counts.
        let own = match kind {
            Kind::Sliding => {
                let claim = Claim { rule: plain, scope: (&*cell.scope).into(), worst: 0 };
                let stands = self.desk.local.standing(std::slice::from_ref(&claim), now_ms).await;
                Some(stands.first().map_or(0, |stands| amount(stands.used)))
            }
            Kind::Calendar | Kind::Bucket | Kind::Flight => None,
        };
        let mut slice = lock(&cell.slice);
        self.desk.advance(cell, &mut slice, None, now_ms);
        let (mut ask, waiters) = slice.ask(telling == Telling::Last, telling == Telling::Anew);
        ask.window = own.unwrap_or(ask.window);
        self.desk.watch(cell, &mut slice);
        (ask, waiters)
    }

    fn take_in(&self, cell: &Arc<Cell>, ask: &Ask, waiters: Vec<Waiter>, told: Told, is_open: bool) {
        let mut slice = lock(&cell.slice);
        self.desk.advance(cell, &mut slice, None, self.desk.gate.now_ms().unwrap_or_default());
        let answer = match told {
            Told::Leased { lease, seen, is_tight } => {
                slice.answered(ask, lease, seen, is_tight);
                match lease - ask.floor >= ask.min {
                    true => Answer::Given,
                    false if slice.was_raised_since(ask) => Answer::Given,
                    false if is_open => Answer::Spent,
                    false => Answer::Away,
                }
            }
            // With the store's time it is another question.
            Told::Over | Told::Stale => {
                slice.unanswered();
                Answer::Given
            }
        };
        if !slice.waiters.is_empty() {
            self.desk.enqueue(cell, &mut slice);
        }
        drop(slice);
        tell(waiters, answer);
    }

    /// Whether the store took it is not known: it will be told again. Who waits goes on to, unless it is `given_up`.
    fn unanswered(&self, batch: &[Arc<Cell>], asks: Vec<(i64, Ask, Vec<Waiter>)>, given_up: bool) {
        for (cell, (_, _, waiters)) in batch.iter().zip(asks) {
            let mut slice = lock(&cell.slice);
            slice.unanswered();
            match given_up {
                true => tell(waiters, Answer::Away),
                false => {
                    slice.waiters.extend(waiters);
                    if !slice.waiters.is_empty() {
                        self.desk.enqueue(cell, &mut slice);
                    }
                }
            }
        }
    }
}

pub(super) fn tell(waiters: Vec<Waiter>, answer: Answer) {
    for (_, told) in waiters {
        // Who has stopped waiting need not hear it.
        let _ = told.send(answer);
    }
}

//! The task that speaks to the store: it tells what this node used, fetches leases for calls that wait, and notices when
//! the store is away, forgot, or is another one.

mod amended;
mod exchange;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::desk::Desk;
use super::fault::Fault;
use super::frame::Kind;
use super::gate::State;
use super::line::{Joined, Line, Telling};
use super::slice::Answer;
use super::{Happened, Observer, Own};
use crate::ledger::books::lock;
use crate::ledger::event::Event;
use amended::{Book, Keeper};
use exchange::tell;

pub(super) use amended::Change;

/// Scopes in one operation.
const BATCH_MAX: usize = 64;
/// Between two looks at what has something to tell.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So many operations in a row without an answer, and nobody waits for one any more.
const MISSES_MAX: u32 = 3;
/// Then it is tried again: so soon at first, twice as long each time, and so late at most.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// A lease is renewed when a third of it is over.
const BEATS_PER_LEASE: u32 = 3;
/// What others changed is heard of within this time.
const BEAT_MAX: Duration = Duration::from_millis(500);
/// Lost holds are looked for so often.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// What is told of a store that does not get better is told so often.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// The numbers of a member's operations: those of a later joining are greater than all before.
const NUMBERS: i64 = 1 << 32;

/// Until this process ends: a year.
const NEVER: Duration = Duration::from_secs(31_536_000);

pub(super) struct Fleet {
    desk: Arc<Desk>,
    /// What this node used by its own journal, at any moment.
    own: Own,
    line: Line,
    lease: Duration,
    observer: Observer,
    epoch: Option<String>,
    book: Book,
    keeper: Keeper,
    /// Of the next operation.
    number: i64,
    is_joined: bool,
    /// The store has been told in this epoch what this node has.
    has_told: bool,
    opens_at: Instant,
    beat_at: Instant,
    misses: u32,
    retry_at: Instant,
    retry: Duration,
    told_at: Option<Instant>,
}

/// Why an operation came to nothing.
#[derive(Debug)]
enum Ended {
    Fenced(String),
    Failed(Fault),
}

impl Fleet {
    pub(super) fn new(desk: Arc<Desk>, own: Own, line: Line, lease: Duration, observer: Observer) -> Fleet {
        let now = Instant::now();
        Fleet {
            book: Book::default(),
            keeper: Keeper::new(desk.local.clone()),
            desk,
            own,
            line,
            lease,
            observer,
            epoch: None,
            number: 0,
            is_joined: false,
            has_told: false,
            opens_at: now,
            beat_at: now,
            misses: 0,
            retry_at: now,
            retry: RETRY_FIRST,
            told_at: None,
        }
    }

    /// For ever: until its task is ended.
    pub(super) async fn run(mut self, stop: Arc<tokio::sync::Notify>, stopped: oneshot::Sender<()>) {
        let mut looked = Instant::now();
        let mut expired = Instant::now();
        loop {
            let is_stopping = tokio::select! {
                () = stop.notified() => true,
                () = self.desk.bell.notified() => false,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            if is_stopping {
                self.give_all_back().await;
                self.keeper.close().await;
                let _ = stopped.send(());
                return;
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.desk.look();
            }
            if expired.elapsed() >= EXPIRE_EVERY {
                expired = Instant::now();
                self.desk.expire(self.desk.gate.now_ms().unwrap_or_default());
            }
            self.step().await;
        }
    }

    /// Joins where it must, else carries what waits.
    pub(super) async fn step(&mut self) {
        if !self.is_joined {
            if Instant::now() < self.retry_at {
                return self.turn_away();
            }
            if let Err(why) = self.enter().await {
                self.failed(why);
            }
            return;
        }
        if self.desk.gate.state() == State::Waiting && Instant::now() >= self.opens_at {
            self.turn_to(State::Open);
        }
        if let Err(why) = self.carry_changes().await {
            return self.failed(why);
        }
        let batch = self.desk.next_batch(BATCH_MAX);
        if batch.is_empty() && Instant::now() < self.beat_at {
            return;
        }
        if let Err(why) = self.exchange(&batch, Telling::On).await {
            self.failed(why);
        }
    }

    /// Joins the epoch. In another one than before, the store is first told all that this node has.
    async fn enter(&mut self) -> Result<(), Ended> {
        let fresh = || format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1));
        let asked = Instant::now();
        let Joined { epoch, number, now_ms, opens_in_ms } = self.line.join(&fresh()).await.map_err(Ended::Failed)?;
        self.number = number * NUMBERS;
        self.opens_at = asked + Duration::from_millis(u64::try_from(opens_in_ms).unwrap_or(0)) + LOOK_EVERY;
        self.desk.gate.heard(now_ms);
        if self.epoch.as_ref() != Some(&epoch) {
            (self.observer)(Happened::Epoch);
            (self.epoch, self.has_told, self.book) = (Some(epoch), false, Book::default());
        }
        if !self.has_told {
            self.turn_to(State::Joining);
        }
        self.agree().await?;
        if !self.has_told {
            self.remember().await;
            let all = self.desk.all();
            for some in all.chunks(BATCH_MAX) {
                self.exchange(some, Telling::Anew).await?;
            }
            tracing::info!(
                scopes = all.len(),
                opens_in_ms,
                "the store of balances knows what this gateway used and leased"
            );
            self.has_told = true;
        }
        self.exchange(&[], Telling::Done).await?;
        (self.is_joined, self.misses, self.retry, self.told_at) = (true, 0, RETRY_FIRST, None);
        self.turn_to(if Instant::now() >= self.opens_at { State::Open } else { State::Waiting });
        Ok(())
    }

    /// Scopes that this node used and that nobody asked for lately: what they count may be known to its journal alone.
    ///
    /// A bucket that nobody asked for has nothing of this node's own to tell.
    async fn remember(&self) {
        let now_ms = self.desk.gate.now_ms().unwrap_or_default();
        for event in (self.own)(now_ms) {
            if let Event::Adjusted { rule, scope, .. } = event
                && matches!(Kind::of(&rule), Kind::Calendar | Kind::Sliding)
            {
                self.desk.cell(&rule, &scope, now_ms).await;
            }
        }
    }

    fn failed(&mut self, why: Ended) {
        self.is_joined = false;
        self.line.leave();
        match why {
            Ended::Fenced(why) => {
                // From here on nothing is spent, until the store has been told of it.
                tracing::warn!(
                    why,
                    "the store of balances is not what it was: nothing is spent until it has been told again"
                );
                (self.observer)(Happened::Fenced);
                self.turn_to(State::Joining);
                self.retry_at = Instant::now();
            }
            Ended::Failed(fault) => {
                self.misses += 1;
                (self.observer)(match &fault {
                    Fault::Slow => Happened::Slow,
                    Fault::Broken(_) | Fault::Denied(_) => Happened::Broken,
                    Fault::Unsafe(_) | Fault::Twin => Happened::Unsafe,
                });
                let is_refused = matches!(fault, Fault::Unsafe(_) | Fault::Twin);
                if self.misses < MISSES_MAX && !is_refused {
                    self.retry_at = Instant::now();
                    return;
                }
                self.retry_at = Instant::now() + if fault == Fault::Twin { NEVER } else { self.retry };
                self.retry = (self.retry * 2).min(RETRY_MAX);
                // One who has still to tell what it has goes on to owe that.
                if is_refused {
                    self.turn_to(State::Unsafe);
                } else if matches!(self.desk.gate.state(), State::Open | State::Waiting | State::Starting) {
                    self.turn_to(State::Away);
                }
                if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                    self.told_at = Some(Instant::now());
                    tracing::error!(why = %fault, "the store of balances is away: what is leased is spent, then calls are refused");
                }
                self.turn_away();
            }
        }
    }

    /// Nobody waits for a store that is away.
    fn turn_away(&self) {
        for change in std::mem::take(&mut *lock(&self.desk.changes)) {
            change.turn_away();
        }
        for cell in self.desk.next_batch(usize::MAX) {
            let waiters = {
                let mut slice = lock(&cell.slice);
                slice.is_queued = false;
                if !slice.adjustments.is_empty() {
                    self.desk.watch(&cell, &mut slice);
                }
                std::mem::take(&mut slice.waiters)
            };
            tell(waiters, Answer::Away);
        }
    }

    fn turn_to(&self, state: State) {
        if self.desk.gate.set(state) {
            tracing::info!(state = state.name(), "the store of balances");
            (self.observer)(Happened::Became(state));
        }
    }

    /// At an orderly end: what is leased and not held goes back.
    async fn give_all_back(&mut self) {
        if self.is_joined {
            for some in self.desk.all().chunks(BATCH_MAX) {
                if self.exchange(some, Telling::Last).await.is_err() {
                    return;
                }
            }
        }
    }
}

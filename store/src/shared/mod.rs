//! Balances that several gateways share through Redis or Valkey.
//!
//! A gateway leases slices of what is left of each budget and rate, and grants holds from them in memory: a call costs no
//! round trip but where its slice is used up. What is leased counts as taken in the store, so that all gateways together
//! never pass a limit, whatever any of them does, or however long it hears nothing.
//!
//! Each scope is leased by itself. That a call holds all of its scopes or none is seen to here, in memory: a lease that is
//! not used harms nobody. So scopes of all tenants together need nothing of their own.
//!
//! `slice` counts what one gateway has of one scope; `desk` takes from slices for calls; `fleet` speaks to the store, in
//! three scripts, over `line`; `gate` says whether what is leased may be spent. What operators change of limits lies in the store
//! as well (`fleet/amended`).

mod desk;
mod fault;
mod fleet;
mod frame;
mod gate;
mod line;
mod listing;
mod safety;
mod share;
mod slice;
mod told;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tollgate_core::limits::amendment::Amendment;
use tollgate_core::limits::balance::{Balance, Listing, Undone};
use tollgate_core::limits::claim::{Claim, Held, HoldId, Refused, Standing};
use tollgate_core::ports::{Later, Ledger, Used};

use crate::ledger::books::{End, lock};
use crate::ledger::event::Event;
use crate::ledger::hold::in_unit;
use crate::ledger::{JournalLedger, full};
use desk::{Desk, HOLDS_MAX, Taken, amount, release};
use fault::Fault;
use fleet::{Change, Fleet};
use line::Line;

pub use gate::State;
pub use share::{Share, ShareError, ShareLedger};

/// The start waits so long for a store that is there, and goes on without it then.
const START_MAX: Duration = Duration::from_secs(10);
/// So often a start asks a store that is slow whether it lets this gateway in: what is wrong with it should be told at once.
const LOOKS_MAX: usize = 4;
/// Adjustments of one scope that wait for the store.
const ADJUSTMENTS_MAX: usize = 1_024;
/// Grants and overrides that wait for it.
const CHANGES_MAX: usize = 64;
/// So long one waits: for the store, if need be on another connection, and for the journal.
const CHANGE_MAX: Duration = Duration::from_secs(5);

/// Where the store is, and how this gateway stands to it.
pub struct Setup {
    /// `redis://HOST:PORT/DATABASE`, or `rediss://` with TLS.
    pub address: String,
    pub password: Option<String>,
    /// Who signed the store's certificate, PEM; absent = one that this machine trusts.
    pub ca: Option<Vec<u8>>,
    /// This gateway's name among those that share: the same after a restart, unlike all others'.
    pub node: String,
    /// So long a gateway that hears nothing of the store spends what it has leased.
    pub lease: Duration,
    /// Its settings are known to be safe.
    pub trusts_store: bool,
    pub observer: Observer,
}

/// Tells what a node used, as changes that make it from nothing.
type Own = Box<dyn Fn(i64) -> Vec<Event> + Send + Sync>;

/// Told of what happens between a gateway and the store.
pub type Observer = Box<dyn Fn(Happened) + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// An operation, answered or not.
    RoundTrip,
    Slow,
    Broken,
    Unsafe,
    /// The store forgot, or is another server.
    Fenced,
    /// An epoch was joined that was not joined before.
    Epoch,
    Became(State),
}

/// The ledger of one of several gateways.
pub struct SharedLedger {
    desk: Arc<Desk>,
    stop: Arc<Notify>,
    stopped: Mutex<Option<oneshot::Receiver<()>>>,
}

impl SharedLedger {
    /// Joins the others. What this gateway's journal knows is told to the store.
    ///
    /// Fails where the store is there and must not be used; where it is not there, calls under a limit are refused until it is.
    pub async fn open(journal: Arc<JournalLedger>, setup: Setup) -> Result<Arc<SharedLedger>, String> {
        let own = journal.clone();
        SharedLedger::over(journal, Box::new(move |now_ms| own.memory.told(now_ms, || ()).1), setup).await
    }

    /// Over any ledger of this node's own, and what tells what that has used so far.
    async fn over(local: Arc<dyn Ledger>, own: Own, setup: Setup) -> Result<Arc<SharedLedger>, String> {
        let mut line = Line::new(&setup)?;
        for _ in 0..LOOKS_MAX {
            match line.look().await {
                Err(Fault::Unsafe(why) | Fault::Denied(why)) => return Err(why),
                Err(Fault::Slow) => {}
                Ok(()) | Err(Fault::Broken(_) | Fault::Twin) => break,
            }
        }
        let Setup { lease, observer, .. } = setup;
        let desk = Arc::new(Desk::new(local));
        // As many as one ledger has another has room for.
        let _ = desk.amendments.put_all(&desk.local.amendments(), i64::MIN);
        let (stop, (told, stopped)) = (Arc::new(Notify::new()), oneshot::channel());
        tokio::spawn(Fleet::new(desk.clone(), own, line, lease, observer).run(stop.clone(), told));
        let until = tokio::time::Instant::now() + START_MAX.max(lease * 2);
        while !desk.gate.may_ask() && desk.gate.state() != State::Away && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Arc::new(SharedLedger { desk, stop, stopped: Mutex::new(Some(stopped)) }))
    }

    /// After the last call: what is leased goes back. The lease ends by itself where the store does not take it in time.
    pub async fn close(&self, within: Duration) {
        self.stop.notify_one();
        let stopped = lock(&self.stopped).take();
        if let Some(stopped) = stopped {
            let _ = tokio::time::timeout(within, stopped).await;
        }
    }

    pub fn state(&self) -> State {
        self.desk.gate.state()
    }

    /// By the store's clock, where it was heard of: it says which period it is.
    fn now_ms(&self, now_ms: i64) -> i64 {
        self.desk.gate.now_ms().unwrap_or(now_ms)
    }

    async fn hold_all(&self, id: HoldId, claims: &[Claim], now_ms: i64) -> Result<Vec<Held>, Refused> {
        {
            let holds = lock(self.desk.holds(id));
            if let Some(taken) = holds.get(&id) {
                return Ok(told(taken, now_ms));
            }
            if holds.len() >= HOLDS_MAX {
                return Err(full(claims));
            }
        }
        let pending = self.desk.take(claims, now_ms).await?;
        let own: Vec<Claim> = claims.iter().zip(pending.plain()).map(|(c, rule)| Claim { rule, ..c.clone() }).collect();
        self.desk.local.hold(id, &own, now_ms).await?;
        let mut holds = lock(self.desk.holds(id));
        // Asked twice at once, the call holds once: what is pending then is given back.
        if let Some(taken) = pending.kept_if(!holds.contains_key(&id)) {
            holds.insert(id, taken);
        }
        Ok(holds.get(&id).map(|taken| told(taken, now_ms)).unwrap_or_default())
    }

    async fn extend_all(&self, id: HoldId, step: u32, more: Used, now_ms: i64) -> Result<(), Refused> {
        let wanted = {
            let holds = lock(self.desk.holds(id));
            let Some(taken) = holds.get(&id).filter(|taken| !taken.hold.is_expired) else { return Err(full(&[])) };
            if step <= taken.hold.step {
                return Ok(());
            }
            let mut wanted: Vec<(_, _, u64)> = Vec::new();
            for (part, cell) in taken.parts() {
                let amount = in_unit(more, part.rule.unit).filter(|n| *n > 0);
                if let Some(amount) = amount.filter(|_| !wanted.iter().any(|(known, ..)| Arc::ptr_eq(known, cell))) {
                    let rule = lock(&cell.slice).rule.clone();
                    wanted.push((cell.clone(), rule, amount));
                }
            }
            wanted
        };
        let pending = match wanted.is_empty() {
            true => None,
            false => Some(self.desk.take_from(&wanted).await?),
        };
        self.desk.local.extend(id, step, more, now_ms).await?;
        let mut holds = lock(self.desk.holds(id));
        let Some(taken) = holds.get_mut(&id).filter(|taken| !taken.hold.is_expired && taken.hold.step < step) else {
            return Ok(());
        };
        taken.hold.step = step;
        if let Some(added) = pending.and_then(|pending| pending.kept_if(true)) {
            taken.add(added);
        }
        Ok(())
    }

    /// What the call took is given back or booked, once.
    fn end(&self, id: HoldId, end: End) {
        let Some(taken) = lock(self.desk.holds(id)).remove(&id) else { return };
        let used = match end {
            End::Settled(used) => taken.hold.shares(used),
            End::Voided => vec![0; taken.hold.parts.len()],
        };
        release(&taken, &used);
    }

    async fn standing_of(&self, claims: &[Claim], now_ms: i64) -> Vec<Standing> {
        let mut asked = Vec::new();
        let mut cells = Vec::with_capacity(claims.len());
        for claim in claims {
            let cell = self.desk.cell(&claim.rule, &claim.scope, now_ms).await;
            if let Some(cell) = &cell {
                let is_old = {
                    let mut slice = lock(&cell.slice);
                    self.desk.advance(cell, &mut slice, Some(&claim.rule), now_ms);
                    slice.is_old()
                };
                if is_old {
                    asked.push(self.desk.ask(cell, 0));
                }
            }
            cells.push(cell);
        }
        for answer in asked {
            let _ = tokio::time::timeout(desk::ANSWER_MAX, answer).await;
        }
        let whole = |n: i64| u64::try_from(n).unwrap_or(0);
        let stands = |(cell, claim): (Option<Arc<desk::Cell>>, &Claim)| {
            let Some(cell) = cell else {
                let limit = self.desk.amendments.limit(&claim.rule, &claim.scope, now_ms).most;
                return Standing { limit, ..Standing::default() };
            };
            let slice = lock(&cell.slice);
            let (used, held) = (slice.used_by_all(), slice.held_by_all());
            let resets_at_ms = slice.frame.resets_at_ms(used, slice.limit(), now_ms);
            Standing { limit: slice.most, used: whole(used), held: whole(held), resets_at_ms }
        };
        cells.into_iter().zip(claims).map(stands).collect()
    }
}

fn told(taken: &Taken, now_ms: i64) -> Vec<Held> {
    taken.parts().map(|(part, cell)| told::held(part, cell, now_ms)).collect()
}

impl Taken {
    /// What was taken for an extension: more of a part where its period is still the same, else a part of its own.
    fn add(&mut self, added: Taken) {
        for (part, cell) in added.hold.parts.into_iter().zip(added.cells) {
            let known = self.hold.parts.iter_mut().rev().find(|p| p.scope == part.scope && p.epoch == part.epoch);
            match known.filter(|known| known.rule.unit == part.rule.unit) {
                Some(known) => known.claimed = known.claimed.saturating_add(part.claimed),
                None => {
                    self.hold.parts.push(part);
                    self.cells.push(cell);
                }
            }
        }
    }
}

impl Ledger for SharedLedger {
    fn standing<'a>(&'a self, claims: &'a [Claim], now_ms: i64) -> Later<'a, Vec<Standing>> {
        Box::pin(self.standing_of(claims, self.now_ms(now_ms)))
    }

    fn hold<'a>(&'a self, id: HoldId, claims: &'a [Claim], now_ms: i64) -> Later<'a, Result<Vec<Held>, Refused>> {
        Box::pin(self.hold_all(id, claims, self.now_ms(now_ms)))
    }

    fn extend<'a>(&'a self, id: HoldId, step: u32, more: Used, now_ms: i64) -> Later<'a, Result<(), Refused>> {
        Box::pin(self.extend_all(id, step, more, self.now_ms(now_ms)))
    }

    fn settle<'a>(&'a self, id: HoldId, used: Used, now_ms: i64) -> Later<'a, ()> {
        self.end(id, End::Settled(Some(used)));
        self.desk.local.settle(id, used, self.now_ms(now_ms))
    }

    fn void<'a>(&'a self, id: HoldId, now_ms: i64) -> Later<'a, ()> {
        self.end(id, End::Voided);
        self.desk.local.void(id, self.now_ms(now_ms))
    }

    fn lost(&self, id: HoldId, had_left: bool, now_ms: i64) {
        self.end(id, if had_left { End::Settled(None) } else { End::Voided });
        self.desk.local.lost(id, had_left, self.now_ms(now_ms));
    }

    /// Counts at the store, once, as soon as that answers: within a moment, where it is there.
    fn adjust<'a>(&'a self, id: HoldId, claim: &'a Claim, delta: i64, now_ms: i64) -> Later<'a, ()> {
        Box::pin(async move {
            let now_ms = self.now_ms(now_ms);
            let Some(cell) = self.desk.cell(&claim.rule, &claim.scope, now_ms).await else { return };
            {
                let mut slice = lock(&cell.slice);
                self.desk.advance(&cell, &mut slice, Some(&claim.rule), now_ms);
                if slice.adjustments.len() >= ADJUSTMENTS_MAX {
                    tracing::error!(scope = %claim.scope, delta, "an adjustment is lost: the store took none for too long");
                    return;
                }
                slice.adjustments.push((id, delta.clamp(-amount(u64::MAX), amount(u64::MAX))));
                self.desk.enqueue(&cell, &mut slice);
            }
            let _ = tokio::time::timeout(desk::ANSWER_MAX, self.desk.ask(&cell, 0)).await;
        })
    }

    /// The store first: what that took counts on every gateway, and each keeps it in its own journal. It is told as done when
    /// this one has.
    fn amend(&self, amendment: Arc<Amendment>, _now_ms: i64) -> Later<'_, Result<(), Undone>> {
        Box::pin(async move {
            let (id, (told, answer)) = (amendment.id.clone(), oneshot::channel());
            {
                let mut changes = lock(&self.desk.changes);
                if changes.len() >= CHANGES_MAX {
                    return Err(Undone::Away);
                }
                changes.push_back(Change { amendment, told: Some(told), was_sent: false });
            }
            self.desk.bell.notify_one();
            match tokio::time::timeout(CHANGE_MAX, answer).await {
                Ok(Ok(done)) => done,
                Ok(Err(_)) | Err(_) => Err(Undone::Unsaid(id)),
            }
        })
    }

    fn amendments(&self) -> Vec<Arc<Amendment>> {
        self.desk.amendments.all()
    }

    fn time_ms(&self, now_ms: i64) -> i64 {
        self.now_ms(now_ms)
    }

    fn balances<'a>(&'a self, listing: Listing<'a>, now_ms: i64) -> Later<'a, Result<Vec<Balance>, Undone>> {
        Box::pin(self.list(listing, self.now_ms(now_ms)))
    }
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;

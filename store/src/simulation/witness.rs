//! Between the pipeline and the real ledger and trail: everything goes on to them, and the truth is told of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use tollgate_core::evidence::intent::Intent;
use tollgate_core::evidence::receipt::Receipt;
use tollgate_core::limits::claim::{Claim, Held, HoldId, Refused, Standing};
use tollgate_core::limits::rules::Rule;
use tollgate_core::ports::{Later, Ledger, Trail, Unkept, Used};

use super::executor::Time;
use super::truth::{End, Span, Truth};
use super::world::Control;
use crate::journal::Disk;
use crate::ledger::books::lock;
use crate::ledger::{JournalLedger, full};
use crate::trail::FileTrail;

pub(super) struct Witness {
    pub ledger: Arc<JournalLedger>,
    pub trail: Arc<FileTrail>,
    pub truth: Arc<Mutex<Truth>>,
    pub trace: Arc<Mutex<Vec<String>>>,
    pub disk: Disk,
    pub time: Time,
    pub control: Control,
    /// Calls leave when the disk has their intents.
    pub is_strict: bool,
}

impl Witness {
    /// The end of the journal.
    fn next(&self) -> u64 {
        self.ledger.journal().written().next
    }

    fn tell(&self, what: String) {
        lock(&self.trace).push(format!("{} {what}", self.time.now_ms()));
    }

    async fn holds(&self, id: HoldId, claims: &[Claim], now_ms: i64, is_for: bool) -> Result<Vec<Held>, Refused> {
        lock(&self.truth).asked(now_ms);
        let wider;
        let asked = match self.control {
            Control::CheckThenAdd => {
                wider = self.checked(claims, now_ms).await?;
                &wider[..]
            }
            Control::None | Control::LyingDisk => claims,
        };
        let from = self.next();
        let held = match is_for {
            true => self.ledger.hold_for(id, asked, now_ms).await,
            false => self.ledger.hold(id, asked, now_ms).await,
        };
        let to = Some(self.next());
        self.tell(format!("hold {id:x} at {now_ms}: {}", held.is_ok()));
        if let Ok(held) = &held {
            lock(&self.truth).held(id, claims, held, now_ms, (!is_for).then_some(Span { from, to }));
        }
        held
    }

    /// As it must not be done: room is looked for, then others come, then it is taken.
    async fn checked(&self, claims: &[Claim], now_ms: i64) -> Result<Vec<Claim>, Refused> {
        let standings = self.ledger.standing(claims, now_ms).await;
        if standings.iter().zip(claims).any(|(stands, claim)| stands.remaining() < claim.worst) {
            return Err(full(claims));
        }
        self.time.sleep(1).await;
        let wide = |claim: &Claim| {
            let rule = Arc::new(Rule { limit: u64::MAX / 1_000_000, ..(*claim.rule).clone() });
            Claim { rule, ..claim.clone() }
        };
        Ok(claims.iter().map(wide).collect())
    }

    async fn ends(&self, id: HoldId, end: End, now_ms: i64) {
        lock(&self.truth).asked(now_ms);
        lock(&self.truth).ends(id, end, self.next());
        self.tell(format!("end {id:x} at {now_ms}: {end:?}"));
        match end {
            End::Used(used) => self.ledger.settle(id, used, now_ms).await,
            End::Voided | End::Lost => self.ledger.void(id, now_ms).await,
        }
        lock(&self.truth).has_ended(id, self.next());
        self.tell(format!("ended {id:x}"));
    }
}

impl Ledger for Witness {
    fn standing<'a>(&'a self, claims: &'a [Claim], now_ms: i64) -> Later<'a, Vec<Standing>> {
        lock(&self.truth).asked(now_ms);
        self.ledger.standing(claims, now_ms)
    }

    fn hold<'a>(&'a self, id: HoldId, claims: &'a [Claim], now_ms: i64) -> Later<'a, Result<Vec<Held>, Refused>> {
        Box::pin(self.holds(id, claims, now_ms, false))
    }

    fn hold_for<'a>(&'a self, id: HoldId, claims: &'a [Claim], now_ms: i64) -> Later<'a, Result<Vec<Held>, Refused>> {
        Box::pin(self.holds(id, claims, now_ms, true))
    }

    fn extend<'a>(&'a self, id: HoldId, step: u32, more: Used, now_ms: i64) -> Later<'a, Result<(), Refused>> {
        Box::pin(async move {
            let at = {
                let mut truth = lock(&self.truth);
                truth.asked(now_ms);
                let claims: Vec<Claim> = truth.scopes.values().cloned().collect();
                // The periods that an extension counts in are those of this moment.
                let stands = self.ledger.standing(&claims, now_ms).now_or_never().expect("it waits for nothing");
                let ends_ms: BTreeMap<_, _> = claims
                    .iter()
                    .zip(&stands)
                    .map(|(claim, stands)| (claim.scope.clone(), stands.resets_at_ms))
                    .collect();
                truth.extends(id, more, &ends_ms, now_ms, self.next())
            };
            let extended = self.ledger.extend(id, step, more, now_ms).await;
            self.tell(format!("extend {id:x} {step} at {now_ms}: {}", extended.is_ok()));
            if at > 0 {
                lock(&self.truth).extended(id, at, extended.is_ok().then(|| self.next()));
            }
            extended
        })
    }

    fn settle<'a>(&'a self, id: HoldId, used: Used, now_ms: i64) -> Later<'a, ()> {
        Box::pin(self.ends(id, End::Used(used), now_ms))
    }

    fn void<'a>(&'a self, id: HoldId, now_ms: i64) -> Later<'a, ()> {
        Box::pin(self.ends(id, End::Voided, now_ms))
    }

    fn lost(&self, id: HoldId, had_left: bool, now_ms: i64) {
        // A process that has ended drops nothing.
        if self.disk.has_ended() {
            return;
        }
        let end = if had_left { End::Lost } else { End::Voided };
        lock(&self.truth).asked(now_ms);
        let from = self.next();
        let is_first = lock(&self.truth).ends(id, end, from);
        self.ledger.lost(id, had_left, now_ms);
        // Where it was lost while its end waited for the journal, that may be written or not; and a journal that begins a
        // segment just now takes nothing, and nothing waits for it here.
        if is_first && !self.disk.has_ended() && self.next() > from {
            lock(&self.truth).has_ended(id, self.next());
        }
        self.tell(format!("lost {id:x}: {had_left}"));
    }

    fn adjust<'a>(&'a self, id: HoldId, claim: &'a Claim, delta: i64, now_ms: i64) -> Later<'a, ()> {
        self.ledger.adjust(id, claim, delta, now_ms)
    }
}

impl Trail for Witness {
    fn intend<'a>(&'a self, intent: &'a Intent) -> Later<'a, Result<(), Unkept>> {
        Box::pin(async move {
            lock(&self.truth).leaves(intent.id, self.next());
            let kept = self.trail.intend(intent).await;
            self.tell(format!("intent {:x}: {}", intent.id, kept.is_ok()));
            if kept.is_ok() {
                // Where calls wait for the disk it has the intent, and nothing behind what it confirmed need be there.
                let confirmed = if self.is_strict { self.ledger.journal().head().next } else { self.next() };
                lock(&self.truth).went_out(intent.id, confirmed);
            }
            kept
        })
    }

    fn lost(&self, id: HoldId, now_ms: i64) {
        if !self.disk.has_ended() {
            Trail::lost(&*self.trail, id, now_ms);
        }
    }

    fn record(&self, receipt: Box<Receipt>) -> Later<'_, ()> {
        self.tell(format!("receipt {}: {:?}", receipt.call_id, receipt.outcome));
        self.trail.record(receipt)
    }
}

//! What one node has of one scope: what it has leased, what of that it used and holds, and what it wants next.
//!
//! Invariant: what is used since the store was last told, and what is held, never pass the lease; but for a provider that
//! counted more than was held for its call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tollgate_core::limits::claim::HoldId;
use tollgate_core::limits::rules::{Rule, ScopeGlobs, Unit};

use super::frame::{AMOUNT_MAX, Frame, Kind};

/// A slice of one call's size is no slice.
const AHEAD_FIRST: i64 = 16;
/// Asked again sooner than this, a slice was too small; later than the second, too large.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(4);
/// A slice that nobody uses for so long goes back; near the limit sooner, for others want it.
const IDLE: Duration = Duration::from_secs(1);
const IDLE_TIGHT: Duration = Duration::from_millis(100);
/// What is used is told so often at least, where the store need not know it sooner.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// What drains does so from when the store is told: after a 50th of its window.
const TELL_PER_WINDOW: i64 = 50;
const TELL_BUCKET_MS: std::ops::RangeInclusive<i64> = 20..=1_000;

/// What the store answered to somebody who needs more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// There is more now: try again.
    Given,
    /// There is not so much left.
    Spent,
    /// The store does not answer, or leases nothing yet.
    Away,
}

/// How a scope stood when the store last answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// By all.
    pub used: i64,
    /// Leased to others.
    pub others: i64,
    /// What each other node used and had leased, as the store writes it: told to a store that may have lost it.
    pub shares: Box<str>,
}

#[derive(Debug)]
pub(super) struct Slice {
    /// As calls have it.
    pub rule: Arc<Rule>,
    /// The same without a bound: what this node's own ledger counts by.
    pub plain: Arc<Rule>,
    /// What the rule says and operators changed of it, as of the last look.
    pub most: u64,
    /// So often operators changed it.
    relimited: u64,
    pub frame: Frame,
    /// Another one for each period: a hold names the one that it was made in.
    pub turn: u64,
    pub lease: i64,
    /// Used on this node: in the period, or since this slice was made.
    pub used: i64,
    /// Of that the store was told.
    pub told: i64,
    pub held: i64,
    /// The store has not heard of this slice yet.
    pub is_fresh: bool,
    /// The store need be told something.
    pub is_dirty: bool,
    pub seen: Option<Seen>,
    pub waiters: Vec<(i64, oneshot::Sender<Answer>)>,
    /// On its way to the store, or waiting for that.
    pub is_asking: bool,
    pub is_queued: bool,
    /// Among those that are looked at from time to time.
    pub is_watched: bool,
    pub adjustments: Vec<(HoldId, i64)>,
    /// No slice ahead was to be had: each call asks for what it needs.
    pub is_tight: bool,
    ahead: i64,
    /// What a call needs, about.
    step: i64,
    asked_at: Option<Instant>,
    taken_at: Instant,
    told_at: Instant,
}

/// What the store is told of a scope, and asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub turn: u64,
    pub frame: Frame,
    pub limit: i64,
    relimited: u64,
    pub used: i64,
    /// What stays leased in any case.
    pub floor: i64,
    /// The least that somebody who waits needs; 0 = nobody does.
    pub min: i64,
    /// What all who wait need.
    pub want: i64,
    pub ahead: i64,
    pub step: i64,
    pub is_fresh: bool,
    /// What of a span or bucket this node knows as its own, for a store that knows nothing of it.
    pub window: i64,
    /// What each of the others had, for a store that forgot it; empty = it need not be told.
    pub others: Box<str>,
    pub adjustment: Option<(HoldId, i64)>,
}

impl Slice {
    pub(super) fn new(rule: &Arc<Rule>, now_ms: i64) -> Slice {
        let now = Instant::now();
        Slice {
            rule: rule.clone(),
            plain: plain(rule),
            most: rule.limit,
            relimited: 0,
            frame: Frame::of(rule, now_ms),
            turn: 0,
            lease: 0,
            used: 0,
            told: 0,
            held: 0,
            is_fresh: true,
            is_dirty: false,
            seen: None,
            waiters: Vec::new(),
            is_asking: false,
            is_queued: false,
            is_watched: false,
            adjustments: Vec::new(),
            is_tight: false,
            ahead: 0,
            step: 1,
            asked_at: None,
            taken_at: now,
            told_at: now,
        }
    }

    /// Brings it to the period of now and to the rule as it is now. What was leased for a period ends with it.
    pub(super) fn advance(&mut self, rule: Option<&Arc<Rule>>, now_ms: i64) {
        if let Some(rule) = rule.filter(|rule| !Arc::ptr_eq(rule, &self.rule)) {
            let is_same_window = self.rule.window == rule.window;
            (self.rule, self.plain) = (rule.clone(), plain(rule));
            if !is_same_window && !self.frame.is_over(now_ms) {
                self.frame = Frame::of(rule, now_ms);
            }
        }
        if self.frame.is_over(now_ms) {
            self.frame = Frame::of(&self.rule, now_ms);
            self.turn += 1;
            (self.lease, self.used, self.told, self.held) = (0, 0, 0, 0);
            (self.is_dirty, self.is_tight, self.seen) = (false, false, None);
        }
    }

    /// Takes another limit. Under a lower one nothing is spent of what was leased under the one before: what a call needs
    /// is asked for again.
    pub(super) fn relimit(&mut self, most: u64) {
        self.relimited += u64::from(most != self.most);
        if most < self.most {
            self.give_up();
        }
        self.most = most;
    }

    fn give_up(&mut self) {
        let kept = self.held.max(0) + self.used - self.told;
        if kept < self.lease {
            (self.lease, self.is_dirty) = (kept, true);
        }
    }

    pub(super) fn limit(&self) -> i64 {
        i64::try_from(self.most).unwrap_or(AMOUNT_MAX).min(AMOUNT_MAX)
    }

    /// What calls may still take of what is leased.
    pub(super) fn free(&self) -> i64 {
        self.lease - (self.used - self.told) - self.held
    }

    /// What is used by all, as far as it is known here.
    pub(super) fn used_by_all(&self) -> i64 {
        self.seen.as_ref().map_or(self.used, |seen| seen.used + self.used - self.told)
    }

    /// What is held by calls of this node, and leased to others.
    pub(super) fn held_by_all(&self) -> i64 {
        self.seen.as_ref().map_or(self.held, |seen| seen.others + self.held)
    }

    pub(super) fn is_idle(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.taken_at) >= if self.is_tight { IDLE_TIGHT } else { IDLE }
    }

    /// Takes `need`, where the lease has room for it.
    pub(super) fn take(&mut self, need: i64) -> bool {
        if self.free() < need {
            return false;
        }
        self.step = need.max(self.step - self.step / 16).max(1);
        self.taken_at = Instant::now();
        match self.rule.unit {
            // Counted when it comes, not when it ends.
            Unit::Requests => self.book(need),
            Unit::Nanousd | Unit::Tokens | Unit::InFlight => self.held += need,
        }
        true
    }

    /// As if `take` had not been.
    pub(super) fn untake(&mut self, need: i64) {
        match self.rule.unit {
            Unit::Requests => self.book(-need),
            Unit::Nanousd | Unit::Tokens | Unit::InFlight => self.held -= need,
        }
    }

    pub(super) fn book(&mut self, amount: i64) {
        self.used += amount;
        self.is_dirty |= amount != 0;
    }

    /// Is so little left that more should be fetched before it is needed?
    pub(super) fn runs_low(&self) -> bool {
        !self.is_tight && !self.is_asking && !self.is_queued && self.free() < self.ahead / 2
    }

    /// Has the store to hear of this without anybody waiting?
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.told_at);
        let every = match self.frame.kind {
            Kind::Bucket => {
                let ms = (self.frame.from / TELL_PER_WINDOW).clamp(*TELL_BUCKET_MS.start(), *TELL_BUCKET_MS.end());
                Duration::from_millis(ms.unsigned_abs())
            }
            Kind::Calendar | Kind::Sliding | Kind::Flight => TELL_EVERY,
        };
        !self.adjustments.is_empty() || (self.is_dirty && since >= every) || (self.free() > 0 && self.is_idle(now))
    }

    /// Nothing here that the store does not know, and nothing leased.
    pub(super) fn is_at_rest(&self) -> bool {
        let is_empty = self.lease <= 0 && self.held == 0 && !self.is_dirty;
        is_empty && self.waiters.is_empty() && !self.is_asking && !self.is_queued && self.adjustments.is_empty()
    }

    /// Nobody used it for so long.
    pub(super) fn rests_since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.taken_at.max(self.told_at))
    }

    /// What the store is told now; told again after a loss, a node `keeps_all` that others may have heard of. What is given up is given up before it is told, and what waits is taken along.
    pub(super) fn ask(&mut self, all_back: bool, keeps_all: bool) -> (Ask, Vec<(i64, oneshot::Sender<Answer>)>) {
        let now = Instant::now();
        let waiters = std::mem::take(&mut self.waiters);
        let needs = || waiters.iter().map(|(need, _)| *need).filter(|need| *need > 0);
        let (min, want) = (needs().min().unwrap_or(0), needs().fold(0i64, i64::saturating_add));
        let (is_hungry, is_idle) = (min > 0, all_back || self.is_idle(now));
        let free = self.free().max(0);
        self.step = needs().max().unwrap_or(1).max(self.step);
        let gives_up = !keeps_all && (is_hungry || is_idle);
        let floor = self.held.max(0) + if gives_up { 0 } else { free };
        self.pace(is_hungry || !is_idle && free < self.ahead / 2, now);
        let ahead = match (is_hungry, is_idle) {
            (true, _) => self.ahead,
            (false, true) => 0,
            (false, false) => (self.ahead - free).max(0),
        };
        let ask = Ask {
            turn: self.turn,
            frame: self.frame,
            limit: self.limit(),
            relimited: self.relimited,
            used: self.used,
            floor,
            min,
            want: want.min(AMOUNT_MAX),
            ahead: if all_back { 0 } else { ahead },
            step: self.step,
            is_fresh: self.is_fresh,
            window: if self.frame.kind == Kind::Bucket { self.used - self.told } else { self.used },
            others: if keeps_all { self.others() } else { Box::default() },
            adjustment: self.adjustments.first().copied(),
        };
        (self.lease, self.told, self.is_dirty) = (floor, self.used, false);
        (self.is_queued, self.is_asking, self.told_at) = (false, true, now);
        (ask, waiters)
    }

    /// Larger slices for who comes often.
    fn pace(&mut self, wants: bool, now: Instant) {
        if !wants {
            return;
        }
        let since = self.asked_at.map(|at| now.saturating_duration_since(at));
        self.ahead = match since {
            None => self.step.saturating_mul(AHEAD_FIRST),
            Some(since) if since < SOON => self.ahead.saturating_mul(2),
            Some(since) if since > LATE => self.ahead / 2,
            Some(_) => self.ahead,
        };
        self.ahead = self.ahead.clamp(self.step, (self.limit() / 4).max(self.step));
        self.asked_at = Some(now);
    }

    /// What others had, by what the store last said.
    fn others(&self) -> Box<str> {
        self.seen.as_ref().map(|seen| seen.shares.clone()).unwrap_or_default()
    }

    /// The store's answer to `ask`.
    pub(super) fn answered(&mut self, ask: &Ask, lease: i64, seen: Seen, is_tight: bool) {
        self.is_asking = false;
        if let Some(done) = ask.adjustment {
            self.adjustments.retain(|waiting| *waiting != done);
        }
        if ask.turn == self.turn {
            (self.lease, self.seen, self.is_tight, self.is_fresh) = (lease, Some(seen), is_tight, false);
            if self.relimited != ask.relimited && self.limit() < ask.limit {
                self.give_up();
            }
        }
    }

    /// It was asked for under a lower limit than operators have set since.
    pub(super) fn was_raised_since(&self, ask: &Ask) -> bool {
        self.relimited != ask.relimited && self.limit() > ask.limit
    }

    /// How it stands at the store was not asked lately.
    pub(super) fn is_old(&self) -> bool {
        self.seen.is_none() || self.told_at.elapsed() >= TELL_EVERY
    }

    /// As if nobody had used it for long.
    #[cfg(test)]
    pub(super) fn rest(&mut self) {
        self.taken_at -= IDLE * 2;
    }

    /// Nobody knows whether the store took it. What is leased is no less than what stays in any case.
    pub(super) fn unanswered(&mut self) {
        (self.is_asking, self.is_dirty) = (false, true);
    }
}

/// The same without a bound.
pub(super) fn plain(rule: &Arc<Rule>) -> Arc<Rule> {
    Arc::new(Rule { limit: u64::MAX, ladder: Vec::new(), scope: ScopeGlobs::default(), ..(**rule).clone() })
}

//! What the ledger is compared with: lists instead of counters, sums instead of state. Only for its tests.

use std::collections::HashSet;

use jiff::Timestamp;
use tollgate_core::limits::amendment::What;
use tollgate_core::limits::rules::{Calendar, Window};

use super::books::SWEEP_EVERY_MS;
use super::*;

/// Something that was used, and when: in a period by its name, in a span by its slot.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) at: String,
    pub(crate) slot: i64,
    pub(crate) amount: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) entries: Vec<Entry>,
    /// A bucket: what is in it, in units times its window, and the time of that.
    pub(crate) level: (u128, i64),
    /// The limit at the last look, and the moment at which that ended.
    pub(crate) seen: (u64, i64),
}

#[derive(Debug, Clone)]
pub(crate) struct ModelHold {
    pub(crate) id: HoldId,
    /// Account, name of the period, amount.
    pub(crate) parts: Vec<(usize, String, u64)>,
    pub(crate) step: u32,
    pub(crate) until_ms: i64,
    pub(crate) expired: bool,
}

pub(crate) struct Model {
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) amendments: Vec<Amendment>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) holds: Vec<ModelHold>,
    pub(crate) ended: HashSet<HoldId>,
    pub(crate) swept_ms: [i64; SHARDS],
    pub(crate) now_ms: i64,
    pub(crate) latest_ms: i64,
}

/// The name of the period around a moment: what a calendar on the wall of that zone shows.
pub(crate) fn period(rule: &Rule, ms: i64) -> String {
    let Window::Calendar { every, zone } = &rule.window else { return String::new() };
    let format = match every {
        Calendar::Hour => "%Y-%m-%dT%H %z",
        Calendar::Day => "%Y-%m-%d",
        Calendar::Week => "%G-W%V",
        Calendar::Month => "%Y-%m",
    };
    Timestamp::from_millisecond(ms)
        .expect("tests stay within the times that there are")
        .to_zoned(zone.clone())
        .strftime(format)
        .to_string()
}

impl Model {
    /// What the rule says, or the last override in its place, with all grants; and when the first of them ends.
    pub(crate) fn limit(&self, at: usize) -> (u64, i64) {
        let ends = |one: &&Amendment| one.revoked_ms.unwrap_or(one.until_ms).min(one.until_ms);
        let mut live: Vec<&Amendment> = self.amendments.iter().filter(|one| one.rule == self.rules[at].name).collect();
        live.retain(|one| self.latest_ms < ends(one));
        live.sort_by_key(|one| (one.scope.is_some(), one.made_ms, one.id.clone()));
        let mut limit = self.rules[at].limit as i64;
        for one in &live {
            limit = if let What::Override(most) = one.what { most as i64 } else { limit };
        }
        for one in &live {
            limit += if let What::Grant(more) = one.what { more } else { 0 };
        }
        (limit.max(0) as u64, live.iter().map(ends).min().unwrap_or(i64::MAX))
    }

    pub(crate) fn here(&self, at: usize) -> String {
        period(&self.rules[at], self.latest_ms)
    }

    pub(crate) fn slot(&self, at: usize) -> i64 {
        let Window::Sliding { span_ms } = self.rules[at].window else { return 0 };
        self.latest_ms.div_euclid((span_ms as i64).div_euclid(64))
    }

    pub(crate) fn held(&self, at: usize) -> u64 {
        let here = self.here(at);
        let live = self.holds.iter().filter(|h| !h.expired).flat_map(|h| &h.parts);
        let unit = self.rules[at].unit;
        live.filter(|(a, p, _)| *a == at && *p == here && unit != Unit::Requests).map(|(.., amount)| amount).sum()
    }

    pub(crate) fn used(&mut self, at: usize) -> u64 {
        let (here, slot, rule) = (self.here(at), self.slot(at), self.rules[at].clone());
        if let Window::Rolling { per_ms } = rule.window {
            let (limit, now_ms) = (self.limit(at), self.now_ms);
            let (seen, ended_ms) = self.accounts[at].seen;
            if limit.0 != seen {
                self.drain(at, seen, now_ms.min(ended_ms));
            }
            self.accounts[at].seen = limit;
            self.drain(at, limit.0, now_ms);
            return self.accounts[at].level.0.div_ceil(u128::from(per_ms)) as u64;
        }
        self.accounts[at].entries.iter().filter(|e| e.at == here && e.slot + 64 >= slot).map(|e| e.amount).sum()
    }

    fn drain(&mut self, at: usize, limit: u64, to_ms: i64) {
        let (spent, ms) = &mut self.accounts[at].level;
        if to_ms > *ms {
            *spent = spent.saturating_sub((to_ms - *ms) as u128 * u128::from(limit));
            *ms = to_ms;
        } else if *ms - to_ms > 1_000 {
            *ms = to_ms;
        }
    }

    pub(crate) fn fits(&mut self, at: usize, wanted: u64) -> bool {
        let (used, held, rule) = (self.used(at), self.held(at), self.rules[at].clone());
        match rule.window {
            Window::Rolling { per_ms } => {
                let level = self.accounts[at].level.0;
                u128::from(held + wanted) * u128::from(per_ms) + level
                    <= u128::from(self.limit(at).0) * u128::from(per_ms)
            }
            _ => used + held + wanted <= self.limit(at).0,
        }
    }

    pub(crate) fn book(&mut self, at: usize, here: &str, amount: u64) {
        self.used(at);
        let slot = self.slot(at);
        if let Window::Rolling { per_ms } = self.rules[at].window {
            self.accounts[at].level.0 += u128::from(amount) * u128::from(per_ms);
        } else if self.rules[at].unit != Unit::InFlight {
            self.accounts[at].entries.push(Entry { at: here.to_owned(), slot, amount });
        }
    }

    pub(crate) fn hold(&mut self, id: HoldId, claims: &[(usize, u64)]) -> bool {
        self.expire(hold_shard(id));
        if self.holds.iter().any(|h| h.id == id) {
            return true;
        }
        let fits = |me: &mut Self, n: usize| {
            let before: u64 = claims[..n].iter().filter(|c| c.0 == claims[n].0).map(|c| c.1).sum();
            me.fits(claims[n].0, claims[n].1 + before)
        };
        if self.ended.contains(&id) || !(0..claims.len()).all(|n| fits(self, n)) {
            return false;
        }
        let parts: Vec<_> = claims.iter().map(|(at, worst)| (*at, self.here(*at), *worst)).collect();
        for (at, here, worst) in
            parts.iter().filter(|part| self.rules[part.0].unit == Unit::Requests).cloned().collect::<Vec<_>>()
        {
            self.book(at, &here, worst);
        }
        self.holds.push(ModelHold { id, parts, step: 0, until_ms: self.now_ms + HOLD_MS_MAX, expired: false });
        true
    }

    pub(crate) fn extend(&mut self, id: HoldId, step: u32, more: Used) -> bool {
        let Some(n) = self.holds.iter().position(|h| h.id == id && !h.expired) else { return false };
        if step <= self.holds[n].step {
            return true;
        }
        let mut accounts: Vec<usize> = self.holds[n].parts.iter().map(|p| p.0).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let wanted: Vec<(usize, u64)> = accounts
            .iter()
            .filter_map(|at| Some((*at, in_unit(more, self.rules[*at].unit)?)))
            .filter(|w| w.1 > 0)
            .collect();
        if !wanted.iter().all(|(at, amount)| self.fits(*at, *amount)) {
            return false;
        }
        self.holds[n].step = step;
        for (at, amount) in wanted {
            let here = self.here(at);
            let last =
                self.holds[n].parts.iter().rposition(|p| p.0 == at).expect("a hold has a part in each of its accounts");
            match self.holds[n].parts[last].1 == here {
                true => self.holds[n].parts[last].2 += amount,
                false => self.holds[n].parts.push((at, here, amount)),
            }
        }
        true
    }

    /// `used`: nothing, so much, or (`None`) all that is held.
    pub(crate) fn end(&mut self, id: HoldId, used: Option<Used>) {
        let Some(n) = self.holds.iter().position(|h| h.id == id) else { return };
        let hold = self.holds.remove(n);
        self.ended.insert(id);
        for (at, (account, here, claimed)) in hold.parts.iter().enumerate() {
            let unit = self.rules[*account].unit;
            let amount = match used {
                None if matches!(unit, Unit::Requests | Unit::InFlight) => 0,
                None => *claimed,
                Some(used) => {
                    let before: u64 = hold.parts[..at].iter().filter(|p| p.0 == *account).map(|p| p.2).sum();
                    let last = !hold.parts[at + 1..].iter().any(|p| p.0 == *account);
                    let left = in_unit(used, unit).unwrap_or(0).saturating_sub(before);
                    if last { left } else { left.min(*claimed) }
                }
            };
            if amount > 0 {
                self.book(*account, here, amount);
            }
        }
    }

    pub(crate) fn expire(&mut self, shard: usize) {
        if self.now_ms - self.swept_ms[shard] < SWEEP_EVERY_MS {
            return;
        }
        self.swept_ms[shard] = self.now_ms;
        let now_ms = self.now_ms;
        let due = |h: &ModelHold| hold_shard(h.id) == shard && now_ms >= h.until_ms;
        self.ended.extend(self.holds.iter().filter(|h| due(h) && h.expired).map(|h| h.id));
        self.holds.retain(|h| !(due(h) && h.expired));
        for hold in self.holds.iter_mut().filter(|h| due(h)) {
            (hold.expired, hold.until_ms) = (true, now_ms + HOLD_MS_MAX);
        }
    }
}

//! What operators changed of limits: grants and overrides, found by scope or rule, and what a limit is under them.
//!
//! They end in the ledger's own time: the latest moment that it was told, so that a clock that is set back brings none back.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tollgate_core::limits::amendment::{Amendment, Limit};
use tollgate_core::limits::balance::Undone;
use tollgate_core::limits::rules::Rule;

use super::MemoryLedger;
use super::event::Event;

/// So many are known, those that ended lately among them.
pub(crate) const AMENDMENTS_MAX: usize = 4_096;
/// One that ended is known for so long: a week. What comes again under its id does nothing until then.
const ENDED_KNOWN_MS: i64 = 7 * 86_400_000;

#[derive(Debug)]
pub(crate) struct Amendments {
    known: RwLock<Known>,
    /// How many are known: calls look no further where there are none.
    count: AtomicUsize,
    /// The latest moment that was told since one is known.
    latest_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct Known {
    by_id: BTreeMap<Arc<str>, Arc<Amendment>>,
    /// Those that have not ended, by the key of their scope; of a whole rule, by its name.
    by_place: HashMap<Arc<str>, Vec<Arc<Amendment>>>,
}

impl Default for Amendments {
    fn default() -> Self {
        Amendments { known: RwLock::default(), count: AtomicUsize::new(0), latest_ms: AtomicI64::new(i64::MIN) }
    }
}

/// Is it over for so long that nobody need know it? What was revoked is known to the end that it was made with: a gateway
/// that comes back with what it knew before would bring it back.
pub(crate) fn is_forgotten(one: &Amendment, now_ms: i64) -> bool {
    now_ms >= one.ends_ms().saturating_add(ENDED_KNOWN_MS).max(one.until_ms)
}

fn place(amendment: &Amendment) -> &Arc<str> {
    amendment.scope.as_ref().unwrap_or(&amendment.rule)
}

impl Known {
    fn put(&mut self, amendment: Arc<Amendment>) -> Option<Arc<Amendment>> {
        self.by_id.insert(amendment.id.clone(), amendment)
    }

    fn put_if_room(&mut self, one: &Arc<Amendment>, now_ms: i64) -> Result<Option<Arc<Amendment>>, Undone> {
        if !self.by_id.contains_key(&one.id) {
            self.forget(now_ms);
            if self.by_id.len() >= AMENDMENTS_MAX {
                return Err(Undone::Full(AMENDMENTS_MAX));
            }
        }
        Ok(self.put(one.clone()))
    }

    /// What `by_id` has, by place: a change is seldom, and whatever it was they agree.
    fn index(&mut self, now_ms: i64) {
        self.by_place.clear();
        for one in self.by_id.values().filter(|one| one.is_in_force(now_ms)) {
            self.by_place.entry(place(one).clone()).or_default().push(one.clone());
        }
    }

    /// Forgets what ended long ago, and for want of room what ended first.
    fn forget(&mut self, now_ms: i64) {
        self.by_id.retain(|_, one| !is_forgotten(one, now_ms));
        while self.by_id.len() >= AMENDMENTS_MAX {
            let ended = self.by_id.values().filter(|one| !one.is_in_force(now_ms));
            let Some(first) = ended.min_by_key(|one| one.ends_ms()).map(|one| one.id.clone()) else { return };
            self.by_id.remove(&first);
        }
    }
}

impl Amendments {
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ledger's time: never earlier than it was.
    fn now(&self, now_ms: i64) -> i64 {
        self.latest_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms)
    }

    /// The limit of a scope now. Where there is none, none is changed: several gateways keep a limit at their store, and count by
    /// a rule without one what each of them used.
    pub(crate) fn limit(&self, rule: &Rule, scope: &str, now_ms: i64) -> Limit {
        if rule.limit == u64::MAX || self.count.load(Ordering::Acquire) == 0 {
            return Limit::of(rule);
        }
        let now_ms = self.now(now_ms);
        let known = self.read();
        let of = |place: &str| known.by_place.get(place).map_or(&[][..], Vec::as_slice);
        let of_rule = if scope == &*rule.name { &[][..] } else { of(&rule.name) };
        Limit::amended(rule, of(scope).iter().chain(of_rule).map(|one| &**one), now_ms)
    }

    /// All that are known, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Amendment>> {
        self.read().by_id.values().cloned().collect()
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Amendment>> {
        self.read().by_id.get(id).cloned()
    }

    /// Scopes that one in force speaks of, behind `after`.
    pub(crate) fn scopes(&self, after: &str, now_ms: i64) -> Vec<Arc<str>> {
        let now_ms = self.now(now_ms);
        let known = self.read();
        let mut scopes: Vec<Arc<str>> = known
            .by_place
            .iter()
            .filter(|(place, all)| {
                &***place > after && all.iter().any(|one| one.scope.is_some() && one.is_in_force(now_ms))
            })
            .map(|(place, _)| place.clone())
            .collect();
        scopes.sort_unstable();
        scopes
    }

    /// Puts a grant or an override in force, or another in the place of the one of its id, which is given back.
    fn put(&self, amendment: &Arc<Amendment>, now_ms: i64) -> Result<Option<Arc<Amendment>>, Undone> {
        let now_ms = self.now(now_ms);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.put_if_room(amendment, now_ms)?;
        known.index(now_ms);
        self.count.store(known.by_id.len(), Ordering::Release);
        Ok(before)
    }

    /// The same for many; for what there is room.
    pub(crate) fn put_all(&self, some: &[Arc<Amendment>], now_ms: i64) -> Result<(), Undone> {
        let now_ms = self.now(now_ms);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let done: Vec<_> = some.iter().map(|one| known.put_if_room(one, now_ms).map(drop)).collect();
        known.index(now_ms);
        self.count.store(known.by_id.len(), Ordering::Release);
        done.into_iter().collect()
    }

    /// As it was before a change that could not be kept.
    fn put_back(&self, id: &str, before: Option<Arc<Amendment>>, now_ms: i64) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match before {
            Some(before) => drop(known.put(before)),
            None => drop(known.by_id.remove(id)),
        }
        known.index(self.now(now_ms));
        self.count.store(known.by_id.len(), Ordering::Release);
    }
}

impl MemoryLedger {
    pub(super) fn amend_now(&self, amendment: &Arc<Amendment>, now_ms: i64) -> Result<Option<Arc<Amendment>>, Undone> {
        self.amendments.put(amendment, now_ms)
    }

    pub(super) fn amend_back(&self, id: &str, before: Option<Arc<Amendment>>, now_ms: i64) {
        self.amendments.put_back(id, before, now_ms);
    }

    /// Those that are known, as changes that make them from nothing.
    pub(super) fn amendments_told(&self, now_ms: i64) -> impl Iterator<Item = Event> {
        let at_ms =
            if self.amendments.count.load(Ordering::Acquire) == 0 { now_ms } else { self.amendments.now(now_ms) };
        self.amendments.all().into_iter().map(move |amendment| Event::Amended { amendment, at_ms })
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::limits::amendment::What;
    use tollgate_core::limits::rules::Unit;

    use super::*;

    #[test]
    fn what_ended_is_known_for_a_week_and_what_was_revoked_to_its_end() {
        const DAY_MS: i64 = 86_400_000;
        let made = |until_days: i64, revoked_days: Option<i64>| Amendment {
            id: "a".into(),
            rule: "r".into(),
            scope: None,
            unit: Unit::Tokens,
            what: What::Override(1),
            made_ms: 0,
            until_ms: until_days * DAY_MS,
            revoked_ms: revoked_days.map(|days| days * DAY_MS),
            by: "operator-token".into(),
            reason: "a test".into(),
        };
        for (until, revoked, days, is_over, why) in [
            (10, None, 9, false, "in force"),
            (10, None, 16, false, "ended within a week"),
            (10, None, 17, true, "a week ago"),
            (10, Some(1), 9, false, "revoked a week ago: a gateway may come back that knows it in force"),
            (10, Some(1), 10, true, "where it would have ended nobody can bring it back"),
            (10, Some(9), 15, false, "revoked within a week"),
            (10, Some(9), 16, true, "and not"),
        ] {
            assert_eq!(is_forgotten(&made(until, revoked), days * DAY_MS), is_over, "{why}");
        }
    }
}

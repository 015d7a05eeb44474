//! How scopes stand, a page at a time, for operators: shard after shard, so that no call waits for more than one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tollgate_core::limits::balance::{Balance, Listing};
use tollgate_core::limits::claim::{Claim, Standing};
use tollgate_core::limits::rules::Rule;

use super::MemoryLedger;
use super::books::lock;

impl MemoryLedger {
    /// The first of those that are asked for, by scope. What is neither used nor held is told only where an amendment
    /// speaks of it.
    pub(super) fn list(&self, listing: &Listing<'_>, now_ms: i64) -> Vec<Balance> {
        let rules: HashMap<&str, &Arc<Rule>> = listing.rules.iter().map(|rule| (&*rule.name, rule)).collect();
        let mut page = Page { found: BTreeMap::new(), count: listing.count };
        for shard in &self.counters {
            let mut counters = lock(shard);
            for (scope, counter) in &mut counters.by_scope {
                let Some(rule) = rules.get(&*counter.rule.name) else { continue };
                if &**scope <= listing.after || !page.has_room_for(scope) || !(listing.keep)(rule, scope) {
                    continue;
                }
                counter.advance(rule, self.amendments.limit(rule, scope, now_ms), now_ms, || self.epoch());
                let standing = counter.standing();
                if standing.used > 0 || standing.held > 0 {
                    page.put(Balance { rule: (*rule).clone(), scope: scope.clone(), standing });
                }
            }
        }
        for scope in self.amendments.scopes(listing.after, now_ms) {
            let name = scope.split_once('|').map_or(&*scope, |(name, _)| name);
            let Some(rule) = rules.get(name).filter(|rule| (listing.keep)(rule, &scope)) else { continue };
            if page.has_room_for(&scope) && !page.found.contains_key(&scope) {
                let claim = Claim { rule: (*rule).clone(), scope: scope.as_ref().into(), worst: 0 };
                let standing: Standing = self.standing_of(&claim, now_ms);
                page.put(Balance { rule: claim.rule, scope, standing });
            }
        }
        page.found.into_values().collect()
    }
}

/// The first `count` by scope.
struct Page {
    found: BTreeMap<Arc<str>, Balance>,
    count: usize,
}

impl Page {
    fn has_room_for(&self, scope: &str) -> bool {
        self.found.len() < self.count || self.found.last_key_value().is_some_and(|(last, _)| scope < &**last)
    }

    fn put(&mut self, balance: Balance) {
        self.found.insert(balance.scope.clone(), balance);
        if self.found.len() > self.count {
            self.found.pop_last();
        }
    }
}

//! How much of what is kept is whose: where all together is too much, the tenant that has the most gives its oldest.
//!
//! So nobody pushes out what is another's, whatever they send: a tenant loses rows only while no other has more.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The rows of all tenants within one bound.
#[derive(Debug)]
pub(super) struct Shares {
    weight_max: u64,
    weight: u64,
    rows: HashMap<Arc<str>, Row>,
    /// When, and the name.
    by_age: BTreeSet<(i64, Arc<str>)>,
    /// The same by tenant.
    by_tenant: BTreeSet<(Arc<str>, i64, Arc<str>)>,
    /// What each tenant has, and the tenants by it.
    weights: HashMap<Arc<str>, u64>,
    by_weight: BTreeSet<(u64, Arc<str>)>,
}

#[derive(Debug)]
struct Row {
    tenant: Arc<str>,
    at_ms: i64,
    weight: u64,
}

impl Shares {
    pub(super) fn within(weight_max: u64) -> Shares {
        Shares {
            weight_max,
            weight: 0,
            rows: HashMap::new(),
            by_age: BTreeSet::new(),
            by_tenant: BTreeSet::new(),
            weights: HashMap::new(),
            by_weight: BTreeSet::new(),
        }
    }

    /// A row of this name that was there before goes.
    pub(super) fn put(&mut self, name: &str, tenant: &Arc<str>, at_ms: i64, weight: u64) {
        self.remove(name);
        let name: Arc<str> = name.into();
        self.by_age.insert((at_ms, name.clone()));
        self.by_tenant.insert((tenant.clone(), at_ms, name.clone()));
        self.weigh(tenant, weight, 0);
        self.rows.insert(name, Row { tenant: tenant.clone(), at_ms, weight });
    }

    pub(super) fn remove(&mut self, name: &str) {
        let Some((name, row)) = self.rows.remove_entry(name) else { return };
        self.weigh(&row.tenant, 0, row.weight);
        self.by_age.remove(&(row.at_ms, name.clone()));
        self.by_tenant.remove(&(row.tenant, row.at_ms, name));
    }

    /// Takes out one that is older than it may be, or is too much; `None` = all that is left may stay.
    pub(super) fn take_gone(&mut self, oldest_ms: i64) -> Option<Arc<str>> {
        let old = self.by_age.first().filter(|(at_ms, _)| *at_ms < oldest_ms).map(|(_, name)| name.clone());
        let name = old.or_else(|| self.too_much())?;
        self.remove(&name);
        Some(name)
    }

    fn too_much(&self) -> Option<Arc<str>> {
        let (_, tenant) = self.by_weight.last().filter(|_| self.weight > self.weight_max)?;
        let of_tenant = (tenant.clone(), i64::MIN, Arc::from(""));
        self.by_tenant.range(of_tenant..).next().map(|(.., name)| name.clone())
    }

    fn weigh(&mut self, tenant: &Arc<str>, more: u64, less: u64) {
        let before = self.weights.remove(tenant).unwrap_or(0);
        self.by_weight.remove(&(before, tenant.clone()));
        let now = before + more - less;
        if now > 0 {
            self.weights.insert(tenant.clone(), now);
            self.by_weight.insert((now, tenant.clone()));
        }
        self.weight = self.weight + more - less;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bound of 10; each row follows on the row before.
    #[test]
    fn whoever_has_the_most_gives_its_oldest() {
        let mut shares = Shares::within(10);
        for (name, tenant, at_ms, weight, gone, why) in [
            ("a1", "acme", 1, 2, "", "there is room"),
            ("g1", "globex", 2, 4, "", "for both"),
            ("a2", "acme", 3, 4, "", "up to the bound"),
            ("a3", "acme", 4, 1, "a1", "acme has the most, and gives its own oldest, not the oldest of all but one"),
            ("a4", "acme", 5, 4, "a2", "however often it comes"),
            ("a5", "acme", 6, 3, "a3 a4", "and as much as is needed"),
            ("g1", "globex", 7, 4, "", "a row that comes again counts once"),
            ("i1", "initech", 8, 3, "", "a third finds room"),
            ("i2", "initech", 9, 2, "i1", "as long as another does not have less"),
            ("g2", "globex", 10, 3, "g1", "globex has the most by now"),
        ] {
            shares.put(name, &tenant.into(), at_ms, weight);
            let taken: Vec<Arc<str>> = std::iter::from_fn(|| shares.take_gone(0)).collect();
            assert_eq!(taken.join(" "), gone, "{name}: {why}");
        }
        shares.remove("a5");
        shares.remove("a5");
        let old: Vec<Arc<str>> = std::iter::from_fn(|| shares.take_gone(10)).collect();
        assert_eq!(old.join(" "), "i2", "what is too old goes, whosesoever it is");
        shares.remove("g2");
        assert_eq!(shares.weight, 0);
        assert!(shares.rows.is_empty() && shares.by_age.is_empty() && shares.by_tenant.is_empty());
        assert!(shares.weights.is_empty() && shares.by_weight.is_empty(), "nothing is left of tenants without rows");
    }
}

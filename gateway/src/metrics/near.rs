//! A family of meters, found by a quick hash: each call asks for ten of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use prometheus_client::metrics::family::Family;

/// The family that is told, and its meters beside it. There are as many of both.
pub struct Near<S, M> {
    family: Family<S, M, fn() -> M>,
    known: ArcSwap<HashMap<S, M, RandomState>>,
}

impl<S: Clone + Hash + Eq, M: Clone> Near<S, M> {
    pub fn of(make: fn() -> M) -> Near<S, M> {
        Near { family: Family::new_with_constructor(make), known: ArcSwap::default() }
    }

    /// To be registered.
    pub fn family(&self) -> Family<S, M, fn() -> M> {
        self.family.clone()
    }

    /// Does something to the meter with these labels.
    pub fn at(&self, labels: &S, change: impl FnOnce(&M)) {
        if let Some(meter) = self.known.load().get(labels) {
            return change(meter);
        }
        let meter = self.family.get_or_create_owned(labels);
        change(&meter);
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(labels.clone(), meter.clone());
            Arc::new(known)
        });
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn a_meter_is_the_same_one_however_it_is_found() {
        let near = Near::<&str, Counter>::of(Counter::default);
        for (labels, total) in [("a", 1), ("a", 2), ("b", 1), ("a", 3)] {
            near.at(&labels, |counter| {
                counter.inc();
            });
            assert_eq!(near.family().get_or_create(&labels).get(), total, "{labels}");
        }
        assert_eq!(near.known.load().len(), 2);
    }
}

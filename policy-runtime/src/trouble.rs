//! Quarantine: a policy that keeps failing for a tenant follows its `on_error` at once for that tenant, and is tried again.
//!
//! By tenant, because what fails depends on what is asked: nobody's calls may switch a policy off for others. Counted by
//! the calls' own frozen times. Only a revision that decides live traffic has this; a replay honours what was recorded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tollgate_core::policy::revision::Quarantined;

/// A failure weighs this much against one decision that went well.
const FAILURE_WEIGHT: u32 = 2;
/// Ten failures in a row, or more than every third decision over a while.
const WEIGHT_MAX: u32 = 20;
/// The first pause; each probe that fails doubles it.
const PAUSE_MS: i64 = 1_000;
const PAUSE_MS_MAX: i64 = 60_000;
/// Tenants that are counted at a time; others are not quarantined meanwhile.
const TENANTS_MAX: usize = 1_024;

/// What is counted of one policy. Empty for a policy that never failed: one load of a number.
#[derive(Debug, Default)]
pub struct Trouble {
    counted: AtomicUsize,
    tenants: Mutex<HashMap<Arc<str>, State>>,
}

#[derive(Debug, Default)]
struct State {
    weight: u32,
    failures: u64,
    /// Held until then, where it is; 0 = not held.
    until_ms: i64,
    pauses: u32,
    last: String,
}

impl Trouble {
    /// Why the policy is not asked now; `None` = ask it. One call at a time tries again what was held.
    pub fn holds(&self, tenant: &str, now_ms: i64) -> Option<String> {
        if self.counted.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut tenants = self.lock();
        let state = tenants.get_mut(tenant).filter(|state| state.until_ms > 0)?;
        if now_ms >= state.until_ms {
            state.until_ms = now_ms.saturating_add(PAUSE_MS);
            return None;
        }
        Some(format!("quarantined after {} failures, the last: {}", state.failures, state.last))
    }

    /// It failed. Says for how many milliseconds it is held from now on, where that is new.
    pub fn failed(&self, tenant: &Arc<str>, now_ms: i64, what: &str) -> Option<i64> {
        let mut tenants = self.lock();
        if tenants.len() >= TENANTS_MAX && !tenants.contains_key(tenant) {
            return None;
        }
        let state = tenants.entry(tenant.clone()).or_default();
        state.failures += 1;
        state.weight = (state.weight + FAILURE_WEIGHT).min(WEIGHT_MAX);
        state.last = what.to_owned();
        let held = (state.until_ms > 0 || state.weight == WEIGHT_MAX).then(|| {
            let pause = PAUSE_MS.saturating_mul(1 << state.pauses.min(16)).min(PAUSE_MS_MAX);
            state.pauses += 1;
            state.until_ms = now_ms.saturating_add(pause);
            pause
        });
        self.counted.store(tenants.len(), Ordering::Relaxed);
        held
    }

    /// It decided. Says whether it comes back by this.
    pub fn decided(&self, tenant: &str) -> bool {
        if self.counted.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut tenants = self.lock();
        let Some(state) = tenants.get_mut(tenant) else { return false };
        let returns = state.until_ms > 0;
        state.weight = state.weight.saturating_sub(1);
        if returns || state.weight == 0 {
            tenants.remove(tenant);
        }
        self.counted.store(tenants.len(), Ordering::Relaxed);
        returns
    }

    pub fn held(&self, policy: &Arc<str>) -> Vec<Quarantined> {
        let tenants = self.lock();
        let held = tenants.iter().filter(|(_, state)| state.until_ms > 0).map(|(tenant, state)| Quarantined {
            policy: policy.clone(),
            tenant: tenant.clone(),
            until_ms: state.until_ms,
            failures: state.failures,
            last: state.last.clone(),
        });
        held.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, State>> {
        self.tenants.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_failing_is_held_by_tenant_tried_again_and_comes_back() {
        let trouble = Trouble::default();
        let (acme, other): (Arc<str>, Arc<str>) = ("acme".into(), "other".into());
        for n in 1..10 {
            assert_eq!(trouble.failed(&acme, n, "no"), None, "{n} failures are not yet many");
        }
        assert_eq!(trouble.failed(&acme, 10, "no"), Some(PAUSE_MS));
        assert!(trouble.holds("acme", 11).is_some_and(|why| why.contains("10 failures, the last: no")));
        assert!(trouble.holds("other", 11).is_none(), "another tenant is asked as ever");
        assert!(trouble.holds("acme", 1_010).is_none(), "one call tries again");
        assert!(trouble.holds("acme", 1_011).is_some(), "and one only");
        assert_eq!(trouble.failed(&acme, 1_012, "still"), Some(2 * PAUSE_MS), "a longer pause");
        assert_eq!(trouble.held(&"p".into())[0].until_ms, 3_012);
        assert!(trouble.holds("acme", 3_012).is_none());
        assert!(trouble.decided("acme"), "it went well: it comes back");
        assert!(trouble.holds("acme", 3_013).is_none() && trouble.held(&"p".into()).is_empty());
        for n in 0..100 {
            assert_eq!(trouble.failed(&other, n, "now and then"), None, "every fourth decision is not all");
            assert!(!(0..3).any(|_| trouble.decided("other")));
        }
        let long = (0..200).fold(0, |_, n| trouble.failed(&acme, n, "no").unwrap_or(0));
        assert_eq!(long, PAUSE_MS_MAX, "a pause has a bound");
    }
}

//! One of several gateways without a store between them: each keeps to its share of every limit.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use tollgate_core::limits::claim::{Claim, Held, HoldId, Refused, Standing};
use tollgate_core::limits::rules::Rule;
use tollgate_core::ports::{Later, Ledger, Used};

use crate::ledger::books::lock;

/// `1/3`: what one gateway may use of each limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    part: NonZeroU32,
    of: NonZeroU32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no share: write it as `1/3`, at most `1/1`")]
pub struct ShareError(String);

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let read = text.split_once('/').and_then(|(part, of)| {
            let (part, of) = (part.trim().parse().ok()?, of.trim().parse().ok()?);
            (part <= of).then_some(Share { part, of })
        });
        read.ok_or_else(|| ShareError(text.to_owned()))
    }
}

impl Share {
    /// Rounded down: shares of all gateways together never pass the whole.
    fn of(self, limit: u64) -> u64 {
        let share = u128::from(limit) * u128::from(self.part.get()) / u128::from(self.of.get());
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// As if all gateways had used as much as this one.
    fn whole(self, amount: u64) -> u64 {
        let whole = (u128::from(amount) * u128::from(self.of.get())).div_ceil(u128::from(self.part.get()));
        u64::try_from(whole).unwrap_or(u64::MAX)
    }
}

/// A ledger that counts against a share of each limit.
pub struct ShareLedger {
    inner: Arc<dyn Ledger>,
    share: Share,
    /// By name: the rule as calls have it, and with its share.
    rules: Mutex<HashMap<Arc<str>, Shared>>,
}

/// A rule as it is written, and with this gateway's share of its limit.
type Shared = (Arc<Rule>, Arc<Rule>);

impl ShareLedger {
    pub fn new(inner: Arc<dyn Ledger>, share: Share) -> Self {
        ShareLedger { inner, share, rules: Mutex::default() }
    }

    fn shared(&self, claim: &Claim) -> Claim {
        let mut rules = lock(&self.rules);
        let rule = match rules.get(&claim.rule.name) {
            Some((whole, part)) if Arc::ptr_eq(whole, &claim.rule) => part.clone(),
            Some(_) | None => {
                let part = Arc::new(Rule { limit: self.share.of(claim.rule.limit), ..(*claim.rule).clone() });
                rules.insert(claim.rule.name.clone(), (claim.rule.clone(), part.clone()));
                part
            }
        };
        Claim { rule, ..claim.clone() }
    }
}

impl Ledger for ShareLedger {
    fn standing<'a>(&'a self, claims: &'a [Claim], now_ms: i64) -> Later<'a, Vec<Standing>> {
        Box::pin(async move {
            let claims: Vec<Claim> = claims.iter().map(|claim| self.shared(claim)).collect();
            let stands = self.inner.standing(&claims, now_ms).await;
            // Policies and ladders compare it with the whole limit.
            let whole = |n: u64| self.share.whole(n);
            stands
                .into_iter()
                .map(|s| Standing { limit: whole(s.limit), used: whole(s.used), held: whole(s.held), ..s })
                .collect()
        })
    }

    fn hold<'a>(&'a self, id: HoldId, claims: &'a [Claim], now_ms: i64) -> Later<'a, Result<Vec<Held>, Refused>> {
        Box::pin(async move {
            let claims: Vec<Claim> = claims.iter().map(|claim| self.shared(claim)).collect();
            self.inner.hold(id, &claims, now_ms).await
        })
    }

    fn extend<'a>(&'a self, id: HoldId, step: u32, more: Used, now_ms: i64) -> Later<'a, Result<(), Refused>> {
        self.inner.extend(id, step, more, now_ms)
    }

    fn settle<'a>(&'a self, id: HoldId, used: Used, now_ms: i64) -> Later<'a, ()> {
        self.inner.settle(id, used, now_ms)
    }

    fn void<'a>(&'a self, id: HoldId, now_ms: i64) -> Later<'a, ()> {
        self.inner.void(id, now_ms)
    }

    fn lost(&self, id: HoldId, had_left: bool, now_ms: i64) {
        self.inner.lost(id, had_left, now_ms);
    }

    fn adjust<'a>(&'a self, id: HoldId, claim: &'a Claim, delta: i64, now_ms: i64) -> Later<'a, ()> {
        Box::pin(async move { self.inner.adjust(id, &self.shared(claim), delta, now_ms).await })
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::limits::rules::{ScopeGlobs, Unit, Window};

    use super::*;
    use crate::ledger::MemoryLedger;

    #[test]
    fn a_share_is_read_or_told_to_be_wrong() {
        for (text, is_one, why) in [
            ("1/3", true, "a third"),
            ("2 / 2", true, "all of it"),
            ("0/3", false, "nothing is no share"),
            ("1/0", false, "of nothing"),
            ("4/3", false, "more than there is"),
            ("0.5", false, "not as a fraction"),
        ] {
            assert_eq!(text.parse::<Share>().is_ok(), is_one, "{why}");
        }
    }

    #[tokio::test]
    async fn a_third_of_a_limit_is_kept_and_told_as_the_whole() {
        let ledger = ShareLedger::new(Arc::new(MemoryLedger::default()), "1/3".parse().unwrap());
        let rule = Arc::new(Rule {
            name: "r".into(),
            per: vec![],
            scope: ScopeGlobs::default(),
            unit: Unit::Tokens,
            limit: 100,
            window: Window::None,
            ladder: vec![],
        });
        let claim = |worst| Claim { rule: rule.clone(), scope: "r".into(), worst };
        for (id, worst, fits, why) in
            [(1, 30, true, "33 are this gateway's"), (2, 4, false, "34 are not"), (3, 3, true, "33 are")]
        {
            assert_eq!(ledger.hold(id, &[claim(worst)], 0).await.is_ok(), fits, "{why}");
        }
        let stands = ledger.standing(&[claim(0)], 0).await[0];
        assert_eq!(stands.held, 99, "as far as the whole would be, if all did the same");
    }
}

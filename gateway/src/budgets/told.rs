//! Balances, grants and overrides as operators read them.

use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_core::limits::amendment::{Amendment, What};
use tollgate_core::limits::balance::Balance;
use tollgate_core::limits::rules::{Rule, Window};
use tollgate_core::limits::scope;

use super::EVERY;

/// What kind of change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Grant,
    Override,
}

impl Kind {
    pub fn of(amendment: &Amendment) -> Kind {
        match amendment.what {
            What::Grant(_) => Kind::Grant,
            What::Override(_) => Kind::Override,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Grant => "grant",
            Kind::Override => "override",
        }
    }

    pub fn plural(self) -> &'static str {
        match self {
            Kind::Grant => "grants",
            Kind::Override => "overrides",
        }
    }
}

/// Does it count for this scope?
pub fn speaks_of(amendment: &Amendment, rule: &Rule, key: &str) -> bool {
    amendment.rule == rule.name
        && amendment.unit == rule.unit
        && amendment.scope.as_ref().is_none_or(|scope| **scope == *key)
}

/// One scope of one rule, with what is in force for it. Amounts are in its unit.
pub fn balance(balance: &Balance, amendments: &[Arc<Amendment>], now_ms: i64) -> Value {
    let Balance { rule, scope: key, standing } = balance;
    let here: Vec<&Amendment> = amendments
        .iter()
        .map(|one| &**one)
        .filter(|one| speaks_of(one, rule, key) && one.is_in_force(now_ms))
        .collect();
    let list = |kind: Kind| -> Vec<Value> {
        here.iter().filter(|one| Kind::of(one) == kind).map(|one| amendment(rule, one, now_ms)).collect()
    };
    let (from_ms, to_ms) = period(rule, now_ms);
    json!({
        "rule": rule.name,
        "scope": scope::told(rule, key),
        "key": key,
        "kind": if rule.is_budget() { "budget" } else { "rate" },
        "unit": rule.unit,
        "limit": standing.limit,
        "limit_of_rule": rule.limit,
        "used": standing.used,
        "held": standing.held,
        "remaining": standing.remaining(),
        "ratio": standing.permille() as f64 / 1_000.0,
        "period_from_ms": from_ms,
        "period_to_ms": to_ms,
        "resets_at_ms": (standing.resets_at_ms != 0).then_some(standing.resets_at_ms),
        "grants": list(Kind::Grant),
        "overrides": list(Kind::Override),
        "etag": etag(rule, Some(key), amendments, now_ms),
    })
}

/// The period of now, or the span that counts now; a bucket and calls in flight have none.
fn period(rule: &Rule, now_ms: i64) -> (Option<i64>, Option<i64>) {
    match &rule.window {
        Window::Calendar { every, zone } => {
            let (from_ms, to_ms) = every.around(now_ms, zone);
            (Some(from_ms), Some(to_ms))
        }
        Window::Sliding { span_ms } => (Some(now_ms.saturating_sub_unsigned(*span_ms)), None),
        Window::Rolling { .. } | Window::None => (None, None),
    }
}

pub fn amendment(rule: &Rule, one: &Amendment, now_ms: i64) -> Value {
    let state = match (one.revoked_ms, one.is_in_force(now_ms)) {
        (_, true) => "in_force",
        (Some(_), false) => "revoked",
        (None, false) => "ended",
    };
    let amount = match one.what {
        What::Grant(more) => json!(more),
        What::Override(most) => json!(most),
    };
    json!({
        "id": one.id,
        "kind": Kind::of(one).name(),
        "rule": one.rule,
        "scope": one.scope.as_ref().map_or_else(|| EVERY.to_owned(), |key| scope::told(rule, key)),
        "unit": one.unit,
        "amount": amount,
        "state": state,
        "made_ms": one.made_ms,
        "until_ms": one.until_ms,
        "revoked_ms": one.revoked_ms,
        "by": one.by,
        "reason": one.reason,
    })
}

/// Changes whenever the limit of the place does: by an edit, a grant, an override, or the end of one; never with what is used.
pub fn etag(rule: &Rule, key: Option<&str>, all: &[Arc<Amendment>], now_ms: i64) -> String {
    let here = |one: &&Arc<Amendment>| match key {
        Some(key) => speaks_of(one, rule, key),
        None => one.rule == rule.name && one.unit == rule.unit && one.scope.is_none(),
    };
    let mut hasher = blake3::Hasher::new();
    for part in [&*rule.name, key.unwrap_or(EVERY)] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.update(&rule.limit.to_le_bytes());
    for one in all.iter().filter(here).filter(|one| one.is_in_force(now_ms)) {
        hasher.update(&(one.id.len() as u64).to_le_bytes()).update(one.id.as_bytes());
    }
    format!("\"{}\"", &hasher.finalize().to_hex()[..16])
}

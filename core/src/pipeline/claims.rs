//! What a call claims of the ledger: the rules that apply to it, each in its scope, and the refusal when one has no room.

use super::identify::Identified;
use crate::contract::glob::Glob;
use crate::contract::refusal::{Category, Refusal};
use crate::limits::claim::{Claim, Refused};
use crate::limits::money::usd_text;
use crate::limits::rules::{Limits, Per, Rule, Unit};
use crate::limits::scope;
use crate::policy::facts::Intent;

/// The rules that apply to a call, each with the scope it counts in. How much is claimed comes later.
pub fn claims(limits: &Limits, call: &Identified, intent: &Intent) -> Vec<Claim> {
    let (caller, meta, operation) = (&call.facts.caller, &call.facts.meta, call.dialect.operation().name());
    limits
        .rules
        .iter()
        .filter(|rule| {
            Glob::any(&rule.scope.tenant, &caller.tenant)
                && Glob::any(&rule.scope.app, &caller.app)
                && Glob::any(&rule.scope.use_case, &meta.use_case)
                && Glob::any(&rule.scope.operation, operation)
        })
        .map(|rule| Claim { rule: rule.clone(), scope: scope(rule, call, intent), worst: 0 })
        .collect()
}

fn scope(rule: &Rule, call: &Identified, intent: &Intent) -> Box<str> {
    scope::key(rule, |per| match per {
        Per::Tenant => &call.facts.caller.tenant,
        Per::App => &call.facts.caller.app,
        Per::UseCase => &call.facts.meta.use_case,
        Per::User => &call.user_sealed,
        Per::Key => &call.facts.caller.key,
        Per::Session => &call.facts.meta.session,
        Per::Family => &intent.family,
        Per::Operation => call.dialect.operation().name(),
    })
}

/// An amount in a rule's unit, as people read it.
pub fn amount(n: u64, unit: Unit) -> String {
    match unit {
        Unit::Nanousd => format!("{} USD", usd_text(i64::try_from(n).unwrap_or(i64::MAX))),
        Unit::Tokens => format!("{n} tokens"),
        Unit::Requests => format!("{n} requests"),
        Unit::InFlight => format!("{n} calls in flight"),
    }
}

pub fn refusal(refused: &Refused) -> Refusal {
    let amount = |n: u64| amount(n, refused.unit);
    let told = format!(
        "limit `{}` does not admit this call: it needs {}, {} of {} are used and {} held",
        refused.rule,
        amount(refused.wanted),
        amount(refused.used),
        amount(refused.limit),
        amount(refused.held),
    );
    if refused.is_unreachable {
        let told = format!(
            "limit `{}` cannot be asked: the store that gateways share does not answer, and of what was leased of it not enough is left",
            refused.rule
        );
        return Refusal {
            retry_after_ms: refused.retry_after_ms,
            ..Refusal::new(Category::Overloaded, "limits_unreachable", told)
        };
    }
    if refused.is_budget {
        return Refusal::new(Category::BudgetExceeded, "budget_exceeded", told);
    }
    match refused.retry_after_ms {
        Some(ms) => Refusal {
            retry_after_ms: Some(ms.max(1)),
            ..Refusal::new(Category::RateLimited, "rate_limit_exceeded", told)
        },
        // Clients would try again for ever.
        None => Refusal::new(
            Category::BudgetExceeded,
            "call_above_limit",
            format!("{told}; alone it is above the limit: shorten it, or lower its bound of tokens"),
        ),
    }
}

//! Stage four: the idempotency record, then rates and budgets held, all at once or none.

use std::fmt::Write;
use std::sync::Arc;

use super::Core;
use super::bound::Bound;
use super::identify::Identified;
use super::plan::Planned;
use super::settle::After;
use super::stateful;
use crate::contract::glob::Glob;
use crate::contract::refusal::{Category, Refusal};
use crate::dialects::paths::Verb;
use crate::evidence::receipt::Receipt;
use crate::limits::claim::{Claim, Refused};
use crate::limits::money::usd_text;
use crate::limits::rules::{Limits, Per, Rule, Unit};
use crate::policy::facts::{Caller, Facts, Intent};
use crate::policy::revision::Revision;
use crate::policy::terms::Terms;
use crate::ports::{Begun, Kept};
use crate::routing::catalog::Target;

/// An idempotency key may be this long.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// A call that may leave.
pub struct Admitted {
    pub call: Box<Identified>,
    pub facts: Arc<Facts>,
    pub terms: Arc<Terms>,
    pub targets: Vec<Arc<Target>>,
    /// An answer that was given before, under the same idempotency key.
    pub stored: Option<Kept>,
}

pub async fn admit(
    core: &Core,
    planned: Planned,
    receipt: &mut Receipt,
    after: &mut After,
) -> Result<Admitted, Refusal> {
    let Planned { call, facts, terms, mut targets, mut claims } = planned;
    after.learns = stateful::learns(&call);
    if let Some(key) = idempotency_key(&call, &facts.caller)? {
        let digest = call.wire.digest(&call.body, &call.place);
        match core.shelf.begin(&key, digest).await {
            Begun::Fresh => after.shelf_key = Some(key),
            Begun::Answered(kept) => {
                return Ok(Admitted { call, facts, terms, targets, stored: Some(kept) });
            }
            Begun::InFlight => {
                let told = "a call with this idempotency key is on its way: try again when it has ended";
                return Err(Refusal {
                    retry_after_ms: Some(1_000),
                    ..Refusal::new(Category::Conflict, "idempotency_key_in_use", told)
                });
            }
            Begun::OtherBody => {
                let told = "this idempotency key was used with another body: use a new key for a new call";
                return Err(Refusal::new(Category::Conflict, "idempotency_key_reused", told));
            }
        }
    }
    bounded(&Bound::of(&call, &facts, &terms), &call.revision, &mut claims, &mut targets)?;
    if !claims.is_empty() {
        match core.ledger.hold(call.hold_id, &claims, call.time_ms).await {
            Ok(held) => {
                receipt.holds = held;
                after.held = true;
            }
            Err(refused) => {
                let refusal = limit_refusal(&refused);
                receipt.hold_refused = Some(refused);
                return Err(refusal);
            }
        }
    }
    Ok(Admitted { call, facts, terms, targets, stored: None })
}

/// Targets that may cost too much leave, and each claim is told how much the call may use.
fn bounded(
    bound: &Bound<'_>,
    revision: &Revision,
    claims: &mut [Claim],
    targets: &mut Vec<Arc<Target>>,
) -> Result<(), Refusal> {
    if claims.iter().any(|claim| claim.rule.unit == Unit::Nanousd) {
        bound.price_unknown(revision, targets)?;
    }
    bound.within_cost(targets)?;
    bound.worst_case(claims, targets);
    Ok(())
}

/// The rules that apply to a call, each with the scope it counts in. How much is claimed comes later.
pub fn claims(limits: &Limits, call: &Identified, intent: &Intent) -> Vec<Claim> {
    limits
        .rules
        .iter()
        .filter(|rule| {
            Glob::any(&rule.scope.tenant, &call.facts.caller.tenant)
                && Glob::any(&rule.scope.app, &call.facts.caller.app)
                && Glob::any(&rule.scope.use_case, &call.facts.meta.use_case)
        })
        .map(|rule| Claim { rule: rule.clone(), scope: scope(rule, call, intent), worst: 0 })
        .collect()
}

/// `tenant-month|tenant=acme`: the rule's name and the values it counts by.
fn scope(rule: &Rule, call: &Identified, intent: &Intent) -> Box<str> {
    let mut text = String::with_capacity(64);
    text.push_str(&rule.name);
    for per in &rule.per {
        let (name, value): (&str, &str) = match per {
            Per::Tenant => ("tenant", &call.facts.caller.tenant),
            Per::App => ("app", &call.facts.caller.app),
            Per::UseCase => ("use_case", &call.facts.meta.use_case),
            Per::User => ("user", &call.user_sealed),
            Per::Key => ("key", &call.facts.caller.key),
            Per::Session => ("session", &call.facts.meta.session),
            Per::Family => ("family", &intent.family),
        };
        // Length first: no value can pretend to be two.
        write!(text, "|{name}={}:{value}", value.len()).expect("writing to a text cannot fail");
    }
    text.into()
}

fn limit_refusal(refused: &Refused) -> Refusal {
    let amount = |n: u64| match refused.unit {
        Unit::Nanousd => format!("{} USD", usd_text(i64::try_from(n).unwrap_or(i64::MAX))),
        Unit::Tokens => format!("{n} tokens"),
        Unit::Requests => format!("{n} requests"),
        Unit::InFlight => format!("{n} calls in flight"),
    };
    let told = format!(
        "limit `{}` does not admit this call: it needs {}, {} of {} are used and {} held",
        refused.rule,
        amount(refused.wanted),
        amount(refused.used),
        amount(refused.limit),
        amount(refused.held),
    );
    match (refused.unit, refused.is_budget) {
        (_, true) | (Unit::Nanousd, false) => Refusal::new(Category::BudgetExceeded, "budget_exceeded", told),
        (Unit::Tokens | Unit::Requests | Unit::InFlight, false) => Refusal {
            retry_after_ms: Some(refused.retry_after_ms.unwrap_or(1_000).max(1)),
            ..Refusal::new(Category::RateLimited, "rate_limit_exceeded", told)
        },
    }
}

/// Scoped by tenant and key: nobody meets another's answers.
fn idempotency_key(call: &Identified, caller: &Caller) -> Result<Option<String>, Refusal> {
    let Some(value) = call.head.headers.get("idempotency-key") else { return Ok(None) };
    // What only looks changes nothing when it is repeated, and shall see what is there now.
    if call.place.verb == Verb::Get {
        return Ok(None);
    }
    let wrong = || {
        let told = format!("`idempotency-key` must be 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters");
        Refusal::invalid("wrong_value", "idempotency-key", told)
    };
    let text = value.to_str().map_err(|_| wrong())?;
    if text.is_empty() || text.len() > IDEMPOTENCY_KEY_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong());
    }
    let (tenant, dialect) = (&caller.tenant, call.dialect.name());
    Ok(Some(format!("{}:{tenant}|{}|{dialect}|{text}", tenant.len(), caller.key)))
}

//! Stage four: the idempotency record, then rates and budgets held, all at once or none.

use std::fmt::Write;
use std::sync::Arc;

use super::Core;
use super::identify::Identified;
use super::plan::Planned;
use super::settle::After;
use crate::contract::glob::Glob;
use crate::contract::refusal::{Category, Refusal};
use crate::contract::words::tokens_estimate;
use crate::evidence::receipt::Receipt;
use crate::limits::claim::{Claim, Refused};
use crate::limits::money::usd_text;
use crate::limits::rules::{Limits, Per, Rule, Unit};
use crate::policy::facts::{Caller, Facts, Intent};
use crate::policy::terms::Terms;
use crate::ports::{Begun, Kept};
use crate::routing::catalog::Target;

/// Output tokens assumed where neither caller, policy nor catalog bounds them.
const OUTPUT_TOKENS_ASSUMED: u64 = 4_096;
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
    if let Some(key) = idempotency_key(&call, &facts.caller)? {
        let digest = *blake3::hash(&call.body).as_bytes();
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
    within_cost(&call, &facts.intent, &terms, &mut targets)?;
    worst_case(&mut claims, &call, &facts.intent, &terms, &targets);
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

/// The dearest single attempt over the targets, in the unit of each rule.
fn worst_case(claims: &mut [Claim], call: &Identified, intent: &Intent, terms: &Terms, targets: &[Arc<Target>]) {
    if claims.is_empty() {
        return;
    }
    let input = input_bound(call);
    let tokens = targets.iter().map(|t| input + output_bound(t, intent, terms)).max().unwrap_or(input);
    let cost = targets
        .iter()
        .filter_map(|t| t.price.as_ref().map(|row| worst_cost(&row.price, input, output_bound(t, intent, terms))))
        .max()
        .unwrap_or(0);
    for claim in claims {
        claim.worst = match claim.rule.unit {
            Unit::Nanousd => u64::try_from(cost).unwrap_or(0),
            Unit::Tokens => tokens,
            Unit::Requests | Unit::InFlight => 1,
        };
    }
}

fn worst_cost(price: &crate::limits::money::Price, input: u64, output: u64) -> i64 {
    // Cached input may be dearer than plain input at no provider known; plain is the bound.
    price.cost(&crate::contract::usage::Usage { input, output, ..Default::default() })
}

/// No tokenizer makes more tokens than bytes; four bytes a token and a half more is the bound for texts met in practice.
fn input_bound(call: &Identified) -> u64 {
    let estimate = tokens_estimate(call.body.len());
    estimate + estimate / 2
}

fn output_bound(target: &Target, intent: &Intent, terms: &Terms) -> u64 {
    if target.operations == [crate::contract::Operation::Embeddings] {
        return 0;
    }
    [terms.max_tokens, intent.max_tokens, target.output_tokens_max]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(OUTPUT_TOKENS_ASSUMED)
}

/// Targets whose worst case is above the cap on cost leave; with none left, the cap is told.
fn within_cost(
    call: &Identified,
    intent: &Intent,
    terms: &Terms,
    targets: &mut Vec<Arc<Target>>,
) -> Result<(), Refusal> {
    let Some(cap) = [terms.max_cost_nanousd, intent.max_cost_nanousd].into_iter().flatten().min() else {
        return Ok(());
    };
    let input = input_bound(call);
    let worst = |t: &Target| t.price.as_ref().map(|row| worst_cost(&row.price, input, output_bound(t, intent, terms)));
    let cheapest = targets.iter().filter_map(|t| worst(t).map(|cost| (cost, t.id.clone()))).min();
    // A target without a price cannot promise to stay below a cap.
    targets.retain(|t| worst(t).is_some_and(|cost| cost <= cap));
    if !targets.is_empty() {
        return Ok(());
    }
    let told = match cheapest {
        Some((cost, target)) => format!(
            "the call may cost up to {} USD at `{target}`, the cap is {} USD: lower `max_tokens`, shorten the prompt, or raise the cap",
            usd_text(cost),
            usd_text(cap)
        ),
        None => "the call has a cap on cost, and no target has a known price".to_owned(),
    };
    Err(Refusal::new(Category::BudgetExceeded, "cost_cap_exceeded", told))
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

//! Stage four: the idempotency record, then rates and budgets held, all at once or none.

use std::sync::Arc;

use http::HeaderName;

use super::identify::Identified;
use super::plan::Planned;
use super::settle::After;
use super::{Core, rungs, stateful, template};
use crate::contract::refusal::{Category, Refusal};
use crate::dialects::paths::Verb;
use crate::evidence::receipt::Receipt;
use crate::policy::facts::{Caller, Facts};
use crate::policy::terms::Terms;
use crate::ports::{Begun, Kept};
use crate::routing::catalog::Target;

/// An idempotency key may be this long.
const IDEMPOTENCY_KEY_MAX: usize = 255;
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A call that may leave.
pub struct Admitted {
    pub call: Box<Identified>,
    pub facts: Arc<Facts>,
    pub terms: Arc<Terms>,
    pub targets: Vec<Arc<Target>>,
    /// An answer that was given before, under the same idempotency key.
    pub stored: Option<Kept>,
    /// The answer of a ladder: no provider is called.
    pub ours: Option<template::Said>,
}

pub async fn admit(
    core: &Core,
    planned: Planned,
    receipt: &mut Receipt,
    after: &mut After,
) -> Result<Admitted, Refusal> {
    let Planned { call, facts, terms, targets, claims } = planned;
    after.learns = stateful::learns(&call);
    if let Some(key) = idempotency_key(&call, &facts.caller)? {
        let digest = call.wire.digest(&call.body, &call.place);
        match core.shelf.begin(&key, &facts.caller.tenant, digest).await {
            Begun::Fresh => after.shelf_key = Some(key),
            Begun::Answered(kept) => {
                return Ok(Admitted { call, facts, terms, targets, stored: Some(kept), ours: None });
            }
            Begun::InFlight => {
                let told = "a call with this idempotency key is on its way: try again when it has ended";
                return Err(Refusal {
                    retry_after_ms: Some(1_000),
                    ..Refusal::new(Category::Conflict, "idempotency_key_in_use", told)
                });
            }
            Begun::Unknown { call_id } => {
                let told = format!(
                    "call {call_id} came with this idempotency key, and nobody saw how it ended: it may have been carried out and charged. Look with `tollgate explain {call_id}`; to make the call anew, give it another key"
                );
                return Err(Refusal::new(Category::Conflict, "outcome_unknown", told));
            }
            Begun::OtherBody => {
                let told = "this idempotency key was used with another body: use a new key for a new call";
                return Err(Refusal::new(Category::Conflict, "idempotency_key_reused", told));
            }
        }
    }
    let rung = rungs::hold(core, &call, &facts, (&terms, targets), claims, (receipt, after)).await?;
    let ours = rung.answer.and_then(|text| template::say(&call, &facts.intent.asked, &text));
    Ok(Admitted { call, facts, terms: rung.terms, targets: rung.targets, stored: None, ours })
}

/// Scoped by tenant and key: nobody meets another's answers.
fn idempotency_key(call: &Identified, caller: &Caller) -> Result<Option<String>, Refusal> {
    let Some(value) = call.head.headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
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

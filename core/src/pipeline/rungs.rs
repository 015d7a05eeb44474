//! The rungs of a call: the decision as it was made, then with one step of a ladder more each time, until one can be held.
//!
//! A step changes wishes and bounds only: every requirement, cap, grant and needed feature is kept, and no policy is asked
//! again. A call that bounds its answer by nothing is bounded by what is left of its budget before a step is taken.

use std::sync::Arc;

use super::bound::{self, Bound};
use super::claims;
use super::identify::Identified;
use super::settle::After;
use super::{Core, targets};
use crate::contract::Operation;
use crate::contract::refusal::Refusal;
use crate::evidence::receipt::{LimitAlert, Receipt};
use crate::limits::claim::{Claim, Refused};
use crate::limits::rules::{Then, Unit};
use crate::policy::effect::Wish;
use crate::policy::facts::Facts;
use crate::policy::terms::Terms;
use crate::routing::catalog::Target;

/// What is left of a budget bounds an answer to no fewer tokens than this: fewer help nobody.
const OUTPUT_TOKENS_MIN: u64 = 64;
/// How often what is left may turn out to be less than it was a moment ago.
const LOWERED_MAX: u32 = 4;

/// The call as it may go: what was decided, with the steps of ladders that were taken.
pub struct Rung {
    pub terms: Arc<Terms>,
    pub targets: Vec<Arc<Target>>,
    /// The answer of a ladder: no provider is called.
    pub answer: Option<Arc<str>>,
}

/// A call on its way through the rungs.
struct Climb<'a> {
    core: &'a Core,
    call: &'a Identified,
    facts: &'a Arc<Facts>,
    terms: &'a Arc<Terms>,
    targets: &'a [Arc<Target>],
    /// By claim: how many steps of its ladder are taken.
    steps: Vec<usize>,
    /// From what is left of a budget.
    lowered: Option<(Arc<str>, u64)>,
}

/// Holds the first rung that fits.
pub async fn hold(
    core: &Core,
    call: &Identified,
    facts: &Arc<Facts>,
    (terms, targets): (&Arc<Terms>, Vec<Arc<Target>>),
    mut claims: Vec<Claim>,
    (receipt, after): (&mut Receipt, &mut After),
) -> Result<Rung, Refusal> {
    let steps = near_the_end(core, &claims).await;
    let mut climb = Climb { core, call, facts, terms, targets: &targets, steps, lowered: None };
    let mut lowered = 0;
    loop {
        let mut rung = climb.rung(&claims);
        let bound = Bound::of(call, facts, &rung.terms);
        if rung.answer.is_none() {
            bound::bounded(&bound, &call.revision, &mut claims, &mut rung.targets)?;
        }
        let refused = match taken(core, call, &claims, rung.answer.is_some()).await {
            Ok(held) => {
                after.held = !held.is_empty();
                receipt.holds = held;
                after.allow(&bound, &rung);
                climb.note(&claims, receipt);
                return Ok(rung);
            }
            Err(refused) => refused,
        };
        let at = claims.iter().position(|claim| claim.scope == refused.scope && refused.is_budget);
        let left = at.filter(|_| lowered < LOWERED_MAX && climb.is_unbounded()).and_then(|_| {
            let left = refused.limit.saturating_sub(refused.used).saturating_sub(refused.held);
            bound.affords(&rung.targets, refused.unit, left).filter(|tokens| *tokens >= OUTPUT_TOKENS_MIN)
        });
        match (at, left) {
            (Some(_), Some(tokens)) => {
                lowered += 1;
                climb.lowered = Some((refused.rule.clone(), tokens));
            }
            (Some(at), None) if climb.steps[at] < claims[at].rule.ladder.len() => {
                climb.steps[at] += 1;
                climb.lowered = None;
            }
            (Some(_) | None, _) => {
                let refusal = claims::refusal(&refused);
                receipt.hold_refused = Some(refused);
                return Err(refusal);
            }
        }
    }
}

/// The steps that each ladder has reached before this call.
async fn near_the_end(core: &Core, claims: &[Claim]) -> Vec<usize> {
    if claims.iter().all(|claim| claim.rule.ladder.is_empty()) {
        return vec![0; claims.len()];
    }
    let standings = core.ledger.standing(claims, (core.clock.now_ms)()).await;
    let reached = claims.iter().zip(standings).map(|(claim, stands)| {
        let permille = stands.permille();
        claim.rule.ladder.iter().take_while(|step| step.at_permille <= permille).count()
    });
    reached.collect()
}

/// An answer of our own costs nothing: of its claims only those count that any call makes.
async fn taken(
    core: &Core,
    call: &Identified,
    claims: &[Claim],
    is_ours: bool,
) -> Result<Vec<crate::limits::claim::Held>, Refused> {
    let now_ms = (core.clock.now_ms)();
    if !is_ours {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        return core.ledger.hold_for(call.hold_id, claims, now_ms).await;
    }
    let counts = |claim: &&Claim| matches!(claim.rule.unit, Unit::Requests | Unit::InFlight);
    let claims: Vec<Claim> = claims.iter().filter(counts).map(|claim| Claim { worst: 1, ..claim.clone() }).collect();
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    core.ledger.hold(call.hold_id, &claims, now_ms).await
}

impl Climb<'_> {
    /// Nobody bounds the answer, and it has a bound to set.
    fn is_unbounded(&self) -> bool {
        let chats = matches!(self.call.dialect.operation(), Operation::Chat | Operation::Completions);
        chats && self.facts.intent.max_tokens.is_none() && self.terms.max_tokens.is_none()
    }

    /// The decision with the steps that are taken. Pure.
    fn rung(&self, claims: &[Claim]) -> Rung {
        let mut rung = Rung { terms: self.terms.clone(), targets: self.targets.to_vec(), answer: None };
        for (claim, taken) in claims.iter().zip(&self.steps) {
            for step in &claim.rule.ladder[..*taken] {
                match &step.then {
                    Then::Warn => {}
                    Then::Tier(tier) => self.tier(&mut rung, tier),
                    Then::MaxTokens(tokens) => lower(&mut rung.terms, *tokens),
                    Then::Answer(text) if super::template::speaks(self.call.dialect) => {
                        rung.answer = Some(text.clone())
                    }
                    Then::Answer(_) => {}
                }
            }
        }
        if let Some((_, tokens)) = self.lowered {
            lower(&mut rung.terms, tokens);
        } else if self.is_unbounded() && !self.call.stream && counts_use(claims) {
            // What is not metered on its way must have a bound that its provider keeps.
            if rung.targets.iter().any(|target| target.output_tokens_max.is_none()) {
                lower(&mut rung.terms, bound::OUTPUT_TOKENS_ASSUMED);
            }
        }
        rung
    }

    /// Targets of another tier, where the call may go to one.
    fn tier(&self, rung: &mut Rung, tier: &Arc<str>) {
        let mut terms = (*rung.terms).clone();
        terms.prefer.retain(|(wish, _)| !matches!(wish, Wish::Tier(_)));
        terms.prefer.push((Wish::Tier(tier.to_string()), i32::MAX));
        let way = targets::way(self.core, &self.call.revision, self.call, self.facts, &terms);
        let Ok(mut found) = way.targets else { return };
        found.retain(|target| target.tier == *tier);
        if !found.is_empty() {
            (rung.terms, rung.targets) = (Arc::new(terms), found);
        }
    }

    /// What the steps did, for headers, operators and the receipt.
    fn note(&self, claims: &[Claim], receipt: &mut Receipt) {
        for (claim, taken) in claims.iter().zip(&self.steps) {
            let name = &claim.rule.name;
            for step in &claim.rule.ladder[..*taken] {
                match &step.then {
                    Then::Warn => receipt.warned.push(format!("{name}={}%", step.at_permille / 10)),
                    Then::Tier(tier) => receipt.degraded.push(format!("{name}:tier={tier}").into()),
                    Then::MaxTokens(tokens) => receipt.degraded.push(format!("{name}:max_tokens={tokens}").into()),
                    Then::Answer(_) => receipt.degraded.push(format!("{name}:answer").into()),
                }
            }
        }
        if let Some((rule, tokens)) = &self.lowered {
            receipt.degraded.push(format!("{rule}:max_tokens={tokens}").into());
        }
        let Receipt { holds, limit_alerts, .. } = receipt;
        for held in holds.iter() {
            let Some(claim) = claims.iter().find(|claim| claim.scope == held.scope) else { continue };
            let (before, with) = held.passed_permille();
            for step in claim.rule.ladder.iter().filter(|step| before < step.at_permille && step.at_permille <= with) {
                limit_alerts.push(LimitAlert::Passed { rule: held.rule.clone(), at_permille: step.at_permille });
            }
        }
    }
}

fn counts_use(claims: &[Claim]) -> bool {
    claims.iter().any(|claim| matches!(claim.rule.unit, Unit::Nanousd | Unit::Tokens))
}

fn lower(terms: &mut Arc<Terms>, tokens: u64) {
    let least = terms.max_tokens.map_or(tokens, |known| known.min(tokens));
    if terms.max_tokens != Some(least) {
        Arc::make_mut(terms).max_tokens = Some(least);
    }
}

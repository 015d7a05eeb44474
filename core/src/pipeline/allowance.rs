//! How far a call may go with what is held for it: a stream while it flows, and a further attempt before it leaves.

use std::sync::Arc;

use super::settle::After;
use super::{Core, claims};
use crate::contract::refusal::{Category, Refusal};
use crate::limits::claim::Refused;
use crate::limits::money::{Most, usd_text};
use crate::ports::Used;
use crate::routing::catalog::Target;

/// A hold is extended by so many tokens of output at once.
const STEP_TOKENS: u64 = 256;
/// A stream that no bound ends is extended for when so few tokens are left.
const NEAR_TOKENS: u64 = 32;
/// Our count of a stream that its provider bounds may be above the bound by an eighth and so many tokens.
const SLACK_TOKENS: u64 = 16;

/// What a call may use, as it was admitted.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// By what the worst case was computed, but for the output.
    pub most: Most,
    /// The bound of output that the provider was told.
    pub max_tokens: Option<u64>,
    /// Output that is held for where neither call nor catalog bounds it.
    pub assumed: u64,
    /// So many answers at once.
    pub answers: u64,
    pub max_cost_nanousd: Option<i64>,
}

impl Allowed {
    /// Output tokens that are held for at this target.
    fn output(&self, target: &Target) -> u64 {
        self.max_tokens
            .into_iter()
            .chain(target.output_tokens_max)
            .min()
            .unwrap_or(self.assumed)
            .saturating_mul(self.answers)
    }

    fn cost(&self, target: &Target, output: u64) -> i64 {
        target.price.as_ref().map_or(0, |row| row.price.worst(&Most { output, ..self.most }))
    }
}

/// The allowance of one stream.
pub struct Allowance {
    allowed: Allowed,
    target: Arc<Target>,
    /// Output tokens that are held for.
    covers: u64,
    /// The provider knows a bound and keeps it: our count is only an estimate beside it.
    bounded: bool,
    /// No more was to be had.
    refused: Option<Refusal>,
}

impl Allowance {
    /// `None` = nothing is held for it and its cost has no cap: it need not be metered.
    pub fn of(after: &After, target: &Arc<Target>) -> Option<Allowance> {
        let allowed = after.allowed?;
        Some(Allowance {
            allowed,
            target: target.clone(),
            covers: allowed.output(target),
            bounded: allowed.max_tokens.is_some() || target.output_tokens_max.is_some(),
            refused: None,
        })
    }

    /// Goes on to `tokens` of output, and holds more where that is needed; else why the stream ends here.
    pub async fn reach(&mut self, core: &Core, after: &mut After, tokens: u64) -> Result<(), Refusal> {
        let near = if self.bounded { 0 } else { NEAR_TOKENS };
        while tokens.saturating_add(near) > self.covers && self.refused.is_none() {
            self.refused = self.extend(core, after).await.err();
        }
        let slack = if self.bounded { self.covers / 8 + SLACK_TOKENS } else { 0 };
        match &self.refused {
            Some(refusal) if tokens >= self.covers.saturating_add(slack) => Err(refusal.clone()),
            Some(_) | None => Ok(()),
        }
    }

    async fn extend(&mut self, core: &Core, after: &mut After) -> Result<(), Refusal> {
        let to = self.covers.saturating_add(STEP_TOKENS);
        let cost = self.allowed.cost(&self.target, to);
        if let Some(cap) = self.allowed.max_cost_nanousd
            && cost > cap
        {
            let told = format!(
                "the answer ends here: with {to} tokens of output it may cost {} USD, the cap is {} USD",
                usd_text(cost),
                usd_text(cap)
            );
            return Err(Refusal::new(Category::BudgetExceeded, "cost_cap_exceeded", told));
        }
        let more =
            Used { nanousd: cost.saturating_sub(self.allowed.cost(&self.target, self.covers)), tokens: STEP_TOKENS };
        after.extend(core, more).await.map_err(|refused| {
            let why = claims::refusal(&refused);
            Refusal { reason: format!("the answer ends here: {}", why.reason), retry_after_ms: None, ..why }
        })?;
        self.covers = to;
        Ok(())
    }
}

/// Holds for another attempt beside one that may have been billed; else it does not leave.
pub async fn another(core: &Core, after: &mut After, target: &Target) -> Result<(), Refused> {
    let Some(allowed) = after.allowed.filter(|_| after.held) else { return Ok(()) };
    let output = allowed.output(target);
    let more = Used { nanousd: allowed.cost(target, output), tokens: allowed.most.input.saturating_add(output) };
    after.extend(core, more).await
}

impl After {
    /// Holds more for this call.
    async fn extend(&mut self, core: &Core, more: Used) -> Result<(), Refused> {
        if !self.held {
            return Ok(());
        }
        self.step += 1;
        core.ledger.extend(self.hold_id, self.step, more, (core.clock.now_ms)()).await
    }
}

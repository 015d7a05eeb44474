//! Many decisions become one: `resolve` folds the set of all effects into the terms of a call, once.
//!
//! The order of policies never matters: each kind of effect has its own rule, by strictness, or by a total order where
//! only one can be heard. Adding a policy never removes a denial, raises a cap or widens a requirement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::effect::{Alert, At, Cap, Effect, Pin, Split, Trait, Wish};
use super::verdict::{Layer, Outcome, Verdict};
use super::{Mode, OnError};

/// The merged decision laid on a call; it holds for every attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// All denials, the one that is told first: highest layer, then name, then line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Denial>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_nanousd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// All of them hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<Requirement>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub reserve: BTreeSet<String>,
    /// Summed scores, by what is wished for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefer: Vec<(Wish, i32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<Winner<Pin>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Winner<Split>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Setting>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub drop: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, BTreeSet<String>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub notes: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub alerts: BTreeSet<Alert>,
    /// Single-writer effects that lost, and to whom.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overridden: Vec<Overridden>,
    /// Policies that failed and were declared `degrade`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub degraded: BTreeSet<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Denial {
    pub layer: Layer,
    pub policy: Arc<str>,
    pub at: At,
    pub code: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    pub of: Trait,
    pub any: BTreeSet<String>,
    /// Who asks for it.
    pub policies: BTreeSet<Arc<str>>,
}

/// The value of a single-writer effect and who wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Winner<T> {
    #[serde(flatten)]
    pub value: T,
    pub policy: Arc<str>,
    pub at: At,
}

/// A parameter that is set, and who set it. Its value may be any JSON, so it stands under a key of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub value: Value,
    pub policy: Arc<str>,
    pub at: At,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Overridden {
    pub effect: String,
    pub policy: Arc<str>,
    pub at: At,
    pub by: Arc<str>,
}

/// Rank of a single writer: highest layer, then highest priority, then name, then line.
type Rank<'a> = (Layer, i32, &'a str, &'a At);

impl Terms {
    /// The terms of the policies in mode `enforce`.
    pub fn resolve<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> Terms {
        Self::fold(verdicts.into_iter().filter(|v| v.mode == Mode::Enforce))
    }

    /// What the terms would be if `observe` and `warn` acted too; `None` where that changes nothing.
    pub fn resolve_shadow(verdicts: &[Verdict], terms: &Terms) -> Option<Box<Terms>> {
        if verdicts.iter().all(|v| matches!(v.mode, Mode::Enforce | Mode::Off) || !v.says()) {
            return None;
        }
        let shadow = Self::fold(verdicts.iter().filter(|v| v.mode != Mode::Off));
        (shadow != *terms).then(|| Box::new(shadow))
    }

    fn fold<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Terms {
        let mut folding = Folding::default();
        for verdict in verdicts {
            match &verdict.outcome {
                Outcome::NotMatched(_) => {}
                Outcome::Failed(failure) => match failure.on_error {
                    OnError::Skip => {}
                    OnError::Degrade => {
                        folding.terms.degraded.insert(verdict.policy.name.clone());
                    }
                    OnError::Deny => folding.terms.deny.push(Denial {
                        layer: verdict.policy.layer,
                        policy: verdict.policy.name.clone(),
                        at: failure.at.clone(),
                        code: "policy_error".to_owned(),
                        reason: "the policy could not decide, and is declared to refuse then".to_owned(),
                    }),
                },
                Outcome::Decided(effects) => {
                    for said in effects {
                        folding.take(verdict, &said.effect, &said.at);
                    }
                }
            }
        }
        folding.finish()
    }

    /// Nothing that any policy said has weight for the way of the call.
    pub fn is_plain(&self) -> bool {
        *self == Terms::default()
    }
}

/// Effects that only one policy can write, gathered until all are known.
#[derive(Default)]
struct Folding<'a> {
    terms: Terms,
    require: BTreeMap<(Trait, &'a BTreeSet<String>), BTreeSet<Arc<str>>>,
    prefer: BTreeMap<&'a Wish, i32>,
    /// By effect (`pin`, `split`, `set temperature`).
    single: BTreeMap<(&'static str, &'a str), Vec<(Rank<'a>, &'a Effect)>>,
    fallback: Vec<(Rank<'a>, &'a [String])>,
}

impl<'a> Folding<'a> {
    fn take(&mut self, verdict: &'a Verdict, effect: &'a Effect, at: &'a At) {
        let policy = &verdict.policy;
        let rank = || -> Rank<'a> { (policy.layer, policy.priority.saturating_neg(), &*policy.name, at) };
        let terms = &mut self.terms;
        match effect {
            Effect::Deny(deny) => terms.deny.push(Denial {
                layer: policy.layer,
                policy: policy.name.clone(),
                at: at.clone(),
                code: deny.code.clone(),
                reason: deny.reason.clone(),
            }),
            Effect::Cap(Cap::MaxTokens(n)) => least(&mut terms.max_tokens, *n),
            Effect::Cap(Cap::MaxCostNanousd(n)) => least(&mut terms.max_cost_nanousd, *n),
            Effect::Cap(Cap::DeadlineMs(n)) => least(&mut terms.deadline_ms, *n),
            Effect::Cap(Cap::Attempts(n)) => least(&mut terms.attempts, *n),
            Effect::Require(r) => {
                self.require.entry((r.of, &r.any)).or_default().insert(policy.name.clone());
            }
            Effect::Reserve(rule) => {
                terms.reserve.insert(rule.clone());
            }
            Effect::Prefer(p) => {
                let score = self.prefer.entry(&p.wish).or_default();
                *score = score.saturating_add(p.score);
            }
            Effect::Pin(_) => self.single.entry(("pin", "")).or_default().push((rank(), effect)),
            Effect::Split(_) => self.single.entry(("split", "")).or_default().push((rank(), effect)),
            Effect::Set(param, _) => self.single.entry(("set", param)).or_default().push((rank(), effect)),
            Effect::Fallback(targets) => self.fallback.push((rank(), targets)),
            Effect::Drop(field) => {
                terms.drop.insert(field.clone());
            }
            Effect::Tag(key, value) => {
                terms.tags.entry(key.clone()).or_default().insert(value.clone());
            }
            Effect::Note(text) => {
                terms.notes.insert(text.clone());
            }
            Effect::Alert(alert) => {
                terms.alerts.insert(alert.clone());
            }
        }
    }

    fn finish(mut self) -> Terms {
        for ((name, param), mut writers) in std::mem::take(&mut self.single) {
            // Values break the tie of two effects on one line, so that the order of arrival never counts.
            writers.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| format!("{x:?}").cmp(&format!("{y:?}"))));
            writers.dedup();
            let mut writers = writers.into_iter();
            let Some(((_, _, winner, at), effect)) = writers.next() else { continue };
            let winner: Arc<str> = winner.into();
            let by = |at: &At| (winner.clone(), at.clone());
            match effect {
                Effect::Pin(pin) => {
                    let (policy, at) = by(at);
                    self.terms.pin = Some(Winner { value: pin.clone(), policy, at });
                }
                Effect::Split(split) => {
                    let (policy, at) = by(at);
                    self.terms.split = Some(Winner { value: split.clone(), policy, at });
                }
                Effect::Set(param, value) => {
                    let (policy, at) = by(at);
                    self.terms.set.insert(param.clone(), Setting { value: value.clone(), policy, at });
                }
                Effect::Deny(_)
                | Effect::Cap(_)
                | Effect::Require(_)
                | Effect::Reserve(_)
                | Effect::Prefer(_)
                | Effect::Fallback(_)
                | Effect::Drop(_)
                | Effect::Tag(..)
                | Effect::Note(_)
                | Effect::Alert(_) => {}
            }
            for ((_, _, policy, at), _) in writers {
                let effect = if param.is_empty() { name.to_owned() } else { format!("{name} {param}") };
                self.terms.overridden.push(Overridden {
                    effect,
                    policy: policy.into(),
                    at: at.clone(),
                    by: winner.clone(),
                });
            }
        }
        self.fallback.sort();
        for (_, targets) in &self.fallback {
            for target in *targets {
                if !self.terms.fallback.contains(target) {
                    self.terms.fallback.push(target.clone());
                }
            }
        }
        let mut terms = self.terms;
        terms.require = self
            .require
            .into_iter()
            .map(|((of, any), policies)| Requirement { of, any: any.clone(), policies })
            .collect();
        terms.prefer = self.prefer.into_iter().map(|(wish, score)| (wish.clone(), score)).collect();
        terms.deny.sort();
        terms.deny.dedup();
        terms.overridden.sort();
        terms
    }
}

fn least<T: Ord + Copy>(bound: &mut Option<T>, value: T) {
    *bound = Some(bound.map_or(value, |known| known.min(value)));
}

#[cfg(test)]
#[path = "terms_tests.rs"]
mod tests;

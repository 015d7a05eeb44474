//! What a second revision would have done with a call: decided on the same facts, compared, and acted on by nobody.
//!
//! It is asked at pre-route, on the facts that the active revision was given, with its own catalog and grants.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Core;
use super::identify::Identified;
use super::targets;
use crate::contract::refusal::Refusal;
use crate::evidence::digest;
use crate::evidence::receipt::{Difference, DifferenceKind, Receipt, Rehearsed};
use crate::policy::Hook;
use crate::policy::facts::Facts;
use crate::policy::revision::Revision;
use crate::policy::terms::Terms;
use crate::policy::verdict::{Outcome, Verdict};
use crate::routing::catalog::Target;

type Targets = Result<Vec<Arc<Target>>, Refusal>;

/// Asks the second revision and compares with what the first came to.
pub fn look_on(
    core: &Core,
    second: &Revision,
    call: &Identified,
    facts: &Arc<Facts>,
    acted: &Targets,
    receipt: &Receipt,
) -> Rehearsed {
    let verdicts = second.judge.ask(Hook::PreRoute, facts);
    let terms = Terms::resolve(&verdicts);
    let would: Targets = match terms.deny.first() {
        Some(denial) => Err(Refusal {
            policy: Some(denial.policy.clone()),
            ..Refusal::new(crate::contract::refusal::Category::PolicyViolation, denial.code.clone(), "")
        }),
        None => targets::way(core, second, call, facts, &terms).targets,
    };
    let own: Vec<&Verdict> = receipt.verdicts.iter().filter(|v| v.hook == Hook::PreRoute).collect();
    let mut differences = Vec::new();
    let way = of_ways(acted, &would);
    // A call that is turned away has no terms worth comparing.
    let terms_differ = way.is_none() && acted.is_ok() && plain(&receipt.terms) != plain(&terms);
    let policy = changed(&own, &verdicts);
    if let Some(mut difference) = way {
        difference.policy = difference.policy.or(policy.clone());
        differences.push(difference);
    }
    if terms_differ {
        let told = "it would go the same way under other terms".to_owned();
        differences.push(Difference { kind: DifferenceKind::Terms, policy, told });
    }
    differences.extend(failures(&own, &verdicts));
    Rehearsed { revision: second.id.0.clone(), decision_digest: digest::decision(&verdicts), differences }
}

fn of_ways(acted: &Targets, would: &Targets) -> Option<Difference> {
    let of = |kind, policy: Option<Arc<str>>, told: String| Some(Difference { kind, policy, told });
    match (acted, would) {
        (Ok(acted), Err(would)) => {
            let first = acted.first().map_or("", |t| &*t.id);
            of(DifferenceKind::Refused, would.policy.clone(), format!("`{first}` would become `{}`", would.code))
        }
        (Err(acted), Ok(would)) => {
            let first = would.first().map_or("", |t| &*t.id);
            of(DifferenceKind::Admitted, acted.policy.clone(), format!("`{}` would become `{first}`", acted.code))
        }
        (Ok(acted), Ok(would)) => {
            let (from, to) = (acted.first().map_or("", |t| &*t.id), would.first().map_or("", |t| &*t.id));
            match from == to {
                true => None,
                false => of(DifferenceKind::Rerouted, None, format!("`{from}` would become `{to}`")),
            }
        }
        (Err(acted), Err(would)) => match acted.code == would.code {
            true => None,
            false => {
                let told = format!("`{}` would become `{}`", acted.code, would.code);
                of(DifferenceKind::Refused, would.policy.clone(), told)
            }
        },
    }
}

/// The terms without lines and names: a policy that moved in its file decides no other way.
fn plain(terms: &Terms) -> impl PartialEq + '_ {
    let set: BTreeMap<&str, &serde_json::Value> = terms.set.iter().map(|(k, w)| (k.as_str(), &w.value)).collect();
    let require: Vec<_> = terms.require.iter().map(|r| (r.of, &r.any)).collect();
    (
        (terms.max_tokens, terms.max_cost_nanousd, terms.deadline_ms, terms.attempts),
        (require, &terms.reserve, &terms.prefer, &terms.fallback),
        (terms.pin.as_ref().map(|w| &w.value), terms.split.as_ref().map(|w| &w.value), set),
        (&terms.drop, &terms.tags),
    )
}

/// The first policy, by name, whose effects are not the same on both sides.
fn changed(own: &[&Verdict], other: &[Verdict]) -> Option<Arc<str>> {
    let effects = |verdicts: &mut dyn Iterator<Item = &Verdict>| -> BTreeMap<Arc<str>, Vec<String>> {
        verdicts
            .filter(|v| v.says())
            .map(|v| {
                let mut told: Vec<String> = v.effects().iter().map(|said| format!("{:?}", said.effect)).collect();
                told.sort();
                told.push(format!("{:?}", v.mode));
                (v.policy.name.clone(), told)
            })
            .collect()
    };
    let (own, other) = (effects(&mut own.iter().copied()), effects(&mut other.iter()));
    own.keys().chain(other.keys()).filter(|name| own.get(*name) != other.get(*name)).min().cloned()
}

/// Policies that would fail and do not fail now.
fn failures(own: &[&Verdict], other: &[Verdict]) -> Vec<Difference> {
    let fails = |v: &Verdict| matches!(v.outcome, Outcome::Failed(_));
    let failed_already = |name: &Arc<str>| own.iter().any(|v| v.policy.name == *name && fails(v));
    other
        .iter()
        .filter(|v| !failed_already(&v.policy.name))
        .filter_map(|v| match &v.outcome {
            Outcome::Failed(failure) => Some(Difference {
                kind: DifferenceKind::Failed,
                policy: Some(v.policy.name.clone()),
                told: format!("{} at {}", failure.what, failure.at),
            }),
            Outcome::Decided(_) | Outcome::NotMatched(_) => None,
        })
        .collect()
}

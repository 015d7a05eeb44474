//! From terms to targets: the grants of the caller, what the call needs, the router's choice, and why there is none.

use std::sync::Arc;

use super::identify::Identified;
use super::translate::serves;
use super::{Core, granted};
use crate::contract::Operation;
use crate::contract::refusal::{Category, Refusal};
use crate::policy::facts::Facts;
use crate::policy::revision::Revision;
use crate::policy::terms::Terms;
use crate::routing::catalog::{Feature, Target};
use crate::routing::choose::{Considered, Cut, Given, NoRoute, choose};

/// Where a call may go, and what was looked at on the way.
pub struct Way {
    pub targets: Result<Vec<Arc<Target>>, Refusal>,
    pub considered: Vec<Considered>,
    pub replaced: Option<String>,
    /// The terms under the ceilings of the grants; `None` = as they were.
    pub ceilings: Option<Arc<Terms>>,
}

impl Way {
    fn refused(refusal: Refusal, considered: Vec<Considered>) -> Way {
        Way { targets: Err(refusal), considered, replaced: None, ceilings: None }
    }
}

/// The targets under one revision. The same facts and terms give the same way.
pub fn way(core: &Core, revision: &Revision, call: &Identified, facts: &Arc<Facts>, terms: &Terms) -> Way {
    let operation = call.dialect.operation().granted_as();
    let rows = match granted::rows(revision, facts, operation) {
        Ok(rows) => rows,
        Err(refusal) => return Way::refused(refusal, Vec::new()),
    };
    let needs = needs(call, facts, terms);
    let given = Given {
        intent: &facts.intent,
        operation,
        needs: &needs,
        serves: &|provider| core.upstream.serves(provider),
        speaks: &|provider| serves(call.dialect, core.upstream.speaks(provider)),
        takes_unlisted: &|provider| core.upstream.takes_unlisted(provider),
        default_provider: core.upstream.default_provider(),
        granted: &|target| {
            !revision.tenants.present || rows.iter().any(|row| row.admits_operation(operation) && row.admits(target))
        },
        bucket: &|name, by| facts.bucket(name, by),
    };
    match choose(&revision.catalog, terms, &given) {
        Ok(route) => {
            let ceilings = granted::under_ceilings(terms, &rows, operation, &route.targets);
            Way { targets: Ok(route.targets), considered: route.considered, replaced: route.replaced, ceilings }
        }
        Err(NoRoute::Unknown { asked, nearest }) => {
            let hint = nearest.map_or(String::new(), |name| format!(", did you mean `{name}`?"));
            let told = format!(
                "no model, tier or family `{asked}` is known here{hint} (`GET /v1/models` lists what you may use)"
            );
            let refusal = Refusal::new(Category::NoRoute, "model_not_found", told);
            Way::refused(Refusal { param: Some("model".into()), ..refusal }, Vec::new())
        }
        Err(NoRoute::AllCut(considered)) => Way::refused(all_cut(&facts.intent.asked, &considered), considered),
    }
}

/// Features that the call needs. Long bodies are not searched where no target can be cut for one: a model that the caller
/// named is taken at its provider's word.
fn needs(call: &Identified, facts: &Facts, terms: &Terms) -> Vec<Feature> {
    let adds = terms.pin.is_some() || terms.split.is_some() || !terms.fallback.is_empty() || !terms.prefer.is_empty();
    let named_only = !facts.intent.model.is_empty() && !adds;
    if call.dialect.operation() != Operation::Chat || named_only {
        return Vec::new();
    }
    let has = |member: &str| call.skim.find(&call.body, member).is_some();
    let says = |words: &[u8]| memchr::memmem::find(&call.body, words).is_some();
    if !has("tools") && !has("response_format") && !says(b"\"image_url\"") && !says(b"\"input_audio\"") {
        return Vec::new();
    }
    let named = &facts.prompt().features;
    // Reasoning effort is honoured or ignored, never refused for: many models take it that no table lists.
    Feature::ALL.into_iter().filter(|f| *f != Feature::Reasoning && named.iter().any(|name| name == f.name())).collect()
}

/// All targets were cut: said by what cut the most likely one.
fn all_cut(asked: &str, considered: &[Considered]) -> Refusal {
    let told = |list: Vec<String>| -> String { list.join("; ") };
    let reasons = considered.iter().filter_map(|c| c.cut.as_ref().map(|cut| format!("`{}`: {}", c.target, words(cut))));
    let reason = format!("no target is left for `{asked}`: {}", told(reasons.take(5).collect()));
    let cuts: Vec<&Cut> = considered.iter().filter_map(|c| c.cut.as_ref()).collect();
    let policies: Option<&Vec<Arc<str>>> =
        cuts.iter().find_map(|cut| if let Cut::Require { policies, .. } = cut { Some(policies) } else { None });
    if let Some(policies) = policies {
        let policy = policies.first().cloned();
        return Refusal { policy, ..Refusal::new(Category::PolicyViolation, "unsatisfiable", reason) };
    }
    if cuts.contains(&&Cut::NotGranted) {
        return Refusal::new(Category::Permission, "not_granted", reason);
    }
    if let Some(Cut::Feature(_)) = cuts.iter().find(|cut| matches!(cut, Cut::Feature(_))) {
        return Refusal::new(Category::Unsupported, "unsupported_feature", reason);
    }
    Refusal { param: Some("model".into()), ..Refusal::new(Category::NoRoute, "no_route", reason) }
}

/// A cut as people read it.
pub fn words(cut: &Cut) -> String {
    match cut {
        Cut::NotConfigured => "its provider is not configured here".to_owned(),
        Cut::Operation => "it does not offer this operation".to_owned(),
        Cut::Dialect => "its provider speaks no dialect that this call can be said in".to_owned(),
        Cut::NotGranted => "no grant admits it".to_owned(),
        Cut::Require { of, policies } => {
            let of = serde_json::to_value(of).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            format!("outside the {of} that {} requires", policies.join(" and "))
        }
        Cut::Region => "in another region than asked for".to_owned(),
        Cut::Feature(feature) => format!("it cannot do `{}`", feature.name()),
    }
}

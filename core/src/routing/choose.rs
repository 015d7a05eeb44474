//! From terms to an ordered list of targets. Pure: what is configured and what the caller may use are given.
//!
//! Wanted (the intent), added (pin, split, fallback, prefer), cut (grants, requirements, features), ordered.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, Feature, Target};
use crate::contract::Operation;
use crate::contract::glob::Glob;
use crate::policy::effect::{StickyBy, Trait, Wish};
use crate::policy::facts::Intent;
use crate::policy::terms::{Requirement, Terms};

/// No plan has more targets than this; receipts list no more candidates.
pub const TARGETS_MAX: usize = 16;

/// What the choice is made from, besides terms and catalog.
pub struct Given<'a> {
    pub intent: &'a Intent,
    pub operation: Operation,
    pub needs: &'a [Feature],
    /// Of a call that names no model: the targets that there are for it, instead of what the intent names.
    pub instead: &'a [Arc<Target>],
    /// The one provider that holds what the call speaks of.
    pub held_at: Option<&'a str>,
    /// Is the provider configured here?
    pub serves: &'a dyn Fn(&str) -> bool,
    /// Does it speak the call's dialect, or one that it can be translated to?
    pub speaks: &'a dyn Fn(&str) -> bool,
    /// Does the provider take models that no catalog lists?
    pub takes_unlisted: &'a dyn Fn(&str) -> bool,
    /// Who takes a model that nobody knows.
    pub default_provider: Option<&'a str>,
    /// Who could take a call that names no model: one is asked for whatever model it chooses.
    pub unnamed: &'a [&'a str],
    /// Do the rows of `tenants.yaml` grant it?
    pub granted: &'a dyn Fn(&Target) -> bool,
    pub bucket: &'a dyn Fn(&str, StickyBy) -> u16,
}

/// Where the call may go, in order, and how that came about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Route {
    pub targets: Vec<Arc<Target>>,
    pub considered: Vec<Considered>,
    /// The intent's tier or family that a preference replaced.
    pub replaced: Option<String>,
}

/// One target that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    pub target: Arc<str>,
    /// `wanted`, `pin`, `split`, `fallback`, `prefer`.
    pub why: Cow<'static, str>,
    #[serde(skip_serializing_if = "is_zero")]
    #[serde(default)]
    pub score: i32,
    /// Why it was cut; absent = it remained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    NotConfigured,
    Operation,
    /// It speaks no dialect that the call can be said in.
    Dialect,
    NotGranted,
    /// A requirement of these policies.
    Require {
        of: Trait,
        policies: Vec<Arc<str>>,
    },
    Region,
    Feature(Feature),
    /// What the call speaks of is held by this other provider.
    Elsewhere {
        provider: Arc<str>,
    },
}

/// Why there is no target.
#[derive(Debug, Clone, PartialEq)]
pub enum NoRoute {
    /// The name means nothing here; with the nearest name.
    Unknown { asked: String, nearest: Option<String> },
    /// No model is named, and not one provider could take the call: none, or several.
    Unnamed(Vec<String>),
    /// All that was wanted was cut.
    AllCut(Vec<Considered>),
}

/// Ranks of the ways a target comes in; lower is tried first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Pin,
    Split,
    Listed,
    Fallback,
}

struct Candidate {
    target: Arc<Target>,
    why: &'static str,
    place: Place,
    score: i32,
}

/// Chooses. The same given, terms and catalog give the same route.
pub fn choose(catalog: &Catalog, terms: &Terms, given: &Given<'_>) -> Result<Route, NoRoute> {
    let (candidates, replaced) = gather(catalog, terms, given)?;
    let requirements: Vec<(&Requirement, Vec<Glob>)> =
        terms.require.iter().map(|r| (r, r.any.iter().filter_map(|g| Glob::remembered(g).ok()).collect())).collect();
    let mut route = Route { replaced, ..Route::default() };
    let mut kept: Vec<(Place, i32, usize, Arc<Target>)> = Vec::with_capacity(candidates.len());
    for (at, candidate) in candidates.into_iter().enumerate() {
        let cut = cut(&candidate.target, given, &requirements);
        route.considered.push(Considered {
            target: candidate.target.id.clone(),
            why: candidate.why.into(),
            score: candidate.score,
            cut: cut.clone(),
        });
        if cut.is_none() {
            kept.push((candidate.place, candidate.score, at, candidate.target));
        }
    }
    kept.sort_by_key(|(place, score, at, _)| (*place, std::cmp::Reverse(*score), *at));
    route.targets = kept.into_iter().map(|(.., target)| target).take(TARGETS_MAX).collect();
    match route.targets.is_empty() {
        true => Err(NoRoute::AllCut(route.considered)),
        false => Ok(route),
    }
}

/// Wanted and added targets, each once, where it comes in first.
fn gather(catalog: &Catalog, terms: &Terms, given: &Given<'_>) -> Result<(Vec<Candidate>, Option<String>), NoRoute> {
    let mut list = Gathering { list: Vec::new(), pinned: &given.intent.provider };
    if !given.instead.is_empty() {
        given.instead.iter().for_each(|target| list.add(target.clone(), "wanted", Place::Listed, true));
        return Ok((list.list, None));
    }
    if let Some(pin) = &terms.pin
        && let Some(target) = named(catalog, given, &pin.value.target)
    {
        list.add(target, "pin", Place::Pin, pin.value.may_replace_pinned);
    }
    if let Some(split) = &terms.split
        && let Some(chosen) = share(&split.value.weights, (given.bucket)(&split.value.name, split.value.by))
        && let Some(target) = named(catalog, given, chosen)
    {
        list.add(target, "split", Place::Split, split.value.may_replace_pinned);
    }
    let (wanted, replaced) = wanted(catalog, terms, given)?;
    for target in wanted {
        list.add(target, "wanted", Place::Listed, true);
    }
    for (wish, _) in &terms.prefer {
        if let Wish::Target(id) = wish
            && let Some(target) = named(catalog, given, id)
        {
            list.add(target, "prefer", Place::Listed, false);
        }
    }
    for id in &terms.fallback {
        if let Some(target) = named(catalog, given, id) {
            list.add(target, "fallback", Place::Fallback, false);
        }
    }
    let mut list = list.list;
    for candidate in &mut list {
        candidate.score = score(&terms.prefer, &candidate.target);
    }
    Ok((list, replaced))
}

struct Gathering<'a> {
    list: Vec<Candidate>,
    /// The provider that the caller pinned, or empty.
    pinned: &'a str,
}

impl Gathering<'_> {
    /// A caller's pin is left only by who may replace it.
    fn add(&mut self, target: Arc<Target>, why: &'static str, place: Place, may_replace: bool) {
        if !may_replace && !self.pinned.is_empty() && *target.provider != *self.pinned {
            return;
        }
        match self.list.iter().position(|c| c.target.id == target.id) {
            Some(at) if place < self.list[at].place => (self.list[at].place, self.list[at].why) = (place, why),
            Some(_) => {}
            None if self.list.len() < TARGETS_MAX * 4 => self.list.push(Candidate { target, why, place, score: 0 }),
            None => {}
        }
    }
}

/// A target by its id, or by a model that any configured provider has, or one that a provider takes unlisted.
fn named(catalog: &Catalog, given: &Given<'_>, name: &str) -> Option<Arc<Target>> {
    if let Some(target) = catalog.target(name) {
        return Some(target.clone());
    }
    if let Some(target) = catalog.of_model(name).find(|t| (given.serves)(&t.provider)) {
        return Some(target.clone());
    }
    let (provider, model) = name.split_once('/')?;
    (given.takes_unlisted)(provider).then(|| Arc::new(super::catalog::unlisted(provider, model)))
}

/// What the intent names, with its tier or family replaced where a preference says so.
fn wanted(catalog: &Catalog, terms: &Terms, given: &Given<'_>) -> Result<(Vec<Arc<Target>>, Option<String>), NoRoute> {
    let intent = given.intent;
    let serving = |t: &&Arc<Target>| (given.serves)(&t.provider) && t.operations.contains(&given.operation);
    if !intent.provider.is_empty() {
        let id = format!("{}/{}", intent.provider, intent.model);
        let mut found: Vec<_> =
            catalog.of_model(&intent.model).filter(|t| *t.provider == *intent.provider).cloned().collect();
        found.extend(catalog.target(&id).filter(|t| !found.iter().any(|f| f.id == t.id)).cloned());
        if found.is_empty() && (given.takes_unlisted)(&intent.provider) {
            found.push(Arc::new(super::catalog::unlisted(&intent.provider, &intent.model)));
        }
        return if found.is_empty() { Err(unknown(catalog, intent)) } else { Ok((found, None)) };
    }
    let tier = best(&terms.prefer, |w| if let Wish::Tier(t) = w { Some(t) } else { None });
    let family = best(&terms.prefer, |w| if let Wish::Family(f) = w { Some(f) } else { None });
    let said = |a: Option<&str>, b: &str| a.map_or_else(|| b.to_owned(), str::to_owned);
    let replaced = [("tier", tier, &intent.tier), ("family", family, &intent.family)]
        .into_iter()
        .filter_map(|(what, new, old)| new.filter(|new| new != old).map(|new| format!("{what} `{old}` -> `{new}`")))
        .reduce(|a, b| format!("{a}, {b}"));
    let by_model = !intent.model.is_empty() && replaced.is_none();
    let mut found: Vec<Arc<Target>> = if by_model { of_model(catalog, given) } else { Vec::new() };
    let (tier, family) = (said(tier, &intent.tier), said(family, &intent.family));
    if intent.asked.is_empty() && tier.is_empty() && family.is_empty() {
        found = unnamed(given);
    } else if !by_model {
        let fits = |t: &&Arc<Target>| {
            (tier.is_empty() || *t.tier == *tier) && (family.is_empty() || *t.family == *family) && serving(t)
        };
        found = match (tier.is_empty(), family.is_empty()) {
            (true, true) => catalog.targets().iter().filter(fits).take(TARGETS_MAX).cloned().collect(),
            (false, _) => catalog.of_tier(&tier).filter(fits).cloned().collect(),
            (true, false) => catalog.of_family(&family).filter(fits).cloned().collect(),
        };
    }
    let added = terms.pin.is_some() || terms.split.is_some() || !terms.fallback.is_empty() || !terms.prefer.is_empty();
    match found.is_empty() && !added {
        true if intent.asked.is_empty() => {
            Err(NoRoute::Unnamed(given.unnamed.iter().map(|name| (*name).to_owned()).collect()))
        }
        true => Err(unknown(catalog, intent)),
        false => Ok((found, replaced)),
    }
}

/// A named model where it is offered; where nobody who is configured offers it, at the default provider.
fn of_model(catalog: &Catalog, given: &Given<'_>) -> Vec<Arc<Target>> {
    let name = &given.intent.model;
    let listed: Vec<Arc<Target>> = catalog.of_model(name).chain(catalog.target(name)).cloned().collect();
    match given.default_provider {
        Some(provider) if !listed.iter().any(|t| (given.serves)(&t.provider)) => {
            vec![Arc::new(super::catalog::unlisted(provider, name))]
        }
        Some(_) | None => listed,
    }
}

/// A call without a model, at the one provider that could take it. Grants and requirements see an empty name.
fn unnamed(given: &Given<'_>) -> Vec<Arc<Target>> {
    match given.unnamed {
        [provider] => vec![Arc::new(super::catalog::unlisted(provider, ""))],
        [] | [..] => Vec::new(),
    }
}

fn unknown(catalog: &Catalog, intent: &Intent) -> NoRoute {
    let nearest = crate::contract::nearest::nearest(&intent.asked, catalog.names()).map(str::to_owned);
    NoRoute::Unknown { asked: intent.asked.clone(), nearest }
}

/// The wish of one kind with the highest score above 0; the first name of equals.
fn best<'a>(prefer: &'a [(Wish, i32)], pick: impl Fn(&'a Wish) -> Option<&'a String>) -> Option<&'a str> {
    prefer
        .iter()
        .filter(|(_, score)| *score > 0)
        .filter_map(|(wish, score)| pick(wish).map(|name| (std::cmp::Reverse(*score), name)))
        .min()
        .map(|(_, name)| name.as_str())
}

fn score(prefer: &[(Wish, i32)], target: &Target) -> i32 {
    prefer
        .iter()
        .filter(|(wish, _)| match wish {
            Wish::Target(id) => **id == *target.id || **id == *target.model,
            Wish::Tier(tier) => **tier == *target.tier,
            Wish::Family(family) => **family == *target.family,
        })
        .fold(0i32, |sum, (_, score)| sum.saturating_add(*score))
}

/// The name that a bucket of 10,000 falls to, by weight, in the order of the names.
fn share(weights: &BTreeMap<String, u32>, bucket: u16) -> Option<&str> {
    let all: u64 = weights.values().map(|w| u64::from(*w)).sum();
    let mut reached = 0u64;
    weights
        .iter()
        .find(|(_, weight)| {
            reached += u64::from(**weight);
            u64::from(bucket) * all < reached * 10_000
        })
        .map(|(name, _)| name.as_str())
}

fn cut(target: &Target, given: &Given<'_>, requirements: &[(&Requirement, Vec<Glob>)]) -> Option<Cut> {
    if !(given.serves)(&target.provider) {
        return Some(Cut::NotConfigured);
    }
    if !target.operations.contains(&given.operation) {
        return Some(Cut::Operation);
    }
    if !(given.speaks)(&target.provider) {
        return Some(Cut::Dialect);
    }
    if let Some(provider) = given.held_at.filter(|provider| **provider != *target.provider) {
        return Some(Cut::Elsewhere { provider: provider.into() });
    }
    if !(given.granted)(target) {
        return Some(Cut::NotGranted);
    }
    for (requirement, globs) in requirements {
        let matches = |name: &str| globs.iter().any(|g| g.matches(name));
        let holds = match requirement.of {
            Trait::Models => matches(&target.model) || matches(&target.id),
            Trait::Families => matches(&target.family),
            Trait::Providers => matches(&target.provider),
            Trait::Regions => matches(&target.region),
            Trait::Tiers => matches(&target.tier),
        };
        if !holds {
            let policies = requirement.policies.iter().cloned().collect();
            return Some(Cut::Require { of: requirement.of, policies });
        }
    }
    if !given.intent.region.is_empty() && *target.region != *given.intent.region {
        return Some(Cut::Region);
    }
    if !given.intent.model.is_empty() && (*target.model == *given.intent.model || *target.id == *given.intent.model) {
        // The caller named it: its provider says best what it can do. Catalogs go out of date.
        return None;
    }
    let known = target.features.as_ref()?;
    given.needs.iter().find(|f| !known.contains(f)).map(|f| Cut::Feature(*f))
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;

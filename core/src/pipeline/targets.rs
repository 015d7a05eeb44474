//! From terms to targets: the grants of the caller, what the call needs, the router's choice, and why there is none.

use std::sync::Arc;

use super::identify::Identified;
use super::translate::serves;
use super::{Core, granted};
use crate::contract::meta::Field;
use crate::contract::refusal::{Category, Refusal};
use crate::contract::{Dialect, Operation};
use crate::identity::tenants::Grant;
use crate::policy::facts::Facts;
use crate::policy::revision::Revision;
use crate::policy::terms::Terms;
use crate::routing::catalog::{self, Feature, Target};
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
    let unread = call.wire.uninspected(call.dialect, &call.place);
    let rows = match granted::rows(revision, facts, operation, unread) {
        Ok(rows) => rows,
        Err(refusal) => return Way::refused(refusal, Vec::new()),
    };
    let instead = match facts.intent.asked.is_empty() && about_held(call) {
        true => match by_provider(core, revision, call, &facts.intent.provider) {
            Ok(targets) => targets,
            Err(refusal) => return Way::refused(refusal, Vec::new()),
        },
        false => Vec::new(),
    };
    let needs = needs(call, facts, terms);
    let unnamed = unnamed(core, call, facts);
    let given = Given {
        intent: &facts.intent,
        operation,
        needs: &needs,
        instead: &instead,
        held_at: call.refers.held.as_ref().map(|held| &*held.provider),
        serves: &|provider| core.upstream.serves(provider),
        speaks: &|provider| {
            let speaks = core.upstream.speaks(provider);
            // What is held is known by its own name only.
            if call.place.id.is_some() { speaks.contains(&call.dialect) } else { serves(call.dialect, speaks) }
        },
        takes_unlisted: &|provider| core.upstream.takes_unlisted(provider),
        default_provider: core.upstream.default_provider(),
        unnamed: &unnamed,
        granted: &|target| !revision.tenants.present || rows.iter().any(|row| row.admits(target)),
        bucket: &|name, by| facts.bucket(name, by),
    };
    match choose(&revision.catalog, terms, &given) {
        Ok(mut route) => {
            // What is made at one provider is there and nowhere else: a second one could only make another, or not know it.
            if !instead.is_empty() && holds(call) {
                route.targets.truncate(1);
            }
            let ceilings = granted::under_ceilings(terms, &rows, &route.targets);
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
        Err(NoRoute::Unnamed(speakers)) => Way::refused(no_model(call.dialect, &speakers), Vec::new()),
        Err(NoRoute::AllCut(considered)) => Way::refused(all_cut(&facts.intent.asked, &considered, &rows), considered),
    }
}

/// Who could take a call that names no model: the provider that is named instead, else the default provider where it speaks
/// the dialect, else all who do.
fn unnamed<'c>(core: &'c Core, call: &Identified, facts: &'c Facts) -> Vec<&'c str> {
    if !facts.intent.asked.is_empty() {
        return Vec::new();
    }
    if !facts.intent.provider.is_empty() {
        return vec![&facts.intent.provider];
    }
    let speakers = core.upstream.speakers(call.dialect);
    match core.upstream.default_provider().filter(|name| speakers.contains(name)) {
        Some(name) => vec![name],
        None => speakers,
    }
}

fn no_model(dialect: Dialect, speakers: &[String]) -> Refusal {
    let told = match speakers {
        [] => format!("`model` is missing, and no provider here speaks `{}`: name a model", dialect.name()),
        [..] => format!(
            "`model` is missing, and {} providers could choose one (`{}`): name a model, or make one of them the `default` provider",
            speakers.len(),
            speakers.join("`, `")
        ),
    };
    Refusal::invalid("missing_model", "model", told)
}

/// Is the call about what a provider holds?
fn holds(call: &Identified) -> bool {
    call.place.id.is_some() || matches!(call.dialect.operation(), Operation::Files | Operation::Batches)
}

/// Does it speak of what a provider holds, or may hold?
fn about_held(call: &Identified) -> bool {
    holds(call) || call.refers.held.is_some() || call.refers.unknown.is_some()
}

/// Where a call may go that speaks of what is held somewhere and names no model: to who holds it, to the provider that it
/// names, else to all that have such a thing.
fn by_provider(core: &Core, revision: &Revision, call: &Identified, named: &str) -> Result<Vec<Arc<Target>>, Refusal> {
    if let Some(held) = &call.refers.held {
        if !named.is_empty() && *named != *held.provider {
            let told = format!(
                "`{}` holds what the call speaks of, not `{named}`: leave the header `{}` out",
                held.provider,
                Field::Provider.header()
            );
            return Err(Refusal::new(Category::NoRoute, "held_elsewhere", told));
        }
        let known = revision.catalog.target(&held.target).cloned();
        let made = || match held.target.strip_prefix(&*held.provider).and_then(|rest| rest.strip_prefix('/')) {
            Some(model) => Arc::new(catalog::unlisted(&held.provider, model)),
            None => Arc::new(catalog::whole(&held.provider)),
        };
        return Ok(vec![known.unwrap_or_else(made)]);
    }
    if !named.is_empty() {
        return Ok(vec![Arc::new(catalog::whole(named))]);
    }
    let speaks = |name: &&Arc<str>| core.upstream.speaks(name).contains(&call.dialect);
    let all: Vec<&Arc<str>> = core.upstream.providers().iter().filter(speaks).collect();
    let default = core.upstream.default_provider();
    let mut targets: Vec<Arc<Target>> = all.iter().map(|name| Arc::new(catalog::whole(name))).collect();
    targets.sort_by_key(|target| Some(&*target.provider) != default);
    match (&call.refers.unknown, targets.first().map(|first| Some(&*first.provider) == default)) {
        (_, None) => {
            let told = format!("no provider that is configured here speaks `{}`", call.dialect.name());
            Err(Refusal::new(Category::NoRoute, "no_provider", told))
        }
        (Some(id), Some(false)) if targets.len() > 1 => {
            let names: Vec<&str> = all.iter().map(|name| &***name).collect();
            let told = format!(
                "nothing is known here of `{id}`, and {} may hold it: name one in the header `{}`",
                names.join(" or "),
                Field::Provider.header()
            );
            Err(Refusal { param: Some("id".into()), ..Refusal::new(Category::NoRoute, "unknown_id", told) })
        }
        (Some(_) | None, Some(_)) => Ok(targets),
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
fn all_cut(asked: &str, considered: &[Considered], rows: &[&Grant]) -> Refusal {
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
        let told = format!("{reason} ({})", granted::of_targets(rows));
        return Refusal::new(Category::Permission, "not_granted", told);
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
        Cut::Elsewhere { provider } => format!("`{provider}` holds what the call speaks of"),
    }
}

//! Stage three: hook *pre-route*, decisions merged into terms, targets in order.

use std::sync::Arc;

use super::Core;
use super::identify::Identified;
use crate::contract::Operation;
use crate::contract::meta::{Declared, Field};
use crate::contract::model_string::{self, Asked};
use crate::contract::refusal::{Category, Refusal};
use crate::evidence::digest;
use crate::evidence::receipt::{Receipt, Recorded};
use crate::identity::tenants::Grant;
use crate::limits::claim::Claim;
use crate::limits::money::nanousd_from_usd;
use crate::limits::rules::Unit;
use crate::policy::Hook;
use crate::policy::facts::{Facts, Intent, LimitFact};
use crate::policy::schema::{Group, GroupSet};
use crate::policy::terms::Terms;
use crate::routing::catalog::{Catalog, Feature, Target};
use crate::routing::choose::{Considered, Cut, Given, NoRoute, choose};

/// A call with terms and targets.
pub struct Planned {
    pub call: Box<Identified>,
    pub facts: Arc<Facts>,
    pub terms: Arc<Terms>,
    pub targets: Vec<Arc<Target>>,
    pub claims: Vec<Claim>,
}

pub async fn plan(core: &Core, mut call: Box<Identified>, receipt: &mut Receipt) -> Result<Planned, Refusal> {
    let revision = call.revision.clone();
    let intent = intent(core, &call, &revision.catalog)?;
    let claims = super::admit::claims(&revision.limits, &call, &intent);
    let reads = revision.judge.reads(Hook::PreRoute);
    let mut facts = std::mem::take(&mut call.facts);
    facts.intent = intent;
    limits(core, &mut facts, &claims, reads).await;
    let facts = Arc::new(facts);
    let verdicts = revision.judge.ask(Hook::PreRoute, &facts);
    receipt.verdicts.extend(verdicts);
    receipt.facts.insert(Hook::PreRoute, recorded(&call, facts.clone(), reads));
    receipt.decision_digest = digest::decision(&receipt.verdicts);
    let terms = Terms::resolve(&receipt.verdicts);
    receipt.shadow = Terms::resolve_shadow(&receipt.verdicts, &terms);
    receipt.terms = Arc::new(terms);
    refuse_denied(receipt)?;
    let terms = receipt.terms.clone();
    let targets = route(core, &call, &facts, &terms, receipt)?;
    Ok(Planned { targets, claims, facts, terms, call })
}

/// A denial of the merged terms ends the call, told as the highest layer said it.
pub fn refuse_denied(receipt: &mut Receipt) -> Result<(), Refusal> {
    let Some(denial) = receipt.terms.deny.first() else { return Ok(()) };
    receipt.decision_digest = digest::decision(&receipt.verdicts);
    let reason = if denial.reason.is_empty() { "refused by policy".to_owned() } else { denial.reason.clone() };
    Err(Refusal {
        policy: Some(denial.policy.clone()),
        at: Some(denial.at.clone()),
        ..Refusal::new(Category::PolicyViolation, denial.code.clone(), reason)
    })
}

/// What the caller wants: the model string, tightened by metadata.
fn intent(core: &Core, call: &Identified, catalog: &Catalog) -> Result<Intent, Refusal> {
    let raw = call.skim.raw(&call.body, "model");
    let asked: String = raw
        .ok_or_else(|| {
            Refusal::invalid("missing_model", "model", "`model` is missing: name a model, `@TIER` or `@auto`")
        })
        .and_then(|raw| {
            serde_json::from_slice(raw).map_err(|_| Refusal::invalid("wrong_type", "model", "`model` must be a text"))
        })?;
    // Model names have slashes too (`openai/gpt-oss-120b` at another provider): only what is configured here pins.
    let is_provider = |name: &str| core.upstream.serves(name);
    let mut intent = Intent { asked: asked.clone(), ..Intent::default() };
    match model_string::parse(&asked, is_provider).map_err(|why| Refusal::invalid("wrong_value", "model", why))? {
        Asked::Model(model) => intent.model = model.to_owned(),
        Asked::Pinned { provider, model } => {
            (intent.provider, intent.model) = (provider.to_owned(), model.to_owned());
        }
        Asked::One(name) if catalog.has_tier(name) || !catalog.has_family(name) => intent.tier = name.to_owned(),
        Asked::One(name) => intent.family = name.to_owned(),
        Asked::FamilyAndTier(family, tier) => (intent.family, intent.tier) = (family.to_owned(), tier.to_owned()),
        Asked::Auto => {}
    }
    // A named model has a family and a tier too: policies compare them without a look-up.
    if let Some(target) = catalog.of_model(&intent.model).next().or_else(|| catalog.target(&intent.model)) {
        (intent.family, intent.tier) = (target.family.to_string(), target.tier.to_string());
    }
    declared(&call.declared, &mut intent)?;
    intent.max_tokens = ["max_completion_tokens", "max_tokens"]
        .into_iter()
        .filter_map(|name| call.skim.raw(&call.body, name))
        .filter_map(|raw| serde_json::from_slice::<u64>(raw).ok())
        .min();
    Ok(intent)
}

/// Metadata names the intent beside the model string, and bounds it.
fn declared(declared: &Declared, intent: &mut Intent) -> Result<(), Refusal> {
    let by_model = !intent.model.is_empty();
    for (field, slot) in [(Field::Family, &mut intent.family), (Field::Tier, &mut intent.tier)] {
        let Some(value) = declared.get(field) else { continue };
        if by_model && **slot != *value {
            return Err(Refusal::invalid(
                "contradiction",
                field.header(),
                format!(
                    "model `{}` is of {} `{slot}`, not `{value}`: name the model or the {0}",
                    intent.asked,
                    field.member()
                ),
            ));
        }
        *slot = value.to_owned();
    }
    intent.region = declared.get(Field::Region).unwrap_or_default().to_owned();
    if let Some(text) = declared.get(Field::MaxCostUsd) {
        let wrong = |why| Refusal::invalid("wrong_value", Field::MaxCostUsd.header(), why);
        intent.max_cost_nanousd = Some(nanousd_from_usd(text).map_err(wrong)?);
    }
    if let Some(text) = declared.get(Field::MaxLatencyMs) {
        let wrong = |_| {
            let told = format!("`{text}` is no number of milliseconds above 0");
            Refusal::invalid("wrong_value", Field::MaxLatencyMs.header(), told)
        };
        intent.max_latency_ms = Some(text.parse::<std::num::NonZeroU64>().map_err(wrong)?.get());
    }
    Ok(())
}

/// How budgets and rates stand, where some policy reads it.
async fn limits(core: &Core, facts: &mut Facts, claims: &[Claim], reads: GroupSet) {
    if (reads.contains(Group::Budget) || reads.contains(Group::Rate)) && !claims.is_empty() {
        let standings = core.ledger.standing(claims, facts.call.time_ms).await;
        for (claim, standing) in claims.iter().zip(standings) {
            let taken = standing.used.saturating_add(standing.held);
            let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let fact = LimitFact {
                limit: int(claim.rule.limit),
                used: int(standing.used),
                held: int(standing.held),
                remaining: int(claim.rule.limit.saturating_sub(taken)),
                ratio: if claim.rule.limit == 0 { 0.0 } else { taken as f64 / claim.rule.limit as f64 },
                resets_at_ms: standing.resets_at_ms,
            };
            let table = match claim.rule.unit {
                Unit::Requests | Unit::InFlight => &mut facts.rate,
                Unit::Nanousd | Unit::Tokens if claim.rule.is_budget() => &mut facts.budget,
                Unit::Nanousd | Unit::Tokens => &mut facts.rate,
            };
            table.insert(claim.rule.name.to_string(), fact);
        }
    }
}

/// What the receipt records of the facts: the cheap groups always, the others where some policy reads them.
fn recorded(call: &Identified, facts: Arc<Facts>, reads: GroupSet) -> Recorded {
    let mut groups = reads;
    [Group::Call, Group::Meta, Group::Intent].into_iter().for_each(|group| groups.insert(group));
    // The receipt has its own caller.
    groups.remove(Group::Caller);
    Recorded::Live { facts, groups, user: call.user_sealed.clone(), address: call.address_sealed.clone() }
}

fn route(
    core: &Core,
    call: &Identified,
    facts: &Arc<Facts>,
    terms: &Terms,
    receipt: &mut Receipt,
) -> Result<Vec<Arc<Target>>, Refusal> {
    let revision = &call.revision;
    let operation = call.dialect.operation();
    let (tenant, app, use_case) = (&*facts.caller.tenant, &*facts.caller.app, &*facts.meta.use_case);
    let rows: Vec<&Grant> = revision.tenants.rows(tenant, app, use_case).collect();
    if revision.tenants.present && !rows.iter().any(|row| row.admits_operation(operation)) {
        return Err(Refusal::new(
            Category::Permission,
            "no_grant",
            format!(
                "tenant `{tenant}`, app `{app}`, use case `{use_case}` may not use `{}`: no row under `grants` of `tenants.yaml` admits it",
                operation.name()
            ),
        ));
    }
    let needs = needs(call, facts, terms);
    let given = Given {
        intent: &facts.intent,
        operation,
        needs: &needs,
        serves: &|provider| core.upstream.serves(provider),
        takes_unlisted: &|provider| core.upstream.takes_unlisted(provider),
        default_provider: core.upstream.default_provider(),
        granted: &|target| {
            !revision.tenants.present || rows.iter().any(|row| row.admits_operation(operation) && row.admits(target))
        },
        bucket: &|name, by| facts.bucket(name, by),
    };
    match choose(&revision.catalog, terms, &given) {
        Ok(route) => {
            (receipt.candidates, receipt.intent_replaced) = (route.considered, route.replaced);
            Ok(route.targets)
        }
        Err(NoRoute::Unknown { asked, nearest }) => {
            let hint = nearest.map_or(String::new(), |name| format!(", did you mean `{name}`?"));
            let told = format!(
                "no model, tier or family `{asked}` is known here{hint} (`GET /v1/models` lists what you may use)"
            );
            Err(Refusal { param: Some("model".into()), ..Refusal::new(Category::NoRoute, "model_not_found", told) })
        }
        Err(NoRoute::AllCut(considered)) => {
            let refusal = all_cut(&facts.intent.asked, &considered);
            receipt.candidates = considered;
            Err(refusal)
        }
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
        Cut::NotGranted => "no grant admits it".to_owned(),
        Cut::Require { of, policies } => {
            let of = serde_json::to_value(of).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            format!("outside the {of} that {} requires", policies.join(" and "))
        }
        Cut::Region => "in another region than asked for".to_owned(),
        Cut::Feature(feature) => format!("it cannot do `{}`", feature.name()),
    }
}

//! Stage three: hook *pre-route*, decisions merged into terms, targets in order.

use std::sync::Arc;

use super::identify::Identified;
use super::said::{TokenBound, token_bound};
use super::{Core, rehearse, stateful, targets};
use crate::contract::meta::{Declared, Field};
use crate::contract::model_string::{self, Asked};
use crate::contract::refusal::{Category, Refusal};
use crate::contract::{Operation, nearest};
use crate::dialects::spots;
use crate::evidence::digest;
use crate::evidence::receipt::{Receipt, Recorded};
use crate::limits::claim::Claim;
use crate::limits::money::nanousd_from_usd;
use crate::limits::rules::Unit;
use crate::policy::Hook;
use crate::policy::facts::{Facts, Intent, LimitFact};
use crate::policy::schema::{Group, GroupSet};
use crate::policy::terms::Terms;
use crate::routing::catalog::{Catalog, Target};

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
    call.refers = stateful::find(core, &call).await?;
    let intent = intent(core, &call, &revision.catalog)?;
    let mut claims = super::claims::claims(&revision.limits, &call, &intent);
    let rehearsed = call.beside.as_ref().filter(|beside| beside.rehearses()).map(|beside| beside.revision().clone());
    let reads = revision.judge.reads(Hook::PreRoute);
    let reads = rehearsed.as_ref().map_or(reads, |second| reads.union(second.judge.reads(Hook::PreRoute)));
    let mut facts = std::mem::take(&mut call.facts);
    facts.intent = intent;
    limits(core, &mut facts, &claims, reads).await;
    let facts = Arc::new(facts);
    let verdicts = revision.judge.ask(Hook::PreRoute, &facts);
    let clear = clear(&facts, revision.judge.reads(Hook::PostResponse));
    receipt.verdicts.extend(verdicts);
    receipt.facts.insert(Hook::PreRoute, recorded(&call, facts.clone(), reads));
    receipt.decision_digest = digest::decision(&receipt.verdicts);
    let terms = Terms::resolve(&receipt.verdicts);
    receipt.shadow = Terms::resolve_shadow(&receipt.verdicts, &terms);
    receipt.terms = Arc::new(terms);
    let mut terms = receipt.terms.clone();
    let targets = clear.and_then(|()| refuse_denied(receipt)).and_then(|()| {
        let way = targets::way(core, &revision, &call, &facts, &terms);
        (receipt.candidates, receipt.intent_replaced) = (way.considered, way.replaced);
        if let Some(under) = way.ceilings {
            (receipt.terms, terms) = (under.clone(), under);
        }
        way.targets
    });
    if let Some(second) = rehearsed {
        receipt.rehearsed = Some(Box::new(rehearse::look_on(core, &second, &call, &facts, &targets, receipt)));
    }
    // Policies see how these stand, and choose.
    claims.retain(|claim| !claim.rule.scope.reserved || terms.reserve.contains(&*claim.rule.name));
    Ok(Planned { targets: targets?, claims, facts, terms, call })
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

/// A prompt that policies read must be one that every reader reads alike. Where nobody reads it, its provider is the judge.
pub fn clear(facts: &Facts, read_later: GroupSet) -> Result<(), Refusal> {
    // After the answer it is too late to refuse what was paid for.
    if read_later.contains(Group::Prompt) {
        facts.prompt();
    }
    if read_later.contains(Group::Text) {
        facts.text();
    }
    let Some(unclear) = facts.unclear() else { return Ok(()) };
    let place = unclear.item.map_or(unclear.member.to_string(), |at| format!("{}[{at}]", unclear.member));
    let (code, what) = match unclear.twice {
        true => ("duplicate_member", "has a member twice"),
        false => ("wrong_type", "is of a wrong type, or has a member that is, or one twice"),
    };
    let told = format!("`{place}` {what}: policies read it here, and must read what the provider reads");
    Err(Refusal::invalid(code, place, told))
}

/// What the caller wants: the model string, tightened by metadata.
fn intent(core: &Core, call: &Identified, catalog: &Catalog) -> Result<Intent, Refusal> {
    let asked = asked(call)?;
    has_prompt(call)?;
    // Model names have slashes too (`openai/gpt-oss-120b` at another provider): only what is configured here pins.
    let is_provider = |name: &str| core.upstream.serves(name);
    let mut intent = Intent { asked: asked.clone(), ..Intent::default() };
    let parsed = match asked.is_empty() && names_none(call) {
        true => Ok(Asked::Auto),
        false => model_string::parse(&asked, is_provider),
    };
    match parsed.map_err(|why| Refusal::invalid("wrong_value", "model", why))? {
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
    provider(core, &call.declared, &mut intent)?;
    intent.max_tokens = tokens(call)?;
    Ok(intent)
}

/// What bounds the answer's tokens. Where several do, the provider chooses: the call may use the most of them.
fn tokens(call: &Identified) -> Result<Option<u64>, Refusal> {
    if let Some(name) = spots::spelt_twice(call.dialect, &call.body, &call.skim) {
        let told = format!("`{name}` stands there in two spellings: send one of them");
        return Err(Refusal::invalid("wrong_value", name, told));
    }
    let (mut most, mut bounded) = (None, true);
    for spot in spots::max_tokens(call.dialect) {
        match token_bound(spot.read(&call.body, &call.skim), spot.member)? {
            TokenBound::Absent => {}
            TokenBound::Tokens(tokens) => most = most.max(Some(tokens)),
            TokenBound::Boundless => bounded = false,
        }
    }
    Ok(most.filter(|_| bounded))
}

/// The model string: in the path, where the dialect has it there, else in the body.
fn asked(call: &Identified) -> Result<String, Refusal> {
    if let Some(asked) = &call.asked {
        return Ok(asked.to_string());
    }
    if names_none(call) {
        return Ok(String::new());
    }
    let missing = || Refusal::invalid("missing_model", "model", "`model` is missing: name a model, `@TIER` or `@auto`");
    let raw = call.skim.raw(&call.body, "model").ok_or_else(missing)?;
    serde_json::from_slice(raw).map_err(|_| Refusal::invalid("wrong_type", "model", "`model` must be a text"))
}

/// Is it a call without a model: about what a provider holds, or one whose provider may choose?
fn names_none(call: &Identified) -> bool {
    let said = || call.skim.raw(&call.body, "model").is_some_and(|raw| raw != b"null");
    let held = matches!(call.dialect.operation(), Operation::Files | Operation::Batches) || call.place.id.is_some();
    held || spots::model_optional(call.dialect) && call.asked.is_none() && !said()
}

/// The provider that the caller names beside the model, or instead of one.
fn provider(core: &Core, declared: &Declared, intent: &mut Intent) -> Result<(), Refusal> {
    let Some(name) = declared.get(Field::Provider) else { return Ok(()) };
    let header = Field::Provider.header();
    if !core.upstream.serves(name) {
        let hint = nearest::hint(name, core.upstream.providers().iter().map(|known| &**known));
        let told = format!("no provider `{name}` is configured here{hint}");
        return Err(Refusal {
            param: Some(header.into()),
            ..Refusal::new(Category::NoRoute, "unknown_provider", told)
        });
    }
    if intent.model.is_empty() && !intent.asked.is_empty() {
        let told = format!("`{header}` names a provider, so name one of its models too, not `{}`", intent.asked);
        return Err(Refusal::invalid("contradiction", header, told));
    }
    if !intent.provider.is_empty() && intent.provider != name {
        let told =
            format!("model `{}` is pinned to `{}`, not to `{name}`: send one of them", intent.asked, intent.provider);
        return Err(Refusal::invalid("contradiction", header, told));
    }
    intent.provider = name.to_owned();
    Ok(())
}

/// Without the one member that holds the prompt, and holds it as its dialect says, a body is no call.
fn has_prompt(call: &Identified) -> Result<(), Refusal> {
    let Some((member, is_a, first)) = spots::prompt(call.dialect) else { return Ok(()) };
    match call.skim.raw(&call.body, member).and_then(<[u8]>::first) {
        Some(begins) if first.contains(begins) => Ok(()),
        Some(_) => Err(Refusal::invalid("wrong_type", member, format!("`{member}` must be {is_a}"))),
        None => Err(Refusal::invalid("missing_member", member, format!("`{member}` is missing: it must be {is_a}"))),
    }
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
                    "model `{}` is of {} `{slot}`, not `{value}`: name the model or the {1}",
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
                limit: int(standing.limit),
                used: int(standing.used),
                held: int(standing.held),
                remaining: int(standing.remaining()),
                // Of nothing everything is used.
                ratio: if standing.limit == 0 { 1.0 } else { taken as f64 / standing.limit as f64 },
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

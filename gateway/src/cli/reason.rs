//! Why policies applied or not: for the cases of authors, and below the tree of a recorded call.

use std::sync::Arc;

use tollgate_core::evidence::receipt::Receipt;
use tollgate_core::policy::Hook;
use tollgate_core::policy::revision::{Applies, Known, Reason, Revision};
use tollgate_core::policy::schema::{Group, GroupSet};
use tollgate_core::policy::terms::Terms;
use tollgate_core::policy::tree::RevisionId;
use tollgate_core::policy::verdict::{Outcome, Verdict};
use tollgate_policy_runtime::cases::Question;

use super::explain::{line, policy, terms};
use super::{Ended, Places};
use crate::policies::{self, Checkout, Repository};
use crate::start;
use crate::state::State;

/// `tollgate policy explain --case POLICY/CASE`.
pub fn case(places: &Places, wanted: &str) -> Result<(), Ended> {
    let config = start::config(places)?;
    let repository = policies::once(&config, places, Checkout::Files)?;
    let builtin = policies::builtin();
    let report = repository.test(&builtin, Some(wanted));
    let loaded = repository.load(&builtin);
    let mut out = String::new();
    for result in &report.results {
        let Some(question) = &result.question else { continue };
        line(&mut out, 0, &format!("case {}/{} ({}:{})", result.policy, result.case, result.file, result.line));
        alone(&mut out, &result.policy, question);
        if let Some(revision) = &loaded.revision {
            together(&mut out, revision, question);
        }
    }
    if out.is_empty() {
        return Err(Ended::failed(format!(
            "no case of a policy that compiles contains `{wanted}`: `tollgate policy test` lists them as `POLICY: CASE`"
        )));
    }
    print!("{out}");
    if loaded.revision.is_none() {
        eprintln!(
            "tollgate: the repository does not load, so the other policies are not asked: `tollgate check` says why"
        );
    }
    Ok(())
}

/// The policy of the case, with the case's own parameters.
fn alone(out: &mut String, name: &str, question: &Question) {
    line(out, 1, &format!("{name} alone, with the parameters of the case"));
    rules(out, 2, &question.why());
    match question.ask() {
        Ok(answer) if answer.effects.is_empty() => line(out, 2, "says nothing"),
        Ok(answer) => {
            for said in &answer.effects {
                let effect = tollgate_policy_runtime::cases::expect::text(&said.effect);
                line(out, 2, &format!("says {effect}    {}", said.at));
            }
        }
        Err(stop) => line(out, 2, &format!("fails at {}: {}", stop.at, stop.what)),
    }
}

/// All policies of the repository on the same facts, and what they come to.
fn together(out: &mut String, revision: &Revision, question: &Question) {
    let (hook, facts) = (question.hook(), question.facts());
    let verdicts = revision.judge.ask(hook, facts);
    line(out, 1, &format!("all policies at {}", hook.name()));
    for verdict in &verdicts {
        let mut told = String::new();
        policy(&mut told, verdict);
        told.lines().for_each(|text| line(out, 1, text));
        rules(out, 4, &not_applied(revision, hook, verdict, &Known::all(facts)));
    }
    line(out, 1, "terms");
    let mut told = String::new();
    let merged = Terms::resolve(&verdicts);
    terms(&mut told, &merged);
    told.lines().for_each(|text| line(out, 1, text));
    if let Some(shadow) = Terms::resolve_shadow(&verdicts, &merged) {
        line(out, 1, "terms if `observe` and `warn` acted");
        let mut told = String::new();
        terms(&mut told, &shadow);
        told.lines().for_each(|text| line(out, 1, text));
    }
}

/// What did not apply: a policy that was not asked, or rules of one that was.
fn not_applied(revision: &Revision, hook: Hook, verdict: &Verdict, known: &Known<'_>) -> Vec<Reason> {
    match &verdict.outcome {
        Outcome::NotMatched(_) | Outcome::Decided(_) => {
            let reasons = revision.judge.why(hook, &verdict.policy.name, known);
            reasons.into_iter().filter(|reason| reason.applied != Applies::Yes).collect()
        }
        Outcome::Failed(_) => Vec::new(),
    }
}

fn rules(out: &mut String, depth: usize, reasons: &[Reason]) {
    for reason in reasons {
        let how = match reason.applied {
            Applies::Yes => "applies",
            Applies::No => "does not apply",
            Applies::Untold => "cannot be told",
        };
        line(out, depth, &format!("{} {how}", reason.at));
        reason.parts.iter().for_each(|part| line(out, depth + 1, &format!("because {part}")));
    }
}

/// Below the tree of a receipt: why policies were not asked or had nothing to say, and which rules did not apply.
pub fn of_receipt(read: &Result<Repository, String>, receipt: &Receipt) -> String {
    if !receipt.verdicts.iter().any(is_told_more_of) {
        return String::new();
    }
    match revision_of(read, receipt) {
        Ok(revision) => of_revision(&revision, receipt),
        Err(why) => format!("why not\n  {why}\n"),
    }
}

/// Is there more to say of it than the tree does? Of whom a policy speaks, the tree tells.
fn is_told_more_of(verdict: &Verdict) -> bool {
    match &verdict.outcome {
        Outcome::NotMatched(key) => key == "when",
        Outcome::Decided(_) => true,
        Outcome::Failed(_) => false,
    }
}

/// The same, of the revision that decided.
pub fn of_revision(revision: &Revision, receipt: &Receipt) -> String {
    let mut out = String::new();
    for verdict in &receipt.verdicts {
        let Some(Ok(facts)) = receipt.facts_at(verdict.hook).filter(|_| is_told_more_of(verdict)) else { continue };
        let groups = recorded(receipt, verdict.hook);
        let known = Known { facts: &Arc::new(facts), groups, sealed: true, came: Some(&verdict.outcome) };
        let reasons = not_applied(revision, verdict.hook, verdict, &known);
        if !reasons.is_empty() {
            line(&mut out, 1, &format!("- {} at {}", verdict.policy.name, verdict.hook.name()));
            rules(&mut out, 2, &reasons);
        }
    }
    if out.is_empty() { out } else { format!("why not\n{out}") }
}

fn revision_of(read: &Result<Repository, String>, receipt: &Receipt) -> Result<Arc<Revision>, String> {
    let read = read.as_ref().map_err(Clone::clone)?;
    let short = RevisionId(receipt.revision.clone()).short().to_owned();
    let broken = || not_here(&short, "they do not load; `tollgate check` says why");
    read.load(&policies::builtin()).revision.ok_or_else(broken)
}

/// The files of the call's revision: what the gateway keeps on disk, else of the repository that is named. What the config names on
/// another machine is not asked for it.
pub fn repository_of(places: &Places, state: &State, receipt: &Receipt) -> Result<Repository, String> {
    let id = RevisionId(receipt.revision.clone());
    let named = || {
        let config = start::config(places)?;
        match places.policies.is_none() && policies::is_remote(&config, places) {
            true => Err(Ended::usage("the gateway keeps it no more")),
            false => policies::at(&config, places, &id),
        }
    };
    let unnamed = if places.policies.is_none() { "; name the repository that has it: `--policies REPO`" } else { "" };
    policies::kept(state, &id)
        .map_or_else(named, Ok)
        .map_err(|ended| not_here(id.short(), &format!("{}{unnamed}", ended.said)))
}

fn not_here(short: &str, why: &str) -> String {
    format!("told where the policies are at revision {short}: {why}")
}

/// The groups whose facts the receipt holds. The caller is always there, its user and address as digests.
fn recorded(receipt: &Receipt, hook: Hook) -> GroupSet {
    let mut groups = GroupSet::default();
    let value = receipt.facts.get(&hook).and_then(|facts| serde_json::to_value(facts).ok()).unwrap_or_default();
    for group in Group::ALL {
        if group == Group::Caller || value.get(group.name()).is_some() {
            groups.insert(group);
        }
    }
    groups
}

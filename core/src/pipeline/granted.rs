//! Least privilege: which rows of `tenants.yaml` admit a call, what each refuses it for, and the ceilings they set.
//!
//! The rows that speak of a caller are united: one row must admit all of a call, what is left of several is added up.

use std::sync::Arc;

use super::plan;
use crate::contract::Operation;
use crate::contract::glob::Glob;
use crate::contract::refusal::{Category, Refusal};
use crate::identity::tenants::{Grant, Modality, Tenants};
use crate::policy::facts::Facts;
use crate::policy::revision::Revision;
use crate::policy::schema::GroupSet;
use crate::policy::terms::Terms;
use crate::routing::catalog::Target;

/// A message names no more rows.
const ROWS_TOLD: usize = 5;

/// The rows that admit the call itself, whatever its target; none where there is no table. `unread` is what no policy can read
/// of it. The refusal says what is needed.
pub fn rows<'r>(
    revision: &'r Revision,
    facts: &Facts,
    operation: Operation,
    unread: Option<&str>,
) -> Result<Vec<&'r Grant>, Refusal> {
    if !revision.tenants.present {
        return Ok(Vec::new());
    }
    let caller = Caller { tenant: &facts.caller.tenant, app: &facts.caller.app, use_case: &facts.meta.use_case };
    let rows = of_operation(&revision.tenants, &caller, operation)?;
    let who = &caller;
    let rows = kept(&rows, |row| unread.is_none() || row.uninspected)
        .ok_or_else(|| uninspected(who, unread.unwrap_or_default(), operation))?;
    let class = facts.meta.data_class.name();
    let rows = kept(&rows, |row| row.admits_data_class(class)).ok_or_else(|| {
        let admitted = listed(&rows, |row| row.data_classes.iter().map(|class| class.to_string()).collect());
        let said = if class.is_empty() { "data of an unstated class".to_owned() } else { format!("`{class}` data") };
        refused(
            "no_grant_data_class",
            format!("{who} may not send {said}: {admitted} (it is said by `tollgate-data-class`)"),
        )
    })?;
    if rows.iter().all(|row| !row.reads_prompt()) {
        return Ok(rows);
    }
    let prompt = facts.prompt();
    // What is granted must be what the provider reads.
    plan::clear(facts, GroupSet::default())?;
    let modalities: Vec<Modality> =
        [(Modality::Text, true), (Modality::Image, prompt.has_images), (Modality::Audio, prompt.has_audio)]
            .into_iter()
            .filter_map(|(modality, is_in)| is_in.then_some(modality))
            .collect();
    let rows_of_kind =
        kept(&rows, |row| modalities.iter().all(|modality| row.admits_modality(*modality))).ok_or_else(|| {
            let sent: Vec<&str> = modalities.iter().map(|modality| modality.name()).collect();
            let admitted =
                listed(&rows, |row| row.modalities.iter().map(|modality| modality.name().to_owned()).collect());
            refused("no_grant_modality", format!("{who} may not send `{}`: {admitted}", sent.join("`, `")))
        })?;
    kept(&rows_of_kind, |row| prompt.tools.iter().all(|tool| row.admits_tool(tool))).ok_or_else(|| {
        let stray = |tool: &&String| !rows_of_kind.iter().any(|row| row.admits_tool(tool));
        let tools: Vec<&str> =
            match prompt.tools.iter().filter(stray).take(ROWS_TOLD).map(|tool| &**tool).collect::<Vec<_>>() {
                // Each is admitted somewhere, and all of them nowhere.
                strays if strays.is_empty() => prompt.tools.iter().take(ROWS_TOLD).map(|tool| &**tool).collect(),
                strays => strays,
            };
        let admitted = listed(&rows_of_kind, |row| row.tools.iter().map(|glob| glob.text().to_owned()).collect());
        refused("no_grant_tool", format!("{who} may not use the tools `{}`: {admitted}", tools.join("`, `")))
    })
}

/// What no policy can read goes out only where a row says so.
fn uninspected(who: &dyn std::fmt::Display, what: &str, operation: Operation) -> Refusal {
    let operation = operation.name();
    let told = format!(
        "no policy can read {what}, and no row under `grants` of `tenants.yaml` lets {who} send it unread: one with `uninspected: true` that admits `{operation}` would"
    );
    Refusal::new(Category::PolicyViolation, "uninspected", told)
}

/// The terms under the ceilings of the rows (those that admit the call) that admit the targets. Of several rows for a target the highest counts, of several
/// targets the lowest: a fallback must not lead above it.
pub fn under_ceilings(terms: &Terms, rows: &[&Grant], targets: &[Arc<Target>]) -> Option<Arc<Terms>> {
    if rows.iter().all(|row| row.max_tokens.is_none() && row.max_cost_nanousd.is_none()) {
        return None;
    }
    let mut under = Terms::clone(terms);
    for target in targets {
        let rows: Vec<&Grant> = rows.iter().filter(|row| row.admits(target)).copied().collect();
        under.max_tokens = under.max_tokens.into_iter().chain(ceiling(&rows, |row| row.max_tokens)).min();
        under.max_cost_nanousd =
            under.max_cost_nanousd.into_iter().chain(ceiling(&rows, |row| row.max_cost_nanousd)).min();
    }
    Some(Arc::new(under))
}

/// A row without a ceiling lifts it.
fn ceiling<T: Ord>(rows: &[&Grant], of: impl Fn(&Grant) -> Option<T>) -> Option<T> {
    let all: Option<Vec<T>> = rows.iter().map(|row| of(row)).collect();
    all?.into_iter().max()
}

/// Of whom rows speak.
struct Caller<'a> {
    tenant: &'a str,
    app: &'a str,
    use_case: &'a str,
}

/// What it has, and what it lacks: rows that name an app speak of no caller without one.
impl std::fmt::Display for Caller<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [("tenant", self.tenant), ("app", self.app), ("use case", self.use_case)];
        let (named, without): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, name)| !name.is_empty());
        let named: Vec<String> = named.iter().map(|(what, name)| format!("{what} `{name}`")).collect();
        let without: Vec<&str> = without.iter().map(|(what, _)| *what).collect();
        f.write_str(&if named.is_empty() { "a caller".to_owned() } else { named.join(", ") })?;
        if without.is_empty() { Ok(()) } else { write!(f, " (without {})", without.join(" and ")) }
    }
}

/// The rows that speak of the caller and admit the operation.
fn of_operation<'r>(
    tenants: &'r Tenants,
    caller: &Caller<'_>,
    operation: Operation,
) -> Result<Vec<&'r Grant>, Refusal> {
    let speaking: Vec<&Grant> = tenants.rows(caller.tenant, caller.app, caller.use_case).collect();
    kept(&speaking, |row| row.admits_operation(operation)).ok_or_else(|| {
        let of_tenant: Vec<&Grant> =
            tenants.grants.iter().filter(|row| Glob::any(&row.tenant, caller.tenant)).collect();
        let why = match (speaking.is_empty(), of_tenant.is_empty()) {
            (true, true) => "no row under `grants` of `tenants.yaml` speaks of this tenant".to_owned(),
            (true, false) => {
                let told = |row: &&Grant| {
                    let needs = [("app", &row.app, caller.app), ("use case", &row.use_case, caller.use_case)];
                    let needs = needs.into_iter().filter(|(_, globs, name)| !Glob::any(globs, name));
                    let needs: Vec<String> = needs.map(|(what, globs, _)| format!("{what} {}", texts(globs))).collect();
                    format!("tenants.yaml:{} needs {}", row.line, needs.join(" and "))
                };
                of_tenant.iter().take(ROWS_TOLD).map(told).collect::<Vec<_>>().join("; ")
            }
            (false, _) => listed(&speaking, |row| row.operations.iter().map(|one| one.name().to_owned()).collect()),
        };
        refused("no_grant", format!("{caller} may not use `{}`: {why}", operation.name()))
    })
}

/// What the rows admit of targets: told where none is left.
pub fn of_targets(rows: &[&Grant]) -> String {
    let told = |row: &&Grant| {
        let lists = [
            ("models", &row.models),
            ("families", &row.families),
            ("tiers", &row.tiers),
            ("providers", &row.providers),
            ("regions", &row.regions),
        ];
        let lists = lists.into_iter().filter(|(_, globs)| !globs.is_empty());
        let lists: Vec<String> = lists.map(|(what, globs)| format!("{what} {}", texts(globs))).collect();
        format!("tenants.yaml:{} admits {}", row.line, lists.join(" and "))
    };
    rows.iter().take(ROWS_TOLD).map(told).collect::<Vec<_>>().join("; ")
}

fn texts(globs: &[Glob]) -> String {
    let texts: Vec<&str> = globs.iter().map(Glob::text).collect();
    format!("`{}`", texts.join("`, `"))
}

fn kept<'r>(rows: &[&'r Grant], admits: impl Fn(&Grant) -> bool) -> Option<Vec<&'r Grant>> {
    let kept: Vec<&Grant> = rows.iter().filter(|row| admits(row)).copied().collect();
    (!kept.is_empty()).then_some(kept)
}

/// What the rows would admit, with their lines.
fn listed(rows: &[&Grant], of: impl Fn(&Grant) -> Vec<String>) -> String {
    let each: Vec<String> = rows
        .iter()
        .take(ROWS_TOLD)
        .map(|row| format!("tenants.yaml:{} admits `{}`", row.line, of(row).join("`, `")))
        .collect();
    each.join("; ")
}

fn refused(code: &'static str, told: String) -> Refusal {
    Refusal::new(Category::Permission, code, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_rows_and_what_they_need() {
        let globs = |text: &str| vec![Glob::new(text).unwrap()];
        let desk =
            Grant { line: 9, tenant: globs("acme"), app: globs("desk"), use_case: globs("help-*"), ..Grant::default() };
        let chat = Grant { line: 12, tenant: globs("bolt"), operations: vec![Operation::Chat], ..Grant::default() };
        let tenants = Tenants { present: true, grants: vec![desk, chat], ..Tenants::default() };
        for (tenant, app, use_case, told, why) in [
            (
                "nobody",
                "",
                "",
                "tenant `nobody` (without app and use case) may not use `embeddings`: no row under `grants`",
                "no row",
            ),
            (
                "acme",
                "",
                "",
                "tenants.yaml:9 needs app `desk` and use case `help-*`",
                "a row of the tenant, for others",
            ),
            (
                "acme",
                "desk",
                "x",
                "use case `x` may not use `embeddings`: tenants.yaml:9 needs use case `help-*`",
                "all but one",
            ),
            ("bolt", "", "", "tenants.yaml:12 admits `chat`", "a row for other operations"),
            ("", "", "", "a caller (without tenant and app and use case)", "nobody at all"),
        ] {
            let refusal = of_operation(&tenants, &Caller { tenant, app, use_case }, Operation::Embeddings).unwrap_err();
            assert!(refusal.reason.contains(told) && refusal.code == "no_grant", "{why}: {}", refusal.reason);
        }
        assert!(of_operation(&tenants, &Caller { tenant: "bolt", app: "", use_case: "" }, Operation::Chat).is_ok());
    }

    #[test]
    fn what_rows_admit_of_targets_is_told_by_line() {
        let tiers = ["standard", "cheap"].map(|tier| Glob::new(tier).unwrap()).to_vec();
        let row = Grant { line: 7, tiers, providers: vec![Glob::new("sim").unwrap()], ..Grant::default() };
        assert_eq!(of_targets(&[&row]), "tenants.yaml:7 admits tiers `standard`, `cheap` and providers `sim`");
    }
}

//! Who is asked: by tenant, by the other selectors, by share and by `when`.

use std::sync::Arc;

use crate::{listed, loaded, manifest};
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::revision::{Applies, Known, Revision};
use tollgate_core::policy::schema::{Group, GroupSet};
use tollgate_core::policy::verdict::Outcome;
use tollgate_core::policy::{Hook, Mode};

fn revision(entries: &str) -> Arc<Revision> {
    let loaded = loaded(&manifest(entries), &[]);
    loaded.revision.unwrap_or_else(|| panic!("{}", listed(&loaded.findings)))
}

fn facts(tenant: &str, user: &str) -> Arc<Facts> {
    let mut facts = Facts::default();
    facts.caller.tenant = tenant.into();
    facts.caller.user = user.into();
    Arc::new(facts)
}

/// `name` and `+` where it decided, else why not.
fn told(revision: &Revision, hook: Hook, facts: &Arc<Facts>) -> Vec<String> {
    let verdicts = revision.judge.ask(hook, facts);
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Decided(effects) => format!("+{}", effects.len()),
        Outcome::NotMatched(why) => format!("-{why}"),
        Outcome::Failed(failure) => format!("!{}", failure.what),
    };
    verdicts.iter().map(|v| format!("{}{}", v.policy.name, outcome(&v.outcome))).collect()
}

const OWN: &str = "path: policies/own, hook: pre-route, on_error: deny";

#[test]
fn each_policy_is_asked_once_in_the_order_of_the_manifest_or_tells_why_not() {
    let revision = revision(&format!(
        "  - {{ name: acme, {OWN}, for: {{ tenant: [acme, acme] }} }}\n  - {{ name: all, {OWN} }}\n  - {{ name: globs, {OWN}, for: {{ tenant: 'a*' }} }}\n  - {{ name: two, {OWN}, for: {{ tenant: [umbrella, acme] }} }}\n  - {{ name: off, {OWN}, mode: off }}\n  - {{ name: desk, {OWN}, for: {{ app: desk }} }}\n  - {{ name: never, {OWN}, when: 'false' }}\n  - {{ name: late, path: policies/own, hook: post-response, on_error: deny }}\n"
    ));
    for (tenant, expected) in [
        ("acme", ["acme+1", "all+1", "globs+1", "two+1", "desk-for.app", "never-when"]),
        ("umbrella", ["acme-for.tenant", "all+1", "globs-for.tenant", "two+1", "desk-for.app", "never-when"]),
        ("", ["acme-for.tenant", "all+1", "globs-for.tenant", "two-for.tenant", "desk-for.app", "never-when"]),
    ] {
        assert_eq!(told(&revision, Hook::PreRoute, &facts(tenant, "")), expected, "{tenant}");
    }
    assert_eq!(told(&revision, Hook::PostResponse, &facts("acme", "")), ["late+1"]);
    assert!(revision.judge.sits_at(Hook::PreRoute) && !revision.judge.sits_at(Hook::PreAuth));
}

#[test]
fn outside_its_share_a_policy_is_observed_and_the_bucket_is_recorded() {
    let revision = revision(&format!("  - {{ name: part, {OWN}, share: {{ percent: 25, by: user }} }}\n"));
    let mut acts = 0;
    for n in 0..400 {
        let facts = facts("acme", &format!("user-{n}"));
        let verdicts = revision.judge.ask(Hook::PreRoute, &facts);
        let bucket = facts.buckets()["share:part@user"];
        let expected = if bucket < 2500 { Mode::Enforce } else { Mode::Observe };
        assert_eq!(verdicts[0].mode, expected, "bucket {bucket}");
        acts += usize::from(bucket < 2500);
    }
    assert!((60..140).contains(&acts), "about a quarter of 400: {acts}");
}

#[test]
fn a_hook_of_many_policies_tells_only_of_those_that_may_speak_of_the_tenant() {
    let entries: String = (0..200).map(|n| format!("  - {{ name: p{n}, {OWN}, for: {{ tenant: t{n} }} }}\n")).collect();
    let revision = revision(&format!("{entries}  - {{ name: all, {OWN} }}\n"));
    assert_eq!(told(&revision, Hook::PreRoute, &facts("t7", "")), ["p7+1", "all+1"]);
}

#[test]
fn only_what_somebody_reads_needs_to_be_known() {
    let listed = revision(&format!("  - {{ name: a, {OWN}, reads: [caller, budget] }}\n")).judge.reads(Hook::PreRoute);
    assert!(listed.contains(Group::Budget) && !listed.contains(Group::Prompt) && !listed.contains(Group::Text));
    let unlisted = revision(&format!("  - {{ name: a, {OWN} }}\n")).judge.reads(Hook::PreRoute);
    assert!(unlisted.contains(Group::Prompt) && !unlisted.contains(Group::Text), "all but the words");
}

/// Of a recorded call the receipt has the last word, and a digest is nobody's name.
#[test]
fn why_a_policy_was_not_asked_is_told_as_the_receipt_has_it() {
    let revision = revision(&format!(
        "  - {{ name: users, {OWN}, for: {{ user: [ann] }} }}\n  - {{ name: desk, {OWN}, for: {{ app: desk }} }}\n  - {{ name: when, {OWN}, when: 'caller.user == \"ann\"' }}\n"
    ));
    let facts = facts("acme", "~8792");
    for (policy, came, told, why) in [
        (
            "users",
            Outcome::NotMatched("for.user".into()),
            "does not list the user, of whom a keyed digest alone",
            "another user",
        ),
        ("users", Outcome::Decided(Vec::new()), "", "it was asked, whatever the digest matches"),
        ("desk", Outcome::NotMatched("for.app".into()), "`for.app` does not list ``", "no app"),
        ("desk", Outcome::NotMatched("lowered".into()), "", "an operator switched it off"),
        (
            "when",
            Outcome::NotMatched("when".into()),
            "cannot be told: caller.user is recorded as a keyed digest",
            "who knows",
        ),
        ("when", Outcome::Decided(Vec::new()), "", "its `when` was true"),
    ] {
        let known = Known { facts: &facts, groups: GroupSet::all(), sealed: true, came: Some(&came) };
        let reasons = revision.judge.why(Hook::PreRoute, policy, &known);
        let parts: Vec<&str> = reasons.iter().flat_map(|reason| &reason.parts).map(String::as_str).collect();
        assert!(parts.join("; ").contains(told) && (told.is_empty() == parts.is_empty()), "{why}: {reasons:?}");
        assert!(told.is_empty() || reasons[0].applied == Applies::No, "{why}: it was not asked");
    }
    assert_eq!(revision.judge.unrecorded(Hook::PreRoute, "users", &facts), ["caller.user"]);
    assert_eq!(revision.judge.unrecorded(Hook::PreRoute, "when", &facts), ["caller.user"]);
    assert!(revision.judge.unrecorded(Hook::PreRoute, "desk", &facts).is_empty());
}

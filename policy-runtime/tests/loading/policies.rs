//! Manifest and engines together: selectors, parameters, failures, both languages.

use crate::{assert_told, builtin, listed, loaded, manifest, marked};
use std::sync::Arc;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::verdict::Outcome;
use tollgate_core::policy::{Hook, OnError};
use tollgate_policy_runtime::load::{Given, load};

/// Each row: an entry with a mark where the finding points, code, words, why.
#[test]
fn a_wrong_selector_is_told_in_the_manifest() {
    for (entry, code, words, why) in [
        ("when: '§calller.tenant == \"a\"'", "", "did you mean `caller`?", "a group that is not known"),
        ("when: '§caller.tennant == \"a\"'", "", "did you mean `tenant`?", "a field that is not known"),
        ("when: '§answer.status == 200'", "", "pre-route", "a group of another hook"),
        (
            "reads: [meta], when: '§caller.tenant == \"a\"'",
            "TG0116",
            "add `caller` to `reads`",
            "a group that is not listed",
        ),
    ] {
        let entry = format!("  - {{ name: a, path: policies/own, hook: pre-route, on_error: deny, {entry} }}\n");
        let (text, (line, _)) = marked(&manifest(&entry));
        let loaded = loaded(&text, &[]);
        assert!(loaded.revision.is_none(), "{why}: it was accepted");
        let told = |f: &&tollgate_policy_runtime::diagnostic::Diagnostic| {
            let all = format!("{} {}", f.message, f.help.as_deref().unwrap_or(""));
            f.line == line && f.file == "tollgate-policies.yaml" && all.contains(words) && f.code.contains(code)
        };
        assert!(loaded.findings.iter().any(|f| told(&f)), "{why}: {}", listed(&loaded.findings));
    }
}

#[test]
fn a_selector_decides_whether_a_policy_is_asked_and_its_failure_is_the_policy_s() {
    let text = manifest(
        "  - { name: eu, path: policies/own, hook: pre-route, on_error: deny, when: 'caller.region == \"eu\"' }\n  - { name: bad, path: policies/own, hook: pre-route, on_error: degrade, when: 'caller.groups[3] == \"x\"' }\n",
    );
    let loaded = loaded(&text, &[]);
    let revision = loaded.revision.unwrap_or_else(|| panic!("{}", listed(&loaded.findings)));
    for (region, asked) in [("eu", true), ("us", false)] {
        let mut facts = Facts::default();
        facts.caller.region = region.into();
        let verdicts = revision.judge.ask(Hook::PreRoute, &Arc::new(facts));
        assert_eq!(matches!(verdicts[0].outcome, Outcome::Decided(_)), asked, "{region}");
        let Outcome::Failed(failure) = &verdicts[1].outcome else { panic!("{:?}", verdicts[1]) };
        assert_eq!(failure.on_error, OnError::Degrade);
        assert_eq!((&*failure.at.file, failure.at.line), ("tollgate-policies.yaml", 4), "{failure:?}");
    }
}

const SCRIPT: &str = "fn pre_route(facts) {\n    cap(\"max_tokens\", param(\"tokens\")) + tag(\"n\", \"x\")\n}\n";
const SCHEMA: &str = r#"{"type": "object", "properties": {"tokens": {"type": "integer", "default": 7}}}"#;
const CASES: &str = "- name: as the entry says\n  facts: {}\n  expect: { cap: { max_tokens: 9 }, not: deny }\n- name: as the case says\n  with: { tokens: 3 }\n  facts: {}\n  expect: { cap: { max_tokens: 3 } }\n- name: the default\n  with: {}\n  facts: {}\n  expect: { cap: { max_tokens: 7 } }\n";

#[test]
fn parameters_reach_scripts_and_cases_bring_their_own() {
    let entry = "  - { name: cap, path: policies/cap, hook: pre-route, on_error: deny, with: { tokens: 9 } }\n";
    let files = [
        ("policies/cap/policy.rhai", SCRIPT),
        ("policies/cap/params.schema.json", SCHEMA),
        ("policies/cap/cases.yaml", CASES),
    ];
    let good = loaded(&manifest(entry), &files);
    assert!(good.revision.is_some(), "{}", listed(&good.findings));
    assert_eq!((good.cases.passed, good.cases.failed), (3, 0));
    let other = loaded(&manifest(&entry.replace('9', "8")), &files);
    assert_eq!((other.cases.passed, other.cases.failed), (2, 1), "only the case without `with` follows the entry");
    let std = CASES.replace("9", "7");
    let mut tree = builtin();
    tree.files.insert("policies/cap2/policy.rhai".to_owned(), Arc::from(SCRIPT.as_bytes()));
    tree.files.insert("policies/cap2/params.schema.json".to_owned(), Arc::from(SCHEMA.as_bytes()));
    tree.files.insert("policies/cap2/cases.yaml".to_owned(), Arc::from(std.as_bytes()));
    let entries = "  - { name: a, use: std/cap2, hook: pre-route, on_error: deny, with: { tokens: 9 } }\n  - { name: b, use: std/cap2, hook: pre-route, on_error: deny, with: { tokens: 1 } }\n";
    let built_in =
        load(&crate::tree("dir-x", &[("tollgate-policies.yaml", &manifest(entries))]), &tree, &Given::default());
    assert!(built_in.revision.is_some(), "{}", listed(&built_in.findings));
    assert_eq!(built_in.cases.passed, 3, "built-in cases run once, with the defaults, whatever entries set");
}

#[test]
fn a_script_that_fails_is_told_as_a_failed_case() {
    let entry = "  - { name: x, path: policies/x, hook: pre-route, on_error: deny }\n";
    let script = "fn pre_route(facts) {\n    let n = 1 / facts.prompt.messages;\n    tag(\"n\", `${n}`)\n}\n";
    let cases = "- name: one message\n  facts: { prompt: { messages: 1 } }\n  expect: { tag: { n: '1' } }\n- name: none\n  facts: {}\n  expect: { error: true }\n- name: none again\n  facts: {}\n  expect: {}\n";
    let loaded = loaded(&manifest(entry), &[("policies/x/policy.rhai", script), ("policies/x/cases.yaml", cases)]);
    assert_eq!((loaded.cases.passed, loaded.cases.failed), (2, 1), "{}", listed(&loaded.findings));
    assert_told(&loaded.findings, "TG0311", (7, 3), "the policy failed at policies/x/policy.rhai:2", "where it failed");
}

#[test]
fn a_budget_in_a_case_is_completed_as_in_a_live_call() {
    let entry = "  - { name: x, path: policies/x, hook: pre-route, on_error: deny }\n";
    let rules = "rules:\n  - when: 'budget[\"month\"].ratio > 0.8 && budget[\"month\"].remaining < 20'\n    prefer: { tier: cheap }\n";
    let cases = "- name: nearly spent\n  facts: { budget: { month: { limit: 100, used: 80, held: 5 } } }\n  expect: { prefer: { tier: cheap } }\n- name: fresh\n  facts: { budget: { month: { limit: 100 } } }\n  expect: {}\n";
    let limits = "budgets: { month: { per: [tenant], limit_usd: 1, period: month } }\n";
    let files = [("policies/x/rules.yaml", rules), ("policies/x/cases.yaml", cases), ("limits.yaml", limits)];
    let good = loaded(&manifest(entry), &files);
    assert!(good.revision.is_some(), "{}", listed(&good.findings));
    assert_eq!(good.cases.passed, 2);
    let without = loaded(&manifest(entry), &files[..2]);
    assert!(without.revision.is_none(), "a budget that `limits.yaml` does not have");
    assert!(without.findings.iter().any(|f| f.message.contains("`month`")), "{}", listed(&without.findings));
}

#[test]
fn two_that_may_speak_where_one_is_heard_are_told() {
    let pin = ("policies/pin/rules.yaml", "rules:\n  - when: 'true'\n    pin: openai/mini\n    set: { seed: 1 }\n");
    let script = (
        "policies/set/policy.rhai",
        "fn pre_route(facts) { if facts.request.stream { set(\"seed\", 2) } else { none() } }",
    );
    let none = "- name: at rest\n  facts: { call: { stream: false } }\n  expect: {}\n";
    let pins = "- name: it pins\n  facts: {}\n  expect: { pin: openai/mini }\n";
    let cases = [("policies/pin/cases.yaml", pins), ("policies/set/cases.yaml", none)];
    let with = |a: &str, b: &str| {
        let entry = |name: &str, path: &str, more: &str| {
            format!("  - {{ name: {name}, path: policies/{path}, hook: pre-route, on_error: deny{more} }}\n")
        };
        let loaded = crate::loaded(
            &manifest(&[entry("a", "pin", a), entry("b", "set", b)].concat()),
            &[pin, script, cases[0], cases[1]],
        );
        assert!(loaded.revision.is_some(), "{}", listed(&loaded.findings));
        let told = loaded.findings.into_iter().filter(|f| f.code == "TG0128").map(|f| f.message);
        told.collect::<Vec<_>>()
    };
    let both = "`a` and `b` may both say `set seed` of one call: `a` would be heard, by its name alone";
    assert_eq!(with("", ""), [both], "one parameter, two voices; nobody else pins");
    assert_eq!(with(", for: { tenant: [x, y] }", ", for: { tenant: y }"), [both], "a tenant of both");
    assert_eq!(with(", when: 'call.stream'", ""), [both], "one has drawn no line");
    for (a, b, why) in [
        (", priority: 1", "", "one is heard by its priority"),
        (", for: { tenant: x }", ", for: { tenant: y }", "they never meet"),
        (", when: 'call.stream'", ", when: '!call.stream'", "both have drawn a line"),
        ("", ", mode: observe", "one does not act"),
    ] {
        assert!(with(a, b).is_empty(), "{why}");
    }
}

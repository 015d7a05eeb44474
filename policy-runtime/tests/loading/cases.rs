//! Cases: what passes, what fails and how it is told.

use crate::{OWN, assert_told, builtin, listed, loaded, manifest, marked, repository};
use tollgate_policy_runtime::load::{Given, test};

fn with_cases(text: &str) -> tollgate_policy_runtime::load::Loaded {
    loaded(&manifest(OWN), &[("policies/own/cases.yaml", text)])
}

#[test]
fn a_failing_case_refuses_the_revision_and_says_what_differs() {
    let loaded = with_cases(
        "- name: one\n  facts: {}\n  expect: { tag: { own: here } }\n- name: it says more\n  facts: {}\n  expect: { tag: { own: there } }\n",
    );
    assert!(loaded.revision.is_none());
    assert_eq!((loaded.cases.passed, loaded.cases.failed), (1, 1));
    let words = "case `it says more` of `own`: expected tag: {own: \"there\"}, got tag: {own: \"here\"}";
    assert_told(&loaded.findings, "TG0311", (4, 3), words, "expected and got");
}

/// Each row: a file with a mark where the finding points, code, words, why.
#[test]
fn a_wrong_case_is_told_with_its_place() {
    for (text, code, words, why) in [
        ("- name: a\n  §fact: {}\n  expect: {}\n", "TG0303", "did you mean `facts`?", "a key that is not known"),
        ("- §name: a\n  facts: {}\n", "TG0304", "needs `expect`", "nothing expected"),
        (
            "- name: a\n  facts: { meta: { §usecase: x } }\n  expect: {}\n",
            "TG0313",
            "did you mean `use_case`?",
            "a fact that is not known",
        ),
        (
            "- name: a\n  facts: §{ call: { time_ms: soon } }\n  expect: {}\n",
            "TG0313",
            "invalid type",
            "a fact of another kind",
        ),
        (
            "- name: a\n  facts: {}\n  expect: { §tagg: { a: b } }\n",
            "TG0314",
            "did you mean `tag`?",
            "an effect that is not known",
        ),
        (
            "- name: a\n  with: §{ x: 1 }\n  facts: {}\n  expect: {}\n",
            "TG0113",
            "takes no `with`",
            "parameters without a schema",
        ),
        ("- name: a\n  hook: §route\n  facts: {}\n  expect: {}\n", "TG0306", "one of pre-auth", "no such hook"),
        ("§name: a\n", "TG0305", "must be a list", "no list"),
    ] {
        let (text, at) = marked(text);
        let loaded = with_cases(&text);
        assert!(loaded.revision.is_none(), "{why}: it was accepted");
        assert_told(&loaded.findings, code, at, words, why);
        assert!(loaded.findings.iter().any(|f| f.file == "policies/own/cases.yaml"), "{why}");
    }
}

#[test]
fn a_policy_without_cases_is_warned_of() {
    let manifest = manifest("  - { name: x, path: policies/x, hook: pre-route, on_error: deny }\n");
    let loaded = loaded(&manifest, &[("policies/x/rules.yaml", "rules: [{ note: x }]\n")]);
    assert!(loaded.revision.is_some(), "{}", listed(&loaded.findings));
    assert_told(&loaded.findings, "TG0312", (0, 0), "add a `cases.yaml`", "no cases");
}

#[test]
fn tests_are_filtered_by_name_and_reach_folders_that_nobody_uses() {
    let spare = [
        ("policies/spare/rules.yaml", "rules:\n  - when: 'true'\n    note: spare\n"),
        ("policies/spare/cases.yaml", "- name: it notes\n  facts: {}\n  expect: { note: spare }\n"),
    ];
    let tree = repository(&manifest(OWN), &spare);
    let all = test(&tree, &builtin(), &Given::default(), None);
    assert_eq!((all.passed, all.failed), (2, 0), "{:?}", all.results);
    let some = test(&tree, &builtin(), &Given::default(), Some("spare/it"));
    assert_eq!(some.results.iter().map(|r| r.case.as_str()).collect::<Vec<_>>(), ["it notes"]);
    let built_in = test(&builtin(), &builtin(), &Given::default(), None);
    assert_eq!(built_in.results.iter().map(|r| r.policy.as_str()).collect::<Vec<_>>(), ["std/cap"]);
}

#[test]
fn a_case_that_cannot_be_read_counts_as_failed_and_is_told_once() {
    let good = "- { name: ok, facts: {}, expect: { tag: { own: here } } }\n";
    for (text, named, why) in [
        (
            format!("{good}- {{ name: hour, facts: {{ call: {{ hour: 23 }} }}, expect: {{}} }}\n"),
            "hour",
            "a fact that is none",
        ),
        (format!("{good}- {{ facts: {{}}, expect: {{}} }}\n"), "case 2", "it has no name"),
        (format!("{good}- x\n"), "case 2", "it is no table"),
    ] {
        let loaded = with_cases(&text);
        assert_eq!((loaded.cases.passed, loaded.cases.failed), (1, 1), "{why}");
        let unread = loaded.cases.results.iter().find(|result| result.unread).unwrap();
        assert!(unread.case == named && !unread.differences.is_empty(), "{why}: {unread:?}");
        assert!(loaded.findings.iter().all(|finding| finding.code != "TG0311"), "{why}: it is told as what is wrong");
    }
    let loaded = with_cases("- {");
    assert_eq!((loaded.cases.passed, loaded.cases.failed), (0, 1), "a file that is no YAML");
}

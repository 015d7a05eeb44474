//! Wrong manifests, one mistake a row: what is said, and where it points.

use crate::{OWN, assert_told, builtin, listed, loaded, manifest, marked, repository};
use jiff::civil::date;
use tollgate_core::policy::Mode;
use tollgate_policy_runtime::diagnostic::Severity;
use tollgate_policy_runtime::load::{Given, load};

/// Each row: entries with a mark where the finding points, code, words, why.
#[test]
fn a_wrong_entry_is_told_with_its_place_and_what_would_be_right() {
    for (entry, code, words, why) in [
        ("- { §nmae: a, OWN }", "TG0103", "did you mean `name`?", "a key that is not known"),
        ("- §{ OWN }", "TG0104", "needs `name`", "no name"),
        ("- { name: §a b, OWN }", "TG0109", "letters, digits", "a name with a space"),
        ("- { name: §5, OWN }", "TG0105", "put it in quotes", "a number for a name"),
        (
            "- §{ name: a, path: policies/own, hook: pre-route }",
            "TG0104",
            "needs `on_error`",
            "how to fail is never guessed",
        ),
        (
            "- { name: a, path: policies/own, hook: pre-route, on_error: §allow }",
            "TG0106",
            "one of deny, skip, degrade",
            "no way to fail",
        ),
        ("- §{ name: a, hook: pre-route, on_error: deny }", "TG0104", "needs `use` or `path`", "no program named"),
        (
            "- { name: a, use: std/cap, path: §policies/own, hook: pre-route, on_error: deny }",
            "TG0110",
            "both `use` and `path`",
            "two programs named",
        ),
        (
            "- { name: a, use: §std/cpa, hook: pre-route, on_error: deny }",
            "TG0110",
            "did you mean `cap`?",
            "no built-in policy of that name",
        ),
        (
            "- { name: a, use: §cap, hook: pre-route, on_error: deny }",
            "TG0110",
            "write `use: std/NAME`",
            "a built-in policy without `std/`",
        ),
        (
            "- { name: a, path: §policies/onw, hook: pre-route, on_error: deny }",
            "TG0110",
            "did you mean `policies/own`?",
            "no such folder",
        ),
        (
            "- { name: a, path: §../own, hook: pre-route, on_error: deny }",
            "TG0110",
            "leaves the repository",
            "out of the repository",
        ),
        (
            "- { name: a, path: policies/own, hook: §preroute, on_error: deny }",
            "TG0106",
            "did you mean `pre-route`?",
            "no such hook",
        ),
        (
            "- { name: a, path: policies/own, hook: §[], on_error: deny }",
            "TG0106",
            "at least one hook",
            "no hook at all",
        ),
        ("- §{ name: a, path: policies/own, on_error: deny }", "TG0104", "needs `hook`", "hook is missing"),
        ("- { name: a, OWN, mode: §enforced }", "TG0106", "did you mean `enforce`?", "no such mode"),
        ("- { name: a, OWN, for: { §tenat: x } }", "TG0103", "did you mean `tenant`?", "a selector that is not known"),
        ("- { name: a, OWN, for: { tenant: §'a[' } }", "TG0111", "is no glob", "a broken glob"),
        ("- { name: a, OWN, for: { tenant: §[] } }", "TG0111", "lists nobody", "an empty list would admit all"),
        ("- { name: a, OWN, reads: [§calller] }", "TG0106", "did you mean `caller`?", "no such group"),
        ("- { name: a, OWN, reads: [§answer] }", "TG0115", "not known at pre-route", "a group of another hook"),
        ("- { name: a, OWN, share: { percent: §101 } }", "TG0106", "0 to 100", "more than all"),
        ("- { name: a, OWN, share: { percent: §1.234 } }", "TG0106", "two decimals", "finer than the buckets"),
        (
            "- { name: a, OWN, share: { percent: 5, by: §usr } }",
            "TG0106",
            "did you mean `user`?",
            "nothing to be sticky by",
        ),
        ("- { name: a, OWN, limits: { ops: §0 } }", "TG0106", "from 1 to", "no operations at all"),
        ("- { name: a, OWN, limits: { bytes: §1MB2 } }", "TG0121", "KiB, MiB or GiB", "no size"),
        ("- { name: a, OWN, limits: { memory: §8GiB } }", "TG0121", "must be from 1", "more than any policy gets"),
        ("- { name: a, OWN, priority: §high }", "TG0105", "whole number", "a word for a number"),
        ("- { name: a, OWN, expires: §next year }", "TG0106", "write it as 2027-03-31", "no date"),
        ("- { name: a, OWN, with: §{ x: 1 } }", "TG0113", "takes no `with`", "parameters without a schema"),
        (
            "- { name: a, STD, with: { tokens: §0 } }",
            "TG0112",
            "`with.tokens` must be at least 1",
            "a parameter out of bounds",
        ),
        (
            "- { name: a, STD, with: { §token: 1 } }",
            "TG0112",
            "did you mean `tokens`?",
            "a parameter that is not known",
        ),
        (
            "- { name: a, STD, with: { tiers: [a, §2] } }",
            "TG0112",
            "`with.tiers[1]` must be a text",
            "an item of another kind",
        ),
        ("- { name: a, OWN }\n- { name: §a, OWN }", "TG0108", "first in line 3", "one name twice"),
        ("- { name: a, OWN, §name: b }", "TG0102", "there twice", "one key twice"),
        ("- §policies/own", "TG0105", "must be a table", "no table"),
    ] {
        let entry = entry.replace("OWN", "path: policies/own, hook: pre-route, on_error: deny");
        let entry = entry.replace("STD", "use: std/cap, hook: pre-route, on_error: deny");
        let (text, at) = marked(&manifest(&entry));
        let loaded = loaded(&text, &[]);
        assert!(loaded.revision.is_none(), "{why}: it was accepted");
        assert_told(&loaded.findings, code, at, words, why);
    }
}

#[test]
fn a_wrong_file_is_told() {
    for (text, code, words, why) in [
        ("§policies: []\n", "TG0104", "api: tollgate.policy/v1", "no version"),
        ("api: §tollgate.policy/v2\npolicies: []\n", "TG0107", "write `tollgate.policy/v1`", "another version"),
        ("§api: tollgate.policy/v1\n", "TG0104", "`policies: []`", "no list"),
        ("api: tollgate.policy/v1\n§polices: []\n", "TG0103", "did you mean `policies`?", "a key that is not known"),
        ("api: a§: b\n", "TG0102", "mapping values", "no YAML"),
        ("§- a\n", "TG0105", "must be a table", "a list"),
    ] {
        let (text, at) = marked(text);
        let loaded = loaded(&text, &[]);
        assert!(loaded.revision.is_none(), "{why}");
        assert_told(&loaded.findings, code, at, words, why);
    }
    let empty = crate::tree("dir-empty", &[]);
    let loaded = load(&empty, &builtin(), &Given::default());
    assert_told(&loaded.findings, "TG0101", (0, 0), "tollgate-policies.yaml", "an empty folder");
}

#[test]
fn a_folder_that_is_no_policy_is_told() {
    for (files, words, why) in [
        (vec![("policies/x/README.md", "")], "holds no program", "no program"),
        (
            vec![("policies/x/rules.yaml", "rules: []"), ("policies/x/policy.rhai", "")],
            "more than one program",
            "two programs",
        ),
    ] {
        let (text, at) = marked(&manifest("  - { name: x, path: §policies/x, hook: pre-route, on_error: deny }\n"));
        let loaded = loaded(&text, &files);
        assert_told(&loaded.findings, "TG0110", at, words, why);
    }
    let entry = "  - { name: x, path: policies/x, hook: pre-route, on_error: deny }\n";
    let wasm = loaded(&manifest(entry), &[("policies/x/policy.wasm", "")]);
    let told = wasm.findings.iter().any(|f| f.code == "TG0701" && f.file == "policies/x/policy.wasm");
    assert!(told, "no engine for Wasm is given here: {}", listed(&wasm.findings));
    let loaded = loaded(&manifest(OWN), &[("redaction/eu.yaml", "")]);
    assert_told(&loaded.findings, "TG0120", (0, 0), "not read by this version", "profiles");
    assert!(loaded.revision.is_none(), "a policy that would silently not act");
}

#[test]
fn a_good_manifest_is_loaded_whole() {
    let text = manifest(
        "  - name: own\n    path: policies/own\n    hook: [pre-route, post-response]\n    for: { tenant: acme, use_case: [support, \"sales-*\"] }\n    reads: [caller, meta, call]\n    mode: warn\n    share: { percent: 12.5, by: user }\n    on_error: skip\n    priority: 50\n    limits: { ops: 500, bytes: 1MiB, cpu_ms: 5, memory: 16MiB }\n    owner: team-a\n    expires: 2027-03-31\n  - { name: capped, use: std/cap, hook: pre-route, on_error: deny, with: { tiers: [a] }, mode: observe }\n",
    );
    let cases = "- name: it tags\n  hook: pre-route\n  facts: {}\n  expect: { tag: { own: here } }\n";
    let loaded = loaded(&text, &[("policies/own/cases.yaml", cases)]);
    assert!(loaded.revision.is_some(), "{}", listed(&loaded.findings));
    assert!(loaded.findings.is_empty(), "{}", listed(&loaded.findings));
    let [own, capped] = &loaded.policies[..] else { panic!("{:?}", loaded.policies) };
    assert_eq!((own.mode, own.share_below, own.priority), (Mode::Warn, Some(1250), 50));
    assert_eq!((own.declared.line, own.declared.column), (3, 11));
    assert_eq!(own.expires.as_deref(), Some("2027-03-31"));
    assert_eq!(capped.file, "std/cap/rules.yaml");
    assert_eq!(*capped.with, serde_json::json!({"tokens": 100, "tiers": ["a"]}), "defaults are filled in");
    assert_eq!((loaded.cases.passed, loaded.cases.failed), (2, 0));
}

#[test]
fn what_is_only_doubtful_is_warned_of() {
    let own = "path: policies/own, hook: pre-route, on_error: deny";
    let unused = [("policies/spare/rules.yaml", "rules: []\n")];
    let text = manifest(&format!(
        "  - {{ name: a, {own}, expires: 2026-01-01 }}\n  - {{ name: b, {own}, mode: observe, share: {{ percent: 5 }} }}\n"
    ));
    let given = Given { today: Some(date(2026, 1, 2)), ..Given::default() };
    let loaded = load(&repository(&text, &unused), &builtin(), &given);
    assert!(loaded.revision.is_some(), "{}", listed(&loaded.findings));
    assert!(loaded.findings.iter().all(|f| f.severity == Severity::Warning));
    assert_told(&loaded.findings, "TG0117", (3, 78), "expired on 2026-01-01", "its date has passed");
    assert_told(&loaded.findings, "TG0118", (4, 91), "no effect", "a share of nothing");
    assert_told(&loaded.findings, "TG0119", (0, 0), "policies/spare", "a folder that nobody uses");
    for (day, strict, words, why) in [
        (date(2025, 12, 1), true, None, "31 days before, nothing"),
        (date(2025, 12, 2), true, Some("in 30 day(s)"), "then it is told"),
        (date(2026, 1, 1), true, Some("in 0 day(s)"), "it acts to the end of the day"),
        (date(2026, 1, 2), false, Some("expired on 2026-01-01"), "and on, for who serves"),
        (date(2026, 1, 2), true, Some("expired on 2026-01-01"), "who checks is stopped"),
    ] {
        let given = Given { today: Some(day), strict, ..Given::default() };
        let loaded = load(&repository(&text, &[]), &builtin(), &given);
        let told = loaded.findings.iter().find(|f| f.code == "TG0117");
        assert_eq!(told.is_some(), words.is_some(), "{why}: {told:?}");
        assert!(words.is_none_or(|words| told.is_some_and(|f| f.message.contains(words))), "{why}: {told:?}");
        assert_eq!(loaded.revision.is_some(), !(strict && day == date(2026, 1, 2)), "{why}");
    }
}

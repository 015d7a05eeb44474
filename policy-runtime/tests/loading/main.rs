//! The loader from outside: whole trees in, revisions or findings out.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod cases;
mod judge;
mod layers;
mod layers_never_widen;
mod manifests;
mod many;
mod policies;
mod reload;
mod tables;

use std::sync::Arc;

use tollgate_core::policy::tree::{RevisionId, Tree};
use tollgate_policy_runtime::diagnostic::Diagnostic;
use tollgate_policy_runtime::load::{Given, Loaded, load};

/// A tree from paths and texts.
fn tree(id: &str, files: &[(&str, &str)]) -> Tree {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes()))).collect();
    Tree { signers: Vec::new(), id: RevisionId::new(id), files }
}

/// A small built-in tree: one policy with parameters, one model.
fn builtin() -> Tree {
    tree(
        "builtin-test",
        &[
            ("tollgate-policies.yaml", "api: tollgate.policy/v1\npolicies: []\n"),
            ("policies/cap/rules.yaml", "rules:\n  - when: 'true'\n    cap: { max_tokens: 100 }\n"),
            (
                "policies/cap/params.schema.json",
                r#"{"type": "object", "additionalProperties": false, "properties": {
                    "tokens": {"type": "integer", "minimum": 1, "default": 100},
                    "tiers": {"type": "array", "items": {"type": "string"}}}}"#,
            ),
            ("policies/cap/cases.yaml", "- name: a cap\n  facts: {}\n  expect: { cap: { max_tokens: 100 } }\n"),
            (
                "catalog/base.yaml",
                "as_of: 2026-11-01\nsource: list\nmodels:\n  - { provider: openai, model: mini, family: gpt, tier: cheap, operations: [chat], price: { input: \"0.15\", output: \"0.60\" } }\n",
            ),
        ],
    )
}

/// The repository's files beside a policy `policies/own` that tags and has a case.
fn repository(manifest: &str, more: &[(&str, &str)]) -> Tree {
    let mut files = vec![
        ("tollgate-policies.yaml", manifest),
        ("policies/own/rules.yaml", "rules:\n  - when: 'true'\n    tag: { own: here }\n"),
        ("policies/own/cases.yaml", "- name: it tags\n  facts: {}\n  expect: { tag: { own: here } }\n"),
    ];
    files.retain(|(path, _)| !more.iter().any(|(other, _)| other == path));
    files.extend_from_slice(more);
    tree("dir-test", &files)
}

fn loaded(manifest: &str, more: &[(&str, &str)]) -> Loaded {
    load(&repository(manifest, more), &builtin(), &Given::default())
}

/// A manifest of these entries.
fn manifest(entries: &str) -> String {
    format!("api: tollgate.policy/v1\npolicies:\n{entries}")
}

/// The one entry that most tests need.
const OWN: &str = "  - { name: own, path: policies/own, hook: pre-route, on_error: deny }\n";

/// Asserts that a finding has the code, stands at `line:column` and says the words.
fn assert_told(findings: &[Diagnostic], code: &str, at: (u32, u32), words: &str, why: &str) {
    let found = findings.iter().any(|f| {
        let told = format!("{} {}", f.message, f.help.as_deref().unwrap_or(""));
        f.code == code && (f.line, f.column) == at && told.contains(words)
    });
    assert!(found, "{why}: no {code} at {at:?} that says `{words}` among\n{}", listed(findings));
}

/// Takes the mark `§` out of a text and tells its line and column: the place where a finding must point.
fn marked(text: &str) -> (String, (u32, u32)) {
    let before = text.split('§').next().expect("a split has a first part");
    let line = 1 + before.matches('\n').count() as u32;
    let column = 1 + before.rsplit('\n').next().expect("so has this one").chars().count() as u32;
    (text.replace('§', ""), (line, column))
}

fn listed(findings: &[Diagnostic]) -> String {
    findings.iter().map(|f| format!("{f} ({:?})\n", f.help)).collect()
}

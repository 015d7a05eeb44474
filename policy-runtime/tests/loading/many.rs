//! A thousand policies: what loading them costs, cold and after a change of one line, and what they add to a call.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_core::policy::Hook;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::tree::{RevisionId, Tree};
use tollgate_policy_runtime::expr::thread_cpu;
use tollgate_policy_runtime::load::{Given, load};
use tollgate_policy_runtime::stdlib;

const POLICIES: usize = 1_000;
/// Of the thread that loads; the parser of CEL has threads of its own, so the wall clock is told beside it.
const COLD_MAX: Duration = Duration::from_secs(6);
const CHANGED_MAX: Duration = Duration::from_millis(900);
/// What a thousand policies for other tenants may add to one call.
const ADDED_MAX: Duration = Duration::from_micros(15);

/// Half scripts, half tables, each with a case; every one speaks of a tenant of its own.
fn thousand(changed: &str) -> Tree {
    let mut files: Vec<(String, String)> = Vec::new();
    let mut manifest = "api: tollgate.policy/v1\npolicies:\n".to_owned();
    for n in 0..POLICIES {
        writeln!(
            manifest,
            "  - {{ name: p{n}, path: policies/p{n}, hook: pre-route, mode: enforce, on_error: deny, for: {{ tenant: t{n} }}, when: 'prompt.tokens < {n}' }}"
        )
        .unwrap();
        let more = if n == 7 { changed } else { "" };
        match n % 2 {
            0 => files.push((
                format!("policies/p{n}/policy.rhai"),
                format!(
                    "fn pre_route(facts) {{\n    let meta = facts.meta;\n    if meta.use_case == \"use-{n}\" {{\n        return deny(\"code_{n}\", `use case ${{meta.use_case}}`);\n    }}\n    let decision = cap(\"max_tokens\", {n} + 1);\n    for role in facts.prompt.roles {{\n        if role == \"tool\" {{ decision += tag(\"tools\", \"yes\"); }}\n    }}\n    decision + tag(\"n\", \"{n}{more}\")\n}}\n"
                ),
            )),
            _ => files.push((
                format!("policies/p{n}/rules.yaml"),
                format!(
                    "rules:\n  - when: 'meta.use_case == \"use-{n}\" && prompt.tokens > {n}'\n    deny: {{ code: code_{n} }}\n  - when: 'intent.tier in [\"high\", \"low\"]'\n    tag: {{ n: \"{n}{more}\" }}\n"
                ),
            )),
        }
        files.push((
            format!("policies/p{n}/cases.yaml"),
            format!("- name: it refuses\n  facts: {{ meta: {{ use_case: use-{n} }}, prompt: {{ tokens: 9999 }} }}\n  expect: {{ deny: code_{n} }}\n"),
        ));
    }
    files.push(("tollgate-policies.yaml".to_owned(), manifest));
    let files = files.into_iter().map(|(path, text)| (path, text.into_bytes().into())).collect();
    Tree { signers: Vec::new(), id: RevisionId::new(&format!("many{changed}")), files }
}

/// `cargo test --release -p tollgate-policy-runtime --test loading many -- --nocapture` tells the figures.
#[test]
fn a_thousand_policies_load_soon_and_cost_others_nothing() {
    let builtin = stdlib::tree();
    let timed = |tree: &Tree| {
        let (begun, wall) = (thread_cpu(), Instant::now());
        let loaded = load(tree, &builtin, &Given::default());
        (thread_cpu() - begun, wall.elapsed(), loaded)
    };
    let (cold, wall, loaded) = timed(&thousand(""));
    let first = loaded.revision.expect("the policies are right");
    assert_eq!((loaded.cases.passed, loaded.cases.failed), (POLICIES, 0));
    println!("cold: {cold:?} of the loading thread, {wall:?} of wall time");
    let (warm, wall, loaded) = timed(&thousand("x"));
    println!("after a change of one line: {warm:?} of the loading thread, {wall:?} of wall time");
    assert!(cold < COLD_MAX, "cold: {cold:?}");
    assert!(warm < CHANGED_MAX, "after a change: {warm:?}");

    let second = loaded.revision.expect("the policies are right");
    let (old, memory) = (Arc::downgrade(&first), resident());
    drop(first);
    assert!(old.upgrade().is_none(), "the old revision goes with its last call");
    println!("resident: {memory} kB with two revisions, {} kB with one", resident());

    let facts = Arc::new(Facts::default());
    let per_ask = |times: u32| {
        let begun = thread_cpu();
        for _ in 0..times {
            assert!(second.judge.ask(Hook::PreRoute, &facts).is_empty());
        }
        (thread_cpu() - begun) / times
    };
    per_ask(1_000);
    let added = (0..5).map(|_| per_ask(20_000)).min().unwrap();
    println!("{POLICIES} policies for other tenants add {added:?} to a call");
    assert!(added < ADDED_MAX, "{added:?}");
}

/// Of this process, in kB; 0 where the system does not tell.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0)
}

//! What authors ask of their policies: what the cases reach, and why something applied or did not.

use std::path::Path;

use serde_json::{Value, json};

use crate::calls::post;
use crate::support::gateway::{Gateway, eventually, tollgate};
use crate::support::repository::Repository;

const MANIFEST: &str = "api: tollgate.policy/v1
policies:
  - name: table
    path: policies/table
    hook: pre-route
    mode: enforce
    on_error: deny
  - name: script
    path: policies/script
    hook: pre-route
    mode: enforce
    on_error: deny
  - name: elsewhere
    path: policies/script
    hook: pre-route
    for: { tenant: [umbrella] }
    mode: enforce
    on_error: deny
  - name: seldom
    path: policies/script
    hook: pre-route
    when: 'meta.use_case == \"night\" || call.hour > 99 && caller.groups.exists(g, g == \"ops\")'
    mode: enforce
    on_error: deny
";

const TABLE: &str = "rules:
  - when: 'meta.use_case == \"support\" && prompt.tokens > 100'
    tag: { kind: support }
  - when: 'meta.use_case == \"blocked\"'
    deny: { code: blocked }
";

const SCRIPT: &str = "fn pre_route(facts) {
    let seen = facts.meta.use_case;
    if seen == \"support\" {
        // A comment; with a semicolon.
        return set(\"temperature\", 0.5);
    }
    let other = `of ${seen}`;
    tag(\"seen\", other)
}
";

fn repository(folder: &Path) -> String {
    let root = folder.join("policies");
    for (file, text) in [
        ("tollgate-policies.yaml", MANIFEST),
        ("policies/table/rules.yaml", TABLE),
        (
            "policies/table/cases.yaml",
            "- name: a short question of support\n  facts: { meta: { use_case: support }, prompt: { tokens: 7 } }\n  expect: {}\n",
        ),
        ("policies/script/policy.rhai", SCRIPT),
        (
            "policies/script/cases.yaml",
            "- name: support is answered evenly\n  facts: { meta: { use_case: support } }\n  expect: { set: { temperature: 0.5 } }\n",
        ),
    ] {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root.to_str().unwrap().to_owned()
}

fn run(args: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    let out = tollgate(args, folder);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[test]
fn coverage_names_the_lines_that_no_case_reaches() {
    let folder = tempfile::tempdir().unwrap();
    let dir = repository(folder.path());
    let (code, out, err) = run(&["policy", "test", "--policies", &dir, "--coverage"], folder.path());
    assert_eq!(code, Some(0), "{out}{err}");
    for told in [
        "policies/script/policy.rhai: 3 of 5 reached",
        "policies/script/policy.rhai:7:5: statement is reached by no case",
        "policies/script/policy.rhai:8:5: statement is reached by no case",
        "policies/table/rules.yaml:2:12: `when` true is reached by no case",
        "policies/table/rules.yaml:4:12: `when` true is reached by no case",
    ] {
        assert!(out.contains(told), "{told}: {out}");
    }
    assert!(!out.contains("rules.yaml:2:11: `when` false"), "{out}");
    let (_, out, _) = run(&["policy", "test", "--policies", &dir, "--coverage", "--json"], folder.path());
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["coverage"]["files"][0]["file"], "policies/script/policy.rhai");
    assert_eq!(told["coverage"]["files"][0]["uncovered"][0]["line"], 7);
    let (code, _, err) = run(&["policy", "test", "--policies", &dir, "--coverage-min", "90"], folder.path());
    assert!(code == Some(1) && err.contains("less than the 90 % asked for"), "{code:?} {err}");
    let (code, _, err) = run(&["policy", "test", "--policies", &dir, "--coverage-min", "50"], folder.path());
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn a_case_is_explained_with_what_was_false_and_the_values_of_its_facts() {
    let folder = tempfile::tempdir().unwrap();
    let dir = repository(folder.path());
    let (code, out, err) =
        run(&["policy", "explain", "--policies", &dir, "--case", "script/support is"], folder.path());
    assert_eq!(code, Some(0), "{out}{err}");
    for told in [
        "case script/support is answered evenly (policies/script/cases.yaml:1)",
        "says set: {temperature: 0.5}    policies/script/policy.rhai:5",
        "policies/table/rules.yaml:2:12 does not apply",
        "because `prompt.tokens > 100` is false: prompt.tokens is 0",
        "because `meta.use_case == \"blocked\"` is false: meta.use_case is \"support\"",
        "because `for.tenant` does not list ``",
        "because `meta.use_case == \"night\"` is false: meta.use_case is \"support\"",
        "because `call.hour > 99` is false: call.hour is 0",
        "  terms",
    ] {
        assert!(out.contains(told), "{told}:\n{out}");
    }
    let (code, _, err) = run(&["policy", "explain", "--policies", &dir, "--case", "nothing/such"], folder.path());
    assert!(code == Some(1) && err.contains("`nothing/such`"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_explained_with_what_was_false() {
    let folder = tempfile::tempdir().unwrap();
    let dir = repository(folder.path());
    let gateway = Gateway::with(&["--policies", &dir], None);
    let body = json!({ "model": "sim/sim-1", "messages": [{ "role": "user", "content": "Hello" }] });
    let answer = post(&gateway, body.to_string(), &[("x-request-id", "why"), ("tollgate-use-case", "support")]).await;
    assert_eq!(answer.status(), 200);
    let (out, err) = eventually("the receipt of the call", || {
        let (code, out, err) = run(&["explain", "why", "--policies", &dir], &gateway.state);
        (code == Some(0)).then_some((out, err))
    });
    assert!(
        out.contains("why not") && out.contains("because `prompt.tokens > 100` is false: prompt.tokens is "),
        "{out}{err}"
    );
    let (_, out, _) = run(&["explain", "why"], &gateway.state);
    assert!(out.contains("because `prompt.tokens > 100` is false"), "the gateway keeps what acts now: {out}");
    let changed = TABLE.replace("> 100", "> 200");
    std::fs::write(Path::new(&dir).join("policies/table/rules.yaml"), changed).unwrap();
    eventually("what is told of a revision that is gone", || {
        let (_, out, _) = run(&["explain", "why"], &gateway.state);
        out.contains("told where the policies are at revision").then_some(())
    });
}

/// Git has old revisions still, and a table that had nothing to say is a reason to ask why.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_an_old_revision_is_explained_from_git() {
    let manifest = MANIFEST.split("  - name: script").next().unwrap();
    let repository = Repository::new(&[("tollgate-policies.yaml", manifest), ("policies/table/rules.yaml", TABLE)]);
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    let body = json!({ "model": "sim/sim-1", "messages": [{ "role": "user", "content": "Hello" }] });
    let old = post(&gateway, body.to_string(), &[("tollgate-use-case", "support")]).await;
    let id = old.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
    gateway.receipt(&id);
    let second = repository.commit(&[("policies/table/rules.yaml", &TABLE.replace("> 100", "> 200"))]);
    eventually("the second commit", || {
        let told = crate::steer::operate(&gateway, &["status"]).unwrap();
        (told["active"] == second.as_str()).then_some(())
    });
    let (_, out, err) = run(&["explain", &id, "--policies", repository.address()], &gateway.state);
    assert!(out.contains("table: nothing to say"), "{out}{err}");
    assert!(out.contains("because `prompt.tokens > 100` is false: prompt.tokens is "), "the old rule: {out}{err}");
}

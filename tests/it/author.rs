//! What authors run at their desk: check, test, bench, eject, explain a code. No server is needed.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::gateway::{binary, eventually, gather, tollgate};
use crate::support::root;

fn run(args: &[&str], state: &Path) -> (bool, String, String) {
    let Output { status, stdout, stderr } = tollgate(args, state);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.success(), text(stdout), text(stderr))
}

/// A repository as `policy init` makes it.
fn begun(folder: &Path) -> String {
    let dir = folder.join("policies");
    let dir = dir.to_str().unwrap().to_owned();
    let (good, _, err) = run(&["policy", "init", &dir], folder);
    assert!(good, "{err}");
    dir
}

#[test]
fn a_code_is_explained_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for code in ["TG0103", "tg0604"] {
        let (good, out, _) = run(&["explain", code], folder.path());
        assert!(good && out.contains(&code.to_uppercase()) && out.contains("what to do: use the named"), "{out}");
    }
    let (good, _, err) = run(&["explain", "TG0199"], folder.path());
    assert!(!good && err.contains("there is no code `TG0199`, did you mean `TG01"), "{err}");
}

#[test]
fn findings_are_told_to_code_hosts_and_cases_to_ci() {
    let folder = tempfile::tempdir().unwrap();
    let dir = begun(folder.path());
    let junit = folder.path().join("cases.xml");
    let (good, out, _) =
        run(&["policy", "test", "--policies", &dir, "--junit", junit.to_str().unwrap()], folder.path());
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(good && xml.contains("failures=\"0\"") && xml.matches("<testcase ").count() > 3, "{out}\n{xml}");

    let manifest = Path::new(&dir).join("tollgate-policies.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("    mode:", "    moed:")).unwrap();
    let (good, out, _) = run(&["check", "--policies", &dir, "--format", "sarif"], folder.path());
    let sarif: Value = serde_json::from_str(&out).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert!(!good && result["ruleId"] == "TG0103" && result["message"]["text"].as_str().unwrap().contains("`mode`"));
    assert!(result["locations"][0]["physicalLocation"]["region"]["startLine"].as_u64().unwrap() > 1, "{result}");
}

#[test]
fn cases_are_run_again_when_a_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = begun(folder.path());
    let mut child = Command::new(binary())
        .args(["policy", "test", "--watch", "--policies", &dir])
        .env("TOLLGATE_STATE", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = Arc::new(Mutex::new(String::new()));
    gather(child.stdout.take().unwrap(), said.clone());
    let runs = |told: &str| said.lock().unwrap().matches(told).count();
    eventually("the first run", || (runs("waiting for changes") == 1 && runs(", 0 failed") == 1).then_some(()));
    let cases = Path::new(&dir).join("policies/bounds/cases.yaml");
    let text = std::fs::read_to_string(&cases).unwrap();
    std::fs::write(&cases, format!("{text}\n- name: never\n  facts: {{}}\n  expect: {{ deny: never }}\n")).unwrap();
    eventually("the case that fails", || (runs("FAIL bounds: never") == 1 && runs(", 1 failed") == 1).then_some(()));
    std::fs::write(&cases, text).unwrap();
    eventually("the third run", || (runs(", 0 failed") == 2).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn editors_are_helped() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["manifest", "rules", "cases"] {
        let (good, out, err) = run(&["policy", "schema", part], folder.path());
        let schema: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{part}: {out}{err}"));
        assert!(good && schema["$schema"].as_str().is_some_and(|s| s.contains("json-schema.org")), "{part}: {schema}");
    }
    let (good, out, _) = run(&["policy", "schema", "rhai"], folder.path());
    assert!(good && out.contains("fn deny(") && out.contains("use_case"), "{out}");
    let (good, _, err) = run(&["policy", "schema", "manifst"], folder.path());
    assert!(!good && err.contains("did you mean `manifest`?"), "{err}");
}

/// As with `| head`.
#[test]
fn a_reader_that_has_enough_is_no_fault() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let out = Command::new(binary()).args(["policy", "schema", "facts"]).stdout(writer).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.is_empty() && out.status.code() == Some(141), "as shells tell it: {said}");
}

#[test]
fn a_policy_is_measured_on_its_cases() {
    let folder = tempfile::tempdir().unwrap();
    let dir = begun(folder.path());
    let (good, out, err) = run(&["policy", "bench", "--policies", &dir, "--json", "tiers"], folder.path());
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let cases = told["cases"].as_array().unwrap();
    assert!(good && !cases.is_empty());
    assert!(cases.iter().all(|c| c["ns"].as_u64() > Some(0) && c["policy"].as_str().unwrap().contains("tiers")));
}

#[test]
fn a_built_in_policy_is_taken_home() {
    let folder = tempfile::tempdir().unwrap();
    let dir = begun(folder.path());
    let (good, out, err) = run(&["policy", "eject", "std/residency", "--into", &dir], folder.path());
    assert!(good && out.contains("path: policies/residency"), "{out}{err}");
    let manifest = Path::new(&dir).join("tollgate-policies.yaml");
    let mut text = std::fs::read_to_string(&manifest).unwrap();
    text.push_str(
        "  - name: mine\n    path: policies/residency\n    hook: pre-route\n    mode: enforce\n    on_error: deny\n    with: { regions: [eu] }\n",
    );
    std::fs::write(&manifest, text).unwrap();
    let (good, out, err) = run(&["policy", "test", "--policies", &dir, "mine"], folder.path());
    assert!(good && out.contains("ok   mine:"), "{out}{err}");
    let (good, _, err) = run(&["policy", "eject", "std/residency", "--into", &dir], folder.path());
    assert!(!good && err.contains("is there already"), "{err}");
    let (good, _, err) = run(&["policy", "eject", "residncy", "--into", &dir], folder.path());
    assert!(!good && err.contains("did you mean `residency`?"), "{err}");
}

#[test]
fn shells_are_helped() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (good, out, _) = run(&["completions", shell], folder.path());
        assert!(good && out.contains("tollgate") && out.contains("eject"), "{shell}: {out}");
    }
}

#[test]
fn where_a_request_would_go_is_told_without_sending_it() {
    let folder = tempfile::tempdir().unwrap();
    let request = folder.path().join("request.json");
    std::fs::write(&request, r#"{"model": "@high", "messages": [{"role": "user", "content": "Hello"}]}"#).unwrap();
    let request = request.to_str().unwrap();
    let policies = root().join("examples/02-two-tenants/policies");
    let policies = policies.to_str().unwrap();
    for (words, told, why) in [
        (&["--as", "acme/desk"][..], "dropped, no grant admits it", "a target that was cut, and why"),
        (
            &["--as", "acme/desk"],
            "require any [eu], of regions    std/residency/policy.rhai:4:16",
            "who asked for what",
        ),
        (&["--as", "acme/desk"], "it would be refused: no target is left for `@high`", "how it ends"),
        (&["--as", "nobody"], "it would be refused", "a tenant that is not known"),
        (&["--header", "tollgate-retention"], "is no header", "a wrong header"),
        (&["--as", "acme", "--header", "tollgate-data-class: secret"], "it would be refused", "a wrong value in one"),
    ] {
        let args = [&["route", "why", "-i", request, "--policies", policies], words].concat();
        let out = tollgate(&args, folder.path());
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(said.contains(told), "{why}: {said}");
    }
    assert!(!folder.path().join("trail").exists(), "nothing was recorded");

    // In a checkout as well, where files and commits may differ.
    let dir = begun(folder.path());
    let out = tollgate(&["route", "why", "-i", request, "--policies", &dir], folder.path());
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("why not") && said.contains("does not apply") && said.contains("because `"), "{said}");
}

#[test]
fn every_template_loads_and_its_cases_pass() {
    for template in ["start", "tenants", "wasm", "empty"] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new");
        let dir = dir.to_str().unwrap();
        let made = tollgate(&["policy", "init", dir, "--template", template], folder.path());
        assert!(made.status.success(), "{template}: {}", String::from_utf8_lossy(&made.stderr));
        let checked = tollgate(&["check", "--policies", dir], folder.path());
        let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && said.contains("0 errors, 0 warnings"), "{template}: {said}");
    }
}

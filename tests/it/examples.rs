//! The examples, as a reader would run them: each `run.sh` looks at its own outcome.

use std::process::Command;

use crate::support::gateway::binary;
use crate::support::root;

fn run(name: &str) {
    let script = root().join("examples").join(name).join("run.sh");
    let out = Command::new("bash").arg(&script).env("TOLLGATE", binary()).output().expect("bash runs the examples");
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{}\n{}{}", script.display(), told(&out.stdout), told(&out.stderr));
}

#[test]
fn the_first_call_needs_nothing() {
    run("01-first-call");
}

#[test]
fn two_tenants_meet_two_gateways() {
    run("02-two-tenants");
}

#[test]
fn a_commit_changes_what_is_decided() {
    run("03-policies-from-git");
}

#[test]
fn a_guest_in_rust_classifies_data() {
    run("04-wasm-rust");
}

#[test]
fn a_guest_in_javascript_reads_contracts() {
    run("05-wasm-javascript");
}

/// A new example is tried as well.
#[test]
fn every_example_is_tried_here() {
    let own = include_str!("examples.rs");
    for entry in std::fs::read_dir(root().join("examples")).unwrap().map(|e| e.unwrap()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(
            !entry.path().is_dir() || own.contains(&format!("run(\"{name}\")")),
            "examples/{name} is run by no test"
        );
    }
}

//! The official SDK is the judge of the callers' side.

use std::process::Command;

use crate::support::gateway::Gateway;
use crate::support::root;

#[test]
fn the_official_openai_sdk_is_content() {
    let Some(python) = std::env::var_os("TOLLGATE_PYTHON") else {
        eprintln!("SKIPPED: the official openai SDK: TOLLGATE_PYTHON names no Python with it (`./test.sh` makes one)");
        return;
    };
    let gateway = Gateway::start();
    let out = Command::new(python)
        .arg(root().join("tests/python/sdk.py"))
        .args([gateway.url("/v1"), gateway.key.clone()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("all good"), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
}

//! The documents that are made here are those that `docs/reference` holds.

use super::*;

/// The JSON schema of one version of the contract. The document itself is the request; the rest stands below `$defs`.
fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:tollgate:contract:{VERSION}"),
        "title": format!("tollgate's canonical request, contract {VERSION}"),
        "$comment": "Answers, chunks of streams and refusals: `$defs/answer`, `$defs/chunk`, `$defs/refusal`.",
        "$ref": "#/$defs/request",
        "$defs": definitions(),
    })
}

/// Compares, or writes anew where `TOLLGATE_WRITE` asks for it.
pub fn is_as_made(name: &str, made: &Value) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(name);
    let made = format!("{made:#}\n");
    if std::env::var_os("TOLLGATE_WRITE").is_some_and(|value| !value.is_empty()) {
        std::fs::write(&path, &made).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(made.lines()).position(|(there, made)| there != made);
    assert!(
        found == made,
        "{} differs from what it is made of, first in line {:?}: write it anew with TOLLGATE_WRITE=1",
        path.display(),
        differs.map(|at| at + 1)
    );
}

#[test]
fn the_reference_holds_what_is_served() {
    is_as_made(&format!("contract-{VERSION}.schema.json"), &schema());
    is_as_made("openapi.json", &document());
}

pub fn references<'a>(value: &'a Value, tell: &mut dyn FnMut(&'a str)) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(to)) = members.get("$ref") {
                tell(to);
            }
            members.values().for_each(|value| references(value, tell));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, tell)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn nothing_points_nowhere_and_no_operation_is_named_twice() {
    for document in [schema(), document()] {
        references(&document, &mut |to| {
            let found = document.pointer(to.trim_start_matches('#'));
            assert!(found.is_some(), "`{to}` points nowhere");
        });
    }
    let document = document();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let mut seen = std::collections::HashSet::new();
    for id in operations.map(|operation| operation["operationId"].as_str().unwrap()) {
        assert!(seen.insert(id), "two operations are named `{id}`");
    }
}

//! What authors get wrong, as they are told it: code, place, the part underlined, the nearest name, and what the code means.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::gateway::tollgate;

/// `§` stands before what must be underlined, `¦` behind it.
const FILES: [(&str, &str); 8] = [
    (
        "tollgate-policies.yaml",
        "api: tollgate.policy/v1
policies:
  - { name: rules, path: policies/rules, hook: pre-route, mode: enforce, on_error: deny, when: '§caller.tenant¦' }
  - { name: script, path: policies/script, hook: pre-route, §moed¦: enforce, on_error: deny }
  - { name: tokens, use: std/max-tokens, hook: pre-route, mode: enforce, on_error: deny, with: { §limt¦: 5 } }
  - { name: first, path: policies/voice, hook: pre-route, mode: enforce, on_error: deny }
  - { name: §second¦, path: policies/voice, hook: pre-route, mode: enforce, on_error: deny }
",
    ),
    ("limits.yaml", "budgets:\n  month: { per: tenant, limit_usd: \"9\", period: month }\n"),
    (
        "policies/script/params.schema.json",
        r#"{ "type": "object", "properties": { "limit": { "type": "integer", "default": 5 } } }"#,
    ),
    (
        "policies/rules/rules.yaml",
        r#"rules:
  - { when: '§caler¦.tenant == "x"', note: group }
  - { when: 'caller.§tenat¦ == "x"', note: fact }
  - { when: "caller.§tenat¦ == 'x'", note: in other quotes }
  - { when: 'caller.tenant §>¦ 5', note: types }
  - { when: 'caller.user.§matches¦(meta.use_case)', note: a pattern of facts }
  - { when: 'caller.tenant.§startWith¦("x")', note: a function }
  - { when: '§prompt.tokens + 1¦', note: no truth }
  - when: |
      caller.tenant == "a" &&
        meta.§usecase¦ == "b"
    note: a block
  - §dney¦: { code: x }
"#,
    ),
    (
        "policies/script/policy.rhai",
        r#"fn pre_route(facts) {
    let meta = facts.meta;
    §denny¦("x");
    §deny¦();
    facts.caller.§tenat¦;
    meta.§usecase¦;
    param("§limt¦");
    facts.budget("§mont¦");
    §sleep¦(5);
    none()
}
"#,
    ),
    (
        "policies/voice/rules.yaml",
        "rules:\n  - { when: '§1¦ > 2', note: never }\n  - { when: 'call.stream', pin: sim/sim-1, stop: true }\n  - { when: '§c¦all.stream && prompt.tokens > 5', note: behind it }\n  - { §f¦allback: [sim/sim-11] }\n",
    ),
    ("policies/voice/cases.yaml", "- name: nothing\n  facts: {}\n  expect: {}\n"),
    ("policies/rules/cases.yaml", "- name: nothing\n  facts: {}\n  expect: {}\n"),
];

/// In the order of the marks above: the code, and a part of what is told.
const TOLD: [(&str, &str); 24] = [
    ("TG0507", "must be true or false, it is a text"),
    ("TG0103", "did you mean `mode`?"),
    ("TG0112", "has no key `limt`"),
    ("TG0128", "may both say `pin`"),
    ("TG0504", "did you mean `caller`?"),
    ("TG0504", "did you mean `tenant`?"),
    ("TG0504", "did you mean `tenant`?"),
    ("TG0507", "cannot be compared"),
    ("TG0511", "a fact and a literal"),
    ("TG0503", "did you mean `startsWith`?"),
    ("TG0507", "it is a whole number"),
    ("TG0504", "did you mean `use_case`?"),
    ("TG0521", "did you mean `deny`?"),
    ("TG0604", "did you mean `deny`?"),
    ("TG0605", "takes 1 or 2 arguments, not 0"),
    ("TG0606", "did you mean `tenant`?"),
    ("TG0606", "did you mean `use_case`?"),
    ("TG0607", "did you mean `limit`?"),
    ("TG0608", "did you mean `month`?"),
    ("TG0603", "no clock"),
    ("TG0522", "always false"),
    ("TG0522", "can never be reached"),
    ("TG0129", "did you mean `sim/sim-1`?"),
    ("", ""),
];

/// Where each mark points: file, line, column, and what is underlined.
fn marks() -> Vec<(&'static str, u64, u64, String)> {
    let mut marks = Vec::new();
    for (file, text) in FILES {
        for (line, text) in text.lines().enumerate() {
            if let Some((before, rest)) = text.split_once('§') {
                let under = rest.split('¦').next().unwrap().to_owned();
                marks.push((file, line as u64 + 1, before.chars().count() as u64 + 1, under));
            }
        }
    }
    marks
}

fn written(folder: &Path) -> String {
    for (file, text) in FILES {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.replace(['§', '¦'], "")).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}

fn check(folder: &str, format: &str, state: &Path) -> (String, String) {
    let out = tollgate(&["check", "--policies", folder, "--format", format], state);
    assert_eq!(out.status.code(), Some(1), "what is wrong is no success");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(out.stdout), text(out.stderr))
}

#[test]
fn every_mistake_is_told_with_its_code_its_place_its_line_and_what_to_do() {
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = written(folder.path());
    let (json, _) = check(&dir, "json", state.path());
    let json: Value = serde_json::from_str(&json).unwrap();
    let findings = json["findings"].as_array().unwrap();
    let (sarif, _) = check(&dir, "sarif", state.path());
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), findings.len());
    let (_, shown) = check(&dir, "text", state.path());
    let marks = marks();
    assert_eq!(marks.len(), TOLD.len() - 1);
    for ((file, line, column, under), (code, told)) in marks.iter().zip(TOLD) {
        let at = format!("{file}:{line}:{column}");
        let is_it = |f: &&Value| {
            f["code"] == code
                && f["file"] == *file
                && (f["line"].as_u64(), f["column"].as_u64()) == (Some(*line), Some(*column))
        };
        let found = findings.iter().find(is_it).unwrap_or_else(|| panic!("no {code} at {at} among\n{shown}"));
        assert!(found["message"].as_str().unwrap().contains(told), "{at}: {found}");
        let region = |r: &&Value| {
            let place = &r["locations"][0]["physicalLocation"];
            r["ruleId"] == code
                && place["artifactLocation"]["uri"] == *file
                && (place["region"]["startLine"].as_u64(), place["region"]["startColumn"].as_u64())
                    == (Some(*line), Some(*column))
        };
        assert!(results.iter().any(|r| region(&r)), "{at} is not in the SARIF");
        assert_eq!(underlined(&shown, code, &at).as_deref(), Some(under.as_str()), "{at}:\n{shown}");
    }
    let codes: BTreeSet<&str> = findings.iter().filter_map(|f| f["code"].as_str()).collect();
    for code in codes {
        let out = tollgate(&["explain", code], state.path());
        assert!(out.status.success() && String::from_utf8_lossy(&out.stdout).contains("what to do: "), "{code}");
    }
}

/// What is underlined on the terminal below a code and a place.
fn underlined(shown: &str, code: &str, at: &str) -> Option<String> {
    let from = shown
        .match_indices(&format!(" {at}: "))
        .find(|(from, _)| shown[..*from].trim_end_matches([' ', 'x', '!', '\n']).ends_with(code))?
        .0;
    let lines: Vec<&str> = shown[from..].lines().collect();
    let carets = lines.iter().position(|line| line.trim_start().starts_with(": ") && line.contains('^'))?;
    let under = lines[carets].chars().zip(lines[carets - 1].chars().chain(std::iter::repeat(' ')));
    Some(under.filter(|(caret, _)| *caret == '^').map(|(_, letter)| letter).collect())
}

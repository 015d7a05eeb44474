//! The built-in policies as a shelf to choose from: the table of all is made from their files, and every line that a
//! note offers for copying works.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::gateway::tollgate;
use crate::support::{pages, root};

const EFFECTS: [&str; 13] =
    ["deny", "cap", "require", "reserve", "prefer", "pin", "split", "fallback", "set", "drop", "tag", "note", "alert"];
const BEGIN: &str = "<!-- made from the folders by tests/it/shelf.rs -->";
const END: &str = "<!-- end -->";

/// The folders of all built-in policies, by name.
fn folders() -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = std::fs::read_dir(root().join("stdlib-policies/policies"))
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), e.path()))
        .collect();
    found.sort();
    found
}

fn read(folder: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(file)).ok()
}

#[test]
fn the_table_of_built_in_policies_is_made_from_their_files() {
    let mut table = String::from(
        "| policy | decides | in | hook | parameters (and their defaults) | says |\n|---|---|---|---|---|---|\n",
    );
    for (name, folder) in folders() {
        let note = read(&folder, "README.md").unwrap();
        let about = note.lines().nth(2).unwrap_or_default();
        let (decides, hooks) = about.split_once(" Hook: ").unwrap_or_else(|| {
            panic!("{name}/README.md: its third line says what it decides, and ends with \"Hook: `HOOK`.\"")
        });
        let hook = hooks.trim_matches(['`', '.', ' ']);
        let (language, says) = match (read(&folder, "policy.rhai"), read(&folder, "rules.yaml")) {
            (Some(script), None) => {
                let function = format!("fn {}(", hook.replace('-', "_"));
                assert!(script.contains(&function), "{name}: the README says {hook}, the script has no `{function}`");
                ("Rhai", said_by_script(&script))
            }
            (None, Some(rules)) => ("CEL", said_by_rules(&rules)),
            _ => panic!("{name}: one program, `policy.rhai` or `rules.yaml`"),
        };
        let schema: Value = serde_json::from_str(&read(&folder, "params.schema.json").unwrap()).unwrap();
        let parameters = parameters(&schema);
        for parameter in schema["properties"].as_object().unwrap().keys() {
            assert!(note.contains(&format!("`{parameter}`")), "{name}/README.md does not tell of `{parameter}`");
        }
        let says: Vec<&str> = EFFECTS.into_iter().filter(|e| says.contains(e)).collect();
        let says = says.join(", ");
        table += &format!(
            "| [`std/{name}`](policies/{name}/README.md) | {decides} | {language} | {hook} | {parameters} | {says} |\n"
        );
    }
    let page = root().join("stdlib-policies/README.md");
    let text = std::fs::read_to_string(&page).unwrap();
    pages::is_as_made(&page, &pages::between(&text, BEGIN, END, &table));
}

/// `` `max` (4096), `weights` (must be set) ``
fn parameters(schema: &Value) -> String {
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let told = |(name, of): (&String, &Value)| match of.get("default") {
        Some(Value::Array(none)) if none.is_empty() => format!("`{name}` (none)"),
        Some(Value::Object(none)) if none.is_empty() => format!("`{name}` (none)"),
        Some(Value::String(none)) if none.is_empty() => format!("`{name}` (none)"),
        Some(Value::String(text)) => format!("`{name}` ({text})"),
        Some(value) => format!("`{name}` (`{value}`)"),
        None if required.contains(name.as_str()) => format!("`{name}` (must be set)"),
        None => panic!("the parameter `{name}` has no default and is not required: `param` would fail"),
    };
    // By name, whatever order the reader of JSON keeps.
    let properties: BTreeMap<&String, &Value> = schema["properties"].as_object().unwrap().iter().collect();
    properties.into_iter().map(told).collect::<Vec<_>>().join(", ")
}

/// Effects whose functions a script calls: a name before a bracket, not behind a dot and not its own function.
fn said_by_script(script: &str) -> BTreeSet<&'static str> {
    let code: Vec<&str> = script.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let own: BTreeSet<&str> = code.iter().filter_map(|l| l.strip_prefix("fn ")?.split('(').next()).collect();
    let mut found = BTreeSet::new();
    for line in code {
        for (at, _) in line.match_indices('(') {
            let before = &line[..at];
            let word = before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next();
            let word = word.unwrap_or_default();
            let behind_dot = before[..before.len() - word.len()].ends_with('.');
            if !behind_dot && !own.contains(word) {
                let effect = word.split('_').next().unwrap_or(word);
                found.extend(EFFECTS.into_iter().filter(|e| *e == effect));
            }
        }
    }
    found
}

/// Effects that are members of rules.
fn said_by_rules(rules: &str) -> BTreeSet<&'static str> {
    let member =
        |line: &str| line.trim_start().trim_start_matches("- ").split(':').next().unwrap_or_default().to_owned();
    let members: BTreeSet<String> = rules.lines().map(member).collect();
    EFFECTS.into_iter().filter(|e| members.contains(*e)).collect()
}

#[test]
fn effects_are_read_from_programs() {
    let script = "// deny(\"x\")\nfn pre_route(facts) {\n    text.drop(3); let a = prefer_tier(\"x\", 1) + note(\"y\");\n    ask()\n}\nfn cap(x) { none() }\n";
    let found: Vec<&str> = said_by_script(script).into_iter().collect();
    assert_eq!(found, ["note", "prefer"], "no comments, no methods, no functions of its own");
    let found: Vec<&str> = said_by_rules("rules:\n  - deny: { code: x }\n    tag: { cap: y }\n").into_iter().collect();
    assert_eq!(found, ["deny", "tag"]);
}

/// A manifest with the line that each note offers.
fn offered(state: &Path, change: impl Fn(&str, &str) -> String) -> PathBuf {
    let folder = state.join("policies-of-notes");
    std::fs::create_dir_all(&folder).unwrap();
    let mut manifest = String::from("api: tollgate.policy/v1\npolicies:\n");
    for (name, path) in folders() {
        let note = read(&path, "README.md").unwrap();
        let line = note.lines().find_map(|l| l.strip_prefix("    - {"));
        let line = line.unwrap_or_else(|| panic!("{name}/README.md offers no line for the manifest"));
        assert!(line.contains(&format!("use: std/{name},")), "{name}/README.md offers another policy: {line}");
        manifest += &format!("  - {{{}\n", change(&name, line));
    }
    std::fs::write(folder.join("tollgate-policies.yaml"), manifest).unwrap();
    let limits = "budgets: { tenant-month: { per: [tenant], limit_usd: \"100\", period: month } }\n";
    std::fs::write(folder.join("limits.yaml"), limits).unwrap();
    folder
}

fn passes(verb: &[&str], policies: &Path, state: &Path) {
    let args: Vec<&str> = verb.iter().copied().chain(["--policies", policies.to_str().unwrap()]).collect();
    let out = tollgate(&args, state);
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{args:?}\n{}{}", told(&out.stdout), told(&out.stderr));
}

#[test]
fn the_lines_that_notes_offer_can_be_copied() {
    let state = tempfile::tempdir().unwrap();
    let policies = offered(state.path(), |_, line| line.to_owned());
    passes(&["check"], &policies, state.path());
}

/// Taken home, a policy passes its own cases, whatever the manifest gives it.
#[test]
fn every_built_in_policy_can_be_taken_home() {
    let state = tempfile::tempdir().unwrap();
    let policies = offered(state.path(), |name, line| {
        line.replace(&format!("use: std/{name}"), &format!("path: policies/{name}"))
    });
    for (name, _) in folders() {
        let into = policies.to_str().unwrap();
        let out = tollgate(&["policy", "eject", &format!("std/{name}"), "--into", into], state.path());
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    }
    passes(&["check"], &policies, state.path());
    passes(&["policy", "test"], &policies, state.path());
}

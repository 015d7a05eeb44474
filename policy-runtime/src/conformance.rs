//! Every fact and every effect means the same in every language: the same decision, to the byte of its digest.
//!
//! Guests are compared with these two in `wasm/tests/guests/facts.rs`, over the same facts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_core::evidence::digest;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::schema::{EFFECTS, FIELDS, FactValue, Field, Group, LIMIT_FIELDS};
use tollgate_core::policy::tree::{RevisionId, Tree};
use tollgate_core::policy::verdict::{Engine, Layer, Outcome, Standing, Verdict};
use tollgate_core::policy::{Hook, Mode};

use crate::engine::{Bounds, Unit};
use crate::engines;
use crate::script::word;

/// Facts in which no value is the one that an empty call would have.
fn facts() -> Arc<Facts> {
    let value: Value = serde_json::from_str(include_str!("../tests/facts.json")).expect("facts of our making");
    Arc::new(serde_json::from_value(value).unwrap())
}

/// The digest of what one program decides at a hook.
fn digest_of(file: &str, text: &str, hook: Hook) -> String {
    let path = format!("policies/p/{file}");
    let tree = Tree {
        signers: Vec::new(),
        id: RevisionId::new("t"),
        files: BTreeMap::from([(path.clone(), Arc::from(text.as_bytes()))]),
    };
    let engine = engines::PROGRAMS.iter().find(|(name, _)| *name == file).unwrap().1;
    let unit = Unit {
        name: "p",
        tree: &tree,
        file: &path,
        shown: &path,
        hooks: &[hook],
        params: Arc::new(Value::Object(Default::default())),
        budgets: &["month", "tenant-month"],
        rates: &["rpm"],
        reads: None,
        bounds: Bounds::default(),
    };
    let program = engines::compile(engine, &unit, None).unwrap_or_else(|found| panic!("{text}\n{found:?}"));
    let answer = program.decide(hook, &facts()).unwrap_or_else(|stop| panic!("{text}\n{stop:?}"));
    assert!(!answer.effects.is_empty(), "nothing was said by\n{text}");
    let verdict = Verdict {
        policy: Arc::new(Standing {
            name: "p".into(),
            layer: Layer::Platform,
            priority: 0,
            engine: Engine::Cel,
            declared: Default::default(),
        }),
        hook,
        mode: Mode::Enforce,
        lowered: None,
        outcome: Outcome::Decided(answer.effects),
        ops: 0,
    };
    digest::decision([&verdict])
}

/// A value as both languages write it.
fn literal(value: &FactValue<'_>) -> String {
    match value {
        FactValue::Text(text) => Value::from(&**text).to_string(),
        FactValue::Int(n) => n.to_string(),
        FactValue::Float(n) => format!("{n:?}"),
        FactValue::Bool(b) => b.to_string(),
        FactValue::TextList(list) => json!(list).to_string(),
    }
}

fn agree(what: &str, cel: &str, rhai: &str, hook: Hook) {
    let table = format!("rules:\n  - when: '{}'\n    tag: {{ is: \"yes\" }}\n", cel.replace('\'', "''"));
    let script = format!("fn {}(facts) {{ if {rhai} {{ tag(\"is\", \"yes\") }} else {{ none() }} }}", hook.function());
    assert_eq!(
        digest_of("rules.yaml", &table, hook),
        digest_of("policy.rhai", &script, hook),
        "{what} at {}",
        hook.name()
    );
}

#[test]
fn every_fact_is_the_same_in_cel_and_rhai_at_every_hook_that_knows_it() {
    let facts = facts();
    let mut tried = 0;
    for Field { group, name, get, .. } in FIELDS {
        let value = get(&facts);
        assert_ne!(
            format!("{value:?}"),
            format!("{:?}", get(&Facts::default())),
            "{name}: the case would prove nothing"
        );
        for hook in Hook::ALL.into_iter().filter(|hook| group.known_at(*hook)) {
            let cel = format!("{}.{name} == {}", group.name(), literal(&value));
            let rhai = format!("facts.{}.{name} == {}", word(*group), literal(&value));
            agree(name, &cel, &rhai, hook);
            tried += 1;
        }
    }
    for (group, rule) in [(Group::Budget, "month"), (Group::Rate, "rpm")] {
        let fact = match group {
            Group::Budget => &facts.budget[rule],
            _ => &facts.rate[rule],
        };
        for field in LIMIT_FIELDS {
            let value = literal(&(field.get)(fact));
            let cel = format!("{}[\"{rule}\"].{} == {value}", group.name(), field.name);
            let rhai = format!("facts.{}(\"{rule}\").{} == {value}", group.name(), field.name);
            agree(field.name, &cel, &rhai, Hook::PreRoute);
            tried += 1;
        }
    }
    println!("{tried} facts agree");
}

#[test]
fn every_effect_is_the_same_in_cel_and_rhai_at_every_hook_where_it_may_be_said() {
    for row in EFFECTS {
        // The example of the rule has a second bound.
        let (rule, script) = match row.name {
            "cap" => ("cap: { max_tokens: 4096 }", row.script),
            _ => (row.rule, row.script),
        };
        let hooks = Hook::ALL.into_iter();
        for hook in hooks.filter(|h| tollgate_core::policy::effect::Effect::name_legal_at(row.name, *h)) {
            let table = format!("rules:\n  - {rule}\n");
            let script = format!("fn {}(facts) {{ {script} }}", hook.function());
            let (cel, rhai) = (digest_of("rules.yaml", &table, hook), digest_of("policy.rhai", &script, hook));
            assert_eq!(cel, rhai, "{} at {}", row.name, hook.name());
        }
    }
}

//! Every fact reaches a guest as it reaches a rule and a script, and every effect that may be said at a hook is taken from it:
//! three languages, one digest. The guests are written here, one for each fact, out of the list of facts.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::Effect;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::schema::{EFFECTS, FIELDS, FactValue, Group, Kind, LIMIT_FIELDS};
use tollgate_core::policy::verdict::Engine;
use tollgate_policy_runtime::engine::{Answer, Program, Stop};
use tollgate_policy_runtime::memo::Memo;
use tollgate_policy_wasm::{Wasm, wit};

use crate::conformance::{digest_at, text_at};
use crate::trying::{Trial, component};

/// Where things lie in the memory of these guests.
const NAME: usize = 512;
const GOT: usize = 1_024;
const RESULT: usize = 2_048;
const EFFECT: usize = 3_072;
const WORDS: usize = 4_096;
/// An effect of the world in memory: its number, and what it holds behind it.
const EFFECT_BYTES: usize = 32;

fn sample() -> Arc<Facts> {
    Arc::new(serde_json::from_str(include_str!("../../../tests/facts.json")).unwrap())
}

/// Bytes as a text of the WebAssembly text format writes them.
fn data(at: usize, bytes: &[u8]) -> String {
    let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const {at}) \"{escaped}\")")
}

/// Effects laid out in memory as the canonical ABI wants them, behind a result that is right.
struct Laid {
    effects: Vec<u8>,
    words: Vec<u8>,
}

impl Laid {
    fn new() -> Laid {
        Laid { effects: Vec::new(), words: Vec::new() }
    }

    /// The number of the case, a severity where it has one, and its texts.
    fn say(mut self, case: u8, severity: Option<u8>, texts: &[&str]) -> Laid {
        let mut effect = [0; EFFECT_BYTES];
        effect[0] = case;
        let mut at = 8;
        if let Some(severity) = severity {
            effect[at] = severity;
            at += 4;
        }
        for text in texts {
            let from = (WORDS + self.words.len()) as u32;
            effect[at..at + 4].copy_from_slice(&from.to_le_bytes());
            effect[at + 4..at + 8].copy_from_slice(&(text.len() as u32).to_le_bytes());
            self.words.extend_from_slice(text.as_bytes());
            at += 8;
        }
        self.effects.extend(effect);
        self
    }

    fn data(&self) -> String {
        let count = self.effects.len() / EFFECT_BYTES;
        let mut result = [0; 12];
        result[4..8].copy_from_slice(&(EFFECT as u32).to_le_bytes());
        result[8..12].copy_from_slice(&(count as u32).to_le_bytes());
        [data(RESULT, &result), data(EFFECT, &self.effects), data(WORDS, &self.words)].join("\n")
    }
}

/// The number of an effect's case in the world's variant: the order of the list, as another test tells.
fn case(name: &str) -> u8 {
    EFFECTS.iter().position(|row| row.name == name).unwrap() as u8
}

fn guest(wat: &str) -> Arc<dyn Program> {
    let compiled = Trial::default().compile(&Wasm::new(None), &component(wat));
    compiled.unwrap_or_else(|found| panic!("{found:?}\n{wat}"))
}

/// A guest that asks for one fact, and tags `is: yes` where it is what is expected.
fn asks(accessor: &str, rule: Option<&str>, value: &FactValue<'_>) -> Arc<dyn Program> {
    let mut expected = vec![data(NAME, rule.unwrap_or_default().as_bytes())];
    let given = match rule {
        Some(rule) => format!("(local.get $facts) (i32.const {NAME}) (i32.const {})", rule.len()),
        None => "(local.get $facts)".to_owned(),
    };
    let takes = if rule.is_some() { "i32 i32 i32" } else { "i32" };
    // Words that are expected stand behind all others.
    let mut at = WORDS + 1_024;
    let mut texts = |texts: &[&str]| -> Vec<(usize, usize)> {
        let lay = |text: &&str| {
            let here = at;
            at += text.len();
            expected.push(data(here, text.as_bytes()));
            (here, text.len())
        };
        texts.iter().map(lay).collect()
    };
    let same = |from: usize, (at, len): (usize, usize)| {
        format!(
            "(i32.and (i32.eq (i32.load (i32.const {})) (i32.const {len})) \
             (call $same (i32.load (i32.const {from})) (i32.const {at}) (i32.const {len})))",
            from + 4
        )
    };
    let (gives, is) = match value {
        FactValue::Int(n) => ("(result i64)", format!("(i64.eq (call $get {given}) (i64.const {n}))")),
        FactValue::Float(n) => ("(result f64)", format!("(f64.eq (call $get {given}) (f64.const {n:?}))")),
        FactValue::Bool(b) => ("(result i32)", format!("(i32.eq (call $get {given}) (i32.const {}))", i32::from(*b))),
        FactValue::Text(text) => {
            let place = texts(&[text])[0];
            ("(param i32)", format!("(block (result i32) (call $get {given} (i32.const {GOT})) {})", same(GOT, place)))
        }
        FactValue::TextList(list) => {
            let mut is = format!("(i32.eq (i32.load (i32.const {})) (i32.const {}))", GOT + 4, list.len());
            for (n, (at, len)) in texts(list).into_iter().enumerate() {
                let element = format!("(i32.add (i32.load (i32.const {GOT})) (i32.const {}))", n * 8);
                let _ = write!(
                    is,
                    " (i32.and (i32.and (i32.eq (i32.load offset=4 {element}) (i32.const {len})) \
                     (call $same (i32.load {element}) (i32.const {at}) (i32.const {len}))))"
                );
            }
            ("(param i32)", format!("(block (result i32) (call $get {given} (i32.const {GOT})) {is})"))
        }
    };
    let says = Laid::new().say(case("tag"), None, &["is", "yes"]).data();
    guest(&format!(
        r#"(module
  (import "tollgate:policy/facts@1.0.0" "[method]facts.{accessor}" (func $get (param {takes}) {gives}))
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.get $top)
    (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $same (param $a i32) (param $b i32) (param $n i32) (result i32)
    (loop $next
      (if (i32.eqz (local.get $n)) (then (return (i32.const 1))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $next (i32.eq
        (i32.load8_u (i32.add (local.get $a) (local.get $n))) (i32.load8_u (i32.add (local.get $b) (local.get $n))))))
    (i32.const 0))
  (func (export "decide") (param $hook i32) (param $facts i32) (result i32)
    (if (i32.eqz {is}) (then (i32.store (i32.const {}) (i32.const 0))))
    (i32.const {RESULT}))
  {says}
  {})"#,
        RESULT + 8,
        expected.join("\n  ")
    ))
}

/// A value as rules and scripts write it.
fn literal(value: &FactValue<'_>) -> String {
    match value {
        FactValue::Text(text) => Value::from(&**text).to_string(),
        FactValue::Int(n) => n.to_string(),
        FactValue::Float(n) => format!("{n:?}"),
        FactValue::Bool(b) => b.to_string(),
        FactValue::TextList(list) => json!(list).to_string(),
    }
}

/// All three say the same of these facts; a guest says nothing of facts that are not there. Remembered answers, too.
fn agree(guest: Arc<dyn Program>, cel: &str, rhai: &str, hook: Hook) {
    let facts = sample();
    let table = format!("rules:\n  - when: '{cel}'\n    tag: {{ is: \"yes\" }}\n");
    let script = format!("fn {}(facts) {{ if {rhai} {{ tag(\"is\", \"yes\") }} else {{ none() }} }}", hook.function());
    let (table, script) = (text_at("rules.yaml", &table, hook), text_at("policy.rhai", &script, hook));
    let table = digest_at(Engine::Cel, &Remembering::of(table.into()), hook, &facts);
    let (guest, script) = (Remembering::of(guest), Remembering::of(script.into()));
    for what in ["asked", "remembered"] {
        let said = digest_at(Engine::Wasm, &guest, hook, &facts);
        assert_eq!(said, table, "a guest, {what}, and a rule: {cel} at {}", hook.name());
        let said = digest_at(Engine::Rhai, &script, hook, &facts);
        assert_eq!(said, table, "a script, {what}, and a rule: {rhai} at {}", hook.name());
        for program in [&guest, &script] {
            let nothing = program.decide(hook, &Arc::new(Facts::default())).unwrap();
            assert!(nothing.effects.is_empty(), "{cel}: {what}, it does not look at the fact");
        }
    }
}

/// A program, asked as the policies of a revision are.
struct Remembering(Memo, Arc<dyn Program>);

impl Remembering {
    fn of(program: Arc<dyn Program>) -> Remembering {
        assert!(program.is_watched());
        Remembering(Memo::of(&*program), program)
    }
}

impl Program for Remembering {
    fn decide(&self, hook: Hook, facts: &Arc<Facts>) -> Result<Answer, Stop> {
        self.0.answer(hook, facts, || self.1.decide(hook, facts).map(Some)).map(Option::unwrap)
    }
}

#[test]
fn every_fact_is_the_same_in_three_languages_at_every_hook_that_knows_it() {
    let facts = sample();
    let mut tried = 0;
    for field in FIELDS {
        let (group, value) = (field.group, (field.get)(&facts));
        let guest = asks(&wit::accessor(group, field.name), None, &value);
        let in_script = if group == Group::Call { "request" } else { group.name() };
        for hook in Hook::ALL.into_iter().filter(|hook| group.known_at(*hook)) {
            let cel = format!("{}.{} == {}", group.name(), field.name, literal(&value));
            let rhai = format!("facts.{in_script}.{} == {}", field.name, literal(&value));
            agree(guest.clone(), &cel, &rhai, hook);
            tried += 1;
        }
    }
    for (group, rule) in [(Group::Budget, "month"), (Group::Rate, "rpm")] {
        let (name, fact) = (group.name(), if group == Group::Budget { &facts.budget[rule] } else { &facts.rate[rule] });
        for field in LIMIT_FIELDS {
            assert!(matches!(field.kind, Kind::Int | Kind::Float), "the host gives no other kind");
            let value = (field.get)(fact);
            let guest = asks(&wit::accessor(group, field.name), Some(rule), &value);
            for hook in Hook::ALL.into_iter().filter(|hook| group.known_at(*hook)) {
                let cel = format!("{name}[\"{rule}\"].{} == {}", field.name, literal(&value));
                let rhai = format!("facts.{name}(\"{rule}\").{} == {}", field.name, literal(&value));
                agree(guest.clone(), &cel, &rhai, hook);
                tried += 1;
            }
        }
    }
    println!("{tried} facts agree in three languages");
}

/// At pre-route `every.wasm` says them all; here are those that may be said elsewhere.
#[test]
fn every_effect_is_the_same_in_three_languages_at_the_other_hooks() {
    for (name, says, rule, script) in [
        (
            "deny",
            Laid::new().say(case("deny"), None, &["c", "r"]),
            "deny: { code: c, reason: r }",
            "deny(\"c\", \"r\")",
        ),
        ("tag", Laid::new().say(case("tag"), None, &["k", "v"]), "tag: { k: v }", "tag(\"k\", \"v\")"),
        ("note", Laid::new().say(case("note"), None, &["n"]), "note: n", "note(\"n\")"),
        (
            "alert",
            Laid::new().say(case("alert"), Some(2), &["a"]),
            "alert: { severity: critical, text: a }",
            "alert(\"critical\", \"a\")",
        ),
    ] {
        let guest = guest(&format!(
            r#"(module (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8192))
  (func (export "decide") (param i32 i32) (result i32) (i32.const {RESULT}))
  {})"#,
            says.data()
        ));
        for hook in Hook::ALL {
            let table = text_at("rules.yaml", &format!("rules:\n  - {rule}\n"), hook);
            let script = text_at("policy.rhai", &format!("fn {}(facts) {{ {script} }}", hook.function()), hook);
            let said = digest_at(Engine::Wasm, &*guest, hook, &sample());
            assert_eq!(said, digest_at(Engine::Cel, &*table, hook, &sample()), "{name} at {}", hook.name());
            assert_eq!(said, digest_at(Engine::Rhai, &*script, hook, &sample()), "{name} at {}", hook.name());
        }
    }
    for row in EFFECTS {
        let elsewhere = Effect::name_legal_at(row.name, Hook::PreAuth);
        assert_eq!(elsewhere, ["deny", "tag", "note", "alert"].contains(&row.name), "{} is tried above", row.name);
    }
}

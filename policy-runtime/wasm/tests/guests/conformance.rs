//! One decision in three languages has one digest; what guests are told is what the others are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;
use tollgate_core::evidence::digest;
use tollgate_core::policy::effect::{At, Effect};
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::schema::{EFFECTS, Group, GroupSet, Shape};
use tollgate_core::policy::tree::{RevisionId, Tree};
use tollgate_core::policy::verdict::{Engine, FailureKind, Layer, Outcome, Standing, Verdict};
use tollgate_core::policy::{Hook, Mode};
use tollgate_policy_runtime::engine::{Bounds, Program, Unit};
use tollgate_policy_runtime::expr::compile_rules;
use tollgate_policy_runtime::script::compile_script;
use tollgate_policy_wasm::{Wasm, wit};
use wit_parser::{Resolve, Type, TypeDefKind};

use crate::trying::{Trial, effects, facts};

const GUEST: &[u8] = include_bytes!("../every/every.wasm");

const SCRIPT: &str = r#"
fn pre_route(facts) {
    let first = deny("c", "r") + cap("max_tokens", 5) + cap("max_cost_usd", "0.25") + cap("deadline_ms", 900) + cap("attempts", 2)
    + require("models", ["a*"]) + require("families", ["f"]) + require("providers", ["p"])
    + require("regions", ["eu", "us"]) + require("tiers", ["t"]) + reserve("month");
    let second = prefer_target("a/b", -3) + prefer_tier("high", 7) + prefer_family("claude", 100)
    + pin("a/b") + split("s", "user", #{ "a/b": 1, "c/d": 3 }) + fallback(["a/b", "c/d"]);
    let third = set("temperature", 0.5) + set("seed", 7) + set("store", false) + set("reasoning_effort", "low")
    + drop("logprobs") + tag("k", "v") + note("n") + alert("info", "i") + alert("warning", "w") + alert("critical", "c");
    first + second + third
}"#;

const RULES: &str = r#"
rules:
  - when: "true"
    deny: { code: c, reason: r }
    cap: { max_tokens: 5, max_cost_usd: "0.25", deadline_ms: 900, attempts: 2 }
    require: { models: ["a*"], families: [f], providers: [p], regions: [eu, us], tiers: [t] }
    reserve: month
    prefer: { target: a/b, score: -3 }
    pin: a/b
    split: { name: s, by: user, weights: { a/b: 1, c/d: 3 } }
    fallback: [a/b, c/d]
    set: { temperature: 0.5, seed: 7, store: false, reasoning_effort: low }
    drop: logprobs
    tag: { k: v }
    note: n
    alert: { severity: info, text: i }
  - when: "true"
    prefer: { tier: high, score: 7 }
    alert: { severity: warning, text: w }
  - when: "true"
    prefer: { family: claude, score: 100 }
    alert: { severity: critical, text: c }
"#;

const TOLD: &str = r#"
fn pre_route(facts) {
    let prompt = facts.prompt;
    tag("tenant", facts.caller.tenant) + tag("source", facts.caller.tenant_source) + tag("tokens", prompt.tokens)
    + tag("stream", facts.request.stream) + tag("roles", prompt.roles[0] + "," + prompt.roles[1])
    + tag("used", facts.budget("month").used) + tag("ratio", facts.budget("month").ratio)
    + tag("none", 0) + tag("bucket", facts.bucket("canary", "user")) + tag("contains", facts.text.contains("secret"))
}"#;

fn all() -> GroupSet {
    let mut all = GroupSet::default();
    Group::ALL.into_iter().for_each(|group| all.insert(group));
    all
}

fn text(file: &str, text: &str) -> Box<dyn Program> {
    text_at(file, text, Hook::PreRoute)
}

/// A rule or a script, compiled for one hook.
pub fn text_at(file: &str, text: &str, hook: Hook) -> Box<dyn Program> {
    let path = format!("policies/p/{file}");
    let files = BTreeMap::from([(path.clone(), Arc::from(text.as_bytes()))]);
    let tree = Tree { signers: Vec::new(), id: RevisionId::new("t"), files };
    let unit = Unit {
        name: "p",
        tree: &tree,
        file: &path,
        shown: &path,
        hooks: &[hook],
        params: Arc::new(json!({})),
        budgets: &["month"],
        rates: &["rpm"],
        reads: Some(all()),
        bounds: Bounds::default(),
    };
    let compiled = match file.ends_with(".rhai") {
        true => compile_script(&unit),
        false => compile_rules(&unit),
    };
    compiled.unwrap_or_else(|found| panic!("{text}\n{found:?}"))
}

fn sample() -> Arc<Facts> {
    facts(json!({
        "call": { "stream": true },
        "caller": { "tenant": "acme", "tenant_source": "verified", "user": "ann" },
        "prompt": { "tokens": 120, "roles": ["system", "user"] },
        "budget": { "month": { "limit": 100, "used": 90, "ratio": 0.9 } },
        "text": [{ "role": "user", "text": "my secret plan" }],
    }))
}

fn verdict(engine: Engine, program: &dyn Program) -> Verdict {
    verdict_at(engine, program, Hook::PreRoute, &sample())
}

/// The digest of what a program decides, which must not be nothing.
pub fn digest_at(engine: Engine, program: &dyn Program, hook: Hook, facts: &Arc<Facts>) -> String {
    let verdict = verdict_at(engine, program, hook, facts);
    assert!(!verdict.effects().is_empty(), "nothing was said at {}", hook.name());
    digest::decision([&verdict])
}

fn verdict_at(engine: Engine, program: &dyn Program, hook: Hook, facts: &Arc<Facts>) -> Verdict {
    let answer = program.decide(hook, facts).unwrap();
    let declared = At { file: "m".into(), line: 1, column: 1 };
    Verdict {
        policy: Arc::new(Standing { name: "p".into(), layer: Layer::Platform, priority: 0, engine, declared }),
        hook,
        mode: Mode::Enforce,
        lowered: None,
        outcome: Outcome::Decided(answer.effects),
        ops: answer.ops,
    }
}

#[test]
fn the_same_decision_in_three_languages_has_one_digest() {
    let wasm = Trial::default().compile(&Wasm::new(None), GUEST).unwrap();
    let said = verdict(Engine::Wasm, &*wasm);
    let names: BTreeSet<&str> = said.effects().iter().map(|said| said.effect.name()).collect();
    assert_eq!(names.len(), Effect::NAMES.len(), "the guest says every effect that there is: {names:?}");
    let canonical = |verdict: &Verdict| digest::canonical([verdict]);
    assert_eq!(canonical(&said), canonical(&verdict(Engine::Rhai, &*text("policy.rhai", SCRIPT))));
    assert_eq!(canonical(&said), canonical(&verdict(Engine::Cel, &*text("rules.yaml", RULES))));
    assert_eq!(digest::decision([&said]).len(), 64);
}

#[test]
fn a_guest_is_told_what_a_script_is_told() {
    let trial = Trial { params: json!({ "say": "facts" }), ..Trial::default() };
    let wasm = trial.compile(&Wasm::new(None), GUEST).unwrap().decide(Hook::PreRoute, &sample()).unwrap();
    let rhai = text("policy.rhai", TOLD).decide(Hook::PreRoute, &sample()).unwrap();
    assert_eq!(effects(&wasm), effects(&rhai));
}

#[test]
fn what_the_grammar_does_not_know_is_told_in_its_words() {
    for (say, told) in [
        ("wrong", "`set.messages`: no parameter that a policy may set"),
        ("typo", "`limits.yaml` has no budget `mnth`, did you mean `month`?"),
        ("hold", "`reserve`: `limits.yaml` has no rule `mnth`, did you mean `month`?"),
    ] {
        let trial = Trial { params: json!({ "say": say }), ..Trial::default() };
        let stop = trial.compile(&Wasm::new(None), GUEST).unwrap().decide(Hook::PreRoute, &sample()).unwrap_err();
        assert_eq!(stop.kind, FailureKind::Error, "{say}");
        assert!(stop.what.starts_with(told), "{}", stop.what);
    }
}

#[test]
fn an_effect_that_the_hook_does_not_know_is_refused() {
    let program = Trial::default().compile(&Wasm::new(None), GUEST).unwrap();
    let stop = program.decide(Hook::PostResponse, &sample()).unwrap_err();
    assert_eq!((stop.kind, &*stop.what), (FailureKind::Error, "`cap` has no effect at post-response"));
}

/// All names of members, cases and enumerations that a type of the world is made of.
fn names_of(resolve: &Resolve, kind: &Type, names: &mut BTreeSet<String>) {
    let Type::Id(id) = kind else { return };
    match &resolve.types[*id].kind {
        TypeDefKind::Record(record) => {
            for field in &record.fields {
                names.insert(field.name.replace('-', "_"));
                names_of(resolve, &field.ty, names);
            }
        }
        TypeDefKind::Variant(variant) => {
            for case in &variant.cases {
                names.insert(case.name.replace('-', "_"));
                case.ty.iter().for_each(|kind| names_of(resolve, kind, names));
            }
        }
        TypeDefKind::Enum(all) => names.extend(all.cases.iter().map(|case| case.name.replace('-', "_"))),
        TypeDefKind::Type(other) | TypeDefKind::List(other) => names_of(resolve, other, names),
        _ => {}
    }
}

/// The world's effects are written by hand, with types of their own: this tells when the one list says more, or less.
#[test]
fn the_world_has_the_effects_and_members_of_the_list() {
    let mut resolve = Resolve::default();
    resolve.push_str("policy.wit", wit::WORLD).unwrap();
    let (_, effect) = resolve.types.iter().find(|(_, kind)| kind.name.as_deref() == Some("effect")).unwrap();
    let TypeDefKind::Variant(effect) = &effect.kind else { panic!("`effect` is a variant") };
    let cases: Vec<&str> = effect.cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(cases, Effect::NAMES);
    for (case, row) in effect.cases.iter().zip(EFFECTS) {
        let mut names = BTreeSet::new();
        case.ty.iter().for_each(|kind| names_of(&resolve, kind, &mut names));
        for member in row.form.members() {
            assert!(names.contains(member.name), "{} has no `{}`: {names:?}", row.name, member.name);
            if let Shape::OneOf(all) = member.shape {
                assert!(all.iter().all(|one| names.contains(*one)), "{}.{}: {names:?}", row.name, member.name);
            }
        }
    }
}

#[test]
fn the_example_is_built_with_the_world_of_this_gateway() {
    let copy = include_str!("../../../../examples/04-wasm-rust/guest/wit/policy.wit");
    assert_eq!(copy, wit::WORLD, "copy wit/policy.wit to the example, and build it anew");
}

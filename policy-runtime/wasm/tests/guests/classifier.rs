//! The guest of `examples/04-wasm-rust`, as it is committed.

use std::time::Instant;

use serde_json::{Value, json};
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::{At, Deny, Effect, Said};
use tollgate_core::policy::schema::{Group, GroupSet};
use tollgate_core::policy::verdict::FailureKind;
use tollgate_policy_runtime::engine::Bounds;
use tollgate_policy_runtime::expr::thread_cpu;
use tollgate_policy_wasm::Wasm;

use crate::trying::{FILE, Trial, effects, facts};

pub const GUEST: &[u8] = include_bytes!("../../../../examples/04-wasm-rust/policies/policies/classifier/policy.wasm");

pub fn trial() -> Trial {
    Trial { params: json!({ "words": ["project falcon"], "regions": ["eu"] }), ..Trial::default() }
}

pub fn prompt(text: &str) -> Value {
    json!({ "meta": { "data_class": "internal" }, "text": [{ "role": "user", "text": text }] })
}

#[test]
fn a_committed_guest_decides() {
    let program = trial().compile(&Wasm::new(None), GUEST).unwrap();
    let said = |text: &str| effects(&program.decide(Hook::PreRoute, &facts(prompt(text))).unwrap());
    let tag = |class: &str| Effect::Tag("data_class".to_owned(), class.to_owned());
    assert_eq!(said("hello"), [tag("internal")]);
    let confidential = said("what about project falcon?");
    assert_eq!((confidential.len(), &confidential[0]), (3, &tag("confidential")));
    let restricted = said("pay DE89 3704 0044 0532 0130 00");
    let reason = "the prompt holds 1 account numbers and 0 card numbers: take them out".to_owned();
    assert_eq!(restricted[1], Effect::Deny(Deny { code: "restricted_data".to_owned(), reason }));
}

#[test]
fn effects_name_the_file_and_operations_repeat() {
    let program = trial().compile(&Wasm::new(None), GUEST).unwrap();
    let one = program.decide(Hook::PreRoute, &facts(prompt("hello"))).unwrap();
    let at = At { file: FILE.into(), line: 0, column: 0 };
    assert!(one.effects.iter().all(|said: &Said| said.at == at));
    let two = program.decide(Hook::PreRoute, &facts(prompt("hello"))).unwrap();
    assert_eq!(one, two);
    assert!((1..2_000).contains(&one.ops), "{}", one.ops);
}

#[test]
fn what_reads_does_not_list_is_not_told() {
    let mut only_meta = GroupSet::default();
    only_meta.insert(Group::Meta);
    for (reads, why) in [(None, "text is never among what is read by default"), (Some(only_meta), "nor unlisted")] {
        let program = Trial { reads, ..trial() }.compile(&Wasm::new(None), GUEST).unwrap();
        let stop = program.decide(Hook::PreRoute, &facts(prompt("hello"))).unwrap_err();
        assert_eq!(stop.kind, FailureKind::Error, "{why}");
        assert_eq!(stop.what, "it asks for `text`, which `reads` of the manifest does not list", "{why}");
    }
}

#[test]
fn a_guest_says_its_own_errors() {
    let program = Trial { params: json!({}), ..trial() }.compile(&Wasm::new(None), GUEST).unwrap();
    let stop = program.decide(Hook::PreRoute, &facts(prompt("hello"))).unwrap_err();
    assert_eq!((stop.kind, stop.what.as_str()), (FailureKind::Error, "`regions` must be a list of texts"));
}

#[test]
fn a_long_prompt_is_bounded_by_operations() {
    let bounds = Bounds { bytes: 64 << 20, ..Bounds::default() };
    let program = Trial { bounds, ..trial() }.compile(&Wasm::new(None), GUEST).unwrap();
    let stop = program.decide(Hook::PreRoute, &facts(prompt(&"12345 ".repeat(1_000_000)))).unwrap_err();
    assert_eq!((stop.kind, stop.what.as_str()), (FailureKind::Budget, "more than 20000 operations"));
}

/// Tells what a decision costs: `cargo test --release -p tollgate-policy-wasm -- --nocapture costs`.
#[test]
fn a_decision_in_a_fresh_instance_costs_little() {
    let program = trial().compile(&Wasm::new(None), GUEST).unwrap();
    let facts = facts(prompt("hello, what is the weather like today in Berlin? I would like to know more."));
    let rounds = 2_000;
    let mut best = f64::MAX;
    for _ in 0..5 {
        let (begun, wall) = (thread_cpu(), Instant::now());
        for _ in 0..rounds {
            program.decide(Hook::PreRoute, &facts).unwrap();
        }
        let us = |d: std::time::Duration| d.as_secs_f64() * 1e6 / f64::from(rounds);
        best = best.min(us(thread_cpu() - begun));
        println!("{:.1} us of CPU, {:.1} us by the clock", us(thread_cpu() - begun), us(wall.elapsed()));
    }
    // Far above what was measured (see docs/performance.md): machines differ, a mistake costs more than that.
    assert!(best < 500.0, "{best:.1} us for one decision");
}

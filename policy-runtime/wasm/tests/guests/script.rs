//! The guest of `examples/05-wasm-javascript`, as it is committed: an interpreter in a component.

use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::{Deny, Effect};
use tollgate_core::policy::verdict::FailureKind;
use tollgate_policy_runtime::engine::Bounds;
use tollgate_policy_runtime::expr::thread_cpu;
use tollgate_policy_wasm::Wasm;

use crate::trying::{Trial, effects, facts};

const GUEST: &[u8] = include_bytes!("../../../../examples/05-wasm-javascript/policies/policies/contracts/policy.wasm");

/// All in one test: the component takes seconds to compile.
#[test]
fn a_guest_in_javascript_decides_and_is_bounded() {
    let wasm = Wasm::new(None);
    let params = json!({ "contracts": { "research": { "tiers": ["high", "standard"], "small_below": 200 } } });
    let trial = Trial { params, bounds: Bounds { ops: 200_000, ..Bounds::default() }, ..Trial::default() };
    let begun = Instant::now();
    let program = trial.compile(&wasm, GUEST).unwrap();
    println!("compiled in {:.1?}", begun.elapsed());

    let nobody = program.decide(Hook::PreRoute, &facts(json!({ "caller": { "app": "wiki" } }))).unwrap();
    let reason = "no contract for `wiki`: ask your platform team for one".to_owned();
    assert_eq!(effects(&nobody), [Effect::Deny(Deny { code: "no_contract".to_owned(), reason })]);
    let small = json!({ "caller": { "app": "research" }, "intent": { "tier": "high" }, "prompt": { "tokens": 120 } });
    let one = program.decide(Hook::PreRoute, &facts(small.clone())).unwrap();
    assert_eq!(one, program.decide(Hook::PreRoute, &facts(small.clone())).unwrap(), "operations repeat");

    let stop = program.decide(Hook::PostResponse, &facts(small.clone())).unwrap_err();
    assert_eq!(
        (stop.kind, &*stop.what),
        (FailureKind::Error, "contracts are looked at when the model is chosen: set `hook: pre-route`")
    );
    let stop = trial_with(&trial, 100).compile(&wasm, GUEST).unwrap().decide(Hook::PreRoute, &facts(small.clone()));
    assert_eq!(stop.unwrap_err().kind, FailureKind::Budget);

    let (facts, rounds) = (facts(small), 200);
    let cpu = thread_cpu();
    for _ in 0..rounds {
        program.decide(Hook::PreRoute, &facts).unwrap();
    }
    println!("{:.1?} of CPU and {} operations for one decision", (thread_cpu() - cpu) / rounds, one.ops);
    assert!((thread_cpu() - cpu) / rounds < Duration::from_millis(10));
}

fn trial_with(trial: &Trial, ops: u64) -> Trial {
    Trial { bounds: Bounds { ops, ..trial.bounds }, ..trial.clone() }
}

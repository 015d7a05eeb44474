//! Guests that would take all there is: each ends as a stop, within 20 ms of the thread's CPU time and 16 MiB.
//!
//! A binary of its own with one test: what the process holds at most can be told of one bomb at a time only.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says by itself where")]

mod list;
#[path = "../trying/mod.rs"]
mod trying;

use std::fs;
use std::time::Duration;

use serde_json::json;
use tollgate_core::policy::Hook;
use tollgate_core::policy::verdict::FailureKind;
use tollgate_policy_runtime::engine::{Bounds, Stop};
use tollgate_policy_runtime::expr::thread_cpu;
use tollgate_policy_wasm::Wasm;

use list::{BOMBS, Bomb};
use trying::{Trial, component, facts};

/// Three times the net: a slow machine with others on it counts more. Figures are told.
const CPU_MAX: Duration = Duration::from_millis(60);
/// The guest's 16 MiB, and what pages and allocators round up to.
const HELD_KIB_MAX: u64 = (16 + 4) * 1024;

/// Text of about a megabyte, so that looking at it costs something.
fn words() -> String {
    "the quick brown fox jumps over the lazy dog ".repeat(23_000)
}

#[test]
fn every_bomb_ends_in_time_and_in_its_memory() {
    let facts = facts(json!({
        "call": { "user_agent": "x".repeat(256) },
        "prompt": { "roles": vec!["user"; 1_000] },
        "text": [{ "role": "user", "text": words() }],
    }));
    let wasm = Wasm::new(None);
    let mut wrong = Vec::new();
    for bomb in BOMBS {
        let bounds = Bounds { ops: bomb.ops, bytes: bomb.bytes, ..Bounds::default() };
        let bytes = component(&list::module(bomb));
        let program = match (Trial { bounds, ..Trial::default() }).compile(&wasm, &bytes) {
            Ok(program) => program,
            Err(why) => {
                wrong.push(format!("{}: it was refused at load: {why:?}", bomb.name));
                continue;
            }
        };
        // Pages of the pool and of the program are touched once; the second run tells what a bomb itself takes.
        let _ = program.decide(Hook::PreRoute, &facts);
        let held = forget_the_most();
        let begun = thread_cpu();
        let ended = program.decide(Hook::PreRoute, &facts);
        let cpu = thread_cpu() - begun;
        let held = status_kib("VmHWM").saturating_sub(held);
        println!("{:<28} {:>8.2?} {held:>6} KiB {}", bomb.name, cpu, told(&ended.as_ref().map(|_| ())));
        wrong.extend(look(bomb, ended.map(|_| ()), cpu, held));
    }
    assert!(BOMBS.len() >= 20, "{} bombs", BOMBS.len());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn told(ended: &Result<(), &Stop>) -> String {
    match ended {
        Ok(()) => "an answer".to_owned(),
        Err(stop) => format!("{:?}: {} ({} operations)", stop.kind, stop.what, stop.ops),
    }
}

fn look(bomb: &Bomb, ended: Result<(), Stop>, cpu: Duration, held_kib: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    // With all that a manifest can give it is the machine's speed that says which of the two bounds comes first.
    let either = |kind: FailureKind| bomb.ops > 20_000 && matches!(kind, FailureKind::Budget | FailureKind::CpuTime);
    match ended {
        Err(stop) if either(stop.kind) && either(bomb.kind) => {}
        // On a slow machine the net comes first.
        Err(stop) if stop.kind == FailureKind::CpuTime && bomb.kind == FailureKind::Budget => {}
        Err(stop) if stop.kind == bomb.kind && stop.what.contains(bomb.what) => {
            // A bound that replays must replay: its operations are those of any other machine.
            if stop.kind == FailureKind::Budget && stop.ops > bomb.ops.saturating_mul(2) {
                wrong.push(format!("{}: {} operations of {}", bomb.name, stop.ops, bomb.ops));
            }
        }
        other => wrong.push(format!(
            "{}: {} instead of {:?}: {}",
            bomb.name,
            told(&other.as_ref().map(|_| ())),
            bomb.kind,
            bomb.what
        )),
    }
    if cpu > CPU_MAX {
        wrong.push(format!("{}: {cpu:.2?} of CPU", bomb.name));
    }
    if held_kib > HELD_KIB_MAX {
        wrong.push(format!("{}: {held_kib} KiB held", bomb.name));
    }
    wrong
}

/// Begins anew to note the most memory that the process held; gives what it holds now.
fn forget_the_most() -> u64 {
    fs::write("/proc/self/clear_refs", "5").expect("a process may forget its own peak");
    status_kib("VmRSS")
}

fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

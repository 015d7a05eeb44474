//! Whole calls through the real pipeline, ledger, journal and trail, in worlds that are made of a seed.
//!
//! A world has one thread, a clock of its own and a few lives of one gateway. Calls come, are streamed, break, stall and are
//! left by their callers; the provider says wrong things about what was used; the wall clock is set forth and back, near
//! changes to summer time and ends of months in three zones; the journal's disk fails; the process is killed, or the
//! machine loses its power, also while it starts. The next life begins with what the real recovery makes of that.
//!
//! Real are `pipeline::run`, the ledger with its checkpoints, intents, the journal, the trail and `take_over`. Only who
//! calls the work of their threads is another: a world does it in turns (`Syncer::turn_now`, `Writer::turn_now`). The
//! trail's files and the state file are real files: the trail loses what it did not sync, and does not fail; the state
//! file is taken at its word. Not here: HTTP, policies, the shelf on disk, ledgers that several gateways share.
//!
//! `truth` keeps what really happened, and from it what may stand in the books. A seed makes the same world every time:
//! `TOLLGATE_SEED=7 cargo test -p tollgate-store --lib simulation` tells all of it.

mod executor;
mod life;
mod provider;
mod scene;
mod truth;
mod witness;
mod world;

pub(crate) use executor::{Chance, time};
use world::{Control, run};

const SEEDS: u64 = 50;
const SEEDS_LONG: u64 = 1_000;
/// Of a world that went wrong, the last of what happened.
const TOLD_LINES: usize = 60;

fn told(seed: u64, trace: &[String], lines: usize) -> String {
    let last = trace[trace.len().saturating_sub(lines)..].join("\n");
    format!("{last}\nseed {seed} went wrong: TOLLGATE_SEED={seed} cargo test -p tollgate-store --lib simulation")
}

#[test]
fn every_world_keeps_its_books() {
    if let Ok(seed) = std::env::var("TOLLGATE_SEED") {
        let seed = seed.parse().expect("`TOLLGATE_SEED` is a number");
        let went = run(seed, Control::None);
        println!("{}\ndigest {}", went.trace.join("\n"), went.digest);
        assert!(went.wrong.is_ok(), "{}", told(seed, &went.trace, 1));
        return;
    }
    let mut granted = 0;
    for seed in 0..if crate::is_long() { SEEDS_LONG } else { SEEDS } {
        let went = run(seed, Control::None);
        assert!(went.wrong.is_ok(), "{}", told(seed, &went.trace, TOLD_LINES));
        granted += went.granted;
    }
    assert!(granted > 500, "worlds in which nothing happens show nothing: {granted} calls were let in");
}

#[test]
fn a_seed_is_the_same_world_every_time() {
    for seed in [1, 2, 3] {
        let (one, two) = (run(seed, Control::None), run(seed, Control::None));
        let differs = one.trace.iter().zip(&two.trace).position(|(one, two)| one != two);
        let at = differs.map(|at| (&one.trace[at], &two.trace[at]));
        assert_eq!(one.digest, two.digest, "seed {seed}: {at:?}");
    }
}

/// Without these the worlds above might see nothing at all.
#[test]
fn worlds_in_which_something_is_not_as_it_must_be_are_noticed() {
    for control in [Control::LyingDisk, Control::CheckThenAdd] {
        let wrong = (0..20).filter(|seed| run(*seed, control).wrong.is_err()).count();
        assert!(wrong > 0, "{control:?} went by unseen");
    }
}

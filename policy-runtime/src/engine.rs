//! One contract for all languages: facts in, effects out, within limits.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::{At, Said};
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::revision::{Known, Reason};
use tollgate_core::policy::schema::GroupSet;
use tollgate_core::policy::tree::Tree;
use tollgate_core::policy::verdict::FailureKind;

use crate::coverage::Covered;
use crate::diagnostic::Diagnostic;
use crate::targets::Named;

/// One compiled policy. Shared by all calls; keeps nothing between them.
pub trait Program: Send + Sync {
    /// Asks once. Only hooks that the program was compiled for are asked.
    fn decide(&self, hook: Hook, facts: &Arc<Facts>) -> Result<Answer, Stop>;

    /// Is all that it looks at told to `memo`? Then its answers may be remembered.
    fn is_watched(&self) -> bool {
        false
    }

    /// For authors: which parts of the program these facts reach. Nothing is noted where that cannot be told.
    fn cover(&self, _hook: Hook, _facts: &Arc<Facts>, _covered: &mut Covered) {}

    /// What is odd about the program, though it runs: told where it is loaded.
    fn warnings(&self) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// The effects of one voice that it may say, as far as its text tells: `pin`, `split`, `set temperature`.
    fn writes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Targets, tiers and families that stand in its text.
    fn names(&self) -> Vec<Named> {
        Vec::new()
    }

    /// For authors: which rules apply, and why others do not.
    fn why(&self, _known: &Known<'_>) -> Vec<Reason> {
        Vec::new()
    }
}

/// What a program said, and the operations it took (they replay).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    pub effects: Vec<Said>,
    pub ops: u64,
}

/// Why a program came to no answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Stop {
    pub kind: FailureKind,
    pub what: String,
    pub at: At,
    pub ops: u64,
}

/// Bounds of one decision. Operations and bytes replay; CPU time of the thread is a net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub ops: u64,
    /// Bytes that host functions may touch, and strings may grow to in sum.
    pub bytes: u64,
    pub cpu_ms: u64,
    pub memory: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { ops: 20_000, bytes: 1 << 20, cpu_ms: 20, memory: 16 << 20 }
    }
}

impl Bounds {
    /// After how much of its time a program is broken off, where that is noticed up to `late` after it: the bound is what it
    /// may cost in all. At least half is left.
    pub fn cpu_within(&self, late: Duration) -> Duration {
        let cpu = Duration::from_millis(self.cpu_ms);
        cpu.saturating_sub(late.min(cpu / 2))
    }
}

/// A compiler of a language whose engine is a package of its own (Wasm): whoever makes the loader hands it in.
pub trait Foreign: Send + Sync {
    fn compile(&self, unit: &Unit<'_>) -> Result<Arc<dyn Program>, Vec<Diagnostic>>;
}

/// What an engine is given to compile one policy.
pub struct Unit<'a> {
    /// The policy's name in the manifest.
    pub name: &'a str,
    /// The tree that holds its files: the repository's own, or the built-in one.
    pub tree: &'a Tree,
    /// The file that holds the program: `policies/tiers/policy.rhai`.
    pub file: &'a str,
    /// The same, as effects tell it: `std/tier-routing/policy.rhai` for built-in policies.
    pub shown: &'a str,
    pub hooks: &'a [Hook],
    /// `with` of the manifest over the defaults of the schema.
    pub params: Arc<Value>,
    /// Names of the rules of `limits.yaml`: budgets, and rates.
    pub budgets: &'a [&'a str],
    pub rates: &'a [&'a str],
    /// The groups listed in `reads`; `None` = not listed, so all but `text`.
    pub reads: Option<GroupSet>,
    pub bounds: Bounds,
}

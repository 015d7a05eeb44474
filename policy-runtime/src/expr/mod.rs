//! CEL: selectors (`when`) and rule tables, checked at load and evaluated over the facts themselves.
//!
//! The interpreter's types stay inside this folder. What an expression names is bound at load to numbered slots (`bind`),
//! so that evaluating it looks nothing up by name and copies no facts.

mod bind;
mod check;
mod claims;
mod clock;
mod guard;
mod loops;
mod paths;
mod rules;
mod slots;
mod why;

pub use claims::Claims;
pub use clock::thread_cpu;
pub use rules::compile_rules;

use std::sync::Arc;

use serde_json::Value as Json;
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::At;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::revision::{Known, Reason};
use tollgate_core::policy::schema::GroupSet;
use tollgate_core::policy::verdict::FailureKind;

use crate::diagnostic::Diagnostic;
use crate::engine::{Bounds, Stop};
use slots::{Compiled, Spent};

/// What an expression may name.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    pub hooks: &'a [Hook],
    pub params: &'a Json,
    pub budgets: &'a [&'a str],
    pub rates: &'a [&'a str],
    pub bounds: Bounds,
}

/// The place of an expression's first character.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// The file as people are told it.
    pub shown: &'a str,
    pub line: u32,
    pub column: u32,
}

/// A compiled expression that is true or false.
pub struct Selector {
    compiled: Compiled,
    at: At,
    reads: GroupSet,
    bounds: Bounds,
}

impl Selector {
    pub fn matches(&self, facts: &Arc<Facts>) -> Result<bool, Stop> {
        let mut spent = Spent::default();
        self.compiled.is_true(facts, &self.bounds, &mut spent).map_err(|fault| fault.stop(&self.at, spent.ops))
    }

    /// Whether it is true, and what keeps it from it.
    pub fn why(&self, known: &Known<'_>) -> Reason {
        let (applied, parts) = self.compiled.why(known);
        Reason { at: self.at.clone(), applied, parts }
    }

    /// The groups that the expression names.
    pub fn reads(&self) -> GroupSet {
        self.reads
    }
}

/// Compiles a selector: guarded, parsed, bound and type-checked. It must be true or false.
pub fn compile_when(text: &str, origin: Origin<'_>, names: Names<'_>) -> Result<Selector, Vec<Diagnostic>> {
    let expression = guard::parse(text, origin)?;
    let (compiled, reads) = bind::bind(expression, text, origin, names)?;
    let at = At { file: origin.shown.into(), line: origin.line, column: origin.column };
    Ok(Selector { compiled, at, reads, bounds: names.bounds })
}

/// Why an evaluation came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub kind: FailureKind,
    pub what: String,
}

impl Fault {
    pub fn stop(self, at: &At, ops: u64) -> Stop {
        Stop { kind: self.kind, what: self.what, at: at.clone(), ops }
    }
}

#[cfg(test)]
mod bombs;
#[cfg(test)]
mod spec;
#[cfg(test)]
mod tests;

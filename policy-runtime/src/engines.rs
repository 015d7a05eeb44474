//! Which engine compiles which file.

use std::sync::Arc;

use tollgate_core::policy::verdict::Engine;

use crate::diagnostic::Diagnostic;
use crate::engine::{Foreign, Program, Unit};
use crate::expr::{self, Names, Origin};
use crate::manifest::When;
use crate::script;

pub use crate::expr::Selector;

/// The files that hold programs, and their engines.
pub const PROGRAMS: [(&str, Engine); 3] =
    [("policy.rhai", Engine::Rhai), ("rules.yaml", Engine::Cel), ("policy.wasm", Engine::Wasm)];

pub fn compile(
    engine: Engine,
    unit: &Unit<'_>,
    wasm: Option<&dyn Foreign>,
) -> Result<Arc<dyn Program>, Vec<Diagnostic>> {
    match engine {
        Engine::Cel => expr::compile_rules(unit).map(Arc::from),
        Engine::Rhai => script::compile_script(unit).map(Arc::from),
        Engine::Wasm => match wasm {
            Some(wasm) => wasm.compile(unit),
            None => {
                let help = "write it as `policy.rhai` or `rules.yaml`";
                Err(vec![Diagnostic::error("TG0701", unit.shown, "this program runs no Wasm").help(help)])
            }
        },
    }
}

/// Compiles the `when` of a manifest entry.
pub fn selector(file: &str, when: &When, names: Names<'_>) -> Result<Selector, Vec<Diagnostic>> {
    let origin = Origin { shown: file, line: when.at.line, column: when.at.column };
    expr::compile_when(&when.text, origin, names)
}

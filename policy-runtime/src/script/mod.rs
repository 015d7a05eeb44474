//! Rhai: policies that compute their effects, run over handles of the facts, within bounds that replay.
//!
//! One engine serves all policies of the process. What differs per call (facts, parameters, bounds) travels in the call's
//! tag; nothing is kept between calls. `lint` refuses at load what would otherwise fail at night.

mod alive;
mod cover;
mod functions;
mod handles;
mod host;
mod lint;
mod machine;
mod meter;
mod modules;
mod says;

use std::sync::Arc;

use rhai::{EvalAltResult, Position};
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::At;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::verdict::FailureKind;

use crate::coverage::Covered;
use crate::diagnostic::Diagnostic;
use crate::engine::{Answer, Bounds, Program, Stop, Unit};
use crate::targets::Named;
use handles::FactsHandle;
pub use handles::word;
use host::{Asked, Host};
use machine::Machine;
use says::Decision;

/// A compiled script with what its calls need.
struct Script {
    machine: Machine,
    shown: Arc<str>,
    /// What a call is asked with, by hook.
    asked: Vec<Arc<Asked>>,
    bounds: Bounds,
    /// Its text, for coverage.
    text: Arc<[u8]>,
    params: Arc<rhai::Map>,
    /// The effects of one voice that it calls for by name.
    writes: Vec<String>,
    names: Vec<Named>,
}

/// Compiles and lints; everything that is wrong is told at once.
pub fn compile_script(unit: &Unit<'_>) -> Result<Box<dyn Program>, Vec<Diagnostic>> {
    let bytes = unit.tree.read(unit.file).unwrap_or_default();
    let text = std::str::from_utf8(bytes)
        .map_err(|_| vec![Diagnostic::error("TG0601", unit.shown, "the script is not UTF-8").at(0, 1)])?;
    if bytes.len() > host::SCRIPT_BYTES_MAX {
        let told = format!("it has {}", host::too_long(bytes.len()));
        return Err(vec![Diagnostic::error("TG0601", unit.shown, told).at(0, 1)]);
    }
    compile_on(Host::of(text), text, unit)
}

fn compile_on(mut host: Host, text: &str, unit: &Unit<'_>) -> Result<Box<dyn Program>, Vec<Diagnostic>> {
    let ast = host.compile(text, unit)?;
    lint::lint(&host, &ast, unit)?;
    let (writes, names) = (says::writes(&ast), says::names(&ast, unit.shown));
    let params =
        rhai::serde::to_dynamic(&*unit.params).ok().and_then(|value| value.try_cast::<rhai::Map>()).unwrap_or_default();
    let (shown, params): (Arc<str>, _) = (unit.shown.into(), Arc::new(params));
    let text = unit.tree.files.get(unit.file).cloned().unwrap_or_default();
    let asked = |hook: &Hook| Arc::new(Asked { shown: shown.clone(), params: params.clone(), hook: *hook });
    let asked = unit.hooks.iter().map(asked).collect();
    Ok(Box::new(Script {
        machine: Machine::of(ast, host),
        asked,
        shown,
        bounds: unit.bounds,
        text,
        params,
        writes,
        names,
    }))
}

impl Program for Script {
    fn writes(&self) -> Vec<String> {
        self.writes.clone()
    }

    fn names(&self) -> Vec<Named> {
        self.names.clone()
    }

    fn is_watched(&self) -> bool {
        true
    }

    fn cover(&self, hook: Hook, facts: &Arc<Facts>, covered: &mut Covered) {
        self.run_covered(hook, facts, covered);
    }

    fn decide(&self, hook: Hook, facts: &Arc<Facts>) -> Result<Answer, Stop> {
        let Some(asked) = self.asked.iter().find(|asked| asked.hook == hook) else {
            return Ok(Answer::default());
        };
        let metered = meter::begin(&self.bounds);
        let called = self.machine.call(hook.function(), asked.clone(), FactsHandle(facts.clone()));
        let spent = metered.end();
        match called {
            Ok(value) if value.is_unit() => Ok(Answer { effects: Vec::new(), ops: spent.ops }),
            Ok(value) => match value.try_cast::<Decision>() {
                Some(decision) => Ok(Answer { effects: decision.into_effects(), ops: spent.ops }),
                None => Err(self.stop(
                    FailureKind::Error,
                    format!(
                        "`{}` must return a decision (`deny(..)`, `prefer(..) + tag(..)`, `none()`)",
                        hook.function()
                    ),
                    Position::NONE,
                    &spent,
                )),
            },
            Err(error) => {
                let inner = innermost(&error);
                let kind = match (&spent.broken, inner) {
                    (Some(kind), _) => *kind,
                    (
                        None,
                        EvalAltResult::ErrorTooManyOperations(_)
                        | EvalAltResult::ErrorStackOverflow(_)
                        | EvalAltResult::ErrorDataTooLarge(..),
                    ) => FailureKind::Budget,
                    (None, _) => FailureKind::Error,
                };
                let what = match kind {
                    FailureKind::CpuTime => format!("more than {} ms of CPU time", self.bounds.cpu_ms),
                    FailureKind::Budget if spent.broken.is_some() => match spent.ops > self.bounds.ops {
                        true => format!("more than {} operations", self.bounds.ops),
                        false => format!("more than {} bytes read or said", self.bounds.bytes),
                    },
                    FailureKind::Budget | FailureKind::Error | FailureKind::Quarantine => message(inner),
                };
                Err(self.stop(kind, what, inner.position(), &spent))
            }
        }
    }
}

impl Script {
    fn run_covered(&self, hook: Hook, facts: &Arc<Facts>, covered: &mut Covered) {
        let asked = Arc::new(Asked { shown: self.shown.clone(), params: self.params.clone(), hook });
        let text = std::str::from_utf8(&self.text).unwrap_or_default();
        let bounds = Bounds { ops: self.bounds.ops.saturating_mul(2), ..self.bounds };
        cover::run(text, self.machine.modules(), asked, &bounds, FactsHandle(facts.clone()), covered);
    }

    /// Errors of bounds have no place of their own: the last call's is the best known.
    fn stop(&self, kind: FailureKind, what: String, at: Position, spent: &meter::Spent) -> Stop {
        let (line, column) = match at.line() {
            Some(line) => (line as u32, at.position().unwrap_or(1) as u32),
            None => spent.last,
        };
        Stop { kind, what, at: At { file: self.shown.clone(), line, column }, ops: spent.ops }
    }
}

fn finding(code: &'static str, shown: &str, message: String, at: Position) -> Diagnostic {
    let (line, column) = (at.line().unwrap_or(0) as u32, at.position().unwrap_or(1) as u32);
    Diagnostic::error(code, shown, message).at(line, column)
}

/// The error that a chain of calls passed on.
fn innermost(error: &EvalAltResult) -> &EvalAltResult {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) | EvalAltResult::ErrorInModule(_, inner, _) => {
            innermost(inner)
        }
        other => other,
    }
}

/// Without its place, which is told beside it.
fn message(error: &EvalAltResult) -> String {
    let text = match error {
        EvalAltResult::ErrorRuntime(value, _) => value.to_string(),
        EvalAltResult::ErrorParsing(parse, _) => parse.to_string(),
        other => other.to_string(),
    };
    match text.rsplit_once(" (line ") {
        Some((before, place)) if place.contains("position") => before.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod bombs;
#[cfg(test)]
mod imports;
#[cfg(test)]
pub mod tests;

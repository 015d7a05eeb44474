//! Which engine compiles which file.

use std::sync::Arc;

use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::{At, Said};
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::schema::GroupSet;
use tollgate_core::policy::verdict::Engine;

use crate::diagnostic::Diagnostic;
use crate::engine::{Answer, Program, Stop, Unit};
use crate::manifest::{Entry, When};

/// The files that hold programs, and their engines.
pub const PROGRAMS: [(&str, Engine); 3] =
    [("policy.rhai", Engine::Rhai), ("rules.yaml", Engine::Cel), ("policy.wasm", Engine::Wasm)];

struct Seam(Vec<Said>);
impl Program for Seam {
    fn decide(&self, _hook: Hook, _facts: &Arc<Facts>) -> Result<Answer, Stop> {
        Ok(Answer { effects: self.0.clone(), ops: 1 })
    }
}

pub fn compile(_engine: Engine, unit: &Unit<'_>) -> Result<Arc<dyn Program>, Vec<Diagnostic>> {
    let bytes = unit.tree.read(unit.file).unwrap_or_default();
    let node = crate::yaml::parse(bytes).map_err(|e| vec![Diagnostic::error("TG0501", unit.shown, e.message)])?.json();
    let mut all = Vec::new();
    for rule in node["rules"].as_array().cloned().unwrap_or_default() {
        for (k, v) in rule.as_object().cloned().unwrap_or_default() {
            if k == "when" {
                continue;
            }
            let effects = tollgate_core::policy::parse::effects(&k, &v)
                .map_err(|e| vec![Diagnostic::error("TG0501", unit.shown, e).at(1, 1)])?;
            all.extend(effects.into_iter().map(|effect| Said { effect, at: At::default() }));
        }
    }
    Ok(Arc::new(Seam(all)))
}

pub struct Selector(String);

impl Selector {
    pub fn matches(&self, _facts: &Arc<Facts>) -> Result<bool, Stop> {
        Ok(self.0 != "false")
    }
    pub fn reads(&self) -> GroupSet {
        GroupSet::default()
    }
}

pub fn selector(when: &When, _entry: &Entry) -> Result<Selector, Vec<Diagnostic>> {
    Ok(Selector(when.text.clone()))
}

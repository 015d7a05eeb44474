//! For tests of the engines: a unit out of one text.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::Effect;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::schema::{Group, GroupSet};
use tollgate_core::policy::tree::{RevisionId, Tree};

use crate::diagnostic::Diagnostic;
use crate::engine::{Answer, Bounds, Program, Stop, Unit};

/// Compiles one file of a policy at pre-route, with the budgets `month`, the rate `rpm` and every group listed.
pub fn compile(file: &str, text: &str, params: Value) -> Result<Box<dyn Program>, Vec<Diagnostic>> {
    compile_with(file, &[(file, text)], params, Hook::PreRoute)
}

pub fn compile_with(
    file: &str,
    files: &[(&str, &str)],
    params: Value,
    hook: Hook,
) -> Result<Box<dyn Program>, Vec<Diagnostic>> {
    compile_files(file, files, params, hook, |unit| match unit.file.ends_with(".rhai") {
        true => crate::script::compile_script(unit),
        false => crate::expr::compile_rules(unit),
    })
}

/// The same by another compiler.
pub fn compile_by(
    file: &str,
    text: &str,
    params: Value,
    compile: impl Fn(&Unit<'_>) -> Result<Box<dyn Program>, Vec<Diagnostic>>,
) -> Result<Box<dyn Program>, Vec<Diagnostic>> {
    compile_files(file, &[(file, text)], params, Hook::PreRoute, compile)
}

fn compile_files(
    file: &str,
    files: &[(&str, &str)],
    params: Value,
    hook: Hook,
    compile: impl Fn(&Unit<'_>) -> Result<Box<dyn Program>, Vec<Diagnostic>>,
) -> Result<Box<dyn Program>, Vec<Diagnostic>> {
    let files: BTreeMap<String, Arc<[u8]>> =
        files.iter().map(|(name, text)| (format!("policies/p/{name}"), text.as_bytes().into())).collect();
    let tree = Tree { signers: Vec::new(), id: RevisionId::new("t"), files };
    let mut reads = GroupSet::default();
    Group::ALL.into_iter().for_each(|g| reads.insert(g));
    let path = format!("policies/p/{file}");
    let unit = Unit {
        name: "p",
        tree: &tree,
        file: &path,
        shown: &path,
        hooks: &[hook],
        params: Arc::new(params),
        budgets: &["month"],
        rates: &["rpm"],
        reads: Some(reads),
        bounds: Bounds::default(),
    };
    compile(&unit)
}

pub fn facts() -> Arc<Facts> {
    let value = json!({
        "caller": { "tenant": "acme", "user": "ann", "groups": ["dev", "ops"] },
        "meta": { "use_case": "support" },
        "intent": { "tier": "high", "asked": "@high" },
        "prompt": { "tokens": 120, "messages": 2, "roles": ["system", "user"] },
        "budget": { "month": { "limit": 100, "used": 90, "ratio": 0.9 } },
        "text": [{ "role": "user", "text": "my secret plan" }],
        "call": { "stream": true },
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

pub fn decide(program: &dyn Program) -> Result<Answer, Stop> {
    program.decide(Hook::PreRoute, &facts())
}

/// The effects without their lines.
pub fn effects(answer: &Answer) -> Vec<Effect> {
    answer.effects.iter().map(|said| said.effect.clone()).collect()
}

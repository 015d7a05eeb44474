//! A compiled policy out of the bytes of one component.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::Effect;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::schema::{Group, GroupSet};
use tollgate_core::policy::tree::{RevisionId, Tree};
use tollgate_policy_runtime::diagnostic::Diagnostic;
use tollgate_policy_runtime::engine::{Answer, Bounds, Foreign, Program, Unit};
use tollgate_policy_wasm::Wasm;

pub const FILE: &str = "policies/p/policy.wasm";

/// How a component is tried. Without more: at pre-route, with every group listed.
#[derive(Clone)]
pub struct Trial {
    pub params: Value,
    pub reads: Option<GroupSet>,
    pub bounds: Bounds,
}

impl Default for Trial {
    fn default() -> Self {
        let mut all = GroupSet::default();
        Group::ALL.into_iter().for_each(|group| all.insert(group));
        Trial { params: Value::Object(Default::default()), reads: Some(all), bounds: Bounds::default() }
    }
}

impl Trial {
    pub fn compile(&self, wasm: &Wasm, bytes: &[u8]) -> Result<Arc<dyn Program>, Vec<Diagnostic>> {
        let files = BTreeMap::from([(FILE.to_owned(), Arc::from(bytes))]);
        wasm.compile(&Unit {
            name: "p",
            tree: &Tree { signers: Vec::new(), id: RevisionId::new("t"), files },
            file: FILE,
            shown: FILE,
            hooks: &[Hook::PreRoute],
            params: Arc::new(self.params.clone()),
            budgets: &["month"],
            rates: &["rpm"],
            reads: self.reads,
            bounds: self.bounds,
        })
    }
}

pub fn facts(value: Value) -> Arc<Facts> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// The effects without their places.
#[allow(dead_code, reason = "shared by two binaries; one looks at stops alone")]
pub fn effects(answer: &Answer) -> Vec<Effect> {
    answer.effects.iter().map(|said| said.effect.clone()).collect()
}

#[allow(dead_code, reason = "shared by two binaries; one has built components alone")]
/// A component of the world out of the text of one core module.
pub fn component(wat: &str) -> Vec<u8> {
    let mut module = wat::parse_str(wat).unwrap_or_else(|why| panic!("{why}\n{wat}"));
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("policy.wit", tollgate_policy_wasm::wit::WORLD).unwrap();
    let world = resolve.select_world(&[package], Some("policy")).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    let mut encoder = wit_component::ComponentEncoder::default().validate(true).module(&module).unwrap();
    encoder.encode().unwrap_or_else(|why| panic!("{why:#}\n{wat}"))
}

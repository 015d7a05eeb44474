//! The folder of one policy: its program, the schema of its parameters, its cases. Found once, used by many entries.

use std::sync::Arc;

use serde_json::Value;
use tollgate_core::contract::nearest;
use tollgate_core::policy::Hook;
use tollgate_core::policy::schema::GroupSet;
use tollgate_core::policy::tree::Tree;
use tollgate_core::policy::verdict::Engine;

use crate::diagnostic::Diagnostic;
use crate::engine::{Bounds, Foreign, Program, Unit};
use crate::engines;
use crate::manifest::Program as Where;
use crate::params::{self, Schema};

/// The cases' file in a policy's folder.
pub const CASES: &str = "cases.yaml";

/// A policy's folder.
pub struct Home<'t> {
    pub tree: &'t Tree,
    /// In its tree: `policies/tiers`.
    pub folder: String,
    /// In messages: `policies/tiers`, or `std/tiers`.
    pub shown: String,
    pub engine: Engine,
    /// The program's file name.
    pub program: &'static str,
    pub schema: Option<Schema>,
    pub is_std: bool,
    /// Who compiles a `policy.wasm`.
    wasm: Option<Arc<dyn Foreign>>,
}

/// What differs between two compilations of the same program.
pub struct Want<'a> {
    pub name: &'a str,
    pub hooks: &'a [Hook],
    pub params: Arc<Value>,
    pub budgets: &'a [&'a str],
    pub rates: &'a [&'a str],
    pub reads: Option<GroupSet>,
    pub bounds: Bounds,
}

impl<'t> Home<'t> {
    /// The folder, or the reason why it holds no policy: message and help, for the line that names it.
    pub fn find(
        place: &Where,
        tree: &'t Tree,
        builtin: &'t Tree,
        wasm: Option<Arc<dyn Foreign>>,
        findings: &mut Vec<Diagnostic>,
    ) -> Result<Home<'t>, (String, String)> {
        let (tree, folder, shown, is_std) = match place {
            Where::Std(name) => (builtin, format!("policies/{name}"), format!("std/{name}"), true),
            Where::Path(path) => (tree, path.clone(), path.clone(), false),
        };
        let has = |name: &str| tree.files.contains_key(&format!("{folder}/{name}"));
        if tree.below(&folder).next().is_none() {
            return Err(nothing_there(place, tree));
        }
        let (program, engine) = match engines::PROGRAMS.iter().filter(|(name, _)| has(name)).collect::<Vec<_>>()[..] {
            [(name, engine)] => (*name, *engine),
            [] => {
                let help = "a policy is a folder with `policy.rhai`, `rules.yaml` or `policy.wasm`";
                return Err((format!("`{shown}` holds no program"), help.to_owned()));
            }
            _ => {
                let help = "a policy has one program: take the others out";
                return Err((format!("`{shown}` holds more than one program"), help.to_owned()));
            }
        };
        let file = format!("{shown}/{}", params::FILE);
        let schema = match tree.read(&format!("{folder}/{}", params::FILE)).map(|bytes| Schema::parse(&file, bytes)) {
            None => None,
            Some(Ok((schema, warnings))) => {
                findings.extend(warnings);
                Some(schema)
            }
            Some(Err(faults)) => {
                findings.extend(faults);
                None
            }
        };
        Ok(Home { tree, folder, shown, engine, program, schema, is_std, wasm })
    }

    /// As messages and effects tell it.
    pub fn program_shown(&self) -> String {
        format!("{}/{}", self.shown, self.program)
    }

    pub fn cases(&self) -> Option<&'t [u8]> {
        self.tree.read(&format!("{}/{CASES}", self.folder))
    }

    pub fn compile(&self, want: &Want<'_>) -> Result<Arc<dyn Program>, Vec<Diagnostic>> {
        engines::compile(
            self.engine,
            &Unit {
                name: want.name,
                tree: self.tree,
                file: &format!("{}/{}", self.folder, self.program),
                shown: &self.program_shown(),
                hooks: want.hooks,
                params: want.params.clone(),
                budgets: want.budgets,
                rates: want.rates,
                reads: want.reads,
                bounds: want.bounds,
            },
            self.wasm.as_deref(),
        )
    }
}

fn nothing_there(place: &Where, tree: &Tree) -> (String, String) {
    let folders = folders(tree, "");
    match place {
        Where::Std(name) => {
            let hint = nearest::hint(name, folders.iter().filter_map(|f| f.strip_prefix("policies/")));
            let names: Vec<&str> = folders.iter().filter_map(|f| f.strip_prefix("policies/")).collect();
            (format!("there is no built-in policy `std/{name}`{hint}"), format!("built in: {}", names.join(", ")))
        }
        Where::Path(path) => {
            let hint = nearest::hint(path, folders.iter().copied());
            (format!("there is no folder `{path}`{hint}"), "`path` begins at the root of the repository".to_owned())
        }
    }
}

/// All folders below `policies/` of this part of the tree (`orgs/acme/`; empty = the root).
pub fn folders<'t>(tree: &'t Tree, part: &str) -> Vec<&'t str> {
    let above = format!("{part}policies");
    let mut folders: Vec<&str> = tree
        .files
        .range(format!("{above}/")..)
        .map(|(path, _)| path.as_str())
        .take_while(|path| path.strip_prefix(&*above).is_some_and(|rest| rest.starts_with('/')))
        .filter_map(|path| {
            let name = path[above.len() + 1..].split_once('/')?.0;
            Some(&path[..above.len() + 1 + name.len()])
        })
        .collect();
    folders.dedup();
    folders
}

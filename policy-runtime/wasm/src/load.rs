//! From the bytes of a `policy.wasm` to a program: checked against the world, compiled once, found again by digest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tollgate_core::policy::schema::{Group, GroupSet};
use tollgate_policy_runtime::diagnostic::Diagnostic;
use tollgate_policy_runtime::engine::{Foreign, Program, Unit};
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};

use super::asked::{Asked, Terms};
use super::guest::{Gives, Guest, Ready, Takes};
use super::kept::Folder;
use super::{engine, host};

/// The engine of components, for all policies of the process.
#[derive(Default)]
pub struct Wasm {
    /// Where machine code is kept; `None` = nowhere, every process compiles anew.
    folder: Option<Folder>,
    running: OnceLock<Result<Running, String>>,
    /// By the digest of their bytes, for as long as some revision has them: a new revision compiles what has changed.
    known: Mutex<HashMap<[u8; 32], Weak<Ready>>>,
}

struct Running {
    engine: Engine,
    linker: Linker<Asked>,
}

impl Wasm {
    pub fn new(folder: Option<Folder>) -> Self {
        Wasm { folder, ..Wasm::default() }
    }

    fn running(&self) -> Result<&Running, String> {
        let start = || {
            let engine = engine::engine().map_err(|why| format!("{why:#}"))?;
            let linker = host::linker(&engine).map_err(|why| format!("{why:#}"))?;
            Ok(Running { engine, linker })
        };
        self.running.get_or_init(start).as_ref().map_err(String::clone)
    }

    fn ready(&self, bytes: &[u8], told: &Told<'_>) -> Result<Arc<Ready>, Diagnostic> {
        let digest = *blake3::hash(bytes).as_bytes();
        let known = || self.known.lock().expect("no code panics while it holds the components");
        if let Some(ready) = known().get(&digest).and_then(Weak::upgrade) {
            return Ok(ready);
        }
        looks_right(bytes, told)?;
        let running = self.running().map_err(|why| told.engine(&why))?;
        let kept = self.folder.as_ref().and_then(|folder| folder.read(&running.engine, &digest));
        let component = match kept {
            Some(component) => component,
            None => {
                let component = compiled(&running.engine, bytes).map_err(|why| told.broken(&why))?;
                imports_only_the_world(&running.engine, &component, told)?;
                if let Some(folder) = &self.folder {
                    folder.write(&running.engine, &digest, &component);
                }
                component
            }
        };
        let ready = Arc::new(fit(running, &component, told)?);
        let mut known = known();
        known.retain(|_, ready| ready.strong_count() > 0);
        known.insert(digest, Arc::downgrade(&ready));
        Ok(ready)
    }
}

impl Foreign for Wasm {
    fn compile(&self, unit: &Unit<'_>) -> Result<Arc<dyn Program>, Vec<Diagnostic>> {
        let bytes = unit.tree.read(unit.file).unwrap_or_default();
        let ready = self.ready(bytes, &Told(unit.shown)).map_err(|finding| vec![finding])?;
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let terms = Terms {
            shown: unit.shown.into(),
            params: unit.params.clone(),
            reads: unit.reads.unwrap_or_else(all_but_text),
            budgets: names(unit.budgets),
            rates: names(unit.rates),
            bounds: unit.bounds,
        };
        Ok(Arc::new(Guest { ready, terms: Arc::new(terms) }))
    }
}

fn all_but_text() -> GroupSet {
    let mut groups = GroupSet::default();
    Group::ALL.into_iter().filter(|group| *group != Group::Text).for_each(|group| groups.insert(group));
    groups
}

/// The findings about one file.
struct Told<'a>(&'a str);

impl Told<'_> {
    fn wrong_kind(&self, what: &str, help: &str) -> Diagnostic {
        Diagnostic::error("TG0702", self.0, what).help(help)
    }

    fn broken(&self, why: &str) -> Diagnostic {
        self.wrong_kind(
            &format!("the component cannot be compiled: {why}"),
            "build it anew with the tools that docs/reference/wasm.md names",
        )
    }

    fn engine(&self, why: &str) -> Diagnostic {
        Diagnostic::error("TG0705", self.0, format!("the engine of components cannot start: {why}"))
            .help("it reserves addresses, not memory: look at the process's bound on address space (`ulimit -v`)")
    }

    fn misfit(&self, what: String) -> Diagnostic {
        let help = "build it with the WIT that `tollgate policy wit` prints";
        Diagnostic::error("TG0704", self.0, format!("the component does not fit the world `tollgate:policy`: {what}"))
            .help(help)
    }
}

/// The first bytes of a component: the magic, version 13, layer 1.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Machine code is never taken from a repository, and text is for tests.
fn looks_right(bytes: &[u8], told: &Told<'_>) -> Result<(), Diagnostic> {
    if bytes.starts_with(COMPONENT) {
        return Ok(());
    }
    if Engine::detect_precompiled(bytes).is_some() || bytes.starts_with(b"\x7fELF") {
        let help = "commit the component itself (`.wasm`): the gateway compiles it and keeps what came out";
        return Err(told.wrong_kind("this is machine code; a component is never taken precompiled", help));
    }
    if bytes.starts_with(MODULE) {
        let help = "turn it into one, as `examples/04-wasm-rust/guest/build.sh` does";
        return Err(told.wrong_kind("this is a core module, not a component", help));
    }
    Err(told.wrong_kind("this is no WebAssembly component", "commit the built component, not its text or source"))
}

/// The compiler is large and a component may be anybody's: should it break off, the revision is refused and the gateway
/// goes on. It keeps nothing from one component to the next.
fn compiled(engine: &Engine, bytes: &[u8]) -> Result<Component, String> {
    let compile = || Component::from_binary(engine, bytes).map_err(|why| why.root_cause().to_string());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compile));
    caught.unwrap_or_else(|_| Err("the compiler broke off".to_owned()))
}

fn imports_only_the_world(engine: &Engine, component: &Component, told: &Told<'_>) -> Result<(), Diagnostic> {
    let kind = component.component_type();
    // The world's own names for types of its interfaces stand among the imports; they give nothing.
    let others: Vec<String> = kind
        .imports(engine)
        .filter(|(name, import)| {
            !name.starts_with("tollgate:policy/")
                && !matches!(import.ty, ComponentItem::Type(_) | ComponentItem::Resource(_))
        })
        .map(|(name, _)| name.to_owned())
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let help = match others.iter().any(|name| name.starts_with("wasi:")) {
        true => {
            "a policy has no clock, no disk and no network: build for `wasm32-unknown-unknown`, or with `--stub-wasi`"
        }
        false => "a policy imports `tollgate:policy` and nothing else",
    };
    let message = format!("the component imports what no policy is given: `{}`", others.join("`, `"));
    Err(Diagnostic::error("TG0703", told.0, message).help(help))
}

/// Links it and looks up `decide`; what does not fit is told here and never on a call.
fn fit(running: &Running, component: &Component, told: &Told<'_>) -> Result<Ready, Diagnostic> {
    let pre = running.linker.instantiate_pre(component).map_err(|why| told.misfit(format!("{why:#}")))?;
    let missing = || told.misfit("it exports no function `decide`".to_owned());
    let (item, decide) = component.get_export(None, "decide").ok_or_else(missing)?;
    let ComponentItem::ComponentFunc(function) = item else { return Err(missing()) };
    let fits = function.typecheck::<Takes, Gives>(&pre.instance_type());
    fits.map_err(|why| told.misfit(format!("`decide` has another type: {why:#}")))?;
    Ok(Ready { pre, decide })
}

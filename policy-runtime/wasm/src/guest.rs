//! One compiled component as a program: a fresh instance per call, and what became of it as an answer or a stop.

use std::sync::Arc;

use tollgate_core::contract::nearest;
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::{At, Effect, Said};
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::verdict::FailureKind;
use tollgate_policy_runtime::engine::{Answer, Bounds, Program, Stop};
use wasmtime::component::{ComponentExportIndex, InstancePre, Resource};
use wasmtime::{Error, Store, Trap, UpdateDeadline};

use super::asked::{Asked, Broken, FUEL_PER_OP, Terms};
use super::host::Handle;
use super::said::{GuestEffect, GuestHook};

/// A decision says no more than this.
const EFFECTS_MAX: usize = 256;
/// What a guest says of its own error is kept up to here.
const WHAT_BYTES_MAX: usize = 1_000;

/// What `decide` of the world takes and gives.
pub type Takes = (GuestHook, Resource<Handle>);
pub type Gives = (Result<Vec<GuestEffect>, String>,);

/// A component that fits the world, ready to be made instances of. Shared by all policies that are the same bytes.
pub struct Ready {
    pub pre: InstancePre<Asked>,
    pub decide: ComponentExportIndex,
}

/// One policy.
pub struct Guest {
    pub ready: Arc<Ready>,
    pub terms: Arc<Terms>,
}

impl Program for Guest {
    fn decide(&self, hook: Hook, facts: &Arc<Facts>) -> Result<Answer, Stop> {
        let asked = Asked::new(facts.clone(), self.terms.clone(), hook);
        let fuel = self.terms.bounds.ops.saturating_mul(FUEL_PER_OP);
        let mut store = Store::new(self.ready.pre.engine(), asked);
        let said = self.run(&mut store, hook, fuel);
        let spent = fuel.saturating_sub(store.get_fuel().unwrap_or(0));
        let ops = spent.div_ceil(FUEL_PER_OP).saturating_add(store.data().calls);
        let stop = |kind, what| Stop { kind, what, at: self.at(), ops };
        let said = said.map_err(|error| {
            let (kind, what) = self.why(&error, store.data().broken);
            stop(kind, what)
        })?;
        self.read(said, hook).map(|effects| Answer { effects, ops }).map_err(|what| stop(FailureKind::Error, what))
    }

    fn is_watched(&self) -> bool {
        true
    }
}

impl Guest {
    fn run(&self, store: &mut Store<Asked>, hook: Hook, fuel: u64) -> Result<Result<Vec<GuestEffect>, String>, Error> {
        store.limiter(|asked| asked);
        store.set_fuel(fuel)?;
        // What a guest hands over is copied: no more of it than it may hold itself.
        let handed = self.terms.bounds.bytes.min(self.terms.bounds.memory);
        store.set_hostcall_fuel(usize::try_from(handed).unwrap_or(usize::MAX));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| store.data_mut().tick().map(|()| UpdateDeadline::Continue(1)));
        let instance = self.ready.pre.instantiate(&mut *store)?;
        let decide = instance.get_typed_func::<Takes, Gives>(&mut *store, self.ready.decide)?;
        let (said,) = decide.call(&mut *store, (hook.into(), Resource::new_own(0)))?;
        Ok(said)
    }

    /// What was said, by the grammar of all languages.
    fn read(&self, said: Result<Vec<GuestEffect>, String>, hook: Hook) -> Result<Vec<Said>, String> {
        let said = said.map_err(|what| cut(&what).to_owned())?;
        if said.len() > EFFECTS_MAX {
            return Err(format!("a decision has at most {EFFECTS_MAX} effects, not {}", said.len()));
        }
        let one = |effect: GuestEffect| {
            let effect = effect.read()?;
            self.is_rule(&effect)?;
            match effect.legal_at(hook) {
                true => Ok(Said { effect, at: self.at() }),
                false => Err(format!("`{}` has no effect at {}", effect.name(), hook.name())),
            }
        };
        said.into_iter().map(one).collect()
    }

    /// What is to be reserved must be a rule: with a wrong name nothing would be held.
    fn is_rule(&self, effect: &Effect) -> Result<(), String> {
        let Effect::Reserve(rule) = effect else { return Ok(()) };
        let names = || self.terms.budgets.iter().chain(&self.terms.rates).map(String::as_str);
        match names().any(|name| name == rule) {
            true => Ok(()),
            false => Err(format!("`reserve`: `limits.yaml` has no rule `{rule}`{}", nearest::hint(rule, names()))),
        }
    }

    /// A component has no lines: its file is all that can be told.
    fn at(&self) -> At {
        At { file: self.terms.shown.clone(), line: 0, column: 0 }
    }

    fn why(&self, error: &Error, broken: Option<Broken>) -> (FailureKind, String) {
        let Bounds { ops, bytes, cpu_ms, memory } = self.terms.bounds;
        let trap = error.downcast_ref::<Trap>();
        match (broken, trap) {
            (_, Some(Trap::OutOfFuel)) | (Some(Broken::Ops), _) => {
                (FailureKind::Budget, format!("more than {ops} operations"))
            }
            (Some(Broken::Cpu), _) => (FailureKind::CpuTime, format!("more than {cpu_ms} ms of CPU time")),
            (Some(Broken::Bytes), _) => (FailureKind::Budget, format!("more than {bytes} bytes read or said")),
            (Some(Broken::Memory), _) => (FailureKind::Budget, format!("more than {memory} bytes of memory")),
            (None, Some(Trap::StackOverflow)) => (FailureKind::Budget, "calls are nested too deep".to_owned()),
            (None, Some(Trap::UnreachableCodeReached)) => {
                let what = "the guest broke off (`unreachable`): in Rust a panic, in other languages an abort";
                (FailureKind::Error, what.to_owned())
            }
            (None, _) if is_too_much(error) => {
                (FailureKind::Budget, format!("more than {} bytes said at once", bytes.min(memory)))
            }
            (None, Some(trap)) => (FailureKind::Error, trap.to_string().replace("wasm trap: ", "")),
            (None, None) => (FailureKind::Error, cut(&error.root_cause().to_string()).to_owned()),
        }
    }
}

/// The engine's own word for a guest that hands over more bytes than it may; it has no type that could be asked.
fn is_too_much(error: &Error) -> bool {
    error.root_cause().to_string().starts_with("too much data is being copied")
}

fn cut(what: &str) -> &str {
    &what[..what.floor_char_boundary(WHAT_BYTES_MAX)]
}

//! What one call's instance is given and may spend: the facts, the groups it may read, and its bounds.
//!
//! Operations and bytes replay: instructions are counted by fuel, host functions by their calls and the bytes they move.
//! CPU time of the thread is a net, looked at when the engine's clock has ticked.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tollgate_core::contract::nearest;
use tollgate_core::policy::Hook;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::schema::{Group, GroupSet};
use tollgate_policy_runtime::engine::Bounds;
use tollgate_policy_runtime::expr::thread_cpu;
use wasmtime::{ResourceLimiter, Result, bail};

/// Instructions of a guest that count as one operation. Twenty thousand operations are then a millisecond or two, as with
/// scripts.
pub const FUEL_PER_OP: u64 = 100;
/// Host functions cost more than the instructions around them, and none is broken off by the clock: they look themselves.
const LOOK_EVERY_CALLS: u64 = 1_024;
const LOOK_EVERY_BYTES: u64 = 256 << 10;
/// Buckets that one decision may ask for.
const BUCKETS_MAX: u32 = 64;
/// What an element of a table costs of the memory bound: the pointer that the host keeps for it.
const TABLE_ELEMENT_BYTES: usize = 8;
/// The thread's time is looked at a tick late, and after an instruction that fills all memory later still: the net is
/// drawn in by so much, at most by half.
const LATE_MAX: Duration = Duration::from_millis(6);

/// Which bound was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    Ops,
    Bytes,
    Memory,
    Cpu,
}

/// What a policy was compiled for: the same for all its decisions.
pub struct Terms {
    /// As effects tell it.
    pub shown: Arc<str>,
    pub params: Arc<Value>,
    pub reads: GroupSet,
    /// The names of the rules in `limits.yaml`.
    pub budgets: Vec<String>,
    pub rates: Vec<String>,
    pub bounds: Bounds,
}

/// The state of one decision.
pub struct Asked {
    pub facts: Arc<Facts>,
    pub terms: Arc<Terms>,
    hook: Hook,
    bounds: Bounds,
    /// Calls of host functions.
    pub calls: u64,
    bytes: u64,
    buckets: u32,
    /// Memories and tables so far.
    held: u64,
    pub broken: Option<Broken>,
    /// The thread's own time after which the guest is broken off.
    cpu_end: Duration,
}

impl Asked {
    pub fn new(facts: Arc<Facts>, terms: Arc<Terms>, hook: Hook) -> Self {
        let bounds = terms.bounds;
        let cpu_end = thread_cpu() + bounds.cpu_within(LATE_MAX);
        Asked { facts, terms, hook, bounds, calls: 0, bytes: 0, buckets: 0, held: 0, broken: None, cpu_end }
    }

    /// A host function is called for a fact of `group`.
    pub fn read(&mut self, group: Group) -> Result<()> {
        self.called()?;
        if !group.known_at(self.hook) {
            bail!("`{}` is not known at {}", group.name(), self.hook.name());
        }
        if !self.terms.reads.contains(group) {
            bail!("it asks for `{}`, which `reads` of the manifest does not list", group.name());
        }
        Ok(())
    }

    /// A rule of `limits.yaml` is asked for by its name. A wrong name would read as a rule without limit.
    pub fn rule(&mut self, group: Group, name: &str) -> Result<()> {
        self.read(group)?;
        self.pay(name.len())?;
        let is_rate = group == Group::Rate;
        let (what, names) = if is_rate { ("rate", &self.terms.rates) } else { ("budget", &self.terms.budgets) };
        if !names.iter().any(|known| known == name) {
            bail!("`limits.yaml` has no {what} `{name}`{}", nearest::hint(name, names.iter().map(String::as_str)));
        }
        Ok(())
    }

    /// A host function is called.
    pub fn called(&mut self) -> Result<()> {
        self.calls += 1;
        if self.calls > self.bounds.ops {
            return self.break_off(Broken::Ops);
        }
        if self.calls.is_multiple_of(LOOK_EVERY_CALLS) && self.is_late() { self.break_off(Broken::Cpu) } else { Ok(()) }
    }

    /// A bucket is asked for. Each is noted in the receipt.
    pub fn bucket(&mut self) -> Result<()> {
        self.buckets += 1;
        if self.buckets > BUCKETS_MAX {
            bail!("it asks for more than {BUCKETS_MAX} buckets");
        }
        self.called()
    }

    /// Bytes that a host function looks at, takes or gives.
    pub fn pay(&mut self, bytes: usize) -> Result<()> {
        let before = self.bytes;
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > self.bounds.bytes {
            return self.break_off(Broken::Bytes);
        }
        let look = self.bytes / LOOK_EVERY_BYTES != before / LOOK_EVERY_BYTES;
        if look && self.is_late() { self.break_off(Broken::Cpu) } else { Ok(()) }
    }

    /// The clock ticked while the guest ran: has it used up its time?
    pub fn tick(&mut self) -> Result<()> {
        if self.is_late() { self.break_off(Broken::Cpu) } else { Ok(()) }
    }

    fn is_late(&self) -> bool {
        thread_cpu() > self.cpu_end
    }

    fn break_off<T>(&mut self, broken: Broken) -> Result<T> {
        self.broken = Some(broken);
        bail!("a bound was reached")
    }

    fn hold(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current) as u64;
        let fits = self.held.saturating_add(more) <= self.bounds.memory;
        if fits {
            self.held += more;
        } else {
            // The guest is told and may go on without; if it ends badly, this was why.
            self.broken = Some(Broken::Memory);
        }
        fits
    }
}

impl ResourceLimiter for Asked {
    fn memory_growing(&mut self, current: usize, desired: usize, _most: Option<usize>) -> Result<bool> {
        Ok(self.hold(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _most: Option<usize>) -> Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT_BYTES);
        Ok(self.hold(bytes(current), bytes(desired)))
    }
}

//! Numbered slots: what an expression names, found at load, read from the facts when it is evaluated.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, IdedExpr, Value};
use std::sync::{Arc, LazyLock};
use tollgate_core::contract::glob::Glob;
use tollgate_core::policy::effect::StickyBy;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::schema::{FactValue, Field, Group, LimitField};
use tollgate_core::policy::verdict::FailureKind;

use super::{Fault, thread_cpu};
use crate::engine::Bounds;
use crate::memo;

/// One environment for all expressions: it is large, and nothing of it changes.
pub(super) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(cel::extensions::strings).expect("these names are not in the standard library");
    env.add_extension(cel::extensions::math).expect("these names are not in the standard library");
    Arc::new(env)
});

/// Texts of facts come from callers: a long one costs, as reading and joining it does.
const TEXT_BYTES_PER_OP: u64 = 64;
/// Elements of a list are joined and copied without being read again: a list with longer ones is charged for its longest.
const ELEMENT_BYTES_FREE: u64 = 128;

/// Loops look at the clock once in this many operations: a tenth of a millisecond or less.
const LOOK_EVERY_OPS: u64 = 512;
/// What is native and large, such as joining long texts, ends before the clock is looked at.
const LATE_MAX: Duration = Duration::from_millis(2);

/// One thing that an expression reads.
pub enum Slot {
    Fact(&'static Field),
    /// A field of a budget or rate; a rule that does not apply reads as nothing used, without limit.
    Limit {
        rate: bool,
        rule: String,
        field: &'static LimitField,
    },
    /// A parameter: its name and its value.
    Param(String, Box<dyn Val>),
    /// One turn of a loop: always true, at this many operations.
    Turn(u64),
    Bucket {
        name: String,
        by: StickyBy,
    },
    /// Does the fact match the regular expression?
    Regex(&'static Field, regex::Regex),
    Glob(&'static Field, Glob),
    /// Does a part of the prompt's text contain this?
    TextContains(String),
}

/// An expression with its slots.
pub struct Compiled {
    pub root: IdedExpr,
    pub slots: Vec<Slot>,
}

/// What an evaluation has spent, over all expressions of one decision.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub ops: u64,
    /// The thread's own time at which it is broken off; `None` until the clock is looked at for the first time.
    end: Option<Duration>,
}

impl Compiled {
    /// Evaluates; anything but true or false is a fault.
    pub fn is_true(&self, facts: &Facts, bounds: &Bounds, spent: &mut Spent) -> Result<bool, Fault> {
        // The clock costs as much as a small expression: only what is large, or loops, is timed.
        let timed = self.slots.len() > 32;
        if timed && spent.end.is_none() {
            spent.end = Some(thread_cpu() + bounds.cpu_within(LATE_MAX));
        }
        let reader = Reader::new(facts, &self.slots, bounds, *spent);
        let mut context = Context::with_env(ENV.clone());
        context.set_variable_resolver(&reader);
        let value = Value::resolve_val(&self.root, &context).map(|v| v.downcast_ref::<CelBool>().map(|b| *b.inner()));
        let is_late = reader.late.load(Ordering::Relaxed);
        *spent = reader.spent();
        if spent.ops > bounds.ops {
            let what = format!("more than {} operations", bounds.ops);
            return Err(Fault { kind: FailureKind::Budget, what });
        }
        if is_late || timed && spent.end.is_some_and(|end| thread_cpu() > end) {
            return Err(Fault {
                kind: FailureKind::CpuTime,
                what: format!("more than {} ms of CPU time", bounds.cpu_ms),
            });
        }
        let error = |what: String| Fault { kind: FailureKind::Error, what };
        match value {
            Ok(Some(truth)) => Ok(truth),
            Ok(None) => Err(error("the expression is neither true nor false".to_owned())),
            Err(why) => Err(error(why.to_string())),
        }
    }
}

/// The name of slot `n` in a bound expression: no author can write it.
pub fn slot_name(n: usize) -> String {
    format!("#{n}")
}

/// In cells that threads could share: the interpreter asks for that, though one thread evaluates.
pub(super) struct Reader<'f> {
    facts: &'f Facts,
    slots: &'f [Slot],
    ops: AtomicU64,
    ops_max: u64,
    cpu_max: Duration,
    /// Nanoseconds of the thread's own time; 0 = not looked yet.
    end: AtomicU64,
    late: AtomicBool,
}

impl<'f> Reader<'f> {
    pub(super) fn new(facts: &'f Facts, slots: &'f [Slot], bounds: &Bounds, spent: Spent) -> Reader<'f> {
        Reader {
            facts,
            slots,
            ops: AtomicU64::new(spent.ops),
            ops_max: bounds.ops,
            cpu_max: bounds.cpu_within(LATE_MAX),
            end: AtomicU64::new(spent.end.map_or(0, nanos)),
            late: AtomicBool::new(false),
        }
    }

    fn spent(&self) -> Spent {
        let end = self.end.load(Ordering::Relaxed);
        Spent { ops: self.ops.load(Ordering::Relaxed), end: (end > 0).then(|| Duration::from_nanos(end)) }
    }

    /// One turn of a loop. `false` = there was time for no more.
    fn turn(&self, price: u64) -> bool {
        let ops = self.ops.fetch_add(price - 1, Ordering::Relaxed);
        if (ops + price) / LOOK_EVERY_OPS == ops / LOOK_EVERY_OPS {
            return true;
        }
        let now = thread_cpu();
        match self.end.load(Ordering::Relaxed) {
            0 => self.end.store(nanos(now + self.cpu_max), Ordering::Relaxed),
            end if nanos(now) > end => self.late.store(true, Ordering::Relaxed),
            _ => {}
        }
        !self.late.load(Ordering::Relaxed)
    }

    fn charge(&self, fact: &FactValue<'_>) {
        let ops = match fact {
            FactValue::Text(text) => text.len() as u64 / TEXT_BYTES_PER_OP,
            FactValue::TextList(list) => {
                let longest = list.iter().map(|t| t.len() as u64).max().unwrap_or(0);
                if longest > ELEMENT_BYTES_FREE { longest } else { 0 }
            }
            FactValue::Int(_) | FactValue::Float(_) | FactValue::Bool(_) => 0,
        };
        if ops > 0 {
            self.ops.fetch_add(ops, Ordering::Relaxed);
        }
    }
}

impl VariableResolver for Reader<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let slot = self.slots.get(variable.strip_prefix('#')?.parse::<usize>().ok()?)?;
        let is_over = self.ops.fetch_add(1, Ordering::Relaxed) >= self.ops_max;
        if is_over || self.late.load(Ordering::Relaxed) {
            // Not there: loops go on to their end, but find nothing to loop over, and the count or the clock tells why.
            return None;
        }
        Some(match slot {
            Slot::Fact(field) => {
                let fact = memo::fact(self.facts, field);
                self.charge(&fact);
                value(fact)
            }
            Slot::Turn(price) if self.turn(*price) => truth(true),
            // As when operations are spent: the evaluation ends with an error.
            Slot::Turn(_) => return None,
            Slot::Limit { rate, rule, field } => {
                let group = if *rate { Group::Rate } else { Group::Budget };
                value((field.get)(&memo::limit(self.facts, group, rule)))
            }
            Slot::Param(_, known) => CowVal::Borrowed(&**known),
            Slot::Bucket { name, by } => {
                let bucket = memo::bucket(self.facts, name, *by);
                CowVal::owned(CelInt::from(i64::from(bucket)))
            }
            Slot::Regex(field, regex) => truth(text_of(field, self.facts).is_some_and(|t| regex.is_match(&t))),
            Slot::Glob(field, glob) => truth(text_of(field, self.facts).is_some_and(|t| glob.matches(&t))),
            Slot::TextContains(words) => {
                memo::words();
                let parts = self.facts.text();
                let bytes: usize = parts.iter().map(|p| p.text.len()).sum();
                // A long text costs: a kilobyte counts as one read more.
                self.ops.fetch_add(bytes as u64 / 1_024, Ordering::Relaxed);
                truth(parts.iter().any(|p| p.text.contains(words)))
            }
        })
    }
}

fn text_of<'f>(field: &'static Field, facts: &'f Facts) -> Option<std::borrow::Cow<'f, str>> {
    match memo::fact(facts, field) {
        FactValue::Text(text) => Some(text),
        FactValue::Int(_) | FactValue::Float(_) | FactValue::Bool(_) | FactValue::TextList(_) => None,
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn truth<'b>(yes: bool) -> CowVal<'b, 'b> {
    CowVal::owned(CelBool::from(yes))
}

fn value<'b>(fact: FactValue<'b>) -> CowVal<'b, 'b> {
    match fact {
        FactValue::Text(std::borrow::Cow::Borrowed(text)) => CowVal::owned(CelString::from(text)),
        FactValue::Text(std::borrow::Cow::Owned(text)) => CowVal::owned(CelString::from(text)),
        FactValue::Int(n) => CowVal::owned(CelInt::from(n)),
        FactValue::Float(n) => CowVal::owned(CelDouble::from(n)),
        FactValue::Bool(b) => CowVal::owned(CelBool::from(b)),
        FactValue::TextList(list) => {
            let items: Vec<Box<dyn Val + 'b>> =
                list.into_iter().map(|t| Box::new(CelString::from(t)) as Box<dyn Val + 'b>).collect();
            CowVal::owned(CelList::from(items))
        }
    }
}

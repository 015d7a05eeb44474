//! Why a condition did not hold: the parts of it that were false, in its own words, with the values of their facts.
//!
//! Of a recorded call some facts are not known. A part that reads one of them is neither true nor false: it cannot be told.

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue};
use cel::common::types::CelBool;
use cel::{Context, IdedExpr, Value};
use tollgate_core::policy::effect::{At, StickyBy};
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::revision::{Applies, Known};
use tollgate_core::policy::schema::{FactValue, Field, Group};

use super::slots::{Compiled, ENV, Reader, Slot, Spent};
use crate::coverage::Covered;
use crate::engine::Bounds;

/// Nobody's call waits for an explanation.
const AT_A_DESK: Bounds =
    Bounds { ops: u32::MAX as u64, bytes: u32::MAX as u64, cpu_ms: 1_000, memory: u32::MAX as u64 };
/// Letters of one value.
const VALUE_CHARS_MAX: usize = 80;

impl Compiled {
    /// Is it true, and if not, which parts keep it from it?
    pub fn why(&self, known: &Known<'_>) -> (Applies, Vec<String>) {
        let asking = Asking { compiled: self, known: *known };
        let mut parts = Vec::new();
        let applies = asking.applies(&self.root);
        if applies != Applies::Yes {
            asking.blame(&self.root, &mut parts);
        }
        (applies, parts)
    }

    /// What it always is; `None` where it reads anything.
    pub fn constant(&self) -> Option<bool> {
        if !self.slots.is_empty() {
            return None;
        }
        Asking { compiled: self, known: Known::all(&Arc::default()) }.truth(&self.root).ok()
    }

    /// The parts that must all be true, in words.
    pub fn conjuncts(&self) -> BTreeSet<String> {
        let facts = Arc::default();
        let asking = Asking { compiled: self, known: Known::all(&facts) };
        let (mut parts, mut open) = (BTreeSet::new(), vec![&self.root]);
        while let Some(node) = open.pop() {
            match &node.expr {
                Expr::Call(call) if call.func_name == "_&&_" => open.extend(&call.args),
                _ => {
                    parts.insert(asking.text(node));
                }
            }
        }
        parts
    }

    /// Notes which sides of `&&`, `||` and `?:` are evaluated.
    pub fn cover(&self, facts: &Arc<Facts>, at: &At, reached: bool, covered: &mut Covered) {
        let asking = Asking { compiled: self, known: Known::all(facts) };
        asking.cover(&self.root, at, reached, covered);
    }
}

struct Asking<'a> {
    compiled: &'a Compiled,
    known: Known<'a>,
}

impl Asking<'_> {
    fn truth(&self, node: &IdedExpr) -> Result<bool, String> {
        let reader = Reader::new(self.known.facts, &self.compiled.slots, &AT_A_DESK, Spent::default());
        let mut context = Context::with_env(ENV.clone());
        context.set_variable_resolver(&reader);
        match Value::resolve_val(node, &context) {
            Ok(value) => value.downcast_ref::<CelBool>().map(|b| *b.inner()).ok_or_else(|| "no truth value".to_owned()),
            Err(why) => Err(why.to_string()),
        }
    }

    /// Is it true, where some facts are not known? Only what reads none of them is evaluated.
    fn applies(&self, node: &IdedExpr) -> Applies {
        use Applies::{No, Untold, Yes};
        let call = match &node.expr {
            Expr::Call(call) => Some((call.func_name.as_str(), &call.args[..])),
            _ => None,
        };
        match call {
            Some(("_&&_", [a, b])) => match (self.applies(a), self.applies(b)) {
                (No, _) | (_, No) => No,
                (Yes, Yes) => Yes,
                (Untold, _) | (_, Untold) => Untold,
            },
            Some(("_||_", [a, b])) => match (self.applies(a), self.applies(b)) {
                (Yes, _) | (_, Yes) => Yes,
                (No, No) => No,
                (Untold, _) | (_, Untold) => Untold,
            },
            Some(("_?_:_", [condition, yes, no])) => match self.applies(condition) {
                Yes => self.applies(yes),
                No => self.applies(no),
                Untold if self.applies(yes) == self.applies(no) => self.applies(yes),
                Untold => Untold,
            },
            Some(("!_", [a])) if self.lacks(a).is_some() => match self.applies(a) {
                Yes => No,
                No => Yes,
                Untold => Untold,
            },
            _ if self.lacks(node).is_some() => Untold,
            _ if self.truth(node) == Ok(true) => Yes,
            _ => No,
        }
    }

    /// The first fact of the node that is not known, and why it is not.
    fn lacks(&self, node: &IdedExpr) -> Option<String> {
        let mut lacks = None;
        slots_of(node, &mut |n| {
            if lacks.is_none() {
                lacks = self.compiled.slots.get(n).and_then(|slot| self.lacks_slot(slot));
            }
        });
        lacks
    }

    fn lacks_slot(&self, slot: &Slot) -> Option<String> {
        match slot {
            Slot::Fact(field) | Slot::Regex(field, _) | Slot::Glob(field, _) => self.known.lacks(field),
            Slot::Limit { rate, .. } => self.known.lacks_group(if *rate { Group::Rate } else { Group::Budget }),
            Slot::TextContains(_) => self.known.lacks_group(Group::Text),
            Slot::Bucket { name, by: StickyBy::User | StickyBy::Sticky } if self.known.sealed => {
                let asked = format!("{name}@");
                let recorded = self.known.facts.buckets();
                let is_known = recorded.keys().any(|known| known == name || known.starts_with(&asked));
                (!is_known).then(|| "the bucket is not recorded".to_owned())
            }
            Slot::Bucket { .. } | Slot::Param(..) | Slot::Turn(_) => None,
        }
    }

    /// The smallest parts that make the node false, or keep it from being told.
    fn blame(&self, node: &IdedExpr, parts: &mut Vec<String>) {
        let call = match &node.expr {
            Expr::Call(call) => Some((call.func_name.as_str(), &call.args[..])),
            _ => None,
        };
        match call {
            Some(("_&&_", [a, b])) => match (self.applies(a), self.applies(b)) {
                (Applies::Yes, _) | (Applies::Untold, Applies::No) => self.blame(b, parts),
                (Applies::Untold, Applies::Untold) => {
                    self.blame(a, parts);
                    self.blame(b, parts);
                }
                (Applies::No, _) | (Applies::Untold, Applies::Yes) => self.blame(a, parts),
            },
            Some(("_||_", [a, b])) => {
                self.blame(a, parts);
                self.blame(b, parts);
            }
            Some(("_?_:_", [condition, yes, no])) => match (self.applies(condition), self.truth(condition)) {
                (Applies::Yes, _) => self.blame(yes, parts),
                (Applies::No, Ok(_)) => self.blame(no, parts),
                (Applies::No, Err(_)) | (Applies::Untold, _) => self.blame(condition, parts),
            },
            _ => parts.push(self.leaf(node)),
        }
    }

    fn leaf(&self, node: &IdedExpr) -> String {
        if let Some(lacks) = self.lacks(node) {
            return format!("`{}` cannot be told: {lacks}", self.text(node));
        }
        let mut facts = Vec::new();
        slots_of(node, &mut |n| {
            if let Some(told) = self.compiled.slots.get(n).and_then(|slot| self.value(slot))
                && !facts.contains(&told)
            {
                facts.push(told);
            }
        });
        let came = match self.truth(node) {
            Ok(true) => " is true".to_owned(),
            Ok(false) => " is false".to_owned(),
            Err(why) => format!(" cannot be evaluated ({why})"),
        };
        let facts = if facts.is_empty() { String::new() } else { format!(": {}", facts.join(", ")) };
        format!("`{}`{came}{facts}", self.text(node))
    }

    /// `caller.tenant` is "acme"; nothing for what the text shows already.
    fn value(&self, slot: &Slot) -> Option<String> {
        let facts = self.known.facts;
        let fact =
            |field: &Field| Some(format!("{}.{} is {}", field.group.name(), field.name, shown((field.get)(facts))));
        match slot {
            Slot::Fact(field) | Slot::Regex(field, _) | Slot::Glob(field, _) => fact(field),
            Slot::Limit { rate, rule, field } => {
                let table = if *rate { &facts.rate } else { &facts.budget };
                let value = table.get(rule).map_or("not there".to_owned(), |fact| shown((field.get)(fact)));
                Some(format!("{} is {value}", slot_text(slot)))
            }
            Slot::Param(_, value) => Some(format!("{} is {}", slot_text(slot), short(&format!("{value:?}")))),
            Slot::Bucket { name, by } => Some(format!("the bucket is {}", facts.bucket(name, *by))),
            Slot::TextContains(_) | Slot::Turn(_) => None,
        }
    }

    fn cover(&self, node: &IdedExpr, at: &At, reached: bool, covered: &mut Covered) {
        let Expr::Call(call) = &node.expr else { return };
        let mut side = |node: &IdedExpr, reached: bool| {
            covered.site(at, &format!("`{}`", self.text(node)), reached);
            self.cover(node, at, reached, covered);
        };
        match (call.func_name.as_str(), &call.args[..]) {
            ("_&&_", [a, b]) => {
                let goes_on = reached && self.truth(a) == Ok(true);
                side(b, goes_on);
                self.cover(a, at, reached, covered);
            }
            ("_||_", [a, b]) => {
                let goes_on = reached && self.truth(a) == Ok(false);
                side(b, goes_on);
                self.cover(a, at, reached, covered);
            }
            ("_?_:_", [condition, yes, no]) => {
                let truth = self.truth(condition);
                side(yes, reached && truth == Ok(true));
                side(no, reached && truth == Ok(false));
            }
            ("!_", [a]) => self.cover(a, at, reached, covered),
            _ => {}
        }
    }

    /// The expression as an author would write it.
    fn text(&self, node: &IdedExpr) -> String {
        let list = |nodes: &[IdedExpr]| nodes.iter().map(|n| self.text(n)).collect::<Vec<_>>().join(", ");
        match &node.expr {
            Expr::Ident(name) => match slot_number(name).and_then(|n| self.compiled.slots.get(n)) {
                Some(slot) => slot_text(slot),
                None => name.clone(),
            },
            Expr::Literal(literal) => literal_text(literal),
            Expr::List(elements) => format!("[{}]", list(&elements.elements)),
            Expr::Map(map) => {
                let entry = |entry: &EntryExpr| match entry {
                    EntryExpr::MapEntry(pair) => format!("{}: {}", self.text(&pair.key), self.text(&pair.value)),
                    EntryExpr::StructField(_) => String::new(),
                };
                format!("{{{}}}", map.entries.iter().map(|e| entry(&e.expr)).collect::<Vec<_>>().join(", "))
            }
            Expr::Select(select) if select.test => format!("has({}.{})", self.text(&select.operand), select.field),
            Expr::Select(select) => format!("{}.{}", self.text(&select.operand), select.field),
            Expr::Comprehension(inner) => self.loop_text(inner),
            Expr::Call(call) => self.call_text(call),
            Expr::Struct(_) | Expr::Unspecified => String::new(),
        }
    }

    fn call_text(&self, call: &CallExpr) -> String {
        let args: Vec<String> = call.args.iter().map(|arg| self.text(arg)).collect();
        let inner = |n: usize| match &call.args[n].expr {
            Expr::Call(inner) if inner.func_name.starts_with('_') && inner.func_name != "_[_]" => {
                format!("({})", args[n])
            }
            _ => args[n].clone(),
        };
        match (call.func_name.as_str(), args.len()) {
            ("@in", 2) => format!("{} in {}", inner(0), inner(1)),
            ("_[_]", 2) => format!("{}[{}]", inner(0), args[1]),
            ("_?_:_", 3) => format!("{} ? {} : {}", inner(0), inner(1), inner(2)),
            ("!_" | "-_", 1) => format!("{}{}", &call.func_name[..1], inner(0)),
            (name, 2) if name.starts_with('_') => format!("{} {} {}", inner(0), name.trim_matches('_'), inner(1)),
            ("math.@max", _) => format!("math.greatest({})", args.join(", ")),
            ("math.@min", _) => format!("math.least({})", args.join(", ")),
            (name, _) => match &call.target {
                Some(target) => format!("{}.{name}({})", self.text(target), args.join(", ")),
                None => format!("{name}({})", args.join(", ")),
            },
        }
    }

    /// `list.exists(x, ..)`, with what each turn asks.
    fn loop_text(&self, inner: &ComprehensionExpr) -> String {
        let (name, body) = match &inner.loop_step.expr {
            Expr::Call(step) => match (step.func_name.as_str(), &inner.accu_init.expr) {
                ("_||_", _) => ("exists", step.args.get(1)),
                ("_&&_", _) => ("all", step.args.get(1)),
                ("_?_:_", Expr::List(_)) => ("filter", step.args.first()),
                ("_?_:_", _) => ("exists_one", step.args.first()),
                _ => ("map", step.args.get(1)),
            },
            _ => ("map", None),
        };
        // The charge of the turn stands before it.
        let asked = match body.map(|body| &body.expr) {
            Some(Expr::Call(charge)) if charge.func_name == "_?_:_" => charge.args.get(1),
            _ => body,
        };
        let asked = asked.map_or("..".to_owned(), |asked| self.text(asked));
        format!("{}.{name}({}, {asked})", self.text(&inner.iter_range), inner.iter_var)
    }
}

fn slot_number(name: &str) -> Option<usize> {
    name.strip_prefix('#')?.parse().ok()
}

fn slots_of(node: &IdedExpr, found: &mut impl FnMut(usize)) {
    match &node.expr {
        Expr::Ident(name) => slot_number(name).into_iter().for_each(found),
        Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => {}
        Expr::List(list) => list.elements.iter().for_each(|n| slots_of(n, found)),
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(pair) = &entry.expr {
                    slots_of(&pair.key, found);
                    slots_of(&pair.value, found);
                }
            }
        }
        Expr::Select(select) => slots_of(&select.operand, found),
        Expr::Call(call) => {
            call.target.iter().for_each(|n| slots_of(n, found));
            call.args.iter().for_each(|n| slots_of(n, found));
        }
        Expr::Comprehension(inner) => {
            slots_of(&inner.iter_range, found);
            slots_of(&inner.loop_step, found);
        }
    }
}

fn slot_text(slot: &Slot) -> String {
    match slot {
        Slot::Fact(field) => format!("{}.{}", field.group.name(), field.name),
        Slot::Limit { rate, rule, field } => {
            format!("{}[\"{rule}\"].{}", if *rate { "rate" } else { "budget" }, field.name)
        }
        Slot::Param(name, _) => format!("param.{name}"),
        Slot::Turn(_) => "true".to_owned(),
        Slot::Bucket { name, .. } => format!("bucket(\"{name}\")"),
        Slot::Regex(field, regex) => format!("{}.{}.matches(\"{regex}\")", field.group.name(), field.name),
        Slot::Glob(field, glob) => format!("glob({}.{}, \"{}\")", field.group.name(), field.name, glob.text()),
        Slot::TextContains(words) => format!("text.contains(\"{words}\")"),
    }
}

fn literal_text(literal: &LiteralValue) -> String {
    match literal {
        LiteralValue::Boolean(b) => b.inner().to_string(),
        LiteralValue::Double(n) => format!("{:?}", n.inner()),
        LiteralValue::Int(n) => n.inner().to_string(),
        LiteralValue::UInt(n) => format!("{}u", n.inner()),
        LiteralValue::String(text) => format!("{:?}", text.inner()),
        LiteralValue::Bytes(_) => "b\"..\"".to_owned(),
        LiteralValue::Null => "null".to_owned(),
    }
}

fn shown(value: FactValue<'_>) -> String {
    match value {
        FactValue::Text(text) => short(&format!("{text:?}")),
        FactValue::Int(n) => n.to_string(),
        FactValue::Float(n) => format!("{n:?}"),
        FactValue::Bool(b) => b.to_string(),
        FactValue::TextList(list) => short(&format!("{list:?}")),
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}..", &text[..at]),
        None => text.to_owned(),
    }
}

//! What a loop may cost: each turn is charged for the size of its body, as an operation of its own.
//!
//! The interpreter counts nothing. So the step of every loop is bound to ask a slot first (`Slot::Turn`), which counts and
//! ends the evaluation where the policy's operations are spent. A body is charged whole, though a part of it may be skipped.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue};

/// Loops within loops; each turn of the inner one is charged, too.
pub const LOOPS_DEEP_MAX: usize = 2;
/// So many parts of an expression cost about what one operation of a script costs.
const PARTS_PER_OP: u64 = 4;
/// So many bytes of a literal count as one part: it may be copied at every turn.
const LITERAL_BYTES_PER_PART: u64 = 16;

/// Operations of one turn.
pub fn price(step: &IdedExpr) -> u64 {
    1 + parts(step) / PARTS_PER_OP
}

fn parts(node: &IdedExpr) -> u64 {
    1 + match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => text.inner().len() as u64 / LITERAL_BYTES_PER_PART,
        Expr::Literal(LiteralValue::Bytes(bytes)) => bytes.inner().len() as u64 / LITERAL_BYTES_PER_PART,
        Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) | Expr::Unspecified => 0,
        Expr::List(list) => list.elements.iter().map(parts).sum(),
        Expr::Map(map) => map.entries.iter().map(|entry| entry_parts(&entry.expr)).sum(),
        Expr::Select(select) => parts(&select.operand),
        Expr::Call(call) => {
            call.target.iter().map(|t| parts(t)).sum::<u64>() + call.args.iter().map(parts).sum::<u64>()
        }
        // The turns of an inner loop are charged when they happen.
        Expr::Comprehension(inner) => parts(&inner.iter_range) + parts(&inner.result),
    }
}

fn entry_parts(entry: &EntryExpr) -> u64 {
    match entry {
        EntryExpr::MapEntry(entry) => parts(&entry.key) + parts(&entry.value),
        EntryExpr::StructField(_) => 0,
    }
}

/// Puts `turn` before what the step asks or computes: `turn ? it : false`. The shapes of steps stay, the interpreter knows
/// them and builds lists in place.
pub fn charge(inner: &mut ComprehensionExpr, turn: Expr) {
    let step = &mut inner.loop_step;
    let id = step.id;
    let spot = match &mut step.expr {
        // `filter`, `exists_one` and `map` with a condition.
        Expr::Call(call) if call.func_name == "_?_:_" => call.args.first_mut(),
        Expr::Call(call) => match call.args.get_mut(1).map(|arg| &mut arg.expr) {
            // `map`: the element appended.
            Some(Expr::List(list)) if list.elements.len() == 1 => list.elements.first_mut(),
            // `all` and `exists`: beside what was found so far.
            _ => call.args.get_mut(1),
        },
        _ => None,
    };
    let node = match spot {
        Some(node) => node,
        None => step,
    };
    let body = std::mem::replace(node, IdedExpr { id, expr: Expr::Unspecified });
    let no = IdedExpr { id, expr: Expr::Literal(LiteralValue::Boolean(false.into())) };
    let args = vec![IdedExpr { id, expr: turn }, body, no];
    node.expr = Expr::Call(CallExpr { func_name: "_?_:_".to_owned(), target: None, args });
}

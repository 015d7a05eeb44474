//! Which statements of a script a run reaches: the same text with a mark before each statement, run once.
//!
//! Marks are put where a statement stands directly in a block. What the main file imports is not marked.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use rhai::{ASTNode, CallFnOptions, Engine, Expr, OptimizationLevel, Position, Scope, Stmt};
use tollgate_core::policy::effect::At;

use super::handles::FactsHandle;
use super::host::{self, Asked};
use super::meter;
use super::modules::Modules;
use crate::coverage::Covered;
use crate::engine::Bounds;

/// The function of the marks: no script calls it, the lint knows no such name.
const MARK: &str = "mark__reached";

thread_local! {
    static REACHED: RefCell<BTreeSet<i64>> = const { RefCell::new(BTreeSet::new()) };
}

/// Runs the script with marks and notes what it reached. What fails in the run is the case's matter, not told here.
pub fn run(
    text: &str,
    modules: Option<&Modules>,
    asked: Arc<Asked>,
    bounds: &Bounds,
    facts: FactsHandle,
    covered: &mut Covered,
) {
    let mut engine = plain();
    if let Some(modules) = modules {
        engine.set_module_resolver(modules.resolver.clone());
    }
    engine.register_fn(MARK, |n: i64| {
        REACHED.with_borrow_mut(|reached| reached.insert(n));
    });
    let places = statements(&engine, text);
    let Ok(ast) = engine.compile(marked(text, &places)) else { return };
    REACHED.with_borrow_mut(BTreeSet::clear);
    let metered = meter::begin(bounds);
    let options = CallFnOptions::new().eval_ast(true).with_tag(asked.clone());
    // Whether it decides or fails, it reached what it reached.
    let _ =
        engine.call_fn_with_options::<rhai::Dynamic>(options, &mut Scope::new(), &ast, asked.hook.function(), (facts,));
    metered.end();
    let reached = REACHED.take();
    for (n, (_, line, column)) in places.iter().enumerate() {
        let at = At { file: asked.shown.clone(), line: *line, column: *column };
        covered.site(&at, "statement", reached.contains(&(n as i64)));
    }
}

/// An engine that takes nothing out of the text: what it would fold away is a statement, too.
fn plain() -> Engine {
    let mut engine = host::engine();
    engine.set_optimization_level(OptimizationLevel::None);
    engine
}

/// Byte, line and column of the statements in blocks, in the order of the text.
fn statements(engine: &Engine, text: &str) -> Vec<(usize, u32, u32)> {
    let Ok(ast) = engine.compile(text) else { return Vec::new() };
    let lines: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let plain = without_comments(text);
    let mut places = BTreeSet::new();
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(stmt)) = path.last()
            && let at = begin(stmt)
            && let (Some(line), Some(column)) = (at.line(), at.position())
            && let Some(start) = lines.get(line - 1)
            && let Some((byte, _)) = text[*start..].char_indices().nth(column - 1)
        {
            let byte = start + byte;
            let before = plain[..byte].trim_ascii_end();
            let in_block = matches!(before.last(), Some(b'{' | b'}' | b';'))
                && !before.ends_with(b"#{")
                && !before.ends_with(b"${");
            if in_block {
                places.insert((byte, line as u32, column as u32));
            }
        }
        true
    });
    places.into_iter().collect()
}

/// Where a statement begins: the engine tells the place of an operator for what an operator joins.
fn begin(stmt: &Stmt) -> Position {
    match stmt {
        Stmt::Expr(expr) => first(expr),
        Stmt::FnCall(call, _) if call.is_operator_call() => call.args.first().map_or(Position::NONE, first),
        Stmt::Assignment(pair) => first(&pair.1.lhs),
        Stmt::Noop(_) | Stmt::Share(_) => Position::NONE,
        other => other.position(),
    }
}

fn first(expr: &Expr) -> Position {
    match expr {
        Expr::FnCall(call, _) if call.is_operator_call() => call.args.first().map_or(Position::NONE, first),
        Expr::Dot(pair, ..) | Expr::Index(pair, ..) => first(&pair.lhs),
        other => other.start_position(),
    }
}

/// The same bytes with comments blanked; quotes are stepped over.
fn without_comments(text: &str) -> Vec<u8> {
    let mut plain = text.as_bytes().to_vec();
    let (mut at, mut quote) = (0, None);
    while at < plain.len() {
        let rest = &plain[at..];
        let step = match quote {
            Some(end) => {
                if rest[0] == end {
                    quote = None;
                }
                if rest[0] == b'\\' { 2 } else { 1 }
            }
            None if rest.starts_with(b"//") => {
                let length = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                plain[at..at + length].fill(b' ');
                length
            }
            None if rest.starts_with(b"/*") => {
                let length = rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |n| n + 2);
                plain[at..at + length].fill(b' ');
                length
            }
            None => {
                if matches!(rest[0], b'"' | b'`') {
                    quote = Some(rest[0]);
                }
                1
            }
        };
        at += step;
    }
    plain
}

fn marked(text: &str, places: &[(usize, u32, u32)]) -> String {
    let mut out = String::with_capacity(text.len() + places.len() * (MARK.len() + 8));
    let mut from = 0;
    for (n, (byte, ..)) in places.iter().enumerate() {
        out.push_str(&text[from..*byte]);
        out.push_str(&format!("{MARK}({n});"));
        from = *byte;
    }
    out + &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_before_statements_in_blocks_and_nowhere_else() {
        let text = "// a; b\nfn pre_route(facts) {\n    let a = if true { 1 } else { 2 }; /* x; */ a += 1;\n    let m = #{ k: \"; x\" };\n    a + m.k;\n    switch a { 1 => { none() }, _ => none() }\n}\n";
        let engine = plain();
        let found: Vec<(u32, u32)> =
            statements(&engine, text).into_iter().map(|(_, line, column)| (line, column)).collect();
        assert_eq!(found, [(3, 5), (3, 23), (3, 34), (3, 48), (4, 5), (5, 5), (6, 5), (6, 23)]);
        let places = statements(&engine, text);
        assert!(marked(text, &places).contains("mark__reached(0);let a = if true { mark__reached(1);1 }"));
    }
}

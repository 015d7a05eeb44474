//! How many variables a script may hold at the same time, told by its text.
//!
//! A text is bounded, a list is bounded, and each function may have so many variables; but a function may call a function,
//! each call with variables of its own. What all of them hold together is bounded here, and with it the memory of a script.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, ASTNode, Expr, Stmt};
use tollgate_core::policy::Hook;

use super::functions::{functions, only};
use super::host::{CALLS_DEEP_MAX, VARIABLES_MAX};

/// What the library calls a closure.
const CLOSURE: &str = "anon$";

/// One function: what it holds, and whom it calls.
#[derive(Default)]
struct Function {
    holds: usize,
    calls: BTreeSet<String>,
}

/// Functions of hooks that may hold more than is taken, and how many that is.
pub fn too_many(ast: &AST, hooks: &[Hook]) -> Vec<(&'static str, usize)> {
    let all = read(ast);
    let mut alive: BTreeMap<&str, usize> = all.keys().map(|name| (name.as_str(), 0)).collect();
    // With each round one more call in a call.
    for _ in 0..=CALLS_DEEP_MAX {
        let deeper = |function: &Function| {
            let below = function.calls.iter().filter_map(|name| alive.get(name.as_str())).max();
            function.holds + below.copied().unwrap_or(0)
        };
        alive = all.iter().map(|(name, function)| (name.as_str(), deeper(function))).collect();
    }
    let over = |hook: &Hook| Some((hook.function(), *alive.get(hook.function())?));
    hooks.iter().filter_map(over).filter(|(_, count)| *count > VARIABLES_MAX).collect()
}

fn read(ast: &AST) -> BTreeMap<String, Function> {
    let mut all: BTreeMap<String, Function> = BTreeMap::new();
    let mut by_name = false;
    for (name, params) in functions(ast) {
        let own = only(ast, &name, params.len());
        let function = all.entry(name).or_default();
        // Functions may share a name: the larger one counts.
        let mut holds = params.len();
        own.walk(&mut |path: &[ASTNode<'_>]| {
            match path.last() {
                Some(ASTNode::Stmt(Stmt::Var(..) | Stmt::TryCatch(..) | Stmt::Import(..))) => holds += 1,
                Some(ASTNode::Stmt(Stmt::For(..))) => holds += 2,
                Some(ASTNode::Expr(Expr::FnCall(call, _) | Expr::MethodCall(call, _)))
                | Some(ASTNode::Stmt(Stmt::FnCall(call, _))) => {
                    by_name |= call.name == "Fn";
                    function.calls.insert(call.name.to_string());
                }
                Some(_) | None => {}
            }
            true
        });
        function.holds = function.holds.max(holds);
    }
    // Who is called through a value is not told by the text: closures by anybody, and where names are made values, all.
    let names: Vec<String> = all.keys().filter(|name| by_name || name.starts_with(CLOSURE)).cloned().collect();
    all.values_mut().for_each(|function| function.calls.extend(names.iter().cloned()));
    all
}

//! How a compiled script is run: as bytecode where all of it could be lowered, else over its tree.
//!
//! Both dispatch to the same functions and tick the same meter. A machine remembers which functions a script calls, so
//! each thread keeps one per script; no value outlives a run.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rhai::grain::{Compiler, Program as Bytecode, Vm};
use rhai::{AST, ASTNode, CallFnOptions, Dynamic, Engine, EvalAltResult, Expr, Scope, Stmt};

use super::handles::FactsHandle;
use super::host::{Asked, Host};
use super::modules::Modules;

/// Calls and operators in the text of a script that runs as bytecode. Bytecode counts at turns of loops and at calls of the
/// script's own functions; between two of these it goes through its text once, and a long text would go on uncounted.
const CALLS_MAX: usize = 128;
/// Machines that a thread keeps. Scripts of revisions that are gone leave when it is full.
const KEPT_MAX: usize = 256;

thread_local! {
    static KEPT: RefCell<Vec<(u64, Vm<'static>)>> = const { RefCell::new(Vec::new()) };
}

/// A script, ready to be called.
pub enum Machine {
    /// Fully lowered. The number is the script's own, for the machines of threads; something may stand outside of functions.
    Bytecode { number: u64, program: Box<Bytecode<'static>>, engine: &'static Engine, has_main: bool },
    /// With imports, or with closures that the host calls back.
    Tree { ast: Box<AST>, host: Host },
}

impl Machine {
    pub fn of(ast: AST, host: Host) -> Machine {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        if let Host::Shared(engine) = host
            && calls(&ast) <= CALLS_MAX
        {
            let program = Compiler::new().compile(&ast);
            if program.residual_count() == 0 && !program.makes_fn_pointers() {
                let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
                let has_main = !ast.statements().is_empty();
                return Machine::Bytecode { number, program: Box::new(program), engine, has_main };
            }
        }
        Machine::Tree { ast: Box::new(ast), host }
    }

    /// The modules of a script with imports.
    pub fn modules(&self) -> Option<&Modules> {
        match self {
            Machine::Tree { host, .. } => host.modules(),
            Machine::Bytecode { .. } => None,
        }
    }

    /// Calls one function with the facts.
    pub fn call(&self, function: &str, asked: Arc<Asked>, facts: FactsHandle) -> Result<Dynamic, Box<EvalAltResult>> {
        // What stands outside of functions is run for them: imports and constants.
        let has_main = matches!(self, Machine::Tree { .. } | Machine::Bytecode { has_main: true, .. });
        let options = CallFnOptions::new().eval_ast(has_main).with_tag(asked);
        let mut scope = Scope::new();
        match self {
            Machine::Tree { ast, host } => {
                host.engine().call_fn_with_options(options, &mut scope, ast, function, (facts,))
            }
            Machine::Bytecode { number, program, engine, .. } => {
                let mut machine = take(*number).unwrap_or_else(|| Vm::new(engine));
                let called = machine.call_fn_with_options(options, &mut scope, program, function, (facts,));
                // One that failed may have stopped half-way: it is not used again.
                if called.is_ok() {
                    keep(*number, machine);
                }
                called
            }
        }
    }
}

fn calls(ast: &AST) -> usize {
    let mut calls = 0;
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        let is_call = matches!(
            path.last(),
            Some(ASTNode::Expr(Expr::FnCall(..) | Expr::MethodCall(..) | Expr::InterpolatedString(..)))
                | Some(ASTNode::Stmt(Stmt::FnCall(..) | Stmt::Assignment(..)))
        );
        calls += usize::from(is_call);
        calls <= CALLS_MAX
    });
    calls
}

fn take(number: u64) -> Option<Vm<'static>> {
    KEPT.with_borrow_mut(|kept| {
        let at = kept.iter().rposition(|(of, _)| *of == number)?;
        Some(kept.swap_remove(at).1)
    })
}

fn keep(number: u64, machine: Vm<'static>) {
    KEPT.with_borrow_mut(|kept| {
        if kept.len() == KEPT_MAX {
            kept.clear();
        }
        kept.push((number, machine));
    });
}

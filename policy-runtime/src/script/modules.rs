//! The modules that a script imports, and those that they import: read at load, each once, out of the policy's folder in the
//! same revision.
//!
//! What imports itself, or imports more than is taken, is told before anything of it runs.

use rhai::module_resolvers::StaticModuleResolver;
use rhai::{AST, ASTNode, Engine, Expr, Module, Position, Scope, Stmt};

use super::host::{MODULES_MAX, SCRIPT_BYTES_MAX, too_long};
use super::{finding, innermost, message, meter};
use crate::diagnostic::Diagnostic;
use crate::engine::Unit;

/// A module, as it was written.
pub struct Imported {
    pub path: String,
    /// Its file as people are told it.
    pub shown: String,
    pub ast: AST,
}

/// All modules of a script, each behind those that it imports.
#[derive(Default)]
pub struct Modules {
    pub list: Vec<Imported>,
    /// Made, for engines that run the script.
    pub resolver: StaticModuleResolver,
}

impl Modules {
    /// Reads what the script imports, and makes it on its engine, within the bounds of one call.
    pub fn of(ast: &AST, unit: &Unit<'_>, engine: &mut Engine) -> Result<Modules, Vec<Diagnostic>> {
        let mut reading = Reading { unit, engine, list: Vec::new(), open: Vec::new() };
        reading.imports_of(ast, unit.shown)?;
        let mut modules = Modules { list: reading.list, resolver: StaticModuleResolver::new() };
        for module in &modules.list {
            engine.set_module_resolver(modules.resolver.clone());
            let metered = meter::begin(&unit.bounds);
            let made = Module::eval_ast_as_new(Scope::new(), &module.ast, engine);
            let spent = metered.end();
            let made = made.map_err(|error| {
                let inner = innermost(&error);
                let why = match spent.broken {
                    Some(_) => format!(
                        "what stands outside of its functions takes more than one call may: {} operations, {} ms",
                        unit.bounds.ops, unit.bounds.cpu_ms
                    ),
                    None => message(inner),
                };
                told(&module.shown, why, inner.position())
            })?;
            modules.resolver.insert(module.path.as_str(), made);
        }
        engine.set_module_resolver(modules.resolver.clone());
        Ok(modules)
    }
}

struct Reading<'a> {
    unit: &'a Unit<'a>,
    engine: &'a Engine,
    list: Vec<Imported>,
    /// The modules that are being read, each imported by the one before it.
    open: Vec<String>,
}

impl Reading<'_> {
    /// What one file imports. It goes no deeper than modules are taken.
    fn imports_of(&mut self, ast: &AST, shown: &str) -> Result<(), Vec<Diagnostic>> {
        for (path, at) in imports(ast) {
            let Some(path) = path else {
                return Err(told(shown, "a module is imported by its path in quotes".to_owned(), at));
            };
            if self.open.contains(&path) {
                let way: Vec<&str> = self.open.iter().chain([&path]).map(String::as_str).collect();
                return Err(told(shown, format!("the module imports itself: {}", way.join(" -> ")), at));
            }
            if self.list.iter().any(|known| known.path == path) {
                continue;
            }
            if self.list.len() + self.open.len() == MODULES_MAX {
                let why = format!("`{path}` is one module too many: at most {MODULES_MAX} are taken, in all");
                return Err(told(shown, why, at));
            }
            let text = self.text(&path).map_err(|why| told(shown, why, at))?;
            let own = self.shown(&path);
            let parsed = self.engine.compile(text);
            let ast = parsed.map_err(|error| told(&own, message(&error.clone().into()), error.position()))?;
            self.open.push(path.clone());
            self.imports_of(&ast, &own)?;
            self.open.pop();
            self.list.push(Imported { path, shown: own, ast });
        }
        Ok(())
    }

    fn text(&self, path: &str) -> Result<&str, String> {
        let missing = || format!("Module not found: {path}");
        if path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(missing());
        }
        let folder = self.unit.file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let bytes = self.unit.tree.read(&format!("{folder}/{path}.rhai")).ok_or_else(missing)?;
        if bytes.len() > SCRIPT_BYTES_MAX {
            return Err(format!("`{path}.rhai` has {}", too_long(bytes.len())));
        }
        std::str::from_utf8(bytes).map_err(|_| format!("`{path}.rhai` is not UTF-8"))
    }

    fn shown(&self, path: &str) -> String {
        let folder = self.unit.shown.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{path}.rhai")
    }
}

/// The paths that a file imports, and where; `None` = it is put together by the script.
fn imports(ast: &AST) -> Vec<(Option<String>, Position)> {
    let mut found = Vec::new();
    ast.walk(&mut |nodes: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::Import(import, _))) = nodes.last() {
            found.push(match &import.0 {
                Expr::StringConstant(path, at) => (Some(path.to_string()), *at),
                other => (None, other.start_position()),
            });
        }
        true
    });
    found
}

/// A finding of the engine's own.
pub fn told(shown: &str, message: String, at: Position) -> Vec<Diagnostic> {
    vec![finding("TG0601", shown, message, at)]
}

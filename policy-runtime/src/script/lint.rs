//! What Rhai finds out only when it runs, found at load: unknown functions, facts, parameters, rules.
//!
//! Each function is looked at by itself: one that answers at a hook is held to what is known and may be said there. Modules
//! are looked at as the script is, each told under its own file.

mod slips;

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};
use tollgate_core::contract::nearest;
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::Effect;
use tollgate_core::policy::schema::{FIELDS, Group, LIMIT_FIELDS};

use super::functions::{Counts, Known, arity, by_name, functions, only};
use super::host::{Host, VARIABLES_MAX};
use super::{alive, finding, handles};
use crate::diagnostic::Diagnostic;
use crate::engine::Unit;

/// Functions of the language that policies have no use for.
pub const FORBIDDEN: [(&str, &str); 4] = [
    ("sleep", "policies have no clock"),
    ("print", "nobody reads it: say `note(..)`, it stands in the receipt"),
    ("debug", "nobody reads it: say `note(..)`, it stands in the receipt"),
    ("eval", "a policy is what its commit says"),
];

/// Looks through the whole script and the modules that it imports.
pub fn lint(host: &Host, ast: &AST, unit: &Unit<'_>) -> Result<(), Vec<Diagnostic>> {
    let functions = functions(ast);
    let mut facts = BTreeSet::new();
    let mut lint = Lint::of(ast, unit, unit.shown.to_owned());
    for hook in unit.hooks {
        match functions.iter().find(|(name, _)| name == hook.function()) {
            Some((_, params)) if params.len() == 1 => drop(facts.insert(params[0].clone())),
            Some((name, params)) => {
                let message = format!("`{name}` must take one parameter, the facts, not {}", params.len());
                lint.tell("TG0602", lint.place_of(name), message, name);
            }
            None => {
                let names = functions.iter().map(|(name, _)| name.as_str());
                let hint = nearest::hint(hook.function(), names);
                let message =
                    format!("there is no function `{}(facts)` for the hook {}{hint}", hook.function(), hook.name());
                lint.tell("TG0602", Position::NONE, message, "");
            }
        }
    }
    lint.facts = facts.clone();
    for (name, alive) in alive::too_many(ast, unit.hooks) {
        let message = format!(
            "`{name}` may hold {alive} variables at the same time, those of calls in calls included: at most {VARIABLES_MAX} are taken"
        );
        lint.tell("TG0612", lint.place_of(name), message, name);
    }
    let mut found = Vec::new();
    let modules = host.modules().map(|modules| modules.list.as_slice()).unwrap_or_default();
    lint.modules = modules.iter().map(|module| (module.path.clone(), by_name(&module.ast))).collect();
    lint.script(ast, true);
    found.append(&mut lint.found);
    for module in modules {
        let mut inner = Lint::of(&module.ast, unit, module.shown.clone());
        inner.facts = facts.clone();
        inner.modules = lint.modules.clone();
        inner.script(&module.ast, false);
        found.append(&mut inner.found);
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// What a local variable holds, where that is plain: `let meta = facts.meta`.
#[derive(Clone, Copy, PartialEq)]
enum Held {
    Group(Group),
    Limit,
}

struct Lint<'a> {
    unit: &'a Unit<'a>,
    /// The file as people are told it.
    shown: String,
    known: Known,
    /// What the hooks call their parameter.
    facts: BTreeSet<String>,
    /// The functions of imported modules, by the module's path.
    modules: BTreeMap<String, Counts>,
    /// The path that a name of a module stands for.
    imported: BTreeMap<String, String>,
    /// Where the function that is looked at may be asked.
    hooks: Vec<Hook>,
    held: BTreeMap<String, Held>,
    found: Vec<Diagnostic>,
}

impl<'a> Lint<'a> {
    fn of(ast: &AST, unit: &'a Unit<'a>, shown: String) -> Lint<'a> {
        Lint {
            unit,
            shown,
            known: Known::of(ast),
            facts: BTreeSet::new(),
            modules: BTreeMap::new(),
            imported: BTreeMap::new(),
            hooks: Vec::new(),
            held: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    /// Where a function of the script is written: the parser does not keep it.
    fn place_of(&self, name: &str) -> Position {
        let text =
            self.unit.tree.read(self.unit.file).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
        let at = |(line, text): (usize, &str)| {
            let at = text.find(&format!("fn {name}("))? + "fn ".len();
            Some(Position::new(u16::try_from(line + 1).ok()?, u16::try_from(text[..at].chars().count() + 1).ok()?))
        };
        text.lines().enumerate().find_map(at).unwrap_or(Position::NONE)
    }

    /// Every function by itself, then what stands outside of functions.
    fn script(&mut self, ast: &AST, answers: bool) {
        ast.walk(&mut |nodes: &[ASTNode<'_>]| {
            if let Some(ASTNode::Stmt(Stmt::Import(import, _))) = nodes.last()
                && let (Expr::StringConstant(path, _), name) = (&import.0, import.1.name.to_string())
            {
                // A name that stands for two modules stands for none.
                let of = self.imported.entry(name).or_insert_with(|| path.to_string());
                if of != path.as_str() {
                    of.clear();
                }
            }
            true
        });
        for (name, params) in functions(ast) {
            let own = only(ast, &name, params.len());
            let hook = self.unit.hooks.iter().find(|hook| answers && hook.function() == name);
            self.hooks = hook.map_or_else(|| self.unit.hooks.to_vec(), |hook| vec![*hook]);
            self.part(&own, &params);
            self.thrown_away(&own);
        }
        self.hooks = self.unit.hooks.to_vec();
        self.part(&ast.clone_statements_only(), &[]);
        // The library keeps functions in an order of its own.
        self.found.sort_by_key(|found| (found.line, found.column));
    }

    fn part(&mut self, ast: &AST, params: &[String]) {
        self.held = self.locals(ast, params);
        ast.walk(&mut |path: &[ASTNode<'_>]| {
            match path.last() {
                Some(ASTNode::Expr(expr)) => self.expression(expr),
                // A call that stands alone is a statement.
                Some(ASTNode::Stmt(Stmt::FnCall(call, at))) => self.called(call, *at),
                Some(_) | None => {}
            }
            true
        });
    }

    /// Variables that hold a group of facts or a rule and never anything else.
    fn locals(&self, ast: &AST, params: &[String]) -> BTreeMap<String, Held> {
        let mut held: BTreeMap<String, Option<Held>> = params.iter().map(|name| (name.clone(), None)).collect();
        ast.walk(&mut |path: &[ASTNode<'_>]| {
            match path.last() {
                Some(ASTNode::Stmt(Stmt::Var(var, ..))) => {
                    let now = self.holds(&var.1);
                    let known = held.entry(var.0.name.to_string()).or_insert(now);
                    *known = (*known == now).then_some(now).flatten();
                }
                Some(ASTNode::Stmt(Stmt::Assignment(to))) => {
                    if let Expr::Variable(name, ..) = &to.1.lhs {
                        held.insert(name.1.to_string(), None);
                    }
                }
                Some(ASTNode::Stmt(Stmt::For(names, _))) => {
                    held.extend([&names.0].into_iter().chain(&names.1).map(|name| (name.name.to_string(), None)));
                }
                Some(ASTNode::Stmt(Stmt::TryCatch(flow, _))) => {
                    if let Expr::Variable(name, ..) = &flow.expr {
                        held.insert(name.1.to_string(), None);
                    }
                }
                Some(_) | None => {}
            }
            true
        });
        held.into_iter().filter_map(|(name, held)| Some((name, held?))).collect()
    }

    fn holds(&self, value: &Expr) -> Option<Held> {
        let Expr::Dot(pair, ..) = value else { return None };
        let Expr::Variable(name, ..) = &pair.lhs else { return None };
        if !self.facts.contains(name.1.as_str()) {
            return None;
        }
        match &pair.rhs {
            Expr::Property(name, _) => {
                let group = Group::ALL.into_iter().find(|g| handles::word(*g) == name.2.as_str())?;
                (!matches!(group, Group::Budget | Group::Rate | Group::Text)).then_some(Held::Group(group))
            }
            Expr::MethodCall(call, _) if matches!(call.name.as_str(), "budget" | "rate") => Some(Held::Limit),
            _ => None,
        }
    }

    fn tell(&mut self, code: &'static str, at: Position, message: String, over: &str) {
        self.found.push(finding(code, &self.shown, message, at).over(over.chars().count() as u32));
    }

    fn expression(&mut self, expr: &Expr) {
        match expr {
            Expr::FnCall(call, at) => self.called(call, *at),
            Expr::MethodCall(call, at) => self.call(&call.name, &call.args, 1, *at),
            Expr::Dot(pair, ..) => {
                let Expr::Variable(name, _, _) = &pair.lhs else { return };
                match self.held.get(name.1.as_str()) {
                    Some(Held::Group(group)) => self.field_of(*group, Some(&pair.rhs)),
                    Some(Held::Limit) => {
                        if let Some((field, at)) = property(&pair.rhs) {
                            self.limit_field("rule", field, at);
                        }
                    }
                    None if self.facts.contains(name.1.as_str()) => self.facts_of(&pair.rhs),
                    None => {}
                }
            }
            _ => {}
        }
    }

    fn called(&mut self, call: &FnCallExpr, at: Position) {
        if call.is_operator_call() { self.compared(call, at) } else { self.function(call, at) }
    }

    fn function(&mut self, call: &FnCallExpr, at: Position) {
        if call.namespace.is_empty() {
            return self.call(&call.name, &call.args, 0, at);
        }
        let root = call.namespace.root();
        let Some(functions) = self.imported.get(root).and_then(|path| self.modules.get(path)) else { return };
        if call.namespace.path.len() > 1 {
            return;
        }
        let name = call.name.as_str();
        match functions.get(name) {
            None => {
                let hint = nearest::hint(name, functions.keys().map(String::as_str));
                self.tell("TG0604", at, format!("the module `{root}` has no function `{name}`{hint}"), root);
            }
            Some(counts) if !counts.contains(&call.args.len()) => {
                let message = arity(name, counts, 0, call.args.len());
                self.tell("TG0605", at, message, root);
            }
            Some(_) => {}
        }
    }

    fn call(&mut self, name: &str, args: &[Expr], receiver: usize, at: Position) {
        if let Some((_, why)) = FORBIDDEN.iter().find(|(word, _)| *word == name) {
            return self.tell("TG0603", at, format!("`{name}` cannot be used: {why}"), name);
        }
        let count = args.len() + receiver;
        let counts = self.known.counts(name);
        if counts.is_empty() {
            let hint = nearest::hint(name, self.known.names());
            return self.tell("TG0604", at, format!("unknown function `{name}`{hint}"), name);
        }
        if !counts.contains(&count) {
            let message = arity(name, &counts, receiver, args.len());
            return self.tell("TG0605", at, message, name);
        }
        let literal = match args.first() {
            Some(Expr::StringConstant(text, at)) => Some((text.as_str(), behind_quote(*at))),
            _ => None,
        };
        match (name, literal) {
            ("param", Some((text, at))) if receiver == 0 => self.param(text, at),
            ("budget", Some((text, at))) if receiver == 1 => self.rule(text, at, self.unit.budgets, "budget"),
            ("rate", Some((text, at))) if receiver == 1 => self.rule(text, at, self.unit.rates, "rate"),
            ("reserve", Some((text, at))) => {
                let all: Vec<&str> = self.unit.budgets.iter().chain(self.unit.rates).copied().collect();
                self.rule(text, at, &all, "rule");
            }
            _ => {}
        }
        let nowhere = self.hooks.iter().all(|hook| !Effect::name_legal_at(effect_of(name), *hook));
        if receiver == 0 && Effect::NAMES.contains(&effect_of(name)) && nowhere {
            let hooks: Vec<&str> = self.hooks.iter().map(|h| h.name()).collect();
            self.tell("TG0609", at, format!("`{name}` has no effect at {}", hooks.join(", ")), name);
        }
    }

    fn param(&mut self, name: &str, at: Position) {
        if self.unit.params.get(name).is_none() {
            let names: Vec<&str> =
                self.unit.params.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
            let hint = nearest::hint(name, names);
            let message =
                format!("there is no parameter `{name}`{hint} (name it in params.schema.json, with a default)");
            self.tell("TG0607", at, message, name);
        }
    }

    fn rule(&mut self, name: &str, at: Position, known: &[&str], what: &str) {
        if !known.contains(&name) {
            let hint = nearest::hint(name, known.iter().copied());
            self.tell("TG0608", at, format!("limits.yaml has no {what} `{name}`{hint}"), name);
        }
    }

    /// `caller.tenant` behind `facts.`
    fn facts_of(&mut self, rest: &Expr) {
        let (head, tail) = match rest {
            Expr::Dot(pair, ..) | Expr::Index(pair, ..) => (&pair.lhs, Some(&pair.rhs)),
            other => (other, None),
        };
        let Expr::Property(name, at) = head else {
            if let (Expr::MethodCall(call, _), Some((field, at))) = (head, tail.and_then(property))
                && matches!(call.name.as_str(), "budget" | "rate")
            {
                self.limit_field(&call.name, field, at);
            }
            return;
        };
        let Some(group) = Group::ALL.into_iter().find(|g| handles::word(*g) == name.2.as_str()) else {
            let hint = nearest::hint(&name.2, Group::ALL.iter().map(|g| handles::word(*g)));
            return self.tell("TG0606", *at, format!("the facts have no group `{}`{hint}", name.2), &name.2);
        };
        if matches!(group, Group::Budget | Group::Rate) {
            return self.tell("TG0606", *at, format!("write `facts.{}(\"RULE\")`", group.name()), group.name());
        }
        self.readable(group, *at);
        self.field_of(group, tail);
    }

    fn limit_field(&mut self, what: &str, field: &str, at: Position) {
        if !LIMIT_FIELDS.iter().any(|f| f.name == field) {
            let hint = nearest::hint(field, LIMIT_FIELDS.iter().map(|f| f.name));
            self.tell("TG0606", at, format!("a {what} has no field `{field}`{hint}"), field);
        }
    }

    /// `tenant` behind `facts.caller.`
    fn field_of(&mut self, group: Group, tail: Option<&Expr>) {
        if let Some((field, at)) = tail.and_then(property).filter(|_| group != Group::Text)
            && !FIELDS.iter().any(|f| f.group == group && f.name == field)
        {
            let names = FIELDS.iter().filter(|f| f.group == group).map(|f| f.name);
            let hint = nearest::hint(field, names);
            self.tell("TG0606", at, format!("`{}` has no fact `{field}`{hint}", handles::word(group)), field);
        }
    }

    fn readable(&mut self, group: Group, at: Position) {
        let listed = self.unit.reads.map_or(group != Group::Text, |listed| listed.contains(group));
        if !listed {
            let message = format!("the policy reads `{0}`: add `{0}` to `reads` in the manifest", group.name());
            self.tell("TG0610", at, message, group.name());
        }
        if self.hooks.iter().all(|hook| !group.known_at(*hook)) {
            let hooks: Vec<&str> = self.hooks.iter().map(|hook| hook.name()).collect();
            let message = format!("`{}` is not known at {}", group.name(), hooks.join(", "));
            self.tell("TG0611", at, message, group.name());
        }
    }
}

/// The first property of a path, and where it stands.
fn property(tail: &Expr) -> Option<(&str, Position)> {
    match tail {
        Expr::Property(field, at) => Some((field.2.as_str(), *at)),
        Expr::Dot(pair, ..) | Expr::Index(pair, ..) => match &pair.lhs {
            Expr::Property(field, at) => Some((field.2.as_str(), *at)),
            _ => None,
        },
        _ => None,
    }
}

/// Where the letters of a text begin.
fn behind_quote(at: Position) -> Position {
    match (at.line(), at.position()) {
        (Some(line), Some(column)) => Position::new(line as u16, (column as u16).saturating_add(1)),
        _ => at,
    }
}

/// `prefer_tier` says `prefer`.
fn effect_of(function: &str) -> &str {
    function.split('_').next().unwrap_or(function)
}

//! What Rhai finds out only when it runs, found at load: unknown functions, facts, parameters, rules.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, ASTNode, Engine, Expr, Position, Stmt};
use tollgate_core::contract::nearest;
use tollgate_core::policy::effect::Effect;
use tollgate_core::policy::schema::{FIELDS, Group, LIMIT_FIELDS};

use super::handles;
use crate::diagnostic::Diagnostic;
use crate::engine::Unit;

/// Functions of the language that policies have no use for.
pub const FORBIDDEN: [(&str, &str); 4] = [
    ("sleep", "policies have no clock"),
    ("print", "nobody reads it: say `note(..)`, it stands in the receipt"),
    ("debug", "nobody reads it: say `note(..)`, it stands in the receipt"),
    ("eval", "a policy is what its commit says"),
];

/// Looks through the whole script.
pub fn lint(engine: &Engine, ast: &AST, unit: &Unit<'_>) -> Result<(), Vec<Diagnostic>> {
    let functions: Vec<(String, Vec<String>)> =
        ast.iter_functions().map(|f| (f.name.to_owned(), f.params.iter().map(|p| (*p).to_owned()).collect())).collect();
    let mut lint = Lint { unit, known: known(engine, &functions), facts: BTreeSet::new(), found: Vec::new() };
    for hook in unit.hooks {
        match functions.iter().find(|(name, _)| name == hook.function()) {
            Some((_, params)) if params.len() == 1 => drop(lint.facts.insert(params[0].clone())),
            Some((name, params)) => {
                let message = format!("`{name}` must take one parameter, the facts, not {}", params.len());
                lint.tell("TG0602", Position::NONE, message, name);
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
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        match path.last() {
            Some(ASTNode::Expr(expr)) => lint.expression(expr),
            // A call that stands alone is a statement.
            Some(ASTNode::Stmt(Stmt::FnCall(call, at))) if !call.is_operator_call() && call.namespace.is_empty() => {
                lint.call(&call.name, &call.args, 0, *at);
            }
            Some(_) | None => {}
        }
        true
    });
    if lint.found.is_empty() { Ok(()) } else { Err(lint.found) }
}

/// The effects of one voice that a script calls for: `pin`, `split`, and `set` with a name that stands there.
pub fn writes(ast: &AST) -> Vec<String> {
    let mut found = BTreeSet::new();
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        let call = match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, _))) | Some(ASTNode::Stmt(Stmt::FnCall(call, _))) => call,
            Some(_) | None => return true,
        };
        match (&*call.name, call.args.first()) {
            ("pin" | "split", _) => drop(found.insert(call.name.to_string())),
            ("set", Some(Expr::StringConstant(name, _))) => drop(found.insert(format!("set {name}"))),
            _ => {}
        }
        true
    });
    found.into_iter().collect()
}

/// Names that may be called, each with its numbers of arguments.
fn known(engine: &Engine, functions: &[(String, Vec<String>)]) -> BTreeMap<String, BTreeSet<usize>> {
    let native =
        engine.collect_fn_metadata(None, |info| Some((info.metadata.name.to_string(), info.metadata.num_params)), true);
    let own = functions.iter().map(|(name, params)| (name.clone(), params.len()));
    let mut known: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (name, count) in native.into_iter().chain(own) {
        known.entry(name).or_default().insert(count);
    }
    // Words of the language that are parsed as calls.
    for (word, counts) in [
        ("type_of", vec![1]),
        ("is_def_var", vec![1]),
        ("is_def_fn", vec![2]),
        ("is_shared", vec![1]),
        ("Fn", vec![1]),
        ("call", (1..9).collect()),
        ("curry", (1..9).collect()),
    ] {
        known.entry(word.to_owned()).or_default().extend(counts);
    }
    known
}

struct Lint<'a> {
    unit: &'a Unit<'a>,
    known: BTreeMap<String, BTreeSet<usize>>,
    /// What the hooks call their parameter.
    facts: BTreeSet<String>,
    found: Vec<Diagnostic>,
}

impl Lint<'_> {
    fn tell(&mut self, code: &'static str, at: Position, message: String, over: &str) {
        let (line, column) = (at.line().unwrap_or(0) as u32, at.position().unwrap_or(1) as u32);
        let length = over.chars().count() as u32;
        self.found.push(Diagnostic::error(code, self.unit.shown, message).at(line, column).over(length));
    }

    fn expression(&mut self, expr: &Expr) {
        match expr {
            Expr::FnCall(call, at) if !call.is_operator_call() && call.namespace.is_empty() => {
                self.call(&call.name, &call.args, 0, *at);
            }
            Expr::MethodCall(call, at) => self.call(&call.name, &call.args, 1, *at),
            Expr::Dot(pair, ..) => {
                if let Expr::Variable(name, _, _) = &pair.lhs
                    && self.facts.contains(name.1.as_str())
                {
                    self.facts_of(&pair.rhs);
                }
            }
            _ => {}
        }
    }

    fn call(&mut self, name: &str, args: &[Expr], receiver: usize, at: Position) {
        if let Some((_, why)) = FORBIDDEN.iter().find(|(word, _)| *word == name) {
            return self.tell("TG0603", at, format!("`{name}` cannot be used: {why}"), name);
        }
        let count = args.len() + receiver;
        match self.known.get(name) {
            None => {
                let hint = nearest::hint(name, self.known.keys().map(String::as_str));
                return self.tell("TG0604", at, format!("unknown function `{name}`{hint}"), name);
            }
            Some(counts) if !counts.contains(&count) => {
                let told: Vec<String> = counts.iter().map(|n| (n - receiver.min(*n)).to_string()).collect();
                let message = format!("`{name}` takes {} arguments, not {}", told.join(" or "), args.len());
                return self.tell("TG0605", at, message, name);
            }
            Some(_) => {}
        }
        let literal = match args.first() {
            Some(Expr::StringConstant(text, at)) => Some((text.as_str(), *at)),
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
        let nowhere = self.unit.hooks.iter().all(|hook| !Effect::name_legal_at(effect_of(name), *hook));
        if receiver == 0 && Effect::NAMES.contains(&effect_of(name)) && nowhere {
            let hooks: Vec<&str> = self.unit.hooks.iter().map(|h| h.name()).collect();
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
            if let (Expr::MethodCall(call, _), Some(Expr::Property(field, at))) = (head, tail)
                && matches!(call.name.as_str(), "budget" | "rate")
                && !LIMIT_FIELDS.iter().any(|f| f.name == field.2.as_str())
            {
                let hint = nearest::hint(&field.2, LIMIT_FIELDS.iter().map(|f| f.name));
                self.tell("TG0606", *at, format!("a {} has no field `{}`{hint}", call.name, field.2), &field.2);
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
        let field = match tail {
            Some(Expr::Property(field, at)) => Some((&field.2, *at)),
            Some(Expr::Dot(pair, ..) | Expr::Index(pair, ..)) => match &pair.lhs {
                Expr::Property(field, at) => Some((&field.2, *at)),
                _ => None,
            },
            _ => None,
        };
        if let Some((field, at)) = field.filter(|_| group != Group::Text)
            && !FIELDS.iter().any(|f| f.group == group && f.name == field.as_str())
        {
            let names = FIELDS.iter().filter(|f| f.group == group).map(|f| f.name);
            let hint = nearest::hint(field, names);
            self.tell("TG0606", at, format!("`{}` has no fact `{field}`{hint}", group.name()), field);
        }
    }

    fn readable(&mut self, group: Group, at: Position) {
        let listed = self.unit.reads.map_or(group != Group::Text, |listed| listed.contains(group));
        if !listed {
            let message = format!("the policy reads `{0}`: add `{0}` to `reads` in the manifest", group.name());
            self.tell("TG0610", at, message, group.name());
        }
        if let Some(hook) =
            self.unit.hooks.iter().find(|hook| !group.known_at(**hook)).filter(|_| self.unit.hooks.len() == 1)
        {
            self.tell("TG0611", at, format!("`{}` is not known at {}", group.name(), hook.name()), group.name());
        }
    }
}

/// `prefer_tier` says `prefer`.
fn effect_of(function: &str) -> &str {
    function.split('_').next().unwrap_or(function)
}

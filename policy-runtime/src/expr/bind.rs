//! Walks a parsed expression once: names become slots, types are checked, everything unknown is told with its place.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SourceInfo};
use cel::common::value::Val;
use cel::{IdedExpr, Value};
use serde_json::Value as Json;
use tollgate_core::contract::glob::Glob;
use tollgate_core::contract::nearest;
use tollgate_core::policy::effect::StickyBy;
use tollgate_core::policy::parse::sticky_by;
use tollgate_core::policy::schema::{FIELDS, Field, Group, GroupSet, Kind, LIMIT_FIELDS, field};

use super::check::{self, Type};
use super::guard::{Parsed, place};
use super::loops::{self, LOOPS_DEEP_MAX};
use super::paths::{literal_text, literal_type, path_of};
use super::slots::{Compiled, Slot, slot_name};
use super::{Names, Origin};
use crate::diagnostic::Diagnostic;

/// A compiled regular expression may be this large.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Binds and checks; gives the groups that are named.
pub fn bind(
    parsed: Parsed,
    text: &str,
    origin: Origin<'_>,
    names: Names<'_>,
) -> Result<(Compiled, GroupSet), Vec<Diagnostic>> {
    let Parsed { mut root, source } = parsed;
    let mut walk = Walk {
        text,
        source: &source,
        origin,
        names,
        slots: Vec::new(),
        reads: GroupSet::default(),
        locals: Vec::new(),
        loops: 0,
        found: Vec::new(),
    };
    let kind = walk.expression(&mut root);
    if !matches!(kind, Type::Bool | Type::Any) && walk.found.is_empty() {
        let (line, column) = (origin.line, origin.column);
        let length = text.lines().next().map_or(1, |line| line.chars().count() as u32);
        let told = walk.tell("TG0507", root.id, format!("the expression must be true or false, it is {}", kind.name()));
        (told.line, told.column, told.length) = (line, column, length);
    }
    let (found, slots, reads) = (walk.found, walk.slots, walk.reads);
    if found.is_empty() { Ok((Compiled { root, slots }, reads)) } else { Err(found) }
}

struct Walk<'a> {
    text: &'a str,
    source: &'a SourceInfo,
    origin: Origin<'a>,
    names: Names<'a>,
    slots: Vec<Slot>,
    reads: GroupSet,
    /// Variables of the loops around.
    locals: Vec<String>,
    loops: usize,
    found: Vec<Diagnostic>,
}

impl Walk<'_> {
    fn tell(&mut self, code: &'static str, id: u64, message: String) -> &mut Diagnostic {
        let offset = self.source.offset_for(id).map_or(0, |(start, _)| start as usize);
        let before: String = self.text.chars().take(offset).collect();
        let line = before.matches('\n').count() as u32 + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
        let (line, column) = place(self.origin, line, column);
        self.found.push(Diagnostic::error(code, self.origin.shown, message).at(line, column));
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// The same about a call: the parser points at the bracket, people at the name before it.
    fn tell_call(&mut self, code: &'static str, id: u64, name: &str, message: String) {
        let offset = self.source.offset_for(id).map_or(0, |(start, _)| start as usize);
        let before: String = self.text.chars().take(offset).collect();
        let told = self.tell(code, id, message);
        let length = name.chars().count() as u32;
        if before.ends_with(name) && told.column > length {
            (told.column, told.length) = (told.column - length, length);
        }
    }

    /// Replaces a node by a slot.
    fn slot(&mut self, node: &mut IdedExpr, slot: Slot) {
        node.expr = Expr::Ident(slot_name(self.slots.len()));
        self.slots.push(slot);
    }

    fn expression(&mut self, node: &mut IdedExpr) -> Type {
        if let Some(kind) = self.named(node) {
            return kind;
        }
        let id = node.id;
        match &mut node.expr {
            Expr::Literal(literal) => literal_type(literal),
            Expr::Ident(name) if self.locals.contains(name) => Type::Any,
            Expr::Ident(name) => {
                let groups = Group::ALL.iter().map(|g| g.name()).chain(["param"]);
                let hint = nearest::hint(name, groups);
                let message = format!("unknown name `{name}`{hint}");
                let length = name.len() as u32;
                self.tell("TG0504", id, message).length = length;
                Type::Any
            }
            Expr::List(list) => {
                for element in &mut list.elements {
                    self.expression(element);
                }
                Type::List
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.expression(&mut entry.key);
                        self.expression(&mut entry.value);
                    }
                }
                Type::Map
            }
            Expr::Select(select) => {
                self.expression(&mut select.operand);
                Type::Any
            }
            Expr::Comprehension(inner) => self.comprehension(id, inner),
            Expr::Call(_) => self.call(node),
            Expr::Struct(_) | Expr::Unspecified => {
                self.tell("TG0503", id, "there are no messages to build here".to_owned());
                Type::Any
            }
        }
    }

    /// `exists`, `all`, `filter`, `map`: each turn is charged.
    fn comprehension(&mut self, id: u64, inner: &mut ComprehensionExpr) -> Type {
        self.expression(&mut inner.iter_range);
        if self.loops == LOOPS_DEEP_MAX {
            let message = format!("loops stand in loops, at most {LOOPS_DEEP_MAX} deep: write the policy in Rhai");
            self.tell("TG0508", id, message);
            return Type::Any;
        }
        self.loops += 1;
        let known = self.locals.len();
        self.locals.extend([inner.iter_var.clone(), inner.accu_var.clone()]);
        self.locals.extend(inner.iter_var2.clone());
        for part in [&mut inner.accu_init, &mut inner.loop_cond, &mut inner.loop_step] {
            self.expression(part);
        }
        let result = self.expression(&mut inner.result);
        self.locals.truncate(known);
        self.loops -= 1;
        let turn = slot_name(self.slots.len());
        self.slots.push(Slot::Turn(loops::price(&inner.loop_step)));
        loops::charge(inner, Expr::Ident(turn));
        match inner.accu_init.expr {
            Expr::Literal(LiteralValue::Boolean(_)) => Type::Bool,
            Expr::List(_) => Type::List,
            _ => result,
        }
    }

    /// A path that names facts, a rule or a parameter.
    fn named(&mut self, node: &mut IdedExpr) -> Option<Type> {
        let path = path_of(&node.expr)?;
        let id = node.id;
        let (root, rest) = path.split_first()?;
        if self.locals.contains(root) {
            return None;
        }
        match (root.as_str(), rest) {
            ("param", [name, inner @ ..]) => Some(self.param(node, name, inner)),
            ("budget" | "rate", [rule, name]) => Some(self.limit(node, root == "rate", rule, name)),
            ("budget" | "rate", _) => {
                let message = format!("write `{root}[\"RULE\"].ratio`: a rule of limits.yaml and one of its fields");
                self.tell("TG0504", id, message);
                Some(Type::Any)
            }
            (group, rest) => {
                let group = Group::named(group)?;
                match rest {
                    [name] => Some(self.fact(node, group, name)),
                    _ => {
                        let fields = fields_of(group).join("`, `");
                        self.tell("TG0504", id, format!("`{root}` has the facts `{fields}`: name one"));
                        Some(Type::Any)
                    }
                }
            }
        }
    }

    fn fact(&mut self, node: &mut IdedExpr, group: Group, name: &str) -> Type {
        let Some(found) = self.find_fact(node.id, group, name) else { return Type::Any };
        self.slot(node, Slot::Fact(found));
        Type::of(found.kind)
    }

    fn find_fact(&mut self, id: u64, group: Group, name: &str) -> Option<&'static Field> {
        let Some(found) = field(group, name) else {
            let hint = nearest::hint(name, fields_of(group));
            let length = name.len() as u32;
            let told = self.tell("TG0504", id, format!("`{}` has no fact `{name}`{hint}", group.name()));
            (told.column, told.length) = (told.column + 1, length);
            return None;
        };
        self.known(id, group);
        Some(found)
    }

    /// Notes the group, and tells where it is not known at a hook.
    fn known(&mut self, id: u64, group: Group) {
        self.reads.insert(group);
        if let Some(hook) = self.names.hooks.iter().find(|hook| !group.known_at(**hook)) {
            self.tell("TG0505", id, format!("`{}` is not known at {}", group.name(), hook.name()));
        }
    }

    fn limit(&mut self, node: &mut IdedExpr, rate: bool, rule: &str, name: &str) -> Type {
        let (group, rules) = match rate {
            true => (Group::Rate, self.names.rates),
            false => (Group::Budget, self.names.budgets),
        };
        if !rules.contains(&rule) {
            let hint = nearest::hint(rule, rules.iter().copied());
            self.tell("TG0506", node.id, format!("limits.yaml has no {} `{rule}`{hint}", group.name()));
            return Type::Any;
        }
        let Some(field) = LIMIT_FIELDS.iter().find(|f| f.name == name) else {
            let hint = nearest::hint(name, LIMIT_FIELDS.iter().map(|f| f.name));
            self.tell("TG0504", node.id, format!("a {} has no field `{name}`{hint}", group.name()));
            return Type::Any;
        };
        self.known(node.id, group);
        self.slot(node, Slot::Limit { rate, rule: rule.to_owned(), field });
        Type::of(field.kind)
    }

    fn param(&mut self, node: &mut IdedExpr, name: &str, inner: &[String]) -> Type {
        let mut value = &self.names.params[name];
        if value.is_null() {
            let known: Vec<&str> =
                self.names.params.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
            let hint = nearest::hint(name, known);
            self.tell("TG0509", node.id, format!("there is no parameter `{name}`{hint}"));
            return Type::Any;
        }
        for step in inner {
            value = &value[step.as_str()];
        }
        if value.is_null() {
            self.tell("TG0509", node.id, format!("parameter `{name}` has no `{}`", inner.join(".")));
            return Type::Any;
        }
        let (kind, value) = (Type::of_json(value), constant(value));
        match value {
            Some(value) => {
                let path: Vec<&str> = std::iter::once(name).chain(inner.iter().map(String::as_str)).collect();
                self.slot(node, Slot::Param(path.join("."), value));
            }
            None => drop(self.tell("TG0509", node.id, format!("parameter `{name}` cannot be used in an expression"))),
        }
        kind
    }

    fn call(&mut self, node: &mut IdedExpr) -> Type {
        let id = node.id;
        if let Some(kind) = self.own_function(node) {
            return kind;
        }
        let Expr::Call(CallExpr { func_name, target, args }) = &mut node.expr else { return Type::Any };
        let name = func_name.clone();
        let mut types: Vec<Type> = Vec::with_capacity(args.len() + 1);
        let name = match target {
            // A namespace, not a value.
            Some(target) if matches!(&target.expr, Expr::Ident(name) if name == "math") => format!("math.{name}"),
            Some(target) => {
                types.push(self.expression(target));
                name
            }
            None => name,
        };
        for arg in args.iter_mut() {
            types.push(self.expression(arg));
        }
        match check::operator(&name, &types).or_else(|| check::function(&name, &types)) {
            Some(Ok(kind)) => kind,
            Some(Err(message)) => {
                self.tell("TG0507", id, message);
                Type::Any
            }
            None => {
                let hint = nearest::hint(&name, check::FUNCTIONS);
                let (code, message) = match check::FUNCTIONS.contains(&name.as_str()) {
                    true => ("TG0510", format!("`{name}` does not take {} arguments", types.len())),
                    false => ("TG0503", format!("unknown function `{name}`{hint}")),
                };
                self.tell_call(code, id, &name, message);
                Type::Any
            }
        }
    }

    /// Functions of the host: they become slots, so their arguments are literals.
    fn own_function(&mut self, node: &mut IdedExpr) -> Option<Type> {
        let id = node.id;
        let Expr::Call(CallExpr { func_name, target, args }) = &node.expr else { return None };
        let literals: Vec<Option<String>> = args.iter().map(|a| literal_text(&a.expr)).collect();
        let receiver = target.as_ref().and_then(|t| path_of(&t.expr));
        let first = args.first().and_then(|a| path_of(&a.expr));
        match (func_name.as_str(), receiver, &literals[..]) {
            ("matches", Some(path), [Some(pattern)]) => Some(self.regex(node, &path, pattern)),
            ("matches", ..) => {
                let message = "`matches` takes a fact and a literal: `call.user_agent.matches(\"^curl/\")`";
                self.tell_call("TG0511", id, "matches", message.to_owned());
                Some(Type::Bool)
            }
            ("contains", Some(path), [Some(words)]) if path == ["text"] => {
                self.known(id, Group::Text);
                self.slot(node, Slot::TextContains(words.clone()));
                Some(Type::Bool)
            }
            ("glob", None, [_, Some(pattern)]) if first.is_some() => {
                Some(self.glob(node, &first.unwrap_or_default(), pattern))
            }
            ("bucket", None, [Some(name)]) => Some(self.bucket(node, name, None)),
            ("bucket", None, [Some(name), Some(by)]) => Some(self.bucket(node, name, Some(by))),
            ("glob" | "bucket", ..) => {
                let message = format!(
                    "`{func_name}` takes literals: `glob(meta.use_case, \"sales-*\")`, `bucket(\"name\", \"user\")`"
                );
                self.tell("TG0511", id, message);
                Some(Type::Any)
            }
            _ => None,
        }
    }

    fn text_fact(&mut self, id: u64, path: &[String]) -> Option<&'static Field> {
        let group = path.first().and_then(|g| Group::named(g));
        let found = match (group, path) {
            (Some(group), [_, name]) => self.find_fact(id, group, name)?,
            _ => {
                self.tell("TG0511", id, format!("`{}` is no fact", path.join(".")));
                return None;
            }
        };
        if found.kind != Kind::Text {
            self.tell("TG0507", id, format!("`{}` is no text", path.join(".")));
            return None;
        }
        Some(found)
    }

    fn regex(&mut self, node: &mut IdedExpr, path: &[String], pattern: &str) -> Type {
        let compiled = regex::RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
        match (self.text_fact(node.id, path), compiled) {
            (Some(field), Ok(regex)) => self.slot(node, Slot::Regex(field, regex)),
            (_, Err(why)) => {
                let why = why.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.tell("TG0511", node.id, format!("`{pattern}` is no regular expression: {why}"));
            }
            (None, Ok(_)) => {}
        }
        Type::Bool
    }

    fn glob(&mut self, node: &mut IdedExpr, path: &[String], pattern: &str) -> Type {
        match (self.text_fact(node.id, path), Glob::new(pattern)) {
            (Some(field), Ok(glob)) => self.slot(node, Slot::Glob(field, glob)),
            (_, Err(why)) => drop(self.tell("TG0511", node.id, why)),
            (None, Ok(_)) => {}
        }
        Type::Bool
    }

    fn bucket(&mut self, node: &mut IdedExpr, name: &str, by: Option<&String>) -> Type {
        match by.map_or(Ok(StickyBy::Sticky), |by| sticky_by(by)) {
            Ok(by) => self.slot(node, Slot::Bucket { name: name.to_owned(), by }),
            Err(why) => drop(self.tell("TG0511", node.id, why)),
        }
        Type::Int
    }
}

fn fields_of(group: Group) -> Vec<&'static str> {
    FIELDS.iter().filter(|f| f.group == group).map(|f| f.name).collect()
}

/// A parameter as the interpreter holds it.
fn constant(value: &Json) -> Option<Box<dyn Val>> {
    let value: Value = cel::to_value(value).ok()?;
    value.try_into().ok()
}

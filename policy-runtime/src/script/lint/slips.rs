//! What the language takes and nobody means: an effect that is thrown away, and a comparison of two kinds, which is never true.

use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt, StmtBlock};
use tollgate_core::policy::effect::Effect;
use tollgate_core::policy::schema::{FIELDS, Group, Kind, LIMIT_FIELDS};

use super::{Held, Lint, effect_of, property};
use crate::script::handles;

impl Lint<'_> {
    /// Effects whose value nobody takes, in one function.
    pub(super) fn thrown_away(&mut self, ast: &AST) {
        let mut last: Option<*const Stmt> = None;
        ast.walk(&mut |path: &[ASTNode<'_>]| {
            if let [ASTNode::Stmt(stmt)] = path {
                last = Some(std::ptr::from_ref::<Stmt>(stmt));
            }
            true
        });
        let mut found = Vec::new();
        ast.walk(&mut |path: &[ASTNode<'_>]| {
            let call = match path {
                [.., ASTNode::Stmt(Stmt::FnCall(call, at))]
                // An arm without braces.
                | [.., ASTNode::Stmt(Stmt::Switch(..)), ASTNode::Expr(Expr::FnCall(call, at))] => Some((&**call, *at)),
                [.., ASTNode::Stmt(Stmt::Expr(expr))] => match &**expr {
                    Expr::FnCall(call, at) => Some((&**call, *at)),
                    _ => None,
                },
                _ => None,
            };
            if let Some((call, at)) = call
                && let Some(name) = effect_in(call)
                && !is_taken(path, last)
            {
                found.push((name.to_owned(), at));
            }
            true
        });
        for (name, at) in found {
            let message = format!(
                "the effect `{name}(..)` is thrown away: return it, or add it to what is returned (`decision += {name}(..)`)"
            );
            self.tell("TG0613", at, message, &name);
        }
    }

    /// A comparison whose sides are of two kinds.
    pub(super) fn compared(&mut self, call: &FnCallExpr, at: Position) {
        if !matches!(call.name.as_str(), "==" | "!=" | "<" | ">" | "<=" | ">=") {
            return;
        }
        let [left, right] = &call.args[..] else { return };
        let (Some(one), Some(other)) = (self.kind_of(left), self.kind_of(right)) else { return };
        if one == other {
            return;
        }
        let always = if call.name == "!=" { "true" } else { "false" };
        let hint = match (one, other) {
            ("a list", "a text") | ("a text", "a list") => ": write `TEXT in LIST`",
            _ => "",
        };
        let message = format!("{one} and {other} are compared, which is always {always}{hint}");
        self.tell("TG0614", at, message, "");
    }

    fn kind_of(&self, expr: &Expr) -> Option<&'static str> {
        let kind = match expr {
            Expr::StringConstant(..) | Expr::InterpolatedString(..) => Kind::Text,
            Expr::IntegerConstant(..) => Kind::Int,
            Expr::FloatConstant(..) => Kind::Float,
            Expr::BoolConstant(..) => Kind::Bool,
            Expr::Array(..) => Kind::TextList,
            Expr::Dot(pair, ..) => self.fact_kind(&pair.lhs, &pair.rhs)?,
            _ => return None,
        };
        Some(match kind {
            Kind::Text => "a text",
            Kind::Int | Kind::Float => "a number",
            Kind::Bool => "a truth value",
            Kind::TextList => "a list",
        })
    }

    /// The kind of a fact that is named whole.
    fn fact_kind(&self, head: &Expr, tail: &Expr) -> Option<Kind> {
        let Expr::Variable(name, ..) = head else { return None };
        let field = |group: Group, tail: &Expr| {
            let (name, _) = whole(tail)?;
            FIELDS.iter().find(|field| field.group == group && field.name == name).map(|field| field.kind)
        };
        let limit = |tail: &Expr| {
            let (name, _) = whole(tail)?;
            LIMIT_FIELDS.iter().find(|field| field.name == name).map(|field| field.kind)
        };
        match self.held.get(name.1.as_str()) {
            Some(Held::Group(group)) => return field(*group, tail),
            Some(Held::Limit) => return limit(tail),
            None if !self.facts.contains(name.1.as_str()) => return None,
            None => {}
        }
        let Expr::Dot(pair, ..) = tail else { return None };
        match &pair.lhs {
            Expr::Property(name, _) => {
                let group = Group::ALL.into_iter().find(|group| handles::word(*group) == name.2.as_str())?;
                field(group, &pair.rhs)
            }
            Expr::MethodCall(call, _) if matches!(call.name.as_str(), "budget" | "rate") => limit(&pair.rhs),
            _ => None,
        }
    }
}

/// A property with nothing behind it.
fn whole(tail: &Expr) -> Option<(&str, Position)> {
    property(tail).filter(|_| matches!(tail, Expr::Property(..)))
}

/// The first effect that a call says, itself or as one of those that it joins. `none()` says nothing.
fn effect_in(call: &FnCallExpr) -> Option<&str> {
    let joins = call.is_operator_call() && call.name == "+";
    let inner = |arg: &'_ Expr| matches!(arg, Expr::FnCall(..)) && joins;
    match call.namespace.is_empty() && Effect::NAMES.contains(&effect_of(&call.name)) {
        true => Some(&call.name),
        false => call.args.iter().filter(|arg| inner(arg)).find_map(|arg| match arg {
            Expr::FnCall(call, _) => effect_in(call),
            _ => None,
        }),
    }
}

/// Does somebody take the value of the statement at the end of the path? `last` is the function's own last one.
fn is_taken(path: &[ASTNode<'_>], last: Option<*const Stmt>) -> bool {
    let is_last = |block: &StmtBlock, stmt: &Stmt| block.statements().last().is_some_and(|s| std::ptr::eq(s, stmt));
    let ASTNode::Stmt(first) = &path[0] else { return true };
    let mut taken = last.is_some_and(|last| std::ptr::eq(last, *first));
    for pair in path.windows(2) {
        taken = match (&pair[0], &pair[1]) {
            (ASTNode::Stmt(Stmt::If(flow, _) | Stmt::TryCatch(flow, _)), ASTNode::Stmt(stmt)) => {
                taken && (is_last(&flow.body, stmt) || is_last(&flow.branch, stmt))
            }
            (ASTNode::Stmt(Stmt::Block(block)), ASTNode::Stmt(stmt)) => taken && is_last(block, stmt),
            (ASTNode::Expr(Expr::Stmt(block)), ASTNode::Stmt(stmt)) => taken && is_last(block, stmt),
            (ASTNode::Stmt(Stmt::While(..) | Stmt::Do(..) | Stmt::For(..)), ASTNode::Stmt(_)) => false,
            (ASTNode::Stmt(Stmt::Switch(..) | Stmt::Expr(..)), ASTNode::Expr(_)) => taken,
            // An operand, an argument, what a variable gets.
            _ => true,
        };
    }
    taken
}

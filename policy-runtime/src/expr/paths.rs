//! Small readings of a parsed expression: paths and literals.

use cel::common::ast::{Expr, LiteralValue};

use super::check::Type;

/// `a.b`, `a["b"].c` as its parts; `None` for anything else.
pub fn path_of(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Ident(name) => Some(vec![name.clone()]),
        Expr::Select(select) if !select.test => {
            let mut path = path_of(&select.operand.expr)?;
            path.push(select.field.clone());
            Some(path)
        }
        Expr::Call(call) if call.func_name == "_[_]" => {
            let [operand, index] = &call.args[..] else { return None };
            let mut path = path_of(&operand.expr)?;
            path.push(literal_text(&index.expr)?);
            Some(path)
        }
        _ => None,
    }
}

pub fn literal_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    }
}

pub fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Double(_) => Type::Float,
        LiteralValue::Int(_) | LiteralValue::UInt(_) => Type::Int,
        LiteralValue::String(_) => Type::Text,
        LiteralValue::Bytes(_) | LiteralValue::Null => Type::Any,
    }
}

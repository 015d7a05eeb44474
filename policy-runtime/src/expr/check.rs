//! Types, as far as they are plain: enough to refuse `caller.tenant > 5` at load instead of at 3 a.m.

use tollgate_core::policy::schema::Kind;

/// What a part of an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int,
    Float,
    Text,
    List,
    Map,
    /// Not known at load: taken as it comes.
    Any,
}

impl Type {
    pub fn of(kind: Kind) -> Type {
        match kind {
            Kind::Text => Type::Text,
            Kind::Int => Type::Int,
            Kind::Float => Type::Float,
            Kind::Bool => Type::Bool,
            Kind::TextList => Type::List,
        }
    }

    pub fn of_json(value: &serde_json::Value) -> Type {
        match value {
            serde_json::Value::Null => Type::Any,
            serde_json::Value::Bool(_) => Type::Bool,
            serde_json::Value::Number(n) if n.is_f64() => Type::Float,
            serde_json::Value::Number(_) => Type::Int,
            serde_json::Value::String(_) => Type::Text,
            serde_json::Value::Array(_) => Type::List,
            serde_json::Value::Object(_) => Type::Map,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Type::Bool => "a truth value",
            Type::Int => "a whole number",
            Type::Float => "a number",
            Type::Text => "a text",
            Type::List => "a list",
            Type::Map => "a table",
            Type::Any => "anything",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Type::Int | Type::Float | Type::Any)
    }
}

/// The type of an operator's result, or what is wrong with its operands.
pub fn operator(name: &str, args: &[Type]) -> Option<Result<Type, String>> {
    let known = |wanted: Type| args.iter().find(|t| **t != wanted && **t != Type::Any);
    Some(match name {
        "_&&_" | "_||_" | "!_" | "@not_strictly_false" => match known(Type::Bool) {
            None => Ok(Type::Bool),
            Some(other) => Err(format!("`&&`, `||` and `!` join truth values, this is {}", other.name())),
        },
        "_==_" | "_!=_" => match args {
            [a, b] if a == b || *a == Type::Any || *b == Type::Any || (a.is_number() && b.is_number()) => {
                Ok(Type::Bool)
            }
            [a, b] => Err(format!("{} never equals {}", a.name(), b.name())),
            _ => Ok(Type::Bool),
        },
        "_<_" | "_<=_" | "_>_" | "_>=_" => match args {
            [a, b] if a.is_number() && b.is_number() => Ok(Type::Bool),
            [Type::Text | Type::Any, Type::Text | Type::Any] => Ok(Type::Bool),
            [a, b] => Err(format!("{} cannot be compared with {}", a.name(), b.name())),
            _ => Ok(Type::Bool),
        },
        "_+_" | "_-_" | "_*_" | "_/_" | "_%_" => match args {
            [Type::Text, Type::Text] if name == "_+_" => Ok(Type::Text),
            [Type::List, Type::List] if name == "_+_" => Ok(Type::List),
            [a, b] if a == b && a.is_number() => Ok(*a),
            [Type::Any, _] | [_, Type::Any] => Ok(Type::Any),
            [a, b] => Err(format!(
                "{} and {} do not add up: both sides must be of one kind (`2.0` is a number, `2` a whole one)",
                a.name(),
                b.name()
            )),
            _ => Ok(Type::Any),
        },
        "-_" => Ok(args.first().copied().unwrap_or(Type::Any)),
        "_?_:_" => match args {
            [Type::Bool | Type::Any, a, b] => Ok(if a == b { *a } else { Type::Any }),
            _ => Err("before `?` stands a truth value".to_owned()),
        },
        "@in" => match args {
            [_, Type::List | Type::Map | Type::Any] => Ok(Type::Bool),
            [_, other] => Err(format!("`in` looks into a list, this is {}", other.name())),
            _ => Ok(Type::Bool),
        },
        "_[_]" => Ok(Type::Any),
        _ => return None,
    })
}

/// Functions of the language that may be called: name, arguments with the receiver, and the result.
pub fn function(name: &str, args: &[Type]) -> Option<Result<Type, String>> {
    let of = |wanted: &[Type], result: Type| {
        let wrong = args.iter().zip(wanted).find(|(is, wanted)| is != wanted && **is != Type::Any);
        match wrong {
            None => Ok(result),
            Some((is, Type::Text)) => Err(format!("`{name}` works on texts, this is {}", is.name())),
            Some((is, wanted)) => Err(format!("`{name}` takes {} here, this is {}", wanted.name(), is.name())),
        }
    };
    let number = |result: Option<Type>| match args.iter().find(|t| !t.is_number() && **t != Type::Any) {
        Some(other) => Err(format!("`{name}` works on numbers, this is {}", other.name())),
        None => Ok(result.unwrap_or_else(|| match args {
            [first, rest @ ..] if rest.iter().all(|t| t == first) => *first,
            _ => Type::Any,
        })),
    };
    use Type::{Bool, Float, Int, Text};
    Some(match (name, args.len()) {
        ("startsWith" | "endsWith" | "contains", 2) => of(&[Text, Text], Bool),
        ("lowerAscii" | "upperAscii" | "trim", 1) => of(&[Text], Text),
        ("indexOf" | "lastIndexOf", 2 | 3) => of(&[Text, Text, Int], Int),
        ("charAt", 2) | ("substring", 2 | 3) => of(&[Text, Int, Int], Text),
        ("size" | "int", 1) => Ok(Int),
        ("double", 1) => Ok(Float),
        ("string", 1) => Ok(Text),
        ("bool", 1) => Ok(Bool),
        ("dyn", 1) => Ok(Type::Any),
        ("math.abs" | "math.sign", 1) | ("math.@max" | "math.@min", _) => number(None),
        ("math.ceil" | "math.floor" | "math.round" | "math.trunc", 1) => of(&[Float], Float),
        ("math.sqrt", 1) => number(Some(Float)),
        _ => return None,
    })
}

/// Names for the nearest one, and for docs/reference/cel.md.
pub const FUNCTIONS: [&str; 29] = [
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "lowerAscii",
    "upperAscii",
    "trim",
    "indexOf",
    "lastIndexOf",
    "charAt",
    "substring",
    "size",
    "int",
    "double",
    "string",
    "bool",
    "dyn",
    "has",
    "glob",
    "bucket",
    "math.greatest",
    "math.least",
    "math.abs",
    "math.sign",
    "math.ceil",
    "math.floor",
    "math.round",
    "math.trunc",
    "math.sqrt",
];

//! `params.schema.json`: what a policy may be given under `with`. The small part of JSON Schema that settings need.
//!
//! Known: type, properties, required, additionalProperties, items, enum, minimum, maximum, minItems, maxItems, default,
//! and the annotations title, description, examples, $schema, $id, $comment. Any other keyword checks nothing and is
//! warned about, so that nobody relies on it.

use serde_json::{Map, Value};
use tollgate_core::contract::nearest;

use crate::diagnostic::Diagnostic;
use crate::reading::Reading;
use crate::yaml::{Data, Key, Node, Place};

/// The file's name in a policy's folder.
pub const FILE: &str = "params.schema.json";

const ANNOTATIONS: [&str; 6] = ["title", "description", "examples", "$schema", "$id", "$comment"];
const CHECKS: [&str; 11] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "default",
];

/// A compiled schema.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schema {
    /// Empty = any.
    types: Vec<Type>,
    properties: Vec<(String, Schema)>,
    required: Vec<String>,
    additional: Additional,
    items: Option<Box<Schema>>,
    one_of: Option<Vec<Value>>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    items_min: Option<usize>,
    items_max: Option<usize>,
    default: Option<Value>,
}

#[derive(Debug, Clone, Default, PartialEq)]
enum Additional {
    #[default]
    Any,
    None,
    Of(Box<Schema>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

const TYPES: [(&str, Type); 7] = [
    ("null", Type::Null),
    ("boolean", Type::Boolean),
    ("integer", Type::Integer),
    ("number", Type::Number),
    ("string", Type::String),
    ("array", Type::Array),
    ("object", Type::Object),
];

impl Schema {
    /// Reads a schema file. Faults of the schema itself, and keywords that check nothing, are found.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<(Schema, Vec<Diagnostic>), Vec<Diagnostic>> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| {
            let at = (e.line() as u32, e.column() as u32);
            vec![Diagnostic::error("TG0114", file, format!("no valid JSON: {e}")).at(at.0, at.1)]
        })?;
        let mut compiler = Compiler { file, findings: Vec::new() };
        let schema = compiler.schema(&value, "");
        if !schema.types.is_empty() && schema.types != [Type::Object] {
            compiler.fault("", "the schema of parameters must be of type `object`");
        }
        let faulty = compiler.findings.iter().any(|f| f.severity == crate::diagnostic::Severity::Error);
        if faulty { Err(compiler.findings) } else { Ok((schema, compiler.findings)) }
    }

    /// The value over the defaults. What does not fit is told at its place, with the path of the key.
    pub fn fill(&self, reading: &Reading<'_>, with: &Node) -> Value {
        let mut told = |at: Place, what: String| reading.tell("TG0112", at, what);
        self.check(with, "with", &mut told)
    }

    fn check(&self, node: &Node, path: &str, tell: &mut dyn FnMut(Place, String)) -> Value {
        if !self.types.is_empty() && !self.types.iter().any(|t| t.admits(node)) {
            let wanted: Vec<&str> = self.types.iter().map(|t| t.said()).collect();
            let hint = match (&node.data, self.types.contains(&Type::String)) {
                (Data::Bool(_) | Data::Int(_) | Data::Float(_), true) => ", put it in quotes",
                _ => "",
            };
            tell(node.at, format!("`{path}` must be {}, not {}{hint}", wanted.join(" or "), node.kind()));
            return node.json();
        }
        if let Some(known) = &self.one_of
            && !known.contains(&node.json())
        {
            let texts: Vec<&str> = known.iter().filter_map(Value::as_str).collect();
            let hint = match &node.data {
                Data::Text(text) => nearest::hint(text, texts.iter().copied()),
                _ => String::new(),
            };
            let names: Vec<String> = known.iter().map(Value::to_string).collect();
            let message = format!("`{path}` must be one of {}, not `{}`{hint}", names.join(", "), node.json());
            tell(node.at, message);
        }
        match &node.data {
            Data::Int(n) => self.check_number(*n as f64, node.at, path, tell),
            Data::Float(x) => self.check_number(*x, node.at, path, tell),
            Data::List(items) => return self.check_list(items, node.at, path, tell),
            Data::Map(members) => return self.check_map(members, node.at, path, tell),
            Data::Null | Data::Bool(_) | Data::Text(_) => {}
        }
        node.json()
    }

    fn check_number(&self, number: f64, at: Place, path: &str, tell: &mut dyn FnMut(Place, String)) {
        if let Some(min) = self.minimum.filter(|min| number < *min) {
            tell(at, format!("`{path}` must be at least {min}, not `{number}`"));
        }
        if let Some(max) = self.maximum.filter(|max| number > *max) {
            tell(at, format!("`{path}` must be at most {max}, not `{number}`"));
        }
    }

    fn check_list(&self, items: &[Node], at: Place, path: &str, tell: &mut dyn FnMut(Place, String)) -> Value {
        if let Some(min) = self.items_min.filter(|min| items.len() < *min) {
            tell(at, format!("`{path}` must list at least {min}, not {}", items.len()));
        }
        if let Some(max) = self.items_max.filter(|max| items.len() > *max) {
            tell(at, format!("`{path}` must list at most {max}, not {}", items.len()));
        }
        let item = |(n, node): (usize, &Node)| match &self.items {
            Some(schema) => schema.check(node, &format!("{path}[{n}]"), tell),
            None => node.json(),
        };
        Value::Array(items.iter().enumerate().map(item).collect())
    }

    fn check_map(&self, members: &[(Key, Node)], at: Place, path: &str, tell: &mut dyn FnMut(Place, String)) -> Value {
        let mut filled = Map::new();
        for (key, node) in members {
            let inner = format!("{path}.{}", key.text);
            let value = match (self.properties.iter().find(|(name, _)| *name == key.text), &self.additional) {
                (Some((_, schema)), _) => schema.check(node, &inner, tell),
                (None, Additional::Any) => node.json(),
                (None, Additional::Of(schema)) => schema.check(node, &inner, tell),
                (None, Additional::None) => {
                    let known = self.properties.iter().map(|(name, _)| name.as_str());
                    let hint = nearest::hint(&key.text, known);
                    tell(key.at, format!("`{path}` has no key `{}`{hint}", key.text));
                    continue;
                }
            };
            filled.insert(key.text.clone(), value);
        }
        for (name, schema) in &self.properties {
            if let (false, Some(default)) = (filled.contains_key(name), &schema.default) {
                filled.insert(name.clone(), default.clone());
            }
        }
        for name in &self.required {
            if !filled.contains_key(name) {
                tell(at, format!("`{path}` needs `{name}`"));
            }
        }
        Value::Object(filled)
    }
}

impl Type {
    fn admits(self, node: &Node) -> bool {
        match (&node.data, self) {
            (Data::Null, Type::Null)
            | (Data::Bool(_), Type::Boolean)
            | (Data::Int(_), Type::Integer | Type::Number)
            | (Data::Float(_), Type::Number)
            | (Data::Text(_), Type::String)
            | (Data::List(_), Type::Array)
            | (Data::Map(_), Type::Object) => true,
            (
                Data::Null
                | Data::Bool(_)
                | Data::Int(_)
                | Data::Float(_)
                | Data::Text(_)
                | Data::List(_)
                | Data::Map(_),
                Type::Null | Type::Boolean | Type::Integer | Type::Number | Type::String | Type::Array | Type::Object,
            ) => false,
        }
    }

    fn said(self) -> &'static str {
        match self {
            Type::Null => "null",
            Type::Boolean => "true or false",
            Type::Integer => "a whole number",
            Type::Number => "a number",
            Type::String => "a text",
            Type::Array => "a list",
            Type::Object => "a table",
        }
    }
}

struct Compiler<'a> {
    file: &'a str,
    findings: Vec<Diagnostic>,
}

impl Compiler<'_> {
    fn fault(&mut self, path: &str, what: impl std::fmt::Display) {
        let told = if path.is_empty() { what.to_string() } else { format!("`{path}`: {what}") };
        self.findings.push(Diagnostic::error("TG0114", self.file, told));
    }

    fn schema(&mut self, value: &Value, path: &str) -> Schema {
        let Some(map) = value.as_object() else {
            self.fault(path, "a schema must be an object");
            return Schema::default();
        };
        for key in map.keys().filter(|k| !ANNOTATIONS.contains(&k.as_str()) && !CHECKS.contains(&k.as_str())) {
            let hint = nearest::hint(key, CHECKS);
            let at = if path.is_empty() { String::new() } else { format!(" at `{path}`") };
            let message = format!("the keyword `{key}`{at} is not known here and checks nothing{hint}");
            self.findings.push(Diagnostic::warning("TG0114", self.file, message));
        }
        let mut schema = Schema {
            types: self.types(map.get("type"), path),
            properties: self.properties(map.get("properties"), path),
            required: self.required(map.get("required"), path),
            additional: match map.get("additionalProperties") {
                None | Some(Value::Bool(true)) => Additional::Any,
                Some(Value::Bool(false)) => Additional::None,
                Some(inner) => Additional::Of(Box::new(self.schema(inner, &format!("{path}.*")))),
            },
            items: map.get("items").map(|inner| Box::new(self.schema(inner, &format!("{path}[]")))),
            one_of: self.one_of(map.get("enum"), path),
            minimum: self.number(map, "minimum", path),
            maximum: self.number(map, "maximum", path),
            items_min: self.number(map, "minItems", path).map(|n| n as usize),
            items_max: self.number(map, "maxItems", path).map(|n| n as usize),
            default: None,
        };
        if let Some(default) = map.get("default") {
            let mut wrong = Vec::new();
            let node = Node::from_json(default, Place::default());
            let filled = schema.check(&node, "default", &mut |_, what| wrong.push(what));
            wrong.into_iter().for_each(|what| self.fault(path, what));
            schema.default = Some(filled);
        }
        schema
    }

    fn types(&mut self, value: Option<&Value>, path: &str) -> Vec<Type> {
        let names = match value {
            None => return Vec::new(),
            Some(Value::Array(many)) => many.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        let mut types = Vec::new();
        for name in names {
            match name.as_str().and_then(|n| TYPES.iter().find(|(t, _)| *t == n)) {
                Some((_, found)) => types.push(*found),
                None => self.fault(path, format!("unknown type `{name}`")),
            }
        }
        types
    }

    fn properties(&mut self, value: Option<&Value>, path: &str) -> Vec<(String, Schema)> {
        match value {
            None => Vec::new(),
            Some(Value::Object(map)) => {
                let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                map.iter().map(|(name, inner)| (name.clone(), self.schema(inner, &join(name)))).collect()
            }
            Some(_) => {
                self.fault(path, "`properties` must be an object");
                Vec::new()
            }
        }
    }

    fn required(&mut self, value: Option<&Value>, path: &str) -> Vec<String> {
        let Some(value) = value else { return Vec::new() };
        match serde_json::from_value(value.clone()) {
            Ok(names) => names,
            Err(_) => {
                self.fault(path, "`required` must be a list of texts");
                Vec::new()
            }
        }
    }

    fn one_of(&mut self, value: Option<&Value>, path: &str) -> Option<Vec<Value>> {
        match value? {
            Value::Array(values) if !values.is_empty() => Some(values.clone()),
            _ => {
                self.fault(path, "`enum` must be a list that is not empty");
                None
            }
        }
    }

    fn number(&mut self, map: &Map<String, Value>, key: &str, path: &str) -> Option<f64> {
        let value = map.get(key)?;
        let number = value.as_f64().filter(|n| !key.ends_with("Items") || (n.fract() == 0.0 && *n >= 0.0));
        if number.is_none() {
            self.fault(path, format!("`{key}` must be a number, whole for counts, not `{value}`"));
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::MANIFEST;
    use serde_json::json;

    const SCHEMA: &str = r#"{
        "type": "object", "additionalProperties": false, "required": ["regions"],
        "properties": {
            "regions": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "at": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.8},
            "tier": {"type": "string", "enum": ["cheap", "standard"], "default": "standard"},
            "routes": {"type": "object", "additionalProperties": {"type": "string"}},
            "deep": {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}
        }
    }"#;

    fn filled(with: &str) -> (Value, Vec<String>) {
        let (schema, _) = Schema::parse("s.json", SCHEMA.as_bytes()).unwrap();
        let reading = Reading::of("m", MANIFEST);
        let value = schema.fill(&reading, &reading.parse(with.as_bytes()).unwrap());
        (value, reading.findings().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_are_filled_in() {
        let (value, told) = filled("{regions: [eu], deep: {}}");
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(value, json!({"regions": ["eu"], "at": 0.8, "tier": "standard", "deep": {"n": 3}}));
    }

    #[test]
    fn what_does_not_fit_is_told_with_path_and_place() {
        for (with, told) in [
            ("{}", "m:1:1: `with` needs `regions`"),
            ("{regions: eu}", "m:1:11: `with.regions` must be a list, not a text"),
            ("{regions: [1]}", "m:1:12: `with.regions[0]` must be a text, not a number, put it in quotes"),
            ("{regions: []}", "m:1:11: `with.regions` must list at least 1, not 0"),
            ("{regions: [eu], at: 2}", "m:1:21: `with.at` must be at most 1, not `2`"),
            ("{regions: [eu], tier: cheep}", "did you mean `cheap`?"),
            ("{regions: [eu], region: eu}", "m:1:17: `with` has no key `region`, did you mean `regions`?"),
            ("{regions: [eu], routes: {a: 1}}", "m:1:29: `with.routes.a` must be a text"),
            ("{regions: [eu], deep: {n: 1.5}}", "`with.deep.n` must be a whole number, not a fraction"),
        ] {
            let (_, findings) = filled(with);
            assert_eq!(findings.len(), 1, "{with}: {findings:?}");
            assert!(findings[0].contains(told), "{with}: {findings:?}");
        }
    }

    #[test]
    fn a_schema_that_checks_nothing_or_contradicts_itself_is_told() {
        let (_, warned) = Schema::parse("s", br#"{"properties": {"a": {"pattern": "x"}}}"#).unwrap();
        assert!(warned[0].message.contains("`pattern` at `a` is not known here"), "{warned:?}");
        for (schema, told) in [
            (r#"{"type": "array"}"#, "must be of type `object`"),
            (r#"{"properties": {"a": {"type": "text"}}}"#, "unknown type"),
            (r#"{"properties": {"a": {"type": "integer", "default": "x"}}}"#, "`default` must be a whole number"),
            (r#"{"properties": {"a": {"enum": []}}}"#, "`enum` must be a list"),
            ("{", "no valid JSON"),
        ] {
            let faults = Schema::parse("s", schema.as_bytes()).unwrap_err();
            assert!(faults.iter().any(|f| f.message.contains(told)), "{schema}: {faults:?}");
        }
    }
}

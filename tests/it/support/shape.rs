//! JSON schemas, as far as ours use them: a value is checked, and the first thing that is wrong is told with its place.
//!
//! A keyword that is not known here fails the test: nothing is passed over.

use regex::Regex;
use serde_json::{Map, Value};

pub struct Shape {
    document: Value,
}

/// Keywords that say nothing about what is taken.
const SILENT: [&str; 7] = ["$schema", "$id", "$defs", "$comment", "title", "description", "else"];

impl Shape {
    pub fn new(document: Value) -> Shape {
        Shape { document }
    }

    /// Checks against the document itself.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        self.holds(&self.document, value, "")
    }

    /// Checks against one of its `$defs`.
    pub fn check_as(&self, name: &str, value: &Value) -> Result<(), String> {
        self.holds(&self.document["$defs"][name], value, "")
    }

    fn holds(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        match schema {
            Value::Bool(true) => Ok(()),
            Value::Bool(false) => Err(format!("`{at}` may not be there")),
            Value::Object(schema) => {
                schema.iter().try_for_each(|(word, says)| self.keyword(schema, word, says, value, at))
            }
            other => panic!("{other} is no schema"),
        }
    }

    fn keyword(
        &self,
        schema: &Map<String, Value>,
        word: &str,
        says: &Value,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let wrong = || Err(format!("`{at}`: {value} against {word} {says}"));
        let held = |holds: bool| if holds { Ok(()) } else { wrong() };
        let any = |count: usize| held(count > 0);
        let list = || says.as_array().unwrap().iter();
        match word {
            word if SILENT.contains(&word) => Ok(()),
            "$ref" => {
                let to = says.as_str().unwrap().trim_start_matches('#');
                self.holds(self.document.pointer(to).unwrap(), value, at)
            }
            "type" if says.is_array() => held(list().any(|kind| is(kind.as_str().unwrap(), value))),
            "type" => held(is(says.as_str().unwrap(), value)),
            "enum" => held(list().any(|known| known == value)),
            "const" => held(says == value),
            "allOf" => list().try_for_each(|schema| self.holds(schema, value, at)),
            "anyOf" => any(list().filter(|schema| self.holds(schema, value, at).is_ok()).count()),
            "not" => held(self.holds(says, value, at).is_err()),
            "if" => {
                let branch = if self.holds(says, value, at).is_ok() { "then" } else { "else" };
                schema.get(branch).map_or(Ok(()), |then| self.holds(then, value, at))
            }
            "then" => held(schema.contains_key("if")),
            "minimum" => held(value.as_f64().is_none_or(|number| number >= says.as_f64().unwrap())),
            "minLength" => {
                held(value.as_str().is_none_or(|text| text.chars().count() as u64 >= says.as_u64().unwrap()))
            }
            "maxLength" => {
                held(value.as_str().is_none_or(|text| text.chars().count() as u64 <= says.as_u64().unwrap()))
            }
            "pattern" => {
                held(value.as_str().is_none_or(|text| Regex::new(says.as_str().unwrap()).unwrap().is_match(text)))
            }
            "required" => held(
                value.as_object().is_none_or(|members| list().all(|name| members.contains_key(name.as_str().unwrap()))),
            ),
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.into_iter().try_for_each(|(n, item)| self.holds(says, item, &format!("{at}/{n}")))
            }
            "properties" => members(value).try_for_each(|(name, value)| match says.get(name) {
                Some(schema) => self.holds(schema, value, &format!("{at}/{name}")),
                None => Ok(()),
            }),
            "additionalProperties" => members(value)
                .filter(|(name, _)| schema.get("properties").is_none_or(|known| known.get(name).is_none()))
                .try_for_each(|(name, value)| self.holds(says, value, &format!("{at}/{name}"))),
            other => panic!("`{other}` is no keyword that is known here"),
        }
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        // A number without a fraction, however it is written.
        "integer" => value.is_u64() || value.is_i64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("`{other}` is no type"),
    }
}

#[test]
fn a_shape_refuses_what_it_should() {
    let shape = Shape::new(serde_json::json!({
        "type": "object",
        "required": ["a"],
        "properties": { "a": { "$ref": "#/$defs/a" }, "b": { "anyOf": [{ "const": 1 }, { "enum": ["x"] }] } },
        "if": { "properties": { "a": { "type": "integer" } } },
        "then": true,
        "else": { "required": ["b"] },
        "additionalProperties": false,
        "$defs": { "a": { "type": ["integer", "string"], "minimum": 2, "minLength": 1, "pattern": "^[a-z]*$", "not": { "const": 7 } } },
    }));
    for (value, taken) in [
        ("{\"a\":3}", true),
        ("{\"a\":3.0}", true),
        ("{\"a\":3.5}", false),
        ("{\"a\":1}", false),
        ("{\"a\":7}", false),
        ("{\"a\":\"z\",\"b\":1}", true),
        ("{\"a\":\"z\"}", false),
        ("{\"a\":\"Z\",\"b\":1}", false),
        ("{\"a\":\"\",\"b\":1}", false),
        ("{\"a\":3,\"b\":2}", false),
        ("{\"a\":3,\"c\":2}", false),
        ("{}", false),
        ("[]", false),
    ] {
        assert_eq!(shape.check(&serde_json::from_str(value).unwrap()).is_ok(), taken, "{value}");
    }
}

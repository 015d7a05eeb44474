//! YAML with places: every key and value knows its line and column, so that every finding can point at it.
//!
//! One document per file, within a budget: nesting, nodes and what aliases unfold to are bounded.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

/// No file unfolds to more values than this, aliases included.
const NODES_MAX: usize = 100_000;
/// Nor nests deeper.
const DEPTH_MAX: usize = 48;

/// Line and column from 1 (columns in characters), and how much to underline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    pub line: u32,
    pub column: u32,
    pub length: u32,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: Place,
    pub data: Data,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub at: Place,
    pub text: String,
}

/// Why a file could not be read as YAML.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    pub at: Place,
    pub message: String,
}

/// Where the text of a scalar begins: behind the quote, or in the line below `|` and `>`.
pub fn first_character(lines: &[&str], at: Place) -> Place {
    let line = at.line.saturating_sub(1) as usize;
    let own = lines.get(line).and_then(|line| line.chars().nth(at.column.saturating_sub(1) as usize));
    match (own, lines.get(line + 1)) {
        (Some('\'' | '"'), _) => Place { column: at.column + 1, length: at.length.saturating_sub(2).max(1), ..at },
        (Some('|' | '>'), Some(below)) => {
            let indent = below.chars().take_while(|c| *c == ' ').count() as u32;
            Place { line: at.line + 1, column: indent + 1, length: 1 }
        }
        (Some(_) | None, _) => at,
    }
}

/// The one document of a file. An empty file is `Null`.
pub fn parse(bytes: &[u8]) -> Result<Node, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let before = &bytes[..e.valid_up_to()];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count() as u32;
        Unreadable { at: Place { line, column: 1, length: 1 }, message: "not UTF-8".to_owned() }
    })?;
    let options = serde_saphyr::options! {
        strict_booleans: true,
        emit_comments: false,
        reject_unsupported_tags: true,
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_depth: DEPTH_MAX,
        },
    };
    let read: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options).map_err(|e| unreadable(&e))?;
    Ok(node(read))
}

fn unreadable(error: &serde_saphyr::Error) -> Unreadable {
    let error = error.without_snippet();
    let at = error.location().as_ref().map(place).unwrap_or_default();
    let told = error.to_string();
    // The place is told apart from the sentence, and the parser's own options mean nothing to our readers.
    let sentence = told.split(" at line ").next().unwrap_or(&told);
    let sentence = sentence.split(", set DuplicateKeyPolicy").next().unwrap_or(sentence);
    let message = match sentence {
        s if s.starts_with("multiple YAML documents") => "one file holds one document: take `---` out".to_owned(),
        s if s.starts_with("budget breached") || s.starts_with("recursion limit") || s.contains("alias replay") => {
            format!("too large once unfolded: at most {NODES_MAX} values, {DEPTH_MAX} deep")
        }
        s => match s.strip_prefix("duplicate mapping key: ") {
            Some(key) => format!("the key `{key}` is there twice"),
            None => s.to_owned(),
        },
    };
    Unreadable { at, message }
}

fn place(location: &Location) -> Place {
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Place {
        line: small(location.line()),
        column: small(location.column()),
        length: small(location.span().len()).max(1),
    }
}

/// What the parser hands over, before places are taken out of their wrappers.
enum Raw {
    Data(Data),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(read: Spanned<Raw>) -> Node {
    let mut at = place(&read.referenced);
    let data = match read.value {
        Raw::Data(data) => {
            // A text over several lines is underlined at its beginning only.
            if matches!(&data, Data::Text(t) if t.contains('\n')) {
                at.length = 1;
            }
            data
        }
        Raw::List(items) => {
            at.length = 1;
            Data::List(items.into_iter().map(node).collect())
        }
        Raw::Map(members) => {
            at.length = 1;
            let key = |k: Spanned<String>| Key { at: place(&k.referenced), text: k.value };
            Data::Map(members.into_iter().map(|(k, v)| (key(k), node(v))).collect())
        }
    };
    Node { at, data }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Raw, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Data(Data::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Data(Data::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Data(Data::Int(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Data(i64::try_from(value).map_or(Data::Float(value as f64), Data::Int)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Data(Data::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Data(Data::Text(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Data(Data::Text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Raw, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = from.next_entry()? {
            members.push(member);
        }
        Ok(Raw::Map(members))
    }
}

impl Node {
    /// The same value as JSON, without places.
    pub fn json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(b) => Value::Bool(*b),
            Data::Int(n) => Value::from(*n),
            Data::Float(x) => Number::from_f64(*x).map_or(Value::Null, Value::Number),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => Value::Array(items.iter().map(Node::json).collect()),
            Data::Map(members) => {
                Value::Object(members.iter().map(|(k, v)| (k.text.clone(), v.json())).collect::<Map<_, _>>())
            }
        }
    }

    /// A JSON value as a node, all of it at one place.
    pub fn from_json(value: &Value, at: Place) -> Node {
        let data = match value {
            Value::Null => Data::Null,
            Value::Bool(b) => Data::Bool(*b),
            Value::Number(n) => match n.as_i64() {
                Some(n) => Data::Int(n),
                None => Data::Float(n.as_f64().unwrap_or(0.0)),
            },
            Value::String(text) => Data::Text(text.clone()),
            Value::Array(items) => Data::List(items.iter().map(|v| Node::from_json(v, at)).collect()),
            Value::Object(members) => {
                Data::Map(members.iter().map(|(k, v)| (Key { at, text: k.clone() }, Node::from_json(v, at))).collect())
            }
        };
        Node { at, data }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "true or false",
            Data::Int(_) => "a number",
            Data::Float(_) => "a fraction",
            Data::Text(_) => "a text",
            Data::List(_) => "a list",
            Data::Map(_) => "a table",
        }
    }

    /// The key of that name, wherever it stands in this value; for messages of others that name a key.
    pub fn find_key(&self, name: &str) -> Option<&Key> {
        match &self.data {
            Data::Map(members) => members
                .iter()
                .map(|(k, _)| k)
                .find(|k| k.text == name)
                .or_else(|| members.iter().find_map(|(_, v)| v.find_key(name))),
            Data::List(items) => items.iter().find_map(|v| v.find_key(name)),
            Data::Null | Data::Bool(_) | Data::Int(_) | Data::Float(_) | Data::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_places() {
        let node = parse(b"a: 1\nb:\n  - {x: 'w', d: 2027-03-31, s: 1MiB}\n").unwrap();
        let at = |line, column, length| Place { line, column, length };
        let Data::Map(members) = &node.data else { panic!("{node:?}") };
        assert_eq!((members[0].0.at, members[0].1.at), (at(1, 1, 1), at(1, 4, 1)));
        let inner = node.find_key("d").unwrap();
        assert_eq!(inner.at, at(3, 14, 1));
        assert_eq!(
            node.json(),
            serde_json::json!({"a": 1, "b": [{"x": "w", "d": "2027-03-31", "s": "1MiB"}]}),
            "dates and sizes are texts"
        );
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
            format!("{text}a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "))
        });
        for (text, line, column, told) in [
            ("a: b: c", 1, 5, "mapping values are not allowed"),
            ("a: 1\na: 2", 2, 1, "the key `a` is there twice"),
            ("a: *x", 1, 4, "unknown anchor"),
            ("- a\n---\n- b", 3, 1, "one document"),
            (&bomb, 5, 0, "too large once unfolded"),
            (&"[".repeat(3000), 1, 0, "too large once unfolded"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.message.contains(told), "{error:?} should say {told}");
            assert!(column == 0 || (error.at.line, error.at.column) == (line, column), "{error:?}");
        }
        assert_eq!(parse(b"a: 1\n\xff").unwrap_err().at.line, 2);
        assert_eq!(parse(b"").unwrap().data, Data::Null);
    }
}

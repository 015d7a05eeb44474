//! Taking located YAML apart: known keys, right kinds, near names; every mismatch becomes a finding with its place.
//!
//! Nothing here stops at the first mistake: an author gets all of them at once, up to a bound.

use std::cell::RefCell;
use std::sync::Arc;

use tollgate_core::contract::glob::Glob;
use tollgate_core::contract::nearest;

use crate::diagnostic::{Diagnostic, Severity};
use crate::yaml::{Data, Key, Node, Place};

/// No file tells more findings than this: beyond it something else is wrong.
pub const FINDINGS_MAX: usize = 100;
/// No list of names or globs is longer.
const NAMES_MAX: usize = 10_000;

/// The codes of mismatches of shape, by kind of file.
#[derive(Debug, Clone, Copy)]
pub struct Codes {
    pub syntax: &'static str,
    pub unknown_key: &'static str,
    pub missing: &'static str,
    pub kind: &'static str,
    pub value: &'static str,
}

pub const MANIFEST: Codes =
    Codes { syntax: "TG0102", unknown_key: "TG0103", missing: "TG0104", kind: "TG0105", value: "TG0106" };
pub const TABLES: Codes =
    Codes { syntax: "TG0202", unknown_key: "TG0203", missing: "TG0204", kind: "TG0205", value: "TG0206" };
pub const CASES: Codes =
    Codes { syntax: "TG0302", unknown_key: "TG0303", missing: "TG0304", kind: "TG0305", value: "TG0306" };

/// One file being read, and what was found in it.
#[derive(Debug)]
pub struct Reading<'a> {
    pub file: &'a str,
    pub codes: Codes,
    findings: RefCell<Vec<Diagnostic>>,
}

impl<'a> Reading<'a> {
    pub fn of(file: &'a str, codes: Codes) -> Self {
        Reading { file, codes, findings: RefCell::default() }
    }

    /// The document, or a finding that says why there is none.
    pub fn parse(&self, bytes: &[u8]) -> Option<Node> {
        match crate::yaml::parse(bytes) {
            Ok(node) => Some(node),
            Err(unreadable) => {
                self.tell(self.codes.syntax, unreadable.at, unreadable.message);
                None
            }
        }
    }

    pub fn findings(self) -> Vec<Diagnostic> {
        self.findings.into_inner()
    }

    /// How much was found so far.
    pub fn count(&self) -> usize {
        self.findings.borrow().len()
    }

    /// The sentences of what was found since.
    pub fn told_since(&self, count: usize) -> Vec<String> {
        self.findings.borrow().iter().skip(count).map(|finding| finding.message.clone()).collect()
    }

    pub fn has_errors(&self) -> bool {
        self.findings.borrow().iter().any(|f| f.severity == Severity::Error)
    }

    pub fn push(&self, finding: Diagnostic) {
        let mut findings = self.findings.borrow_mut();
        if findings.len() < FINDINGS_MAX {
            findings.push(finding);
        }
    }

    pub fn tell(&self, code: &'static str, at: Place, message: impl Into<String>) {
        self.push(Diagnostic::error(code, self.file, message).at(at.line, at.column).over(at.length));
    }

    pub fn tell_help(&self, code: &'static str, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(Diagnostic::error(code, self.file, message).at(at.line, at.column).over(at.length).help(help));
    }

    pub fn warn(&self, code: &'static str, at: Place, message: impl Into<String>) {
        self.push(Diagnostic::warning(code, self.file, message).at(at.line, at.column).over(at.length));
    }

    /// A table whose keys are all among `known`.
    pub fn table<'n>(&self, node: &'n Node, what: &str, known: &[&str]) -> Option<Table<'_, 'n>> {
        let table = self.open_table(node, what)?;
        for (key, _) in table.members {
            if !known.contains(&key.text.as_str()) {
                let hint = nearest::hint(&key.text, known.iter().copied());
                let message = format!("{what} has no key `{}`{hint}", key.text);
                self.tell_help(self.codes.unknown_key, key.at, message, format!("known keys: {}", known.join(", ")));
            }
        }
        Some(table)
    }

    /// A table whose keys are names.
    pub fn open_table<'n>(&self, node: &'n Node, what: &str) -> Option<Table<'_, 'n>> {
        match &node.data {
            Data::Map(members) => Some(Table { reading: self, what: what.to_owned(), at: node.at, members }),
            _ => {
                self.tell(self.codes.kind, node.at, format!("{what} must be a table, not {}", node.kind()));
                None
            }
        }
    }

    pub fn list<'n>(&self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.data {
            Data::List(items) => items,
            _ => {
                self.tell(self.codes.kind, node.at, format!("{what} must be a list, not {}", node.kind()));
                &[]
            }
        }
    }

    /// A text that is not empty. Numbers must be quoted: `1.10` and `1.1` are the same number and not the same name.
    pub fn text<'n>(&self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.data {
            Data::Text(text) if !text.is_empty() => Some(text),
            Data::Text(_) => {
                self.tell(self.codes.kind, node.at, format!("{what} must not be empty"));
                None
            }
            Data::Int(_) | Data::Float(_) | Data::Bool(_) => {
                let message = format!("{what} must be a text, not {}", node.kind());
                self.tell_help(self.codes.kind, node.at, message, "put it in quotes");
                None
            }
            Data::Null | Data::List(_) | Data::Map(_) => {
                self.tell(self.codes.kind, node.at, format!("{what} must be a text, not {}", node.kind()));
                None
            }
        }
    }

    /// A whole number within bounds, both included.
    pub fn whole(&self, node: &Node, what: &str, min: i64, max: i64) -> Option<i64> {
        match node.data {
            Data::Int(n) if (min..=max).contains(&n) => Some(n),
            Data::Int(n) => {
                let message = format!("{what} must be from {min} to {max}, not `{n}`");
                self.tell(self.codes.value, node.at, message);
                None
            }
            _ => {
                let message = format!("{what} must be a whole number, not {}", node.kind());
                self.tell(self.codes.kind, node.at, message);
                None
            }
        }
    }

    /// A decimal as it was written: prices and amounts never pass through a binary fraction that rounds.
    pub fn decimal(&self, node: &Node, what: &str) -> Option<String> {
        match &node.data {
            Data::Text(text) => Some(text.clone()),
            Data::Int(n) => Some(n.to_string()),
            // The shortest text that reads back as the same number: what was written, up to 15 digits.
            Data::Float(x) => Some(x.to_string()),
            Data::Null | Data::Bool(_) | Data::List(_) | Data::Map(_) => {
                let message = format!("{what} must be a decimal in quotes, not {}", node.kind());
                self.tell(self.codes.kind, node.at, message);
                None
            }
        }
    }

    /// One text or a list of texts.
    pub fn texts<'n>(&self, node: &'n Node, what: &str) -> Vec<(&'n str, Place)> {
        match &node.data {
            Data::List(items) => {
                if items.len() > NAMES_MAX {
                    self.tell(self.codes.value, node.at, format!("{what} lists more than {NAMES_MAX} names"));
                }
                items.iter().take(NAMES_MAX).filter_map(|v| Some((self.text(v, what)?, v.at))).collect()
            }
            _ => self.text(node, what).map(|t| (t, node.at)).into_iter().collect(),
        }
    }

    /// One of some names.
    pub fn pick<T: Copy>(&self, name: &str, at: Place, what: &str, known: &[(&str, T)]) -> Option<T> {
        let found = known.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        if found.is_none() {
            let hint = nearest::hint(name, known.iter().map(|(n, _)| *n));
            let names: Vec<&str> = known.iter().map(|(n, _)| *n).collect();
            let message = format!("{what}: unknown value `{name}`{hint}");
            self.tell_help(self.codes.value, at, message, format!("one of {}", names.join(", ")));
        }
        found
    }
}

/// A table of a file being read.
pub struct Table<'r, 'n> {
    reading: &'r Reading<'r>,
    /// How messages call it: `policy `tiers``.
    pub what: String,
    pub at: Place,
    pub members: &'n [(Key, Node)],
}

impl<'n> Table<'_, 'n> {
    /// A key that is absent or has no value is `None`.
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.members.iter().find(|(k, _)| k.text == key).map(|(_, v)| v).filter(|v| !v.is_null())
    }

    pub fn key_at(&self, key: &str) -> Option<Place> {
        self.members.iter().find(|(k, _)| k.text == key).map(|(k, _)| k.at)
    }

    pub fn need(&self, key: &str, help: &str) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            let at = self.key_at(key).unwrap_or(self.at);
            let message = format!("{} needs `{key}`", self.what);
            self.reading.tell_help(self.reading.codes.missing, at, message, help);
        }
        found
    }

    pub fn text(&self, key: &str) -> Option<&'n str> {
        self.reading.text(self.get(key)?, &format!("`{key}`"))
    }

    pub fn name(&self, key: &str) -> Option<Arc<str>> {
        self.text(key).map(Arc::from)
    }

    pub fn texts(&self, key: &str) -> Vec<(&'n str, Place)> {
        self.get(key).map(|v| self.reading.texts(v, &format!("`{key}`"))).unwrap_or_default()
    }

    pub fn names(&self, key: &str) -> Vec<Arc<str>> {
        self.texts(key).into_iter().map(|(text, _)| text.into()).collect()
    }

    pub fn globs(&self, key: &str, code: &'static str) -> Vec<Glob> {
        let glob = |(text, at): (&str, Place)| match Glob::new(text) {
            Ok(glob) => Some(glob),
            Err(why) => {
                self.reading.tell(code, at, format!("`{key}`: {why}"));
                None
            }
        };
        self.texts(key).into_iter().filter_map(glob).collect()
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        let node = self.get(key)?;
        match node.data {
            Data::Bool(value) => Some(value),
            _ => {
                let message = format!("`{key}` must be true or false, not {}", node.kind());
                self.reading.tell(self.reading.codes.kind, node.at, message);
                None
            }
        }
    }

    pub fn whole(&self, key: &str, min: i64, max: i64) -> Option<i64> {
        self.reading.whole(self.get(key)?, &format!("`{key}`"), min, max)
    }

    pub fn pick<T: Copy>(&self, key: &str, known: &[(&str, T)]) -> Option<T> {
        let node = self.get(key)?;
        let name = self.reading.text(node, &format!("`{key}`"))?;
        self.reading.pick(name, node.at, &format!("`{key}`"), known)
    }

    /// One or several of some names.
    pub fn picks<T: Copy>(&self, key: &str, known: &[(&str, T)]) -> Vec<T> {
        let what = format!("`{key}`");
        self.texts(key).into_iter().filter_map(|(name, at)| self.reading.pick(name, at, &what, known)).collect()
    }
}

/// `1MiB`, `64KiB`, `16MB`, `4096`: bytes.
pub fn bytes_of(text: &str) -> Result<u64, String> {
    let units = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("KB", 1000),
        ("kB", 1000),
        ("B", 1),
    ];
    scaled(text, &units).ok_or_else(|| format!("`{text}` is no size: write a whole number with KiB, MiB or GiB"))
}

/// `500ms`, `60s`, `1m`, `1h`, `1d`: milliseconds.
pub fn millis_of(text: &str) -> Result<u64, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    scaled(text, &units)
        .filter(|_| !text.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| format!("`{text}` is no time span: write a whole number with ms, s, m, h or d"))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let factor = match unit {
        "" => 1,
        _ => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_whole_numbers_with_a_unit() {
        for (text, bytes) in [
            ("1MiB", Some(1 << 20)),
            ("4096", Some(4096)),
            ("16 MB", Some(16_000_000)),
            ("1.5MiB", None),
            ("MiB", None),
            ("1mib", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(bytes_of(text).ok(), bytes, "{text}");
        }
        for (text, millis) in
            [("60s", Some(60_000)), ("1h", Some(3_600_000)), ("250ms", Some(250)), ("60", None), ("1w", None)]
        {
            assert_eq!(millis_of(text).ok(), millis, "{text}");
        }
    }

    #[test]
    fn all_mistakes_of_a_file_are_told_at_once() {
        let reading = Reading::of("x.yaml", MANIFEST);
        let node = reading.parse(b"nmae: a\nmode: enforced\nwhen: 5\nn: 1.5\n").unwrap();
        let table = reading.table(&node, "the table", &["name", "mode", "when", "n"]).unwrap();
        assert_eq!(table.pick("mode", &[("enforce", 1), ("off", 2)]), None);
        assert_eq!(table.text("when"), None);
        assert_eq!(table.whole("n", 0, 9), None);
        let told: Vec<String> = reading.findings().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "x.yaml:1:1: the table has no key `nmae`, did you mean `name`? [TG0103]",
                "x.yaml:2:7: `mode`: unknown value `enforced`, did you mean `enforce`? [TG0106]",
                "x.yaml:3:7: `when` must be a text, not a number [TG0105]",
                "x.yaml:4:4: `n` must be a whole number, not a fraction [TG0105]",
            ]
        );
    }
}

//! Writes JSON straight into bytes: members in the order in which they are said, texts escaped, numbers as they were written.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::json;
use super::read::Number;

/// A JSON text under way. It knows where a comma is due.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    /// Something stands before, on this level.
    comma: bool,
}

/// A value that can be written.
pub trait Put {
    fn put(&self, writer: &mut Writer);
}

impl Writer {
    pub fn with_capacity(bytes: usize) -> Self {
        Writer { out: Vec::with_capacity(bytes), comma: false }
    }

    /// An object as a whole text.
    pub fn object_text(write: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut writer = Writer::with_capacity(512);
        writer.object(write);
        writer.out
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// An object, as a value.
    pub fn object(&mut self, write: impl FnOnce(&mut Self)) {
        self.nested(b'{', b'}', write);
    }

    /// A list, as a value.
    pub fn list(&mut self, write: impl FnOnce(&mut Self)) {
        self.nested(b'[', b']', write);
    }

    /// A value: an item of a list, or the value behind `key`.
    pub fn value(&mut self, value: &(impl Put + ?Sized)) {
        self.begin();
        value.put(self);
        self.comma = true;
    }

    /// A member's name; its value must follow.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.begin();
        json::text(&mut self.out, name);
        self.out.push(b':');
        self.comma = false;
        self
    }

    pub fn member(&mut self, name: &str, value: &(impl Put + ?Sized)) {
        self.key(name).value(value);
    }

    /// Only where there is a value.
    pub fn member_some(&mut self, name: &str, value: &Option<impl Put>) {
        if let Some(value) = value {
            self.member(name, value);
        }
    }

    pub fn object_member(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.key(name).object(write);
    }

    pub fn list_member(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.key(name).list(write);
    }

    /// A list of texts.
    pub fn texts_member(&mut self, name: &str, texts: &[Cow<'_, str>]) {
        self.list_member(name, |w| texts.iter().for_each(|t| w.value(&**t)));
    }

    /// A member whose value is JSON already.
    pub fn json_member(&mut self, name: &str, json: &str) {
        self.key(name).json(json);
    }

    /// A value that is JSON already.
    pub fn json(&mut self, json: &str) {
        self.begin();
        self.out.extend_from_slice(json.as_bytes());
        self.comma = true;
    }

    fn begin(&mut self) {
        if std::mem::take(&mut self.comma) {
            self.out.push(b',');
        }
    }

    fn nested(&mut self, open: u8, close: u8, write: impl FnOnce(&mut Self)) {
        self.begin();
        self.out.push(open);
        write(self);
        self.out.push(close);
        self.comma = true;
    }
}

/// A JSON text of a text, with its quotes.
pub fn quoted(value: &str) -> String {
    let mut out = Vec::with_capacity(value.len() + 2);
    json::text(&mut out, value);
    String::from_utf8(out).expect("an escaped text is a text")
}

impl Put for str {
    fn put(&self, writer: &mut Writer) {
        json::text(&mut writer.out, self);
    }
}

impl Put for String {
    fn put(&self, writer: &mut Writer) {
        json::text(&mut writer.out, self);
    }
}

impl Put for Cow<'_, str> {
    fn put(&self, writer: &mut Writer) {
        json::text(&mut writer.out, self);
    }
}

impl Put for bool {
    fn put(&self, writer: &mut Writer) {
        writer.out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl Put for u64 {
    fn put(&self, writer: &mut Writer) {
        writer.out.extend_from_slice(self.to_string().as_bytes());
    }
}

impl Put for u32 {
    fn put(&self, writer: &mut Writer) {
        u64::from(*self).put(writer);
    }
}

impl Put for i64 {
    fn put(&self, writer: &mut Writer) {
        writer.out.extend_from_slice(self.to_string().as_bytes());
    }
}

impl Put for Number<'_> {
    fn put(&self, writer: &mut Writer) {
        writer.out.extend_from_slice(self.0.as_bytes());
    }
}

impl Put for RawValue {
    fn put(&self, writer: &mut Writer) {
        writer.out.extend_from_slice(self.get().as_bytes());
    }
}

impl Put for Cow<'_, RawValue> {
    fn put(&self, writer: &mut Writer) {
        (**self).put(writer);
    }
}

impl<T: Put + ?Sized> Put for &T {
    fn put(&self, writer: &mut Writer) {
        (**self).put(writer);
    }
}

impl<T: Put + ?Sized> Put for Box<T> {
    fn put(&self, writer: &mut Writer) {
        (**self).put(writer);
    }
}

/// `null` in words, where a dialect wants it said.
pub struct Null;

impl Put for Null {
    fn put(&self, writer: &mut Writer) {
        writer.out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_where_they_must() {
        let text = Writer::object_text(|w| {
            w.member("a", "x\"y");
            w.member_some("none", &None::<u64>);
            w.list_member("list", |w| {
                w.value(&1u64);
                w.object(|w| w.member("b", &Null));
                w.list(|_| {});
                w.value(&true);
            });
            w.object_member("empty", |_| {});
            w.json_member("json", "{\"c\":1.50}");
            w.member("n", &Number("1e-7".into()));
        });
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, r#"{"a":"x\"y","list":[1,{"b":null},[],true],"empty":{},"json":{"c":1.50},"n":1e-7}"#);
    }
}

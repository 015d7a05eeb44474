//! Bodies that are forms (`multipart/form-data`): one bounded pass finds their fields; what is changed is spliced.
//!
//! It is strict, for the provider's reader is another one: a form that two readers could take for two different ones is
//! refused. Short fields are read as the JSON object that they stand for, so that all that reads JSON bodies reads forms too;
//! files are never read.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;
use serde_json::{Map, Value};

use super::nearest::shown;
use super::splice::Edits;

/// Parts of one form.
pub const PARTS_MAX: usize = 256;
/// The headers of one part.
const HEADERS_BYTES_MAX: usize = 4 << 10;
/// All fields that are no files, together.
const FIELDS_BYTES_MAX: usize = 1 << 20;
/// RFC 2046 says so.
const BOUNDARY_MAX: usize = 70;

/// Fields that are read here: as a file, or twice, nobody knows what a provider would take them for.
const READ_HERE: [&str; 8] =
    ["model", "stream", "user", "safety_identifier", "prompt", "purpose", "input", "instructions"];

/// A form that was read. It holds offsets into its bytes.
#[derive(Debug, Clone)]
pub struct Form {
    bytes: Bytes,
    boundary: Box<str>,
    parts: Vec<Part>,
    /// Where the last delimiter begins.
    tail: usize,
}

#[derive(Debug, Clone)]
struct Part {
    name: Box<str>,
    /// Of a file.
    file_name: Option<Box<str>>,
    /// From its delimiter to the next one.
    whole: Range<usize>,
    value: Range<usize>,
}

/// Why a body is no form that can be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("`content-type` names no boundary of 1 to {BOUNDARY_MAX} plain characters")]
    Boundary,
    #[error("the form is not well made: {what} at byte {at}")]
    Syntax { what: &'static str, at: usize },
    #[error("the form has more than {PARTS_MAX} parts")]
    TooManyParts,
    #[error("the fields of the form that are no files have more than {FIELDS_BYTES_MAX} bytes together")]
    FieldsTooLarge,
    #[error("the field `{0}` of the form is not UTF-8: send a file with a file name")]
    NotUtf8(String),
    #[error("the form has the field `{0}` twice")]
    Duplicate(String),
    #[error("the field `{0}` of the form is a file: send it as plain text")]
    NoFile(String),
}

/// The boundary, where the content type is that of a form.
pub fn boundary(content_type: &str) -> Option<Result<Box<str>, FormError>> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut named = parameters.split(';').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b);
    Some(match (named.next(), named.next()) {
        (Some(text), None) if (1..=BOUNDARY_MAX).contains(&text.len()) && text.bytes().all(plain) => Ok(text.into()),
        (Some(_) | None, _) => Err(FormError::Boundary),
    })
}

impl Form {
    /// Reads all of a body. Time is linear in its length; memory is the list of parts.
    pub fn read(bytes: Bytes, boundary: Box<str>) -> Result<Form, FormError> {
        let delimiter = format!("\r\n--{boundary}");
        let finder = memmem::Finder::new(&delimiter);
        let wrong = |what, at| Err(FormError::Syntax { what, at });
        if !bytes.starts_with(&delimiter.as_bytes()[2..]) {
            return wrong("it does not begin with its boundary", 0);
        }
        let mut form = Form { boundary, parts: Vec::new(), tail: 0, bytes };
        let (mut start, mut fields_bytes) = (0, 0);
        loop {
            let after = start + delimiter.len() - 2;
            match form.bytes.get(after..after + 2) {
                Some(b"\r\n") => {}
                Some(b"--") if form.bytes[after + 2..].trim_ascii().is_empty() => break,
                Some(b"--") => return wrong("something after the last boundary", after + 2),
                Some(_) | None => return wrong("a boundary without an end of its line", after),
            }
            if form.parts.len() == PARTS_MAX {
                return Err(FormError::TooManyParts);
            }
            let (head, value) = form.head(after + 2)?;
            // The line end before a delimiter is the delimiter's: one that leans on that of the headers is seen, and refused.
            let from = value - 2;
            let Some(end) = finder.find(&form.bytes[from..]).map(|at| from + at) else {
                return wrong("the last boundary is missing", form.bytes.len());
            };
            if end < value {
                return wrong("a part that ends with its headers", end);
            }
            let (name, file_name) = disposition(&form.bytes[head], after + 2)?;
            if file_name.is_none() {
                fields_bytes += end - value;
            }
            form.parts.push(Part { name, file_name, whole: start..end + 2, value: value..end });
            start = end + 2;
        }
        form.tail = start;
        match fields_bytes > FIELDS_BYTES_MAX {
            true => Err(FormError::FieldsTooLarge),
            false => Ok(form),
        }
    }

    /// The header lines of a part, and where its value begins.
    fn head(&self, from: usize) -> Result<(Range<usize>, usize), FormError> {
        let room = &self.bytes[from..self.bytes.len().min(from + HEADERS_BYTES_MAX)];
        match memmem::find(room, b"\r\n\r\n") {
            Some(at) => Ok((from..from + at, from + at + 4)),
            None => Err(FormError::Syntax { what: "headers of a part without an end, or too long ones", at: from }),
        }
    }

    /// The fields that are no files, as an object: texts, `stream` as what it says, `tollgate[x]` as a member of `tollgate`,
    /// `x[]` as a list.
    pub fn fields(&self) -> Result<Map<String, Value>, FormError> {
        let mut fields = Map::new();
        for part in &self.parts {
            let twice = || Err(FormError::Duplicate(shown(&part.name).into_owned()));
            if part.file_name.is_some() {
                if READ_HERE.contains(&&*part.name) || own(&part.name) {
                    return Err(FormError::NoFile(shown(&part.name).into_owned()));
                }
                continue;
            }
            let not_utf8 = |_| FormError::NotUtf8(shown(&part.name).into_owned());
            let text = std::str::from_utf8(&self.bytes[part.value.clone()]).map_err(not_utf8)?;
            if let Some(name) = part.name.strip_prefix("tollgate[").and_then(|rest| rest.strip_suffix(']')) {
                let inner = fields.entry("tollgate").or_insert_with(|| Value::Object(Map::new()));
                if inner.as_object_mut().is_none_or(|inner| inner.insert(name.to_owned(), text.into()).is_some()) {
                    return twice();
                }
                continue;
            }
            if part.name.ends_with("[]") {
                let list = fields.entry(&*part.name).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().into_iter().for_each(|list| list.push(text.into()));
                continue;
            }
            let value = match (&*part.name, text) {
                ("stream", "true" | "True") => true.into(),
                ("stream", "false" | "False") => false.into(),
                ("tollgate", text) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
                (_, text) => Value::from(text),
            };
            if fields.insert(part.name.to_string(), value).is_some() {
                return twice();
            }
        }
        Ok(fields)
    }

    /// Bytes of files, and how many there are.
    pub fn files(&self) -> (usize, usize) {
        let files = self.parts.iter().filter(|part| part.file_name.is_some());
        files.fold((0, 0), |(bytes, number), part| (bytes + part.value.len(), number + 1))
    }

    /// The file of this field: its name, and what it holds.
    pub fn file(&self, name: &str) -> Option<(&str, Bytes)> {
        let part = self.parts.iter().find(|part| *part.name == *name && part.file_name.is_some())?;
        Some((part.file_name.as_deref().unwrap_or_default(), self.bytes.slice(part.value.clone())))
    }

    /// The form with the changes made: other parts, and the boundary, stay byte for byte.
    pub fn apply(&self, edits: &Edits) -> Bytes {
        if edits.is_empty() {
            return self.bytes.clone();
        }
        let mut out = BytesMut::with_capacity(self.bytes.len() + 256);
        for part in &self.parts {
            let name = if own(&part.name) { "tollgate" } else { &*part.name };
            match edits.change(name) {
                Some(None) => {}
                Some(Some(json)) => {
                    out.put_slice(&self.bytes[part.whole.start..part.value.start]);
                    out.put_slice(plain(json).as_bytes());
                    out.put_slice(b"\r\n");
                }
                None => out.put_slice(&self.bytes[part.whole.clone()]),
            }
        }
        for (name, json) in edits.sets() {
            if !self.parts.iter().any(|part| *part.name == *name) {
                let head =
                    format!("--{}\r\ncontent-disposition: form-data; name=\"{}\"\r\n\r\n", self.boundary, quoted(name));
                out.put_slice(head.as_bytes());
                out.put_slice(plain(json).as_bytes());
                out.put_slice(b"\r\n");
            }
        }
        out.put_slice(&self.bytes[self.tail..]);
        out.freeze()
    }

    /// What two sendings of the same form have in common: clients make a new boundary each time.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for part in &self.parts {
            // Behind the delimiter and its line end.
            let head = &self.bytes[part.whole.start + self.boundary.len() + 4..part.value.start];
            for piece in [head, &self.bytes[part.value.clone()]] {
                hasher.update(&(piece.len() as u64).to_le_bytes());
                hasher.update(piece);
            }
        }
        *hasher.finalize().as_bytes()
    }
}

/// Is it the gateway's own field?
fn own(name: &str) -> bool {
    name.strip_prefix("tollgate").is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
}

/// A JSON value as forms have it: a text without its quotes, all else as it is written.
fn plain(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}

fn quoted(name: &str) -> String {
    name.replace(['"', '\r', '\n'], "_")
}

/// The field's name, and a file's own, from the header lines of a part.
fn disposition(head: &[u8], at: usize) -> Result<(Box<str>, Option<Box<str>>), FormError> {
    let wrong = |what| FormError::Syntax { what, at };
    let text = std::str::from_utf8(head).map_err(|_| wrong("headers that are not UTF-8"))?;
    let mut found = None;
    for line in text.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or_else(|| wrong("a header without `:`"))?;
        if line.contains(['\r', '\n']) || name.contains([' ', '\t']) {
            return Err(wrong("a header that is broken over lines, or has a space in its name"));
        }
        if name.eq_ignore_ascii_case("content-transfer-encoding")
            && !["binary", "8bit", "7bit"].iter().any(|plain| value.trim().eq_ignore_ascii_case(plain))
        {
            return Err(wrong("`content-transfer-encoding`, which forms have no use for"));
        }
        if name.eq_ignore_ascii_case("content-disposition") && found.replace(value).is_some() {
            return Err(wrong("`content-disposition` twice"));
        }
    }
    let value = found.ok_or_else(|| wrong("a part without `content-disposition`"))?;
    let rest = value.trim_start().strip_prefix("form-data").ok_or_else(|| wrong("a part that is no `form-data`"))?;
    let (mut name, mut file_name) = (None, None);
    for parameter in parameters(rest).ok_or_else(|| wrong("a `content-disposition` that cannot be read"))? {
        match parameter.0.to_ascii_lowercase().as_str() {
            "name" if name.is_none() => name = Some(parameter.1),
            "name" | "name*" => return Err(wrong("a part whose name is said twice, or encoded")),
            "filename" | "filename*" => file_name = file_name.or(Some(parameter.1.into())),
            _ => {}
        }
    }
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| wrong("a part without a name"))?;
    Ok((name.into(), file_name))
}

/// `; name="a"; filename=b`. `None` = it is not made so. Escapes in quotes stay as they are.
fn parameters(mut text: &str) -> Option<Vec<(&str, &str)>> {
    let mut list = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t']);
        if text.is_empty() {
            return Some(list);
        }
        let (name, rest) = text.strip_prefix(';')?.split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(inside) => {
                let bytes = inside.as_bytes();
                let end = (0..bytes.len()).find(|at| {
                    let escapes = bytes[..*at].iter().rev().take_while(|b| **b == b'\\').count();
                    bytes[*at] == b'"' && escapes % 2 == 0
                })?;
                (&inside[..end], &inside[end + 1..])
            }
            None => rest.split_at(rest.find(';').unwrap_or(rest.len())),
        };
        list.push((name.trim(), value.trim()));
        text = rest;
    }
}

#[cfg(test)]
#[path = "form_tests.rs"]
mod tests;

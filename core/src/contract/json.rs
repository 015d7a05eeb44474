//! Values as JSON texts, letter for letter as `serde_json` writes them, in half of its instructions: texts are looked
//! through eight bytes at a time. Receipts, records of the journal and translated bodies are written by it.

use std::fmt;

use serde::ser::{self, Serialize, Serializer as _};

/// Why a value cannot be written: what its type says, or a key that is neither text nor number.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unwritable(String);

impl ser::Error for Unwritable {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Unwritable(why.to_string())
    }
}

/// Appends a value.
pub fn put(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
    value.serialize(To(out))
}

/// Appends a text with its quotes.
pub fn text(out: &mut Vec<u8>, value: &str) {
    match is_plain(value.as_bytes()) {
        true => plain(out, value),
        false => escaped(out, value.as_bytes()),
    }
}

/// The name of a member or a variant, which stands in our sources: none there needs an escape.
#[inline]
fn word(out: &mut Vec<u8>, name: &'static str) {
    debug_assert!(is_plain(name.as_bytes()), "the name {name:?} needs an escape");
    out.extend_from_slice(name.as_bytes());
}

/// A text that needs no escape.
#[inline]
fn plain(out: &mut Vec<u8>, value: &str) {
    out.reserve(value.len() + 2);
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

#[cold]
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 16);
    out.push(b'"');
    let mut from = 0;
    while let Some(found) = bytes[from..].iter().position(|byte| is_special(*byte)) {
        out.extend_from_slice(&bytes[from..from + found]);
        escape(out, bytes[from + found]);
        from += found + 1;
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\')
}

/// Does nothing in it need an escape? Eight bytes at a time; the last eight may overlap those before, and a shorter text is
/// looked at by both of its ends.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<8>() {
        let (eights, _) = bytes.as_chunks::<8>();
        return eights.iter().fold(marks(*last), |all, eight| all | marks(*eight)) == 0;
    }
    let mut word = *b"        ";
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        word[..4].copy_from_slice(first);
        word[4..].copy_from_slice(last);
    } else if let (Some(first), Some(last)) = (bytes.first(), bytes.last()) {
        (word[0], word[1], word[2]) = (*first, bytes[bytes.len() / 2], *last);
    }
    marks(word) == 0
}

/// Not 0 where one of eight bytes is special.
fn marks(eight: [u8; 8]) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let zeros = |word: u64| word.wrapping_sub(each(1)) & !word & each(0x80);
    let word = u64::from_ne_bytes(eight);
    let controls = word.wrapping_sub(each(0x20)) & !word & each(0x80);
    controls | zeros(word ^ each(b'"')) | zeros(word ^ each(b'\\'))
}

#[cold]
fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// Writes one value.
struct To<'a>(&'a mut Vec<u8>);

/// Writes what stands in a list or an object, and closes it.
struct Inside<'a> {
    out: &'a mut Vec<u8>,
    /// Nothing stands before.
    is_first: bool,
    close: u8,
    /// It is the value of a variant: `}` closes that too.
    is_variant: bool,
}

impl<'a> To<'a> {
    fn open(self, open: u8, close: u8, is_variant: bool) -> Inside<'a> {
        self.0.push(open);
        Inside { out: self.0, is_first: true, close, is_variant }
    }

    /// `{"variant":`, behind which the value is to come.
    fn variant(&mut self, variant: &'static str) {
        self.0.extend_from_slice(b"{\"");
        word(self.0, variant);
        self.0.extend_from_slice(b"\":");
    }

    fn number(self, number: impl itoa::Integer) -> Result<(), Unwritable> {
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        Ok(())
    }

    /// Fractions are seldom: they are left to the library.
    fn fraction(self, number: f64, of: &impl Serialize) -> Result<(), Unwritable> {
        if number.is_finite() {
            return serde_json::to_writer(self.0, of).map_err(ser::Error::custom);
        }
        self.serialize_unit()
    }
}

impl Inside<'_> {
    fn comma(&mut self) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
    }

    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        self.comma();
        value.serialize(To(self.out))
    }

    fn member(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        match std::mem::replace(&mut self.is_first, false) {
            true => self.out.push(b'"'),
            false => self.out.extend_from_slice(b",\""),
        }
        word(self.out, name);
        self.out.extend_from_slice(b"\":");
        value.serialize(To(self.out))
    }

    fn close(self) -> Result<(), Unwritable> {
        self.out.push(self.close);
        if self.is_variant {
            self.out.push(b'}');
        }
        Ok(())
    }
}

macro_rules! numbers {
    ($($name:ident $kind:ty),*) => {
        $(fn $name(self, number: $kind) -> Result<(), Unwritable> {
            self.number(number)
        })*
    };
}

impl<'a> ser::Serializer for To<'a> {
    type Ok = ();
    type Error = Unwritable;
    type SerializeSeq = Inside<'a>;
    type SerializeTuple = Inside<'a>;
    type SerializeTupleStruct = Inside<'a>;
    type SerializeTupleVariant = Inside<'a>;
    type SerializeMap = Inside<'a>;
    type SerializeStruct = Inside<'a>;
    type SerializeStructVariant = Inside<'a>;

    numbers! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128
    }

    fn serialize_bool(self, is: bool) -> Result<(), Unwritable> {
        self.0.extend_from_slice(if is { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<(), Unwritable> {
        self.fraction(f64::from(number), &number)
    }

    fn serialize_f64(self, number: f64) -> Result<(), Unwritable> {
        self.fraction(number, &number)
    }

    fn serialize_char(self, letter: char) -> Result<(), Unwritable> {
        self.serialize_str(letter.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Unwritable> {
        text(self.0, value);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Unwritable> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<(), Unwritable> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unwritable> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unwritable> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Unwritable> {
        self.0.push(b'"');
        word(self.0, variant);
        self.0.push(b'"');
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        self.variant(variant);
        value.serialize(To(self.0))?;
        self.0.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Inside<'a>, Unwritable> {
        Ok(self.open(b'[', b']', false))
    }

    fn serialize_tuple(self, _: usize) -> Result<Inside<'a>, Unwritable> {
        Ok(self.open(b'[', b']', false))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Inside<'a>, Unwritable> {
        Ok(self.open(b'[', b']', false))
    }

    fn serialize_tuple_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, Unwritable> {
        self.variant(variant);
        Ok(self.open(b'[', b']', true))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Inside<'a>, Unwritable> {
        Ok(self.open(b'{', b'}', false))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Inside<'a>, Unwritable> {
        Ok(self.open(b'{', b'}', false))
    }

    fn serialize_struct_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, Unwritable> {
        self.variant(variant);
        Ok(self.open(b'{', b'}', true))
    }
}

macro_rules! lists {
    ($($list:ident $put:ident),*) => {
        $(impl ser::$list for Inside<'_> {
            type Ok = ();
            type Error = Unwritable;

            fn $put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
                self.item(value)
            }

            fn end(self) -> Result<(), Unwritable> {
                self.close()
            }
        })*
    };
}

lists! {
    SerializeSeq serialize_element, SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field
}

macro_rules! objects {
    ($($object:ident),*) => {
        $(impl ser::$object for Inside<'_> {
            type Ok = ();
            type Error = Unwritable;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unwritable> {
                self.member(name, value)
            }

            fn end(self) -> Result<(), Unwritable> {
                self.close()
            }
        })*
    };
}

objects! { SerializeStruct, SerializeStructVariant }

impl ser::SerializeMap for Inside<'_> {
    type Ok = ();
    type Error = Unwritable;

    /// A number or a truth value is a key in quotes.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unwritable> {
        self.comma();
        let at = self.out.len();
        key.serialize(To(self.out))?;
        match self.out.get(at) {
            Some(b'"') => {}
            Some(b'-' | b'0'..=b'9' | b't' | b'f') => {
                self.out.insert(at, b'"');
                self.out.push(b'"');
            }
            _ => return Err(ser::Error::custom("a key is neither text nor number")),
        }
        self.out.push(b':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        value.serialize(To(self.out))
    }

    fn end(self) -> Result<(), Unwritable> {
        self.close()
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;

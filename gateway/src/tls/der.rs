//! DER as certificates are written in it, read strictly: one step at a time, never beyond what is there, without recursion.

use jiff::civil;

pub const BOOLEAN: u8 = 0x01;
pub const INTEGER: u8 = 0x02;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const OBJECT_ID: u8 = 0x06;
pub const UTF8: u8 = 0x0c;
pub const PRINTABLE: u8 = 0x13;
pub const IA5: u8 = 0x16;
pub const UTC_TIME: u8 = 0x17;
pub const GENERALIZED_TIME: u8 = 0x18;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// What is wrong with it.
pub type Read<T> = Result<T, &'static str>;

/// What is still to be read.
#[derive(Debug, Clone, Copy)]
pub struct Der<'a>(&'a [u8]);

/// One element.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    /// With tag and length.
    pub whole: &'a [u8],
}

/// A tag of the context: `[number]`, with elements in it where `holds` says so.
pub const fn context(number: u8, holds: bool) -> u8 {
    0x80 | number | if holds { 0x20 } else { 0 }
}

impl<'a> Der<'a> {
    /// The one element that these bytes are.
    pub fn only(bytes: &'a [u8], tag: u8) -> Read<Element<'a>> {
        let mut der = Der(bytes);
        let element = der.take(tag)?;
        der.end()?;
        Ok(element)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn end(&self) -> Read<()> {
        if self.is_empty() { Ok(()) } else { Err("there is more than there should be") }
    }

    pub fn next(&mut self) -> Read<Element<'a>> {
        const CUT: &str = "it is cut off";
        let (&[tag, first], mut rest) = self.0.split_first_chunk().ok_or(CUT)?;
        if tag & 0x1f == 0x1f {
            return Err("a tag in it has more than one byte");
        }
        let length = match first {
            ..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (bytes, behind) = rest.split_at_checked(usize::from(first & 0x7f)).ok_or(CUT)?;
                rest = behind;
                let length = bytes.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
                let is_short = length < 0x80 || bytes.first() == Some(&0);
                usize::try_from(length)
                    .ok()
                    .filter(|_| !is_short)
                    .ok_or("a length in it is not written as DER has it")?
            }
            _ => return Err("a length in it is not written as DER has it"),
        };
        let (content, behind) = rest.split_at_checked(length).ok_or(CUT)?;
        let (whole, _) = self.0.split_at_checked(self.0.len() - behind.len()).ok_or(CUT)?;
        self.0 = behind;
        Ok(Element { tag, content, whole })
    }

    pub fn take(&mut self, tag: u8) -> Read<Element<'a>> {
        self.take_if(tag)?.ok_or("something else stands where a part of it should")
    }

    /// `None` = the next is something else, or nothing.
    pub fn take_if(&mut self, tag: u8) -> Read<Option<Element<'a>>> {
        if self.0.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }

    /// What is in the next sequence.
    pub fn sequence(&mut self) -> Read<Der<'a>> {
        self.take(SEQUENCE).map(|element| Der(element.content))
    }

    /// Milliseconds since 1970.
    pub fn time(&mut self) -> Read<i64> {
        let element = self.next()?;
        time(element.tag, element.content).ok_or("a time in it is none")
    }

    pub fn each(mut self, mut see: impl FnMut(Element<'a>) -> Read<()>) -> Read<()> {
        while !self.is_empty() {
            see(self.next()?)?;
        }
        Ok(())
    }
}

impl<'a> Element<'a> {
    pub fn der(&self) -> Der<'a> {
        Der(self.content)
    }

    /// Of a bit string that is whole bytes.
    pub fn bytes_of_bits(&self) -> Read<&'a [u8]> {
        match self.content.split_first() {
            Some((0, bytes)) => Ok(bytes),
            Some(_) | None => Err("bits in it are not whole bytes"),
        }
    }

    /// Without the zero that keeps it positive, so that it is the same wherever it stands.
    pub fn number(&self) -> &'a [u8] {
        match self.content {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        }
    }
}

/// RFC 5280: `YYMMDDHHMMSSZ` from 1950 to 2049, `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let of = |pair: &[u8]| match *pair {
        [ten @ b'0'..=b'9', one @ b'0'..=b'9'] => Some((ten - b'0').cast_signed() * 10 + (one - b'0').cast_signed()),
        _ => None,
    };
    let pairs = digits.chunks(2).map(of).collect::<Option<Vec<i8>>>()?;
    let (year, rest) = match (tag, &*pairs) {
        (UTC_TIME, [year, rest @ ..]) => (i16::from(*year) + if *year < 50 { 2_000 } else { 1_900 }, rest),
        (GENERALIZED_TIME, [century, year, rest @ ..]) => (i16::from(*century) * 100 + i16::from(*year), rest),
        _ => return None,
    };
    let &[month, day, hour, minute, second] = rest else { return None };
    let at = civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    i64::try_from(at.duration_since(civil::date(1970, 1, 1).at(0, 0, 0, 0)).as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_der_allows_is_read() {
        let long = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat();
        let longer = [&[0x04, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        for (bytes, expected, why) in [
            (&[0x04, 0x02, 7, 7][..], Some(2), "short"),
            (&[0x04, 0x00], Some(0), "empty"),
            (&long, Some(128), "one byte of length"),
            (&longer, Some(256), "two bytes of length"),
            (&[], None, "nothing"),
            (&[0x04], None, "a tag alone"),
            (&[0x04, 0x02, 7], None, "less than it says"),
            (&[0x04, 0x82, 0x01], None, "a length that is cut off"),
            (&[0x04, 0x81, 0x02, 7, 7], None, "a length that is longer than it need be"),
            (&[0x04, 0x82, 0x00, 0x80], None, "a length that begins with zero"),
            (&[0x04, 0x80, 7, 0, 0], None, "a length that is not told"),
            (&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff], None, "4 GiB that are not there"),
            (&[0x04, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None, "more than any machine has"),
            (&[0x1f, 0x81, 0x01, 0x00], None, "a long tag"),
            (&[0x30, 0x00], None, "another tag"),
            (&[0x04, 0x00, 0x00], None, "more behind it"),
        ] {
            let read = Der::only(bytes, OCTET_STRING);
            assert_eq!(read.ok().map(|element| element.content.len()), expected, "{why}");
            if let Ok(element) = read {
                assert_eq!(element.whole, bytes, "{why}");
            }
        }
    }

    #[test]
    fn times_are_those_of_rfc_5280() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999_000)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799_000)),
            (UTC_TIME, "700101000000", None),
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "700101000000+0100", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "70010100000 Z", None),
            (UTC_TIME, "20500101000000Z", None),
            (GENERALIZED_TIME, "500101000000Z", None),
            (GENERALIZED_TIME, "20500101000000.5Z", None),
            (GENERALIZED_TIME, "", None),
            (UTF8, "700101000000Z", None),
        ] {
            assert_eq!(time(tag, text.as_bytes()), expected, "{text}");
        }
    }
}

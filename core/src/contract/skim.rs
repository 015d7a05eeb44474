//! One bounded pass over a request body: where its members are, and whether it is JSON at all.
//!
//! The body is never rebuilt. What is checked here is what the provider will read: the same bytes.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use smallvec::SmallVec;

use super::read::decoded;

/// Nesting beyond this is refused; the deepest real tool schemas need about 20.
pub const DEPTH_MAX: usize = 127;
/// Members of the body itself; real requests have at most about 40.
pub const MEMBERS_MAX: usize = 256;

/// The members of the body's object, in order. It holds offsets only, so that it can travel beside the body.
#[derive(Debug, Clone, Default)]
pub struct Skim {
    pub members: SmallVec<[Member; 16]>,
    /// A member at any depth is named `file_id` or the like, or by escapes that may say so.
    pub may_name_files: bool,
    /// The same of `tool_calls` and `tool_call_id`.
    pub may_name_calls: bool,
    made: OnceLock<Box<str>>,
}

/// One member: where it begins, where its name is (between the quotes), and where its value is.
#[derive(Debug, Clone)]
pub struct Member {
    name: Range<usize>,
    /// The name, where it was written with escapes.
    unescaped: Option<Box<str>>,
    pub start: usize,
    pub value: Range<usize>,
}

impl Member {
    fn is(&self, body: &[u8], name: &str) -> bool {
        let own = self.unescaped.as_deref().map_or(&body[self.name.clone()], str::as_bytes);
        own == name.as_bytes()
    }

    /// The name as it is meant, read from the skimmed body.
    pub fn name<'a>(&'a self, body: &'a [u8]) -> &'a str {
        match &self.unescaped {
            Some(name) => name,
            None => std::str::from_utf8(&body[self.name.clone()]).unwrap_or_default(),
        }
    }
}

/// Why a body is no request. Offsets are bytes from its start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SkimError {
    #[error("the body is empty: send a JSON object")]
    Empty,
    #[error("the body is not UTF-8 (byte {0})")]
    NotUtf8(usize),
    #[error("the body is no JSON object: it begins with something else")]
    NotObject,
    #[error("the body is no valid JSON: {what} at byte {at}")]
    Syntax { what: &'static str, at: usize },
    #[error("the body is nested deeper than {DEPTH_MAX} levels (byte {0})")]
    TooDeep(usize),
    #[error("the body has the member `{0}` twice")]
    Duplicate(String),
    #[error("the body has more than {MEMBERS_MAX} members")]
    TooManyMembers,
}

/// Skims a whole body. Time is linear in its length; memory is the list of members.
pub fn skim(body: &[u8]) -> Result<Skim, SkimError> {
    let text = std::str::from_utf8(body).map_err(|e| SkimError::NotUtf8(e.valid_up_to()))?;
    let mut reader = Reader { text: text.as_bytes(), at: 0, may_name_files: false, may_name_calls: false };
    reader.space();
    match reader.peek() {
        None => return Err(SkimError::Empty),
        Some(b'{') => reader.at += 1,
        Some(_) => return Err(SkimError::NotObject),
    }
    let mut found = Skim::default();
    reader.space();
    if reader.peek() == Some(b'}') {
        reader.at += 1;
    } else {
        loop {
            reader.space();
            let start = reader.at;
            let name = reader.name(text)?;
            if found.find(body, &name).is_some() {
                return Err(SkimError::Duplicate(super::nearest::shown(&name).into_owned()));
            }
            let (name, unescaped) = match name {
                Cow::Borrowed(plain) => (start + 1..start + 1 + plain.len(), None),
                Cow::Owned(text) => (start..start, Some(text.into_boxed_str())),
            };
            if found.members.len() == MEMBERS_MAX {
                return Err(SkimError::TooManyMembers);
            }
            reader.space();
            let from = reader.at;
            reader.value()?;
            found.members.push(Member { name, unescaped, start, value: from..reader.at });
            reader.space();
            match reader.next() {
                Some(b',') => {}
                Some(b'}') => break,
                Some(_) | None => return Err(reader.wrong("expected `,` or `}`")),
            }
        }
    }
    reader.space();
    match reader.peek() {
        None => {
            let Reader { may_name_files, may_name_calls, .. } = reader;
            Ok(Skim { may_name_files, may_name_calls, ..found })
        }
        Some(_) => Err(SkimError::Syntax { what: "something after the object", at: reader.at }),
    }
}

impl Skim {
    /// A text made of the body (its schemas in another spelling), kept as long as what is borrowed from the body. Made once.
    pub fn keep(&self, make: impl FnOnce() -> String) -> &str {
        self.made.get_or_init(|| make().into_boxed_str())
    }

    pub fn find(&self, body: &[u8], name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.is(body, name))
    }

    /// The text of a member's value, as it stands in the body.
    pub fn raw<'b>(&self, body: &'b [u8], name: &str) -> Option<&'b [u8]> {
        self.find(body, name).map(|m| &body[m.value.clone()])
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    may_name_files: bool,
    may_name_calls: bool,
}

/// Bytes before the first that no string holds as it is: its end, an escape, a control character. Long prompts pass here.
fn plain(text: &[u8]) -> usize {
    let at = plain_blocks(text);
    let (words, rest) = text[at..].as_chunks::<8>();
    let specials = |word: &[u8; 8]| Some(special(*word)).filter(|found| *found != 0);
    match words.iter().enumerate().find_map(|(nth, word)| Some((nth, specials(word)?))) {
        Some((nth, found)) => at + 8 * nth + found.trailing_zeros() as usize / 8,
        None => at + 8 * words.len() + rest.iter().take_while(|byte| special([**byte; 8]) == 0).count(),
    }
}

/// Bytes of the blocks without one. A block has no way out in its middle, so that wide instructions come of it.
fn plain_blocks(text: &[u8]) -> usize {
    // 0 for each of the three.
    let nearest = |byte: u8| byte.saturating_sub(b' ' - 1).min(byte ^ b'"').min(byte ^ b'\\');
    let is_plain = |block: &&[u8; 32]| block.iter().fold(u8::MAX, |least, byte| least.min(nearest(*byte))) != 0;
    32 * text.as_chunks::<32>().0.iter().take_while(is_plain).count()
}

/// The high bit of the first such byte among eight, and maybe of some behind it; 0 where there is none.
fn special(bytes: [u8; 8]) -> u64 {
    const EACH: u64 = u64::MAX / 0xff;
    let word = u64::from_le_bytes(bytes);
    let below = |word: u64, bound: u8| word.wrapping_sub(EACH * u64::from(bound)) & !word & (EACH << 7);
    let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    below(word, b' ') | is(b'"') | is(b'\\')
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn wrong(&self, what: &'static str) -> SkimError {
        SkimError::Syntax { what, at: self.at.saturating_sub(1) }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// `"name" :`
    fn name<'t>(&mut self, text: &'t str) -> Result<Cow<'t, str>, SkimError> {
        let from = self.at;
        if self.next() != Some(b'"') {
            return Err(self.wrong("expected a member's name"));
        }
        let escaped = self.named()?;
        let raw = &text[from + 1..self.at - 1];
        // An escaped name is the same name: `"mod\u0065l"` must not slip past as another member.
        let name = match escaped {
            false => Cow::Borrowed(raw),
            true => decoded::<String>(&text[from..self.at])
                .map(Cow::Owned)
                .map_err(|_| self.wrong("a name with a wrong escape"))?,
        };
        self.space();
        match self.next() {
            Some(b':') => Ok(name),
            Some(_) | None => Err(self.wrong("expected `:`")),
        }
    }

    /// A name, after its opening quote. Says whether an escape was in it.
    fn named(&mut self) -> Result<bool, SkimError> {
        let from = self.at;
        let escaped = self.string()?;
        self.may_name_files |= escaped || self.text[from..].starts_with(b"file_id");
        self.may_name_calls |= escaped || self.text[from..].starts_with(b"tool_call");
        Ok(escaped)
    }

    /// After the opening quote, to behind the closing one. Says whether an escape was in it.
    fn string(&mut self) -> Result<bool, SkimError> {
        let mut escaped = false;
        loop {
            self.at += plain(&self.text[self.at..]);
            match self.next() {
                Some(b'"') => return Ok(escaped),
                Some(b'\\') => escaped = true,
                Some(_) => return Err(self.wrong("a control character in a string")),
                None => return Err(self.wrong("a string without an end")),
            }
            match self.next() {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                Some(b'u')
                    if self.text[self.at..].iter().take_while(|h| h.is_ascii_hexdigit()).take(4).count() == 4 =>
                {
                    self.at += 4;
                }
                Some(_) | None => return Err(self.wrong("a wrong escape")),
            }
        }
    }

    /// One value of any depth, without recursion: one bit a level says whether it is an object.
    fn value(&mut self) -> Result<(), SkimError> {
        let mut objects: u128 = 0;
        let mut depth = 0usize;
        loop {
            self.space();
            match self.next() {
                Some(open @ (b'{' | b'[')) => {
                    let object = open == b'{';
                    if depth == DEPTH_MAX {
                        return Err(SkimError::TooDeep(self.at));
                    }
                    depth += 1;
                    objects = (objects << 1) | u128::from(object);
                    self.space();
                    if self.peek() == Some(if object { b'}' } else { b']' }) {
                        self.at += 1;
                        depth -= 1;
                        objects >>= 1;
                    } else {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b't') => self.word(b"rue")?,
                Some(b'f') => self.word(b"alse")?,
                Some(b'n') => self.word(b"ull")?,
                Some(b'-' | b'0'..=b'9') => {
                    self.at -= 1;
                    self.number()?;
                }
                Some(_) | None => return Err(self.wrong("expected a value")),
            }
            // A value has ended: close what ends with it.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let object = objects & 1 == 1;
                self.space();
                match self.next() {
                    Some(b',') => {
                        if object {
                            self.space();
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    Some(_) | None => return Err(self.wrong("expected `,` or a closing bracket")),
                }
                depth -= 1;
                objects >>= 1;
            }
        }
    }

    fn key(&mut self) -> Result<(), SkimError> {
        if self.next() != Some(b'"') {
            return Err(self.wrong("expected a member's name"));
        }
        self.named()?;
        self.space();
        if self.next() != Some(b':') {
            return Err(self.wrong("expected `:`"));
        }
        Ok(())
    }

    fn word(&mut self, rest: &[u8]) -> Result<(), SkimError> {
        if !self.text[self.at..].starts_with(rest) {
            return Err(self.wrong("expected a value"));
        }
        self.at += rest.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), SkimError> {
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.next() {
            Some(b'0') => {}
            Some(b'1'..=b'9') => self.digits(),
            Some(_) | None => return Err(self.wrong("a wrong number")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.some_digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), SkimError> {
        let from = self.at;
        self.digits();
        if self.at == from { Err(self.wrong("a wrong number")) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "skim_tests.rs"]
mod tests;

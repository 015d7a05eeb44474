//! Reads JSON where it stands, a level at a time: texts are borrowed where they have no escapes, what nobody understands
//! stays as the text it was, and every complaint names its place (`messages[2].content[0].text`).

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use serde::Deserializer as _;
use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::refusal::{Category, Refusal};
use super::surrogates::{mended, text_of};

/// A JSON value as it stands in its text.
pub type Raw<'a> = &'a RawValue;

/// Members of one object; real ones have at most a few hundred (schemas are not read member by member).
const MEMBERS_MAX: usize = 4_096;
/// Below this many members, comparing each with each is quicker than a set.
const FEW: usize = 12;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {why}")]
pub struct Wrong {
    pub path: String,
    pub why: String,
    /// It is well-formed, but nothing that the canonical form can say.
    pub unsupported: bool,
}

impl Wrong {
    /// As a refusal of the caller who sent it.
    pub fn refusal(self) -> Refusal {
        let told = self.to_string();
        match self.unsupported {
            true => Refusal {
                param: Some(self.path.into()),
                ..Refusal::new(Category::Unsupported, "unsupported_value", told)
            },
            false => Refusal::invalid("wrong_type", self.path, told),
        }
    }
}

/// One reading of one text: where it is, and what it passed over.
#[derive(Debug, Default)]
pub struct Reading<'a> {
    path: Vec<Step<'a>>,
    /// Members without a canonical place, by path, in the order in which they stand.
    pub extra: Vec<(String, Raw<'a>)>,
}

#[derive(Debug, Clone)]
enum Step<'a> {
    Member(Cow<'a, str>),
    Item(usize),
}

/// The members of an object, in their order.
pub type Members<'a> = Vec<(Cow<'a, str>, Raw<'a>)>;

impl<'a> Reading<'a> {
    /// A value of a text that was never looked at.
    pub fn value(&self, text: &'a [u8]) -> Result<Raw<'a>, Wrong> {
        serde_json::from_slice(text).map_err(|why| self.wrong(format!("is no valid JSON: {why}")))
    }

    pub fn wrong(&self, why: impl Into<String>) -> Wrong {
        Wrong { path: self.place(), why: why.into(), unsupported: false }
    }

    pub fn unsupported(&self, why: impl Into<String>) -> Wrong {
        Wrong { unsupported: true, ..self.wrong(why) }
    }

    /// Where the reading is: `messages[2].content`.
    pub fn place(&self) -> String {
        let mut place = String::new();
        for step in &self.path {
            let written = match step {
                Step::Member(name) if place.is_empty() => write!(place, "{name}"),
                Step::Member(name) => write!(place, ".{name}"),
                Step::Item(at) => write!(place, "[{at}]"),
            };
            written.expect("a String takes every text");
        }
        place
    }

    /// Reads what is below a member.
    pub fn within<T>(
        &mut self,
        name: impl Into<Cow<'a, str>>,
        read: impl FnOnce(&mut Self) -> Result<T, Wrong>,
    ) -> Result<T, Wrong> {
        self.path.push(Step::Member(name.into()));
        let value = read(self)?;
        self.path.pop();
        Ok(value)
    }

    /// Reads a list, item by item.
    pub fn each<T>(
        &mut self,
        raw: Raw<'a>,
        mut read: impl FnMut(&mut Self, Raw<'a>) -> Result<T, Wrong>,
    ) -> Result<Vec<T>, Wrong> {
        let items: Vec<Raw<'a>> = match raw.get().as_bytes().first() {
            Some(b'[') => serde_json::from_str(raw.get()).map_err(|why| self.wrong(why.to_string()))?,
            Some(_) | None => return Err(self.wrong("must be a list")),
        };
        let mut values = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            self.path.push(Step::Item(at));
            values.push(read(self, item)?);
            self.path.pop();
        }
        Ok(values)
    }

    /// The members of an object; one that stands twice is refused, for readers differ in which of the two counts.
    pub fn object(&self, raw: Raw<'a>) -> Result<Members<'a>, Wrong> {
        if !is_object(raw) {
            return Err(self.wrong("must be an object"));
        }
        let members = members(raw).map_err(|why| self.wrong(why.to_string()))?;
        if let Some(twice) = twice(&members) {
            return Err(self.wrong(format!("has the member `{twice}` twice")));
        }
        Ok(members)
    }

    /// A member that has no canonical place: kept under its path, unless it says nothing (`null`, `[]`).
    pub fn extra(&mut self, name: &str, raw: Raw<'a>) {
        if !matches!(raw.get(), "null" | "[]") {
            let mut path = self.place();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            self.extra.push((path, raw));
        }
    }

    pub fn text(&self, raw: Raw<'a>) -> Result<Cow<'a, str>, Wrong> {
        as_text(raw).ok_or_else(|| self.wrong("must be a text"))
    }

    pub fn bool(&self, raw: Raw<'a>) -> Result<bool, Wrong> {
        match raw.get() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong("must be true or false")),
        }
    }

    /// A whole number of 0 or more; `3.0` is one too.
    pub fn whole(&self, raw: Raw<'a>) -> Result<u64, Wrong> {
        as_whole(raw).ok_or_else(|| self.wrong("must be a whole number, 0 or more"))
    }

    pub fn number(&self, raw: Raw<'a>) -> Result<Number<'a>, Wrong> {
        match raw.get().as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => Ok(Number(Cow::Borrowed(raw.get()))),
            Some(_) | None => Err(self.wrong("must be a number")),
        }
    }

    /// One text, or a list of texts.
    pub fn texts(&mut self, raw: Raw<'a>) -> Result<Vec<Cow<'a, str>>, Wrong> {
        match as_text(raw) {
            Some(text) => Ok(vec![text]),
            None => self.each(raw, |r, item| r.text(item)),
        }
    }
}

/// A number as it was written: no digit is lost on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number<'a>(pub Cow<'a, str>);

impl Number<'_> {
    pub fn float(&self) -> f64 {
        self.0.parse().unwrap_or(0.0)
    }
}

pub fn is_null(raw: Raw<'_>) -> bool {
    raw.get() == "null"
}

pub fn is_object(raw: Raw<'_>) -> bool {
    raw.get().starts_with('{')
}

pub fn is_list(raw: Raw<'_>) -> bool {
    raw.get().starts_with('[')
}

pub fn as_text<'a>(raw: Raw<'a>) -> Option<Cow<'a, str>> {
    let inside = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    match memchr::memchr(b'\\', inside.as_bytes()) {
        None => Some(Cow::Borrowed(inside)),
        Some(_) => decoded(raw.get()).ok().map(Cow::Owned),
    }
}

/// A text with escapes, or what holds such texts. Halves of characters are read as U+FFFD: nobody's call fails for one.
pub fn decoded<T: DeserializeOwned>(json: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(json).or_else(|why| match mended(json) {
        Cow::Owned(whole) => serde_json::from_str(&whole),
        Cow::Borrowed(_) => Err(why),
    })
}

pub fn as_whole(raw: Raw<'_>) -> Option<u64> {
    let text = raw.get();
    text.parse().ok().or_else(|| {
        let float: f64 = text.parse().ok()?;
        // Above 2^53 a float is no exact number any more.
        (float >= 0.0 && float.fract() == 0.0 && float <= 9_007_199_254_740_992.0).then_some(float as u64)
    })
}

/// A member of an object, by name. For the few places where one of many is wanted.
pub fn find<'a>(members: &Members<'a>, name: &str) -> Option<Raw<'a>> {
    members.iter().find(|(known, _)| known == name).map(|(_, raw)| *raw).filter(|raw| !is_null(raw))
}

/// The members of an object without a place to complain about; empty where it is none.
pub fn loose<'a>(raw: Raw<'a>) -> Members<'a> {
    if is_object(raw) { members(raw).unwrap_or_default() } else { Vec::new() }
}

fn twice<'m>(members: &'m Members<'_>) -> Option<&'m str> {
    if members.len() <= FEW {
        let same = |(at, (name, _)): &(usize, &(Cow<'_, str>, Raw<'_>))| members[..*at].iter().any(|(n, _)| n == name);
        return members.iter().enumerate().find(same).map(|(_, (name, _))| &**name);
    }
    let mut seen = HashSet::with_capacity(members.len());
    members.iter().find(|(name, _)| !seen.insert(&**name)).map(|(name, _)| &**name)
}

fn members<'a>(raw: Raw<'a>) -> Result<Members<'a>, serde_json::Error> {
    struct Object;
    impl<'de> Visitor<'de> for Object {
        type Value = Members<'de>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::with_capacity(FEW);
            while let Some(name) = map.next_key_seed(Name)? {
                if members.len() == MEMBERS_MAX {
                    return Err(serde::de::Error::custom(format_args!("has more than {MEMBERS_MAX} members")));
                }
                members.push((name, map.next_value()?));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(raw.get()).deserialize_map(Object)
}

/// A member's name, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // A text may not hold half a character; bytes may.
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_bytes<E>(self, name: &'de [u8]) -> Result<Self::Value, E> {
        Ok(text_of(name))
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text_of(name).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Raw<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn complaints_name_their_place() {
        let mut reading = Reading::default();
        let told = reading
            .within("messages", |r| {
                r.each(raw(r#"["a", 1]"#), |r, item| r.within("content", |r| r.text(item).map(drop))).map(drop)
            })
            .unwrap_err();
        assert_eq!(told.to_string(), "`messages[1].content` must be a text");
    }

    #[test]
    fn members_keep_their_order_and_stand_once() {
        let reading = Reading::default();
        let members = reading.object(raw(r#"{"b": {"x":1.50}, "a\u0061": "t\n"}"#)).unwrap();
        assert_eq!(members[0].1.get(), r#"{"x":1.50}"#, "what is not read stays as it was written");
        assert_eq!(&*members[1].0, "aa");
        assert_eq!(as_text(members[1].1).as_deref(), Some("t\n"));
        assert!(reading.object(raw(r#"{"a":1,"a":2}"#)).unwrap_err().why.contains("`a` twice"));
        let many = |n: usize| (0..n).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(",");
        assert!(reading.object(raw(&format!("{{{},\"3\":1}}", many(50)))).unwrap_err().why.contains("`3` twice"));
        assert!(reading.object(raw(&format!("{{{}}}", many(5_000)))).unwrap_err().why.contains("more than"));
    }

    /// What programs send that cut texts in the middle of a character.
    #[test]
    fn half_a_character_hides_nothing() {
        assert_eq!(as_text(raw(r#""a \ud83d b""#)).as_deref(), Some("a \u{fffd} b"));
        let members = Reading::default().object(raw(r#"{"a\ud83d\ud83d":1,"b":"\ude00"}"#)).unwrap();
        assert!(find(&members, "a\u{fffd}\u{fffd}").is_some(), "one for each: {members:?}");
        assert_eq!(find(&members, "b").and_then(as_text).as_deref(), Some("\u{fffd}"), "{members:?}");
    }

    #[test]
    fn whole_numbers_are_whole() {
        for (text, value) in [("3", Some(3)), ("3.0", Some(3)), ("3.5", None), ("-1", None), ("1e3", Some(1000))] {
            assert_eq!(as_whole(raw(text)), value, "{text}");
        }
    }
}

//! JSON, read and changed where it stands, beside what serde_json makes of the same text.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tollgate_core::contract::read::{self, Raw, Reading};
use tollgate_core::contract::skim::{Skim, SkimError, skim};
use tollgate_core::contract::splice::{Edits, with_member};
use tollgate_core::contract::surrogates::mended;
use tollgate_core::contract::write::quoted;

/// Members by name, each value as it was written.
type Meant = BTreeMap<String, Box<RawValue>>;

fn texts(meant: &Meant) -> BTreeMap<&str, &str> {
    meant.iter().map(|(name, value)| (name.as_str(), value.get())).collect()
}

/// The skim takes what serde_json takes, but for its own bounds; and a changed body means what was asked.
pub fn check_skim_and_splice(data: &[u8]) {
    // What serde_json passes over need not be text for it.
    let valid = std::str::from_utf8(data).is_ok() && serde_json::from_slice::<IgnoredAny>(data).is_ok();
    let found = match skim(data) {
        Ok(found) => found,
        Err(why) => {
            let ours = match &why {
                SkimError::TooDeep(_) | SkimError::Duplicate(_) | SkimError::TooManyMembers => true,
                SkimError::NotObject => data.trim_ascii_start().first() != Some(&b'{'),
                // Half of a surrogate pair: serde_json tells it only where it reads the text.
                SkimError::Syntax { what, .. } => *what == "a name with a wrong escape",
                SkimError::Empty | SkimError::NotUtf8(_) => false,
            };
            assert!(!valid || ours, "serde_json takes it, the skim says: {why}");
            return;
        }
    };
    assert!(valid, "the skim takes it, serde_json does not");
    // Halves of characters are read as U+FFFD here, and not at all by serde_json.
    let whole = mended(std::str::from_utf8(data).expect("it is valid"));
    let same = skim(whole.as_bytes()).expect("no byte moved");
    let ranges = |found: &Skim| found.members.iter().map(|member| member.value.clone()).collect::<Vec<_>>();
    assert_eq!(ranges(&found), ranges(&same));
    let names = found.members.iter().zip(&same.members);
    names.for_each(|(one, other)| assert_eq!(one.name(data), other.name(whole.as_bytes())));
    let (data, found) = (whole.as_bytes(), same);
    let body = Bytes::copy_from_slice(data);
    let meant: Meant = serde_json::from_slice(data).expect("it was skimmed");
    assert_eq!(found.members.len(), meant.len(), "members are missing");
    for member in &found.members {
        let told = meant.get(member.name(data)).map(|raw| raw.get().as_bytes());
        assert_eq!(told, Some(&data[member.value.clone()]), "`{}`", member.name(data));
        assert_eq!(found.raw(data, member.name(data)), told);
    }
    check_splice(&body, &meant);
}

fn check_splice(body: &Bytes, meant: &Meant) {
    let found = skim(body).expect("it was skimmed");
    let names = found.members.iter().map(|member| member.name(body).to_owned());
    let names: Vec<String> = names.chain(["model".to_owned(), "new \"one\"".to_owned()]).collect();
    for chance in 0..4usize {
        let (mut edits, mut expected) = (Edits::default(), meant.clone());
        for (at, name) in names.iter().enumerate() {
            match (at + chance) % 3 {
                0 => {
                    edits.set(name, "[1.50]");
                    let raw = RawValue::from_string("[1.50]".to_owned()).expect("it is JSON");
                    expected.insert(name.clone(), raw);
                }
                1 if chance < 3 => {
                    edits.remove(name);
                    expected.remove(name);
                }
                _ => {}
            }
        }
        let changed = edits.apply(body, &found);
        let told: Meant = serde_json::from_slice(&changed).unwrap_or_else(|why| panic!("{why}: {changed:?}"));
        assert_eq!(texts(&told), texts(&expected), "{changed:?}");
    }
    let nested = with_member(Some(body), "model", "1").expect("it was skimmed");
    assert!(serde_json::from_str::<IgnoredAny>(&nested).is_ok(), "{nested}");
}

/// What is read a level at a time is what serde_json reads.
pub fn check_reading(data: &[u8]) {
    let reading = Reading::default();
    let theirs = serde_json::from_slice::<&RawValue>(data);
    match (reading.value(data), theirs) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(ours.get(), theirs.get());
            check_value(ours, 4);
        }
        (ours, theirs) => assert_eq!(ours.is_ok(), theirs.is_ok()),
    }
    let text = String::from_utf8_lossy(data);
    assert_eq!(serde_json::from_str::<String>(&quoted(&text)).ok().as_deref(), Some(&*text));
}

fn check_value(raw: Raw<'_>, depth: usize) {
    let mut reading = Reading::default();
    let text = raw.get();
    let whole = mended(text);
    assert_eq!(reading.text(raw).ok().as_deref(), serde_json::from_str::<String>(&whole).ok().as_deref());
    assert_eq!(reading.bool(raw).ok(), serde_json::from_str::<bool>(text).ok());
    assert_eq!(read::is_null(raw), text == "null");
    if let Ok(whole) = serde_json::from_str::<u64>(text) {
        assert_eq!(reading.whole(raw).ok(), Some(whole));
    }
    let is_number = serde_json::from_str::<serde_json::Number>(text).is_ok();
    assert!(!is_number || reading.number(raw).is_ok(), "{text} is a number");
    let theirs = serde_json::from_str::<BTreeMap<String, &RawValue>>(&whole);
    match (reading.object(raw), theirs) {
        (Ok(ours), Ok(theirs)) => {
            let ours: BTreeMap<_, _> = ours.into_iter().map(|(k, v)| (k.into_owned(), mended(v.get()))).collect();
            let told: BTreeMap<_, _> = theirs.iter().map(|(k, v)| (k.clone(), mended(v.get()))).collect();
            assert_eq!(ours, told);
            theirs.values().filter(|_| depth > 0).for_each(|value| check_value(value, depth - 1));
        }
        // A member that stands twice, or very many.
        (Err(_), Ok(_)) | (Err(_), Err(_)) => {}
        (Ok(_), Err(why)) => panic!("{text} is no object: {why}"),
    }
    let theirs = serde_json::from_str::<Vec<&RawValue>>(text);
    let ours = reading.each(raw, |_, item| Ok(item.get().to_owned()));
    assert_eq!(ours.as_ref().map(Vec::len).ok(), theirs.as_ref().map(Vec::len).ok());
    for item in theirs.unwrap_or_default().into_iter().filter(|_| depth > 0) {
        check_value(item, depth - 1);
    }
}

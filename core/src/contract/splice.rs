//! Changes members of a body without rebuilding it: every other byte stays as it was sent.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::skim::{Skim, SkimError, skim};

/// Changes to be made to one body. The last change of a member counts.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    list: SmallVec<[(String, Option<String>); 4]>,
}

impl Edits {
    /// The member gets this JSON text as its value; it is added where it is not there.
    pub fn set(&mut self, name: &str, json: impl Into<String>) {
        self.put(name, Some(json.into()));
    }

    pub fn remove(&mut self, name: &str) {
        self.put(name, None);
    }

    /// What a member will be, where a change of it is already asked for.
    pub fn pending(&self, name: &str) -> Option<&str> {
        self.of(name).and_then(Option::as_deref)
    }

    /// What becomes of a member: `None` = it stays, `Some(None)` = it goes.
    pub fn change(&self, name: &str) -> Option<Option<&str>> {
        self.of(name).map(Option::as_deref)
    }

    /// Members that are set, each with its JSON text.
    pub fn sets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().filter_map(|(name, json)| Some((name.as_str(), json.as_deref()?)))
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn put(&mut self, name: &str, json: Option<String>) {
        match self.list.iter_mut().find(|(known, _)| known == name) {
            Some((_, value)) => *value = json,
            None => self.list.push((name.to_owned(), json)),
        }
    }

    fn of(&self, name: &str) -> Option<&Option<String>> {
        self.list.iter().find(|(known, _)| known == name).map(|(_, json)| json)
    }

    /// The body with the changes made. Without any, the very bytes that came.
    pub fn apply(&self, body: &Bytes, skim: &Skim) -> Bytes {
        if self.list.is_empty() {
            return body.clone();
        }
        let added: usize = self.list.iter().map(|(n, v)| n.len() + v.as_ref().map_or(0, String::len) + 8).sum();
        let mut out = BytesMut::with_capacity(body.len() + added);
        let mut kept = 0usize;
        let mut before = 0..0;
        let head = skim.members.first().map_or_else(|| opening(body), |m| m.start);
        out.put_slice(&body[..head]);
        for member in &skim.members {
            let edit = self.of(member.name(body));
            if !matches!(edit, Some(None)) {
                // What stood between this member and the one before it: the comma, and the caller's white space.
                if kept > 0 {
                    out.put_slice(&body[before.end..member.start]);
                }
                out.put_slice(&body[member.start..member.value.start]);
                match edit {
                    Some(Some(json)) => out.put_slice(json.as_bytes()),
                    Some(None) | None => out.put_slice(&body[member.value.clone()]),
                }
                kept += 1;
            }
            before = member.value.clone();
        }
        for (name, json) in &self.list {
            if let (Some(json), None) = (json, skim.find(body, name)) {
                if kept > 0 {
                    out.put_u8(b',');
                }
                out.put_slice(serde_json::Value::from(name.as_str()).to_string().as_bytes());
                out.put_u8(b':');
                out.put_slice(json.as_bytes());
                kept += 1;
            }
        }
        let tail = skim.members.last().map_or(head, |m| m.value.end);
        out.put_slice(&body[tail..]);
        out.freeze()
    }
}

/// Behind the `{` of an object without members.
fn opening(body: &[u8]) -> usize {
    body.iter().position(|b| *b == b'{').map_or(0, |at| at + 1)
}

/// The JSON text of an object with one member set, the others as they are. `None` = there was no object.
pub fn with_member(object: Option<&[u8]>, name: &str, json: &str) -> Result<String, SkimError> {
    let Some(object) = object.filter(|o| o.trim_ascii() != b"null") else {
        return Ok(format!("{{{}:{json}}}", serde_json::Value::from(name)));
    };
    let found = skim(object)?;
    let mut edits = Edits::default();
    edits.set(name, json);
    let changed = edits.apply(&Bytes::copy_from_slice(object), &found);
    Ok(String::from_utf8_lossy(&changed).into_owned())
}

/// A list with some items changed, the others and what stands between them as they are. `None` = none changes, or it is no list.
pub fn with_items(list: &str, mut change: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let items: Vec<&RawValue> = serde_json::from_str(list).ok()?;
    let mut changed = String::new();
    let mut kept = 0;
    for item in items {
        let item = item.get();
        let Some(now) = change(item) else { continue };
        // Items are borrowed from the list: where one begins is known by its address.
        let start = item.as_ptr() as usize - list.as_ptr() as usize;
        changed.push_str(&list[kept..start]);
        changed.push_str(&now);
        kept = start + item.len();
    }
    (kept > 0).then(|| changed + &list[kept..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spliced(body: &str, edits: &[(&str, Option<&str>)]) -> String {
        let mut list = Edits::default();
        for (name, json) in edits {
            match json {
                Some(json) => list.set(name, *json),
                None => list.remove(name),
            }
        }
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let out = list.apply(&bytes, &skim(body.as_bytes()).unwrap());
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn only_the_changed_members_change() {
        for (body, edits, expected, why) in [
            (r#"{"a":1,"b":2}"#, vec![("a", Some("9"))], r#"{"a":9,"b":2}"#, "a value is replaced in place"),
            (r#"{ "a" : 1 , "b" : 2 }"#, vec![("b", Some("9"))], r#"{ "a" : 1 , "b" : 9 }"#, "white space stays"),
            (r#"{"a":1,"b":2,"c":3}"#, vec![("a", None)], r#"{"b":2,"c":3}"#, "the first goes with its comma"),
            (r#"{"a":1,"b":2,"c":3}"#, vec![("b", None)], r#"{"a":1,"c":3}"#, "one between"),
            (r#"{"a":1,"b":2,"c":3}"#, vec![("c", None)], r#"{"a":1,"b":2}"#, "the last"),
            (r#"{"a":1,"b":2}"#, vec![("a", None), ("b", None)], "{}", "all of them"),
            (r#"{"a":1}"#, vec![("z", Some("true"))], r#"{"a":1,"z":true}"#, "a new one comes last"),
            ("{ }", vec![("z", Some("1"))], r#"{"z":1 }"#, "into an empty object"),
            (r#"{"a":1}"#, vec![("a", None), ("z", Some("1"))], r#"{"z":1}"#, "one goes, one comes"),
            (
                r#"{"n":1.50000000000000000001e5}"#,
                vec![],
                r#"{"n":1.50000000000000000001e5}"#,
                "numbers keep their text",
            ),
        ] {
            assert_eq!(spliced(body, &edits), expected, "{why}");
        }
    }

    #[test]
    fn a_nested_member_is_set_in_its_object() {
        for (object, expected) in [
            (None, r#"{"include_usage":true}"#),
            (Some("null"), r#"{"include_usage":true}"#),
            (Some(r#"{"x":1}"#), r#"{"x":1,"include_usage":true}"#),
            (Some(r#"{"include_usage":false}"#), r#"{"include_usage":true}"#),
        ] {
            let got = with_member(object.map(str::as_bytes), "include_usage", "true").unwrap();
            assert_eq!(got, expected);
        }
        assert!(with_member(Some(b"[]"), "include_usage", "true").is_err());
    }

    proptest! {
        #[test]
        fn a_spliced_body_means_what_was_asked(
            map in proptest::collection::btree_map("[a-f\"\\\\]{1,2}", any::<i32>(), 0..6),
            edits in proptest::collection::btree_map("[a-f\"\\\\]{1,2}", proptest::option::of(any::<i32>()), 0..5),
            pretty: bool,
        ) {
            let body = if pretty { serde_json::to_string_pretty(&map) } else { serde_json::to_string(&map) }.unwrap();
            let texts: Vec<(String, Option<String>)> =
                edits.iter().map(|(k, v)| (k.clone(), v.map(|n| n.to_string()))).collect();
            let list: Vec<(&str, Option<&str>)> = texts.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
            let mut expected = map.clone();
            for (k, v) in &edits {
                match v {
                    Some(n) => { expected.insert(k.clone(), *n); }
                    None => { expected.remove(k); }
                }
            }
            let got: std::collections::BTreeMap<String, i32> = serde_json::from_str(&spliced(&body, &list)).unwrap();
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn items_of_a_list_are_changed_where_they_stand() {
        let to_two = |item: &str| (item == "1").then(|| "2".to_owned());
        for (list, expected, why) in [
            ("[ 1 ,3,\n1]", Some("[ 2 ,3,\n2]"), "what stands between stays"),
            ("[3]", None, "no byte changes"),
            ("[]", None, "nothing to change"),
            ("{}", None, "no list"),
        ] {
            assert_eq!(with_items(list, to_two).as_deref(), expected, "{why}");
        }
    }
}

//! What a skim finds, and what it refuses.

use proptest::prelude::*;

use super::*;

#[test]
fn wrong_bodies_are_told_apart() {
    for (body, told) in [
        ("", "empty"),
        ("  ", "empty"),
        ("[]", "no JSON object"),
        ("\"x\"", "no JSON object"),
        ("{", "expected a member's name"),
        ("{}x", "something after"),
        ("{\"a\":1,}", "expected a member's name"),
        ("{\"a\":01}", "expected `,`"),
        ("{\"a\":1.}", "wrong number"),
        ("{\"a\":tru}", "expected a value"),
        ("{\"a\":\"x", "without an end"),
        ("{\"a\":\"\n\"}", "control character"),
        ("{\"a\":\"\\x\"}", "wrong escape"),
        ("{\"a\":1,\"a\":2}", "`a` twice"),
        ("{\"model\":1,\"mod\\u0065l\":2}", "`model` twice"),
        ("{\"a\":[}", "expected a value"),
        ("{\"a\":[1}", "closing bracket"),
        ("{\"a\":{\"b\":1]}", "closing bracket"),
    ] {
        let error = skim(body.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(told), "{body}: {error}");
    }
    assert_eq!(skim(b"{\"a\":\"\xff\"}").unwrap_err(), SkimError::NotUtf8(6));
}

#[test]
fn depth_and_members_are_bounded() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(skim(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert!(matches!(skim(nested(DEPTH_MAX + 1).as_bytes()), Err(SkimError::TooDeep(_))));
    assert!(matches!(skim(nested(1_000_000).as_bytes()), Err(SkimError::TooDeep(_))));
    let many: Vec<String> = (0..=MEMBERS_MAX).map(|n| format!("\"m{n}\":1")).collect();
    assert_eq!(skim(format!("{{{}}}", many.join(",")).as_bytes()).unwrap_err(), SkimError::TooManyMembers);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_reads_the_skim_reads(map in proptest::collection::btree_map(".{0,6}", any_json(), 0..6), pretty: bool) {
        let value = serde_json::Value::Object(map.clone().into_iter().collect());
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let found = skim(text.as_bytes()).unwrap();
        prop_assert_eq!(found.members.len(), map.len());
        for member in &found.members {
            let read: serde_json::Value = serde_json::from_slice(&text.as_bytes()[member.value.clone()]).unwrap();
            prop_assert_eq!(Some(&read), map.get(member.name(text.as_bytes())));
        }
    }

    #[test]
    fn what_the_skim_admits_serde_admits(text in "[\\{\\}\\[\\]\",:0-9a-z\\\\ .eE+-]{0,40}") {
        if skim(text.as_bytes()).is_ok() {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
        }
    }
}

#[test]
fn strings_end_where_their_quote_is_wherever_it_falls_in_a_block() {
    for length in 0..100 {
        for (special, told) in [("\\\"", None), ("\\n", None), ("\u{1}", Some("control")), ("é", None)] {
            let text = format!("{{\"{0}\":\"{0}{special}{0}\",\"b\":1}}", "x".repeat(length));
            match (skim(text.as_bytes()), told) {
                (Ok(found), None) => assert_eq!(found.raw(text.as_bytes(), "b"), Some(&b"1"[..]), "{text}"),
                (Err(wrong), Some(told)) => assert!(wrong.to_string().contains(told), "{text}: {wrong}"),
                (other, told) => panic!("{text}: {other:?} instead of {told:?}"),
            }
        }
    }
}

#[test]
fn names_at_any_depth_are_noted_and_words_are_not() {
    for (body, files, calls) in [
        (r#"{"messages":[{"content":"tool_calls and file_id"}]}"#, false, false),
        (r#"{"messages":[{"tool_call_id":"c"}]}"#, false, true),
        (r#"{"input":[{"file_id":"f"}],"tool_calls":[]}"#, true, true),
        (r#"{"messages":[{"tool\u005fcalls":[]}]}"#, true, true),
    ] {
        let found = skim(body.as_bytes()).unwrap();
        assert_eq!((found.may_name_files, found.may_name_calls), (files, calls), "{body}");
    }
}

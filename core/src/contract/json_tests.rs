//! Written as `serde_json` writes it: every shape that serde knows, and texts of every kind at every length.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::put;

fn written(value: &(impl Serialize + ?Sized)) -> String {
    let mut out = b"before ".to_vec();
    put(&mut out, value).unwrap();
    String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().to_owned()
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Shape {
    Unit,
    New(u8),
    Pair(i64, f32),
    Struct { a: Option<u8>, b: () },
}

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct New<'a>(&'a str);

#[derive(Serialize)]
struct Pair(u64, char);

#[derive(Serialize)]
struct All<'a> {
    shapes: Vec<Shape>,
    unit: Unit,
    new: New<'a>,
    pair: Pair,
    tuple: (bool, Option<u8>, f64, f64, f64),
    wide: (u128, i128, i8, u64),
    numbers: BTreeMap<i64, u8>,
    truths: BTreeMap<bool, u8>,
    letters: BTreeMap<char, ()>,
    names: BTreeMap<Named, u8>,
    #[serde(flatten)]
    more: BTreeMap<&'a str, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<u8>,
    empty: (Vec<u8>, BTreeMap<&'a str, u8>),
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    One,
}

#[test]
fn every_shape_is_written_as_the_library_writes_it() {
    let all = All {
        shapes: vec![Shape::Unit, Shape::New(1), Shape::Pair(-2, 0.1), Shape::Struct { a: Some(3), b: () }],
        unit: Unit,
        new: New("a\"b"),
        pair: Pair(u64::MAX, '\n'),
        tuple: (true, None, 1.0, 1e300, f64::NAN),
        wide: (u128::MAX, i128::MIN, i8::MIN, 0),
        numbers: [(-1, 1), (2, 2)].into(),
        truths: [(false, 0), (true, 1)].into(),
        letters: [('"', ())].into(),
        names: [(Named::One, 1)].into(),
        more: [("list", json!([1, -1.5, {"a": null}])), ("text", json!("\u{1f600}\u{7f}"))].into(),
        absent: None,
        empty: (vec![], [].into()),
    };
    assert_eq!(written(&all), serde_json::to_string(&all).unwrap());
}

#[test]
fn a_key_that_is_no_text_is_told() {
    let keys: BTreeMap<Option<u8>, u8> = [(None, 1)].into();
    assert!(put(&mut Vec::new(), &keys).is_err() && serde_json::to_string(&keys).is_err());
    let lists: BTreeMap<[u8; 1], u8> = [([1], 1)].into();
    assert!(put(&mut Vec::new(), &lists).is_err() && serde_json::to_string(&lists).is_err());
}

/// Each byte that is special and each that is near one, at each place of a text.
#[test]
fn every_letter_at_every_place_is_escaped_as_the_library_does() {
    for letter in (0..=0x2ff).chain([0x5d, 0x2028, 0xfffd, 0x1_0000]).filter_map(char::from_u32) {
        for before in 0..10 {
            for behind in 0..10 {
                let text = format!("{}{letter}{}", "x".repeat(before), "y".repeat(behind));
                assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\"\\\\\u{0}-\u{22}a\u{80}\u{100}]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_is_written_as_the_library_writes_it(value in value()) {
        prop_assert_eq!(written(&value), serde_json::to_string(&value).unwrap());
    }
}

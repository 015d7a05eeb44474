//! The arguments of a call that come in pieces: each piece names the place that its value stands at, as a path.
//!
//! Google streams them so where a caller asks for it. Pieces of several calls never mix: a call goes on until a piece of it
//! says that it is the last, or until something else is said.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Bound of all values and names of one call.
const ARGUMENTS_BYTES_MAX: usize = 4 * 1024 * 1024;
const DEPTH_MAX: usize = 64;

/// A `functionCall` that is not whole.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Piece {
    pub id: String,
    /// The first piece of a call alone has it.
    pub name: String,
    args: Map<String, Value>,
    partial_args: Vec<Placed>,
    pub will_continue: bool,
}

/// A value, or the next part of a text, at its place.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Placed {
    json_path: String,
    string_value: Option<String>,
    number_value: Option<serde_json::Number>,
    bool_value: Option<bool>,
    /// The text goes on with the next piece of this place.
    will_continue: bool,
}

/// The arguments of one call, as far as they came.
#[derive(Debug, Default)]
pub struct Arguments {
    args: Map<String, Value>,
    bytes: usize,
    /// The place of a text that goes on.
    open: Option<String>,
}

enum Step<'p> {
    Member(&'p str),
    Element(usize),
}

impl Arguments {
    /// Takes what a piece says. Why not, where its place cannot be.
    pub fn take(&mut self, piece: Piece) -> Result<(), String> {
        for (name, value) in piece.args {
            self.grow(name.len() + value.to_string().len())?;
            self.args.insert(name, value);
        }
        piece.partial_args.into_iter().try_for_each(|placed| self.place(placed))
    }

    fn place(&mut self, placed: Placed) -> Result<(), String> {
        let path = placed.json_path;
        let text_bytes = placed.string_value.as_ref().map_or(0, String::len);
        self.grow(path.len() + text_bytes)?;
        let steps = steps(&path).ok_or_else(|| format!("`{}` is no path of an argument", shown(&path)))?;
        let place = at(&mut self.args, &steps).ok_or_else(|| format!("`{}` leads nowhere", shown(&path)))?;
        let goes_on = self.open.take().is_some_and(|open| open == path);
        match (placed.string_value, place) {
            (Some(more), Value::String(text)) if goes_on => text.push_str(&more),
            (Some(text), place) => *place = Value::String(text),
            // The end of a text that says no more.
            (None, Value::String(_)) if goes_on && placed.number_value.is_none() && placed.bool_value.is_none() => {}
            (None, place) => {
                let number = placed.number_value.map(Value::Number);
                *place = placed.bool_value.map(Value::Bool).or(number).unwrap_or(Value::Null);
            }
        }
        self.open = placed.will_continue.then_some(path);
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.bytes <= ARGUMENTS_BYTES_MAX {
            true => Ok(()),
            false => Err(format!("the arguments of a call are above {ARGUMENTS_BYTES_MAX} bytes")),
        }
    }

    pub fn into_json(self) -> String {
        Value::Object(self.args).to_string()
    }
}

fn shown(path: &str) -> std::borrow::Cow<'_, str> {
    crate::contract::nearest::shown(path)
}

/// `$.a.b[0]['c d']`, as its steps.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let (mut rest, mut steps) = (path.strip_prefix('$')?, Vec::new());
    while !rest.is_empty() {
        let step = if let Some(behind) = rest.strip_prefix('.') {
            let (name, behind) = behind.split_at(behind.find(['.', '[']).unwrap_or(behind.len()));
            rest = behind;
            Step::Member(name).named()?
        } else {
            let behind = rest.strip_prefix('[')?;
            let quote = behind.chars().next().filter(|c| ['\'', '"'].contains(c));
            let (step, behind) = match quote {
                Some(quote) => {
                    let (name, behind) = behind[1..].split_once(quote)?;
                    (Step::Member(name), behind.strip_prefix(']')?)
                }
                None => {
                    let (number, behind) = behind.split_once(']')?;
                    (Step::Element(number.parse().ok()?), behind)
                }
            };
            rest = behind;
            step
        };
        steps.push(step);
    }
    (1..=DEPTH_MAX).contains(&steps.len()).then_some(steps)
}

impl Step<'_> {
    fn named(self) -> Option<Self> {
        (!matches!(self, Step::Member(""))).then_some(self)
    }
}

/// The place, made where it is not yet: an element only behind the last one.
fn at<'v>(args: &'v mut Map<String, Value>, steps: &[Step<'_>]) -> Option<&'v mut Value> {
    let (first, rest) = steps.split_first()?;
    let Step::Member(name) = first else { return None };
    let mut place = args.entry(*name).or_insert(Value::Null);
    for step in rest {
        place = match step {
            Step::Member(name) => {
                if place.is_null() {
                    *place = Value::Object(Map::new());
                }
                place.as_object_mut()?.entry(*name).or_insert(Value::Null)
            }
            Step::Element(n) => {
                if place.is_null() {
                    *place = Value::Array(Vec::new());
                }
                let all = place.as_array_mut()?;
                if all.len() == *n {
                    all.push(Value::Null);
                }
                all.get_mut(*n)?
            }
        };
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(pieces: &[&str]) -> Result<String, String> {
        let mut arguments = Arguments::default();
        for piece in pieces {
            arguments.take(serde_json::from_str(&format!("{{\"partialArgs\":[{piece}]}}")).unwrap())?;
        }
        Ok(arguments.into_json())
    }

    #[test]
    fn values_come_to_their_places() {
        for (pieces, expected, why) in [
            (&[][..], "{}", "no arguments"),
            (&[r#"{"jsonPath":"$.id","stringValue":"A"}"#][..], r#"{"id":"A"}"#, "a text in one piece"),
            (
                &[
                    r#"{"jsonPath":"$.id","stringValue":"Ber","willContinue":true}"#,
                    r#"{"jsonPath":"$.id","stringValue":"lin","willContinue":true}"#,
                    r#"{"jsonPath":"$.id","stringValue":""}"#,
                    r#"{"jsonPath":"$.n","numberValue":3},{"jsonPath":"$.x","numberValue":0.5}"#,
                    r#"{"jsonPath":"$.yes","boolValue":true},{"jsonPath":"$.no","nullValue":"NULL_VALUE"}"#,
                ],
                r#"{"id":"Berlin","n":3,"x":0.5,"yes":true,"no":null}"#,
                "a text in three, and all kinds",
            ),
            (
                &[
                    r#"{"jsonPath":"$.a[0].b","stringValue":"x"}"#,
                    r#"{"jsonPath":"$.a[1]['c d']","numberValue":1}"#,
                    r#"{"jsonPath":"$[\"e.f\"][0][0]","boolValue":false}"#,
                ],
                r#"{"a":[{"b":"x"},{"c d":1}],"e.f":[[false]]}"#,
                "lists and names with signs",
            ),
            (
                &[r#"{"jsonPath":"$.a","stringValue":"x","willContinue":true}"#, r#"{"jsonPath":"$.a"}"#],
                r#"{"a":"x"}"#,
                "a text whose last piece is empty",
            ),
            (
                &[r#"{"jsonPath":"$.a","stringValue":"x"}"#, r#"{"jsonPath":"$.a","stringValue":"y"}"#],
                r#"{"a":"y"}"#,
                "a text that had ended is another one",
            ),
        ] {
            let (got, expected) = (gathered(pieces).unwrap(), serde_json::from_str::<Value>(expected).unwrap());
            assert_eq!(serde_json::from_str::<Value>(&got).unwrap(), expected, "{why}");
        }
    }

    #[test]
    fn a_place_that_cannot_be_is_told() {
        let deep = format!(r#"{{"jsonPath":"$.a{}","stringValue":"x"}}"#, "[0]".repeat(DEPTH_MAX));
        for (pieces, told) in [
            (&[r#"{"stringValue":"x"}"#][..], "`` is no path of an argument"),
            (&[r#"{"jsonPath":"$","stringValue":"x"}"#][..], "`$` is no path of an argument"),
            (&[r#"{"jsonPath":"$..a","stringValue":"x"}"#][..], "`$..a` is no path of an argument"),
            (&[r#"{"jsonPath":"$.a[x]","stringValue":"x"}"#][..], "`$.a[x]` is no path of an argument"),
            (&[r#"{"jsonPath":"$[0]","stringValue":"x"}"#][..], "`$[0]` leads nowhere"),
            (&[r#"{"jsonPath":"$.a[7000000]","stringValue":"x"}"#][..], "`$.a[7000000]` leads nowhere"),
            (
                &[r#"{"jsonPath":"$.a","stringValue":"x"}"#, r#"{"jsonPath":"$.a.b","stringValue":"x"}"#][..],
                "`$.a.b` leads nowhere",
            ),
            (&[&*deep][..], "is no path of an argument"),
        ] {
            let wrong = gathered(pieces).unwrap_err();
            assert!(wrong.ends_with(told), "{wrong}");
        }
        let piece = format!(r#"{{"jsonPath":"$.a","stringValue":"{}","willContinue":true}}"#, "x".repeat(1 << 20));
        assert_eq!(gathered(&[&*piece; 5]).unwrap_err(), "the arguments of a call are above 4194304 bytes");
    }
}

//! What a tool gave: an object here, a text elsewhere.
//!
//! `{output: TEXT}` and `{error: TEXT}` are Google's own words for a text. An object of any other form is its JSON as a text,
//! and such a text goes back as the object that it is.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::contract::read::{Raw, as_text, find, is_object, loose};
use crate::contract::write::Writer;

/// The text of a `response`, and whether it is an error.
pub fn read(response: Raw<'_>) -> (Cow<'_, str>, bool) {
    let members = loose(response);
    let error = find(&members, "error").is_some();
    if let [(name, raw)] = members.as_slice()
        && (error || name == "output")
        && let Some(text) = as_text(raw)
        && !stands_alone(&text, error)
    {
        return (text, error);
    }
    (Cow::Borrowed(response.get()), error)
}

pub fn write(w: &mut Writer, text: &str, error: bool) {
    if stands_alone(text, error) {
        w.json_member("response", text.trim());
        return;
    }
    w.object_member("response", |w| w.member(if error { "error" } else { "output" }, text));
}

/// Is the text an object that says all by itself?
fn stands_alone(text: &str, error: bool) -> bool {
    let text = text.trim();
    if !text.starts_with('{') {
        return false;
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => is_object(raw) && (!error || find(&loose(raw), "error").is_some()),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_texts_and_come_back_as_the_objects_they_were() {
        for (response, text, error) in [
            (r#"{"output":"sunny"}"#, "sunny", false),
            (r#"{"output":""}"#, "", false),
            (r#"{"output":{"a":1}}"#, r#"{"output":{"a":1}}"#, false),
            (r#"{"output":"{\"a\":1}"}"#, r#"{"output":"{\"a\":1}"}"#, false),
            (r#"{"return_value":"Mexico"}"#, r#"{"return_value":"Mexico"}"#, false),
            (r#"{"error":"no such tool"}"#, "no such tool", true),
            (r#"{"error":{"code":5}}"#, r#"{"error":{"code":5}}"#, true),
            (r#"{"error":"x","code":5}"#, r#"{"error":"x","code":5}"#, true),
            (r#"{"error":null,"a":1}"#, r#"{"error":null,"a":1}"#, false),
            ("{}", "{}", false),
        ] {
            let raw: Raw<'_> = serde_json::from_str(response).unwrap();
            assert_eq!(read(raw), (text.into(), error), "{response}");
            let written = Writer::object_text(|w| write(w, text, error));
            assert_eq!(String::from_utf8(written).unwrap(), format!(r#"{{"response":{response}}}"#));
        }
    }

    #[test]
    fn what_is_no_object_is_wrapped() {
        for (text, error, expected) in [
            ("[1,2]", false, r#"{"response":{"output":"[1,2]"}}"#),
            ("{broken", false, r#"{"response":{"output":"{broken"}}"#),
            (r#"{"a":1}"#, true, r#"{"response":{"error":"{\"a\":1}"}}"#),
        ] {
            let written = Writer::object_text(|w| write(w, text, error));
            assert_eq!(String::from_utf8(written).unwrap(), expected);
        }
    }
}

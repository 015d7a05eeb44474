//! The model that bodies of this dialect name beside the path: there it must be the same, whichever target the call goes to.

use std::borrow::Cow;

use bytes::Bytes;

use crate::contract::Dialect;
use crate::contract::read::{Raw, as_text, find, loose};
use crate::contract::skim::Skim;
use crate::contract::splice::{Edits, with_items, with_member};
use crate::dialects::spots::Spot;

/// Sets it to this model wherever the body names one. What names none stays as it is, and so does what names this one.
pub fn set_model(dialect: Dialect, body: &Bytes, skim: &Skim, model: &str, edits: &mut Edits) {
    if dialect == Dialect::GeminiBatchEmbed {
        let many = skim.raw(body, "requests").and_then(|raw| std::str::from_utf8(raw).ok());
        if let Some(changed) = many.and_then(|list| with_items(list, |item| request(item, model))) {
            edits.set("requests", changed);
        }
        return;
    }
    let spots: &[Spot<'_>] = match dialect == Dialect::GeminiCountTokens {
        true => &[
            Spot::top("model"),
            Spot::inside("generateContentRequest", "model"),
            Spot::inside("generate_content_request", "model"),
        ],
        false if dialect == Dialect::GeminiEmbed => &[Spot::top("model")],
        false => &[],
    };
    for spot in spots {
        let said = spot.read(body, skim).and_then(|raw| serde_json::from_slice(raw).ok());
        if let Some(name) = said.and_then(|said| other_name(said, model)) {
            spot.set(body, skim, edits, &name);
        }
    }
}

/// One of `requests` with this model; `None` = no byte of it changes.
fn request(item: &str, model: &str) -> Option<String> {
    let members = loose(serde_json::from_str(item).ok()?);
    let name = find(&members, "model").and_then(|said| other_name(said, model))?;
    with_member(Some(item.as_bytes()), "model", &name).ok()
}

/// The name as JSON, where another one is said. What stands before it (`models/`, a project's path) stays.
fn other_name(said: Raw<'_>, model: &str) -> Option<String> {
    const KIND: &str = "models/";
    let said: Cow<'_, str> = as_text(said)?;
    let before = said.find(KIND).map_or(KIND, |at| &said[..at + KIND.len()]);
    let name = format!("{before}{model}");
    (*said != *name).then(|| serde_json::Value::from(name).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::skim::skim;

    #[test]
    fn the_model_of_a_body_is_that_of_its_path() {
        for (dialect, body, expected, why) in [
            (
                Dialect::GeminiEmbed,
                r#"{ "model": "models/gemini/a", "content": {"parts":[ ]}}"#,
                r#"{ "model": "models/m", "content": {"parts":[ ]}}"#,
                "the provider is ours to name",
            ),
            (
                Dialect::GeminiBatchEmbed,
                r#"{"requests": [ {"content":{}, "model":"models/gemini/a"} ,{"model" : "models/m" },{}, {"model":"models/fast"}]}"#,
                r#"{"requests": [ {"content":{}, "model":"models/m"} ,{"model" : "models/m" },{}, {"model":"models/m"}]}"#,
                "each of them names it",
            ),
            (
                Dialect::GeminiCountTokens,
                r#"{"generateContentRequest":{"model":"models/gemini/a","contents":[ 1 ]}}"#,
                r#"{"generateContentRequest":{"model":"models/m","contents":[ 1 ]}}"#,
                "a wrapped conversation",
            ),
            (
                Dialect::GeminiCountTokens,
                r#"{"model":"projects/p/locations/l/publishers/google/models/a","contents":[]}"#,
                r#"{"model":"projects/p/locations/l/publishers/google/models/m","contents":[]}"#,
                "Vertex names it by its whole path",
            ),
            (Dialect::GeminiEmbed, r#"{"model":"m"}"#, r#"{"model":"models/m"}"#, "a bare name is none to Google"),
            (Dialect::GeminiEmbed, r#"{"model":5}"#, r#"{"model":5}"#, "the provider says what is wrong"),
            (Dialect::GeminiBatchEmbed, r#"{"requests":[[],{}, 1]}"#, r#"{"requests":[[],{}, 1]}"#, "the same"),
            (
                Dialect::GeminiCountTokens,
                r#"{"contents": []}"#,
                r#"{"contents": []}"#,
                "most name it in the path alone",
            ),
            (Dialect::Gemini, r#"{"model":"a"}"#, r#"{"model":"a"}"#, "not read where answers are made"),
        ] {
            let body = Bytes::from_static(body.as_bytes());
            let (found, mut edits) = (skim(&body).unwrap(), Edits::default());
            set_model(dialect, &body, &found, "m", &mut edits);
            assert_eq!(std::str::from_utf8(&edits.apply(&body, &found)).unwrap(), expected, "{why}");
        }
    }
}

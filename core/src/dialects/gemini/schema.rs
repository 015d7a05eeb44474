//! Schemas in OpenAPI's subset as JSON schemas: types in small letters, `nullable` as a type, counts as numbers. Members keep
//! their order; what is no word of OpenAPI's stays as it is.

use super::names::camel;
use crate::contract::read::{Raw, as_text, is_list, is_object, loose};
use crate::contract::write::{Null, Writer};

/// A JSON list of these schemas, written anew.
pub fn json_schemas<'a>(schemas: impl Iterator<Item = Raw<'a>>) -> String {
    let mut writer = Writer::with_capacity(1_024);
    writer.list(|w| schemas.for_each(|raw| schema(w, raw)));
    String::from_utf8(writer.into_bytes()).unwrap_or_default()
}

fn schema(w: &mut Writer, raw: Raw<'_>) {
    if !is_object(raw) {
        return w.value(raw);
    }
    let members = loose(raw);
    let nullable = members.iter().any(|(name, raw)| name == "nullable" && raw.get() == "true");
    w.object(|w| {
        for (name, raw) in &members {
            member(w, name, raw, nullable);
        }
    });
}

fn member(w: &mut Writer, name: &str, raw: Raw<'_>, nullable: bool) {
    match &*camel(name) {
        // `nullable` is said by the type; the order of properties is theirs.
        "nullable" if matches!(raw.get(), "true" | "false") => {}
        "propertyOrdering" => {}
        "type" => kind(w, raw, nullable),
        "enum" if nullable && is_list(raw) => items(w, "enum", raw, |w, item| w.value(item), |w| w.value(&Null)),
        "anyOf" if is_list(raw) => items(w, "anyOf", raw, schema, |w| {
            if nullable {
                w.object(|w| w.member("type", "null"));
            }
        }),
        "allOf" | "oneOf" | "prefixItems" if is_list(raw) => items(w, &camel(name), raw, schema, |_| {}),
        "properties" | "$defs" | "defs" if is_object(raw) => w.object_member(name, |w| {
            for (name, raw) in loose(raw) {
                w.key(&name);
                schema(w, raw);
            }
        }),
        "items" | "additionalProperties" | "not" => {
            w.key(&camel(name));
            schema(w, raw);
        }
        "format" if raw.get() == "\"enum\"" => {}
        known @ ("minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties") => {
            count(w, known, raw);
        }
        "example" => {
            w.key("examples").list(|w| w.value(raw));
        }
        _ => w.member(name, raw),
    }
}

fn kind(w: &mut Writer, raw: Raw<'_>, nullable: bool) {
    let Some(name) = as_text(raw) else { return w.member("type", raw) };
    if name == "TYPE_UNSPECIFIED" {
        return;
    }
    let name = name.to_ascii_lowercase();
    match nullable {
        true => w.list_member("type", |w| {
            w.value(&name);
            w.value("null");
        }),
        false => w.member("type", &name),
    }
}

/// Whole numbers of 64 bits are texts in Google's JSON.
fn count(w: &mut Writer, name: &str, raw: Raw<'_>) {
    match as_text(raw).and_then(|text| text.parse::<u64>().ok()) {
        Some(count) => w.member(name, &count),
        None => w.member(name, raw),
    }
}

fn items(
    w: &mut Writer,
    name: &str,
    raw: Raw<'_>,
    mut write: impl FnMut(&mut Writer, Raw<'_>),
    last: impl FnOnce(&mut Writer),
) {
    let items: Vec<Raw<'_>> = serde_json::from_str(raw.get()).unwrap_or_default();
    w.list_member(name, |w| {
        items.into_iter().for_each(|item| write(w, item));
        last(w);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openapi_becomes_json_schema() {
        for (openapi, expected) in [
            (
                r#"{"type":"OBJECT","properties":{"type":{"type":"STRING","format":"enum","enum":["A"]}},"required":["type"],"propertyOrdering":["type"]}"#,
                r#"{"type":"object","properties":{"type":{"type":"string","enum":["A"]}},"required":["type"]}"#,
            ),
            (r#"{"type":"INTEGER","nullable":true}"#, r#"{"type":["integer","null"]}"#),
            (r#"{"type":"STRING","nullable":true,"enum":["A"]}"#, r#"{"type":["string","null"],"enum":["A",null]}"#),
            (
                r#"{"any_of":[{"type":"STRING"},{"type":"ARRAY","items":{"type":"NUMBER"},"min_items":"1"}],"nullable":true}"#,
                r#"{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"number"},"minItems":1},{"type":"null"}]}"#,
            ),
            (
                r#"{"type":"object","additionalProperties":false,"x":1.50}"#,
                r#"{"type":"object","additionalProperties":false,"x":1.50}"#,
            ),
            (
                r#"{"properties":{"nullable":{"type":"BOOLEAN","nullable":false}}}"#,
                r#"{"properties":{"nullable":{"type":"boolean"}}}"#,
            ),
            (r#"{"type":["string","null"]}"#, r#"{"type":["string","null"]}"#),
        ] {
            let raw: Raw<'_> = serde_json::from_str(openapi).unwrap();
            assert_eq!(json_schemas([raw].into_iter()), format!("[{expected}]"));
        }
    }
}

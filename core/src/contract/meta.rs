//! Governance fields of a call: read from `tollgate-*` headers and the body's `tollgate` object, which must agree.

use http::HeaderMap;
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::nearest;
use super::refusal::Refusal;
use super::skim::{SkimError, skim};

/// A value longer than this is refused.
pub const VALUE_BYTES_MAX: usize = 256;

macro_rules! declared {
    ($($field:ident = $header:literal, $member:literal;)*) => {
        /// A field that callers may declare.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field { $($field),* }

        impl Field {
            pub const ALL: &'static [Field] = &[$(Field::$field),*];

            /// The header's name.
            pub fn header(self) -> &'static str {
                match self { $(Field::$field => $header),* }
            }

            /// The member's name in the `tollgate` object.
            pub fn member(self) -> &'static str {
                match self { $(Field::$field => $member),* }
            }
        }
    };
}

declared! {
    Tenant = "tollgate-tenant", "tenant";
    App = "tollgate-app", "app";
    User = "tollgate-user", "user";
    UseCase = "tollgate-use-case", "use_case";
    Channel = "tollgate-channel", "channel";
    DataClass = "tollgate-data-class", "data_class";
    Session = "tollgate-session", "session";
    Family = "tollgate-family", "family";
    Tier = "tollgate-tier", "tier";
    Region = "tollgate-region", "region";
    Provider = "tollgate-provider", "provider";
    Redaction = "tollgate-redaction", "redaction";
    Retention = "tollgate-retention", "retention";
    PiiMode = "tollgate-pii-mode", "pii_mode";
    MaxCostUsd = "tollgate-max-cost-usd", "max_cost_usd";
    MaxLatencyMs = "tollgate-max-latency-ms", "max_latency_ms";
    Version = "tollgate-version", "version";
    Trailer = "tollgate-trailer", "trailer";
}

/// What a caller declared. Absent is not the same as empty: an empty value is refused.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declared {
    values: [Option<Box<str>>; Field::ALL.len()],
}

impl Declared {
    pub fn get(&self, field: Field) -> Option<&str> {
        self.values[field as usize].as_deref()
    }

    /// Does the caller want cost and usage behind a stream?
    pub fn trailer(&self) -> bool {
        matches!(self.get(Field::Trailer), Some("on" | "true"))
    }

    /// Reads the headers. Unknown `tollgate-*` names are refused, with the nearest one.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut declared = Declared::default();
        for (name, value) in headers {
            let name = name.as_str();
            if !name.starts_with("tollgate-") {
                continue;
            }
            let Some(field) = Field::ALL.iter().find(|f| f.header() == name) else {
                let hint = nearest::hint(name, Field::ALL.iter().map(|f| f.header()));
                return Err(Refusal::invalid(
                    "unknown_header",
                    name.to_owned(),
                    format!("unknown header `{name}`{hint}"),
                ));
            };
            let text = std::str::from_utf8(value.as_bytes()).map_err(|_| {
                Refusal::invalid("wrong_value", field.header(), format!("header `{name}` is not UTF-8"))
            })?;
            let text = text.trim();
            if declared.get(*field).is_some_and(|known| known != text) {
                let told = format!("header `{name}` is there twice and says two things: send one of them");
                return Err(Refusal::invalid("contradiction", field.header(), told));
            }
            declared.put(*field, field.header(), text)?;
        }
        Ok(declared)
    }

    /// Joins the body's `tollgate` object. A field that says another thing there is refused.
    pub fn join_object(&mut self, object: &RawValue) -> Result<(), Refusal> {
        if let Err(SkimError::Duplicate(name)) = skim(object.get().as_bytes()) {
            let told = format!("`tollgate` has the member `{name}` twice");
            return Err(Refusal::invalid("duplicate_member", format!("tollgate.{name}"), told));
        }
        let Ok(Value::Object(members)) = serde_json::from_str::<Value>(object.get()) else {
            return Err(Refusal::invalid("wrong_type", "tollgate", "`tollgate` must be an object"));
        };
        for (name, value) in &members {
            if name == "sources" {
                sources(value)?;
                continue;
            }
            let Some(field) = Field::ALL.iter().find(|f| f.member() == name) else {
                let known = Field::ALL.iter().map(|f| f.member()).chain(["sources"]);
                let hint = nearest::hint(name, known);
                let name = nearest::shown(name);
                return Err(Refusal::invalid(
                    "unknown_member",
                    format!("tollgate.{name}"),
                    format!("unknown member `tollgate.{name}`{hint}"),
                ));
            };
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => written(number),
                Value::Bool(flag) => flag.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return Err(Refusal::invalid(
                        "wrong_type",
                        format!("tollgate.{name}"),
                        format!("`tollgate.{name}` must be a text or a number"),
                    ));
                }
            };
            let before = self.get(*field).map(str::to_owned);
            if before.as_deref().is_some_and(|known| known != text) {
                return Err(Refusal::invalid(
                    "contradiction",
                    format!("tollgate.{name}"),
                    format!(
                        "header `{}` says `{}`, the body's `tollgate.{name}` says `{text}`: send one of them, or the same in both",
                        field.header(),
                        before.unwrap_or_default()
                    ),
                ));
            }
            self.put(*field, field.member(), &text)?;
        }
        Ok(())
    }

    fn put(&mut self, field: Field, named: &'static str, text: &str) -> Result<(), Refusal> {
        let wrong = |why: &str| Refusal::invalid("wrong_value", named, format!("`{named}` {why}"));
        if text.is_empty() {
            return Err(wrong("is empty: leave it out, or give it a value"));
        }
        if text.len() > VALUE_BYTES_MAX {
            return Err(wrong(&format!("is longer than {VALUE_BYTES_MAX} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(wrong("has a control character"));
        }
        if field == Field::Trailer && !matches!(text, "on" | "true" | "off" | "false") {
            return Err(wrong("is `on` or `off`"));
        }
        self.values[field as usize] = Some(text.into());
        Ok(())
    }
}

/// A whole number without a point, however it was written: `5.0` means what the header `5` means.
fn written(number: &Number) -> String {
    match number.as_f64() {
        // Below 2^53 a float holds every whole number.
        Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => format!("{float:.0}"),
        Some(_) | None => number.to_string(),
    }
}

/// `sources: [{part, kind: user | retrieved | tool, id}]`.
fn sources(value: &Value) -> Result<(), Refusal> {
    let wrong = |what: String| Refusal::invalid("wrong_value", "tollgate.sources", what);
    let list = value.as_array().ok_or_else(|| wrong("`tollgate.sources` must be a list".to_owned()))?;
    for (at, source) in list.iter().enumerate() {
        let kind = source.get("kind").and_then(Value::as_str).unwrap_or_default();
        if !matches!(kind, "user" | "retrieved" | "tool") {
            return Err(wrong(format!(
                "`tollgate.sources[{at}].kind` must be `user`, `retrieved` or `tool`, not `{kind}`"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn unknown_names_and_contradictions_are_refused_with_what_to_do() {
        for (list, object, told) in [
            (vec![("tollgate-tenat", "acme")], "{}", "did you mean `tollgate-tenant`?"),
            (vec![("tollgate-user", "")], "{}", "is empty"),
            (vec![], r#"{"use-case":"x"}"#, "did you mean `use_case`?"),
            (vec![], r#"{"tenant":{}}"#, "must be a text"),
            (vec![], "[]", "must be an object"),
            (vec![], r#"{"tier":"a","t\u0069er":"b"}"#, "`tier` twice"),
            (vec![("tollgate-tier", "a"), ("tollgate-tier", "b")], "{}", "there twice"),
            (vec![("tollgate-trailer", "maybe")], "{}", "`on` or `off`"),
            (vec![("tollgate-tier", "a")], r#"{"tier":"b"}"#, "send one of them"),
            (vec![], r#"{"sources":[{"kind":"web"}]}"#, "`user`, `retrieved` or `tool`"),
        ] {
            let object = RawValue::from_string(object.to_owned()).unwrap();
            let error = Declared::from_headers(&headers(&list))
                .and_then(|mut d| d.join_object(&object).map(|()| d))
                .unwrap_err();
            assert!(error.reason.contains(told), "{list:?} {object}: {}", error.reason);
        }
    }

    #[test]
    fn header_and_object_join_where_they_agree() {
        let mut declared = Declared::from_headers(&headers(&[("tollgate-tier", "a"), ("x-other", "y")])).unwrap();
        let object =
            RawValue::from_string(r#"{"tier":"a","max_cost_usd":0.5,"max_latency_ms":5.0}"#.to_owned()).unwrap();
        declared.join_object(&object).unwrap();
        assert_eq!(declared.get(Field::Tier), Some("a"));
        assert_eq!(declared.get(Field::MaxCostUsd), Some("0.5"));
        assert_eq!(declared.get(Field::MaxLatencyMs), Some("5"));
        assert_eq!(declared.get(Field::User), None);
    }
}

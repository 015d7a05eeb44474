//! What a call says of itself, in headers and in its body: the members that later stages need, and the metadata.

use bytes::Bytes;
use http::HeaderName;
use serde_json::value::RawValue;

use super::arrive::Head;
use crate::contract::meta::{Declared, Field};
use crate::contract::refusal::Refusal;
use crate::contract::skim::Skim;
use crate::policy::facts::{DataClass, Meta};

/// The members of a body that later stages need, borrowed from it.
#[derive(Default)]
pub struct BodySays<'a> {
    pub tollgate: Option<&'a RawValue>,
    pub stream: Option<bool>,
    user: Option<String>,
    safety_identifier: Option<String>,
    prompt_cache_key: Option<String>,
    metadata_user: Option<String>,
}

impl<'a> BodySays<'a> {
    /// Wrong types of members that we read are refused.
    pub fn read(body: &'a Bytes, skim: &Skim) -> Result<Self, Refusal> {
        let mut said = BodySays::default();
        for member in &skim.members {
            let raw = &body[member.value.clone()];
            match member.name(body) {
                "tollgate" => said.tollgate = serde_json::from_slice(raw).ok(),
                "stream" => {
                    said.stream = match raw {
                        b"true" => Some(true),
                        b"false" => Some(false),
                        b"null" => None,
                        _ => return Err(Refusal::invalid("wrong_type", "stream", "`stream` must be true or false")),
                    }
                }
                "user" => said.user = text(raw, "user")?,
                "safety_identifier" => said.safety_identifier = text(raw, "safety_identifier")?,
                "prompt_cache_key" => said.prompt_cache_key = text(raw, "prompt_cache_key")?,
                "metadata" => said.metadata_user = metadata_user(raw),
                _ => {}
            }
        }
        Ok(said)
    }

    pub fn user(&self) -> Option<String> {
        let coding_agent = self.metadata_user.as_ref().filter(|text| !text.starts_with('{'));
        [self.user.as_ref(), self.safety_identifier.as_ref(), coding_agent].into_iter().flatten().next().cloned()
    }

    /// Coding agents put a JSON text with their session id into `metadata.user_id`.
    fn session(&self) -> Option<String> {
        let agent: Option<serde_json::Value> = self.metadata_user.as_ref().and_then(|t| serde_json::from_str(t).ok());
        let inside = agent.as_ref().and_then(|v| v.get("session_id")).and_then(|v| v.as_str()).map(str::to_owned);
        self.prompt_cache_key.clone().or(inside)
    }
}

/// What a member says about the tokens of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenBound {
    Absent,
    Tokens(u64),
    /// A number that bounds nothing: below 0 (some servers take it for "no bound"), or beyond counting.
    Boundless,
}

/// Reads one bound. Providers take `100.0` for 100, some take `"100"`: a number means the same here, a text is refused.
pub fn token_bound(raw: Option<&[u8]>, name: &'static str) -> Result<TokenBound, Refusal> {
    let Some(raw) = raw else { return Ok(TokenBound::Absent) };
    let wrong = |_| Refusal::invalid("wrong_type", name, format!("`{name}` must be a whole number"));
    Ok(match serde_json::from_slice::<Option<serde_json::Number>>(raw).map_err(wrong)? {
        None => TokenBound::Absent,
        Some(number) => match (number.as_u64(), number.as_f64()) {
            (Some(tokens), _) => TokenBound::Tokens(tokens),
            // Below 2^53 a float holds every whole number; a fraction counts as the next one.
            (None, Some(float)) if (0.0..9e15).contains(&float) => TokenBound::Tokens(float.ceil() as u64),
            (None, _) => TokenBound::Boundless,
        },
    })
}

fn metadata_user(raw: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        user_id: Option<String>,
    }
    serde_json::from_slice::<Metadata>(raw).ok().and_then(|m| m.user_id)
}

fn text(raw: &[u8], name: &'static str) -> Result<Option<String>, Refusal> {
    let wrong = |_| Refusal::invalid("wrong_type", name, format!("`{name}` must be a text"));
    serde_json::from_slice::<Option<String>>(raw).map_err(wrong)
}

static X_SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
static SESSION_ID: HeaderName = HeaderName::from_static("session-id");

/// The metadata of a call: headers and `tollgate` object first, then what SDKs can set.
pub fn metadata(declared: &Declared, said: &BodySays<'_>, head: &Head) -> Result<Meta, Refusal> {
    let text = |field: Field| declared.get(field).unwrap_or_default().to_owned();
    let header = |name: &HeaderName| head.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let data_class = match declared.get(Field::DataClass) {
        None => DataClass::Unstated,
        Some("public") => DataClass::Public,
        Some("internal") => DataClass::Internal,
        Some("confidential") => DataClass::Confidential,
        Some("restricted") => DataClass::Restricted,
        Some(other) => {
            let known = ["public", "internal", "confidential", "restricted"];
            let hint = crate::contract::nearest::hint(other, known);
            let all = if hint.is_empty() { format!(": use one of `{}`", known.join("`, `")) } else { hint };
            return Err(Refusal::invalid(
                "wrong_value",
                Field::DataClass.header(),
                format!("`{other}` is no data class{all}"),
            ));
        }
    };
    let session = declared
        .get(Field::Session)
        .map(str::to_owned)
        .or_else(|| header(&X_SESSION_ID))
        .or_else(|| header(&SESSION_ID))
        .or_else(|| said.session())
        .unwrap_or_default();
    Ok(Meta {
        use_case: text(Field::UseCase),
        channel: text(Field::Channel),
        data_class,
        session,
        region: text(Field::Region),
        retention: text(Field::Retention),
        redaction: text(Field::Redaction),
        pii_mode: text(Field::PiiMode),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_of_tokens_means_to_us_what_it_means_to_providers() {
        for (value, expected) in [
            ("100", Some(TokenBound::Tokens(100))),
            ("100.0", Some(TokenBound::Tokens(100))),
            ("1e2", Some(TokenBound::Tokens(100))),
            ("null", Some(TokenBound::Absent)),
            ("-1", Some(TokenBound::Boundless)),
            ("1e300", Some(TokenBound::Boundless)),
            ("\"100\"", None),
            ("true", None),
            ("[1]", None),
        ] {
            let got = token_bound(Some(value.as_bytes()), "max_tokens");
            assert_eq!(got.ok(), expected, "{value}");
        }
    }
}

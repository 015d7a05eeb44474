//! A body as it came, and the JSON object by which the pipeline reads it: the body itself, the short fields of a form, or
//! nothing, where what a provider holds is only looked up.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};

use super::arrive::Head;
use crate::contract::form::{self, Form, FormError};
use crate::contract::refusal::Refusal;
use crate::contract::skim::{Skim, SkimError, skim};
use crate::contract::splice::Edits;
use crate::contract::{Dialect, Operation};
use crate::dialects::paths::{Place, Verb};
use crate::dialects::spots;
use crate::dialects::words::Words;

/// What goes on to the provider.
#[derive(Debug)]
pub enum Wire {
    /// The body that is read.
    Json,
    /// The form whose fields are read.
    Form(Form),
    Nothing,
}

/// A body that was read.
pub struct Came {
    /// The object by which it is read.
    pub body: Bytes,
    pub skim: Arc<Skim>,
    pub wire: Wire,
}

pub fn read(bytes: Bytes, dialect: Dialect, place: &Place, headers: &HeaderMap) -> Result<Came, Refusal> {
    if bytes.is_empty() && (place.verb != Verb::Post || place.id.is_some()) {
        return Ok(Came { body: Bytes::from_static(b"{}"), skim: Arc::default(), wire: Wire::Nothing });
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).filter(|_| takes_forms(dialect));
    let Some(boundary) = kind.and_then(form::boundary) else {
        let skim = Arc::new(skim(&bytes).map_err(not_json)?);
        return Ok(Came { body: bytes, skim, wire: Wire::Json });
    };
    let form = boundary.and_then(|boundary| Form::read(bytes, boundary)).map_err(no_form)?;
    let fields = form.fields().map_err(no_form)?;
    let body = Bytes::from(serde_json::Value::Object(fields).to_string());
    let skim = Arc::new(skim(&body).map_err(not_json)?);
    Ok(Came { body, skim, wire: Wire::Form(form) })
}

/// May a body of this dialect be a form?
pub fn takes_forms(dialect: Dialect) -> bool {
    match dialect.operation() {
        Operation::Images | Operation::Audio | Operation::Files => true,
        Operation::Chat
        | Operation::Embeddings
        | Operation::Completions
        | Operation::CountTokens
        | Operation::Rerank
        | Operation::Moderations
        | Operation::Batches => false,
    }
}

impl Wire {
    /// The words that policies read.
    pub fn words(&self, body: &Bytes, skim: &Arc<Skim>, dialect: Dialect) -> Option<Words> {
        match self {
            Wire::Json | Wire::Form(_) => Some(Words::skimmed(body.clone(), dialect, skim.clone())),
            Wire::Nothing => None,
        }
    }

    /// The bytes for a provider. `body` is the one by which it was read.
    pub fn apply(&self, body: &Bytes, skim: &Skim, edits: &Edits) -> Bytes {
        match self {
            Wire::Json => edits.apply(body, skim),
            Wire::Form(form) => form.apply(edits),
            Wire::Nothing => Bytes::new(),
        }
    }

    /// Tells two calls apart that come with the same idempotency key.
    pub fn digest(&self, body: &Bytes, place: &Place) -> [u8; 32] {
        let of_body = match self {
            Wire::Json => *blake3::hash(body).as_bytes(),
            Wire::Form(form) => form.digest(),
            Wire::Nothing => [0; 32],
        };
        if place.is_usual() {
            return of_body;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&of_body).update(place.verb.method().as_str().as_bytes()).update(place.filled().as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// Bytes of files, and how many there are.
    pub fn files(&self) -> (usize, usize) {
        match self {
            Wire::Form(form) => form.files(),
            Wire::Json | Wire::Nothing => (0, 0),
        }
    }

    /// What of the call no policy can read, for people; `None` = all of it can be read.
    pub fn uninspected(&self, dialect: Dialect, place: &Place) -> Option<&'static str> {
        match self {
            Wire::Form(form) if form.files().1 > 0 => Some("a file"),
            Wire::Json if dialect == Dialect::OpenaiBatches && place.id.is_none() => {
                Some("the calls in its input file")
            }
            // Pictures, as addresses or packed.
            Wire::Json if dialect == Dialect::OpenaiImages && place.path != "/images/generations" => Some("a picture"),
            Wire::Form(_) | Wire::Json | Wire::Nothing => None,
        }
    }
}

/// Is a stream wanted where neither path nor body says so? A stored answer can be asked for as one in the URL.
pub fn streams_unsaid(dialect: Dialect, place: &Place, head: &Head) -> bool {
    let asked = || head.query.iter().flat_map(|query| query.split('&')).any(|pair| pair == "stream=true");
    (place.verb == Verb::Get && asked()) || spots::streams_by_default(dialect)
}

fn no_form(error: FormError) -> Refusal {
    let code = match &error {
        FormError::Boundary | FormError::Syntax { .. } => "not_form",
        FormError::TooManyParts => "too_many_members",
        FormError::FieldsTooLarge => "field_too_large",
        FormError::NotUtf8(_) => "not_utf8",
        FormError::Duplicate(_) => "duplicate_member",
        FormError::NoFile(_) => "wrong_type",
    };
    Refusal::invalid(code, "body", error.to_string())
}

fn not_json(error: SkimError) -> Refusal {
    let code = match &error {
        SkimError::Empty => "empty_body",
        SkimError::NotUtf8(_) => "not_utf8",
        SkimError::NotObject | SkimError::Syntax { .. } => "not_json",
        SkimError::TooDeep(_) => "too_deep",
        SkimError::Duplicate(_) => "duplicate_member",
        SkimError::TooManyMembers => "too_many_members",
    };
    Refusal::invalid(code, "body", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_policy_can_read_is_known_for_it() {
        let form = |file: &str| {
            let text = format!("--b\r\nContent-Disposition: form-data; name=\"a\"{file}\r\n\r\nx\r\n--b--");
            (Bytes::from(text), "multipart/form-data; boundary=b")
        };
        let json = || (Bytes::from_static(br#"{"a":"x"}"#), "application/json");
        let (files, images) = (Dialect::OpenaiFiles, Dialect::OpenaiImages);
        for (dialect, path, id, (body, kind), expected, why) in [
            (files, "/files", None, form("; filename=\"f\""), true, "a file"),
            (files, "/files", None, form(""), false, "fields alone"),
            (images, "/images/generations", None, json(), false, "a prompt is read"),
            (images, "/images/edits", None, json(), true, "a picture, packed or by its address"),
            (Dialect::OpenaiBatches, "/batches", None, json(), true, "calls in a file"),
            (Dialect::OpenaiBatches, "/batches/{}/cancel", Some("b"), (Bytes::new(), ""), false, "nothing goes in"),
            (Dialect::OpenaiChat, "", None, json(), false, "a chat"),
        ] {
            let place = Place { path, id: id.map(Into::into), ..Place::default() };
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]);
            let came = read(body, dialect, &place, &headers).unwrap();
            assert_eq!(came.wire.uninspected(dialect, &place).is_some(), expected, "{why}");
        }
    }

    #[test]
    fn two_calls_under_one_key_are_told_apart_by_what_they_do() {
        let digest = |verb, id: &str| {
            let place = Place { verb, path: "/files/{}", id: Some(id.into()) };
            Wire::Nothing.digest(&Bytes::from_static(b"{}"), &place)
        };
        assert_eq!(digest(Verb::Delete, "a"), digest(Verb::Delete, "a"));
        assert_ne!(digest(Verb::Delete, "a"), digest(Verb::Delete, "b"));
        assert_ne!(digest(Verb::Delete, "a"), digest(Verb::Post, "a"));
        let body = Bytes::from_static(b"{}");
        assert_eq!(Wire::Json.digest(&body, &Place::default()), *blake3::hash(&body).as_bytes());
    }
}

//! `thoughtSignature`: Google's seals as they are, others' tagged.
//!
//! The member is bytes to Google's SDKs: what stands in it must be base64, and comes back in either of its alphabets.

use std::borrow::Cow;

use crate::contract::base64::{decode, encode};
use crate::contract::canonical::part::{Kind, Maker, Part, Reasoning, Signature};
use crate::dialects::sealed;

/// `tollgate:` in base64.
const OURS: &str = "dG9sbGdhdGU6";
/// Before thoughts that only their provider can read; seals have no colon.
const ENCRYPTED: &str = "encrypted:";

/// What stood in the member.
#[derive(Debug, PartialEq)]
pub enum Seal<'a> {
    Signature(Signature<'a>),
    Encrypted { by: Maker, id: Option<String>, data: String },
}

pub fn read(text: Cow<'_, str>) -> Seal<'_> {
    let tagged = text
        .starts_with(OURS)
        .then(|| decode(&text))
        .flatten()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| sealed::untag(&text));
    match tagged.or_else(|| sealed::untag(&text)) {
        None => Seal::Signature(Signature { by: Maker::Google, data: text }),
        Some(signature) => match signature.data.strip_prefix(ENCRYPTED).and_then(|rest| rest.split_once(':')) {
            Some((id, data)) => {
                Seal::Encrypted { by: signature.by, id: (!id.is_empty()).then(|| id.to_owned()), data: data.to_owned() }
            }
            None => Seal::Signature(signature),
        },
    }
}

/// What a part's member says to a caller, who sends it back as it is.
pub fn write<'a>(part: &'a Part<'_>) -> Option<Cow<'a, str>> {
    let signature = part.signature.as_ref()?;
    if let Kind::Reasoning(Reasoning { encrypted: Some(data), id, .. }) = &part.kind {
        return encrypted(signature.by, id.as_deref(), data).map(Cow::Owned);
    }
    signed(signature)
}

pub fn signed<'a>(signature: &'a Signature<'_>) -> Option<Cow<'a, str>> {
    match signature.by {
        Maker::Google => Some(Cow::Borrowed(&*signature.data)),
        Maker::Anthropic | Maker::Openai | Maker::Other => {
            sealed::tag(signature).map(|text| encode(text.as_bytes()).into())
        }
    }
}

pub fn encrypted(by: Maker, id: Option<&str>, data: &str) -> Option<String> {
    let data = format!("{ENCRYPTED}{}:{data}", id.unwrap_or_default());
    sealed::tag(&Signature { by, data: data.into() }).map(|text| encode(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_seals_come_back_in_either_alphabet() {
        for data in ["", "a", "ab", "abc", "Ep~8?\u{fc}\u{ff}=="] {
            let signature = Signature { by: Maker::Anthropic, data: data.into() };
            let written = signed(&signature).unwrap().into_owned();
            assert!(written.starts_with(OURS), "{written}");
            let other = written.replace('+', "-").replace('/', "_");
            for text in [written, other.trim_end_matches('=').to_owned(), other] {
                assert_eq!(read(text.into()), Seal::Signature(signature.clone()));
            }
        }
    }

    #[test]
    fn encrypted_thoughts_come_back_with_their_id() {
        let written = encrypted(Maker::Openai, Some("rs_1"), "gAAA:x").unwrap();
        let expected = Seal::Encrypted { by: Maker::Openai, id: Some("rs_1".to_owned()), data: "gAAA:x".to_owned() };
        assert_eq!(read(written.into()), expected);
    }

    #[test]
    fn googles_seals_stay_as_they_are() {
        for data in ["EsoBCscBARFNMg87", "dG9sbGdhdGU6", "not base64!"] {
            let signature = Signature { by: Maker::Google, data: data.into() };
            assert_eq!(read(data.into()), Seal::Signature(signature.clone()));
            assert_eq!(signed(&signature).as_deref(), Some(data));
        }
    }
}

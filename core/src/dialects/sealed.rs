//! Seals of a foreign maker inside texts that callers send back as they came.
//!
//! A model's seal on its thoughts (Google's on a call, Anthropic's on what was thought) must come back in the next turn, but
//! most dialects have no member for it. It then rides in an opaque one, tagged: `tollgate:google:DATA`.

use std::borrow::Cow;

use super::codec;
use crate::contract::Dialect;
use crate::contract::canonical::part::{Maker, Signature};

const TAG: &str = "tollgate:";
/// The tag in base64, for members that hold bytes: nine bytes are twelve letters, whatever follows.
const TAG_BASE64: &str = "dG9sbGdhdGU6";
/// Between the id of a call and the tag behind it.
const BEHIND_ID: &str = "~tollgate:";

/// A seal as a text of ours; `None` where its maker is nobody whose dialect we write.
pub fn tag(signature: &Signature<'_>) -> Option<String> {
    maker_name(signature.by).map(|by| format!("{TAG}{by}:{}", signature.data))
}

/// The seal in such a text; `None` where the text is none of ours.
pub fn untag(text: &str) -> Option<Signature<'static>> {
    let (by, data) = text.strip_prefix(TAG)?.split_once(':')?;
    Some(Signature { by: maker(by)?, data: Cow::Owned(data.to_owned()) })
}

/// The id of a call, and behind it the seal that belongs to the call.
pub fn seal_id<'a>(id: &'a str, signature: Option<&Signature<'_>>) -> Cow<'a, str> {
    match signature.and_then(tag) {
        Some(tagged) => Cow::Owned(format!("{id}~{tagged}")),
        None => Cow::Borrowed(id),
    }
}

/// The id of a call as its provider told it, and the seal that was behind it.
pub fn unseal_id(id: Cow<'_, str>) -> (Cow<'_, str>, Option<Signature<'static>>) {
    let Some(at) = id.find(BEHIND_ID) else { return (id, None) };
    let Some(signature) = untag(&id[at + 1..]) else { return (id, None) };
    let own = match id {
        Cow::Borrowed(id) => Cow::Borrowed(&id[..at]),
        Cow::Owned(id) => Cow::Owned(id[..at].to_owned()),
    };
    (own, Some(signature))
}

/// Can callers of this dialect bring such seals back?
pub fn may_ride(dialect: Dialect) -> bool {
    // OpenAI's chat has members of its own for them, which its providers pass over.
    codec(dialect).is_some() && dialect != Dialect::OpenaiChat
}

/// Is there one in this body?
pub fn ride_in(body: &[u8]) -> bool {
    memchr::memmem::find(body, TAG_BASE64.as_bytes()).is_some()
        || memchr::memmem::find_iter(body, TAG).any(|at| {
            let rest = &body[at + TAG.len()..];
            [&b"anthropic:"[..], b"google:", b"openai:"].iter().any(|maker| rest.starts_with(maker))
        })
}

fn maker_name(maker: Maker) -> Option<&'static str> {
    match maker {
        Maker::Anthropic => Some("anthropic"),
        Maker::Google => Some("google"),
        Maker::Openai => Some("openai"),
        Maker::Other => None,
    }
}

fn maker(name: &str) -> Option<Maker> {
    match name {
        "anthropic" => Some(Maker::Anthropic),
        "google" => Some(Maker::Google),
        "openai" => Some(Maker::Openai),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_come_back_as_they_went() {
        for by in [Maker::Anthropic, Maker::Google, Maker::Openai] {
            let signature = Signature { by, data: "Eq:4~B==".into() };
            let id = seal_id("call_1", Some(&signature));
            assert_eq!(unseal_id(id), ("call_1".into(), Some(signature)));
        }
        let other = Signature { by: Maker::Other, data: "x".into() };
        assert_eq!(seal_id("call_1", Some(&other)), "call_1", "nobody could be given it back");
        for id in ["call_1", "a~tollgate:", "a~tollgate:me:x", "tollgate:google:x"] {
            assert_eq!(unseal_id(id.into()), (id.into(), None), "{id}: no seal of ours");
        }
    }
}

//! Seals of other makers, in the one field that callers of this dialect send back untouched: the `encrypted_content` of a
//! reasoning item. `tollgate:MAKER:DATA` seals the thoughts of its own item; a word and `;` before the data say that it is
//! something else: `thoughts;` thoughts that only their maker can read, `text;` the seal of the text before it, `call=ID;`
//! the seal of that call. Data of all makers are base64, which has no `;`.

use std::borrow::Cow;

use crate::contract::canonical::part::{Maker, Signature};

/// What is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<'a> {
    /// The thoughts of the item that carries the seal.
    Own,
    /// The data are the thoughts.
    Thoughts,
    /// The text before it.
    Text,
    /// The call with this id.
    Call(Cow<'a, str>),
}

const TAG: &str = "tollgate:";

fn name(by: Maker) -> &'static str {
    match by {
        Maker::Anthropic => "anthropic",
        Maker::Google => "google",
        Maker::Openai => "openai",
        Maker::Other => "other",
    }
}

pub fn write(by: Maker, place: &Place<'_>, data: &str) -> String {
    let by = name(by);
    match place {
        Place::Own => format!("{TAG}{by}:{data}"),
        Place::Thoughts => format!("{TAG}{by}:thoughts;{data}"),
        Place::Text => format!("{TAG}{by}:text;{data}"),
        Place::Call(id) => format!("{TAG}{by}:call={id};{data}"),
    }
}

/// `None` = no tag of ours: it is OpenAI's own.
pub fn read<'a>(sealed: &Cow<'a, str>) -> Option<(Place<'a>, Signature<'a>)> {
    let (by, rest) = sealed.strip_prefix(TAG)?.split_once(':')?;
    let by = [Maker::Anthropic, Maker::Google, Maker::Openai, Maker::Other].into_iter().find(|m| name(*m) == by)?;
    let (place, data) = match rest.split_once(';') {
        None => (Place::Own, rest),
        Some(("thoughts", data)) => (Place::Thoughts, data),
        Some(("text", data)) => (Place::Text, data),
        Some((word, data)) => match word.strip_prefix("call=") {
            Some(id) => (Place::Call(id.to_owned().into()), data),
            None => (Place::Own, rest),
        },
    };
    // Most are borrowed: a seal of some kilobytes is not copied to be read.
    let data = match sealed {
        Cow::Borrowed(text) => Cow::Borrowed(&text[text.len() - data.len()..]),
        Cow::Owned(_) => Cow::Owned(data.to_owned()),
    };
    Some((place, Signature { by, data }))
}

/// Whose thoughts these are, where a stream tells only that they are encrypted: by the name of the model.
pub fn maker_of(model: &str) -> Maker {
    let says = |word: &str| model.to_ascii_lowercase().contains(word);
    match () {
        () if says("claude") || says("anthropic") => Maker::Anthropic,
        () if says("gemini") => Maker::Google,
        () if says("gpt") || says("openai") => Maker::Openai,
        () => Maker::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_found_again() {
        for (place, data) in [
            (Place::Own, "EqQB/+="),
            (Place::Own, ""),
            (Place::Thoughts, "abc"),
            (Place::Text, "abc"),
            (Place::Call("resp_x:call_0".into()), "abc=="),
        ] {
            let sealed: Cow<'_, str> = write(Maker::Google, &place, data).into();
            let (found, signature) = read(&sealed).unwrap();
            assert_eq!((found, signature.by, &*signature.data), (place, Maker::Google, data), "{sealed}");
        }
        for own in ["gAAAAABo", "tollgate:", "tollgate:nobody:x", ""] {
            assert_eq!(read(&own.into()), None, "{own}");
        }
    }
}

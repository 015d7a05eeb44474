//! Halves of characters that stand alone: JSON may escape them (`\ud83d`), and no text can hold one. Programs make them
//! that cut texts by UTF-16; they are read as U+FFFD, as browsers do.

use std::borrow::Cow;

use memchr::memmem;

/// `\ud83d`
const ESCAPE: usize = 6;

/// The halves in a JSON text that have no other half beside them: where each escape stands, and what it says.
pub fn lone(json: &[u8]) -> Vec<(usize, u16)> {
    let mut found = Vec::new();
    if memmem::find(json, b"\\ud").is_none() && memmem::find(json, b"\\uD").is_none() {
        return found;
    }
    let mut at = 0;
    while let Some(next) = memchr::memchr(b'\\', json.get(at..).unwrap_or_default()) {
        at += next;
        at += match (half(json, at), half(json, at + ESCAPE)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 2 * ESCAPE,
            (Some(half), _) => {
                found.push((at, half));
                ESCAPE
            }
            // Whatever is escaped is no beginning of an escape.
            (None, _) => 2,
        };
    }
    found
}

/// The half of a character that is escaped here.
fn half(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    let unit = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (0xd800..=0xdfff).contains(&unit).then_some(unit)
}

/// The same JSON, with U+FFFD for each of them: no byte of it moves.
pub fn mended(json: &str) -> Cow<'_, str> {
    let lone = lone(json.as_bytes());
    if lone.is_empty() {
        return Cow::Borrowed(json);
    }
    let (mut whole, mut from) = (String::with_capacity(json.len()), 0);
    for (at, _) in lone {
        whole.push_str(&json[from..at]);
        whole.push_str("\\ufffd");
        from = at + ESCAPE;
    }
    whole.push_str(&json[from..]);
    Cow::Owned(whole)
}

/// The text of a string that serde_json tells as bytes, three for each half that stands alone.
pub fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        // The first of the three; those behind it are chunks of their own.
        if chunk.invalid().first() == Some(&0xed) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Cow::Owned(text)
}

/// Of a piece of a stream: the first half that a text of it ends with.
pub fn at_end(json: &[u8]) -> Option<u16> {
    let ends = |(at, half): &(usize, u16)| *half < 0xdc00 && json.get(at + ESCAPE) == Some(&b'"');
    lone(json).into_iter().rev().find(ends).map(|(_, half)| half)
}

/// Of a piece of a stream: the second half that a text of it begins with.
pub fn at_start(json: &[u8]) -> Option<u16> {
    let begins = |(at, half): &(usize, u16)| *half >= 0xdc00 && *at > 0 && json[at - 1] == b'"';
    lone(json).into_iter().find(begins).map(|(_, half)| half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_that_stand_alone_are_no_characters() {
        for (json, expected, why) in [
            (r#""a \ud83d b""#, "a \u{fffd} b", "the first half"),
            (r#""\uDE00""#, "\u{fffd}", "the second half"),
            (r#""\ud83d\ude00""#, "\u{1f600}", "both are one character"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}", "only the first is alone"),
            (r#""\\ud83d""#, "\\ud83d", "the backslash is escaped, and nothing else"),
            (r#""\\\ud83d""#, "\\\u{fffd}", "it is escaped, and then comes a half"),
            (r#""\ud83d\n""#, "\u{fffd}\n", "another escape is no half"),
            (r#""plain""#, "plain", "nothing is escaped"),
        ] {
            let whole = mended(json);
            assert_eq!(serde_json::from_str::<String>(&whole).as_deref().ok(), Some(expected), "{why}");
            assert_eq!(whole.len(), json.len(), "{why}: no byte moves");
        }
        for cut in ["\\", "\"\\u", "\"\\ud83", "\\ud83d\\", "\"\\ud83d\\ud"] {
            mended(cut);
        }
    }
}

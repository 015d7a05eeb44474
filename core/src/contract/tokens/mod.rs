//! How many tokens a text has, without its model's vocabulary: words, digits and signs are counted as tokenizers cut them.
//!
//! Tokenizers of today split a text into words (a capital begins a new one), numbers, runs of signs and of white space
//! first, and look up pieces of these only. So the number of such pieces says more of the number of tokens than the number of
//! bytes does: JSON, code and prose differ twofold in bytes a token, and much less in pieces a token.

pub mod families;

/// Parts of a token that counts are kept in.
pub const PARTS: u64 = 10;

/// What a text comes to, in tenths of a token of the measure that `families` scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// As texts usually are.
    pub likely: u64,
    /// As words that no vocabulary has: names, hashes, rare scripts.
    pub most: u64,
}

impl std::ops::AddAssign for Size {
    fn add_assign(&mut self, other: Size) {
        self.likely = self.likely.saturating_add(other.likely);
        self.most = self.most.saturating_add(other.most);
    }
}

impl Size {
    /// Without a part of it.
    pub fn without(self, part: Size) -> Size {
        Size { likely: self.likely.saturating_sub(part.likely), most: self.most.saturating_sub(part.most) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
    Space,
    Line,
    Sign,
    /// A byte of a character beyond ASCII.
    High,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Sign; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            b'0'..=b'9' => Class::Digit,
            b' ' | b'\t' => Class::Space,
            b'\n' | b'\r' => Class::Line,
            0x80.. => Class::High,
            _ => Class::Sign,
        };
        byte += 1;
    }
    classes
};

/// Sizes a text, or JSON as it stands.
pub fn size(text: &[u8]) -> Size {
    // A byte comes to 40 at most: no text that fits into memory makes these overflow.
    let (mut all_likely, mut all_most) = (0, 0);
    let mut at = 0;
    while let Some(&first) = text.get(at) {
        // By far the most frequent: one space, which is part of the word behind it.
        if first == b' ' && text.get(at + 1).is_some_and(|next| CLASSES[usize::from(*next)] != Class::Space) {
            at += 1;
            continue;
        }
        let class = CLASSES[first as usize];
        let (to, likely, most) = match class {
            Class::Lower => word(text, at, at),
            Class::Upper => word(text, at, run(text, at, Class::Upper)),
            Class::Digit => {
                let to = run(text, at, Class::Digit);
                let length = (to - at) as u64;
                // A space before a number is a token of its own; before a word it is part of it.
                let spaced = u64::from(at > 0 && text[at - 1] == b' ') * PARTS;
                (to, length.div_ceil(3) * PARTS + spaced, length * PARTS + spaced)
            }
            Class::Space => {
                let to = run(text, at, Class::Space);
                let length = (to - at) as u64;
                (to, u64::from(length > 1) * PARTS, length / 2 * PARTS)
            }
            Class::Line => {
                let to = run(text, at, Class::Line);
                (to, PARTS, (to - at) as u64 * PARTS)
            }
            Class::Sign => {
                let to = run(text, at, Class::Sign);
                let length = (to - at) as u64;
                (to, (4 + 4 * length).max(PARTS), length * PARTS)
            }
            Class::High => {
                let (bytes, likely, most) = beyond_ascii(first);
                (at + bytes, likely, most)
            }
        };
        all_likely += likely;
        all_most += most;
        at = to;
    }
    Size { likely: all_likely, most: all_most }
}

/// A word: capitals that end at `capitals`, then small letters.
fn word(text: &[u8], from: usize, capitals: usize) -> (usize, u64, u64) {
    let to = run(text, capitals, Class::Lower);
    let length = to - from;
    if let (Some((likely, most)), 0..=3) = (SHORT_WORDS.get(length), capitals - from) {
        return (to, *likely, *most);
    }
    let shouted = capitals - from > 3;
    let likely = (length as u64 * PARTS).div_ceil(if shouted { 3 } else { 6 });
    (to, likely, most_of(length as u64).max(likely))
}

/// Words of few capitals, by their length.
static SHORT_WORDS: [(u64, u64); 11] = {
    let mut sizes = [(0, 0); 11];
    let mut length = 0;
    while length < sizes.len() {
        let likely = if length <= 7 { PARTS } else { 12 };
        let most = most_of(length as u64);
        sizes[length] = (likely, if most > likely { most } else { likely });
        length += 1;
    }
    sizes
};

const fn most_of(length: u64) -> u64 {
    (if length > 12 { length.div_ceil(2) } else { length.div_ceil(3) }) * PARTS
}

/// A character by its first byte: its bytes, and what it comes to.
fn beyond_ascii(first: u8) -> (usize, u64, u64) {
    match first {
        // Latin with marks stands inside words that are counted without it.
        0xC2..=0xC5 => (2, 5, 20),
        // Greek, Cyrillic, Hebrew, Arabic, ...: letters of words of which nothing else counts.
        0xC6..=0xDF => (2, 4, 20),
        // Scripts of India and its neighbours.
        0xE0 | 0xE1 => (3, 6, 30),
        // Dashes, quotes, symbols.
        0xE2 => (3, PARTS, 30),
        // Chinese, Japanese, Korean.
        0xE3..=0xEF => (3, 8, 20),
        0xF0..=0xF4 => (4, 20, 40),
        // No first byte of UTF-8.
        _ => (1, PARTS, PARTS),
    }
}

/// Where a run ends: most are short.
#[inline]
fn run(text: &[u8], from: usize, class: Class) -> usize {
    let mut to = from;
    while text.get(to).is_some_and(|byte| CLASSES[usize::from(*byte)] == class) {
        to += 1;
    }
    to
}

/// What a request holds, whatever its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Texts, arguments and results of tools.
    pub text: Size,
    /// Declarations of tools, and a schema of the answer.
    pub declared: Size,
    /// The body as it stands, without pictures, sound and documents: nothing that is read is missing here.
    pub body: Size,
    pub messages: u64,
    pub tools: u64,
    pub pictures: u64,
    /// Base64 characters of sound and video.
    pub sound: u64,
    /// Base64 characters of documents.
    pub documents: u64,
    /// How many documents.
    pub document_count: u64,
    /// Things that the provider fetches or runs by itself, whose size no request tells: server tools, URLs, files,
    /// conversations that it keeps.
    pub outside: u64,
    /// Tools that their provider declares, and the caller runs: a shell, an editor.
    pub prompted: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_to_about_what_tokenizers_make_of_them() {
        for (text, likely) in [
            ("", 0),
            ("What is the capital of France?", 7),
            ("The quick brown fox jumps over the lazy dog.", 10),
            ("getUserByName(userId)", 8),
            ("2026-11-24", 6),
            ("a  b", 3),
            ("\n\n", 1),
            ("你好，世界", 4),
        ] {
            let size = size(text.as_bytes());
            assert_eq!(size.likely.div_ceil(PARTS), likely, "{text}: {size:?}");
            assert!(size.most >= size.likely, "{text}");
        }
    }

    #[test]
    fn any_bytes_have_a_size_and_a_longer_text_is_no_smaller() {
        let bytes: Vec<u8> = (0..=255).cycle().take(2_000).collect();
        let sizes: Vec<u64> = (0..bytes.len()).step_by(97).map(|n| size(&bytes[..n]).most).collect();
        assert!(sizes.windows(2).all(|pair| pair[0] <= pair[1]), "{sizes:?}");
    }
}

//! Bytes as text and back: for vectors and for what must travel in a member that holds bytes. Media are never decoded.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Read with or without padding, for providers differ.
const EITHER: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Standard base64.
pub fn encode(bytes: &[u8]) -> String {
    EITHER.encode(bytes)
}

/// Base64 in either alphabet, padded or not.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    match text.contains(['-', '_']) {
        true => EITHER.decode(text.replace('-', "+").replace('_', "/")).ok(),
        false => EITHER.decode(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_either_alphabet() {
        for (bytes, text) in
            [(&b""[..], ""), (b"a", "YQ=="), (b"ab", "YWI="), (b"abc", "YWJj"), (b"\xff\xfe\xfb", "//77")]
        {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Some(bytes));
            assert_eq!(decode(&text.replace('/', "_").replace('=', "")).as_deref(), Some(bytes));
        }
        assert_eq!(decode("a b"), None);
    }
}

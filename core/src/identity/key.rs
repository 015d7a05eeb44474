//! Keys of callers: `tg_<id>_<secret>_<crc>`. Found by secret scanners, the id loggable, kept as HMAC-SHA-256 under a pepper.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Letters and digits of an id.
pub const ID_LEN: usize = 12;
/// Letters and digits of a secret: 43 of 62 kinds are 256 bits.
pub const SECRET_LEN: usize = 43;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The secret under which all keys of an installation are hashed. Never printed.
pub struct Pepper {
    bytes: [u8; 32],
    /// Keyed once: half of what a hash costs.
    mac: Hmac<Sha256>,
    id: String,
}

impl Pepper {
    pub fn new(bytes: [u8; 32]) -> Self {
        let id = blake3::keyed_hash(&bytes, b"tollgate pepper id").to_hex()[..8].to_owned();
        let mac = Hmac::new_from_slice(&bytes).expect("HMAC takes keys of any length");
        Pepper { bytes, mac, id }
    }

    /// Says which pepper hashed a key; a hash with another one can never match here.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn hash(&self, text: &str) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// A short pseudonym for an id in receipts: equal ids look equal, and nobody reads them back without the pepper.
    pub fn pseudonym(&self, kind: &str, text: &str) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.bytes);
        hasher.update(kind.as_bytes());
        hasher.update(&[0]);
        hasher.update(text.as_bytes());
        format!("~{}", &hasher.finalize().to_hex()[..20])
    }
}

impl std::fmt::Debug for Pepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pepper({})", self.id)
    }
}

/// A key that looks right: its id, and the whole text to be hashed.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    pub id: &'a str,
    text: &'a str,
}

impl<'a> Presented<'a> {
    /// Parses and checks the checksum; a typo is told before any look-up.
    pub fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("tg_")?;
        let (body, crc) = rest.rsplit_once('_')?;
        let (id, secret) = body.split_once('_')?;
        let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric());
        let right = plain(id) && plain(secret) && id.len() <= 64 && secret.len() <= 128;
        (right && crc == checksum(&text[..text.len() - crc.len() - 1])).then_some(Presented { id, text })
    }

    /// Is it the key of this hash, or of that one? `None` (no such key) costs the same as a wrong one.
    pub fn matches(&self, pepper: &Pepper, hashes: [Option<&[u8; 32]>; 2]) -> (bool, bool) {
        let own = pepper.hash(self.text);
        let [now, before] = hashes.map(|hash| equal(&own, hash.unwrap_or(&[0; 32])) & hash.is_some());
        (now, before)
    }
}

/// The one comparison of secrets: its time tells nothing of where two texts differ, only whether their lengths do.
pub fn equal(one: &[u8], other: &[u8]) -> bool {
    bool::from(one.ct_eq(other))
}

/// A new key from randomness: 55 bytes of it. The text is shown once and never kept.
pub fn mint(random: &[u8; ID_LEN + SECRET_LEN]) -> (String, String) {
    let id = letters(&random[..ID_LEN]);
    let key = with_secret(&id, &random[ID_LEN..]);
    (id, key)
}

/// The key of an id with another secret: a rotation keeps the id, and with it budgets, grants and what was written of it.
pub fn mint_for(id: &str, random: &[u8; SECRET_LEN]) -> String {
    with_secret(id, random)
}

fn with_secret(id: &str, random: &[u8]) -> String {
    let body = format!("tg_{id}_{}", letters(random));
    format!("{body}_{}", checksum(&body))
}

/// 248 = 4 x 62: a byte above maps unevenly, by at most 0.02 bits a letter.
fn letters(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect()
}

/// CRC-32 (IEEE) as six letters of base 62.
fn checksum(text: &str) -> String {
    let mut crc = !0u32;
    for byte in text.bytes() {
        crc = (crc >> 8) ^ CRC_TABLE[usize::from(crc as u8 ^ byte)];
    }
    let mut rest = !crc;
    let mut out = [b'0'; 6];
    for place in out.iter_mut().rev() {
        *place = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    out.iter().map(|b| char::from(*b)).collect()
}

/// What one byte does to the checksum.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_key_parses_and_matches_only_its_own_hash() {
        let (id, key) = mint(&[7; 55]);
        let (_, other) = mint(&[8; 55]);
        let pepper = Pepper::new([1; 32]);
        let hash = pepper.hash(&key);
        let presented = Presented::parse(&key).unwrap();
        assert_eq!(presented.id, id);
        assert_eq!(presented.matches(&pepper, [Some(&hash), None]), (true, false));
        assert_eq!(presented.matches(&pepper, [None, Some(&hash)]), (false, true), "the secret before");
        assert_eq!(presented.matches(&pepper, [None, None]), (false, false), "an unknown key");
        let other = Presented::parse(&other).unwrap();
        assert_eq!(other.matches(&pepper, [Some(&hash), Some(&hash)]), (false, false), "another key");
        assert_eq!(presented.matches(&Pepper::new([2; 32]), [Some(&hash), None]), (false, false), "another pepper");
        let rotated = mint_for(&id, &[9; SECRET_LEN]);
        assert_eq!(Presented::parse(&rotated).unwrap().id, id, "a rotation keeps the id");
        assert_ne!(rotated, key);
    }

    #[test]
    fn a_typo_is_told_before_any_look_up() {
        let (_, key) = mint(&[9; 55]);
        for wrong in ["", "tg_", "sk-abc", "tg__x_y", &key[..key.len() - 1], &key.replace("tg_", "tq_")] {
            assert!(Presented::parse(wrong).is_none(), "{wrong}");
        }
        let mut swapped = key.into_bytes();
        swapped[20] = if swapped[20] == b'a' { b'b' } else { b'a' };
        assert!(Presented::parse(std::str::from_utf8(&swapped).unwrap()).is_none());
    }
}

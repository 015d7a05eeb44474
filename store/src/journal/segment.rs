//! The name and the head of a segment: where it stands among the others.

use super::record::{Chain, Head, take};

/// The first bytes of each segment; the last one is the version.
const MAGIC: [u8; 8] = *b"tgjrnl\0\x01";
pub(super) const HEADER_BYTES: usize = 96;
const ENDING: &str = ".journal";
/// Behind the name of a file of which the disk has not confirmed the first bytes.
const UNFINISHED: &str = ".new";

/// What a segment says of itself and of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Each segment ever made has its own; gaps are files that could not be made.
    pub ordinal: u64,
    /// The ordinal of the one before; its own where it is the very first.
    pub previous: u64,
    /// How many bytes of the one before are good. What lies behind them was torn, or was written again here.
    pub previous_bytes: u64,
    /// The end of the one before, on which the first record here follows.
    pub begins: Head,
    /// Retention may have removed segments whose records are all before this sequence.
    pub pruned_before: u64,
    /// Milliseconds since 1970.
    pub created_ms: i64,
}

pub(super) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(UNFINISHED).is_some_and(|name| parse_name(name).is_some())
}

impl Header {
    pub(super) fn name(&self) -> String {
        format!("{:010}-{:020}{ENDING}", self.ordinal, self.begins.next)
    }

    pub(super) fn unfinished_name(&self) -> String {
        self.name() + UNFINISHED
    }

    pub(super) fn is_very_first(&self) -> bool {
        self.previous == self.ordinal
    }

    pub(super) fn write(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.previous.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous_bytes.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.begins.next.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.begins.chain);
        bytes[72..80].copy_from_slice(&self.pruned_before.to_le_bytes());
        bytes[80..88].copy_from_slice(&self.created_ms.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..88]);
        bytes[88..92].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` = not as it was written.
    pub(super) fn read(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let is_whole = u32::from_le_bytes(take(bytes, 88)) == crc32c::crc32c(&bytes[..88]) && bytes[92..] == [0; 4];
        if bytes[..8] != MAGIC || !is_whole {
            return None;
        }
        let chain: Chain = take(bytes, 40);
        let header = Header {
            ordinal: u64::from_le_bytes(take(bytes, 8)),
            previous: u64::from_le_bytes(take(bytes, 16)),
            previous_bytes: u64::from_le_bytes(take(bytes, 24)),
            begins: Head { next: u64::from_le_bytes(take(bytes, 32)), chain },
            pruned_before: u64::from_le_bytes(take(bytes, 72)),
            created_ms: i64::from_le_bytes(take(bytes, 80)),
        };
        // The very first one begins at nothing; else anybody's segment could pass for it.
        (!header.is_very_first() || header.begins == Head::default()).then_some(header)
    }
}

/// Ordinal and first sequence, where the name is one of ours.
pub(super) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (ordinal, first) = name.strip_suffix(ENDING)?.split_once('-')?;
    let is_ours = ordinal.len() == 10 && first.len() == 20;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    (is_ours && digits(ordinal) && digits(first)).then_some(())?;
    Some((ordinal.parse().ok()?, first.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_or_not_at_all() {
        let header = Header {
            ordinal: 7,
            previous: 6,
            previous_bytes: 1_000,
            begins: Head { next: 42, chain: [9; 32] },
            pruned_before: 3,
            created_ms: 1_800_000_000_000,
        };
        let bytes = header.write();
        assert_eq!(Header::read(&bytes), Some(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&changed), None, "bit {bit}");
        }
        assert_eq!(parse_name(&header.name()), Some((7, 42)));
        for name in ["7-42.journal", "0000000007-00000000000000000042", "x", "000000000+-00000000000000000042.journal"]
        {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}

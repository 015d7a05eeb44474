//! One record as it lies in a segment: a head of 56 bytes, then what it carries.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of what it carries |
//! | 4 | CRC32C of all else |
//! | 8 | sequence: 0, 1, 2 ... over all segments |
//! | 8 | synced: all records before this sequence were on disk when this one was written |
//! | 32 | chain: BLAKE3 of the chain before, the digest of what it carries, sequence and synced |
//!
//! Numbers are little-endian. The checksum finds accidents; the chain finds a record that was changed, left out or moved
//! with its checksum made right. `synced` tells a torn tail from damage: a bad record that a later one calls synced was
//! whole once.

/// Before what a record carries.
pub(super) const HEAD_BYTES: usize = 56;
/// What one record may carry.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

pub(super) type Chain = [u8; 32];

/// The end of a journal: how many records there ever were, and the chain behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// The sequence of the next record.
    pub next: u64,
    pub chain: Chain,
}

impl Head {
    /// The head behind one more record.
    pub(super) fn then(self, digest: &Chain, synced: u64) -> Head {
        Head { next: self.next + 1, chain: link(&self.chain, digest, self.next, synced) }
    }
}

/// A whole record with a right checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framed<'a> {
    pub sequence: u64,
    pub synced: u64,
    pub chain: Chain,
    pub payload: &'a [u8],
}

impl Framed<'_> {
    pub(super) fn bytes(&self) -> usize {
        HEAD_BYTES + self.payload.len()
    }
}

/// What lies at a place where a record should begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    Whole(Framed<'a>),
    /// The bytes end before the record does; so many are needed.
    Short(usize),
    Length(u32),
    Checksum,
}

/// The digest of what a record carries: made before any lock is taken.
pub(super) fn digest(payload: &[u8]) -> Chain {
    *blake3::hash(payload).as_bytes()
}

/// Adds the record that follows on `head`, and gives the head behind it.
pub(super) fn push(into: &mut Vec<u8>, head: Head, synced: u64, digest: &Chain, payload: &[u8]) -> Head {
    let after = head.then(digest, synced);
    let begin = into.len();
    let length = u32::try_from(payload.len()).expect("the length was checked against its bound");
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&head.next.to_le_bytes());
    into.extend_from_slice(&synced.to_le_bytes());
    into.extend_from_slice(&after.chain);
    into.extend_from_slice(payload);
    let sum = checksum(&into[begin..]);
    into[begin + 4..begin + 8].copy_from_slice(&sum.to_le_bytes());
    after
}

pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(head) = bytes.get(..HEAD_BYTES) else { return Parsed::Short(HEAD_BYTES) };
    let length = u32::from_le_bytes(take(head, 0));
    if length as usize > PAYLOAD_BYTES_MAX {
        return Parsed::Length(length);
    }
    let whole = HEAD_BYTES + length as usize;
    let Some(record) = bytes.get(..whole) else { return Parsed::Short(whole) };
    if checksum(record) != u32::from_le_bytes(take(head, 4)) {
        return Parsed::Checksum;
    }
    Parsed::Whole(Framed {
        sequence: u64::from_le_bytes(take(head, 8)),
        synced: u64::from_le_bytes(take(head, 16)),
        chain: take(head, 24),
        payload: &record[HEAD_BYTES..],
    })
}

/// A whole record behind a bad one of this sequence, written when the bad one had been synced: its place and sequence.
///
/// Without one, what is bad may never have been whole: the disk writes what it was not told to sync in any order.
pub(super) fn proof_of_sync(rest: &[u8], bad: u64) -> Option<(usize, u64)> {
    let last = bad.saturating_add((rest.len() / HEAD_BYTES) as u64);
    (1..rest.len().saturating_sub(HEAD_BYTES - 1)).find_map(|at| {
        let sequence = u64::from_le_bytes(take(rest, at + 8));
        let synced = u64::from_le_bytes(take(rest, at + 16));
        if sequence <= bad || sequence > last || synced <= bad || synced > sequence {
            return None;
        }
        matches!(parse(&rest[at..]), Parsed::Whole(_)).then_some((at, sequence))
    })
}

fn link(before: &Chain, digest: &Chain, sequence: u64, synced: u64) -> Chain {
    let mut bytes = [0; 80];
    bytes[..32].copy_from_slice(before);
    bytes[32..64].copy_from_slice(digest);
    bytes[64..72].copy_from_slice(&sequence.to_le_bytes());
    bytes[72..].copy_from_slice(&synced.to_le_bytes());
    *blake3::hash(&bytes).as_bytes()
}

/// Over everything but the checksum itself.
fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..])
}

/// `N` bytes at a place that was checked to be there.
pub(super) fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut taken = [0; N];
    taken.copy_from_slice(&bytes[at..at + N]);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        let head = push(&mut bytes, Head::default(), 0, &digest(b"one"), b"one");
        let first = bytes.len();
        push(&mut bytes, head, 1, &digest(b"two"), b"two");
        (bytes, first)
    }

    #[test]
    fn what_is_pushed_is_parsed_and_no_shorter_piece_is() {
        let (bytes, first) = two();
        let Parsed::Whole(one) = parse(&bytes) else { panic!("whole") };
        assert_eq!((one.sequence, one.payload, one.bytes()), (0, &b"one"[..], first));
        let Parsed::Whole(two) = parse(&bytes[first..]) else { panic!("whole") };
        assert_eq!((two.sequence, two.synced, two.payload), (1, 1, &b"two"[..]));
        assert_eq!(two.chain, link(&one.chain, &digest(b"two"), 1, 1));
        for end in 0..first {
            assert!(matches!(parse(&bytes[..end]), Parsed::Short(needed) if needed > end), "{end}");
        }
        assert_eq!(parse(&[0; 200]), Parsed::Checksum, "zeros are no record");
        assert_eq!(parse(&[255; 200]), Parsed::Length(u32::MAX));
    }

    #[test]
    fn a_changed_bit_is_found_wherever_it_is() {
        let (bytes, first) = two();
        for bit in 0..first * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&changed), Parsed::Whole(_)), "bit {bit}");
            assert_eq!(proof_of_sync(&changed, 0), Some((first, 1)), "the second says that the first was synced");
        }
        assert_eq!(proof_of_sync(&bytes[..first], 0), None, "nothing follows");
        assert_eq!(proof_of_sync(&bytes, 1), None, "a record says nothing of itself");
    }
}

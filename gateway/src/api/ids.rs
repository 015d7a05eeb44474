//! Call ids: UUIDv7, so that they sort by time, from one seed of the system's randomness.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::{Builder, Uuid};

/// Asking the system for randomness costs a call into the kernel each time; a keyed hash of a counter does not.
pub struct Ids {
    seed: [u8; 32],
    count: AtomicU64,
}

impl Ids {
    pub fn new(seed: [u8; 32]) -> Self {
        Ids { seed, count: AtomicU64::new(0) }
    }

    pub fn next(&self, time_ms: i64) -> Uuid {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let digest = blake3::keyed_hash(&self.seed, &count.to_le_bytes());
        let random: &[u8; 10] = digest.as_bytes().first_chunk().expect("a digest has more than ten bytes");
        Builder::from_unix_timestamp_millis(u64::try_from(time_ms).unwrap_or(0), random).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_sort_by_time() {
        let ids = Ids::new([7; 32]);
        let (a, b, later) = (ids.next(1_000), ids.next(1_000), ids.next(2_000));
        assert_ne!(a, b);
        assert!(a < later && b < later);
        assert_eq!(a.get_version_num(), 7);
    }
}

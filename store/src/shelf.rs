//! The shelf in memory: answers by idempotency key, bounded in bytes and time. A restart forgets.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use moka::sync::Cache;
use tollgate_core::ports::{Begun, Kept, Later, Shelf};

/// A key may be used again with another body after this long.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// All kept answers together.
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// Keys of calls under way; above it further ones are not joined.
const UNDER_WAY_MAX: usize = 100_000;

/// Who waits for what.
pub struct MemoryShelf {
    kept: Cache<String, (blake3::Hash, Kept)>,
    under_way: Mutex<HashMap<String, blake3::Hash>>,
}

impl Default for MemoryShelf {
    fn default() -> Self {
        let weight = |key: &String, (_, kept): &(blake3::Hash, Kept)| {
            u32::try_from(key.len() + kept.body.len() + 512).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder().weigher(weight).max_capacity(KEPT_BYTES_MAX).time_to_live(KEPT_FOR).build();
        MemoryShelf { kept, under_way: Mutex::default() }
    }
}

impl MemoryShelf {
    fn claim(&self, key: &str, digest: blake3::Hash) -> Begun {
        let mut under_way = self.under_way.lock().expect("no code panics while it holds the keys");
        // Looked up under the lock: a call that ends in between is found on one of both sides.
        if let Some((known, kept)) = self.kept.get(key) {
            return if known == digest { Begun::Answered(kept) } else { Begun::OtherBody };
        }
        match under_way.get(key) {
            Some(known) if *known == digest => Begun::InFlight,
            Some(_) => Begun::OtherBody,
            None if under_way.len() >= UNDER_WAY_MAX => Begun::InFlight,
            None => {
                under_way.insert(key.to_owned(), digest);
                Begun::Fresh
            }
        }
    }

    fn end(&self, key: &str, kept: Option<Kept>) {
        let mut under_way = self.under_way.lock().expect("no code panics while it holds the keys");
        let Some(digest) = under_way.get(key).copied() else { return };
        if let Some(kept) = kept {
            self.kept.insert(key.to_owned(), (digest, kept));
        }
        under_way.remove(key);
    }
}

impl Shelf for MemoryShelf {
    fn begin<'a>(&'a self, key: &'a str, body_digest: [u8; 32]) -> Later<'a, Begun> {
        Box::pin(std::future::ready(self.claim(key, body_digest.into())))
    }

    fn finish<'a>(&'a self, key: &'a str, answer: Kept) -> Later<'a, ()> {
        self.end(key, Some(answer));
        Box::pin(std::future::ready(()))
    }

    fn forget<'a>(&'a self, key: &'a str) -> Later<'a, ()> {
        self.end(key, None);
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept {
            status: http::StatusCode::OK,
            headers: http::HeaderMap::new(),
            body: "{}".into(),
            call_id: "c".into(),
            revision: "r".into(),
        }
    }

    #[test]
    fn a_key_is_fresh_once_then_in_flight_then_answered() {
        let shelf = MemoryShelf::default();
        let (one, other) = (blake3::hash(b"1"), blake3::hash(b"2"));
        assert!(matches!(shelf.claim("k", one), Begun::Fresh));
        assert!(matches!(shelf.claim("k", one), Begun::InFlight));
        assert!(matches!(shelf.claim("k", other), Begun::OtherBody));
        shelf.end("k", Some(kept()));
        assert!(matches!(shelf.claim("k", one), Begun::Answered(_)));
        assert!(matches!(shelf.claim("k", other), Begun::OtherBody));
        assert!(matches!(shelf.claim("j", one), Begun::Fresh));
        shelf.end("j", None);
        assert!(matches!(shelf.claim("j", other), Begun::Fresh), "a call without an answer gives its key back");
    }
}

//! Idempotency records in memory: who is on the way with a key, and the answers that were given.
//!
//! Answers lie in a cache with bounds in bytes and age. Keys on their way do not: a cache may forget at any time, and a
//! forgotten key would let the same call run twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tollgate_core::ports::{Begun, Kept, Later, Origin, Shelf, Unkept};

use super::rows;

/// As long as clients may repeat a call.
pub(super) const ANSWER_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// All answers together; the least recently used go first.
const ANSWERS_BYTES_MAX: u64 = 64 << 20;
/// What an entry costs beside its texts: nodes of the cache's queues and table, and what the allocator adds.
const ENTRY_BYTES: usize = 512;
/// Keys on their way. Calls in flight are fewer.
const ON_THEIR_WAY_MAX: usize = 65_536;
/// A key that is longer on its way belongs to a call that was lost: twice the longest call.
const ON_THEIR_WAY_AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// All that is noted of what providers hold, some 60,000 ids; those asked for least recently go first.
const ORIGINS_BYTES_MAX: u64 = 36 << 20;
/// Providers keep responses for thirty days; what nobody asked for in that time is gone there too.
pub(super) const ORIGIN_IDLE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The shelf of one node.
pub struct MemoryShelf {
    on_their_way: Mutex<HashMap<Box<str>, Marker>>,
    answers: Cache<String, Record>,
    /// What providers hold: by id, with whose it is and where.
    origins: Cache<String, Origin>,
    on_their_way_max: usize,
    age_max: Duration,
}

#[derive(Clone)]
struct Marker {
    tenant: Arc<str>,
    body_digest: [u8; 32],
    since: Instant,
    /// Its call has left for a provider.
    has_left: bool,
    /// And was lost.
    lost: Option<Arc<str>>,
}

/// What a key was claimed with.
pub(super) struct Claim {
    pub tenant: Arc<str>,
    pub body_digest: [u8; 32],
}

impl Marker {
    fn claim(&self) -> Claim {
        Claim { tenant: self.tenant.clone(), body_digest: self.body_digest }
    }
}

#[derive(Clone)]
struct Record {
    body_digest: [u8; 32],
    /// In bytes of its own, as it lies on disk: parts of an answer that came from a socket keep the whole buffer alive that
    /// they were read into, whatever their length.
    answer: Bytes,
}

impl Default for MemoryShelf {
    fn default() -> Self {
        let answers = Cache::builder()
            .max_capacity(ANSWERS_BYTES_MAX)
            .weigher(|key: &String, record| weight(key, record))
            .time_to_live(ANSWER_AGE_MAX)
            // The default policy may turn a new answer away in favour of popular ones; a repeat of its call would then run.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        MemoryShelf {
            on_their_way: Mutex::default(),
            answers,
            origins: origins(ORIGINS_BYTES_MAX),
            on_their_way_max: ON_THEIR_WAY_MAX,
            age_max: ON_THEIR_WAY_AGE_MAX,
        }
    }
}

impl Shelf for MemoryShelf {
    fn begin<'a>(&'a self, key: &'a str, tenant: &'a Arc<str>, body_digest: [u8; 32]) -> Later<'a, Begun> {
        Box::pin(std::future::ready(self.begin_now(key, tenant, body_digest)))
    }

    fn leaves<'a>(&'a self, key: &'a str, _call_id: &'a Arc<str>) -> Later<'a, Result<(), Unkept>> {
        self.leaves_now(key);
        Box::pin(std::future::ready(Ok(())))
    }

    fn finish<'a>(&'a self, key: &'a str, answer: Kept) -> Later<'a, ()> {
        self.finish_now(key, rows::write(&answer));
        Box::pin(std::future::ready(()))
    }

    fn forget<'a>(&'a self, key: &'a str) -> Later<'a, ()> {
        self.forget_now(key);
        Box::pin(std::future::ready(()))
    }

    fn lost(&self, key: &str, call_id: &Arc<str>) {
        if let Some(marker) = self.lock().get_mut(key) {
            marker.lost = Some(call_id.clone());
        }
    }

    fn note_origin<'a>(&'a self, id: &'a str, origin: Origin) -> Later<'a, ()> {
        self.note_now(id, origin);
        Box::pin(std::future::ready(()))
    }

    fn origin<'a>(&'a self, id: &'a str) -> Later<'a, Option<Origin>> {
        Box::pin(std::future::ready(self.origins.get(id)))
    }
}

fn origins(bytes_max: u64) -> Cache<String, Origin> {
    let bytes = |id: &String, origin: &Origin| id.len() + origin.target.len() + ENTRY_BYTES;
    Cache::builder()
        .max_capacity(bytes_max)
        .weigher(move |id, origin| u32::try_from(bytes(id, origin)).unwrap_or(u32::MAX))
        .time_to_idle(ORIGIN_IDLE_MAX)
        .eviction_policy(EvictionPolicy::lru())
        .build()
}

impl MemoryShelf {
    /// What the key was claimed with; `None` = it was not.
    pub(super) fn leaves_now(&self, key: &str) -> Option<Claim> {
        let mut on_their_way = self.lock();
        let marker = on_their_way.get_mut(key)?;
        marker.has_left = true;
        Some(marker.claim())
    }

    /// The answer is as `rows` writes it.
    pub(super) fn finish_now(&self, key: &str, answer: Bytes) -> Option<Claim> {
        // Under the lock, answer first: nobody can find the key neither on its way nor answered.
        let mut on_their_way = self.lock();
        let claim = on_their_way.get(key)?.claim();
        self.answered(key, claim.body_digest, answer);
        on_their_way.remove(key);
        Some(claim)
    }

    pub(super) fn answered(&self, key: &str, body_digest: [u8; 32], answer: Bytes) {
        self.answers.insert(key.to_owned(), Record { body_digest, answer });
    }

    pub(super) fn claimed_with(&self, key: &str) -> Option<Claim> {
        self.lock().get(key).map(Marker::claim)
    }

    /// Had its call left for a provider?
    pub(super) fn forget_now(&self, key: &str) -> bool {
        self.lock().remove(key).is_some_and(|marker| marker.has_left)
    }

    /// Is it new? Of two that come at once, the first stays.
    pub(super) fn note_now(&self, id: &str, origin: Origin) -> bool {
        self.origins.entry_by_ref(id).or_insert_with(|| origin).is_fresh()
    }

    pub(super) fn begin_now(&self, key: &str, tenant: &Arc<str>, body_digest: [u8; 32]) -> Begun {
        let mut on_their_way = self.lock();
        if let Some(marker) = on_their_way.get(key)
            && marker.since.elapsed() < self.age_max
        {
            return match &marker.lost {
                _ if marker.body_digest != body_digest => Begun::OtherBody,
                Some(call_id) => Begun::Unknown { call_id: call_id.clone() },
                None => Begun::InFlight,
            };
        }
        if let Some(record) = self.answers.get(key) {
            if record.body_digest != body_digest {
                return Begun::OtherBody;
            }
            if let Some(kept) = rows::read(record.answer) {
                return Begun::Answered(kept);
            }
        }
        if on_their_way.len() >= self.on_their_way_max {
            on_their_way.retain(|_, marker| marker.since.elapsed() < self.age_max);
        }
        if on_their_way.len() >= self.on_their_way_max {
            tracing::error!("too many idempotency keys are on their way: a call was told to try again");
            return Begun::InFlight;
        }
        let marker = Marker { tenant: tenant.clone(), body_digest, since: Instant::now(), has_left: false, lost: None };
        on_their_way.insert(key.into(), marker);
        Begun::Fresh
    }

    /// A panic elsewhere leaves whole entries: each change is one step.
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Marker>> {
        self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weight(key: &str, record: &Record) -> u32 {
    u32::try_from(ENTRY_BYTES + key.len() + record.answer.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const ONE: [u8; 32] = [1; 32];
    const TWO: [u8; 32] = [2; 32];

    fn kept(body: &str) -> Kept {
        let (call_id, revision): (Arc<str>, Arc<str>) = ("c".into(), "r".into());
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        Kept { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body, call_id, revision }
    }

    fn begun(shelf: &MemoryShelf, key: &str, digest: [u8; 32]) -> Begun {
        shelf.begin_now(key, &"acme".into(), digest)
    }

    fn finish(shelf: &MemoryShelf, key: &str, body: &str) {
        let later = shelf.finish(key, kept(body));
        drop(later);
    }

    /// Each row follows on the row before.
    #[test]
    fn a_key_is_fresh_then_on_its_way_then_answered() {
        let shelf = MemoryShelf::default();
        let begin = |digest| match begun(&shelf, "key", digest) {
            Begun::Fresh => "fresh".to_owned(),
            Begun::InFlight => "in flight".to_owned(),
            Begun::OtherBody => "other body".to_owned(),
            Begun::Unknown { call_id } => format!("unknown {call_id}"),
            Begun::Answered(kept) => String::from_utf8(kept.body.to_vec()).unwrap(),
        };
        assert_eq!(begin(ONE), "fresh");
        assert_eq!(begin(ONE), "in flight");
        assert_eq!(begin(TWO), "other body");
        drop(shelf.forget("key"));
        assert_eq!(begin(TWO), "fresh", "the first call came to nothing: its body binds nobody");
        finish(&shelf, "key", "the answer");
        assert_eq!(begin(TWO), "the answer");
        assert_eq!(begin(TWO), "the answer", "as often as it is asked");
        assert_eq!(begin(ONE), "other body");
        drop(shelf.forget("key"));
        assert_eq!(begin(TWO), "the answer", "what was answered is not forgotten");
        assert!(matches!(begun(&shelf, "lost", ONE), Begun::Fresh));
        shelf.lost("lost", &"c".into());
        assert!(matches!(begun(&shelf, "lost", ONE), Begun::Unknown { .. }), "it may have been carried out");
    }

    #[test]
    fn an_answer_keeps_no_buffer_alive_that_it_was_read_into() {
        let buffer = Bytes::from(vec![b'x'; 8 << 10]);
        let mut answer = Kept { body: buffer.slice(..100), ..kept("") };
        answer.headers.insert("x-a", http::HeaderValue::from_maybe_shared(buffer.slice(..9)).unwrap());
        let shelf = MemoryShelf::default();
        begun(&shelf, "key", ONE);
        drop(shelf.finish("key", answer));
        assert!(buffer.is_unique(), "the shelf has bytes of its own");
        let Begun::Answered(kept) = begun(&shelf, "key", ONE) else { panic!("it was answered") };
        assert_eq!((&kept.headers["x-a"].as_bytes(), kept.body.len()), (&&b"xxxxxxxxx"[..], 100));
        shelf.answers.run_pending_tasks();
        let bytes = "key".len() + rows::write(&kept).len();
        assert_eq!(shelf.answers.weighted_size(), (ENTRY_BYTES + bytes) as u64, "all of it is weighed");
    }

    #[test]
    fn of_many_at_once_one_is_fresh() {
        let shelf = MemoryShelf::default();
        let fresh = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for n in 0..500 {
                        if matches!(begun(&shelf, &n.to_string(), ONE), Begun::Fresh) {
                            fresh.fetch_add(1, Ordering::Relaxed);
                            finish(&shelf, &n.to_string(), "x");
                        }
                    }
                });
            }
        });
        assert_eq!(fresh.into_inner(), 500);
    }

    #[tokio::test]
    async fn what_providers_hold_is_its_first_tenants_and_bounded() {
        let of = |tenant: &str| Origin { tenant: tenant.into(), provider: "p".into(), target: "p/m".into() };
        let shelf = MemoryShelf::default();
        assert_eq!(shelf.origin("resp_1").await, None);
        shelf.note_origin("resp_1", of("acme")).await;
        shelf.note_origin("resp_1", of("globex")).await;
        assert_eq!(shelf.origin("resp_1").await, Some(of("acme")), "nobody takes it over");
        let shelf = MemoryShelf { origins: origins(4_000), ..MemoryShelf::default() };
        for n in 0..100 {
            shelf.note_origin(&format!("resp_{n}"), of("acme")).await;
        }
        shelf.origins.run_pending_tasks();
        assert!(shelf.origins.weighted_size() <= 4_000);
        assert_eq!(shelf.origin("resp_99").await, Some(of("acme")), "the newest is there");
        assert_eq!(shelf.origin("resp_0").await, None, "the oldest went");
    }

    #[test]
    fn both_halves_are_bounded_and_lost_calls_let_go() {
        let shelf = MemoryShelf { on_their_way_max: 2, age_max: Duration::from_millis(50), ..MemoryShelf::default() };
        for key in ["a", "b"] {
            assert!(matches!(begun(&shelf, key, ONE), Begun::Fresh));
        }
        assert!(matches!(begun(&shelf, "c", ONE), Begun::InFlight), "full");
        std::thread::sleep(Duration::from_millis(60));
        assert!(matches!(begun(&shelf, "c", ONE), Begun::Fresh), "the lost ones made room");
        let large = "x".repeat(1 << 20);
        let shelf = MemoryShelf::default();
        for n in 0..200 {
            begun(&shelf, &n.to_string(), ONE);
            finish(&shelf, &n.to_string(), &large);
        }
        shelf.answers.run_pending_tasks();
        assert!(shelf.answers.weighted_size() <= ANSWERS_BYTES_MAX);
        assert!(matches!(begun(&shelf, "199", ONE), Begun::Answered(_)), "the newest is there");
        assert!(matches!(begun(&shelf, "0", ONE), Begun::Fresh), "the oldest went");
    }
}

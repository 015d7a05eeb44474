//! A shelf that is dropped and opened again, as by a kill.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::*;

const BODY: [u8; 32] = [1; 32];
const OTHER: [u8; 32] = [2; 32];
const WITHIN: Duration = Duration::from_secs(10);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn open_within(dir: &Path, now_ms: &Arc<AtomicI64>, bytes_max: u64) -> KeptShelf {
    let now_ms = now_ms.clone();
    // The thread of a shelf before may have the file for a moment yet.
    let began = std::time::Instant::now();
    let keyed = loop {
        match Keyed::open(&dir.join("keyed.redb")) {
            Ok(keyed) => break keyed,
            Err(why) => assert!(began.elapsed() < WITHIN, "{why}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let clock = Arc::new(move || now_ms.load(Ordering::Relaxed));
    KeptShelf::open_within(Arc::new(keyed), clock, bytes_max).unwrap()
}

fn open_at(dir: &Path, now_ms: &Arc<AtomicI64>) -> KeptShelf {
    open_within(dir, now_ms, keeper::KEPT_BYTES_MAX)
}

fn open(dir: &Path) -> KeptShelf {
    open_at(dir, &Arc::default())
}

fn kept(body: &'static [u8]) -> Kept {
    let (call_id, revision): (Arc<str>, Arc<str>) = ("c-1".into(), "r".into());
    Kept { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::from_static(body), call_id, revision }
}

async fn begun(shelf: &KeptShelf, key: &str, digest: [u8; 32]) -> String {
    match shelf.begin(key, &"acme".into(), digest).await {
        Begun::Fresh => "fresh".to_owned(),
        Begun::InFlight => "in flight".to_owned(),
        Begun::OtherBody => "other body".to_owned(),
        Begun::Unknown { call_id } => format!("unknown {call_id}"),
        Begun::Answered(kept) => format!("answered {}", String::from_utf8_lossy(&kept.body)),
    }
}

#[test]
fn after_a_restart_each_key_is_what_its_call_came_to() {
    let dir = tempfile::tempdir().unwrap();
    let call: Arc<str> = "c-1".into();
    block_on(async {
        let shelf = open(dir.path());
        for key in ["refused", "failed", "answered", "on its way", "large", "lost"] {
            assert_eq!(begun(&shelf, key, BODY).await, "fresh", "{key}");
            if key != "refused" {
                shelf.leaves(key, &call).await.unwrap();
            }
        }
        shelf.forget("failed").await;
        shelf.finish("answered", kept(b"yes")).await;
        let large = Box::leak(vec![b'x'; RAW_BYTES_MAX + 1].into_boxed_slice());
        shelf.finish("large", kept(large)).await;
        assert!(begun(&shelf, "large", BODY).await.starts_with("answered xx"), "as long as memory has it");
        assert_eq!(begun(&shelf, "on its way", BODY).await, "in flight");
        shelf.lost("lost", &call);
        assert_eq!(begun(&shelf, "lost", BODY).await, "unknown c-1", "at once, and not at the next start only");
        assert_eq!(begun(&shelf, "lost", OTHER).await, "other body");
        assert!(shelf.close(WITHIN).await);
    });
    for start in ["the next", "one more"] {
        block_on(async {
            let shelf = open(dir.path());
            for (key, digest, expected, why) in [
                ("answered", BODY, "answered yes", "a stored answer, from disk"),
                ("answered", BODY, "answered yes", "and from memory then"),
                ("answered", OTHER, "other body", "for its own body only"),
                ("on its way", BODY, "unknown c-1", "nobody saw its end"),
                ("on its way", BODY, "unknown c-1", "however often it is asked"),
                ("on its way", OTHER, "other body", "its body is known"),
                ("lost", BODY, "unknown c-1", "it panicked when it had left"),
                ("large", BODY, "unknown c-1", "its answer was not kept, and it may not run again"),
                ("refused", BODY, "fresh", "it never left"),
                ("failed", BODY, "fresh", "it came to nothing that is worth keeping"),
            ] {
                assert_eq!(begun(&shelf, key, digest).await, expected, "{start} start: {key}: {why}");
            }
        });
    }
}

#[test]
fn what_providers_hold_is_found_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let of = |tenant: &str| Origin { tenant: tenant.into(), provider: "p".into(), target: "p/m".into() };
    block_on(async {
        let shelf = open(dir.path());
        shelf.note_origin("resp_1", of("acme")).await;
        shelf.note_origin("resp_1", of("globex")).await;
        assert!(shelf.close(WITHIN).await);
    });
    block_on(async {
        let shelf = open(dir.path());
        assert_eq!(shelf.origin("resp_1").await, Some(of("acme")), "its first tenant's, and where it was made");
        assert_eq!(shelf.origin("resp_2").await, None);
    });
}

#[test]
fn old_rows_go_and_a_key_that_was_claimed_anew_stays() {
    let dir = tempfile::tempdir().unwrap();
    let day = keeper::millis(ANSWER_AGE_MAX);
    let (now_ms, call): (Arc<AtomicI64>, Arc<str>) = (Arc::default(), "c-1".into());
    block_on(async {
        let shelf = open_at(dir.path(), &now_ms);
        for key in ["old", "again"] {
            assert_eq!(begun(&shelf, key, BODY).await, "fresh");
            shelf.leaves(key, &call).await.unwrap();
        }
        shelf.finish("old", kept(b"old")).await;
        shelf.forget("again").await;
        now_ms.store(day - 1, Ordering::Relaxed);
        assert_eq!(begun(&shelf, "again", BODY).await, "fresh");
        shelf.leaves("again", &call).await.unwrap();
        shelf.finish("again", kept(b"new")).await;
        now_ms.store(day + 5, Ordering::Relaxed);
        assert!(shelf.close(WITHIN).await, "with the next change the old rows go");
    });
    block_on(async {
        let shelf = open_at(dir.path(), &now_ms);
        assert_eq!(shelf.known.lock().len(), 1);
        assert_eq!(begun(&shelf, "old", BODY).await, "fresh");
        assert_eq!(begun(&shelf, "again", BODY).await, "answered new");
    });
}

/// Room for eight keys; another tenant's key is the oldest of all.
#[test]
fn a_tenant_that_fills_the_shelf_pushes_out_its_own_keys_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (now_ms, call): (Arc<AtomicI64>, Arc<str>) = (Arc::default(), "c-1".into());
    let open = || open_within(dir.path(), &now_ms, 8 * keeper::KEY_BYTES);
    block_on(async {
        let shelf = open();
        for n in 0..20 {
            now_ms.store(n, Ordering::Relaxed);
            let tenant = if n == 0 { "globex" } else { "acme" };
            assert!(matches!(shelf.begin(&n.to_string(), &tenant.into(), BODY).await, Begun::Fresh));
            shelf.leaves(&n.to_string(), &call).await.unwrap();
            shelf.finish(&n.to_string(), kept(b"yes")).await;
        }
        assert!(shelf.close(WITHIN).await);
    });
    for start in ["the next", "one more, by what the rows say"] {
        block_on(async {
            let shelf = open();
            assert_eq!(shelf.known.lock().len(), 8, "{start}");
            for (n, expected, why) in [
                (0, "answered yes", "the other tenant has less"),
                (12, "fresh", "the oldest of the tenant that has the most"),
                (13, "answered yes", "the newest of it stay"),
                (19, "answered yes", "to the last"),
            ] {
                assert_eq!(begun(&shelf, &n.to_string(), BODY).await, expected, "{start} start: {n}: {why}");
            }
        });
    }
}

/// A shelf without its thread: what must be on disk first does not go.
#[test]
fn a_claim_that_is_not_on_disk_is_none() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let mut shelf = open(dir.path());
        shelf.changes = mpsc::channel(1).0;
        assert_eq!(begun(&shelf, "key", BODY).await, "fresh");
        assert!(shelf.leaves("key", &"c-1".into()).await.is_err());
        let (sender, _stuck) = mpsc::channel(8);
        shelf.changes = sender;
        let why = shelf.leaves("key", &"c-1".into()).await.unwrap_err().to_string();
        assert!(why.contains("within 2 s"), "{why}");
    });
}

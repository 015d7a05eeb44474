//! Calls that are lost: dropped at every point where they wait, or panicking. Whatever happens, no hold stays behind.
//!
//! A call is polled by hand, so many times, and then dropped: once for each number of times until it ends by itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says by itself where")]

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::tz::TimeZone;
use tollgate_core::contract::Dialect;
use tollgate_core::contract::meta::Declared;
use tollgate_core::dialects::Quirks;
use tollgate_core::evidence::{intent::Intent, receipt::Receipt};
use tollgate_core::identity::key::{Pepper, mint};
use tollgate_core::identity::record::KeyRecord;
use tollgate_core::identity::{runtime::RuntimeKeys, tenants::Tenants};
use tollgate_core::limits::claim::{Claim, HoldId, Standing};
use tollgate_core::limits::money::{Price, Rates};
use tollgate_core::limits::rules::{Calendar, Limits, Rule, ScopeGlobs, Unit, UnknownPrice, Window};
use tollgate_core::pipeline::arrive::{self, Arrival, Head};
use tollgate_core::pipeline::body::Bodies;
use tollgate_core::pipeline::outlet::Outlet;
use tollgate_core::pipeline::{Bounds, Clock, Core, run};
use tollgate_core::policy::Hook;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::revision::{Judge, Revision};
use tollgate_core::policy::schema::GroupSet;
use tollgate_core::policy::tree::RevisionId;
use tollgate_core::policy::verdict::Verdict;
use tollgate_core::ports::{Begun, Fault, Later, Ledger, Outgoing, Policies, Reply, Shelf, Trail, Unkept, Upstream};
use tollgate_core::routing::catalog::{Catalog, PriceRow, Target, unlisted};
use tollgate_store::ledger::MemoryLedger;
use tollgate_store::shelf::MemoryShelf;

/// Waits once, as everything that is awaited may.
async fn pause() {
    let mut waited = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What the provider does with an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    Whole,
    Stream,
    /// The connection breaks before an answer.
    Breaks,
    /// It breaks in the middle of a stream.
    BreaksMidway,
    Panics,
}

struct Provider {
    turns: &'static [Turn],
    sent: AtomicUsize,
    quirks: Quirks,
}

const WHOLE: &str = r#"{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;
const EVENTS: [&str; 5] = [
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n",
    "data: [DONE]\n\n",
];

impl Upstream for Provider {
    fn serves(&self, _: &str) -> bool {
        true
    }

    fn takes_unlisted(&self, _: &str) -> bool {
        false
    }

    fn speaks(&self, _: &str) -> &[Dialect] {
        &[Dialect::OpenaiChat]
    }

    fn quirks(&self, _: &str) -> &Quirks {
        &self.quirks
    }

    fn providers(&self) -> &[Arc<str>] {
        &[]
    }

    fn speakers(&self, _: Dialect) -> Vec<&str> {
        Vec::new()
    }

    fn default_provider(&self) -> Option<&str> {
        None
    }

    fn forwards(&self, _: &str) -> &[HeaderName] {
        &[]
    }

    fn send<'a>(&'a self, _: &'a Target, _: Outgoing, _: &'a mut Option<Arc<str>>) -> Later<'a, Result<Reply, Fault>> {
        let turn = self.turns[self.sent.fetch_add(1, Ordering::Relaxed)];
        Box::pin(async move {
            pause().await;
            let broken = || Fault::Broken("reset".to_owned());
            let (kind, pieces): (_, Vec<Result<Bytes, Fault>>) = match turn {
                Turn::Whole => ("application/json", vec![Ok(Bytes::from_static(WHOLE.as_bytes()))]),
                Turn::Stream => ("text/event-stream", EVENTS.map(|e| Ok(Bytes::from_static(e.as_bytes()))).into()),
                Turn::BreaksMidway => {
                    let two = EVENTS[..2].iter().map(|e| Ok(Bytes::from_static(e.as_bytes())));
                    ("text/event-stream", two.chain([Err(broken())]).collect())
                }
                Turn::Breaks => return Err(broken()),
                Turn::Panics => panic!("the provider's client fails"),
            };
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            let body = stream::iter(pieces).then(|piece| async move {
                pause().await;
                piece
            });
            Ok(Reply { status: StatusCode::OK, headers, body: Box::pin(body), other_secret: false })
        })
    }
}

/// No policies; or one that panics when the answer is there.
struct NoPolicy {
    panics: bool,
}

impl Judge for NoPolicy {
    fn ask(&self, _: Hook, _: &Arc<Facts>) -> Vec<Verdict> {
        panic!("a policy engine fails")
    }

    fn sits_at(&self, hook: Hook) -> bool {
        self.panics && hook == Hook::PostResponse
    }

    fn reads(&self, _: Hook) -> GroupSet {
        GroupSet::default()
    }
}

/// At pre-route it is asked whether it sits there or not.
struct Quiet(NoPolicy);

impl Judge for Quiet {
    fn ask(&self, hook: Hook, facts: &Arc<Facts>) -> Vec<Verdict> {
        if hook == Hook::PostResponse { self.0.ask(hook, facts) } else { Vec::new() }
    }

    fn sits_at(&self, hook: Hook) -> bool {
        self.0.sits_at(hook)
    }

    fn reads(&self, hook: Hook) -> GroupSet {
        self.0.reads(hook)
    }
}

struct One(Arc<Revision>);

impl Policies for One {
    fn pin(&self) -> Arc<Revision> {
        self.0.clone()
    }
}

#[derive(Default)]
struct Counted(AtomicUsize);

impl Trail for Counted {
    fn intend<'a>(&'a self, _: &'a Intent) -> Later<'a, Result<(), Unkept>> {
        Box::pin(pause().map(Ok))
    }

    fn lost(&self, _: HoldId, _: i64) {}

    fn record(&self, _: Box<Receipt>) -> Later<'_, ()> {
        Box::pin(async {
            pause().await;
            self.0.fetch_add(1, Ordering::Relaxed);
        })
    }
}

struct House {
    core: Arc<Core>,
    ledger: Arc<MemoryLedger>,
    shelf: Arc<MemoryShelf>,
    provider: Arc<Provider>,
    trail: Arc<Counted>,
    revision: Arc<Revision>,
    key: String,
}

const KEY_OF_CALL: &str = "again";

fn rules() -> Vec<Arc<Rule>> {
    let day = || Window::Calendar { every: Calendar::Day, zone: TimeZone::UTC };
    let rule = |(name, unit, window): (&str, Unit, Window)| {
        let (per, scope, ladder) = (vec![], ScopeGlobs::default(), vec![]);
        Arc::new(Rule { name: name.into(), per, scope, unit, limit: 1_000_000_000, window, ladder })
    };
    [("flight", Unit::InFlight, Window::None), ("money", Unit::Nanousd, day()), ("tokens", Unit::Tokens, day())]
        .map(rule)
        .into()
}

fn house(turns: &'static [Turn], policy_panics: bool) -> House {
    let rates = Rates { input: 1_000_000, output: 2_000_000, ..Rates::default() };
    let price = PriceRow {
        price: Price { rates, ..Price::default() },
        as_of: "2026-11-24".into(),
        source: "".into(),
        assumed: false,
    };
    let target = |provider: &str| Target { price: Some(price.clone()), ..unlisted(provider, "m") };
    let limits = Limits { rules: rules(), unknown_price: UnknownPrice::Deny };
    let revision = Arc::new(Revision {
        id: RevisionId::new("r"),
        catalog: Catalog::new([target("a"), target("b")], Default::default()),
        tenants: Tenants::default(),
        limits,
        judge: Box::new(Quiet(NoPolicy { panics: policy_panics })),
    });
    let (ledger, shelf) = (Arc::new(MemoryLedger::default()), Arc::new(MemoryShelf::default()));
    let provider = Arc::new(Provider { turns, sent: AtomicUsize::new(0), quirks: Quirks::default() });
    let (trail, pepper, keys) = (Arc::new(Counted::default()), Pepper::new([7; 32]), RuntimeKeys::default());
    let (id, key) = mint(&[3; _]);
    keys.put(KeyRecord { id: id.as_str().into(), hash: pepper.hash(&key), tenant: "t".into(), ..KeyRecord::default() });
    let core = Arc::new(Core {
        policies: Arc::new(One(revision.clone())),
        upstream: provider.clone(),
        ledger: ledger.clone(),
        shelf: shelf.clone(),
        trail: trail.clone(),
        clock: Clock { now_ms: Arc::new(|| 1_000), steady_ms: Arc::new(|| 1_000) },
        pepper,
        keys,
        revoked: Default::default(),
        tokens: None,
        bodies: Bodies::new(1 << 20),
        bounds: Bounds::default(),
    });
    House { core, ledger, shelf, provider, trail, revision, key }
}

impl House {
    fn arrival(&self, stream: bool) -> Arrival {
        let body = format!(
            r#"{{"model":"m","max_tokens":50,"stream":{stream},"messages":[{{"role":"user","content":"Hello"}}]}}"#
        );
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {}", self.key).parse().unwrap());
        headers.insert("idempotency-key", HeaderValue::from_static(KEY_OF_CALL));
        let pieces = vec![Ok(Bytes::from(body))];
        Arrival {
            call_id: "c".into(),
            hold_id: 1,
            request_id: "q".into(),
            time_ms: 1_000,
            started_ms: 1_000,
            dialect: Dialect::OpenaiChat,
            asked: None,
            stream: None,
            place: Default::default(),
            revision: self.revision.clone(),
            beside: None,
            wrong: None,
            declared: Declared::default(),
            credential: arrive::credential(&headers, None).unwrap(),
            certificate: None,
            content_length: None,
            body: Box::pin(stream::iter(pieces).then(|piece| async move {
                pause().await;
                piece
            })),
            head: Head { headers, query: None, address: "".into(), address_sealed: "".into() },
        }
    }

    fn stands(&self) -> Vec<Standing> {
        let claim = |rule: Arc<Rule>| Claim { scope: rule.name.as_ref().into(), rule, worst: 0 };
        let claims: Vec<Claim> = rules().into_iter().map(claim).collect();
        self.ledger.standing(&claims, 1_000).now_or_never().unwrap()
    }
}

/// How a call went that was polled at most so often.
enum Went {
    Ended,
    Dropped,
    Panicked,
}

fn polled(house: &House, stream: bool, times: usize) -> Went {
    let (outlet, _answer) = Outlet::new();
    let mut call: Pin<Box<dyn Future<Output = ()>>> =
        Box::pin(run(house.core.clone(), Box::new(house.arrival(stream)), outlet));
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..times {
        match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut cx))) {
            Ok(Poll::Ready(())) => return Went::Ended,
            Ok(Poll::Pending) => {}
            Err(_) => return Went::Panicked,
        }
    }
    Went::Dropped
}

/// Every number of polls until the call ends by itself; gives how many there were.
fn at_every_wait(turns: &'static [Turn], stream: bool, policy_panics: bool, used_at_end: u64) -> usize {
    for times in 0.. {
        assert!(times < 1_000, "{turns:?} never ends");
        let house = house(turns, policy_panics);
        let went = polled(&house, stream, times);
        let why = format!("{turns:?}, stream {stream}, after {times} polls");
        assert_eq!(house.ledger.check(), Ok(()), "{why}");
        let stands = house.stands();
        assert!(stands.iter().all(|stands| stands.held == 0), "{why}: {stands:?}");
        let begun = format!("1:t|{}|openai.chat|{KEY_OF_CALL}", house.key.split('_').nth(1).unwrap());
        let shelf = house.shelf.begin(&begun, &"t".into(), [0; 32]).now_or_never().unwrap();
        let sent = house.provider.sent.load(Ordering::Relaxed);
        match went {
            Went::Ended => {
                assert_eq!(stands[1].used, used_at_end, "{why}: what was told, and what lost attempts may have cost");
                assert_eq!(house.trail.0.load(Ordering::Relaxed), 1, "{why}: one receipt");
                return times;
            }
            Went::Dropped | Went::Panicked if sent == 0 => {
                assert_eq!((stands[1].used, matches!(shelf, Begun::Fresh)), (0, true), "{why}: it never left");
            }
            Went::Dropped | Went::Panicked => {
                assert!(stands[1].used > 0, "{why}: it had left and may have cost something")
            }
        }
        if matches!(went, Went::Panicked) {
            return times;
        }
    }
    unreachable!()
}

#[test]
fn a_call_that_is_dropped_wherever_it_waits_leaves_nothing_held() {
    // 5 tokens in at 1 and 7 out at 2 nano-dollars.
    let whole = at_every_wait(&[Turn::Whole], false, false, 19);
    let streamed = at_every_wait(&[Turn::Stream], true, false, 19);
    assert!(whole >= 4 && streamed >= 7, "{whole} and {streamed} waits");
    let used_by = |turns| {
        let house = house(turns, false);
        polled(&house, false, 100);
        house.stands()[1].used
    };
    let (one_more, at_hold) = (used_by(&[Turn::Breaks, Turn::Whole]), used_by(&[Turn::Panics]));
    assert!(one_more > 19, "the attempt that broke may be billed, and with none behind it whole: {one_more}");
    at_every_wait(&[Turn::Breaks, Turn::Whole], false, false, one_more);
    at_every_wait(&[Turn::Breaks, Turn::Breaks], false, false, one_more - 19 + at_hold);
}

#[test]
fn a_stream_that_breaks_is_booked_by_our_own_count() {
    let house = house(&[Turn::BreaksMidway], false);
    assert!(matches!(polled(&house, true, 100), Went::Ended));
    let stands = house.stands();
    assert!(stands.iter().all(|stands| stands.held == 0), "{stands:?}");
    assert!((3..19).contains(&stands[1].used), "a prompt and one token: {stands:?}");
}

#[test]
fn a_panic_leaves_nothing_held() {
    for (turns, stream, policy) in
        [(&[Turn::Panics][..], false, false), (&[Turn::Whole][..], false, true), (&[Turn::Stream][..], true, true)]
    {
        let house = house(turns, policy);
        assert!(matches!(polled(&house, stream, 100), Went::Panicked), "{turns:?}");
        let stands = house.stands();
        assert!(stands.iter().all(|stands| stands.held == 0), "{turns:?}: {stands:?}");
        assert!(stands[1].used > 19, "{turns:?}: booked at its hold, for nobody knows what it used: {stands:?}");
        assert_eq!(house.ledger.check(), Ok(()));
        assert!(matches!(polled(&house, stream, 100), Went::Ended), "{turns:?}: a retry under its key is refused");
        assert_eq!(house.provider.sent.load(Ordering::Relaxed), 1, "{turns:?}: and is not sent");
    }
}

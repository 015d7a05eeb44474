//! What a world is made of: its rules, its callers, and the whole core around them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, header};
use jiff::tz::TimeZone;
use tollgate_core::contract::Dialect;
use tollgate_core::contract::meta::Declared;
use tollgate_core::evidence::intent::call_id;
use tollgate_core::identity::key::{Pepper, mint};
use tollgate_core::identity::record::KeyRecord;
use tollgate_core::identity::{runtime::RuntimeKeys, tenants::Tenants};
use tollgate_core::limits::money::{Price, Rates};
use tollgate_core::limits::rules::{Calendar, Limits, Per, Rule, ScopeGlobs, Unit, UnknownPrice, Window};
use tollgate_core::pipeline::arrive::{self, Arrival, Head};
use tollgate_core::pipeline::body::Bodies;
use tollgate_core::pipeline::{Bounds, Clock, Core};
use tollgate_core::policy::Hook;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::revision::{Judge, Revision};
use tollgate_core::policy::schema::GroupSet;
use tollgate_core::policy::tree::RevisionId;
use tollgate_core::policy::verdict::Verdict;
use tollgate_core::ports::Policies;
use tollgate_core::routing::catalog::{Catalog, PriceRow, Target, unlisted};

use super::provider::Provider;
use super::witness::Witness;
use crate::journal::Random;
use crate::shelf::MemoryShelf;

/// Shortly before clocks change or months end, somewhere.
pub(super) const BEGINS: [&str; 12] = [
    "2026-03-08T04:58:00Z",
    "2026-03-08T06:58:00Z",
    "2026-03-28T22:58:00Z",
    "2026-03-29T00:58:00Z",
    "2026-03-31T21:58:00Z",
    "2026-04-04T14:58:00Z",
    "2026-04-05T13:28:00Z",
    "2026-10-03T15:28:00Z",
    "2026-10-25T00:58:00Z",
    "2026-10-31T22:58:00Z",
    "2026-11-01T05:58:00Z",
    "2026-12-31T22:58:00Z",
];

struct NoPolicy;

impl Judge for NoPolicy {
    fn ask(&self, _: Hook, _: &Arc<Facts>) -> Vec<Verdict> {
        Vec::new()
    }

    fn sits_at(&self, _: Hook) -> bool {
        false
    }

    fn reads(&self, _: Hook) -> GroupSet {
        GroupSet::default()
    }
}

struct One(Arc<Revision>);

impl Policies for One {
    fn pin(&self) -> Arc<Revision> {
        self.0.clone()
    }
}

/// The same in all lives of a world.
pub(super) struct Scene {
    revision: Arc<Revision>,
    keys: Vec<(KeyRecord, String)>,
}

/// Limits within limits, so narrow that all of them are reached.
fn rules(random: &mut Random) -> Vec<Arc<Rule>> {
    let calendar = |every, zone| Window::Calendar { every, zone: TimeZone::get(zone).unwrap() };
    let mut limit = |from: usize, more: usize| (from + random.below(more)) as u64;
    let rows = [
        ("all-day", vec![], Unit::Nanousd, limit(9_000, 40_000), calendar(Calendar::Day, "Australia/Lord_Howe")),
        (
            "app-day",
            vec![Per::Tenant, Per::App],
            Unit::Tokens,
            limit(5_000, 9_000),
            calendar(Calendar::Day, "America/New_York"),
        ),
        (
            "app-hour",
            vec![Per::Tenant, Per::App],
            Unit::Requests,
            limit(8, 30),
            calendar(Calendar::Hour, "Australia/Lord_Howe"),
        ),
        ("flight", vec![Per::Tenant], Unit::InFlight, limit(3, 6), Window::None),
        ("rate", vec![Per::Tenant], Unit::Requests, limit(20, 40), Window::Rolling { per_ms: 60_000 }),
        (
            "tenant-month",
            vec![Per::Tenant],
            Unit::Nanousd,
            limit(9_000, 20_000),
            calendar(Calendar::Month, "Europe/Berlin"),
        ),
    ];
    let rule = |(name, per, unit, limit, window): (&str, _, _, _, _)| {
        Arc::new(Rule { name: name.into(), per, scope: ScopeGlobs::default(), unit, limit, window, ladder: vec![] })
    };
    rows.map(rule).into()
}

impl Scene {
    pub(super) fn new(random: &mut Random) -> Scene {
        let rates = Rates { input: 1_000_000, output: 2_000_000, ..Rates::default() };
        let price = PriceRow {
            price: Price { rates, ..Price::default() },
            as_of: "2026-11-24".into(),
            source: "".into(),
            assumed: false,
        };
        let target = |provider: &str| Target { price: Some(price.clone()), ..unlisted(provider, "m") };
        let limits = Limits { rules: rules(random), unknown_price: UnknownPrice::Deny };
        let revision = Revision {
            id: RevisionId::new("r"),
            catalog: Catalog::new([target("a"), target("b")], Default::default()),
            tenants: Tenants::default(),
            limits,
            judge: Box::new(NoPolicy),
        };
        let key = |(at, (tenant, app)): (usize, (&str, &str))| {
            let (id, key) = mint(&[at as u8 + 1; _]);
            let hash = pepper().hash(&key);
            let record = KeyRecord {
                id: id.as_str().into(),
                hash,
                tenant: tenant.into(),
                app: app.into(),
                ..KeyRecord::default()
            };
            (record, key)
        };
        let callers = [("acme", "desk"), ("acme", "shop"), ("zoo", "desk")];
        Scene { revision: Arc::new(revision), keys: callers.into_iter().enumerate().map(key).collect() }
    }

    pub(super) fn core(
        &self,
        provider: Provider,
        witness: Arc<Witness>,
        now_ms: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Arc<Core> {
        let keys = RuntimeKeys::default();
        self.keys.iter().for_each(|(record, _)| keys.put(record.clone()));
        let time = provider.time.clone();
        Arc::new(Core {
            policies: Arc::new(One(self.revision.clone())),
            upstream: Arc::new(provider),
            ledger: witness.clone(),
            shelf: Arc::new(MemoryShelf::default()),
            trail: witness,
            clock: Clock { now_ms: Arc::new(now_ms), steady_ms: Arc::new(move || time.now_ms()) },
            pepper: pepper(),
            keys,
            revoked: Default::default(),
            tokens: None,
            bodies: Bodies::new(1 << 20),
            bounds: Bounds::default(),
        })
    }

    /// One call, of any caller.
    pub(super) fn arrival(&self, core: &Core, random: &Mutex<Random>) -> Arrival {
        let below = |bound: usize| crate::ledger::books::lock(random).below(bound);
        let now_ms = (core.clock.now_ms)();
        let hold_id = (now_ms as u128) << 80 | 7 << 76 | below(usize::MAX) as u128;
        let stream = below(2) == 0;
        // Without a bound so much is held that few of them fit.
        let bound = if below(8) == 0 { String::new() } else { format!(r#""max_tokens":{},"#, 20 + below(300)) };
        let prompt = "Hello ".repeat(1 + below(30));
        let body =
            format!(r#"{{"model":"m",{bound}"stream":{stream},"messages":[{{"role":"user","content":"{prompt}"}}]}}"#);
        let (_, key) = &self.keys[below(self.keys.len())];
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap());
        let call: Arc<str> = call_id(hold_id).into();
        Arrival {
            call_id: call.clone(),
            hold_id,
            request_id: call,
            time_ms: now_ms,
            started_ms: (core.clock.steady_ms)(),
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
            body: Box::pin(stream::iter([Ok(Bytes::from(body))])),
            head: Head { headers, query: None, address: "".into(), address_sealed: "".into() },
        }
    }
}

fn pepper() -> Pepper {
    Pepper::new([7; 32])
}

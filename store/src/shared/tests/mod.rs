//! Several ledgers on one real store, against the reference, and through what can become of a store.

mod granted;
mod model;
mod rebuilt;
mod server;

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tollgate_core::limits::claim::{Claim, HoldId};
use tollgate_core::limits::rules::{Calendar, Rule, ScopeGlobs, Unit, Window};
use tollgate_core::ports::{Ledger, Used};

use super::*;
use crate::ledger::MemoryLedger;
use server::Server;

const LEASE: Duration = Duration::from_millis(400);

fn rule(name: &str, unit: Unit, limit: u64, window: Window) -> Arc<Rule> {
    let scope = ScopeGlobs::default();
    Arc::new(Rule { name: name.into(), per: vec![], scope, unit, limit, window, ladder: vec![] })
}

fn monthly(limit: u64) -> Arc<Rule> {
    rule("month", Unit::Tokens, limit, Window::Calendar { every: Calendar::Month, zone: TimeZone::UTC })
}

fn claim(rule: &Arc<Rule>, worst: u64) -> Claim {
    Claim { rule: rule.clone(), scope: (&*rule.name).into(), worst }
}

fn tokens(tokens: u64) -> Used {
    Used { nanousd: i64::try_from(tokens).unwrap(), tokens }
}

async fn node(name: &str, port: u16) -> Arc<SharedLedger> {
    node_on(Arc::new(MemoryLedger::default()), name, port).await
}

/// On what a node knew before.
async fn node_on(memory: Arc<MemoryLedger>, name: &str, port: u16) -> Arc<SharedLedger> {
    let setup = Setup {
        address: format!("redis://127.0.0.1:{port}"),
        password: None,
        ca: None,
        node: name.to_owned(),
        lease: LEASE,
        trusts_store: false,
        observer: Box::new(|_| {}),
    };
    let own = memory.clone();
    let own = Box::new(move |now_ms| own.told(now_ms, || ()).1);
    let ledger = SharedLedger::over(memory, own, setup).await.unwrap();
    eventually(|| ledger.state() == State::Open).await;
    ledger
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

async fn eventually(mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn all_rest(nodes: &[Arc<SharedLedger>]) {
    for node in nodes {
        node.rest().await;
    }
}

impl SharedLedger {
    /// The store knows all, and has back all that is not held.
    async fn rest(&self) {
        for _ in 0..1_000 {
            let rested = |cell: &Arc<desk::Cell>| {
                lock(&cell.slice).rest();
                self.desk.ask(cell, 0)
            };
            let asked: Vec<_> = self.desk.all().iter().map(rested).collect();
            let mut is_done = true;
            for answer in asked {
                is_done &= matches!(answer.await, Ok(slice::Answer::Given));
            }
            if is_done {
                return;
            }
            // A machine that is busy makes the store slow now and then.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the store is away");
    }

    /// The answer of a store that is there.
    async fn held(&self, id: HoldId, claims: &[Claim]) -> Result<Vec<Held>, Refused> {
        for _ in 0..1_000 {
            match self.hold(id, claims, 0).await {
                Err(refused) if refused.is_unreachable => tokio::time::sleep(Duration::from_millis(10)).await,
                answer => return answer,
            }
        }
        let slices: Vec<_> =
            self.desk.all().iter().map(|cell| format!("{} {:?}", cell.key, lock(&cell.slice))).collect();
        panic!("the store is away: {:?}: {claims:?} of {slices:#?}", self.state());
    }

    /// What calls of this node may take without asking.
    fn free(&self, scope: &str) -> i64 {
        let all = self.desk.all();
        all.iter().filter(|cell| &*cell.scope == scope).map(|cell| lock(&cell.slice).free()).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_are_granted_from_without_the_store_and_shrink_to_the_need_near_the_end() {
    let Some(server) = Server::start() else { return };
    let (a, b) = (node("a", server.port).await, node("b", server.port).await);
    let rule = monthly(10_000);
    a.held(1, &[claim(&rule, 10)]).await.unwrap();
    let ahead = a.free("month");
    assert!((100..=1_250).contains(&ahead), "a slice of some calls, at most an eighth of what is left: {ahead}");
    b.held(2, &[claim(&rule, 9_000)]).await.unwrap();
    a.rest().await;
    for (id, node, worst, fits, why) in [
        (3, &a, 991, false, "990 are left"),
        (4, &a, 980, true, "these fit, though the store has to give each of them"),
        (5, &b, 11, false, "10 are left"),
        (6, &b, 10, true, "to the last one"),
        (7, &a, 1, false, "and then nothing"),
    ] {
        assert_eq!(node.held(id, &[claim(&rule, worst)]).await.is_ok(), fits, "{why}");
    }
    assert_eq!((a.free("month"), b.free("month")), (0, 0), "near the end nothing is leased ahead");
    a.settle(4, tokens(500), 0).await;
    let refused = b.hold(8, &[claim(&rule, 481)], 0).await.unwrap_err();
    assert!(refused.is_budget && !refused.is_unreachable, "{refused:?}");
    // The other one has what its call left over, until that is idle.
    tokio::time::sleep(Duration::from_millis(300)).await;
    b.held(9, &[claim(&rule, 480)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_leaves_what_is_leased_until_the_lease_ends() {
    let Some(server) = Server::start() else { return };
    let a = node("a", server.port).await;
    let rule = monthly(100_000);
    a.held(1, &[claim(&rule, 10)]).await.unwrap();
    let free = a.free("month") as u64;
    server.stand_still();
    a.held(2, &[claim(&rule, free)]).await.unwrap();
    let refused = a.hold(3, &[claim(&rule, 10)], 0).await.unwrap_err();
    assert!(refused.is_unreachable && refused.retry_after_ms.is_some(), "{refused:?}");
    a.void(2, 0).await;
    a.held(4, &[claim(&rule, 10)]).await.unwrap();
    tokio::time::sleep(LEASE).await;
    assert!(a.hold(5, &[claim(&rule, 10)], 0).await.unwrap_err().is_unreachable, "the lease has ended");
    a.settle(4, tokens(7), 0).await;
    server.go_on();
    eventually(|| a.state() == State::Open).await;
    a.held(6, &[claim(&rule, 99_983)]).await.unwrap();
    assert!(a.hold(7, &[claim(&rule, 1)], 0).await.is_err(), "what was used meanwhile is known: 7, 10 and 99,983");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_store_is_rebuilt_by_those_who_live_and_by_what_they_knew_of_one_who_does_not() {
    let Some(server) = Server::start() else { return };
    let (a, b, c) = (node("a", server.port).await, node("b", server.port).await, node("c", server.port).await);
    let rule = monthly(1_000);
    for (id, node, used) in [(1, &a, 100), (2, &b, 200), (3, &c, 300)] {
        node.held(id, &[claim(&rule, used)]).await.unwrap();
        node.settle(id, tokens(used), 0).await;
        node.rest().await;
    }
    a.held(4, &[claim(&rule, 50)]).await.unwrap();
    a.rest().await;
    b.rest().await;
    c.desk.gate.set(State::Unsafe);
    c.stop.notify_one();
    server.ask(&["FLUSHALL"]);
    eventually(|| a.state() != State::Open && b.state() != State::Open).await;
    assert!(a.hold(5, &[claim(&rule, 1)], 0).await.is_err(), "nothing is leased before all could come");
    eventually(|| a.state() == State::Open && b.state() == State::Open).await;
    // 600 were used by three, 50 are held.
    for (id, node, worst, fits, why) in [
        (6, &a, 351, false, "what the lost one had used is not forgotten"),
        (7, &b, 350, true, "and nothing beside is counted"),
        (8, &a, 1, false, "nothing is left"),
    ] {
        assert_eq!(node.held(id, &[claim(&rule, worst)]).await.is_ok(), fits, "{why}");
    }
    a.settle(4, tokens(50), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_again_and_counts_once() {
    let Some(server) = Server::start() else { return };
    let a = node("a", server.port).await;
    let rule = monthly(1_000);
    for id in 1..=20u128 {
        // Some answers are lost on their way: the connection is cut after the operation, or before.
        server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let mut tries = 0;
        while a.hold(id, &[claim(&rule, 20)], 0).await.is_err() {
            tries += 1;
            assert!(tries < 200);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        a.settle(id, tokens(20), 0).await;
        a.settle(id, tokens(20), 0).await;
    }
    eventually(|| a.state() == State::Open).await;
    a.rest().await;
    let stands = a.standing(&[claim(&rule, 0)], 0).await[0];
    assert_eq!((stands.used, stands.held), (400, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_of_one_name_are_found_out() {
    let Some(server) = Server::start() else { return };
    let first = node("a", server.port).await;
    let rule = monthly(1_000);
    first.hold(1, &[claim(&rule, 10)], 0).await.unwrap();
    let second = node("a", server.port).await;
    second.hold(1, &[claim(&rule, 10)], 0).await.unwrap();
    let _ = first.hold(2, &[claim(&rule, 500)], 0).await;
    eventually(|| first.state() == State::Unsafe).await;
    assert!(first.hold(3, &[claim(&rule, 1)], 0).await.unwrap_err().is_unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_counts_once_also_where_the_store_comes_late() {
    let Some(server) = Server::start() else { return };
    let a = node("a", server.port).await;
    let rule = monthly(100);
    a.held(1, &[claim(&rule, 100)]).await.unwrap();
    a.settle(1, tokens(100), 0).await;
    server.stand_still();
    a.adjust(9, &claim(&rule, 0), -30, 0).await;
    a.adjust(9, &claim(&rule, 0), -30, 0).await;
    server.go_on();
    eventually(|| a.state() == State::Open).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(a.hold(2, &[claim(&rule, 31)], 0).await.is_err());
    a.held(3, &[claim(&rule, 30)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_shared_and_refills() {
    let Some(server) = Server::start() else { return };
    let nodes = [node("a", server.port).await, node("b", server.port).await];
    let rule = rule("rate", Unit::Requests, 50, Window::Rolling { per_ms: 1_000 });
    let begun = std::time::Instant::now();
    let (mut admitted, mut id) = (0u64, 0 as HoldId);
    while begun.elapsed() < Duration::from_millis(1_500) {
        id += 1;
        let node = &nodes[(id % 2) as usize];
        match node.hold(id, &[claim(&rule, 1)], 0).await {
            Ok(_) => admitted += 1,
            Err(refused) => assert!(refused.retry_after_ms.is_some_and(|ms| ms <= 1_000), "{refused:?}"),
        }
        node.settle(id, Used::default(), 0).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let most = 50 + begun.elapsed().as_millis() as u64 * 50 / 1_000;
    assert!(admitted <= most, "{admitted} of {most}");
    assert!(admitted > 60, "{admitted}: it refills");
}

/// Figures, for `-- --nocapture`: the best of many short runs, so that other work on the machine counts little.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_costs_beside_the_ledger_of_one_node() {
    let Some(server) = Server::start() else { return };
    let calendar = Window::Calendar { every: Calendar::Month, zone: TimeZone::UTC };
    let claims = [
        claim(&rule("a", Unit::Nanousd, 1 << 50, calendar.clone()), 1_000),
        claim(&rule("b", Unit::Nanousd, 1 << 50, calendar.clone()), 1_000),
        claim(&rule("c", Unit::Tokens, 1 << 50, calendar), 1_000),
        claim(&rule("d", Unit::Requests, 1 << 40, Window::Rolling { per_ms: 60_000 }), 1),
        claim(&rule("e", Unit::InFlight, 1 << 40, Window::None), 1),
    ];
    let shared = node("a", server.port).await;
    let alone = MemoryLedger::default();
    let ledgers: [(&str, &dyn Ledger); 2] = [("one node", &alone), ("shared", &*shared)];
    let mut id = 0 as HoldId;
    for (name, ledger) in ledgers {
        let mut best = f64::MAX;
        for _ in 0..300 {
            let begun = std::time::Instant::now();
            for _ in 0..50 {
                id += 1;
                // A call without room for a moment is no call.
                if ledger.hold(id, &claims, now_ms()).await.is_ok() {
                    ledger.settle(id, tokens(700), now_ms()).await;
                }
            }
            best = best.min(begun.elapsed().as_secs_f64() * 1e6 / 50.0);
        }
        println!("{name}: {best:.2} us for a hold of five claims and its end");
    }
}

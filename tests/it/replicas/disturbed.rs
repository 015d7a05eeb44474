//! The store stands still, is slow, is emptied, or is another one that lost its tail: nothing is overspent.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{LEASE_MS, Told, is_wanted, metric, metrics, month, replicas, spend, used};
use crate::support::gateway::Gateway;
use crate::support::redis::{Address, Redis};

/// Nano-dollars.
const LIMIT: i64 = 48_000_000;

/// A run with something that happens when a quarter of the budget is spent. Returns what callers were told.
async fn disturbed<F: Future<Output = ()>>(
    port: u16,
    disturb: impl FnOnce(Arc<Told>) -> F,
) -> (Arc<Told>, Vec<Arc<Gateway>>) {
    let repository = month("0.048");
    let gateways = replicas(3, port, &repository);
    let told = Arc::new(Told::default());
    let (_, rounds) = tokio::join!(
        async {
            while told.spent.load(Ordering::Relaxed) < LIMIT / 4 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            disturb(told.clone()).await;
        },
        spend(&gateways, 1_000, 60, &told),
    );
    let (spent, answered) = (told.spent.load(Ordering::Relaxed), told.answered.load(Ordering::Relaxed));
    let away = told.away.load(Ordering::Relaxed);
    let booked = used(&gateways);
    println!(
        "{answered} answered, {away} times nobody knew, {rounds} rounds; {spent} of {LIMIT} spent, {booked} booked"
    );
    assert!(booked <= LIMIT, "overspent by {}", booked - LIMIT);
    assert_eq!(booked, spent, "what was booked is what callers were told");
    (told, gateways)
}

/// What was left when it happened is spent afterwards.
fn goes_on(told: &Told) {
    let spent = told.spent.load(Ordering::Relaxed);
    assert!(spent > LIMIT * 4 / 5, "it went on after the disturbance: {spent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stands_still_overspends_nothing_and_is_found_again() {
    if !is_wanted("a store that stands still") {
        return;
    }
    let Some(store) = Redis::start("a store that stands still") else { return };
    let (told, gateways) = disturbed(store.port, async |_| {
        store.stand_still();
        tokio::time::sleep(Duration::from_millis(2 * LEASE_MS)).await;
        store.go_on();
    })
    .await;
    assert!(told.away.load(Ordering::Relaxed) > 0, "calls were refused while nobody could know");
    goes_on(&told);
    let text = metrics(&gateways[0]).await;
    assert!(metric(&text, "tollgate_limits_store_total{result=\"slow\"}") >= 3, "{text}");
    assert_eq!(metric(&text, "tollgate_limits_store_state{state=\"open\"}"), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_overspends_nothing() {
    if !is_wanted("a slow store") {
        return;
    }
    let Some(store) = Redis::start("a slow store") else { return };
    let (told, _) = disturbed(store.port, async |_| {
        for _ in 0..8 {
            store.ask(&["CLIENT", "PAUSE", "120", "ALL"]);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    })
    .await;
    goes_on(&told);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_store_is_told_again_what_was_used() {
    if !is_wanted("an emptied store") {
        return;
    }
    let Some(store) = Redis::start("an emptied store") else { return };
    let (told, gateways) = disturbed(store.port, async |_| {
        store.ask(&["FLUSHALL"]);
        tokio::time::sleep(Duration::from_millis(400)).await;
        store.ask(&["FLUSHALL"]);
    })
    .await;
    goes_on(&told);
    let text = metrics(&gateways[1]).await;
    assert!(metric(&text, "tollgate_limits_store_total{result=\"fenced\"}") >= 1, "{text}");
    assert!(metric(&text, "tollgate_limits_store_total{result=\"epoch\"}") >= 2, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_loses_its_tail_is_noticed() {
    if !is_wanted("a failover") {
        return;
    }
    let (Some(mut primary), Some(replica)) = (Redis::start("a failover"), Redis::start("a failover")) else { return };
    replica.replicates(&primary);
    let address = Address::of(&primary).await;
    let (_, gateways) = disturbed(address.port, async |told| {
        // From here on the replica hears nothing more: all that follows is the tail that it never had.
        replica.ask(&["REPLICAOF", "NO", "ONE"]);
        let before = told.spent.load(Ordering::Relaxed);
        while told.spent.load(Ordering::Relaxed) < before * 3 / 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        primary.kill();
        address.move_to(&replica);
    })
    .await;
    let text = metrics(&gateways[2]).await;
    assert!(metric(&text, "tollgate_limits_store_total{result=\"epoch\"}") >= 2, "{text}");
}

//! Several gateways on one store: together they never pass a limit, whatever becomes of the store or of one of them.

mod disturbed;
mod granted;
mod secured;
mod starts;

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::calls::{client, post};
use crate::journal::{booked, events};
use crate::support::gateway::Gateway;
use crate::support::is_long;
use crate::support::redis::{self, Redis};
use crate::support::repository::Repository;

const CALLERS: usize = 50;
/// A gateway that hears nothing spends so long what it has; a new epoch begins so late.
const LEASE_MS: u64 = 1_000;
/// No run lasts longer.
const RUN_MAX: Duration = Duration::from_secs(60);

/// These take a quarter of a minute each, on a machine with nothing else to do.
fn is_wanted(name: &str) -> bool {
    if !is_long() {
        eprintln!("SKIPPED: {name}: it runs with `./test.sh --long`");
    }
    is_long()
}

fn limits(text: &str) -> Repository {
    Repository::new(&[("tollgate-policies.yaml", "api: tollgate.policy/v1\npolicies: []\n"), ("limits.yaml", text)])
}

fn month(usd: &str) -> Repository {
    limits(&format!("budgets:\n  month: {{ per: [tenant], limit_usd: \"{usd}\", period: month }}\n"))
}

fn config(port: u16) -> String {
    format!("store: {{ redis: \"redis://127.0.0.1:{port}\", lease_ms: {LEASE_MS} }}\n")
}

fn replicas(count: usize, port: u16, repository: &Repository) -> Vec<Arc<Gateway>> {
    let starts: Vec<_> = (0..count)
        .map(|_| {
            let (address, config) = (repository.address().to_owned(), config(port));
            std::thread::spawn(move || Arc::new(Gateway::with(&["--policies", &address], Some(&config))))
        })
        .collect();
    starts.into_iter().map(|start| start.join().unwrap()).collect()
}

fn chat(max_tokens: u64) -> String {
    let messages = json!([{ "role": "user", "content": "Hello" }]);
    json!({ "model": "sim/sim-1", "max_tokens": max_tokens, "messages": messages }).to_string()
}

/// Nano-dollars from the text of a header.
fn nanousd(usd: &str) -> i64 {
    let (whole, fraction) = usd.split_once('.').unwrap();
    format!("{whole}{fraction:0<9}").parse().unwrap()
}

/// What is held for a call.
async fn worst(gateway: &Gateway) -> (i64, i64) {
    let answer = post(gateway, chat(100), &[("x-sim", "tokens=7")]).await;
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let (id, cost) = (header("tollgate-call-id"), nanousd(&header("tollgate-cost-usd")));
    (gateway.receipt(&id)["holds"][0]["held"].as_i64().unwrap(), cost)
}

/// What callers were told.
#[derive(Default)]
struct Told {
    spent: AtomicI64,
    answered: AtomicUsize,
    /// Nobody could say whether there is room.
    away: AtomicUsize,
    broken: AtomicUsize,
}

/// One who asks until there is nothing left in `waiting`; gives back whom the gateways refused.
async fn caller(
    gateways: Vec<(String, String)>,
    waiting: Arc<Mutex<Vec<u64>>>,
    round: u64,
    latency: u64,
    told: Arc<Told>,
) -> Vec<u64> {
    let (client, mut refused, begun) = (client(), Vec::new(), Instant::now());
    loop {
        let Some(n) = waiting.lock().unwrap().pop() else { return refused };
        // Anything from nothing to the bound, and the same in every run.
        let tokens = n * 7_919 % 100 + 1;
        let (url, key) = &gateways[((n + round) % gateways.len() as u64) as usize];
        let request = client.post(url).bearer_auth(key).header("x-sim", format!("tokens={tokens},latency={latency}"));
        let Ok(answer) = request.body(chat(100)).send().await else {
            told.broken.fetch_add(1, Ordering::Relaxed);
            refused.push(n);
            continue;
        };
        match answer.status().as_u16() {
            200 => {
                let cost = nanousd(answer.headers()["tollgate-cost-usd"].to_str().unwrap());
                told.spent.fetch_add(cost, Ordering::Relaxed);
                told.answered.fetch_add(1, Ordering::Relaxed);
            }
            429 => refused.push(n),
            // It is for the store to come back, not for this call to be counted as refused.
            503 => {
                told.away.fetch_add(1, Ordering::Relaxed);
                assert!(begun.elapsed() < RUN_MAX, "nobody knows, for {RUN_MAX:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                waiting.lock().unwrap().push(n);
            }
            other => panic!("{other}: {}", answer.text().await.unwrap()),
        }
    }
}

/// `calls` calls over 50 connections; who is refused comes again after 100 ms, until a whole round is refused, by the budget,
/// while no call is under way.
async fn spend(gateways: &[Arc<Gateway>], calls: u64, latency: u64, told: &Arc<Told>) -> usize {
    let places: Vec<_> = gateways.iter().map(|g| (g.url("/v1/chat/completions"), g.key.clone())).collect();
    let mut all: Vec<u64> = (0..calls).collect();
    let begun = Instant::now();
    for round in 1.. {
        let before = (told.answered.load(Ordering::Relaxed), told.broken.load(Ordering::Relaxed));
        let waiting = Arc::new(Mutex::new(std::mem::take(&mut all)));
        let tasks: Vec<_> = (0..CALLERS)
            .map(|_| tokio::spawn(caller(places.clone(), waiting.clone(), round as u64, latency, told.clone())))
            .collect();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        let after = (told.answered.load(Ordering::Relaxed), told.broken.load(Ordering::Relaxed));
        if before == after {
            return round;
        }
        assert!(begun.elapsed() < RUN_MAX, "it goes on and on: {after:?} answered and broken, {} wait", all.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    unreachable!("rounds have no end")
}

/// What the journals of all gateways say was used.
fn used(gateways: &[Arc<Gateway>]) -> i64 {
    gateways.iter().map(|gateway| booked(&events(&gateway.state)).2).sum()
}

fn metric(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

async fn metrics(gateway: &Gateway) -> String {
    let url = format!("{}/metrics", gateway.operators);
    client().get(url).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_of_three_gateways_spend_a_budget_and_nothing_above_it() {
    const LIMIT: i64 = 16_000_000;
    let Some(store) = Redis::start("gateways that share limits") else { return };
    let repository = month("0.016");
    let gateways = replicas(3, store.port, &repository);
    let told = Arc::new(Told::default());
    let (worst, cost) = worst(&gateways[0]).await;
    assert!((LIMIT / 20..LIMIT / 5).contains(&worst), "a budget for about ten: {worst}");
    told.spent.fetch_add(cost, Ordering::Relaxed);
    let rounds = spend(&gateways, 1_000, 5, &told).await;
    let (spent, answered) = (told.spent.load(Ordering::Relaxed), told.answered.load(Ordering::Relaxed));
    println!(
        "{answered} answered in {rounds} rounds, {} times nobody knew; {spent} of {LIMIT} nano-dollars spent, a call holds {worst}",
        told.away.load(Ordering::Relaxed)
    );
    assert!(spent <= LIMIT, "overspent by {}", spent - LIMIT);
    assert!(LIMIT - spent < worst, "{} are left: another call would have fitted", LIMIT - spent);
    assert_eq!(used(&gateways), spent, "the journals have what callers were told, to the last nano-dollar");
}

/// The same callers, with counters that are read first and added to after: what a store alone does not prevent.
#[tokio::test(flavor = "multi_thread")]
async fn check_then_add_overspends() {
    const LIMIT: i64 = 1_000;
    const WORST: i64 = 100;
    let Some(store) = Redis::start("the negative control") else { return };
    let port = store.port;
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            std::thread::spawn(move || {
                let used: i64 = redis::ask(port, &["GET", "used"]).parse().unwrap_or(0);
                if used + WORST <= LIMIT {
                    std::thread::sleep(Duration::from_millis(20));
                    redis::ask(port, &["INCRBY", "used", &(n * 7_919 % 100 + 1).to_string()]);
                }
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    let used: i64 = store.ask(&["GET", "used"]).parse().unwrap();
    println!("{used} of {LIMIT} spent");
    assert!(used > LIMIT, "the control must overspend, else the other tests prove nothing: {used}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_under_load_gives_back_what_its_journal_proves() {
    const LIMIT: i64 = 48_000_000;
    if !is_wanted("a gateway that is killed") {
        return;
    }
    let Some(store) = Redis::start("a gateway that is killed") else { return };
    let repository = month("0.048");
    let mut gateways = replicas(3, store.port, &repository);
    for _ in 0..20 {
        let told = Arc::new(Told::default());
        let places: Vec<_> = gateways.iter().map(|g| (g.url("/v1/chat/completions"), g.key.clone())).collect();
        let waiting = Arc::new(Mutex::new((0..100).collect()));
        let tasks: Vec<_> =
            (0..20).map(|_| tokio::spawn(caller(places.clone(), waiting.clone(), 0, 60, told.clone()))).collect();
        while told.answered.load(Ordering::Relaxed) < 15 && tasks.iter().any(|task| !task.is_finished()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let killed = Arc::into_inner(gateways.remove(0)).unwrap();
        let state = killed.state.clone();
        let folder = killed.kill();
        for task in tasks {
            task.await.unwrap();
        }
        let (address, config) = (repository.address().to_owned(), config(store.port));
        gateways.push(Arc::new(Gateway::on(folder, state, &["--policies", &address], Some(&config))));
    }
    let told = Arc::new(Told::default());
    spend(&gateways, 1_000, 5, &told).await;
    let booked = used(&gateways);
    println!("{booked} of {LIMIT} booked after 20 kills");
    assert!(booked <= LIMIT, "overspent by {}", booked - LIMIT);
    assert!(LIMIT - booked < LIMIT / 10, "{} are left: what the killed one had leased came back", LIMIT - booked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_need_no_more_than_one_round_trip() {
    if !is_wanted("round trips") {
        return;
    }
    let Some(store) = Redis::start("round trips") else { return };
    let repository = limits(
        "budgets:\n  month: { per: [tenant], limit_usd: \"1000\", period: month }\n  all: { per: [], limit_usd: \"5000\", period: day }\n\
         rates:\n  minute: { per: [key], requests: 1000000, every: 1m }\n  busy: { per: [tenant], in_flight: 10000 }\n",
    );
    let gateways = replicas(1, store.port, &repository);
    let told = Arc::new(Told::default());
    let place = vec![(gateways[0].url("/v1/chat/completions"), gateways[0].key.clone())];
    let run = async |calls: u64| {
        let waiting = Arc::new(Mutex::new((0..calls).collect()));
        let tasks: Vec<_> =
            (0..CALLERS).map(|_| tokio::spawn(caller(place.clone(), waiting.clone(), 0, 1, told.clone()))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    };
    let name = "tollgate_limits_store_total{result=\"round_trip\"}";
    run(1_000).await;
    let (before, begun) = (metric(&metrics(&gateways[0]).await, name), Instant::now());
    run(3_000).await;
    let trips = metric(&metrics(&gateways[0]).await, name) - before;
    println!("{trips} round trips for 3,000 calls in {:?}", begun.elapsed());
    assert_eq!(told.answered.load(Ordering::Relaxed), 4_000);
    // Where the machine is slow, what is told by the clock is told more often for each call.
    let by_the_clock = begun.elapsed().as_secs() * 4;
    assert!(trips <= 30 + by_the_clock, "{trips}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_and_calls_in_flight_are_shared_too() {
    let Some(store) = Redis::start("shared rates") else { return };
    let repository =
        limits("rates:\n  hour: { per: [tenant], requests: 40, every: 1h }\n  busy: { per: [tenant], in_flight: 7 }\n");
    let gateways = replicas(3, store.port, &repository);
    let told = Arc::new(Told::default());
    let places: Vec<_> = gateways.iter().map(|g| (g.url("/v1/chat/completions"), g.key.clone())).collect();
    let begun = Instant::now();
    // 21 at once that last: seven may.
    let waiting = Arc::new(Mutex::new((0..21).collect()));
    let tasks: Vec<_> =
        (0..21).map(|_| tokio::spawn(caller(places.clone(), waiting.clone(), 0, 800, told.clone()))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let at_once = told.answered.load(Ordering::Relaxed);
    if begun.elapsed() < Duration::from_millis(1_600) {
        assert!(at_once <= 7, "{at_once} calls at once");
    }
    assert!(at_once >= 1);
    spend(&gateways, 200, 1, &told).await;
    let answered = told.answered.load(Ordering::Relaxed);
    let refilled = begun.elapsed().as_secs() as usize * 40 / 3_600 + 1;
    println!("{at_once} of 7 at once, {answered} of 40 in the hour");
    assert!((39..=40 + refilled).contains(&answered), "{answered}");
}

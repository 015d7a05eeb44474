//! A gateway that is killed under load: no answer that a caller had is forgotten, the balance is what the journal says, and
//! each call that a provider saw has one receipt. What is done to journal or receipts is found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use crate::calls::{chat, client};
use crate::support::gateway::{Gateway, tollgate};
use crate::support::repository::Repository;
use crate::support::{hosts, is_long};

const CALLERS: usize = 16;
/// From a start to the first answer, in the middle of all rounds. The aim is 2 s; `docs/journal.md` says what was measured.
/// The bound is wider: others may build and test beside it.
const START_MS_MAX: u128 = 10_000;

/// 10 kills; with `--long` 200.
fn rounds() -> usize {
    if is_long() { 200 } else { 10 }
}

/// A budget that all rounds together do not spend.
fn repository() -> Repository {
    let cents = 19 * rounds();
    let limits = format!(
        "budgets:\n  month: {{ per: [tenant], limit_usd: \"{}.{:02}\", period: month }}\n",
        cents / 100,
        cents % 100
    );
    Repository::new(&[("tollgate-policies.yaml", "api: tollgate.policy/v1\npolicies: []\n"), ("limits.yaml", &limits)])
}

fn chat_of(max_tokens: u64) -> String {
    chat_by("Hello", max_tokens)
}

fn chat_by(name: &str, max_tokens: u64) -> String {
    let mut body = chat("sim/sim-1");
    body["max_tokens"] = max_tokens.into();
    body["messages"][0]["content"] = name.into();
    body.to_string()
}

/// What callers saw: call ids with their cost in nano-dollars.
type Seen = Arc<Mutex<BTreeMap<String, i64>>>;

static NAMES: AtomicUsize = AtomicUsize::new(0);

/// Calls until the gateway is gone; what was read to its end is noted.
async fn calls(url: String, key: String, seen: Seen) {
    let client = client();
    loop {
        // Caller and provider know it by the same name.
        let name = format!("call-{}", NAMES.fetch_add(1, Ordering::Relaxed));
        let sent = client
            .post(&url)
            .bearer_auth(&key)
            .header("content-type", "application/json")
            .header("x-request-id", &name)
            .body(chat_by(&name, 100))
            .send()
            .await;
        let Ok(answer) = sent else { return };
        assert_eq!(answer.status().as_u16(), 200);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let (id, cost) = (header("tollgate-call-id").replace('-', ""), nanousd(&header("tollgate-cost-usd")));
        if answer.bytes().await.is_err() {
            return;
        }
        seen.lock().unwrap().insert(id, cost);
    }
}

/// `0.000052` dollars, exactly.
fn nanousd(text: &str) -> i64 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{part:0<9}").parse().unwrap()
}

pub fn events(state: &Path) -> Vec<Value> {
    let out = tollgate(&["trail", "export"], state);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The balance by the journal alone: what was settled, and what was held by calls whose end nobody saw.
pub fn booked(events: &[Value]) -> (BTreeMap<String, i64>, u64, i64) {
    let (mut settled, mut open, mut used) = (BTreeMap::new(), BTreeMap::new(), 0);
    let mut unknown = 0;
    for event in events.iter().map(|line| &line["event"]) {
        let id = |kind: &str| event[kind]["id"].as_str().unwrap().to_owned();
        if event["held"].is_object() {
            open.insert(id("held"), event["held"]["parts"][0]["amount"].as_i64().unwrap());
        } else if event["settled"].is_object() {
            let cost = event["settled"]["used"]["nanousd"].as_i64().unwrap();
            assert!(open.remove(&id("settled")).is_some(), "an end without a hold: {event}");
            settled.insert(id("settled"), cost);
            used += cost;
        } else if event["voided"].is_object() {
            open.remove(&id("voided"));
        } else if event["restarted"].is_object() {
            let said = event["restarted"]["unknown"].as_u64().unwrap();
            assert_eq!(said, open.len() as u64, "{event}");
            unknown += said;
            used += std::mem::take(&mut open).into_values().sum::<i64>();
        } else {
            let known = ["intent", "attempt", "receipts", "ended"];
            assert!(known.iter().any(|kind| event[*kind].is_object()), "{event}");
        }
    }
    (settled, unknown, used)
}

/// What the provider saw: by the name of the call, the tokens that it said.
async fn truth(port: u16, into: &mut BTreeMap<String, Value>) {
    let log = client().get(format!("http://127.0.0.1:{port}/sim/truth")).send().await.unwrap().text().await.unwrap();
    for sent in log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let body: Value = serde_json::from_str(sent["body"].as_str().unwrap()).unwrap();
        let name = body["messages"][0]["content"].as_str().unwrap();
        if name.starts_with("call-") {
            into.insert(name.to_owned(), sent["usage"].clone());
        }
    }
}

/// Each call that the provider saw has one receipt: of its end as the provider tells it, or `unknown`.
fn each_has_its_receipt(truth: &BTreeMap<String, Value>, receipts: &[Value]) -> usize {
    let mut by_name: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for receipt in receipts {
        by_name.entry(receipt["request_id"].as_str().unwrap()).or_default().push(receipt);
    }
    let mut unknown = 0;
    for (name, usage) in truth {
        let of = by_name.get(name.as_str()).unwrap_or_else(|| panic!("{name} reached the provider without a receipt"));
        assert_eq!(of.len(), 1, "{name} has one receipt: {of:?}");
        match of[0]["outcome"]["kind"].as_str().unwrap() {
            "answered" => assert_eq!(of[0]["usage"]["output"], usage["completion_tokens"], "{name}: {usage}"),
            "unknown" => unknown += 1,
            other => panic!("{name} ended as {other}"),
        }
    }
    unknown
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_under_load_forgets_no_answer_and_keeps_its_balance() {
    let sim = hosts::sim();
    let repository = repository();
    let config = format!("providers:\n  sim: {{ base_url: \"http://127.0.0.1:{}/v1\" }}\n", sim.port);
    let args = ["--policies", repository.address()];
    let seen = Seen::default();
    let mut gateway = Gateway::with(&args, Some(&config));
    let (mut starts_ms, mut seen_by_sim) = (Vec::new(), BTreeMap::new());
    for round in 0..rounds() {
        let target = seen.lock().unwrap().len() + 40 + (round % 10) * 23;
        let url = gateway.url("/v1/chat/completions");
        let callers: Vec<_> =
            (0..CALLERS).map(|_| tokio::spawn(calls(url.clone(), gateway.key.clone(), seen.clone()))).collect();
        while seen.lock().unwrap().len() < target {
            assert!(callers.iter().any(|caller| !caller.is_finished()), "the callers go on until the kill");
            tokio::task::yield_now().await;
        }
        let state = gateway.state.clone();
        let folder = gateway.kill();
        for caller in callers {
            caller.await.unwrap();
        }
        let begun = Instant::now();
        gateway = Gateway::on(folder, state, &args, Some(&config));
        let answer = crate::calls::post(&gateway, chat_of(100), &[]).await;
        assert_eq!(answer.status().as_u16(), 200, "it answers again");
        starts_ms.push(begun.elapsed().as_millis());
        truth(sim.port, &mut seen_by_sim).await;
    }
    // More than the whole budget: it is refused, and the refusal says what is used.
    let refused = crate::calls::post(&gateway, chat_of(100_000 * rounds() as u64), &[]).await;
    let receipt = gateway.receipt(refused.headers()["tollgate-call-id"].to_str().unwrap());
    let events = events(&gateway.state);
    let (settled, unknown, used) = booked(&events);
    let standing = &receipt["hold_refused"];
    assert_eq!((standing["used"].as_i64(), standing["held"].as_i64()), (Some(used), Some(0)), "{receipt}");
    let seen = seen.lock().unwrap();
    for (id, cost) in seen.iter() {
        assert_eq!(settled.get(id), Some(cost), "the answer of {id} reached its caller");
    }
    let ids: BTreeSet<&str> = events.iter().filter_map(|line| line["event"]["held"]["id"].as_str()).collect();
    assert_eq!(ids.len(), events.iter().filter(|line| line["event"]["held"].is_object()).count(), "each hold once");
    let lost = each_has_its_receipt(&seen_by_sim, &gateway.receipts());
    let out = tollgate(&["trail", "verify"], &gateway.state);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    starts_ms.sort_unstable();
    let (middle, slowest) = (starts_ms[starts_ms.len() / 2], starts_ms[starts_ms.len() - 1]);
    assert!(middle < START_MS_MAX, "starts take {starts_ms:?} ms");
    println!(
        "{} kills: {} answers seen, {} calls held, {unknown} booked whole; the provider saw {}, {lost} of them unknown; start to first answer {middle} ms, at most {slowest}",
        starts_ms.len(),
        seen.len(),
        ids.len(),
        seen_by_sim.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_journal_is_found_by_verify_and_stops_the_start() {
    let repository = repository();
    let args = ["--policies", repository.address()];
    let gateway = Gateway::with(&args, None);
    for _ in 0..5 {
        assert_eq!(crate::calls::post(&gateway, chat_of(100), &[]).await.status().as_u16(), 200);
    }
    let state = gateway.state.clone();
    let (status, _folder) = gateway.stop();
    assert!(status.success());
    let out = tollgate(&["trail", "verify"], &state);
    let told = String::from_utf8(out.stdout).unwrap();
    let records = events(&state).len();
    assert!(records >= 13, "a start, five calls that leave and five ends, their receipts, an end");
    assert!(told.starts_with(&format!("sound: {records} records")), "{told}");
    assert!(told.contains("receipts: 5 are as they were written;"), "{told}");
    let head = told.lines().find_map(|line| line.strip_prefix("head: ")).unwrap().to_owned();
    let sound = tollgate(&["trail", "verify", "--head", &head, "--json"], &state);
    let json: Value = serde_json::from_slice(&sound.stdout).unwrap();
    assert_eq!((&json["records"], &json["head"]), (&records.into(), &head.clone().into()));
    assert_eq!(
        (&json["receipts"], &json["receipts_unknown"], &json["receipts_pending"]),
        (&5.into(), &0.into(), &0.into())
    );
    let wrong = tollgate(&["trail", "verify", "--head", "11:abc"], &state);
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));

    let segment = std::fs::read_dir(state.join("journal")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    // The first record is changed: those behind it show that it had been on disk.
    bytes[96 + 56 + 3] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let found = tollgate(&["trail", "verify", "--head", &head], &state);
    let told = String::from_utf8(found.stderr).unwrap();
    assert_eq!(found.status.code(), Some(1), "{told}");
    assert!(told.contains("record 0") && told.contains("byte 96"), "it names the place: {told}");
    let started = tollgate(&["--listen", "127.0.0.1:0", "--operators", "127.0.0.1:0"], &state);
    assert_eq!(started.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&started.stderr).contains("record 0"), "and a start says the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_was_changed_dropped_or_added_is_found_by_verify() {
    let gateway = Gateway::start();
    let mut ids = Vec::new();
    for _ in 0..4 {
        let answer = crate::calls::post(&gateway, chat_of(100), &[]).await;
        ids.push(answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned());
        answer.bytes().await.unwrap();
        gateway.receipt(&ids[ids.len() - 1]);
    }
    let beside = tollgate(&["trail", "verify"], &gateway.state);
    assert!(beside.status.success(), "beside a running gateway: {}", String::from_utf8_lossy(&beside.stderr));
    let state = gateway.state.clone();
    let (status, _folder) = gateway.stop();
    assert!(status.success());
    let is_receipts = |path: &Path| path.file_name().unwrap().to_str().unwrap().starts_with("trail-");
    let path =
        std::fs::read_dir(state.join("trail")).unwrap().map(|e| e.unwrap().path()).find(|p| is_receipts(p)).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let cheaper = lines[1].replacen("\"cost_nanousd\":", "\"cost_nanousd\":-", 1);
    for (what, changed, expected) in [
        ("nothing", text.clone(), None),
        ("one costs less", [lines[0], &cheaper, lines[2], lines[3]].concat(), Some(format!("{} was changed", ids[1]))),
        ("the third is gone", [lines[0], lines[1], lines[3]].concat(), Some(format!("{} was dropped", ids[2]))),
        ("the last is gone", lines[..3].concat(), Some(format!("{} was dropped", ids[3]))),
        ("all are gone", String::new(), Some(format!("{} was dropped", ids[0]))),
        ("one more at the end", text.clone() + lines[0], Some(format!("too many, of call {}", ids[0]))),
        ("one more between", [lines[0], lines[3], lines[1], lines[2], lines[3]].concat(), Some("too many".to_owned())),
        ("half a line, as a power cut leaves it", text.clone() + &lines[0][..40], None),
    ] {
        std::fs::write(&path, changed).unwrap();
        let out = tollgate(&["trail", "verify"], &state);
        let told = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(i32::from(expected.is_some())), "{what}: {told}");
        assert!(told.contains(expected.as_deref().unwrap_or_default()), "{what}: {told}");
    }
    std::fs::remove_file(&path).unwrap();
    let out = tollgate(&["trail", "verify"], &state);
    assert!(String::from_utf8_lossy(&out.stderr).contains("is missing"), "a whole file");
    let out = tollgate(&["trail", "verify", "--trail-from", "trail-29990101-000000-000000.jsonl"], &state);
    assert!(String::from_utf8_lossy(&out.stdout).contains("left out: 4 receipts"), "moved away on purpose");
}

//! A gateway that is killed under load: no answer that a caller had is forgotten, and the balance is what the journal says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use crate::calls::{chat, client};
use crate::support::gateway::{Gateway, tollgate};
use crate::support::hosts;
use crate::support::repository::Repository;

const ROUNDS: usize = 10;
const CALLERS: usize = 16;

fn repository() -> Repository {
    Repository::new(&[
        ("tollgate-policies.yaml", "api: tollgate.policy/v1\npolicies: []\n"),
        ("limits.yaml", "budgets:\n  month: { per: [tenant], limit_usd: \"1.9\", period: month }\n"),
    ])
}

fn chat_of(max_tokens: u64) -> String {
    let mut body = chat("sim/sim-1");
    body["max_tokens"] = max_tokens.into();
    body.to_string()
}

/// What callers saw: call ids with their cost in nano-dollars.
type Seen = Arc<Mutex<BTreeMap<String, i64>>>;

/// Calls until the gateway is gone; what was read to its end is noted.
async fn calls(url: String, key: String, seen: Seen) {
    let client = client();
    loop {
        let sent = client
            .post(&url)
            .bearer_auth(&key)
            .header("content-type", "application/json")
            .body(chat_of(100))
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
        } else {
            let said = event["restarted"]["unknown"].as_u64().unwrap();
            assert_eq!(said, open.len() as u64, "{event}");
            unknown += said;
            used += std::mem::take(&mut open).into_values().sum::<i64>();
        }
    }
    (settled, unknown, used)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_under_load_forgets_no_answer_and_keeps_its_balance() {
    let sim = hosts::sim();
    let repository = repository();
    let config = format!("providers:\n  sim: {{ base_url: \"http://127.0.0.1:{}/v1\" }}\n", sim.port);
    let args = ["--policies", repository.address()];
    let seen = Seen::default();
    let mut gateway = Gateway::with(&args, Some(&config));
    let mut slowest_ms = 0;
    for round in 0..ROUNDS {
        let target = seen.lock().unwrap().len() + 40 + round * 23;
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
        slowest_ms = slowest_ms.max(begun.elapsed().as_millis());
    }
    // More than the whole budget: it is refused, and the refusal says what is used.
    let refused = crate::calls::post(&gateway, chat_of(1_000_000), &[]).await;
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
    let out = tollgate(&["trail", "verify"], &gateway.state);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    println!(
        "{ROUNDS} kills: {} answers seen, {} calls held, {unknown} unknown, slowest start to first answer {slowest_ms} ms",
        seen.len(),
        ids.len()
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
    assert!(told.starts_with("sound: 11 records"), "a start, five holds and five ends: {told}");
    let head = told.lines().find_map(|line| line.strip_prefix("head: ")).unwrap().to_owned();
    let sound = tollgate(&["trail", "verify", "--head", &head, "--json"], &state);
    let json: Value = serde_json::from_slice(&sound.stdout).unwrap();
    assert_eq!((&json["records"], &json["head"]), (&11.into(), &head.clone().into()));
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

//! Calls that were on their way when the gateway was killed: said to be unknown, booked at what was held, never made again
//! in silence. And what outlives a gateway beside them: stored answers, and the ids of what providers hold.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Method;
use reqwest::Response;
use serde_json::{Value, json};

use crate::calls::{chat, client, post};
use crate::passing::{ask, code, header, id, told};
use crate::support::gateway::{Gateway, eventually, tollgate};
use crate::support::hosts;
use crate::support::repository::Repository;

/// Longer than what is written behind calls may take to reach the disk.
const WRITTEN: Duration = Duration::from_millis(500);

/// A repository with a tenant, a key that outlives gateways, and a budget.
struct House {
    folder: Option<tempfile::TempDir>,
    state: PathBuf,
    repository: Repository,
    key: String,
    sim: hosts::Host,
    durability: &'static str,
}

impl House {
    fn new(durability: &'static str) -> House {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let out = tollgate(&["key", "new", "--tenant", "acme"], &state);
        let text = String::from_utf8(out.stdout).unwrap();
        let (key, row) = text.split_once('\n').unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&out.stderr)));
        let tenants = format!(
            "tenants: {{ acme: {{}} }}\nkeys:\n{}\ngrants:\n  - {{ for: {{}}, operations: [chat, files] }}\n",
            row.trim_end()
        );
        let repository = Repository::new(&[
            ("tollgate-policies.yaml", "api: tollgate.policy/v1\npolicies: []\n"),
            ("tenants.yaml", &tenants),
            ("limits.yaml", "budgets:\n  month: { per: [tenant], limit_usd: \"100\", period: month }\n"),
        ]);
        House { folder: Some(folder), state, repository, key: key.to_owned(), sim: hosts::sim(), durability }
    }

    fn start(&mut self) -> Gateway {
        let config = format!(
            "providers:\n  sim: {{ base_url: \"http://127.0.0.1:{}/v1\" }}\ntrail: {{ durability: {} }}\n",
            self.sim.port, self.durability
        );
        let folder = self.folder.take().expect("the gateway before was killed");
        Gateway::on(folder, self.state.clone(), &["--policies", self.repository.address()], Some(&config))
    }

    fn kill(&mut self, gateway: Gateway) {
        self.folder = Some(gateway.kill());
    }

    async fn post(&self, gateway: &Gateway, body: &Value, headers: &[(&str, &str)]) -> Response {
        let bearer = format!("Bearer {}", self.key);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        post(gateway, body.to_string(), &all).await
    }

    /// What the provider was asked, as bodies.
    async fn asked(&self) -> Vec<String> {
        let url = format!("http://127.0.0.1:{}/sim/truth", self.sim.port);
        let log = client().get(url).send().await.unwrap().text().await.unwrap();
        log.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn exported(state: &Path) -> String {
    String::from_utf8(tollgate(&["trail", "export"], state).stdout).unwrap()
}

fn said(out: std::process::Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_end_nobody_saw_is_unknown_and_is_not_made_again_in_silence() {
    let mut house = House::new("relaxed");
    let gateway = house.start();
    let mut body = chat("sim/sim-1?latency=60000");
    body["max_tokens"] = 100.into();
    let headers = [("idempotency-key", "order-1"), ("x-request-id", "mine")];
    let sent = {
        let (url, key, body) = (gateway.url("/v1/chat/completions"), house.key.clone(), body.to_string());
        let request = client().post(url).bearer_auth(key).header("content-type", "application/json").body(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        tokio::spawn(request.send())
    };
    let left = eventually("the record of the call", || {
        exported(&gateway.state).lines().find(|line| line.contains("\"intent\"")).map(str::to_owned)
    });
    let left: Value = serde_json::from_str(&left).unwrap();
    let (held, intent) = (&left["event"]["held"], &left["event"]["intent"]);
    assert_eq!(
        (&intent["tenant"], &intent["target"], &intent["request_id"]),
        (&"acme".into(), &"sim/sim-1?latency=60000".into(), &"mine".into())
    );
    assert_eq!(held["id"], intent["id"], "one record says what is held and what for");
    assert!(!left.to_string().contains("Hello"), "no word of the prompt: {left}");
    let amount = held["parts"][0]["amount"].as_u64().unwrap();
    // The provider has it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    house.kill(gateway);
    assert!(sent.await.unwrap().is_err(), "the caller has no answer");

    for start in 1..=2 {
        let gateway = house.start();
        let receipts = gateway.receipts();
        let of: Vec<&Value> = receipts.iter().filter(|receipt| receipt["request_id"] == "mine").collect();
        // The retries below come with other ids.
        assert_eq!(of.len(), 1, "start {start}: {receipts:?}");
        let (outcome, call) = (&of[0]["outcome"], of[0]["call_id"].as_str().unwrap().to_owned());
        assert_eq!(
            (&outcome["kind"], &outcome["booked"][0]["amount"]),
            (&"unknown".into(), &amount.into()),
            "{outcome}"
        );
        let explained = said(tollgate(&["explain", "mine"], &gateway.state));
        for part in
            ["unknown: the call left for its provider", "booked in month: ", "sim/sim-1?latency=60000", "tenant acme"]
        {
            assert!(explained.contains(part), "{part}: {explained}");
        }
        assert!(said(tollgate(&["trail", "tail"], &gateway.state)).contains(" unknown "));
        let verified = said(tollgate(&["trail", "verify"], &gateway.state));
        assert!(verified.contains("1 of them `unknown`"), "{verified}");

        let again = house.post(&gateway, &body, &[("idempotency-key", "order-1")]).await;
        assert_eq!((again.status().as_u16(), header(&again, "x-should-retry").as_str()), (409, "false"));
        let refused: Value = serde_json::from_str(&again.text().await.unwrap()).unwrap();
        assert_eq!(code(&refused), "outcome_unknown");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains(&call) && message.contains("give it another key"), "{message}");
        let other = house.post(&gateway, &chat("sim/sim-1"), &[("idempotency-key", "order-1")]).await;
        assert_eq!(other.status().as_u16(), 422, "its body is remembered too");
        let anew = house.post(&gateway, &chat("sim/sim-1"), &[("idempotency-key", &format!("anew-{start}"))]).await;
        assert_eq!(anew.status().as_u16(), 200, "another key is another call");
        let receipt = gateway.receipt(&header(&anew, "tollgate-call-id"));
        assert!(receipt["holds"][0]["used"].as_u64() >= Some(amount), "what was held is booked: {receipt}");
        house.kill(gateway);
    }
    assert!(house.asked().await.iter().filter(|body| body.contains("latency=60000")).count() <= 1, "it was asked once");
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_answers_and_ids_outlive_a_kill() {
    let mut house = House::new("relaxed");
    let gateway = house.start();
    let mut stream = chat("sim/sim-1");
    stream["stream"] = true.into();
    let (whole_key, stream_key) = ([("idempotency-key", "whole")], [("idempotency-key", "stream")]);
    let whole = house.post(&gateway, &chat("sim/sim-1"), &whole_key).await.text().await.unwrap();
    let streamed = house.post(&gateway, &stream, &stream_key).await.text().await.unwrap();
    let make = ask(&gateway, &house.key, Method::POST, "/v1/responses")
        .body(json!({ "model": "sim/sim-1", "input": "Hello" }).to_string());
    let (status, _, made) = told(make).await;
    assert_eq!(status, 200, "{made}");
    let failed = house.post(&gateway, &chat("sim/sim-1?status=500"), &[("idempotency-key", "failed")]).await;
    assert!(failed.status().is_server_error());
    tokio::time::sleep(WRITTEN).await;
    house.kill(gateway);
    let asked = house.asked().await.len();

    let gateway = house.start();
    for (body, key, expected) in [(&chat("sim/sim-1"), &whole_key, &whole), (&stream, &stream_key, &streamed)] {
        for _ in 0..2 {
            let again = house.post(&gateway, body, key).await;
            assert_eq!((again.status().as_u16(), header(&again, "tollgate-cache").as_str()), (200, "hit"), "{key:?}");
            assert_eq!(again.text().await.unwrap(), *expected, "byte for byte");
        }
    }
    assert_eq!(house.asked().await.len(), asked, "nobody was asked for it");
    let anew = house.post(&gateway, &chat("sim/sim-1?status=500"), &[("idempotency-key", "failed")]).await;
    assert!(anew.status().is_server_error(), "what came to nothing may be tried again");
    let (status, target, found) =
        told(ask(&gateway, &house.key, Method::GET, &format!("/v1/responses/{}", id(&made)))).await;
    assert_eq!(
        (status, target.as_str(), id(&found)),
        (200, "sim/sim-1", id(&made)),
        "it is asked for where it was made"
    );
}

/// The journal's folder is taken away under a gateway that may send nothing before its disk has confirmed it.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_no_call_leaves() {
    let mut house = House::new("strict");
    let gateway = house.start();
    let mut named = chat("sim/sim-1");
    let mut say = |word: &str| {
        named["messages"][0]["content"] = word.into();
        named.clone()
    };
    assert_eq!(house.post(&gateway, &say("first"), &[]).await.status().as_u16(), 200);
    let (journal, aside) = (house.state.join("journal"), house.state.join("aside"));
    std::fs::rename(&journal, &aside).unwrap();
    std::fs::write(&journal, "").unwrap();
    for segment in std::fs::read_dir(&aside).unwrap() {
        // Of the one that is written no name is left: its next sync fails.
        let path = segment.unwrap().path();
        std::fs::copy(&path, path.with_extension("kept")).unwrap();
        std::fs::remove_file(path).unwrap();
    }
    for word in ["second", "third"] {
        let refused = house.post(&gateway, &say(word), &[]).await;
        assert_eq!((refused.status().as_u16(), header(&refused, "x-should-retry").as_str()), (503, "true"), "{word}");
        let refused: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
        assert_eq!(
            (code(&refused), &refused["error"]["tollgate"]["category"]),
            ("record_not_kept", &"overloaded".into())
        );
    }
    assert!(!house.asked().await.iter().any(|body| body.contains("second") || body.contains("third")));
    for kept in std::fs::read_dir(&aside).unwrap() {
        let path = kept.unwrap().path();
        std::fs::rename(&path, path.with_extension("journal")).unwrap();
    }
    std::fs::remove_file(&journal).unwrap();
    std::fs::rename(&aside, &journal).unwrap();
    let begun = std::time::Instant::now();
    loop {
        let status = house.post(&gateway, &say("fourth"), &[]).await.status().as_u16();
        if status == 200 {
            break;
        }
        assert!(status == 503 && begun.elapsed() < Duration::from_secs(30), "{status}");
    }
    let state = house.state.clone();
    let (status, _folder) = tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap();
    assert!(status.success(), "everything is written in the end");
    let verified = said(tollgate(&["trail", "verify"], &state));
    assert!(verified.starts_with("sound: "), "{verified}");
}

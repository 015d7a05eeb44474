//! Calls from outside: headers, refusals, streams, idempotency, callers that leave, wrong bodies.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, eventually};

pub fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

pub fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "Hello" }] })
}

/// One chat with the gateway's own key.
pub async fn post(gateway: &Gateway, body: String, headers: &[(&str, &str)]) -> Response {
    let mut request = client().post(gateway.url("/v1/chat/completions")).header("content-type", "application/json");
    if !headers.iter().any(|(name, _)| ["authorization", "x-api-key", "api-key", "x-goog-api-key"].contains(name)) {
        request = request.bearer_auth(&gateway.key);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |v| v.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_carries_its_headers_and_a_receipt() {
    let gateway = Gateway::start();
    let answer = post(
        &gateway,
        chat("sim/sim-1").to_string(),
        &[("x-request-id", "mine"), ("tollgate-user", "ann@example.org")],
    )
    .await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(header(&answer, "x-request-id"), "mine");
    for name in [
        "tollgate-call-id",
        "tollgate-revision",
        "tollgate-target",
        "tollgate-attempts",
        "tollgate-cost-usd",
        "tollgate-cache",
        "tollgate-version",
    ] {
        assert!(!header(&answer, name).is_empty(), "{name} is missing");
    }
    let receipt = gateway.receipt("mine");
    assert_eq!(receipt["call_id"], header(&answer, "tollgate-call-id"), "it is found by the caller's id too");
    assert_eq!(receipt["usage"]["output"], 16);
    assert_eq!(receipt["price"]["as_of"].as_str().map(str::len), Some(10));
    let text = receipt.to_string();
    assert!(!text.contains("Hello") && !text.contains("ann@example.org"), "no words and no user in the clear: {text}");
    assert!(!text.contains(gateway.key.rsplit('_').nth(1).unwrap()), "no credential");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_credential_headers_are_taken_and_two_different_ones_refused() {
    let gateway = Gateway::start();
    let key = gateway.key.clone();
    for name in ["x-api-key", "api-key", "x-goog-api-key"] {
        assert_eq!(
            post(&gateway, chat("sim/sim-1").to_string(), &[(name, &key)]).await.status(),
            StatusCode::OK,
            "{name}"
        );
    }
    let answer = post(&gateway, chat("sim/sim-1").to_string(), &[("x-api-key", &key), ("api-key", "other")]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(answer.text().await.unwrap().contains("`x-api-key` and `api-key`"));
}

/// Why, body, headers, status, code, and a part of what is told.
type WrongRow<'a> = (&'a str, String, Vec<(&'a str, &'a str)>, u16, &'a str, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_gets_a_typed_refusal_and_a_receipt() {
    let gateway = Gateway::start();
    let ok = chat("sim/sim-1").to_string();
    let nested = format!("{{\"model\":\"sim/sim-1\",\"messages\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let big = format!("{{\"model\":\"sim/sim-1\",\"x\":\"{}\"}}", "y".repeat(33 << 20));
    let key = format!("{}x", gateway.key);
    let rows: Vec<WrongRow<'_>> = vec![
        ("an empty body", String::new(), vec![], 400, "empty_body", "empty"),
        ("a truncated body", ok[..ok.len() - 5].to_owned(), vec![], 400, "not_json", "byte"),
        ("a list", "[]".to_owned(), vec![], 400, "not_json", "object"),
        ("deep nesting", nested, vec![], 400, "too_deep", "127"),
        ("too many bytes", big, vec![], 413, "body_too_large", "33554432"),
        ("a member twice", r#"{"model":"a","model":"b"}"#.to_owned(), vec![], 400, "duplicate_member", "`model`"),
        ("no model", r#"{"messages":[]}"#.to_owned(), vec![], 400, "missing_model", "`model` is missing"),
        ("a model that is a number", r#"{"model":5}"#.to_owned(), vec![], 400, "wrong_type", "must be a text"),
        (
            "a stream that is a text",
            r#"{"model":"sim/sim-1","stream":"yes"}"#.to_owned(),
            vec![],
            400,
            "wrong_type",
            "true or false",
        ),
        ("an unknown model", chat("sim-on").to_string(), vec![], 404, "model_not_found", "did you mean"),
        ("an unknown tier", chat("@moon").to_string(), vec![], 404, "model_not_found", "@moon"),
        ("a tier that is none", chat("@").to_string(), vec![], 400, "wrong_value", "names no tier"),
        (
            "an unknown header",
            ok.clone(),
            vec![("tollgate-tenat", "x")],
            400,
            "unknown_header",
            "did you mean `tollgate-tenant`?",
        ),
        (
            "an unknown member",
            r#"{"model":"sim/sim-1","tollgate":{"usecase":"x"}}"#.to_owned(),
            vec![],
            400,
            "unknown_member",
            "did you mean `use_case`?",
        ),
        (
            "a contradiction",
            r#"{"model":"sim/sim-1","tollgate":{"use_case":"a"}}"#.to_owned(),
            vec![("tollgate-use-case", "b")],
            400,
            "contradiction",
            "send one of them",
        ),
        (
            "an unknown version",
            ok.clone(),
            vec![("tollgate-version", "2020-01-01")],
            400,
            "unknown_version",
            "2026-12-01",
        ),
        (
            "another tenant than the key's",
            ok.clone(),
            vec![("tollgate-tenant", "other")],
            403,
            "identity_mismatch",
            "its key says `default`",
        ),
        ("no credential", ok.clone(), vec![("authorization", "Basic eDp5")], 401, "wrong_credential", "Bearer KEY"),
        ("a key with a typo", ok.clone(), vec![("x-api-key", &key)], 401, "malformed_key", "typo"),
        (
            "a cost that cannot be kept",
            ok.clone(),
            vec![("tollgate-max-cost-usd", "0.000000001")],
            429,
            "cost_cap_exceeded",
            "cap is",
        ),
        ("a cost that is none", ok.clone(), vec![("tollgate-max-cost-usd", "cheap")], 400, "wrong_value", "no amount"),
    ];
    for (why, body, headers, status, code, told) in rows {
        let answer = post(&gateway, body, &headers).await;
        assert_eq!(answer.status().as_u16(), status, "{why}");
        let (retry, call) =
            (header(&answer, "x-should-retry").to_owned(), header(&answer, "tollgate-call-id").to_owned());
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(body["error"]["tollgate"]["code"], code, "{why}: {body}");
        assert!(body["error"]["message"].as_str().unwrap().contains(told), "{why}: {body}");
        assert_eq!(retry, "false", "{why}");
        assert_eq!(gateway.receipt(&call)["outcome"]["refusal"]["code"], code, "{why}");
    }
    let bytes = client()
        .post(gateway.url("/v1/chat/completions"))
        .bearer_auth(&gateway.key)
        .body(b"{\"model\":\"\xff\"}".to_vec());
    let body: Value = serde_json::from_slice(&bytes.send().await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!(body["error"]["tollgate"]["code"], "not_utf8");
    assert_eq!(post(&gateway, ok, &[]).await.status(), StatusCode::OK, "it is as well as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streams_first_event_comes_before_its_last_is_made() {
    let gateway = Gateway::start();
    let mut body = chat("sim/sim-1?tps=20&tokens=20");
    body["stream"] = true.into();
    let begun = Instant::now();
    let mut events = post(&gateway, body.to_string(), &[]).await.bytes_stream();
    events.next().await.unwrap().unwrap();
    let first = begun.elapsed();
    while let Some(piece) = events.next().await {
        piece.unwrap();
    }
    let whole = begun.elapsed();
    assert!(whole > Duration::from_millis(700), "the provider takes a second: {whole:?}");
    assert!(first < whole / 2, "first {first:?}, whole {whole:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_never_looks_complete() {
    let gateway = Gateway::start();
    for (model, why) in [("sim/sim-1?cut=4", "the connection breaks"), ("sim/sim-1?nodone&cut=6", "early")] {
        let mut body = chat(model);
        body["stream"] = true.into();
        let answer = post(&gateway, body.to_string(), &[]).await;
        let call = header(&answer, "tollgate-call-id").to_owned();
        let text = answer.text().await.unwrap();
        assert!(text.contains("\"category\":\"interrupted\"") && !text.contains("[DONE]"), "{why}: {text}");
        let receipt = gateway.receipt(&call);
        assert_eq!(receipt["outcome"]["kind"], "interrupted", "{why}");
        assert_eq!(receipt["usage"]["estimated"], true, "{why}: it is billed, and said to be an estimate");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_never_silently_zero() {
    let gateway = Gateway::start();
    for (model, estimated) in [
        ("sim/sim-1", false),
        ("sim/sim-1?usage=none", true),
        ("sim/sim-1?usage=null", true),
        ("sim/sim-1?usage=zero", false),
    ] {
        for stream in [false, true] {
            let mut body = chat(model);
            body["stream"] = stream.into();
            let answer = post(&gateway, body.to_string(), &[]).await;
            let call = header(&answer, "tollgate-call-id").to_owned();
            answer.bytes().await.unwrap();
            let usage = gateway.receipt(&call)["usage"].clone();
            assert_eq!(usage["estimated"] == true, estimated, "{model} {stream}: {usage}");
            assert!(model.ends_with("zero") || usage["output"].as_u64() > Some(0), "{model} {stream}: {usage}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_ends_the_providers_work_and_is_settled() {
    let gateway = Gateway::start();
    let mut body = chat("sim/sim-1?tps=50&tokens=2000");
    body["stream"] = true.into();
    let answer = post(&gateway, body.to_string(), &[]).await;
    let call = header(&answer, "tollgate-call-id").to_owned();
    let mut events = answer.bytes_stream();
    events.next().await.unwrap().unwrap();
    drop(events);
    let receipt = eventually("the receipt of a call whose caller left", || {
        gateway.receipts().into_iter().find(|r| r["call_id"] == *call)
    });
    assert_eq!(receipt["outcome"]["kind"], "caller_left");
    assert!(receipt["latency_ms"].as_u64().unwrap() < 10_000, "the provider would have written for forty seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_gives_one_answer() {
    let gateway = Gateway::start();
    // On a busy machine a client may be made so slowly that a short call has ended before the second begins.
    let body = chat("sim/sim-1?latency=4000").to_string();
    let key = [("idempotency-key", "order-1")];
    let (first, second) = tokio::join!(post(&gateway, body.clone(), &key), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        post(&gateway, body.clone(), &key).await
    });
    assert_eq!(
        (first.status().as_u16(), second.status().as_u16()),
        (200, 409),
        "the second meets the first on its way"
    );
    assert_eq!(header(&second, "x-should-retry"), "true");
    let first = first.text().await.unwrap();
    let again = post(&gateway, body, &key).await;
    let call = header(&again, "tollgate-call-id").to_owned();
    assert_eq!(header(&again, "tollgate-cache"), "hit");
    assert_eq!(again.text().await.unwrap(), first);
    assert!(!gateway.receipt(&call)["replayed_from"]["call_id"].is_null());
    assert_eq!(post(&gateway, chat("sim/sim-large").to_string(), &key).await.status().as_u16(), 422, "another body");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_have_a_port_of_their_own() {
    let gateway = Gateway::start();
    post(&gateway, chat("sim/sim-1").to_string(), &[]).await;
    for (path, part) in [
        ("/livez", "ok"),
        ("/readyz", "\"status\":\"ready\""),
        ("/metrics", "tollgate_calls_total{operation=\"chat\",outcome=\"answered\""),
    ] {
        let text = eventually(path, || {
            let url = format!("{}{path}", gateway.operators);
            let got = tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current()
                    .block_on(async { client().get(url).send().await.unwrap().text().await.unwrap() })
            });
            got.contains(part).then_some(got)
        });
        assert!(text.contains(part), "{path}: {text}");
    }
    assert_eq!(client().get(gateway.url("/metrics")).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(client().head(gateway.url("/")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_lets_streams_end() {
    let gateway = Gateway::start();
    let mut body = chat("sim/sim-1?tps=40&tokens=40");
    body["stream"] = true.into();
    let answer = post(&gateway, body.to_string(), &[]).await;
    let reading = tokio::spawn(async move { answer.text().await.unwrap() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let state = gateway.state.clone();
    let (status, _folder) = tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(reading.await.unwrap().ends_with("data: [DONE]\n\n"));
    let out = crate::support::gateway::tollgate(&["trail", "tail", "--json"], &state);
    assert!(String::from_utf8_lossy(&out.stdout).contains("\"answered\""), "the receipt is there after the end");
}

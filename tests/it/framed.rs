//! How answers are framed and headed for callers of other dialects than OpenAI's, where no official client looks.

use serde_json::{Value, json};

use crate::calls::client;
use crate::clients::before;
use crate::corpus::frames::cut;
use crate::support::hosts;

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_ask_for_events_gets_an_array_of_googles_whoever_answers() {
    let sim = hosts::sim();
    let gateway = before(&sim);
    let body = json!({ "contents": [{ "parts": [{ "text": "Hello" }] }] }).to_string();
    for provider in ["sim", "as_gemini", "as_openai", "as_anthropic", "as_bedrock"] {
        for (script, last, why) in [
            ("tokens=3", "STOP", "a whole answer"),
            ("tokens=9;error_at=3", "told to fail", "an error on the way is the last element"),
            ("tokens=9;cut=4", "broke off", "so is a broken connection"),
        ] {
            let url = gateway.url(&format!("/v1beta/models/{provider}/sim-1;{script}:streamGenerateContent"));
            let answer = client().post(url).header("x-goog-api-key", &gateway.key).body(body.clone());
            let answer = answer.send().await.unwrap();
            let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
            let text = answer.text().await.unwrap();
            assert!(kind.starts_with("application/json"), "{provider}: {kind}");
            let elements: Vec<Value> =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{provider}, {why}: {error}: {text}"));
            let told = elements.last().unwrap().to_string();
            assert!(told.contains(last), "{provider}, {why}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_bedrocks_keeps_its_class_which_stands_in_a_header() {
    let sim = hosts::sim();
    let gateway = before(&sim);
    let body = json!({ "messages": [{ "role": "user", "content": [{ "text": "Hello" }] }] }).to_string();
    for (model, status, class, why) in [
        ("as_bedrock%2Fsim-1%3Fstatus=429", 429, "ThrottlingException", "Bedrock's own"),
        ("as_bedrock%2Fsim-1%3Ferror=context", 400, "ValidationException", "Bedrock's own, too"),
        ("as_anthropic%2Fsim-1%3Fstatus=429", 429, "ThrottlingException", "another's, in its words"),
        ("sim-2", 404, "ResourceNotFoundException", "the gateway's"),
    ] {
        let url = gateway.url(&format!("/model/{model}/converse"));
        let answer = client().post(url).bearer_auth(&gateway.key).body(body.clone()).send().await.unwrap();
        let told = answer.headers().get("x-amzn-errortype").map(|v| v.to_str().unwrap().to_owned());
        assert_eq!((answer.status().as_u16(), told.as_deref()), (status, Some(class)), "{why}");
    }
}

/// Amazon's Java and Rust clients stream over HTTP/2 and, at an address without TLS, begin with it unasked.
#[tokio::test(flavor = "multi_thread")]
async fn amazons_streams_come_over_http_2_that_was_not_asked_for() {
    let sim = hosts::sim();
    let gateway = before(&sim);
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let body = json!({ "messages": [{ "role": "user", "content": [{ "text": "Hello" }] }] }).to_string();
    for provider in ["as_bedrock", "as_anthropic", "sim"] {
        let url = gateway.url(&format!("/model/{provider}%2Fsim-1%3Ftokens=40/converse-stream"));
        // All at once, on one connection.
        let calls = (0..20).map(|_| client.post(&url).bearer_auth(&gateway.key).body(body.clone()).send());
        for answer in futures_util::future::join_all(calls).await {
            let answer = answer.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2), "{provider}");
            let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
            let frames = cut(&kind, &answer.bytes().await.unwrap()).unwrap();
            let names: Vec<&str> = frames.iter().map(|frame| frame.name.as_str()).collect();
            assert_eq!((names.first(), names.last()), (Some(&"messageStart"), Some(&"metadata")), "{provider}");
            assert!(names.iter().filter(|name| **name == "contentBlockDelta").count() > 10, "{provider}: {names:?}");
        }
    }
}

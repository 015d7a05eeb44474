//! Operations that are no conversations, end to end: embeddings and counts across dialects, rankings, older completions, lists
//! of models; and a provider whose requests are signed.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use crate::calls::client;
use crate::support::gateway::Gateway;

/// What a provider got: path and query, headers, body.
type Got = (String, HeaderMap, Value);

/// Several providers on one socket: each path has its answer.
#[derive(Clone, Default)]
struct Cloud {
    got: Arc<Mutex<Vec<Got>>>,
}

impl Cloud {
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{address}")
    }

    fn last(&self) -> Got {
        self.got.lock().unwrap().last().cloned().unwrap()
    }

    fn calls(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

async fn answer(State(cloud): State<Cloud>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    cloud.got.lock().unwrap().push((uri.to_string(), headers, sent.clone()));
    let (kind, text) = match uri.path().rsplit(['/', ':']).next().unwrap_or_default() {
        "batchEmbedContents" if sent["requests"][0]["content"]["parts"][0]["text"] == "too few" => {
            ("application/json", json!({ "embeddings": [] }).to_string())
        }
        "batchEmbedContents" => {
            let vectors = [json!({ "values": [0.5, -1.25] }), json!({ "values": [3.0, 0.0] })];
            let many = sent["requests"].as_array().map_or(0, Vec::len);
            let usage = json!({ "promptTokenCount": 7 });
            ("application/json", json!({ "embeddings": vectors[..many], "usageMetadata": usage }).to_string())
        }
        "embed" => {
            let body = json!({ "id": "i", "embeddings": { "float": [[0.5, -1.25]] },
                "meta": { "billed_units": { "input_tokens": 5 } }, "response_type": "embeddings_by_type" });
            ("application/json", body.to_string())
        }
        "rerank" => {
            let body = json!({ "id": "i", "results": [{ "index": 0, "relevance_score": 0.5 }],
                "meta": { "billed_units": { "search_units": 1 } } });
            ("application/json", body.to_string())
        }
        "countTokens" => ("application/json", json!({ "totalTokens": 31 }).to_string()),
        "count_tokens" => ("application/json", json!({ "input_tokens": 14 }).to_string()),
        "count-tokens" => ("application/json", json!({ "inputTokens": 12 }).to_string()),
        "generations" => ("application/json", json!({ "created": 1, "data": [] }).to_string()),
        "completions" if sent["stream"] == true => ("text/event-stream", stream().to_owned()),
        "converse" => {
            let body = json!({ "output": { "message": { "role": "assistant", "content": [{ "text": "hi" }] } },
                "stopReason": "end_turn", "usage": { "inputTokens": 3, "outputTokens": 1, "totalTokens": 4 } });
            ("application/json", body.to_string())
        }
        other => ("text/plain", format!("nothing is at `{other}`")),
    };
    Response::builder().header("content-type", kind).body(Body::from(text)).unwrap()
}

fn stream() -> &'static str {
    concat!(
        "data: {\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"Hel\",\"finish_reason\":null}],\"usage\":null}\n\n",
        "data: {\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"lo\",\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
        "data: {\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2,\"total_tokens\":6}}\n\n",
        "data: [DONE]\n\n",
    )
}

async fn start(cloud: &Cloud) -> Gateway {
    let at = cloud.serve().await;
    let config = format!(
        "providers:\n  sim: {{}}\n  \
         openai: {{ base_url: \"{at}/v1\", unlisted: true, secret: {{ env: A_KEY }} }}\n  \
         anthropic: {{ base_url: \"{at}\", unlisted: true, secret: {{ env: A_KEY }} }}\n  \
         gemini: {{ base_url: \"{at}\", unlisted: true, secret: {{ env: A_KEY }} }}\n  \
         cohere: {{ base_url: \"{at}\", unlisted: true, secret: {{ env: A_KEY }} }}\n  \
         signed: {{ api: bedrock, base_url: \"{at}\", unlisted: true, region: eu-central-1, access_key: {{ env: AN_ID }}, secret_key: {{ env: A_KEY }} }}\n"
    );
    Gateway::in_environment(&[("A_KEY", "canary"), ("AN_ID", "AKID")], &config)
}

/// One call; its answer, the header that says what was estimated, and its receipt.
async fn call(gateway: &Gateway, path: &str, body: Value) -> (u16, Value, String, Value) {
    let sent = client().post(gateway.url(path)).bearer_auth(&gateway.key).body(body.to_string()).send().await.unwrap();
    let text = |name: &str| sent.headers().get(name).map_or(String::new(), |v| v.to_str().unwrap().to_owned());
    let (status, degraded, id) = (sent.status().as_u16(), text("tollgate-degraded"), text("tollgate-call-id"));
    let body = sent.text().await.unwrap();
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    (status, body, degraded, gateway.receipt(&id))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_names_no_model_goes_to_the_one_provider_that_can_choose() {
    let cloud = Cloud::default();
    let gateway = start(&cloud).await;
    for (path, body, target) in [
        ("/v1/images/generations", json!({ "prompt": "a cat" }), "openai/"),
        ("/v1/rerank", json!({ "query": "q", "documents": ["d"] }), "cohere/"),
    ] {
        let (status, answer, _, receipt) = call(&gateway, path, body.clone()).await;
        assert_eq!(status, 200, "{path}: {answer}");
        assert_eq!((&cloud.last().2, &receipt["attempts"][0]["target"]), (&body, &json!(target)), "{path}");
    }
    let asked = cloud.calls();
    let (status, answer, ..) = call(&gateway, "/v1/chat/completions", json!({ "messages": [] })).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("missing_model")), "a chat names its model: {answer}");
    let at = cloud.serve().await;
    let two = format!(
        "providers:\n  one: {{ api: openai, base_url: \"{at}/v1\" }}\n  two: {{ api: openai, base_url: \"{at}/v1\" }}\n"
    );
    let gateway = Gateway::with(&[], Some(&two));
    let (status, answer, ..) = call(&gateway, "/v1/images/generations", json!({ "prompt": "a cat" })).await;
    let told = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(status == 400 && told.contains("`one`, `two`") && told.contains("`default`"), "{status} {answer}");
    assert_eq!(cloud.calls(), asked, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn bedrocks_own_ways_reach_who_can_follow_them() {
    let cloud = Cloud::default();
    let gateway = start(&cloud).await;
    let said = json!([{ "role": "user", "content": "Hello there" }]);
    let body = json!({ "anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": said });
    let (status, answer, _, receipt) = call(&gateway, "/model/sim%2Fsim-1/invoke", body).await;
    assert_eq!((status, &answer["type"]), (200, &json!("message")), "{answer}");
    assert_eq!(receipt["usage"]["output"], answer["usage"]["output_tokens"], "{receipt}");

    let asked = cloud.calls();
    let (status, answer, ..) = call(&gateway, "/model/openai%2Fgpt/invoke", json!({ "prompt": "hi" })).await;
    assert_eq!((status, &answer["__type"]), (400, &json!("ValidationException")), "{answer}");
    assert!(answer["message"].as_str().unwrap_or_default().contains("`anthropic_version` is missing"), "{answer}");
    assert_eq!(cloud.calls(), asked, "another vendor's form is Bedrock's alone");

    let counted =
        json!({ "input": { "converse": { "messages": [{ "role": "user", "content": [{ "text": "hi" }] }] } } });
    for (model, tokens, path) in
        [("signed%2Fclaude", 12, "/model/claude/count-tokens"), ("anthropic%2Fclaude", 14, "/v1/messages/count_tokens")]
    {
        let (status, answer, ..) = call(&gateway, &format!("/model/{model}/count-tokens"), counted.clone()).await;
        assert_eq!((status, &answer["inputTokens"]), (200, &json!(tokens)), "{model}: {answer}");
        assert_eq!(cloud.last().0, path);
    }
    let (status, answer, degraded, _) = call(&gateway, "/model/openai%2Fgpt/count-tokens", counted).await;
    assert!(status == 200 && answer["inputTokens"].as_u64() > Some(0), "{answer}");
    assert_eq!(degraded, "estimated", "who counts nothing is not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_reach_providers_of_other_dialects() {
    let cloud = Cloud::default();
    let gateway = start(&cloud).await;
    let body = json!({ "model": "gemini/embedder", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 2 });
    let (status, answer, _, receipt) = call(&gateway, "/v1/embeddings", body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["data"][0], json!({ "object": "embedding", "index": 0, "embedding": "AAAAPwAAoL8=" }));
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 7, "total_tokens": 7 }));
    assert_eq!(receipt["usage"], json!({ "input": 7, "output": 0 }));
    let (path, headers, sent) = cloud.last();
    assert_eq!(path, "/v1beta/models/embedder:batchEmbedContents");
    assert_eq!(headers["x-goog-api-key"], "canary");
    assert_eq!(sent["requests"][1]["outputDimensionality"], 2);

    let body = json!({ "requests": [{ "model": "models/x", "content": { "parts": [{ "text": "a" }] } }] });
    let (status, answer, _, receipt) =
        call(&gateway, "/v1beta/models/cohere%2Fembedder:batchEmbedContents", body).await;
    assert_eq!((status, &answer["embeddings"]), (200, &json!([{ "values": [0.5, -1.25] }])), "{answer}");
    assert_eq!(receipt["usage"]["input"], 5);
    assert_eq!(cloud.last().2["input_type"], "search_document");

    let body = json!({ "model": "cohere/embedder", "texts": ["a"], "input_type": "search_query" });
    let (status, answer, _, receipt) = call(&gateway, "/v2/embed", body.clone()).await;
    assert_eq!((status, &answer["id"]), (200, &json!("i")), "its own dialect passes: {answer}");
    assert_eq!(receipt["usage"]["input"], 5);

    for (body, expected, why) in [
        (
            json!({ "model": "gemini/e", "input": "too few" }),
            (502, "provider_answer_unreadable"),
            "a vector is missing",
        ),
        (json!({ "model": "gemini/e", "input": [] }), (400, "missing_member"), "no text"),
        (json!({ "model": "gemini/e", "input": [1, 2] }), (400, "unsupported_field"), "tokens of another model"),
        (json!({ "model": "cohere/e", "input": "a", "wild": 1 }), (400, "unsupported_field"), "a member of nobody's"),
    ] {
        let (status, answer, ..) = call(&gateway, "/v1/embeddings", body).await;
        assert_eq!(
            (status, answer["error"]["tollgate"]["code"].as_str().unwrap_or_default()),
            expected,
            "{why}: {answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_asked_of_those_who_count_and_estimated_for_the_rest() {
    let cloud = Cloud::default();
    let gateway = start(&cloud).await;
    let anthropic = |model: &str| json!({ "model": model, "system": "s", "messages": [{ "role": "user", "content": "Hello there" }] });
    let gemini = json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hello there" }] }] });
    let messages = "/v1/messages/count_tokens";
    for (path, body, expected, reached, why) in [
        (messages, anthropic("anthropic/c"), json!({ "input_tokens": 14 }), "/v1/messages/count_tokens", "its own"),
        (
            messages,
            anthropic("gemini/g"),
            json!({ "input_tokens": 31 }),
            "/v1beta/models/g:countTokens",
            "in another dialect",
        ),
        (
            "/v1beta/models/anthropic%2Fc:countTokens",
            gemini.clone(),
            json!({ "totalTokens": 14 }),
            "/v1/messages/count_tokens",
            "the other way round",
        ),
    ] {
        let (status, answer, degraded, receipt) = call(&gateway, path, body).await;
        assert_eq!((status, &answer), (200, &expected), "{why}");
        assert_eq!((degraded.as_str(), cloud.last().0.as_str()), ("", reached), "{why}");
        assert_eq!(receipt["usage"], json!({ "input": 0, "output": 0 }), "counting is free");
    }
    let asked = cloud.calls();
    for (path, body, member) in [
        (messages, anthropic("openai/gpt-4o-mini"), "input_tokens"),
        ("/v1beta/models/openai%2Fgpt-4o-mini:countTokens", gemini, "totalTokens"),
    ] {
        let (status, answer, degraded, receipt) = call(&gateway, path, body).await;
        let tokens = answer[member].as_u64().unwrap_or_default();
        assert!(status == 200 && (3..30).contains(&tokens), "{answer}");
        assert_eq!((degraded.as_str(), &receipt["degraded"]), ("estimated", &json!(["estimated"])));
        assert_eq!((&receipt["cost_nanousd"], &receipt["attempts"]), (&json!(0), &Value::Null), "nobody was asked");
    }
    assert_eq!(cloud.calls(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_and_rankings_pass_and_are_metered() {
    let cloud = Cloud::default();
    let gateway = start(&cloud).await;
    let body = json!({ "model": "openai/old", "prompt": "Say hello", "stream": true });
    let (status, answer, _, receipt) = call(&gateway, "/v1/completions", body).await;
    assert_eq!(status, 200);
    let (_, _, sent) = cloud.last();
    assert_eq!((&sent["model"], &sent["stream_options"]), (&json!("old"), &json!({ "include_usage": true })));
    let told = stream().lines().filter(|line| !line.contains("prompt_tokens")).collect::<Vec<_>>().join("\n");
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(squeezed(answer.as_str().unwrap()), squeezed(&told), "the usage that we asked for is taken out");
    assert_eq!(receipt["usage"], json!({ "input": 4, "output": 2 }));
    assert_eq!(receipt["finish_reason"], "stop");

    let body = json!({ "model": "cohere/ranker", "query": "q", "documents": ["a", "b"] });
    let (status, answer, _, receipt) = call(&gateway, "/v2/rerank", body).await;
    assert_eq!((status, &answer["results"][0]["index"]), (200, &json!(0)), "{answer}");
    assert_eq!(receipt["usage"], json!({ "input": 0, "output": 0, "search_units": 1 }));
    assert_eq!(receipt["cost_nanousd"], Value::Null, "a search has no price here, which is not zero");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_models_have_the_shape_of_whoever_asks() {
    let gateway = Gateway::start();
    let get = async |path: &str, name: &'static str, value: &'static str| -> (u16, Value) {
        let request = client().get(gateway.url(path)).header("x-api-key", &gateway.key).header(name, value);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    };
    let (_, openai) = get("/v1/models", "accept", "*/*").await;
    let (_, azure) = get("/openai/v1/models", "accept", "*/*").await;
    let (_, anthropic) = get("/v1/models", "anthropic-version", "2023-06-01").await;
    let (_, gemini) = get("/v1beta/models", "accept", "*/*").await;
    assert_eq!((&openai["object"], &openai), (&json!("list"), &azure));
    let data = openai["data"].as_array().unwrap();
    assert!(data.iter().any(|model| model["id"] == "sim-1"));
    assert_eq!(anthropic["data"].as_array().unwrap().len(), data.len());
    assert_eq!((&anthropic["has_more"], &anthropic["first_id"]), (&json!(false), &data[0]["id"]));
    assert_eq!(anthropic["data"][0]["type"], "model");
    let models = gemini["models"].as_array().unwrap();
    let sim = models.iter().find(|model| model["name"] == "models/sim-1").unwrap();
    assert!(sim["supportedGenerationMethods"].as_array().unwrap().contains(&json!("generateContent")), "{sim}");
    assert_eq!(get("/v1/models/sim-1", "anthropic-version", "2023-06-01").await.1["display_name"], "sim-1");
    assert_eq!(get("/v1beta/models/sim-1", "accept", "*/*").await.1, *sim);
    let (status, wrong) = get("/v1/models/sim-9", "anthropic-version", "2023-06-01").await;
    assert_eq!((status, &wrong["type"]), (404, &json!("error")), "refusals too: {wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_reaches_a_provider_that_wants_signatures() {
    let cloud = Cloud::default();
    let gateway = start(&cloud).await;
    let body = json!({ "model": "signed/m:0", "messages": [{ "role": "user", "content": "Hello" }] });
    let (status, answer, _, receipt) = call(&gateway, "/v1/chat/completions", body).await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("hi")), "{answer}");
    let (path, headers, _) = cloud.last();
    assert_eq!(path, "/model/m%3A0/converse");
    let shown = headers["authorization"].to_str().unwrap();
    assert!(shown.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{shown}");
    assert!(shown.contains("/eu-central-1/bedrock/aws4_request") && !shown.contains("canary"), "{shown}");
    assert!(!receipt.to_string().contains("canary") && !gateway.log.lock().unwrap().contains("canary"));
}

//! The published contract beside the gateway itself: what the schema takes the gateway takes, what one refuses the other
//! refuses, and what is served is what `docs/reference` holds.

use axum::Router;
use axum::response::Response;
use serde_json::{Value, json};

use crate::calls::client;
use crate::support::gateway::Gateway;
use crate::support::shape::Shape;
use crate::support::{corpus, root};

const VERSION: &str = "2026-12-01";

pub fn shape() -> Shape {
    let file = root().join(format!("docs/reference/contract-{VERSION}.schema.json"));
    Shape::new(serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_is_served_without_a_key() {
    let gateway = Gateway::start();
    let answer = client().get(gateway.url("/openapi.json")).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let served: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let kept = std::fs::read(root().join("docs/reference/openapi.json")).unwrap();
    assert_eq!(served, serde_json::from_slice::<Value>(&kept).unwrap());
    // Every path that it names is there: none is told to be nowhere.
    for (path, verbs) in served["paths"].as_object().unwrap() {
        let path = path.replace("{model}", "sim%2Fsim-1").replace("{id}", "sim-1").replace(['{', '}'], "");
        let request = match verbs.get("post") {
            Some(_) => client().post(gateway.url(&path)).body("{}"),
            None => client().get(gateway.url(&path)),
        };
        let answer = request.bearer_auth(&gateway.key).send().await.unwrap();
        let (status, told) = (answer.status(), answer.text().await.unwrap());
        assert!(!told.contains("unknown_path") && status != 405, "{path}: {status} {told}");
    }
}

#[test]
fn every_recorded_chat_fits_the_schema() {
    let Some(corpus) = corpus("the schema of the contract") else { return };
    let shape = shape();
    let mut checked = 0;
    for file in std::fs::read_dir(corpus.join("exchanges/openai.chat")).unwrap().map(|file| file.unwrap().path()) {
        let exchange: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let told = shape.check(&exchange["request"]["body"]);
        assert_eq!(told, Ok(()), "{}", file.display());
        let (status, body) = (&exchange["response"]["status"], &exchange["response"]["body"]);
        if let Some(text) = body.as_str().filter(|_| *status == 200) {
            for data in text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
                let told = shape.check_as("chunk", &serde_json::from_str(data).unwrap());
                assert_eq!(told, Ok(()), "{}: {data}", file.display());
            }
        } else if *status == 200 {
            assert_eq!(shape.check_as("answer", body), Ok(()), "{}", file.display());
        }
        checked += 1;
    }
    assert!(checked > 20, "only {checked} recorded chats");
}

/// A request with every member that the gateway reads.
fn everything() -> Value {
    serde_json::from_slice(&std::fs::read(root().join("tests/it/support/everything.json")).unwrap()).unwrap()
}

/// Every place in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    if !at.is_empty() {
        found.push(at.to_owned());
    }
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), found))
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| places(item, &format!("{at}/{n}"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The value with something else in one place; `None` = nothing is there.
fn changed(base: &Value, place: &str, to: Option<Value>) -> Value {
    let mut value = base.clone();
    let (parent, name) = place.rsplit_once('/').unwrap();
    match (value.pointer_mut(parent).unwrap(), to) {
        (Value::Object(members), Some(to)) => drop(members.insert(name.to_owned(), to)),
        (Value::Object(members), None) => drop(members.remove(name)),
        (Value::Array(items), Some(to)) => items[name.parse::<usize>().unwrap()] = to,
        (Value::Array(items), None) => drop(items.remove(name.parse::<usize>().unwrap())),
        _ => panic!("nothing is at {place}"),
    }
    value
}

fn others() -> Vec<Option<Value>> {
    let values = [
        json!(null),
        json!(true),
        json!(7),
        json!(7.0),
        json!(1.5),
        json!(-1),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([1]),
        json!(["x"]),
        json!([{}]),
        json!({ "x": 1 }),
        json!([null]),
        json!({ "type": "text" }),
    ];
    values.into_iter().map(Some).chain([None]).collect()
}

/// A provider of another dialect, so that every member is read.
async fn provider() -> String {
    async fn answer() -> Response {
        let body = json!({ "id": "m", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
            "content": [{ "type": "text", "text": "hi" }], "usage": { "input_tokens": 1, "output_tokens": 1 } });
        Response::builder().header("content-type", "application/json").body(body.to_string().into()).unwrap()
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    format!("http://{address}")
}

/// Does the gateway take it for a request? That nobody has the model, that a target cannot carry a member or has no time is
/// another question.
async fn taken(client: &reqwest::Client, gateway: &Gateway, body: &Value) -> Result<(), String> {
    let request = client.post(gateway.url("/v1/chat/completions")).bearer_auth(&gateway.key).body(body.to_string());
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    let told: Value = serde_json::from_str(&text).unwrap_or_default();
    let code = told["error"]["tollgate"]["code"].as_str().unwrap_or_default();
    match status == 200 || ["model_not_found", "unsupported_field", "deadline"].contains(&code) {
        true => Ok(()),
        false => Err(text),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_takes_what_the_gateway_takes() {
    let at = provider().await;
    let config =
        format!("providers:\n  anthropic: {{ base_url: \"{at}\", unlisted: true, secret: {{ env: A_KEY }} }}\n");
    let gateway = Gateway::in_environment(&[("A_KEY", "canary")], &config);
    let (client, shape, base) = (client(), shape(), everything());
    assert_eq!(shape.check(&base), Ok(()), "the whole of it fits");
    let mut all = Vec::new();
    places(&base, "", &mut all);
    let (mut tried, mut refused, mut differ) = (0, 0, Vec::new());
    for place in &all {
        for to in others() {
            let body = changed(&base, place, to);
            let by_schema = shape.check(&body);
            let by_gateway = taken(&client, &gateway, &body).await;
            tried += 1;
            refused += usize::from(by_gateway.is_err());
            // A refusal must be one of what was sent.
            let wrong = by_gateway
                .as_ref()
                .is_err_and(|told| !told.contains("invalid_request") && !told.contains("unsupported_value"));
            if by_schema.is_ok() != by_gateway.is_ok() || wrong {
                let value = body.pointer(place).map_or("(gone)".to_owned(), Value::to_string);
                differ.push(format!("{place} = {value}: the schema says {by_schema:?}, the gateway {by_gateway:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "{} of {tried} differ:\n{}", differ.len(), differ.join("\n"));
    assert!(refused > 500 && tried - refused > 500, "of {tried} were {refused} refused: both must be tried");
}

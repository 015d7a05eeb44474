//! A provider that serves recordings: each request is told which one by the `user-agent` header, and is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

/// One recorded answer.
#[derive(Clone)]
pub struct Recorded {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What reached the provider.
#[derive(Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

#[derive(Clone, Default)]
pub struct Replay {
    answers: Arc<Mutex<HashMap<String, Recorded>>>,
    pub received: Arc<Mutex<HashMap<String, Received>>>,
}

impl Replay {
    /// Serves on a free port; gives the base URL.
    pub async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app =
            Router::new().fallback(answer).with_state(self.clone()).layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{address}/v1")
    }

    pub fn put(&self, id: &str, recorded: Recorded) {
        self.answers.lock().unwrap().insert(id.to_owned(), recorded);
    }
}

impl Recorded {
    /// The answer of an exchange of the corpus.
    pub fn of(exchange: &Value) -> Recorded {
        let response = &exchange["response"];
        let body = match response["body_encoding"].as_str() {
            Some("text") => response["body"].as_str().unwrap().as_bytes().to_vec(),
            _ => serde_json::to_vec(&response["body"]).unwrap(),
        };
        let headers = response["headers"].as_object().into_iter().flatten();
        Recorded {
            status: response["status"].as_u64().unwrap() as u16,
            headers: headers.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect(),
            body,
        }
    }
}

async fn answer(State(replay): State<Replay>, headers: HeaderMap, body: Bytes) -> Response {
    let id = headers.get("user-agent").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let received = Received { headers, body: body.to_vec() };
    replay.received.lock().unwrap().insert(id.clone(), received);
    let Some(recorded) = replay.answers.lock().unwrap().get(&id).cloned() else {
        return Response::builder().status(StatusCode::NOT_IMPLEMENTED).body(Body::from("no recording")).unwrap();
    };
    let mut response = Response::builder().status(recorded.status);
    for (name, value) in &recorded.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(recorded.body)).unwrap()
}

//! A provider that serves recordings, one after the other: it is told what to answer next, and keeps what reached it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

/// One recorded answer.
#[derive(Clone, Default)]
pub struct Recorded {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What reached the provider.
#[derive(Clone)]
pub struct Received {
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

#[derive(Clone, Default)]
pub struct Replay {
    next: Arc<Mutex<Option<Recorded>>>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Replay {
    /// Serves on a free port; gives its address.
    pub async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app =
            Router::new().fallback(answer).with_state(self.clone()).layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{address}")
    }

    /// The next request is answered so.
    pub fn answer_next(&self, recorded: Recorded) {
        self.received.lock().unwrap().clear();
        *self.next.lock().unwrap() = Some(recorded);
    }

    /// What came since: one request, or none where the call was refused before.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }
}

async fn answer(State(replay): State<Replay>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let (path, query) = (uri.path().to_owned(), uri.query().map(str::to_owned));
    replay.received.lock().unwrap().push(Received { path, query, headers, body: body.to_vec() });
    let Some(recorded) = replay.next.lock().unwrap().clone() else {
        return Response::builder().status(StatusCode::NOT_IMPLEMENTED).body(Body::from("no recording")).unwrap();
    };
    let mut response = Response::builder().status(recorded.status);
    for (name, value) in &recorded.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(recorded.body)).unwrap()
}

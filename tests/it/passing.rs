//! Calls whose bodies or answers are no JSON: forms, sound, pictures. They are governed like any other, and go on as they
//! came.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::calls::client;
use crate::support::gateway::Gateway;

/// A form with this boundary: fields with their values, then files with their names and content.
pub fn form(boundary: &str, fields: &[(&str, &str)], files: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    for (name, file, content) in files {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

pub fn ask(gateway: &Gateway, key: &str, method: Method, path: &str) -> RequestBuilder {
    client().request(method, gateway.url(path)).bearer_auth(key)
}

pub fn send_form(gateway: &Gateway, key: &str, path: &str, boundary: &str, body: Vec<u8>) -> RequestBuilder {
    let kind = format!("multipart/form-data; boundary={boundary}");
    ask(gateway, key, Method::POST, path).header("content-type", kind).body(body)
}

pub fn upload(gateway: &Gateway, key: &str, content: &[u8]) -> RequestBuilder {
    let body = form("b", &[("purpose", "batch")], &[("file", "a.jsonl", content)]);
    send_form(gateway, key, "/v1/files", "b", body)
}

/// Status, target, and the body as JSON.
pub async fn told(request: RequestBuilder) -> (u16, String, Value) {
    let answer = request.send().await.unwrap();
    let target = header(&answer, "tollgate-target");
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, target, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
}

pub fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned()
}

pub fn code(body: &Value) -> &str {
    body["error"]["tollgate"]["code"].as_str().unwrap_or_default()
}

pub fn id(body: &Value) -> &str {
    body["id"].as_str().unwrap_or_else(|| panic!("no id: {body}"))
}

/// Keeps the last request, and answers with a transcript as text.
type Last = Arc<Mutex<Option<(String, HeaderMap, Bytes)>>>;

async fn recording(last: &Last) -> String {
    async fn answer(State(last): State<Last>, uri: Uri, headers: HeaderMap, body: Bytes) -> axum::response::Response {
        *last.lock().unwrap() = Some((uri.to_string(), headers, body));
        let mut answer = axum::response::Response::new(Body::from("WEBVTT\n\nhello\n"));
        answer.headers_mut().insert("content-type", "text/vtt".parse().unwrap());
        answer
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(answer).with_state(last.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_form_the_model_changes_and_no_other_byte() {
    let last = Last::default();
    let base = recording(&last).await;
    let config = format!("providers:\n  own: {{ base_url: \"{base}/v1\", api: openai, unlisted: true }}\n");
    let gateway = Gateway::with(&[], Some(&config));
    let sound: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let (fields, files) = ([("response_format", "vtt"), ("model", "own/whisper-1")], [("file", "a.wav", &*sound)]);
    let mut sent_fields = fields.to_vec();
    sent_fields.push(("tollgate[use_case]", "notes"));
    let sent = form("x-1", &sent_fields, &files);
    let answer = send_form(&gateway, &gateway.key, "/v1/audio/transcriptions", "x-1", sent).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "content-type")), (200, "text/vtt".to_owned()));
    let call = header(&answer, "tollgate-call-id");
    assert_eq!(answer.text().await.unwrap(), "WEBVTT\n\nhello\n", "no JSON, and passed as it is");
    let (path, headers, got) = last.lock().unwrap().take().unwrap();
    assert_eq!(
        (path.as_str(), headers["content-type"].to_str().unwrap()),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=x-1")
    );
    assert_eq!(got, form("x-1", &[fields[0], ("model", "whisper-1")], &files));
    let receipt = gateway.receipt(&call);
    assert_eq!(receipt["operation"], "audio");
    assert_eq!(receipt["facts"]["pre-route"]["meta"]["use_case"], "notes", "{receipt}");
    assert_eq!(
        (&receipt["cost_nanousd"], &receipt["usage"]["estimated"]),
        (&Value::Null, &true.into()),
        "an unknown price is never zero"
    );

    for (body, kind, expected) in [
        (
            form("b", &[("model", "own/m"), ("model", "own/n")], &[]),
            "multipart/form-data; boundary=b",
            "duplicate_member",
        ),
        (form("b", &[("model", "own/m")], &[("prompt", "p", b"x")]), "multipart/form-data; boundary=b", "wrong_type"),
        (form("b", &[("model", "own/m")], &[]), "multipart/form-data", "not_form"),
        (form("b", &[("file", "x")], &[]), "multipart/form-data; boundary=b", "missing_model"),
        (b"--b\r\nhello".to_vec(), "multipart/form-data; boundary=b", "not_form"),
    ] {
        let request =
            ask(&gateway, &gateway.key, Method::POST, "/v1/audio/transcriptions").header("content-type", kind);
        let (status, _, body) = told(request.body(body)).await;
        assert_eq!((status, code(&body)), (400, expected));
    }
    assert!(last.lock().unwrap().is_none(), "none of these went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_and_pictures_go_as_they_come_and_are_metered_where_usage_is_told() {
    let gateway = Gateway::start();
    let post = |path: &str, body: Value| ask(&gateway, &gateway.key, Method::POST, path).body(body.to_string());
    let speech = json!({ "model": "sim/sim-sound", "input": "one two three", "voice": "alloy" });
    let answer = post("/v1/audio/speech", speech.clone()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "content-type")), (200, "audio/mpeg".to_owned()));
    let call = header(&answer, "tollgate-call-id");
    let sound = answer.bytes().await.unwrap();
    assert_eq!(sound.len(), 6_000);
    assert!(sound.iter().enumerate().all(|(n, b)| usize::from(*b) == n % 251), "not a byte changed");
    let receipt = gateway.receipt(&call);
    assert_eq!((&receipt["answer_bytes"], &receipt["outcome"]["kind"]), (&6_000.into(), &"answered".into()));
    assert_eq!(
        (&receipt["usage"]["output_audio"], &receipt["usage"]["estimated"]),
        (&23.into(), &true.into()),
        "{receipt}"
    );

    let mut cut = speech.clone();
    cut["model"] = "sim/sim-sound?cut=2".into();
    let answer = post("/v1/audio/speech", cut).send().await.unwrap();
    let call = header(&answer, "tollgate-call-id");
    assert!(answer.bytes().await.is_err(), "what was cut does not look complete");
    assert_eq!(gateway.receipt(&call)["outcome"]["kind"], "interrupted");

    let mut events = speech;
    events["stream_format"] = "sse".into();
    let picture = json!({ "model": "sim/sim-picture", "prompt": "a gate", "stream": true, "partial_images": 1 });
    for (path, body, last, output) in [
        ("/v1/audio/speech", events, "speech.audio.done", 24),
        ("/v1/images/generations", picture.clone(), "image_generation.completed", 272),
    ] {
        let answer = post(path, body.clone()).send().await.unwrap();
        let call = header(&answer, "tollgate-call-id");
        assert!(header(&answer, "content-type").starts_with("text/event-stream"), "{path}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(last) && !text.contains("error"), "{path}: {text}");
        let receipt = gateway.receipt(&call);
        assert_eq!(
            (&receipt["usage"]["output"], &receipt["outcome"]["kind"]),
            (&output.into(), &"answered".into()),
            "{path}: {receipt}"
        );
        let mut short = body;
        short["model"] = format!("{}?cut=1", short["model"].as_str().unwrap()).into();
        let answer = post(path, short).send().await.unwrap();
        let call = header(&answer, "tollgate-call-id");
        assert!(answer.text().await.unwrap().contains("broke off"), "{path}: a cut stream says so");
        assert_eq!(gateway.receipt(&call)["outcome"]["kind"], "interrupted");
    }

    let (status, _, made) = told(post("/v1/images/generations", json!({ "prompt": "a gate" }))).await;
    assert_eq!(
        (status, made["data"][0]["b64_json"].is_string()),
        (200, true),
        "its provider has a usual model: {made}"
    );
    let body = form("b", &[("model", "sim/sim-picture"), ("prompt", "wider")], &[("image", "a.png", b"\x89PNG")]);
    let (status, _, edited) = told(send_form(&gateway, &gateway.key, "/v1/images/edits", "b", body)).await;
    assert_eq!((status, &edited["usage"]["output_tokens"]), (200, &272.into()), "{edited}");
    let body = form("b", &[("model", "sim/sim-sound")], &[("file", "a.wav", &[0; 400])]);
    let answer = send_form(&gateway, &gateway.key, "/v1/audio/transcriptions", "b", body).send().await.unwrap();
    let call = header(&answer, "tollgate-call-id");
    assert!(answer.text().await.unwrap().contains("heard 400 bytes of a.wav"));
    let usage = gateway.receipt(&call)["usage"].clone();
    assert_eq!(
        (&usage["input"], usage["input_audio"].as_u64() > Some(0)),
        (&0.into(), true),
        "sound is counted as sound: {usage}"
    );
    let (status, _, judged) = told(post("/v1/moderations", json!({ "input": "no violence" }))).await;
    assert_eq!((status, &judged["results"][0]["flagged"]), (200, &true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_sent_again_under_its_key_is_not_sent_on_again() {
    let gateway = Gateway::start();
    let send = |boundary: &str, content: &[u8]| {
        let body = form(boundary, &[("purpose", "user_data")], &[("file", "a", content)]);
        send_form(&gateway, &gateway.key, "/v1/files", boundary, body).header("idempotency-key", "k-1")
    };
    let first = told(send("one", b"x")).await;
    let again = send("two", b"x").send().await.unwrap();
    assert_eq!(header(&again, "tollgate-cache"), "hit", "clients make a new boundary each time");
    assert_eq!(serde_json::from_str::<Value>(&again.text().await.unwrap()).unwrap(), first.2);
    assert_eq!(told(send("one", b"y")).await.0, 422, "another file is another call");
    let speak = |input: &str| {
        let body = json!({ "model": "sim/sim-sound", "input": input, "voice": "alloy" }).to_string();
        ask(&gateway, &gateway.key, Method::POST, "/v1/audio/speech").header("idempotency-key", "k-2").body(body)
    };
    let first = speak("one two").send().await.unwrap().bytes().await.unwrap();
    let again = speak("one two").send().await.unwrap();
    assert_eq!(
        (header(&again, "tollgate-cache"), header(&again, "content-type")),
        ("hit".to_owned(), "audio/mpeg".to_owned())
    );
    assert_eq!(again.bytes().await.unwrap(), first, "sound is kept too");
}

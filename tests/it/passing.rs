//! Calls whose bodies or answers are no JSON, and what providers hold: forms, sound, pictures, files, batches, responses by
//! their ids. They are governed like any other, and go on as they came.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::calls::client;
use crate::support::gateway::{Gateway, tollgate};
use crate::support::hosts;
use crate::support::repository::Repository;

/// A form with this boundary: fields with their values, then files with their names and content.
fn form(boundary: &str, fields: &[(&str, &str)], files: &[(&str, &str, &[u8])]) -> Vec<u8> {
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

fn ask(gateway: &Gateway, key: &str, method: Method, path: &str) -> RequestBuilder {
    client().request(method, gateway.url(path)).bearer_auth(key)
}

fn send_form(gateway: &Gateway, key: &str, path: &str, boundary: &str, body: Vec<u8>) -> RequestBuilder {
    let kind = format!("multipart/form-data; boundary={boundary}");
    ask(gateway, key, Method::POST, path).header("content-type", kind).body(body)
}

fn upload(gateway: &Gateway, key: &str, content: &[u8]) -> RequestBuilder {
    let body = form("b", &[("purpose", "batch")], &[("file", "a.jsonl", content)]);
    send_form(gateway, key, "/v1/files", "b", body)
}

/// Status, target, and the body as JSON.
async fn told(request: RequestBuilder) -> (u16, String, Value) {
    let answer = request.send().await.unwrap();
    let target = header(&answer, "tollgate-target");
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, target, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned()
}

fn code(body: &Value) -> &str {
    body["error"]["tollgate"]["code"].as_str().unwrap_or_default()
}

fn id(body: &Value) -> &str {
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
    assert_eq!(receipt["facts"]["pre_route"]["meta"]["use_case"], "notes", "{receipt}");
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

/// A gateway before two scripted providers that hold different things.
fn before_two(a: &hosts::Host, b: &hosts::Host) -> Gateway {
    let row = |name: &str, host: &hosts::Host| {
        format!("  {name}: {{ base_url: \"http://127.0.0.1:{}/v1\", api: openai, unlisted: true }}\n", host.port)
    };
    Gateway::with(&[], Some(&format!("providers:\n{}{}", row("a", a), row("b", b))))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_batches_are_found_again_where_they_were_made() {
    let (a, b) = (hosts::sim(), hosts::sim());
    let gateway = before_two(&a, &b);
    let get = |path: String| ask(&gateway, &gateway.key, Method::GET, &path);
    let line = json!({ "custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
        "body": { "model": "sim-1", "messages": [{ "role": "user", "content": "hi" }] } });
    let content = format!("{line}\n");
    let (status, target, made) =
        told(upload(&gateway, &gateway.key, content.as_bytes()).header("tollgate-provider", "b")).await;
    assert_eq!((status, target.as_str(), &made["bytes"]), (200, "b", &content.len().into()), "{made}");
    let file = id(&made).to_owned();
    let (status, target, found) = told(get(format!("/v1/files/{file}"))).await;
    assert_eq!((status, target.as_str(), &found["filename"]), (200, "b", &"a.jsonl".into()), "nobody had to say where");
    let answer = get(format!("/openai/v1/files/{file}/content")).send().await.unwrap();
    assert_eq!(header(&answer, "content-type"), "application/octet-stream");
    assert_eq!(answer.text().await.unwrap(), content);
    let (_, target, listed) = told(get("/v1/files".to_owned())).await;
    assert_eq!(
        (target.as_str(), listed["data"].as_array().map(Vec::len)),
        ("a", Some(0)),
        "a list is of one provider, the first"
    );

    let order = json!({ "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
    let create = ask(&gateway, &gateway.key, Method::POST, "/v1/batches").body(order.to_string());
    let (status, target, batch) = told(create).await;
    assert_eq!((status, target.as_str()), (200, "b"), "a batch goes to its file: {batch}");
    let (_, _, done) = told(get(format!("/v1/batches/{}", id(&batch)))).await;
    let output = done["output_file_id"].as_str().unwrap();
    let answer = get(format!("/v1/files/{output}/content")).send().await.unwrap();
    assert_eq!(header(&answer, "tollgate-target"), "b", "so does what came of it");
    assert!(answer.text().await.unwrap().contains("\"custom_id\":\"1\""));
    let cancel = ask(&gateway, &gateway.key, Method::POST, &format!("/v1/batches/{}/cancel", id(&batch)));
    assert_eq!(told(cancel).await.2["status"], "cancelling");

    let delete = ask(&gateway, &gateway.key, Method::DELETE, &format!("/v1/files/{file}")).send().await.unwrap();
    let call = header(&delete, "tollgate-call-id");
    assert!(delete.text().await.unwrap().contains("\"deleted\":true"));
    let receipt = gateway.receipt(&call);
    assert_eq!(
        (&receipt["place"], &receipt["attempts"][0]["target"]),
        (&format!("DELETE /files/{file}").into(), &"b".into())
    );
    assert_eq!(told(get(format!("/v1/files/{file}"))).await.0, 404, "the provider's own word");
    let (status, _, unknown) = told(get("/v1/files/file-elsewhere".to_owned())).await;
    assert_eq!((status, code(&unknown)), (404, "unknown_id"));
    let message = unknown["error"]["message"].as_str().unwrap();
    assert!(message.contains("a or b") && message.contains("tollgate-provider"), "{message}");
    let (status, target, _) = told(get("/v1/files/file-elsewhere".to_owned()).header("tollgate-provider", "a")).await;
    assert_eq!((status, target.as_str()), (404, "a"), "it was asked");
    let (status, _, not_there) = told(get(format!("/v1/files/{output}")).header("tollgate-provider", "a")).await;
    assert_eq!((status, code(&not_there)), (404, "held_elsewhere"));
    let wrong = told(get("/v1/files".to_owned()).header("tollgate-provider", "c")).await;
    assert_eq!((wrong.0, code(&wrong.2)), (404, "unknown_provider"));
    let put = ask(&gateway, &gateway.key, Method::DELETE, "/v1/files").send().await.unwrap();
    assert_eq!(put.status().as_u16(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_goes_on_at_the_provider_that_has_it() {
    let (a, b) = (hosts::sim(), hosts::sim());
    let gateway = before_two(&a, &b);
    let post = |body: Value| ask(&gateway, &gateway.key, Method::POST, "/v1/responses").body(body.to_string());
    let (_, _, first) = told(post(json!({ "model": "b/sim-1", "input": "Hello" }))).await;
    let first = id(&first).to_owned();
    let (status, target, _) =
        told(post(json!({ "model": "b/sim-1", "input": "more", "previous_response_id": first }))).await;
    assert_eq!((status, target.as_str()), (200, "b/sim-1"));
    let (status, _, cut) =
        told(post(json!({ "model": "a/sim-1", "input": "more", "previous_response_id": first }))).await;
    assert_eq!((status, code(&cut)), (404, "no_route"));
    assert!(cut["error"]["message"].as_str().unwrap().contains("`b` holds what the call speaks of"), "{cut}");

    let path = format!("/v1/responses/{first}");
    let looked = ask(&gateway, &gateway.key, Method::GET, &path).send().await.unwrap();
    assert_eq!(header(&looked, "tollgate-target"), "b/sim-1");
    let call = header(&looked, "tollgate-call-id");
    let body: Value = serde_json::from_str(&looked.text().await.unwrap()).unwrap();
    assert_eq!((id(&body), body["usage"]["output_tokens"].as_u64() > Some(0)), (&*first, true));
    let usage = gateway.receipt(&call)["usage"].clone();
    assert_eq!((&usage["input"], &usage["output"]), (&0.into(), &0.into()), "what was paid for once is not paid again");
    let items = told(ask(&gateway, &gateway.key, Method::GET, &format!("{path}/input_items"))).await;
    assert_eq!(items.2["data"][0]["content"][0]["text"], "Hello");
    let again = ask(&gateway, &gateway.key, Method::GET, &format!("{path}?stream=true")).send().await.unwrap();
    assert!(again.text().await.unwrap().contains("response.completed"));
    assert_eq!(
        told(ask(&gateway, &gateway.key, Method::POST, &format!("{path}/cancel"))).await.2["status"],
        "cancelled"
    );
    assert_eq!(told(ask(&gateway, &gateway.key, Method::DELETE, &path)).await.2["deleted"], true);

    let stream = post(json!({ "model": "b/sim-1", "input": "Hello", "stream": true }))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let data = stream.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let event: Value = serde_json::from_str(data).unwrap();
    let (_, target, _) =
        told(ask(&gateway, &gateway.key, Method::GET, &format!("/v1/responses/{}", id(&event["response"])))).await;
    assert_eq!(target, "b/sim-1", "a streamed one is known too");
    let (_, _, unstored) = told(post(json!({ "model": "b/sim-1", "input": "Hello", "store": false }))).await;
    let gone = told(ask(&gateway, &gateway.key, Method::GET, &format!("/v1/responses/{}", id(&unstored)))).await;
    assert_eq!((gone.0, code(&gone.2)), (404, "unknown_id"), "nobody holds what was not to be kept");
    let wrong = told(post(json!({ "model": "b/sim-1", "input": "x", "previous_response_id": 5 }))).await;
    assert_eq!((wrong.0, code(&wrong.2)), (400, "wrong_value"));
}

/// A key of a tenant, and its row.
fn key(tenant: &str, state: &std::path::Path) -> (String, String) {
    let out = tollgate(&["key", "new", "--tenant", tenant], state);
    let text = String::from_utf8(out.stdout).unwrap();
    let (key, row) = text.split_once('\n').unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&out.stderr)));
    (key.to_owned(), row.trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_must_be_granted_and_tenants_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let ((acme, acme_row), (globex, globex_row)) = (key("acme", &state), key("globex", &state));
    let tenants = format!(
        "tenants: {{ acme: {{}}, globex: {{}} }}\nkeys:\n{acme_row}\n{globex_row}\ngrants:\n  - {{ for: {{ tenant: acme }}, operations: [files, batches, audio], uninspected: true }}\n  - {{ for: {{}}, operations: [chat, files, batches, audio] }}\n"
    );
    let repository = Repository::new(&[
        ("tollgate-policies.yaml", "api: tollgate.policy/v1\npolicies: []\n"),
        ("tenants.yaml", &tenants),
        (
            "limits.yaml",
            "budgets: { month: { per: [tenant], limit_usd: \"100\", period: month } }\nunknown_price: deny\n",
        ),
    ]);
    let gateway = Gateway::on(folder, state, &["--policies", repository.address()], None);
    let (status, _, refused) = told(upload(&gateway, &globex, b"{}")).await;
    assert_eq!((status, code(&refused)), (400, "uninspected"), "{refused}");
    assert_eq!(refused["error"]["tollgate"]["category"], "policy_violation");
    assert!(refused["error"]["message"].as_str().unwrap().contains("`uninspected: true`"));
    let (status, _, mine) = told(upload(&gateway, &acme, b"{}")).await;
    assert_eq!(status, 200, "a file costs nothing, so no price has to be known: {mine}");
    let file = id(&mine).to_owned();

    for (method, path) in [
        (Method::GET, format!("/v1/files/{file}")),
        (Method::DELETE, format!("/v1/files/{file}")),
        (Method::GET, format!("/v1/files/{file}/content")),
    ] {
        let (status, _, body) = told(ask(&gateway, &globex, method, &path)).await;
        assert_eq!((status, code(&body)), (404, "unknown_id"), "{path}");
    }
    let named = json!({ "model": "sim/sim-1", "messages": [{ "role": "user", "content": [{ "type": "file", "file": { "file_id": file } }] }] });
    for text in [named.to_string(), named.to_string().replace("file_id", "file\\u005fid")] {
        let chat = ask(&gateway, &globex, Method::POST, "/v1/chat/completions").body(text);
        let (status, _, body) = told(chat).await;
        assert_eq!((status, code(&body)), (404, "unknown_id"), "in a prompt neither, however it is written");
    }
    let list = |key: &str| ask(&gateway, key, Method::GET, "/v1/files");
    let seen = told(list(&acme)).await.2;
    assert_eq!((seen["data"].as_array().map(Vec::len), &seen["last_id"]), (Some(1), &file.as_str().into()), "{seen}");
    let seen = told(list(&globex)).await.2;
    assert_eq!((seen["data"].as_array().map(Vec::len), &seen["last_id"]), (Some(0), &Value::Null), "{seen}");
    assert_eq!(
        told(ask(&gateway, &acme, Method::GET, &format!("/v1/files/{file}"))).await.0,
        200,
        "its owner still has it"
    );

    let order =
        json!({ "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h" }).to_string();
    let batch = |key: &str| ask(&gateway, key, Method::POST, "/v1/batches").body(order.clone());
    let (status, _, body) = told(batch(&globex)).await;
    assert_eq!((status, code(&body)), (404, "unknown_id"));
    let (status, _, body) = told(batch(&acme)).await;
    assert_eq!((status, code(&body)), (429, "price_unknown"), "nobody knows what its calls will cost");
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

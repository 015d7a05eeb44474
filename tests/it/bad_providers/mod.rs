//! Providers that fail in every way that bytes can: a refusal that says so or the right answer, whoever asks and however; a
//! stream that was cut never looks complete; the next call works; a receipt tells.

mod bombs;
mod server;
mod streams;
mod wholes;

use std::collections::BTreeMap;

use reqwest::Response;
use serde_json::{Value, json};

use crate::calls::client;
use crate::support::gateway::{Gateway, eventually};
use server::{Faulty, Step, http};

/// What a good answer says.
const TEXT: &str = "Hello";

const JSON: &str = "content-type: application/json\r\n";
const EVENTS: &str = "content-type: text/event-stream\r\n";

/// A good answer of OpenAI's chat.
fn chat() -> Vec<u8> {
    concat!(
        r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":"#,
        r#"{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"#,
        r#""usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#
    )
    .into()
}

/// One event of OpenAI's chat.
fn event(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\
         \"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn first() -> String {
    event("{\"role\":\"assistant\",\"content\":\"Hel\"}", "null")
}

fn rest() -> String {
    let usage = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\
                 \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n";
    [&event("{\"content\":\"lo\"}", "null"), &event("{}", "\"stop\""), usage, "data: [DONE]\n\n"].concat()
}

/// What must come of a case.
#[derive(Clone, Copy)]
enum Expect {
    /// The right answer.
    Answer,
    /// A refusal with this status and code.
    Refused(u16, &'static str),
    /// A stream that begins, and ends with this code.
    Broken(&'static str),
    /// The provider's own error, in the caller's dialect as it came; in another dialect as a refusal with this status.
    Said(u16),
}

struct Case {
    why: &'static str,
    steps: Vec<Step>,
    expect: Expect,
}

fn case(why: &'static str, bytes: Vec<u8>, expect: Expect) -> Case {
    Case { why, steps: vec![Step::Send(bytes)], expect }
}

/// A gateway before a faulty provider, which it takes for several kinds of API.
async fn before(edge: &str) -> (Faulty, Gateway) {
    let faulty = Faulty::serve().await;
    let base = format!("http://127.0.0.1:{}", faulty.port);
    let timers = "unlisted: true, timers: { first_byte_ms: 700, idle_ms: 700 }";
    let config = format!(
        "providers:\n  bad: {{ base_url: \"{base}/v1\", api: compatible, {timers} }}\n  \
         bad_bedrock: {{ base_url: \"{base}\", api: bedrock, {timers} }}\n  \
         bad_ollama: {{ base_url: \"{base}\", api: ollama, {timers} }}\n{edge}"
    );
    let gateway = Gateway::with(&[], Some(&config));
    (faulty, gateway)
}

/// Who asks: in the provider's own dialect, or in another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Caller {
    Chat,
    Messages,
    Converse,
}

impl Caller {
    async fn ask(self, gateway: &Gateway, model: &str, stream: bool) -> Response {
        let messages = json!([{ "role": "user", "content": "Hi" }]);
        let (path, body) = match self {
            Caller::Chat => (
                "/v1/chat/completions".to_owned(),
                json!({ "model": model, "messages": messages, "stream": stream, "stream_options": { "include_usage": true } }),
            ),
            Caller::Messages => (
                "/v1/messages".to_owned(),
                json!({ "model": model, "messages": messages, "stream": stream, "max_tokens": 9 }),
            ),
            Caller::Converse => {
                let verb = if stream { "converse-stream" } else { "converse" };
                let model = model.replace('/', "%2F");
                (
                    format!("/model/{model}/{verb}"),
                    json!({ "messages": [{ "role": "user", "content": [{ "text": "Hi" }] }] }),
                )
            }
        };
        let mut body = body;
        if !stream && let Some(members) = body.as_object_mut() {
            members.remove("stream_options");
        }
        client().post(gateway.url(&path)).bearer_auth(&gateway.key).body(body.to_string()).send().await.unwrap()
    }

    /// What the answer says, and does it come to the end that this dialect has?
    fn read(self, body: &str, stream: bool) -> (String, bool) {
        let events: Vec<Value> =
            body.lines().filter_map(|l| serde_json::from_str(l.strip_prefix("data: ")?).ok()).collect();
        let whole = |at: &str| {
            let answer: Value = serde_json::from_str(body).unwrap_or_default();
            answer.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let pieces = |at: &str| events.iter().filter_map(|e| e.pointer(at)?.as_str()).collect::<String>();
        match (self, stream) {
            (Caller::Chat, false) => (whole("/choices/0/message/content"), true),
            (Caller::Messages, false) => (whole("/content/0/text"), true),
            (Caller::Converse, false) => (whole("/output/message/content/0/text"), true),
            (Caller::Chat, true) => {
                let ended = pieces("/choices/0/finish_reason") == "stop";
                (pieces("/choices/0/delta/content"), ended || body.contains("[DONE]"))
            }
            (Caller::Messages, true) => (pieces("/delta/text"), body.contains("message_stop")),
            (Caller::Converse, true) => {
                (if body.contains("lo\"") { TEXT.to_owned() } else { String::new() }, body.contains("messageStop"))
            }
        }
    }
}

/// The object `tollgate` of a refusal, wherever the dialect has it.
fn told(body: &str) -> Option<Value> {
    fn find(value: &Value) -> Option<&Value> {
        match value {
            Value::Object(members) => members.get("tollgate").or_else(|| members.values().find_map(find)),
            Value::Array(items) => items.iter().find_map(find),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }
    let texts = body.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line)).chain([body]);
    texts.filter_map(|text| serde_json::from_str::<Value>(text).ok()).find_map(|value| find(&value).cloned())
}

/// Runs the cases one after the other, each followed by a good call, and looks at all receipts at the end.
async fn run(faulty: &Faulty, gateway: &Gateway, callers: &[Caller], stream: bool, cases: Vec<Case>) {
    let mut outcomes = BTreeMap::new();
    for Case { why, steps, expect } in cases {
        for caller in callers {
            faulty.does(&steps);
            let came = caller.ask(gateway, "bad/m", stream).await;
            let what = format!("{why}, {caller:?}, stream {stream}");
            let (status, head) = (came.status().as_u16(), came.headers().clone());
            let id = head["tollgate-call-id"].to_str().unwrap().to_owned();
            assert!(!head.contains_key("content-encoding"), "{what}: nothing is packed toward the caller");
            // A body that was cut is an error of the client's, and as good a sign as any.
            let body = came.bytes().await.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
            let (text, complete) = caller.read(&body, stream);
            let same = *caller == Caller::Chat;
            let outcome = match expect {
                Expect::Answer => {
                    assert_eq!((status / 100, &*text, complete), (2, TEXT, true), "{what}: {body}");
                    let kind = head["content-type"].to_str().unwrap();
                    assert!(
                        kind.starts_with(if stream { "text/event-stream" } else { "application/json" }),
                        "{what}: {kind}"
                    );
                    "answered"
                }
                Expect::Said(code) if same => {
                    assert_eq!(status, code, "{what}: {body}");
                    "provider_error"
                }
                Expect::Said(code) => {
                    assert_eq!(status, code, "{what}: {body}");
                    assert_eq!(told(&body).unwrap()["fault"], "provider", "{what}: {body}");
                    "refused"
                }
                Expect::Refused(code, name) => {
                    let refusal = told(&body).unwrap_or_else(|| panic!("{what}: no refusal: {status} {body}"));
                    assert_eq!((status, refusal["code"].as_str().unwrap()), (code, name), "{what}: {body}");
                    assert_eq!(
                        (&refusal["fault"], &refusal["provider"]),
                        (&json!("provider"), &json!("bad")),
                        "{what}"
                    );
                    "refused"
                }
                Expect::Broken(name) => {
                    assert!(!complete, "{what}: it looks complete: {body}");
                    let refusal = told(&body).unwrap_or_else(|| panic!("{what}: no error event: {status} {body}"));
                    assert_eq!(refusal["code"], name, "{what}: {body}");
                    "interrupted"
                }
            };
            outcomes.insert(id, (what.clone(), outcome));
            faulty.does(&[Step::Send(http("200 OK", JSON, &chat()))]);
            let next = caller.ask(gateway, "bad/m", false).await;
            let next = next.text().await.unwrap();
            assert_eq!(caller.read(&next, false).0, TEXT, "{what}: the next call: {next}");
        }
    }
    recorded(gateway, outcomes);
}

/// Every call has its receipt, and that says how it ended.
fn recorded(gateway: &Gateway, mut outcomes: BTreeMap<String, (String, &'static str)>) {
    eventually("a receipt of every call", || {
        for receipt in gateway.receipts() {
            let Some((what, expected)) = outcomes.remove(receipt["call_id"].as_str().unwrap()) else { continue };
            assert_eq!(receipt["outcome"]["kind"], expected, "{what}: {}", receipt["outcome"]);
        }
        outcomes.is_empty().then_some(())
    });
}

//! `sim`: a scripted provider that speaks OpenAI's dialect on a real socket.
//!
//! It is what the quick start, the tests and fault suites talk to, and it is reached like any provider. What it does is
//! scripted per request, by the model's name (`sim-1?latency=200&cut=5`) or the header `x-sim: latency=200,cut=5`; the
//! directives are listed in `script`. It keeps a truth log of what it received and sent: `GET /sim/truth`.

mod answer;
mod body;
mod embeddings;
mod script;
mod truth;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::http::{Provider, Timers};
use script::{Failure, Script};
use truth::{Sent, Truth};

/// The provider's name.
pub const NAME: &str = "sim";
/// A request may be this large.
const BODY_BYTES_MAX: usize = 64 << 20;
/// The header that scripts a request.
const SCRIPT_HEADER: &str = "x-sim";

/// Nothing to choose yet but how much truth is kept.
#[derive(Debug, Clone, Copy)]
pub struct SimOptions {
    /// Requests that the truth log remembers.
    pub truth_max: usize,
}

impl Default for SimOptions {
    fn default() -> Self {
        SimOptions { truth_max: 10_000 }
    }
}

/// The entry by which a gateway reaches it.
pub fn provider(base_url: &str) -> Provider {
    Provider {
        forwards: vec![HeaderName::from_static(SCRIPT_HEADER)],
        unlisted: true,
        timers: Timers::default(),
        ..Provider::at(NAME, base_url)
    }
}

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener, options: SimOptions) -> std::io::Result<()> {
    let sim = Arc::new(Sim { truth: Truth::new(options.truth_max) });
    let app = Router::new().fallback(handle).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(sim);
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Events must leave one by one; where it cannot be set they only leave later.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await
}

/// What all requests share.
struct Sim {
    truth: Truth,
}

/// One request on its way through.
struct Asked {
    model: String,
    script: Script,
    body: Value,
    /// The number of the request: ids and `flaky` come from it.
    number: u64,
}

async fn handle(State(sim): State<Arc<Sim>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path();
    match (method.as_str(), path) {
        ("GET", "/sim/truth") => return text(StatusCode::OK, "application/x-ndjson", sim.truth.lines()),
        ("DELETE", "/sim/truth") => {
            sim.truth.clear();
            return text(StatusCode::NO_CONTENT, "text/plain", String::new());
        }
        ("GET", p) if p.ends_with("/models") => {
            return text(StatusCode::OK, "application/json", answer::models().to_string());
        }
        _ => {}
    }
    let number = sim.truth.next();
    let mut sent = Sent::new(number, path, &headers, &body);
    let response = match asked(number, &headers, &body) {
        Err(error) => error,
        Ok(asked) => {
            sent.model.clone_from(&asked.model);
            tokio::time::sleep(asked.script.latency).await;
            match (failure(&asked), path) {
                (Some(failed), _) => failed,
                (None, p) if p.ends_with("/chat/completions") => match no_chat(&asked.body) {
                    None => return body::chat(sim, asked, sent),
                    Some(why) => error(StatusCode::BAD_REQUEST, "invalid_type", &why),
                },
                (None, p) if p.ends_with("/embeddings") => embeddings::answer(&asked),
                (None, p) => error(StatusCode::NOT_FOUND, "unknown_url", &format!("nothing is at `{method} {p}`")),
            }
        }
    };
    let (mut head, whole) = response.into_parts();
    sent.status = head.status.as_u16();
    let bytes = axum::body::to_bytes(whole, BODY_BYTES_MAX).await.unwrap_or_default();
    sent.bytes = bytes.len();
    sent.usage = serde_json::from_slice::<Value>(&bytes).ok().map(|v| v["usage"].clone()).filter(|u| !u.is_null());
    sim.truth.push(sent);
    common(&mut head.headers, number);
    Response::from_parts(head, Body::from(bytes))
}

fn asked(number: u64, headers: &HeaderMap, body: &Bytes) -> Result<Asked, Response> {
    let wrong = |code: &str, why: &str| error(StatusCode::BAD_REQUEST, code, why);
    let value: Value = serde_json::from_slice(body)
        .map_err(|_| wrong("invalid_json", "We could not parse the JSON body of your request."))?;
    let name = value["model"].as_str().ok_or_else(|| wrong("missing_model", "you must provide a model parameter"))?;
    let (model, in_name) = name.split_once(['?', ';']).unwrap_or((name, ""));
    let header = headers.get(SCRIPT_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut script = Script::default();
    script.read(in_name).and_then(|()| script.read(header)).map_err(|why| wrong("unknown_directive", &why))?;
    Ok(Asked { model: model.to_owned(), script, body: value, number })
}

/// What of a chat's body has the wrong type, as a strict provider tells it.
fn no_chat(body: &Value) -> Option<String> {
    let Some(messages) = body["messages"].as_array() else { return Some("'messages' must be a list".to_owned()) };
    let wrong = |message: &Value| {
        !message.is_object() || !matches!(message["content"], Value::String(_) | Value::Array(_) | Value::Null)
    };
    if let Some(at) = messages.iter().position(wrong) {
        return Some(format!("'messages[{at}]' must be an object whose 'content' is a text or a list"));
    }
    let number = |name: &&str| !matches!(body[*name], Value::Null | Value::Number(_));
    ["max_tokens", "max_completion_tokens", "n", "temperature", "top_p", "seed"]
        .iter()
        .find(|name| number(name))
        .map(|name| format!("'{name}' must be a number"))
}

/// An error that the script asks for.
fn failure(asked: &Asked) -> Option<Response> {
    let script = &asked.script;
    let flaky = script.flaky.is_some_and(|n| asked.number.is_multiple_of(n));
    let status = script.status.or(flaky.then_some(500))?;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match script.failure {
        Some(Failure::Html) => {
            text(status, "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>".to_owned())
        }
        Some(Failure::Empty) => text(status, "text/plain", String::new()),
        Some(Failure::Quota) => {
            shaped(status, "insufficient_quota", "insufficient_quota", "You exceeded your current quota.")
        }
        Some(Failure::Context) => {
            error(status, "context_length_exceeded", "This model's maximum context length is 8192 tokens.")
        }
        Some(Failure::Filter) => error(status, "content_filter", "The response was filtered."),
        None => {
            let (kind, code) = match status.as_u16() {
                401 => ("invalid_request_error", "invalid_api_key"),
                429 => ("rate_limit_error", "rate_limit_exceeded"),
                404 => ("invalid_request_error", "model_not_found"),
                400..=499 => ("invalid_request_error", "invalid_value"),
                _ => ("server_error", "server_error"),
            };
            shaped(status, kind, code, &format!("sim was told to answer {}", status.as_u16()))
        }
    };
    if let Some(seconds) = script.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Some(response)
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    shaped(status, "invalid_request_error", code, message)
}

fn shaped(status: StatusCode, kind: &str, code: &str, message: &str) -> Response {
    let body = json!({ "error": { "message": message, "type": kind, "param": null, "code": code } });
    text(status, "application/json", body.to_string())
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Headers that OpenAI sends with every answer.
fn common(headers: &mut HeaderMap, number: u64) {
    let mut put = |name: &'static str, value: String| {
        headers.insert(name, HeaderValue::try_from(value).expect("numbers and letters may stand in a header"));
    };
    put("x-request-id", format!("req_sim_{number:012}"));
    put("openai-processing-ms", "1".to_owned());
    put("openai-version", "2020-10-01".to_owned());
    put("x-ratelimit-limit-requests", "100000".to_owned());
    put("x-ratelimit-remaining-requests", "99999".to_owned());
    put("x-ratelimit-reset-requests", "1ms".to_owned());
}

/// One tick: what the clock of answers shows, so that they are the same on every day.
const CREATED: u64 = 1_767_225_600;

/// How long a stalled stream keeps its connection open.
const STALL: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;

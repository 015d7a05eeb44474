//! `sim`: a scripted provider that speaks every dialect of conversations on a real socket.
//!
//! It is what the quick start, the tests and fault suites talk to, and it is reached like any provider. What it does is
//! scripted per request, by the model's name (`sim-1?latency=200&cut=5`) or the header `x-sim: latency=200,cut=5`; the
//! directives are listed in `script`. It keeps a truth log of what it received and sent: `GET /sim/truth`.

mod answer;
mod body;
mod chat;
mod counts;
mod dialects;
mod embeddings;
mod errors;
mod held;
mod media;
mod question;
mod script;
mod truth;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;
use tollgate_core::contract::Dialect;
use tollgate_core::contract::form::{self, Form};
use tollgate_core::contract::read::Wrong;
use tollgate_core::contract::skim::{Skim, skim};
use tollgate_core::dialects::paths::{Address, Place, Verb, address, call};
use tollgate_core::dialects::{Given, codec, spots};

use crate::api;
use crate::http::{Provider, Timers};
use answer::Chat;
use body::Ready;
use errors::{Family, family, wrong};
use held::Held;
use question::Question;
use script::Script;
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
        api: api::sim(),
        unlisted: true,
        timers: Timers::default(),
        ..Provider::at(NAME, base_url)
    }
}

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener, options: SimOptions) -> std::io::Result<()> {
    let sim = Arc::new(Sim { truth: Truth::new(options.truth_max), held: Held::default() });
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
    held: Held,
}

/// One request on its way through.
struct Asked {
    dialect: Dialect,
    model: String,
    stream: bool,
    /// A stream of Google's for which nobody asked for server-sent events.
    as_array: bool,
    script: Script,
    body: Value,
    bytes: Bytes,
    /// The same as a form, where it came as one.
    form: Option<Form>,
    place: Place,
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
    let known = place(&method, path);
    let dialect = known.as_ref().map_or(Dialect::OpenaiChat, |address| address.dialect);
    let response = match asked(number, known, (&method, &uri), &headers, body) {
        Err(error) => error,
        Ok(asked) => {
            sent.model.clone_from(&asked.model);
            tokio::time::sleep(asked.script.latency).await;
            match failure(&asked).map_or_else(|| respond(&sim.held, &asked, path), Told::Whole) {
                Told::Whole(whole) => whole,
                Told::Body(ready, usage) => {
                    sent.usage = usage;
                    return body::answer(sim, &asked, sent, ready);
                }
            }
        }
    };
    let (mut head, whole) = response.into_parts();
    sent.status = head.status.as_u16();
    let bytes = axum::body::to_bytes(whole, BODY_BYTES_MAX).await.unwrap_or_default();
    sent.bytes = bytes.len();
    sent.usage = serde_json::from_slice::<Value>(&bytes).ok().map(|v| v["usage"].clone()).filter(|u| !u.is_null());
    sim.truth.push(sent);
    common(&mut head.headers, dialect, number);
    Response::from_parts(head, Body::from(bytes))
}

/// What is at a path: the places of every dialect, and those of OpenAI's below any other path.
fn place(method: &Method, path: &str) -> Option<Address> {
    if let Some(held) = call(method, path).or_else(|| call(method, &format!("/v1{path}"))) {
        return Some(held);
    }
    let below = ["/chat/completions", "/embeddings"].into_iter().find(|end| path.ends_with(end));
    address(&format!("/v1{}", below?))
}

fn asked(
    number: u64,
    place: Option<Address>,
    (method, uri): (&Method, &Uri),
    headers: &HeaderMap,
    bytes: Bytes,
) -> Result<Asked, Response> {
    let Some(place) = place else {
        let told = format!("nothing is at `{method} {}`", uri.path());
        return Err(wrong(Dialect::OpenaiChat, StatusCode::NOT_FOUND, "unknown_url", &told));
    };
    let dialect = place.dialect;
    let wrong = |code: &str, why: &str| wrong(dialect, StatusCode::BAD_REQUEST, code, why);
    let (body, form) = read(&place, headers, &bytes).map_err(|why| wrong("invalid_json", &why))?;
    let name = body["model"].as_str().filter(|_| place.model.is_none() || spots::model_in_body(dialect));
    let name = name.or(place.model.as_deref()).or(usual_model(&place));
    let name = name.ok_or_else(|| wrong("missing_model", "you must provide a model parameter"))?;
    let (model, in_name) = name.split_once(['?', ';']).unwrap_or((name, ""));
    let header = headers.get(SCRIPT_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut script = Script::default();
    script.read(in_name).and_then(|()| script.read(header)).map_err(|why| wrong("unknown_directive", &why))?;
    let in_query = |word: &str| uri.query().is_some_and(|query| query.split('&').any(|pair| pair == word));
    let in_body = || body["stream"].as_bool().unwrap_or_else(|| spots::streams_by_default(dialect));
    // What is held can be asked for as a stream in the URL only.
    let held_stream = place.place.verb == Verb::Get && in_query("stream=true");
    let stream = place.stream.unwrap_or_else(|| held_stream || in_body());
    let as_events = in_query("alt=sse");
    Ok(Asked {
        dialect,
        model: model.to_owned(),
        stream,
        as_array: dialect == Dialect::Gemini && stream && !as_events,
        script,
        body,
        bytes,
        form,
        place: place.place,
        number,
    })
}

/// A body as an object: JSON, the fields of a form, or nothing where nothing is needed.
fn read(place: &Address, headers: &HeaderMap, bytes: &Bytes) -> Result<(Value, Option<Form>), String> {
    if bytes.is_empty() && (place.place.verb != Verb::Post || place.place.id.is_some()) {
        return Ok((Value::Object(Default::default()), None));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match form::boundary(kind) {
        Some(boundary) => {
            let form = boundary.and_then(|boundary| Form::read(bytes.clone(), boundary)).map_err(|e| e.to_string())?;
            let fields = form.fields().map_err(|e| e.to_string())?;
            Ok((Value::Object(fields), Some(form)))
        }
        None => {
            let told = |_| "We could not parse the JSON body of your request.".to_owned();
            Ok((serde_json::from_slice(bytes).map_err(told)?, None))
        }
    }
}

/// Of calls that need not name one.
fn usual_model(place: &Address) -> Option<&'static str> {
    let needs_none = place.place.id.is_some()
        || matches!(
            place.dialect,
            Dialect::OpenaiFiles | Dialect::OpenaiBatches | Dialect::OpenaiImages | Dialect::OpenaiModerations
        );
    needs_none.then_some("sim-1")
}

/// An answer in one piece, or one that is written as the script says, with the usage that it tells.
enum Told {
    Whole(Response),
    Body(Ready, Option<Value>),
}

fn respond(held: &Held, asked: &Asked, path: &str) -> Told {
    let refuse = |code: &str, why: &str| Told::Whole(wrong(asked.dialect, StatusCode::BAD_REQUEST, code, why));
    if asked.dialect == Dialect::OpenaiChat {
        return match no_chat(&asked.body) {
            Some(why) => refuse("invalid_type", &why),
            None => chat(asked),
        };
    }
    if asked.place.id.is_some() || matches!(asked.dialect, Dialect::OpenaiFiles | Dialect::OpenaiBatches) {
        return held.answer(asked);
    }
    if matches!(asked.dialect, Dialect::OpenaiImages | Dialect::OpenaiAudio | Dialect::OpenaiModerations) {
        return media::answer(asked);
    }
    if let Err(why) = held.refers(asked) {
        return why;
    }
    let skimmed = match skim(&asked.bytes) {
        Ok(skimmed) => skimmed,
        Err(why) => return refuse("invalid_json", &why.to_string()),
    };
    match spoken(held, asked, &skimmed) {
        Ok(Some(told)) => told,
        Ok(None) => {
            let why = format!("nothing is at `POST {path}`");
            Told::Whole(wrong(asked.dialect, StatusCode::NOT_FOUND, "unknown_url", &why))
        }
        Err(why) => refuse("invalid_type", &why.to_string()),
    }
}

fn chat(asked: &Asked) -> Told {
    let chat = Chat::of(&Question::of_chat(&asked.body), &asked.script, asked.number);
    let (pieces, content_type) = match asked.stream {
        true => (chat::events(&chat, asked), "text/event-stream; charset=utf-8"),
        false => {
            let json = chat::whole(&chat, &asked.model).to_string();
            (body::whole(json.into(), &asked.script), "application/json")
        }
    };
    Told::Body(Ready { pieces, stream: asked.stream, content_type }, chat.usage_json())
}

/// Every dialect but OpenAI's chat. `None` = it has no answer here.
fn spoken(held: &Held, asked: &Asked, skimmed: &Skim) -> Result<Option<Told>, Wrong> {
    let given = Given {
        call_id: "",
        now_s: CREATED as i64,
        model: &asked.model,
        stream: asked.stream,
        include_usage: true,
        as_array: asked.as_array,
        own_tools: &[],
        asked: &[],
    };
    if let Some(codec) = codec(asked.dialect) {
        let request = codec.read_request(&asked.bytes, skimmed, &given)?;
        let chat = Chat::of(&Question::of(&request), &asked.script, asked.number);
        let ready = dialects::ready(&chat, asked, codec, &request.own_tools());
        if asked.dialect == Dialect::OpenaiResponses && asked.body["store"] != false {
            held.keep_response(asked, dialects::whole(&chat, asked, codec));
        }
        return Ok(Some(Told::Body(ready, chat.usage_json())));
    }
    let whole = match asked.dialect {
        Dialect::OpenaiEmbeddings => embeddings::openai(asked),
        Dialect::CohereEmbed => embeddings::cohere(asked),
        Dialect::GeminiEmbed | Dialect::GeminiBatchEmbed => embeddings::gemini(asked, skimmed, &given)?,
        Dialect::AnthropicCountTokens | Dialect::GeminiCountTokens => counts::answer(asked, skimmed, &given)?,
        Dialect::OpenaiChat
        | Dialect::OpenaiResponses
        | Dialect::OpenaiCompletions
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches
        | Dialect::AnthropicMessages
        | Dialect::Gemini
        | Dialect::BedrockConverse
        | Dialect::CohereChat
        | Dialect::CohereRerank
        | Dialect::OllamaChat
        | Dialect::OllamaGenerate
        | Dialect::BedrockInvoke
        | Dialect::BedrockInvokeEmbed
        | Dialect::BedrockCountTokens
        | Dialect::CohereV1Chat
        | Dialect::CohereV1Embed
        | Dialect::CohereV1Rerank
        | Dialect::VertexPredict => return Ok(None),
    };
    Ok(Some(Told::Whole(whole)))
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
    let flaky = asked.script.flaky.is_some_and(|n| asked.number.is_multiple_of(n));
    let status = asked.script.status.or((flaky && asked.script.failure.is_none()).then_some(500));
    errors::scripted(asked.dialect, &asked.script, status)
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Headers that the dialect's own provider sends with every answer.
fn common(headers: &mut HeaderMap, dialect: Dialect, number: u64) {
    let mut put = |name: &'static str, value: String| {
        headers.insert(name, HeaderValue::try_from(value).expect("numbers and letters may stand in a header"));
    };
    let id = format!("req_sim_{number:012}");
    match family(dialect) {
        Family::Openai => {
            put("x-request-id", id);
            put("openai-processing-ms", "1".to_owned());
            put("openai-version", "2020-10-01".to_owned());
            put("x-ratelimit-limit-requests", "100000".to_owned());
            put("x-ratelimit-remaining-requests", "99999".to_owned());
            put("x-ratelimit-reset-requests", "1ms".to_owned());
        }
        Family::Anthropic => put("request-id", id),
        Family::Bedrock => put("x-amzn-requestid", id),
        Family::Google | Family::Cohere | Family::Ollama => put("x-request-id", id),
    }
}

/// One tick: what the clock of answers shows, so that they are the same on every day.
const CREATED: u64 = 1_767_225_600;

/// How long a stalled stream keeps its connection open.
const STALL: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;

//! The paths of the callers' port, for OpenAPI: calls by the table of dialects, and the lists of models.

use serde_json::{Map, Value, json};
use tollgate_core::contract::Dialect;
use tollgate_core::contract::meta::Field;
use tollgate_core::contract::refusal::{Category, Refusal};
use tollgate_core::dialects::paths::{Address, Verb, templates};
use tollgate_core::dialects::{codec, frames::Framing};
use tollgate_core::pipeline::{head, translate, wire};

use super::super::models;

pub fn paths() -> Map<String, Value> {
    let mut all = Map::new();
    for (path, address) in templates() {
        let verb = address.place.verb.method().as_str().to_ascii_lowercase();
        let told = call(&verb, &path, &address);
        all.entry(path).or_insert_with(|| json!({}))[verb] = told;
    }
    for path in models::PATHS {
        all.insert(path.to_owned(), json!({ "get": list(path) }));
        all.insert(format!("{path}/{{id}}"), json!({ "get": one_model(path) }));
    }
    let hello = json!({ "description": "It is there.", "content": { "text/plain": {} } });
    all.insert("/".to_owned(), json!({ "get": plain("hello", "Says what is here", hello) }));
    let this = json!({ "description": "OpenAPI 3.1.", "content": { "application/json": {} } });
    all.insert(super::PATH.to_owned(), json!({ "get": plain("openapi", "This document", this) }));
    all
}

/// A name for the operation, unlike every other: the path, spelled with letters.
fn operation_id(verb: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(verb.to_owned(), |id, word| format!("{id}_{word}"))
}

/// What needs no credential.
fn plain(id: &str, summary: &str, answer: Value) -> Value {
    json!({ "operationId": id, "summary": summary, "security": [], "responses": { "200": answer } })
}

fn call(verb: &str, path: &str, address: &Address) -> Value {
    let dialect = address.dialect;
    let canonical = dialect == Dialect::OpenaiChat;
    let body = match canonical {
        true => json!({ "$ref": "#/components/schemas/request" }),
        false => json!({
            "description": format!("As `{}` says; the object `tollgate` may stand in it.", dialect.name()),
            "type": "object",
            "properties": { "tollgate": { "$ref": "#/components/schemas/declared" } },
        }),
    };
    let mut told = json!({
        "operationId": operation_id(verb, path),
        "summary": format!("{} ({})", dialect.operation().name(), dialect.name()),
        "tags": [dialect.name()],
        "x-tollgate-dialect": dialect.name(),
        "parameters": parameters(path),
        "responses": responses(dialect, address.stream),
    });
    if address.place.verb == Verb::Post && address.place.id.is_none() {
        let mut content = Map::from_iter([("application/json".to_owned(), json!({ "schema": body }))]);
        if wire::takes_forms(dialect) {
            content.insert("multipart/form-data".to_owned(), json!({ "schema": { "type": "object" } }));
        }
        told["requestBody"] = json!({ "required": true, "content": content });
    }
    told
}

fn parameters(path: &str) -> Vec<Value> {
    let in_path = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let in_path = in_path.map(|name| {
        let told = match name {
            "model" => "A model string, percent-encoded.",
            "id" => "A model of the list, or what a provider holds.",
            _ => "Read by nobody: the target is chosen here.",
        };
        json!({ "name": name, "in": "path", "required": true, "description": told, "schema": { "type": "string" } })
    });
    let headers = Field::ALL.iter().map(|field| field.header()).chain(["x-request-id", "idempotency-key"]);
    let headers = headers.map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }));
    in_path.chain(headers).collect()
}

/// The answer and every refusal.
fn responses(dialect: Dialect, stream: Option<bool>) -> Map<String, Value> {
    let mut all = refusals(dialect);
    all.insert("200".to_owned(), json!({ "$ref": format!("#/components/responses/{}", answer_name(dialect, stream)) }));
    all
}

fn answer_name(dialect: Dialect, stream: Option<bool>) -> String {
    let kind = match stream {
        None => "",
        Some(true) => ".stream",
        Some(false) => ".whole",
    };
    format!("{}{kind}", dialect.name())
}

/// The answers of all dialects, by what paths call them.
pub fn answers() -> impl Iterator<Item = (String, Value)> {
    templates().map(|(_, told)| (answer_name(told.dialect, told.stream), answer(told.dialect, told.stream)))
}

/// An answer, streamed or not.
fn answer(dialect: Dialect, stream: Option<bool>) -> Value {
    let schema = |name: &str| match dialect == Dialect::OpenaiChat {
        true => json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } }),
        false => json!({}),
    };
    let mut content = Map::new();
    if stream != Some(true) || dialect == Dialect::Gemini {
        content.insert("application/json".to_owned(), schema("answer"));
    }
    if let Some(framing) = codec(dialect).map(|codec| codec.framing()).filter(|_| stream != Some(false)) {
        content.insert(media_type(framing).to_owned(), schema("chunk"));
    }
    let told = format!("In the dialect `{}`. Each event of a stream is what the schema describes.", dialect.name());
    json!({ "description": told, "headers": answer_headers(), "content": content })
}

fn media_type(framing: Framing) -> &'static str {
    match framing {
        Framing::Sse => "text/event-stream",
        Framing::Ndjson => "application/x-ndjson",
        Framing::JsonArray => "application/json",
        Framing::EventStream => "application/vnd.amazon.eventstream",
    }
}

fn answer_headers() -> Map<String, Value> {
    let only_refusals = ["tollgate-refusal", "x-should-retry", "retry-after", "retry-after-ms", "content-type"];
    let ours = head::described().into_iter().filter(|(name, _)| !only_refusals.contains(&name.as_str()));
    ours.map(|(name, _)| (name.as_str().to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })))
        .collect()
}

/// By the statuses that this dialect's clients expect: where they differ from the contract's, the categories are told.
fn refusals(dialect: Dialect) -> Map<String, Value> {
    let voice = translate::voice(dialect);
    let mut all = Map::new();
    let told = Category::ALL.iter().filter(|category| **category != Category::Interrupted);
    let told = told.map(|category| Refusal::new(*category, category.name(), ""));
    for refusal in told.chain([Refusal::new(Category::Conflict, "idempotency_key_reused", "")]) {
        let (status, common) = (voice.refusal_status(&refusal).as_u16(), refusal.status().as_u16());
        let answer = match status == common {
            true => json!({ "$ref": format!("#/components/responses/{common}") }),
            false => super::refusal(&[refusal.category.name()]),
        };
        all.entry(status.to_string()).or_insert(answer);
    }
    all
}

fn list(path: &str) -> Value {
    let told = "What this caller may use: in OpenAI's shape, in Anthropic's where `anthropic-version` is sent, in Gemini's below `/v1beta` or where `x-goog-api-key` is sent.";
    get_models(path, "Lists models", told)
}

fn one_model(path: &str) -> Value {
    get_models(&format!("{path}/{{id}}"), "Tells of one model", "The model, in the shape of the list.")
}

fn get_models(path: &str, summary: &str, told: &str) -> Value {
    let refused = [Category::InvalidRequest, Category::Auth, Category::Permission, Category::NoRoute];
    let mut answers: Map<String, Value> = refused
        .iter()
        .map(|category| category.status().as_str().to_owned())
        .map(|status| (status.clone(), json!({ "$ref": format!("#/components/responses/{status}") })))
        .collect();
    answers.insert("200".to_owned(), json!({ "description": told, "content": { "application/json": {} } }));
    json!({
        "operationId": operation_id("get", path),
        "summary": summary,
        "tags": ["models"],
        "parameters": parameters(path),
        "responses": answers,
    })
}

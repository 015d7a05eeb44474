//! The contract as documents: a JSON schema of the canonical request and what comes back, and OpenAPI of the callers' port.
//!
//! Both are made from the tables by which calls are served. `docs/reference` holds a copy of each; tests hold them equal.

mod answer;
mod paths;
mod request;
#[cfg(test)]
pub mod tests;

use std::sync::LazyLock;

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tollgate_core::contract::VERSION;
use tollgate_core::contract::meta::Field;
use tollgate_core::contract::refusal::{Category, Refusal};
use tollgate_core::pipeline::arrive::CREDENTIAL_HEADERS;
use tollgate_core::pipeline::head;

pub const PATH: &str = "/openapi.json";

/// The same for everybody, and made once.
pub async fn openapi() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// The scheme that is no header.
const CERTIFICATE: &str = "client_certificate";

fn definitions() -> Map<String, Value> {
    let mut all = request::definitions();
    all.extend(answer::definitions());
    all
}

fn document() -> Value {
    let schemas = definitions().into_iter().map(|(name, schema)| (name, in_components(schema))).collect::<Map<_, _>>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tollgate",
            "version": VERSION,
            "description": "One address for every SDK and every provider. `/v1/chat/completions` with the object `tollgate` is the canonical request; every other path speaks its own provider's protocol.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:4000", "description": "Where a gateway listens that was told nothing else." }],
        "security": CREDENTIAL_HEADERS.iter().map(HeaderName::as_str).chain([CERTIFICATE]).map(|name| json!({ name: [] })).collect::<Vec<_>>(),
        "paths": paths::paths(),
        "components": {
            "schemas": schemas,
            "securitySchemes": credentials(),
            "parameters": parameters(),
            "headers": headers(),
            "responses": refusals().into_iter().chain(paths::answers()).collect::<Map<_, _>>(),
        },
    })
}

/// References of the schema's own document, as they are written in OpenAPI's.
fn in_components(schema: Value) -> Value {
    match schema {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| match (&*name, value) {
                ("$ref", Value::String(to)) => (name, to.replace("#/$defs/", "#/components/schemas/").into()),
                (_, value) => (name, in_components(value)),
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(in_components).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema,
    }
}

/// One credential in any of these headers, where two different ones are refused; or a certificate of the connection.
fn credentials() -> Map<String, Value> {
    let scheme = |name: &str| match name {
        "authorization" => json!({ "type": "http", "scheme": "bearer" }),
        name => json!({ "type": "apiKey", "in": "header", "name": name }),
    };
    let certificate = json!({ "type": "mutualTLS", "description": "Where the gateway asks for client certificates." });
    let headers = CREDENTIAL_HEADERS.iter().map(|name| (name.as_str().to_owned(), scheme(name.as_str())));
    headers.chain([(CERTIFICATE.to_owned(), certificate)]).collect()
}

/// What a caller may say in headers, with every call.
fn parameters() -> Map<String, Value> {
    let header = |name: &str, told: Value, schema: Value| {
        (name.to_owned(), json!({ "name": name, "in": "header", "description": told, "schema": schema }))
    };
    let declared = Field::ALL.iter().map(|field| {
        let mut schema = in_components(request::field_schema(*field));
        let told = schema["description"].take();
        if let Some(members) = schema.as_object_mut() {
            members.remove("description");
        }
        header(field.header(), told, schema)
    });
    let text = || json!({ "type": "string" });
    let others = [
        header("x-request-id", "At most 128 visible ASCII characters; comes back on every answer.".into(), text()),
        header(
            "idempotency-key",
            "The same key and body get the stored answer; another body is refused.".into(),
            text(),
        ),
    ];
    declared.chain(others).collect()
}

fn headers() -> Map<String, Value> {
    let one = |told: &str| json!({ "description": told, "schema": { "type": "string" } });
    // OpenAPI has another place for this one.
    let ours = head::described().into_iter().filter(|(name, _)| *name != header::CONTENT_TYPE);
    ours.map(|(name, told)| (name.as_str().to_owned(), one(told))).collect()
}

/// A refusal for each status, with the categories that have it.
fn refusals() -> Map<String, Value> {
    let mut by_status: Vec<(u16, Vec<&str>)> = Vec::new();
    let reused = Refusal::new(Category::Conflict, "idempotency_key_reused", "");
    let own = [(reused.status().as_u16(), Category::Conflict)];
    // A stream that has begun has its status: there the refusal is an event.
    let all = Category::ALL.iter().filter(|category| **category != Category::Interrupted);
    for (status, category) in all.map(|category| (category.status().as_u16(), *category)).chain(own) {
        match by_status.iter_mut().find(|(known, _)| *known == status) {
            Some((_, names)) => names.push(category.name()),
            None => by_status.push((status, vec![category.name()])),
        }
    }
    by_status.into_iter().map(|(status, names)| (status.to_string(), refusal(&names))).collect()
}

fn refusal(categories: &[&str]) -> Value {
    let headers: Map<String, Value> = head::described()
        .into_iter()
        .filter(|(name, _)| {
            ["tollgate-refusal", "x-should-retry", "x-request-id", "tollgate-call-id"].contains(&name.as_str())
        })
        .map(|(name, _)| (name.as_str().to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })))
        .collect();
    json!({
        "description": format!("Refused: `{}`. In the dialect of the path; OpenAI's is shown. The object `tollgate` is the same in each.", categories.join("`, `")),
        "headers": headers,
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/refusal" } } },
    })
}

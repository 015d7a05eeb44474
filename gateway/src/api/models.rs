//! `GET /v1/models`: what this caller may use, in OpenAI's shape.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tollgate_core::contract::meta::{Declared, Field};
use tollgate_core::contract::refusal::{Category, Refusal};
use tollgate_core::contract::{Dialect, nearest};
use tollgate_core::pipeline::{arrive, identify};
use tollgate_core::routing::catalog::Target;

use super::{Connection, echo, refuse};

pub async fn list(State(connection): State<Connection>, headers: HeaderMap, uri: Uri) -> Response {
    match allowed(&connection, &headers, uri.query()) {
        Ok(models) => answer(&headers, json!({ "object": "list", "data": models })),
        Err(refusal) => refuse(Dialect::OpenaiChat, &headers, refusal),
    }
}

pub async fn one(
    State(connection): State<Connection>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let models = match allowed(&connection, &headers, uri.query()) {
        Ok(models) => models,
        Err(refusal) => return refuse(Dialect::OpenaiChat, &headers, refusal),
    };
    match models.iter().find(|m| m["id"] == *id) {
        Some(model) => answer(&headers, model.clone()),
        None => {
            let hint = nearest::hint(&id, models.iter().filter_map(|m| m["id"].as_str()));
            let told = format!("no model `{id}` is known here, or you may not use it{hint}");
            refuse(Dialect::OpenaiChat, &headers, Refusal::new(Category::NoRoute, "model_not_found", told))
        }
    }
}

fn answer(headers: &HeaderMap, body: Value) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response();
    echo(headers, response.headers_mut());
    response
}

/// Models by name, each once, in the catalog's order.
fn allowed(connection: &Connection, headers: &HeaderMap, query: Option<&str>) -> Result<Vec<Value>, Refusal> {
    let core = &connection.gate.core;
    let declared = Declared::from_headers(headers)?;
    arrive::version(&declared)?;
    let credential = arrive::credential(headers, query)?;
    let revision = core.policies.pin();
    let now_ms = (core.clock.now_ms)();
    let caller = identify::authenticate(core, &revision, &declared, credential.as_ref(), now_ms)?;
    let use_case = declared.get(Field::UseCase).unwrap_or_default();
    let app = declared.get(Field::App).filter(|_| caller.app.is_empty()).unwrap_or(&caller.app);
    let may_use = |target: &Target| {
        core.upstream.serves(&target.provider)
            && target
                .operations
                .iter()
                .any(|operation| revision.tenants.grants(&caller.tenant, app, use_case, *operation, target))
    };
    let mut seen = std::collections::HashSet::new();
    let mut models = Vec::new();
    for target in revision.catalog.targets().iter().filter(|t| may_use(t)) {
        if seen.insert(target.model.clone()) {
            models.push(json!({
                "id": target.model,
                "object": "model",
                "created": 0,
                "owned_by": target.provider,
                "tollgate": { "target": target.id, "family": target.family, "tier": target.tier, "region": target.region },
            }));
        }
    }
    Ok(models)
}

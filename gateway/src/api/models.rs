//! Lists of models: what this caller may use, in the shape of whoever asks.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tollgate_core::contract::meta::{Declared, Field};
use tollgate_core::contract::refusal::{Category, Refusal};
use tollgate_core::contract::{Dialect, Operation, nearest};
use tollgate_core::pipeline::arrive;
use tollgate_core::pipeline::prove::{Proven, Shown, prove};
use tollgate_core::routing::catalog::Target;

use super::{Connection, echo, refuse};

/// Where lists of models are; one model stands below each.
pub const PATHS: [&str; 3] = ["/v1/models", "/v1beta/models", "/openai/v1/models"];

/// When a model was made is not known here, and its clients want a time.
const CREATED_AT: &str = "1970-01-01T00:00:00Z";

/// Whose list it is.
#[derive(Clone, Copy)]
enum Shape {
    Openai,
    Anthropic,
    Gemini,
}

impl Shape {
    /// By path and by headers, for all three have one path in common.
    fn of(uri: &Uri, headers: &HeaderMap) -> Shape {
        let path = uri.path();
        if path.starts_with("/v1beta/") {
            Shape::Gemini
        } else if path.starts_with("/openai/") {
            Shape::Openai
        } else if headers.contains_key("anthropic-version") {
            Shape::Anthropic
        } else if headers.contains_key("x-goog-api-key") {
            Shape::Gemini
        } else {
            Shape::Openai
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Shape::Openai => Dialect::OpenaiChat,
            Shape::Anthropic => Dialect::AnthropicMessages,
            Shape::Gemini => Dialect::Gemini,
        }
    }
}

pub async fn list(State(connection): State<Connection>, headers: HeaderMap, uri: Uri) -> Response {
    let shape = Shape::of(&uri, &headers);
    let models = match allowed(&connection, &headers, uri.query()).await {
        Ok(models) => models,
        Err(refusal) => return refuse(shape.dialect(), &headers, refusal),
    };
    let told: Vec<Value> = models.iter().map(|target| model(shape, target)).collect();
    let id = |target: Option<&Arc<Target>>| target.map(|target| target.model.clone());
    let body = match shape {
        // One page holds them all.
        Shape::Anthropic => {
            json!({ "data": told, "first_id": id(models.first()), "last_id": id(models.last()), "has_more": false })
        }
        Shape::Gemini => json!({ "models": told }),
        Shape::Openai => json!({ "object": "list", "data": told }),
    };
    answer(&headers, body)
}

pub async fn one(
    State(connection): State<Connection>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let shape = Shape::of(&uri, &headers);
    let models = match allowed(&connection, &headers, uri.query()).await {
        Ok(models) => models,
        Err(refusal) => return refuse(shape.dialect(), &headers, refusal),
    };
    match models.iter().find(|target| *target.model == *id) {
        Some(target) => answer(&headers, model(shape, target)),
        None => {
            let hint = nearest::hint(&id, models.iter().map(|target| &*target.model));
            let told = format!("no model `{id}` is known here, or you may not use it{hint}");
            refuse(shape.dialect(), &headers, Refusal::new(Category::NoRoute, "model_not_found", told))
        }
    }
}

/// One model.
fn model(shape: Shape, target: &Target) -> Value {
    let model = &target.model;
    match shape {
        Shape::Anthropic => {
            json!({ "type": "model", "id": model, "display_name": model, "created_at": CREATED_AT })
        }
        Shape::Gemini => {
            let methods: Vec<&str> =
                target.operations.iter().flat_map(|operation| methods(*operation)).copied().collect();
            let mut told = json!({ "name": format!("models/{model}"), "displayName": model, "supportedGenerationMethods": methods });
            for (member, bound) in
                [("inputTokenLimit", target.context_tokens), ("outputTokenLimit", target.output_tokens_max)]
            {
                if let Some(bound) = bound {
                    told[member] = bound.into();
                }
            }
            told
        }
        Shape::Openai => json!({
            "id": model,
            "object": "model",
            "created": 0,
            "owned_by": target.provider,
            "tollgate": { "target": target.id, "family": target.family, "tier": target.tier, "region": target.region },
        }),
    }
}

/// What may be asked of it, as Gemini names that.
fn methods(operation: Operation) -> &'static [&'static str] {
    match operation {
        Operation::Chat => &["generateContent", "streamGenerateContent", "countTokens"],
        Operation::Embeddings => &["embedContent", "batchEmbedContents"],
        Operation::Completions
        | Operation::CountTokens
        | Operation::Rerank
        | Operation::Images
        | Operation::Audio
        | Operation::Moderations
        | Operation::Files
        | Operation::Batches => &[],
    }
}

fn answer(headers: &HeaderMap, body: Value) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response();
    echo(headers, response.headers_mut());
    response
}

/// Models by name, each once, in the catalog's order.
async fn allowed(
    connection: &Connection,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Vec<Arc<Target>>, Refusal> {
    let core = &connection.gate.core;
    let declared = Declared::from_headers(headers)?;
    arrive::version(&declared)?;
    let credential = arrive::credential(headers, query)?;
    let revision = core.policies.pin();
    let now_ms = (core.clock.now_ms)();
    let certificate = connection.certified(headers, now_ms)?.map(|of| &**of);
    let shown = Shown { credential: credential.as_ref(), certificate, address: &connection.peer, now_ms };
    let proven = prove(core, &revision, &declared, &shown).await?;
    proven.calls()?;
    let Proven { caller, scopes, .. } = proven;
    let use_case = declared.get(Field::UseCase).unwrap_or_default();
    let app = declared.get(Field::App).filter(|_| caller.app.is_empty()).unwrap_or(&caller.app);
    let may_use = |target: &Target| {
        core.upstream.serves(&target.provider)
            && target
                .operations
                .iter()
                .filter(|operation| scopes.admits(**operation))
                .any(|operation| revision.tenants.grants(&caller.tenant, app, use_case, *operation, target))
    };
    let mut seen = std::collections::HashSet::new();
    let usable = revision.catalog.targets().iter().filter(|target| may_use(target));
    Ok(usable.filter(|target| seen.insert(target.model.clone())).cloned().collect())
}

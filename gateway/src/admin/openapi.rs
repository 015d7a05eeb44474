//! OpenAPI of the operators' side: made from the table of routes by which it is served, and a description of each.
//!
//! A route without a description, or a description without a route, fails a test; so does a body that is read otherwise.

mod schemas;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::rights::Right;
use super::{Route, table};

/// What is said of a route beside its method, path and right.
struct About {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// Query parameters, by name in `schemas::query`.
    query: &'static [&'static str],
    /// Its body, by name in `schemas`.
    body: Option<&'static str>,
    /// Its answer, by name in `schemas`; absent = no JSON.
    answer: Option<&'static str>,
}

/// With a query, a body and an answer.
const fn about(method: &'static str, path: &'static str, summary: &'static str) -> About {
    About { method, path, summary, query: &[], body: None, answer: None }
}

const DRY: &[&str] = &["dry_run"];

const ABOUT: &[About] = &[
    about("GET", "/livez", "The process lives"),
    About {
        answer: Some("ready"),
        ..about("GET", "/readyz", "A revision decides: which, since when, why no newer one")
    },
    about("GET", "/metrics", "What is counted, as OpenMetrics"),
    About { answer: Some("index"), ..about("GET", "/admin/v1", "All routes, with the right that each needs") },
    about("GET", "/admin/v1/openapi.json", "This document"),
    About {
        answer: Some("doctor"),
        ..about("GET", "/admin/v1/doctor", "How the running gateway stands: what `tollgate doctor` asks it")
    },
    About {
        answer: Some("status"),
        ..about("GET", "/admin/v1/policies", "The active revision and what is live beside it")
    },
    About {
        body: Some("second"),
        answer: Some("report"),
        ..about("POST", "/admin/v1/policies/second", "Begin a rehearsal or a canary")
    },
    About {
        answer: Some("report"),
        ..about("DELETE", "/admin/v1/policies/second", "End it, and tell what it came to")
    },
    About {
        body: Some("revision"),
        answer: Some("status"),
        ..about("POST", "/admin/v1/policies/pin", "Make a revision active and hold it")
    },
    About { answer: Some("status"), ..about("DELETE", "/admin/v1/policies/pin", "Let go of it: the newest acts") },
    About {
        body: Some("lower"),
        answer: Some("status"),
        ..about("POST", "/admin/v1/policies/lowered", "Let a policy act less than it declares, for a while")
    },
    About {
        body: Some("restore"),
        answer: Some("status"),
        ..about("DELETE", "/admin/v1/policies/lowered", "Let it act as it declares again")
    },
    About {
        answer: Some("status"),
        ..about("POST", "/admin/v1/policies/rollback", "Back to the revision before, and hold it")
    },
    About {
        query: &["revision"],
        answer: Some("diff"),
        ..about("GET", "/admin/v1/policies/diff", "What another revision would change")
    },
    About {
        answer: Some("hint"),
        ..about("POST", "/admin/v1/policies/hint", "A git host says that something was pushed")
    },
    About {
        query: &["tenant", "after", "limit"],
        answer: Some("keys"),
        ..about("GET", "/admin/v1/keys", "A page of keys, by id")
    },
    About {
        query: DRY,
        body: Some("new_key"),
        answer: Some("made_key"),
        ..about("POST", "/admin/v1/keys", "Make a key; it is shown once")
    },
    About { answer: Some("key"), ..about("GET", "/admin/v1/keys/{id}", "One key") },
    About {
        query: DRY,
        body: Some("rotate"),
        answer: Some("made_key"),
        ..about("POST", "/admin/v1/keys/{id}/rotate", "Another secret for the same key")
    },
    About {
        query: DRY,
        answer: Some("revoked_key"),
        ..about("DELETE", "/admin/v1/keys/{id}", "Refuse it from now on")
    },
    About {
        query: &["rule", "tenant", "scope", "after", "limit"],
        answer: Some("budgets"),
        ..about("GET", "/admin/v1/budgets", "A page of balances, by scope")
    },
    About {
        answer: Some("balance"),
        ..about("GET", "/admin/v1/budgets/{rule}/{scope}", "How one scope stands, used or not")
    },
    About {
        answer: Some("grants"),
        ..about("GET", "/admin/v1/budgets/{rule}/{scope}/grants", "Grants in force, and those that ended within a week")
    },
    About {
        query: DRY,
        body: Some("new_amendment"),
        answer: Some("amended"),
        ..about(
            "POST",
            "/admin/v1/budgets/{rule}/{scope}/grants",
            "Raise the limit of a scope by an amount, until a time",
        )
    },
    About {
        query: DRY,
        answer: Some("amended"),
        ..about("DELETE", "/admin/v1/budgets/{rule}/{scope}/grants/{id}", "End a grant now")
    },
    About {
        answer: Some("overrides"),
        ..about(
            "GET",
            "/admin/v1/budgets/{rule}/{scope}/overrides",
            "Overrides in force, and those that ended within a week",
        )
    },
    About {
        query: DRY,
        body: Some("new_amendment"),
        answer: Some("amended"),
        ..about(
            "POST",
            "/admin/v1/budgets/{rule}/{scope}/overrides",
            "Another limit in the limit's place, until a time; `*` = every scope of the rule",
        )
    },
    About {
        query: DRY,
        answer: Some("amended"),
        ..about("DELETE", "/admin/v1/budgets/{rule}/{scope}/overrides/{id}", "End an override now")
    },
];

/// The same for everybody, and made once.
pub(super) async fn served() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

fn document() -> Value {
    let mut paths = Map::new();
    for Route(method, path, right, _) in table() {
        let about = ABOUT.iter().find(|about| about.method == method && about.path == path);
        let told = about.map_or_else(|| json!({}), |about| operation(about, right));
        paths.entry(path).or_insert_with(|| json!({}))[method.to_ascii_lowercase()] = told;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tollgate, operators' side",
            "version": "1",
            "description": "Keys, budgets and policies of a running gateway. Whoever asks shows the operators' token, or a key with the scope that `x-tollgate-needs` names.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:4001", "description": "Where a gateway listens for operators that was told nothing else." }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(about: &About, right: Right) -> Value {
    let words = about.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let id = words.fold(about.method.to_ascii_lowercase(), |id, word| format!("{id}_{word}"));
    let mut told = json!({
        "operationId": id,
        "summary": about.summary,
        "x-tollgate-needs": right.name(),
        "parameters": parameters(about),
        "responses": responses(about, right),
    });
    if right == Right::Nothing {
        told["security"] = json!([]);
    }
    if let Some(name) = about.body {
        told["requestBody"] = json!({ "required": name != "rotate", "content": in_json(name) });
    }
    told
}

fn in_json(name: &str) -> Value {
    json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{name}") } } })
}

fn parameters(about: &About) -> Vec<Value> {
    let in_path = about.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let in_path = in_path.map(|name| {
        let told = schemas::in_path(name);
        json!({ "name": name, "in": "path", "required": true, "description": told, "schema": { "type": "string" } })
    });
    let query = about.query.iter().map(|name| {
        let (told, schema) = schemas::in_query(name);
        json!({ "name": name, "in": "query", "required": *name == "revision", "description": told, "schema": schema })
    });
    let told = "The ETag that must still hold; else 412 and nothing changes.";
    let only_if = json!({ "name": "if-match", "in": "header", "description": told, "schema": { "type": "string" } });
    let takes_it = about.query == DRY && about.body != Some("new_key");
    in_path.chain(query).chain(takes_it.then_some(only_if)).collect()
}

fn responses(about: &About, right: Right) -> Value {
    let mut answer = json!({ "description": "Done, or told." });
    if let Some(name) = about.answer {
        answer["content"] = in_json(name);
    }
    let mut all = json!({ "200": answer.clone() });
    if about.body.is_some() && about.query == DRY && about.body != Some("rotate") {
        answer["description"] = "Made.".into();
        all["201"] = answer;
    }
    if right != Right::Nothing {
        all["default"] =
            json!({ "description": "Not done: nothing changed, but where it says so.", "content": in_json("failed") });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::published::tests::{is_as_made, references};

    #[test]
    fn every_route_is_described_and_every_description_is_of_a_route() {
        let routes = table();
        for Route(method, path, ..) in &routes {
            let count = ABOUT.iter().filter(|about| about.method == *method && about.path == *path).count();
            assert_eq!(count, 1, "{method} {path} is described {count} times in gateway/src/admin/openapi.rs");
        }
        assert_eq!(ABOUT.len(), routes.len(), "a description is of no route");
    }

    #[test]
    fn the_reference_holds_what_is_served() {
        is_as_made("admin-openapi.json", &document());
    }

    #[test]
    fn nothing_points_nowhere_and_nothing_is_described_that_nobody_uses() {
        let document = document();
        let mut used = std::collections::HashSet::new();
        references(&document, &mut |to| {
            assert!(document.pointer(to.trim_start_matches('#')).is_some(), "`{to}` points nowhere");
            used.insert(to.rsplit('/').next().unwrap().to_owned());
        });
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(used.contains(name), "`{name}` is used by nothing");
        }
    }
}

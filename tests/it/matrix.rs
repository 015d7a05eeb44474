//! Who may do what, for every route of both ports: made from the tables of routes themselves. A route that is not in a table,
//! or whose right this file does not know, fails it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::calls::client;
use crate::keys::{admin, made, token, with_tenants};
use crate::support::gateway::Gateway;
use crate::support::root;

/// One tenant that may do everything, and one that may do nothing.
const TENANTS: &str = "tenants: { acme: , umbrella: }\ngrants:\n  - { for: { tenant: acme } }\n";

/// What is shown, and what the operators' routes answer by the right that they need: 401, 403, or 0 for anything else.
struct Row {
    name: &'static str,
    credential: String,
    read: u16,
    keys: u16,
    budgets: u16,
    all: u16,
    own: u16,
    call: u16,
}

async fn rows(gateway: &Gateway) -> Vec<Row> {
    let scoped =
        async |tenant: &str, scopes: &[&str]| made(gateway, json!({ "tenant": tenant, "scopes": scopes })).await.1;
    let row = |name, credential: String, [read, keys, budgets, all, own, call]: [u16; 6]| Row {
        name,
        credential,
        read,
        keys,
        budgets,
        all,
        own,
        call,
    };
    let (revoked, revoked_key) = made(gateway, json!({ "tenant": "acme", "scopes": ["calls", "admin"] })).await;
    let path = format!("/admin/v1/keys/{revoked}");
    assert_eq!(admin(gateway, &token(gateway), Method::DELETE, &path, Value::Null, None).await.0, 200);
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3;
    let ends = format!("{}Z", utc(soon));
    let (expired, expired_key) =
        made(gateway, json!({ "tenant": "acme", "scopes": ["calls", "admin"], "expires": ends })).await;
    crate::support::gateway::eventually("the end of a key", || {
        let out = crate::support::gateway::tollgate(
            &["key", "list", "--json", "--operators", &gateway.operators],
            &gateway.state,
        );
        let listed: Value = serde_json::from_slice(&out.stdout).ok()?;
        let of = listed["keys"].as_array()?.iter().find(|key| key["id"] == expired.as_str())?;
        (of["state"] == "expired").then_some(())
    });
    vec![
        row("none", String::new(), [401; 6]),
        row("no key at all", "sk-something".to_owned(), [401; 6]),
        row("expired", expired_key, [401; 6]),
        row("revoked", revoked_key, [401; 6]),
        row("of another tenant", scoped("umbrella", &["calls"]).await, [403, 403, 403, 403, 401, 403]),
        row("calls only", scoped("acme", &["calls"]).await, [403, 403, 403, 403, 401, 0]),
        row("one operation that no route has", scoped("acme", &["mint"]).await, [403, 403, 403, 403, 401, 403]),
        row("keys only", scoped("acme", &["keys"]).await, [403, 0, 403, 403, 401, 403]),
        row("balances only", scoped("acme", &["budgets"]).await, [403, 403, 0, 403, 401, 403]),
        row("reads only", scoped("acme", &["admin:read"]).await, [0, 403, 0, 403, 401, 403]),
        row("everything of the operators' side", scoped("acme", &["admin"]).await, [0, 0, 0, 0, 401, 403]),
        row("the operators' token", token(gateway), [0, 0, 0, 0, 0, 401]),
    ]
}

/// `2026-11-24T19:00:00`: by the days of the civil calendar.
pub fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
}

async fn asked(url: String, method: &str, credential: &str) -> u16 {
    let mut request = client().request(method.parse().unwrap(), url);
    if !credential.is_empty() {
        request = request.bearer_auth(credential);
    }
    if method == "POST" {
        request = request.header("content-type", "application/json").body("{}");
    }
    let answer = request.send().await.unwrap();
    // Some dialects tell both with one status: what it is stands in a header.
    match answer.headers().get("tollgate-refusal").map(|value| value.to_str().unwrap()) {
        Some("auth") => 401,
        Some("permission") => 403,
        Some(_) => 400,
        None => answer.status().as_u16(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_operators_asks_for_its_right() {
    let (gateway, _folder) = with_tenants(TENANTS);
    let rows = rows(&gateway).await;
    let (_, _, index) = admin(&gateway, &token(&gateway), Method::GET, "/admin/v1", Value::Null, None).await;
    let routes = index["routes"].as_array().unwrap();
    assert!(routes.len() >= 28, "{index}");
    for route in routes {
        let text = |name: &str| route[name].as_str().unwrap();
        let (method, path) =
            (text("method"), text("path").replace("{id}", "none").replace("{rule}", "none").replace("{scope}", "all"));
        for row in &rows {
            let expected = match text("needs") {
                "nothing" => 0,
                "admin:read" => row.read,
                "keys" => row.keys,
                "budgets" => row.budgets,
                "admin" => row.all,
                "its own" => row.own,
                other => panic!("`{other}` of {method} {path} is new: say here who has it"),
            };
            let got = asked(format!("{}{path}", gateway.operators), method, &row.credential).await;
            let got = if matches!(got, 401 | 403) { got } else { 0 };
            assert_eq!(got, expected, "{method} {path} with a credential that is: {}", row.name);
        }
    }
}

/// The texts behind a mark in a source, up to the next quote.
fn texts(file: &str, mark: &str) -> Vec<String> {
    let source = std::fs::read_to_string(root().join(file)).unwrap();
    source.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_callers_asks_for_a_key_that_is_for_it() {
    let (gateway, _folder) = with_tenants(TENANTS);
    let rows = rows(&gateway).await;
    // What is posted: the paths that are written out, and one of each kind that is not.
    let paths = "core/src/dialects/paths.rs";
    let source = std::fs::read_to_string(root().join(paths)).unwrap();
    let fixed = source.split_once("const FIXED").unwrap().1.split_once("];").unwrap().0;
    let mut calls: Vec<String> =
        fixed.split("(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert!(calls.len() >= 17 && calls.iter().all(|path| path.starts_with('/')), "{calls:?}");
    calls.extend(["/openai/deployments/sim-1/chat/completions", "/model/sim-1/converse"].map(str::to_owned));
    calls.push("/v1beta/models/sim-1:generateContent".to_owned());
    for path in &calls {
        for row in &rows {
            let got = asked(gateway.url(path), "POST", &row.credential).await;
            // A key that may call gets as far as its empty body; one of a tenant without grants too, and no further: where a
            // call needs no model, to the grants.
            let got = if matches!(got, 401 | 403) { got } else { 0 };
            let fits = if row.name == "of another tenant" { matches!(got, 0 | 403) } else { got == row.call };
            assert!(fits, "POST {path} with a credential that is: {}: {got}", row.name);
        }
    }
    // The rest, as the router has it.
    for path in texts("gateway/src/api/mod.rs", ".route(\"") {
        let (method, open) = match &*path {
            "/" => ("GET", true),
            "/v1/keys" => ("POST", false),
            list if list.ends_with("/models") || list.ends_with("/models/{*id}") => ("GET", false),
            other => panic!("`{other}` is new: say here what it asks for"),
        };
        for row in &rows {
            let got = asked(gateway.url(&path.replace("{*id}", "sim-1")), method, &row.credential).await;
            let got = if matches!(got, 401 | 403) { got } else { 0 };
            let expected = match (open, &*path, row.name) {
                (true, ..) => 0,
                // None of them has the scope `mint` and calls beside it.
                (_, "/v1/keys", _) => row.call.max(if row.call == 0 { 403 } else { 0 }),
                // Its list is empty.
                (.., "of another tenant") => 0,
                _ => row.call,
            };
            assert_eq!(got, expected, "{method} {path} with a credential that is: {}", row.name);
        }
    }
}

/// A route that stands elsewhere would be in no table.
#[test]
fn routes_stand_in_two_files_only() {
    let mut folders = vec![root().join("gateway/src")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path).unwrap().contains(".route(") {
                found.push(path.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    assert_eq!(found, ["gateway/src/admin.rs", "gateway/src/api/mod.rs"]);
}

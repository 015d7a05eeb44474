//! Budgets at run time, from outside: what a grant and an override do, when they end, who may make one, and what is told.

use reqwest::Method;
use serde_json::{Value, json};

use crate::calls::{chat, post};
use crate::keys::{admin, made, token};
use crate::matrix::utc;
use crate::support::gateway::{Gateway, eventually, tollgate};
use crate::support::repository::Repository;
use crate::support::root;
use crate::support::shape::Shape;

const LIMITS: &str = "budgets:
  day: { per: [tenant], limit_tokens: 3000, period: day }
  money: { per: [tenant, app], limit_usd: \"5\", period: month }
rates:
  busy: { per: [tenant], in_flight: 20 }
";
const DAY: &str = "/admin/v1/budgets/day/tenant=default";

pub fn repository(limits: &str, tenants: Option<&str>) -> Repository {
    let mut files =
        vec![("tollgate-policies.yaml", "api: tollgate.policy/v1\npolicies: []\n"), ("limits.yaml", limits)];
    files.extend(tenants.map(|tenants| ("tenants.yaml", tenants)));
    Repository::new(&files)
}

fn seconds_from_now(seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    format!("{}Z", utc(now + seconds))
}

/// A call that says so many tokens, and whether it was answered.
pub async fn spent(gateway: &Gateway, tokens: u64) -> Result<String, String> {
    let mut body = chat("sim/sim-1");
    body["max_tokens"] = tokens.into();
    let answer = post(gateway, body.to_string(), &[("x-sim", &format!("tokens={tokens}"))]).await;
    let id = answer.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
    match answer.status().as_u16() {
        200 => Ok(id),
        429 => Err(id),
        other => panic!("{other}: {}", answer.text().await.unwrap()),
    }
}

/// An operator's request: status, what was told.
async fn operate(gateway: &Gateway, method: Method, path: &str, body: Value) -> (u16, Value) {
    let (status, _, told) = admin(gateway, &token(gateway), method, path, body, None).await;
    (status, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_lifts_a_refusal_at_once_ends_by_itself_and_outlives_a_kill() {
    let repository = repository(LIMITS, None);
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    spent(&gateway, 1_500).await.unwrap();
    spent(&gateway, 1_500).await.unwrap_err();
    let grant = json!({ "tokens": 3000, "until": seconds_from_now(6), "reason": "a launch" });
    let (status, told) = operate(&gateway, Method::POST, &format!("{DAY}/grants"), grant).await;
    assert_eq!(
        (status, &told["balance"]["limit"], &told["balance"]["limit_of_rule"]),
        (201, &json!(6000), &json!(3000))
    );
    assert_eq!((&told["record"]["state"], &told["record"]["by"]), (&json!("in_force"), &json!("operator-token")));
    let receipt = gateway.receipt(&spent(&gateway, 1_500).await.unwrap());
    let held = receipt["holds"].as_array().unwrap().iter().find(|held| held["rule"] == "day").unwrap();
    assert_eq!(held["limit"], 6000, "the receipt tells the limit as it was: {held}");
    eventually("the end of a grant", || {
        let told =
            tollgate(&["budget", "show", "--json", "--rule", "day", "--operators", &gateway.operators], &gateway.state);
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        (told["budgets"][0]["limit"] == 3000).then_some(())
    });
    spent(&gateway, 1_500).await.unwrap_err();
    let (_, told) = operate(&gateway, Method::GET, &format!("{DAY}/grants"), Value::Null).await;
    assert_eq!(told["grants"][0]["state"], "ended", "what ended is still told: {told}");

    // Another, which outlives a kill and an edit of the rule.
    let grant = json!({ "tokens": 5000, "until": seconds_from_now(3_600), "reason": "more", "id": "ticket-7" });
    assert_eq!(operate(&gateway, Method::POST, &format!("{DAY}/grants"), grant.clone()).await.0, 201);
    repository.commit(&[("limits.yaml", &LIMITS.replace("limit_tokens: 3000", "limit_tokens: 3500"))]);
    let (state, folder) = (gateway.state.clone(), gateway.kill());
    let gateway = Gateway::on(folder, state, &["--policies", repository.address()], None);
    let (_, told) = operate(&gateway, Method::GET, DAY, Value::Null).await;
    assert_eq!((&told["limit"], &told["grants"][0]["id"]), (&json!(8500), &json!("ticket-7")), "{told}");
    assert!(told["used"].as_u64().unwrap() >= 3_000, "{told}");
    spent(&gateway, 1_500).await.unwrap();
    // The same id again does nothing; for something else it is refused.
    assert_eq!(operate(&gateway, Method::POST, &format!("{DAY}/grants"), grant.clone()).await.0, 200);
    let mut other = grant;
    other["tokens"] = 5001.into();
    let (status, told) = operate(&gateway, Method::POST, &format!("{DAY}/grants"), other).await;
    assert_eq!((status, &told["code"]), (409, &json!("conflict")));
    let (_, told) = operate(&gateway, Method::GET, DAY, Value::Null).await;
    assert_eq!(told["limit"], 8500, "granted once: {told}");
    let (status, told) = operate(&gateway, Method::DELETE, &format!("{DAY}/grants/ticket-7"), Value::Null).await;
    assert_eq!((status, &told["record"]["state"], &told["balance"]["limit"]), (200, &json!("revoked"), &json!(3500)));
    spent(&gateway, 1_500).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_holds_for_a_scope_or_a_whole_rule_and_a_dry_run_changes_nothing() {
    let repository = repository(LIMITS, None);
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    let until = seconds_from_now(3_600);
    let set = |tokens: u64| json!({ "tokens": tokens, "until": until, "reason": "at night" });
    let every = "/admin/v1/budgets/day/*/overrides";
    let (status, told) = operate(&gateway, Method::POST, &format!("{every}?dry_run=true"), set(10_000)).await;
    assert_eq!((status, &told["dry_run"], &told["balance"]), (200, &json!(true), &Value::Null), "{told}");
    let dry = operate(&gateway, Method::POST, &format!("{DAY}/overrides?dry_run=true"), set(0)).await.1;
    assert_eq!((&dry["balance"]["limit"], &dry["balance"]["remaining"]), (&json!(0), &json!(0)), "what would be");
    let (_, etag, told) = admin(&gateway, &token(&gateway), Method::GET, DAY, Value::Null, None).await;
    assert_eq!((&told["limit"], &told["overrides"]), (&json!(3000), &json!([])), "nothing was done: {told}");
    assert_eq!(etag, told["etag"].as_str().unwrap());

    assert_eq!(operate(&gateway, Method::POST, every, set(10_000)).await.0, 201);
    spent(&gateway, 1_500).await.unwrap();
    let path = format!("{DAY}/overrides");
    let stale = admin(&gateway, &token(&gateway), Method::POST, &path, set(0), Some(&etag)).await;
    assert_eq!((stale.0, &stale.2["code"]), (412, &json!("stale")), "another has changed it");
    let (_, etag, _) = admin(&gateway, &token(&gateway), Method::GET, DAY, Value::Null, None).await;
    let (status, _, told) = admin(&gateway, &token(&gateway), Method::POST, &path, set(0), Some(&etag)).await;
    assert_eq!((status, &told["balance"]["limit"], &told["balance"]["ratio"]), (201, &json!(0), &json!(1.0)), "{told}");
    spent(&gateway, 1).await.unwrap_err();
    let id = told["record"]["id"].as_str().unwrap();
    assert_eq!(operate(&gateway, Method::DELETE, &format!("{path}/{id}"), Value::Null).await.0, 200);
    spent(&gateway, 1_500).await.unwrap();

    // A rate takes an override and no grant.
    let busy = "/admin/v1/budgets/busy/tenant=default";
    let none = json!({ "in_flight": 0, "until": "period", "reason": "stop" });
    assert_eq!(operate(&gateway, Method::POST, &format!("{busy}/overrides"), none).await.0, 400, "it has no period");
    let none = json!({ "in_flight": 0, "until": until, "reason": "stop" });
    assert_eq!(operate(&gateway, Method::POST, &format!("{busy}/overrides"), none).await.0, 201);
    spent(&gateway, 1).await.unwrap_err();

    let acts = tollgate(&["trail", "acts", "--json"], &gateway.state);
    let acts: Vec<Value> =
        String::from_utf8(acts.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let did: Vec<&str> = acts.iter().map(|act| act["did"].as_str().unwrap()).collect();
    let named = |verb: &str, place: &str| format!("{verb} /admin/v1/budgets/{place}/overrides");
    let day = "day/tenant=default";
    let expected = [
        named("POST", "day/*"),
        named("POST", day),
        format!("{}/{id}", named("DELETE", day)),
        named("POST", "busy/tenant=default"),
    ];
    assert_eq!(did, expected, "each act, and no dry run");
    assert!(acts.iter().all(|act| act["change"]["reason"] != Value::Null && act["actor"] == "operator-token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_balances_reads_those_of_its_tenant() {
    let tenants = "tenants: { acme: , umbrella: }\ngrants:\n  - { for: {} }\n";
    let repository = repository(&LIMITS.replace("[tenant]", "[tenant, user]"), Some(tenants));
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    for tenant in ["acme", "umbrella"] {
        let key = made(&gateway, json!({ "tenant": tenant })).await.1;
        for user in 0..12 {
            let headers = [("authorization", format!("Bearer {key}")), ("tollgate-user", format!("u{user}"))];
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
            assert_eq!(post(&gateway, chat("sim/sim-1").to_string(), &headers).await.status(), 200);
        }
    }
    let key = made(&gateway, json!({ "tenant": "acme", "scopes": ["budgets"] })).await.1;
    let read = async |key: &str, path: &str| admin(&gateway, key, Method::GET, path, Value::Null, None).await;
    let (status, _, own) = read(&key, "/admin/v1/budgets?rule=day").await;
    let own = own["budgets"].as_array().unwrap();
    assert_eq!((status, own.len()), (200, 12));
    assert!(own.iter().all(|of| of["scope"].as_str().unwrap().starts_with("tenant=acme,user=")), "{own:?}");
    let one = own[0]["key"].as_str().unwrap().replace('|', "%7C");
    assert_eq!(read(&key, &format!("/admin/v1/budgets/day/{one}")).await.0, 200, "by its key too");
    let theirs = one.replace("4:acme", "8:umbrella");
    assert_eq!(read(&key, &format!("/admin/v1/budgets/day/{theirs}")).await.0, 404, "as if it was not there");
    let (status, _, _) =
        admin(&gateway, &key, Method::POST, &format!("/admin/v1/budgets/day/{one}/grants"), json!({}), None).await;
    assert_eq!(status, 403, "it reads and changes nothing");

    // Pages, which are the whole and nothing twice.
    let (all, operator) = (read(&token(&gateway), "/admin/v1/budgets").await.2, token(&gateway));
    let all: Vec<&str> = all["budgets"].as_array().unwrap().iter().map(|of| of["key"].as_str().unwrap()).collect();
    assert_eq!(all.len(), 24 + 2, "of `day` each user's, of `money` each tenant's; nothing is in flight: {all:?}");
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let (_, _, page) =
            read(&operator, &format!("/admin/v1/budgets?limit=5&after={}", after.replace('|', "%7C"))).await;
        let page_keys = page["budgets"].as_array().unwrap().iter().map(|of| of["key"].as_str().unwrap().to_owned());
        paged.extend(page_keys);
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, all);
    for (query, count) in [
        ("tenant=umbrella", 13),
        ("rule=day&tenant=acme", 12),
        ("rule=money&scope=tenant%3Dacme%2Capp%3D", 1),
        ("scope=tenant%3Dacme", 13),
    ] {
        let told = read(&operator, &format!("/admin/v1/budgets?{query}")).await.2;
        assert_eq!(told["budgets"].as_array().unwrap().len(), count, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_wrongly_is_told_and_changes_nothing() {
    let repository = repository(LIMITS, None);
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    let until = seconds_from_now(3_600);
    let with = |more: Value| {
        let mut body = json!({ "until": until, "reason": "why" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let money = "/admin/v1/budgets/money/tenant=default,app=";
    let table = [
        (format!("{DAY}/grants"), json!({ "tokens": 5, "reason": "x" }), 400, "`until` is missing"),
        (format!("{DAY}/grants"), json!({ "tokens": 5, "until": until }), 400, "`reason` is missing"),
        (format!("{DAY}/grants"), with(json!({ "tokens": 5, "reason": " " })), 400, "`reason` is missing"),
        (format!("{DAY}/grants"), with(json!({ "tokens": 5, "reason": "a\nb" })), 400, "one line"),
        (format!("{DAY}/grants"), with(json!({ "tokens": 5, "until": "soon" })), 400, "no date and no time"),
        (format!("{DAY}/grants"), with(json!({ "tokens": 5, "until": "2020-01-01" })), 400, "over already"),
        (format!("{DAY}/grants"), with(json!({ "tokens": 5, "until": "2999-01-01" })), 400, "366 days"),
        (format!("{DAY}/grants"), with(json!({ "tokens": 5, "id": "a b" })), 400, "`id`"),
        (format!("{DAY}/grants"), with(json!({ "tokens": 0 })), 400, "does nothing"),
        (format!("{DAY}/grants"), with(json!({ "tokens": -5 })), 400, "negative: true"),
        (format!("{DAY}/grants"), with(json!({ "tokens": 5, "negative": true })), 400, "above 0"),
        (format!("{DAY}/grants"), with(json!({ "tokens": 5.5 })), 400, "invalid type"),
        (format!("{DAY}/grants"), with(json!({ "usd": "5" })), 400, "counts in `tokens`"),
        (format!("{DAY}/grants"), with(json!({})), 400, "`tokens` is missing"),
        (format!("{DAY}/grants"), with(json!({ "token": 5 })), 400, "unknown field `token`"),
        (format!("{money}/grants"), with(json!({ "usd": "1e3" })), 400, "no amount in dollars"),
        (format!("{money}/grants"), with(json!({ "usd": "--5" })), 400, "no amount in dollars"),
        (format!("{money}/grants"), with(json!({ "usd": "0.0000000001" })), 400, "decimals"),
        (format!("{DAY}/overrides"), with(json!({ "tokens": -1 })), 400, "not below 0"),
        (format!("{DAY}/overrides"), with(json!({ "tokens": 1, "negative": true })), 400, "`negative` is of grants"),
        ("/admin/v1/budgets/day/*/grants".to_owned(), with(json!({ "tokens": 5 })), 400, "of one scope"),
        ("/admin/v1/budgets/busy/tenant=default/grants".to_owned(), with(json!({ "in_flight": 5 })), 400, "is a rate"),
        (
            "/admin/v1/budgets/days/tenant=default/grants".to_owned(),
            with(json!({ "tokens": 5 })),
            404,
            "did you mean `day`",
        ),
        ("/admin/v1/budgets/day/default/grants".to_owned(), with(json!({ "tokens": 5 })), 400, "write `tenant=TENANT`"),
    ];
    for (path, body, status, told) in table {
        let (came, answer) = operate(&gateway, Method::POST, &path, body.clone()).await;
        assert_eq!(came, status, "{path} {body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(told), "{path} {body}: `{told}` is not in {answer}");
    }
    assert_eq!(operate(&gateway, Method::DELETE, &format!("{DAY}/grants/none"), Value::Null).await.0, 404);
    let negative = with(json!({ "tokens": -60, "negative": true }));
    let (status, told) = operate(&gateway, Method::POST, &format!("{DAY}/grants"), negative).await;
    assert_eq!(
        (status, &told["balance"]["limit"]),
        (201, &json!(2940)),
        "one that takes away, and the only one: {told}"
    );
    let listed = operate(&gateway, Method::GET, "/admin/v1/budgets", Value::Null).await.1;
    assert_eq!(listed["budgets"].as_array().unwrap().len(), 1, "a scope that only a grant speaks of: {listed}");
}

/// Names in backticks behind `expected`: what a reader of a body or a query takes.
fn taken(error: &str) -> Vec<String> {
    let Some((_, rest)) = error.split_once(", expected ") else { return Vec::new() };
    let rest = rest.split(" at line").next().unwrap();
    let mut names: Vec<String> = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_of_the_operators_side_is_served_and_true() {
    let repository = repository(LIMITS, None);
    let gateway = Gateway::with(&["--policies", repository.address()], None);
    let (status, served) = operate(&gateway, Method::GET, "/admin/v1/openapi.json", Value::Null).await;
    let kept = std::fs::read(root().join("docs/reference/admin-openapi.json")).unwrap();
    assert_eq!((status, &served), (200, &serde_json::from_slice::<Value>(&kept).unwrap()));
    let index = operate(&gateway, Method::GET, "/admin/v1", Value::Null).await.1;
    let mut bodies = 0;
    for route in index["routes"].as_array().unwrap() {
        let (method, path) = (route["method"].as_str().unwrap(), route["path"].as_str().unwrap());
        let told = &served["paths"][path][method.to_lowercase()];
        assert!(told["summary"].is_string() && told["x-tollgate-needs"] == route["needs"], "{method} {path}: {told}");
        let Some(schema) = told["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str() else {
            continue;
        };
        let schema = served.pointer(schema.trim_start_matches('#')).unwrap();
        let mut described: Vec<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        described.sort();
        let url = path.replace("{rule}", "day").replace("{scope}", "tenant=default").replace("{id}", "none");
        let (_, answer) = operate(&gateway, method.parse().unwrap(), &url, json!({ "zzz": 1 })).await;
        let error = answer["error"].as_str().unwrap();
        assert_eq!(described, taken(error), "{method} {path} takes other members than its description says: {error}");
        bodies += 1;
    }
    assert!(bodies >= 8, "{bodies}");

    // What is answered fits what is described.
    let mut document = served.clone();
    document["$defs"] = served["components"]["schemas"].clone();
    let shape = Shape::new(document);
    spent(&gateway, 10).await.unwrap();
    let grant = json!({ "tokens": 5, "until": "period", "reason": "x" });
    for (method, path, body, name) in [
        (Method::POST, format!("{DAY}/grants"), grant.clone(), "amended"),
        (Method::POST, "/admin/v1/budgets/day/*/overrides".to_owned(), grant, "amended"),
        (Method::GET, DAY.to_owned(), Value::Null, "balance"),
        (Method::GET, "/admin/v1/budgets".to_owned(), Value::Null, "budgets"),
        (Method::GET, format!("{DAY}/grants"), Value::Null, "grants"),
        (Method::GET, "/admin/v1/budgets/day/*/overrides".to_owned(), Value::Null, "overrides"),
        (Method::POST, "/admin/v1/keys".to_owned(), json!({ "tenant": "default" }), "made_key"),
        (Method::GET, "/admin/v1/keys".to_owned(), Value::Null, "keys"),
        (Method::GET, "/admin/v1/policies".to_owned(), Value::Null, "status"),
        (Method::GET, "/admin/v1".to_owned(), Value::Null, "index"),
        (Method::GET, "/admin/v1/budgets/none/all".to_owned(), Value::Null, "failed"),
    ] {
        let (_, answer) = operate(&gateway, method, &path, body).await;
        assert_eq!(shape.check_as(name, &answer), Ok(()), "{path}: {answer}");
    }
}

//! The operators' verbs over HTTP, `/admin/v1/...`: one table of routes, with the right that each asks for.
//!
//! Every request shows the operators' token or a key with a scope of their side, on loopback too: a page in a browser on
//! the same machine must not operate the gateway.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_core::pipeline::Core;
use tollgate_core::policy::Mode;
use tollgate_core::policy::parse::sticky_by;
use tollgate_core::policy::tree::Tree;
use tollgate_policy_runtime::guard::Guard;
use tollgate_policy_runtime::reload::Active;
use tollgate_policy_runtime::second::{ALL, Canary, Role};
use tollgate_policy_runtime::source::Bell;
use tollgate_policy_runtime::steer::Unwilling;
use tollgate_policy_runtime::watch::Asker;
use tollgate_providers::Secret;
use tollgate_store::acts::Acts;

mod budgets;
mod hint;
mod keys;
mod openapi;
mod rights;

use rights::{Changed, Right, guard};

use crate::budgets::Budgets;
use crate::doctor::Live;
use crate::keys::Keys;
use crate::operators::Operators;

/// What the verbs work on.
#[derive(Clone)]
pub struct Admin {
    pub operators: Operators,
    pub policies: Arc<Active>,
    pub asker: Asker,
    pub bell: Bell,
    pub token: Arc<str>,
    /// What a git host shows when it hints. Read once: a stranger's request must not make the gateway run a command.
    pub webhook: Option<Secret>,
    pub core: Arc<Core>,
    pub keys: Arc<Keys>,
    pub budgets: Arc<Budgets>,
    pub acts: Arc<Acts>,
    pub doctor: Arc<Live>,
}

/// What a verb came to.
type Came = Result<Value, Failed>;

/// Why a verb was not done; nothing changed.
struct Failed {
    status: StatusCode,
    told: Value,
}

/// One route: method, path, what it asks for, and who answers.
struct Route(&'static str, &'static str, Right, MethodRouter<Admin>);

/// All routes. What is not here is not served, and what is here says what it asks for.
fn table() -> Vec<Route> {
    vec![
        Route("GET", "/livez", Right::Nothing, get(|| async { "ok\n" })),
        Route("GET", "/readyz", Right::Nothing, get(|State(a): State<Admin>| async move { a.operators.ready() })),
        Route("GET", "/metrics", Right::Nothing, get(|State(a): State<Admin>| async move { a.operators.metrics() })),
        Route("GET", "/admin/v1", Right::Read, get(index)),
        Route("GET", "/admin/v1/openapi.json", Right::Read, get(openapi::served)),
        Route("GET", "/admin/v1/doctor", Right::Read, get(doctor)),
        Route("GET", "/admin/v1/policies", Right::Read, get(status)),
        Route("POST", "/admin/v1/policies/second", Right::All, post(second)),
        Route("DELETE", "/admin/v1/policies/second", Right::All, delete(end_second)),
        Route("POST", "/admin/v1/policies/pin", Right::All, post(pin)),
        Route("DELETE", "/admin/v1/policies/pin", Right::All, delete(unpin)),
        Route("POST", "/admin/v1/policies/lowered", Right::All, post(lower)),
        Route("DELETE", "/admin/v1/policies/lowered", Right::All, delete(restore)),
        Route("POST", "/admin/v1/policies/rollback", Right::All, post(rollback)),
        Route("GET", "/admin/v1/policies/diff", Right::Read, get(diff)),
        // A git host shows what it can; the hint itself looks at it.
        Route("POST", "/admin/v1/policies/hint", Right::Own, post(hint::take)),
        Route("GET", "/admin/v1/keys", Right::Keys, get(keys::list)),
        Route("POST", "/admin/v1/keys", Right::Keys, post(keys::make)),
        Route("GET", "/admin/v1/keys/{id}", Right::Keys, get(keys::one)),
        Route("POST", "/admin/v1/keys/{id}/rotate", Right::Keys, post(keys::rotate)),
        Route("DELETE", "/admin/v1/keys/{id}", Right::Keys, delete(keys::revoke)),
        Route("GET", "/admin/v1/budgets", Right::Budgets, get(budgets::list)),
        Route("GET", "/admin/v1/budgets/{rule}/{scope}", Right::Budgets, get(budgets::one)),
        Route("GET", "/admin/v1/budgets/{rule}/{scope}/grants", Right::Read, get(budgets::grants)),
        Route("POST", "/admin/v1/budgets/{rule}/{scope}/grants", Right::All, post(budgets::grant)),
        Route("DELETE", "/admin/v1/budgets/{rule}/{scope}/grants/{id}", Right::All, delete(budgets::end_grant)),
        Route("GET", "/admin/v1/budgets/{rule}/{scope}/overrides", Right::Read, get(budgets::overrides)),
        Route("POST", "/admin/v1/budgets/{rule}/{scope}/overrides", Right::All, post(budgets::set)),
        Route("DELETE", "/admin/v1/budgets/{rule}/{scope}/overrides/{id}", Right::All, delete(budgets::end_override)),
    ]
}

pub fn router(admin: Admin) -> Router {
    let mut router = Router::new();
    for Route(_, path, right, answers) in table() {
        let answers = match right {
            Right::Own | Right::Nothing => answers,
            Right::Read | Right::Keys | Right::Budgets | Right::All => {
                answers.layer(middleware::from_fn_with_state((admin.clone(), right), guard))
            }
        };
        router = router.route(path, answers);
    }
    router
        .fallback(|| async { (StatusCode::NOT_FOUND, "here are /livez, /readyz, /metrics and /admin/v1\n") })
        .with_state(admin)
}

/// What is here, and what each asks for.
async fn index() -> Response {
    let routes: Vec<Value> = table()
        .iter()
        .map(|Route(method, path, right, _)| json!({ "method": method, "path": path, "needs": right.name() }))
        .collect();
    answer(Ok(json!({ "routes": routes })))
}

/// How secrets, alerts, trail and files stand: what `tollgate doctor` tells of a gateway that runs.
async fn doctor(State(admin): State<Admin>) -> Response {
    answer(blocking(move || Ok(json!(admin.doctor.report()))).await)
}

async fn status(State(admin): State<Admin>) -> Response {
    answer(Ok(json!(admin.policies.status())))
}

/// The body of a request for a second revision.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    revision: String,
    /// Absent = a rehearsal.
    #[serde(default)]
    canary: Option<WantedCanary>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedCanary {
    percent: f64,
    #[serde(default)]
    to_percent: Option<f64>,
    #[serde(default)]
    over_s: u64,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    guard: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    revision: String,
}

async fn second(State(admin): State<Admin>, body: Bytes) -> Response {
    steered(move || {
        let asked: Value = read(&body)?;
        let wanted: Wanted = read(&body)?;
        let role = match wanted.canary {
            None => Role::Rehearsal,
            Some(canary) => Role::Canary(of(canary)?),
        };
        let tree = admin.tree(&wanted.revision)?;
        let told = json!(admin.policies.try_beside(&tree, role)?);
        let change = match asked.get("canary").filter(|canary| !canary.is_null()) {
            None => json!({ "revision": tree.id, "role": "rehearsal" }),
            Some(canary) => json!({ "revision": tree.id, "role": "canary", "canary": canary }),
        };
        Ok((told, change))
    })
    .await
}

fn of(wanted: WantedCanary) -> Result<Canary, Failed> {
    let share = |percent: f64| match (0.0..=100.0).contains(&percent) {
        true => Ok((percent * 100.0).round() as u16),
        false => Err(wrong(format!("`{percent}` percent: a share is from 0 to 100"))),
    };
    let from = share(wanted.percent)?;
    let guards = Guard::parse_all(&wanted.guard).map_err(wrong)?;
    // Otherwise the guard could never break, and would seem to watch.
    if from >= ALL && guards.iter().any(Guard::compares) {
        let told =
            "with 100 percent the active revision has no calls to compare with: give less, or bounds without `+`";
        return Err(wrong(told.to_owned()));
    }
    Ok(Canary {
        from,
        to: wanted.to_percent.map_or(Ok(from), share)?,
        over_ms: wanted.over_s.saturating_mul(1_000),
        by: sticky_by(wanted.by.as_deref().unwrap_or("sticky")).map_err(wrong)?,
        guards,
    })
}

async fn end_second(State(admin): State<Admin>) -> Response {
    steered(move || {
        let report = json!(admin.policies.end_second()?);
        Ok((report.clone(), report))
    })
    .await
}

async fn pin(State(admin): State<Admin>, body: Bytes) -> Response {
    moved(admin, move |admin| {
        let named: Named = read(&body)?;
        let tree = admin.tree(&named.revision)?;
        Ok(admin.policies.hold(&tree)?)
    })
    .await
}

async fn unpin(State(admin): State<Admin>) -> Response {
    moved(admin, move |admin| {
        admin.policies.let_go();
        Ok(())
    })
    .await
}

/// The body of a request to lower a policy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lower {
    policy: String,
    to: Mode,
    for_s: u32,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restore {
    policy: String,
}

async fn lower(State(admin): State<Admin>, body: Bytes) -> Response {
    steered(move || {
        let wanted: Lower = read(&body)?;
        let last_ms = i64::from(wanted.for_s) * 1_000;
        admin.policies.lower(&wanted.policy, wanted.to, last_ms, &wanted.reason)?;
        let status = admin.policies.status();
        let mut change = json!(status.lowered.get(&*wanted.policy));
        change["policy"] = wanted.policy.into();
        Ok((json!(status), change))
    })
    .await
}

async fn restore(State(admin): State<Admin>, body: Bytes) -> Response {
    steered(move || {
        let wanted: Restore = read(&body)?;
        let was = admin.policies.status().lowered.get(&*wanted.policy).cloned();
        admin.policies.restore(&wanted.policy)?;
        Ok((json!(admin.policies.status()), json!({ "policy": wanted.policy, "was": was })))
    })
    .await
}

async fn rollback(State(admin): State<Admin>) -> Response {
    moved(admin, move |admin| Ok(admin.policies.roll_back().map(drop)?)).await
}

/// Does what another revision may decide by afterwards; on record are the one before, the one after, and whether it is held.
async fn moved(admin: Admin, work: impl FnOnce(&Admin) -> Result<(), Failed> + Send + 'static) -> Response {
    steered(move || {
        let before = admin.policies.status().active;
        work(&admin)?;
        let status = admin.policies.status();
        let change = json!({ "revision": status.active, "before": before, "pinned": status.pinned });
        Ok((json!(status), change))
    })
    .await
}

/// A change of policies: what is told, and what the record of acts is to hold.
async fn steered(work: impl FnOnce() -> Result<(Value, Value), Failed> + Send + 'static) -> Response {
    match blocking(work).await {
        Ok((told, change)) => {
            let mut response = answer(Ok(told));
            response.extensions_mut().insert(Changed(change));
            response
        }
        Err(failed) => answer(Err(failed)),
    }
}

async fn diff(State(admin): State<Admin>, Query(named): Query<Named>) -> Response {
    answer(blocking(move || Ok(json!(admin.policies.diff(&admin.tree(&named.revision)?)?))).await)
}

impl Admin {
    fn tree(&self, revision: &str) -> Result<Tree, Failed> {
        self.asker.revision(revision).map_err(|why| Failed {
            status: StatusCode::NOT_FOUND,
            told: json!({ "error": format!("revision `{revision}` cannot be had: {why}") }),
        })
    }
}

/// Fetching and loading take their time: on a thread that carries no calls.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failed> + Send + 'static) -> Result<T, Failed> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        let told = json!({ "error": "the gateway failed on this request: its log says why" });
        Err(Failed { status: StatusCode::INTERNAL_SERVER_ERROR, told })
    })
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Failed> {
    serde_json::from_slice(body).map_err(|why| wrong(format!("the body cannot be read: {why}")))
}

fn wrong(told: String) -> Failed {
    Failed { status: StatusCode::BAD_REQUEST, told: json!({ "error": told }) }
}

impl From<Unwilling> for Failed {
    fn from(why: Unwilling) -> Failed {
        let findings = match &why {
            Unwilling::Rejected { findings, .. } => json!(findings),
            _ => Value::Null,
        };
        Failed { status: StatusCode::CONFLICT, told: json!({ "error": why.to_string(), "findings": findings }) }
    }
}

fn answer(came: Came) -> Response {
    let (status, body) = match came {
        Ok(body) => (StatusCode::OK, body),
        Err(failed) => (failed.status, failed.told),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

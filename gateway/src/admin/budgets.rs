//! `/admin/v1/budgets`: what `crate::budgets` decides, over HTTP, with ETags and dry runs.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tollgate_core::limits::balance::Undone;

use super::keys::{How as Dryness, done, if_match, with_etag};
use super::rights::{Actor, Changed};
use super::{Admin, Failed, answer, read};
use crate::budgets::{Amended, Asked, How, Kind, Unamended, Wanted};

/// Rule and scope.
type Place = Path<(String, String)>;

pub(super) async fn list(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Query(asked): Query<Asked>,
) -> Response {
    answer(admin.budgets.list(&asked, actor.sees()).await.map_err(Failed::from))
}

pub(super) async fn one(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path((rule, scope)): Place,
) -> Response {
    match admin.budgets.one((&rule, &scope), actor.sees()).await {
        Ok(told) => {
            let etag = told["etag"].as_str().unwrap_or_default().to_owned();
            with_etag(answer(Ok(told)), &etag)
        }
        Err(why) => answer(Err(why.into())),
    }
}

pub(super) async fn grants(State(admin): State<Admin>, Path((rule, scope)): Place) -> Response {
    known(&admin, (&rule, &scope), Kind::Grant)
}

pub(super) async fn overrides(State(admin): State<Admin>, Path((rule, scope)): Place) -> Response {
    known(&admin, (&rule, &scope), Kind::Override)
}

fn known(admin: &Admin, place: (&str, &str), kind: Kind) -> Response {
    match admin.budgets.amendments(place, kind) {
        Ok((told, etag)) => with_etag(answer(Ok(told)), &etag),
        Err(why) => answer(Err(why.into())),
    }
}

/// What every change takes.
struct Change<'a> {
    admin: &'a Admin,
    actor: &'a Actor,
    kind: Kind,
    is_dry: bool,
    only_if: Option<&'a str>,
}

pub(super) async fn grant(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path((rule, scope)): Place,
    Query(Dryness { dry_run: is_dry }): Query<Dryness>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let only_if = if_match(&headers);
    Change { admin: &admin, actor: &actor, kind: Kind::Grant, is_dry, only_if }.make((&rule, &scope), &body).await
}

pub(super) async fn set(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path((rule, scope)): Place,
    Query(Dryness { dry_run: is_dry }): Query<Dryness>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let only_if = if_match(&headers);
    Change { admin: &admin, actor: &actor, kind: Kind::Override, is_dry, only_if }.make((&rule, &scope), &body).await
}

pub(super) async fn end_grant(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path((rule, scope, id)): Path<(String, String, String)>,
    Query(Dryness { dry_run: is_dry }): Query<Dryness>,
    headers: HeaderMap,
) -> Response {
    let only_if = if_match(&headers);
    Change { admin: &admin, actor: &actor, kind: Kind::Grant, is_dry, only_if }.end((&rule, &scope), &id).await
}

pub(super) async fn end_override(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path((rule, scope, id)): Path<(String, String, String)>,
    Query(Dryness { dry_run: is_dry }): Query<Dryness>,
    headers: HeaderMap,
) -> Response {
    let only_if = if_match(&headers);
    Change { admin: &admin, actor: &actor, kind: Kind::Override, is_dry, only_if }.end((&rule, &scope), &id).await
}

impl Change<'_> {
    fn how(&self) -> How<'_> {
        How { by: self.actor.name(), only_if: self.only_if, is_dry: self.is_dry }
    }

    async fn make(&self, place: (&str, &str), body: &[u8]) -> Response {
        let wanted: Wanted = match read(body) {
            Ok(wanted) => wanted,
            Err(failed) => return answer(Err(failed)),
        };
        self.told(self.admin.budgets.amend(place, self.kind, &wanted, self.how()).await, StatusCode::CREATED)
    }

    async fn end(&self, place: (&str, &str), id: &str) -> Response {
        self.told(self.admin.budgets.revoke(place, self.kind, id, self.how()).await, StatusCode::OK)
    }

    fn told(&self, came: Result<Amended, Unamended>, status: StatusCode) -> Response {
        let status = match &came {
            Ok(came) if came.is_new && !self.is_dry => status,
            Ok(_) | Err(_) => StatusCode::OK,
        };
        // What may act all the same is on record too.
        let may_act = match &came {
            Err(why @ Unamended::NotKept(Undone::Unsaid(_) | Undone::Unconfirmed)) => Some(why.to_string()),
            Ok(_) | Err(_) => None,
        };
        let told = came.map(|came| -> Value { json!({ "record": came.record, "balance": came.balance }) });
        let mut response = done(told.map_err(Failed::from), status, self.is_dry);
        if let Some(why) = may_act {
            response.extensions_mut().insert(Changed(json!({ "error": why })));
        }
        response
    }
}

impl From<Unamended> for Failed {
    fn from(why: Unamended) -> Failed {
        let (status, code) = match &why {
            Unamended::Wrong(_) => (StatusCode::BAD_REQUEST, "wrong_value"),
            Unamended::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_budget"),
            Unamended::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Unamended::Stale(..) => (StatusCode::PRECONDITION_FAILED, "stale"),
            Unamended::NotKept(Undone::Taken(_)) => (StatusCode::CONFLICT, "conflict"),
            Unamended::NotKept(Undone::Away) => (StatusCode::SERVICE_UNAVAILABLE, "limits_unreachable"),
            Unamended::NotKept(Undone::Unsaid(_)) => (StatusCode::GATEWAY_TIMEOUT, "not_said"),
            Unamended::NotKept(Undone::Unable | Undone::Full(_) | Undone::Journal(_) | Undone::Unconfirmed) => {
                (StatusCode::INSUFFICIENT_STORAGE, "not_kept")
            }
        };
        Failed { status, told: json!({ "error": why.to_string(), "code": code }) }
    }
}

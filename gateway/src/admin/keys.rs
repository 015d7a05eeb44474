//! `/admin/v1/keys`: what `crate::keys` decides, over HTTP, with ETags and dry runs.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rights::{Actor, Changed, Dry};
use super::{Admin, Failed, answer, blocking, read};
use crate::keys::{Asked, Unchanged, Wanted};

/// A list tells no more at once.
const PAGE_MAX: usize = 1_000;
/// How long the secret before a rotation is taken where nobody says it: an hour.
const OVERLAP_S: u32 = 3_600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Page {
    tenant: Option<String>,
    /// The last id of the page before.
    after: Option<String>,
    limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Page { tenant: None, after: None, limit: PAGE_MAX }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct How {
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rotate {
    overlap_s: u32,
}

impl Default for Rotate {
    fn default() -> Self {
        Rotate { overlap_s: OVERLAP_S }
    }
}

pub(super) async fn list(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Query(page): Query<Page>,
) -> Response {
    let told = blocking(move || {
        let (tenant, after) = (page.tenant.as_deref(), page.after.as_deref());
        let (keys, more) = admin.keys.page(&actor.reach(), tenant, after, page.limit.clamp(1, PAGE_MAX));
        let next = keys.last().filter(|_| more).map(|key| key["id"].clone());
        Ok(json!({ "keys": keys, "next": next }))
    });
    answer(told.await)
}

pub(super) async fn one(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
) -> Response {
    match admin.keys.one(&id, &actor.reach()) {
        Ok((told, etag)) => with_etag(answer(Ok(told)), &etag),
        Err(why) => answer(Err(why.into())),
    }
}

pub(super) async fn make(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Query(how): Query<How>,
    body: Bytes,
) -> Response {
    let is_dry = how.dry_run;
    let came = blocking(move || {
        let wanted: Wanted = read(&body)?;
        let asked = Asked { reach: &actor.reach(), only_if: None, is_dry };
        let (record, key) = admin.keys.make(&wanted, asked)?;
        Ok(json!({ "record": record, "key": key }))
    });
    done(came.await, if is_dry { StatusCode::OK } else { StatusCode::CREATED }, is_dry)
}

pub(super) async fn rotate(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    Query(how): Query<How>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_dry = how.dry_run;
    let came = blocking(move || {
        let wanted: Rotate = if body.is_empty() { Rotate::default() } else { read(&body)? };
        let asked = Asked { reach: &actor.reach(), only_if: if_match(&headers), is_dry };
        let (record, key) = admin.keys.rotate(&id, wanted.overlap_s, asked)?;
        Ok(json!({ "record": record, "key": key }))
    });
    done(came.await, StatusCode::OK, is_dry)
}

pub(super) async fn revoke(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    Query(how): Query<How>,
    headers: HeaderMap,
) -> Response {
    let is_dry = how.dry_run;
    let came = blocking(move || {
        let asked = Asked { reach: &actor.reach(), only_if: if_match(&headers), is_dry };
        Ok(json!({ "record": admin.keys.revoke(&id, asked)? }))
    });
    done(came.await, StatusCode::OK, is_dry)
}

/// The answer of a change, with what the record of acts is to hold: the key's record, never the key.
fn done(came: Result<Value, Failed>, status: StatusCode, is_dry: bool) -> Response {
    let Ok(mut told) = came else { return answer(came) };
    let record = told["record"].clone();
    told["dry_run"] = is_dry.into();
    let etag = record["etag"].as_str().unwrap_or_default().to_owned();
    let mut response = with_etag(answer(Ok(told)), &etag);
    *response.status_mut() = status;
    match is_dry {
        true => drop(response.extensions_mut().insert(Dry)),
        false => drop(response.extensions_mut().insert(Changed(record))),
    }
    response
}

fn with_etag(response: Response, etag: &str) -> Response {
    let mut response = response.into_response();
    if let Ok(value) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    // A key that was shown once must stand in no cache.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn if_match(headers: &HeaderMap) -> Option<&str> {
    // What is no text matches nothing.
    headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or_default())
}

impl From<Unchanged> for Failed {
    fn from(why: Unchanged) -> Failed {
        let (status, code) = match &why {
            Unchanged::Wrong(_) => (StatusCode::BAD_REQUEST, "wrong_value"),
            Unchanged::Forbidden(_) => (StatusCode::FORBIDDEN, "out_of_reach"),
            Unchanged::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_key"),
            Unchanged::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Unchanged::Stale(..) => (StatusCode::PRECONDITION_FAILED, "stale"),
            Unchanged::NotKept(_) => (StatusCode::INSUFFICIENT_STORAGE, "not_kept"),
            Unchanged::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Failed { status, told: json!({ "error": why.to_string(), "code": code }) }
    }
}

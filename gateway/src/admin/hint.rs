//! A git host says that something was pushed. It is a hint and no more: the source is asked, as it would have been later.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;
use tollgate_core::identity::key;

use super::{Admin, Failed, answer};

/// What GitHub, Gitea and Forgejo send: the body under the shared secret.
const SIGNATURE: &str = "x-hub-signature-256";
/// What GitLab sends: the shared secret itself.
const TOKEN: &str = "x-gitlab-token";

pub(super) async fn take(State(admin): State<Admin>, headers: HeaderMap, body: Bytes) -> Response {
    if !admin.is_operator(&headers) && !is_host(&admin, &headers, &body) {
        let told = "show the operators' token as `authorization: Bearer TOKEN`, or the secret of `policies.webhook` \
                    as x-hub-signature-256 or x-gitlab-token";
        return answer(Err(Failed { status: StatusCode::UNAUTHORIZED, told: json!({ "error": told }) }));
    }
    admin.bell.ring();
    answer(Ok(json!({ "hint": "taken: the source is asked now" })))
}

fn is_host(admin: &Admin, headers: &HeaderMap, body: &[u8]) -> bool {
    let Some(secret) = &admin.webhook else { return false };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(shown) = text(TOKEN) {
        return key::equal(shown.as_bytes(), secret.text().as_bytes());
    }
    let Some(shown) = text(SIGNATURE).and_then(|value| value.strip_prefix("sha256=")) else { return false };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.text().as_bytes()).expect("any length of key is taken");
    mac.update(body);
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    key::equal(shown.to_ascii_lowercase().as_bytes(), expected.as_bytes())
}

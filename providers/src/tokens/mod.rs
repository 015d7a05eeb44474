//! Tokens of callers (JWT), verified against their issuers' keys. Who they speak of is for others to say.

mod jws;
mod keys;

use std::time::Duration;

use http::Uri;
use serde_json::{Map, Value};

pub use jws::{Algorithm, TOKEN_BYTES_MAX};
pub use keys::Place;

use crate::auth::is_loopback;
use crate::client::client;
use jws::Unproven;

/// Clocks may differ by at most this.
pub const LEEWAY_S_MAX: u32 = 60;
const CONNECT: Duration = Duration::from_secs(5);

/// An issuer whose tokens are taken.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// As the config calls it.
    pub name: String,
    /// The claim `iss`, to the letter.
    pub issuer: String,
    /// One of them must be in the claim `aud`.
    pub audience: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    pub keys: Place,
    pub leeway_s: u32,
    /// Between two requests for keys, whatever tokens name.
    pub refresh_s: u64,
}

/// All issuers, ready to verify.
pub struct Issuers {
    list: Vec<(Issuer, keys::Keys)>,
}

/// What a verified token says.
#[derive(Debug)]
pub struct Verified {
    /// Which issuer, by its place in the config's order.
    pub issuer: usize,
    pub claims: Value,
    pub expires_ms: i64,
}

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    #[error("the token cannot be read: {0}")]
    Malformed(String),
    #[error("the token is of an issuer that is not configured here")]
    Issuer,
    #[error("the token is signed with `{0}`: its issuer is not taken at that here")]
    Algorithm(&'static str),
    #[error("the token names a key that its issuer does not have")]
    Key,
    #[error("the signature of the token is wrong")]
    Signature,
    #[error("the token has expired: ask its issuer for a new one")]
    Expired,
    #[error("the token is not good yet, by its `{0}`")]
    Early(&'static str),
    #[error("the token is for others: its `aud` names nobody of this gateway")]
    Audience,
    #[error("the token has no number `{0}`")]
    Missing(&'static str),
    /// The issuer's fault or ours, never the caller's.
    #[error("the keys of the token's issuer cannot be had now: {0}")]
    NoKeys(String),
}

impl Unverified {
    pub fn code(&self) -> &'static str {
        match self {
            Unverified::Malformed(_) | Unverified::Missing(_) => "malformed_token",
            Unverified::Issuer => "unknown_issuer",
            Unverified::Algorithm(_) => "wrong_algorithm",
            Unverified::Key => "unknown_kid",
            Unverified::Signature => "wrong_signature",
            Unverified::Expired => "expired_token",
            Unverified::Early(_) => "early_token",
            Unverified::Audience => "wrong_audience",
            Unverified::NoKeys(_) => "no_keys",
        }
    }
}

impl Issuer {
    /// What the config says must be such that a token can be taken, and no other.
    pub fn check(&self) -> Result<(), String> {
        if self.issuer.is_empty() || self.audience.is_empty() || self.algorithms.is_empty() {
            return Err("`issuer`, `audience` and `algorithms` must each name something".to_owned());
        }
        if self.leeway_s > LEEWAY_S_MAX {
            return Err(format!("`leeway_s` {} is too much: at most {LEEWAY_S_MAX}", self.leeway_s));
        }
        let Place::Url(url) = &self.keys else { return Ok(()) };
        let address: Uri = url.parse().map_err(|why| format!("`{url}` is no URL: {why}"))?;
        let host = address.host().unwrap_or_default();
        match (address.scheme_str(), host.is_empty()) {
            (Some("https"), false) => Ok(()),
            (Some("http"), false) if is_loopback(host) => Ok(()),
            _ => Err(format!("`{url}` must begin with `https://`: whoever changes those keys may be anybody")),
        }
    }
}

impl Issuers {
    pub fn new(list: Vec<Issuer>) -> Result<Issuers, String> {
        let client = client(CONNECT).map_err(|why| format!("no client can be made: {why}"))?;
        let mut ready: Vec<(Issuer, keys::Keys)> = Vec::new();
        for issuer in list {
            issuer.check().map_err(|why| format!("{}: {why}", issuer.name))?;
            if let Some((first, _)) = ready.iter().find(|(known, _)| known.issuer == issuer.issuer) {
                return Err(format!("{} and {} are both `{}`", first.name, issuer.name, issuer.issuer));
            }
            let pause = Duration::from_secs(issuer.refresh_s.max(1));
            let keys = keys::Keys::new(issuer.keys.clone(), client.clone(), pause);
            ready.push((issuer, keys));
        }
        Ok(Issuers { list: ready })
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub async fn verify(&self, token: &str, now_ms: i64) -> Result<Verified, Unverified> {
        let token = Unproven::parse(token).map_err(Unverified::Malformed)?;
        let iss = token.claims.get("iss").and_then(Value::as_str).unwrap_or_default();
        let at = self.list.iter().position(|(issuer, _)| issuer.issuer == iss).ok_or(Unverified::Issuer)?;
        let (issuer, keys) = &self.list[at];
        let algorithm = token.algorithm;
        if !issuer.algorithms.contains(&algorithm) {
            return Err(Unverified::Algorithm(algorithm.name()));
        }
        // Before keys are asked for: an old token costs nobody a request.
        let expires_ms = times(issuer, &token.claims, now_ms)?;
        let found = keys.of(token.kid.as_deref(), algorithm).await;
        let found = found.map_err(|why| Unverified::NoKeys(why.to_string()))?;
        if found.is_empty() || (token.kid.is_none() && found.len() > 1) {
            return Err(Unverified::Key);
        }
        if !found.iter().any(|key| token.verifies(key, algorithm)) {
            return Err(Unverified::Signature);
        }
        let audience = match token.claims.get("aud") {
            Some(Value::String(one)) => issuer.audience.contains(one),
            Some(Value::Array(list)) => {
                list.iter().filter_map(Value::as_str).any(|one| issuer.audience.iter().any(|own| own == one))
            }
            _ => false,
        };
        match audience {
            true => Ok(Verified { issuer: at, claims: Value::Object(token.claims), expires_ms }),
            false => Err(Unverified::Audience),
        }
    }
}

/// `exp` must be there; `nbf` and `iat`, where they are, must have come.
fn times(issuer: &Issuer, claims: &Map<String, Value>, now_ms: i64) -> Result<i64, Unverified> {
    let leeway_ms = i64::from(issuer.leeway_s) * 1_000;
    let ms = |name: &'static str| match claims.get(name) {
        None => Ok(None),
        // Beyond this no clock goes; a float holds it exactly.
        Some(value) => match value.as_f64().filter(|seconds| (0.0..=253_402_300_799.0).contains(seconds)) {
            Some(seconds) => Ok(Some((seconds * 1_000.0) as i64)),
            None => Err(Unverified::Missing(name)),
        },
    };
    let expires_ms = ms("exp")?.ok_or(Unverified::Missing("exp"))?;
    if expires_ms.saturating_add(leeway_ms) <= now_ms {
        return Err(Unverified::Expired);
    }
    for name in ["nbf", "iat"] {
        if ms(name)?.is_some_and(|from| from > now_ms.saturating_add(leeway_ms)) {
            return Err(Unverified::Early(name));
        }
    }
    Ok(expires_ms)
}

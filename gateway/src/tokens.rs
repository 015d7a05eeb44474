//! From a token to who calls: verified by `tollgate_providers::tokens`, read by the config's expressions, remembered for a while.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use serde_json::Value;
use tollgate_core::identity::scopes::Scopes;
use tollgate_core::ports::{Bearer, Later, Tokens, Untaken};
use tollgate_policy_runtime::expr::Claims;
use tollgate_providers::tokens::{Issuers, Unverified, Verified};

use crate::config::identity::{Identity, Issuer};

/// Tokens that are remembered, by digest.
const SEEN_MAX: u64 = 10_000;
/// A key that its issuer has withdrawn serves no longer than this for tokens that were seen before.
const SEEN_FOR: Duration = Duration::from_secs(300);

/// The issuers of the config.
pub struct Issued {
    issuers: Issuers,
    says: Vec<Says>,
    seen: Cache<[u8; 32], Arc<Bearer>>,
}

/// How one issuer's claims are read.
struct Says {
    name: Arc<str>,
    leeway_ms: i64,
    tenant: Claims,
    app: Option<Claims>,
    user: Option<Claims>,
    groups: Option<Claims>,
    scopes: Scopes,
}

/// `None` where no issuer is configured.
pub fn issued(config: &Identity) -> Result<Option<Arc<dyn Tokens>>, String> {
    if config.issuers.is_empty() {
        return Ok(None);
    }
    let says = config
        .issuers
        .iter()
        .map(|(name, issuer)| says(name, issuer).map_err(|why| format!("identity.issuers.{name}.{why}")));
    let says = says.collect::<Result<_, _>>()?;
    let list = config.issuers.iter().map(|(name, issuer)| issuer.verified_as(name)).collect();
    let issuers = Issuers::new(list).map_err(|why| format!("identity.issuers.{why}"))?;
    let seen = Cache::builder().max_capacity(SEEN_MAX).time_to_live(SEEN_FOR).build();
    Ok(Some(Arc::new(Issued { issuers, says, seen })))
}

fn says(name: &str, issuer: &Issuer) -> Result<Says, String> {
    let of = |what: &str, text: &str| Claims::compile(text).map_err(|why| format!("{what}: {why}"));
    let maybe = |what: &str, text: &Option<String>| text.as_deref().map(|text| of(what, text)).transpose();
    Ok(Says {
        name: name.into(),
        leeway_ms: i64::from(issuer.leeway_s) * 1_000,
        tenant: of("tenant", &issuer.tenant)?,
        app: maybe("app", &issuer.app)?,
        user: maybe("user", &issuer.user)?,
        groups: maybe("groups", &issuer.groups)?,
        scopes: issuer.scopes,
    })
}

impl Tokens for Issued {
    fn verify<'a>(&'a self, token: &'a str, now_ms: i64) -> Later<'a, Result<Arc<Bearer>, Untaken>> {
        Box::pin(async move {
            let digest = *blake3::hash(token.as_bytes()).as_bytes();
            if let Some(bearer) = self.seen.get(&digest).filter(|bearer| bearer.until_ms > now_ms) {
                return Ok(bearer);
            }
            let verified = self.issuers.verify(token, now_ms).await.map_err(|why| untaken(&why))?;
            let bearer = Arc::new(self.says[verified.issuer].read(&verified)?);
            self.seen.insert(digest, bearer.clone());
            Ok(bearer)
        })
    }
}

impl Says {
    fn read(&self, verified: &Verified) -> Result<Bearer, Untaken> {
        let unread =
            |why: String| Untaken { code: "wrong_claims", reason: format!("the token: {why}"), is_ours: false };
        let one = |expression: &Option<Claims>| -> Result<Arc<str>, Untaken> {
            let Some(expression) = expression else { return Ok("".into()) };
            single(expression, &verified.claims).map_err(unread)
        };
        let tenant = single(&self.tenant, &verified.claims).map_err(unread)?;
        if tenant.is_empty() {
            return Err(unread("its claims name no tenant".to_owned()));
        }
        let groups = self.groups.as_ref().map(|groups| groups.names(&verified.claims)).transpose().map_err(unread)?;
        Ok(Bearer {
            issuer: self.name.clone(),
            tenant,
            app: one(&self.app)?,
            user: one(&self.user)?,
            groups: groups.unwrap_or_default(),
            scopes: self.scopes,
            until_ms: verified.expires_ms.saturating_add(self.leeway_ms),
        })
    }
}

fn single(expression: &Claims, claims: &Value) -> Result<Arc<str>, String> {
    let mut names = expression.names(claims)?;
    match names.len() {
        0 => Ok("".into()),
        1 => Ok(names.remove(0)),
        several => Err(format!("its claims give {several} names where one is wanted")),
    }
}

fn untaken(why: &Unverified) -> Untaken {
    Untaken { code: why.code(), reason: why.to_string(), is_ours: matches!(why, Unverified::NoKeys(_)) }
}

//! From a token to who calls: verified by `tollgate_providers::tokens`, read by the config's expressions, remembered for a while.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tollgate_core::identity::scopes::Scopes;
use tollgate_core::ports::{Bearer, Later, Tokens, Untaken};
use tollgate_providers::tokens::{Issuers, Unverified, Verified};

use crate::config::identity::{Identity, Issuer};
use crate::says::{Said, Says, Texts};

/// Tokens that are remembered, by digest.
const SEEN_MAX: u64 = 10_000;
/// A key that its issuer has withdrawn serves no longer than this for tokens that were seen before.
const SEEN_FOR: Duration = Duration::from_secs(300);

/// The issuers of the config.
pub struct Issued {
    issuers: Issuers,
    says: Vec<IssuerSays>,
    seen: Cache<[u8; 32], Arc<Bearer>>,
}

/// How one issuer's claims are read.
struct IssuerSays {
    name: Arc<str>,
    leeway_ms: i64,
    says: Says,
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

fn says(name: &str, issuer: &Issuer) -> Result<IssuerSays, String> {
    let says = Says::compile(&Texts {
        over: "claims",
        tenant: &issuer.tenant,
        app: issuer.app.as_deref(),
        user: issuer.user.as_deref(),
        groups: issuer.groups.as_deref(),
    })?;
    let leeway_ms = i64::from(issuer.leeway_s) * 1_000;
    Ok(IssuerSays { name: name.into(), leeway_ms, says, scopes: issuer.scopes })
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

impl IssuerSays {
    fn read(&self, verified: &Verified) -> Result<Bearer, Untaken> {
        let unread =
            |why: String| Untaken { code: "wrong_claims", reason: format!("the token: {why}"), is_ours: false };
        let Said { tenant, app, user, groups } = self.says.read(&verified.claims).map_err(unread)?;
        if tenant.is_empty() {
            return Err(unread("its claims name no tenant".to_owned()));
        }
        let until_ms = verified.expires_ms.saturating_add(self.leeway_ms);
        Ok(Bearer { issuer: self.name.clone(), tenant, app, user, groups, scopes: self.scopes, until_ms })
    }
}

fn untaken(why: &Unverified) -> Untaken {
    Untaken { code: why.code(), reason: why.to_string(), is_ours: matches!(why, Unverified::NoKeys(_)) }
}

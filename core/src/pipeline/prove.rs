//! What a credential proves: who calls, and what the credential may be used for.

use std::sync::Arc;

use super::Core;
use super::arrive::Credential;
use crate::contract::Operation;
use crate::contract::meta::{Declared, Field};
use crate::contract::refusal::{Category, Refusal};
use crate::identity::certificate::{Certified, Standing};
use crate::identity::key::Presented;
use crate::identity::record::{KeyRecord, prove as prove_key};
use crate::identity::scopes::Scopes;
use crate::identity::ticket::Ticket;
use crate::policy::facts::{Caller, Source};
use crate::policy::revision::Revision;
use crate::ports::Tokens;

/// What was shown, and from where.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    pub credential: Option<&'a Credential>,
    /// Whom the connection's client certificate speaks of.
    pub certificate: Option<&'a Certified>,
    /// Of the peer: text of a proxy in front does not count.
    pub address: &'a str,
    pub now_ms: i64,
}

/// Who calls, as far as it is proven.
#[derive(Debug, Clone)]
pub struct Proven {
    pub caller: Caller,
    pub scopes: Scopes,
    pub may_assert: bool,
}

impl Proven {
    fn of_key(record: &KeyRecord) -> Proven {
        let caller = caller(&record.id, &record.tenant, &record.app, &record.user, &record.groups);
        Proven { caller, scopes: record.scopes, may_assert: record.may_assert }
    }

    /// A refusal where the credential is not for this.
    pub fn admits(&self, operation: Operation) -> Result<(), Refusal> {
        if self.scopes.admits(operation) { Ok(()) } else { Err(self.out_of_scope(operation.name())) }
    }

    /// The same for what is no operation, such as the list of models.
    pub fn calls(&self) -> Result<(), Refusal> {
        if self.scopes.calls() { Ok(()) } else { Err(self.out_of_scope("calls")) }
    }

    fn out_of_scope(&self, what: &str) -> Refusal {
        let (key, scopes) = (&self.caller.key, self.scopes.names().join("`, `"));
        let told = format!("the key `{key}` is not for `{what}`: its `scopes` are `{scopes}`");
        Refusal::new(Category::Permission, "out_of_scope", told)
    }
}

/// Credential to caller. An unknown key costs the same as a wrong one.
pub async fn prove(
    core: &Core,
    revision: &Revision,
    declared: &Declared,
    shown: &Shown<'_>,
) -> Result<Proven, Refusal> {
    let mut proven = match (shown.credential, shown.certificate) {
        (Some(credential), None) => by_text(core, revision, credential.reveal(), shown).await?,
        (None, Some(certificate)) => by_certificate(certificate)?,
        (Some(credential), Some(certificate)) => {
            let mut proven = by_text(core, revision, credential.reveal(), shown).await?;
            agree(&mut proven.caller, certificate)?;
            proven
        }
        (None, None) => {
            return Err(auth(
                "missing_credential",
                "no credential: send `authorization: Bearer KEY` (or `x-api-key`, `api-key`, `x-goog-api-key`)",
            ));
        }
    };
    let caller = &mut proven.caller;
    if proven.may_assert
        && let Some(tenant) = declared.get(Field::Tenant)
    {
        (caller.tenant, caller.tenant_source) = (tenant.into(), Source::Asserted);
    }
    let tenants = &revision.tenants;
    match tenants.tenants.get(&caller.tenant) {
        Some(tenant) => caller.region = tenant.region.clone(),
        // An operator's certificate may be of no tenant; it makes no calls.
        None if tenants.present && !caller.tenant.is_empty() => {
            return Err(Refusal::new(
                Category::Permission,
                "unknown_tenant",
                format!("tenant `{}` is not in `tenants.yaml` of revision {}", caller.tenant, revision.id.short()),
            ));
        }
        None => {}
    }
    Ok(proven)
}

/// A key, a short-lived one, or a token: what it looks like decides, and nothing is tried twice.
async fn by_text(core: &Core, revision: &Revision, text: &str, shown: &Shown<'_>) -> Result<Proven, Refusal> {
    match &core.tokens {
        _ if Ticket::looks_like(text) => by_ticket(core, revision, text, shown),
        Some(tokens) if looks_like_a_token(text) => by_token(&**tokens, text, shown).await,
        Some(_) | None => by_key(core, revision, text, shown),
    }
}

/// The connection has proven that it holds the certificate's key, and that nothing speaks against it now.
fn by_certificate(of: &Certified) -> Result<Proven, Refusal> {
    let scopes = of.alone();
    if of.tenant.is_empty() && scopes == Scopes::NONE {
        return Err(auth(
            "wrong_certificate",
            "the client certificate names no tenant (`identity.certificates.tenant`): send a key as well",
        ));
    }
    let caller = caller(&of.key, &of.tenant, &of.app, &of.user, &of.groups);
    Ok(Proven { caller, scopes, may_assert: false })
}

/// Beside a key the certificate fills what the key leaves open, and never contradicts it. What may be done is the key's.
fn agree(caller: &mut Caller, of: &Certified) -> Result<(), Refusal> {
    for (name, said, field, source) in [
        ("tenant", &of.tenant, &mut caller.tenant, &mut caller.tenant_source),
        ("app", &of.app, &mut caller.app, &mut caller.app_source),
        ("user", &of.user, &mut caller.user, &mut caller.user_source),
    ] {
        if said.is_empty() || *said == *field {
            continue;
        }
        if *source != Source::Absent {
            // Users stand in receipts as digests only.
            let told = match name {
                "user" => "the client certificate and the key are of two users: use a key of the same".to_owned(),
                _ => {
                    format!("the client certificate is of {name} `{said}`, the key of `{field}`: use a key of the same")
                }
            };
            return Err(Refusal::new(Category::Permission, "identity_mismatch", told));
        }
        (*field, *source) = (said.clone(), Source::Verified);
    }
    Ok(())
}

fn by_key(core: &Core, revision: &Revision, text: &str, shown: &Shown<'_>) -> Result<Proven, Refusal> {
    let Some(presented) = Presented::parse(text) else {
        return Err(auth(
            "malformed_key",
            "the key is not one of this gateway (they look like `tg_<id>_<secret>_<crc>`), or has a typo",
        ));
    };
    let known = known(core, revision, presented.id);
    let fit = prove_key(&presented, &core.pepper, known.as_deref(), shown.address, shown.now_ms);
    match (fit, known) {
        (Some(Ok(())), Some(record)) => Ok(Proven::of_key(&record)),
        (Some(Err(unfit)), _) => Err(auth(unfit.code(), unfit.to_string())),
        (None | Some(Ok(())), _) => Err(auth("unknown_key", "the key is not known here")),
    }
}

/// A ticket is as good as its key, for less and for a shorter time.
fn by_ticket(core: &Core, revision: &Revision, text: &str, shown: &Shown<'_>) -> Result<Proven, Refusal> {
    let Some(ticket) = Ticket::open(text, &core.pepper) else {
        return Err(auth("malformed_key", "the short-lived key was not made by this gateway, or has a typo"));
    };
    if ticket.expires_ms <= shown.now_ms {
        return Err(auth(
            "expired_key",
            format!("the short-lived key of `{}` has expired: make a new one", ticket.key),
        ));
    }
    if let Some(made_by) = &ticket.certificate {
        return match core.revoked.standing(&made_by.id) {
            Standing::Good => {
                let caller = caller(&ticket.key, &ticket.tenant, &ticket.app, &ticket.user, &made_by.groups);
                Ok(Proven { caller, scopes: ticket.scopes, may_assert: false })
            }
            Standing::Revoked => {
                Err(auth("revoked_certificate", "the client certificate that made the short-lived key was revoked"))
            }
            Standing::Unasked => {
                Err(auth("unknown_key", "a client certificate made the short-lived key, and none are taken here"))
            }
        };
    }
    let Some(record) = known(core, revision, &ticket.key).filter(|record| record.tenant == ticket.tenant) else {
        return Err(auth("unknown_key", format!("the key `{}` that made this one is not known here", ticket.key)));
    };
    // Not its networks: the ticket is made to be given to somebody else.
    record.fit_anywhere(shown.now_ms).map_err(|unfit| auth(unfit.code(), unfit.to_string()))?;
    let caller = caller(&ticket.key, &ticket.tenant, &ticket.app, &ticket.user, &record.groups);
    Ok(Proven { caller, scopes: ticket.scopes.and(record.scopes), may_assert: false })
}

/// The head of a token is a table in base64url, and so begins with these letters; no key does.
fn looks_like_a_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.contains('.')
}

async fn by_token(tokens: &dyn Tokens, text: &str, shown: &Shown<'_>) -> Result<Proven, Refusal> {
    let bearer = tokens.verify(text, shown.now_ms).await.map_err(|why| {
        let category = if why.is_ours { Category::Overloaded } else { Category::Auth };
        Refusal::new(category, why.code, why.reason)
    })?;
    // The issuer and not the subject: whom a call is for stands in `user`, which receipts keep as a digest.
    let key = format!("jwt:{}", bearer.issuer).into();
    let caller = caller(&key, &bearer.tenant, &bearer.app, &bearer.user, &bearer.groups);
    Ok(Proven { caller, scopes: bearer.scopes, may_assert: false })
}

/// What the operators keep comes first: so a key of the repository can be revoked at once.
pub fn known(core: &Core, revision: &Revision, id: &str) -> Option<Arc<KeyRecord>> {
    core.keys.find(id).or_else(|| revision.tenants.keys.get(id).cloned())
}

fn caller(key: &Arc<str>, tenant: &Arc<str>, app: &Arc<str>, user: &Arc<str>, groups: &[Arc<str>]) -> Caller {
    let verified = |text: &Arc<str>| if text.is_empty() { Source::Absent } else { Source::Verified };
    Caller {
        tenant_source: verified(tenant),
        tenant: tenant.clone(),
        app_source: verified(app),
        app: app.clone(),
        user_source: verified(user),
        user: user.clone(),
        key: key.clone(),
        groups: groups.to_vec(),
        region: "".into(),
        address: "".into(),
    }
}

fn auth(code: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal::new(Category::Auth, code, reason.into())
}

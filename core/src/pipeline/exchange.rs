//! A key exchanged for a ticket: a short-lived key with some of its rights, to be given to somebody who is trusted less.

use std::sync::Arc;

use serde::Deserialize;

use super::Core;
use super::prove::{self, Shown, prove};
use crate::contract::meta::Declared;
use crate::contract::refusal::{Category, Refusal};
use crate::identity::certificate::MadeBy;
use crate::identity::scopes::{Scope, Scopes};
use crate::identity::ticket::{TEXT_MAX, TTL_S_MAX, Ticket};
use crate::policy::facts::Source;
use crate::policy::revision::Revision;

/// Where nobody says how long: a quarter of an hour.
const TTL_S: u32 = 900;
/// Of an app or a user.
const NAME_BYTES_MAX: usize = 256;

/// What the ticket is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    pub ttl_s: u32,
    pub app: String,
    pub user: String,
    /// Absent = all calls that the key may make.
    pub scopes: Option<Vec<String>>,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted { ttl_s: TTL_S, app: String::new(), user: String::new(), scopes: None }
    }
}

/// The ticket and its text.
pub async fn exchange(
    core: &Core,
    revision: &Revision,
    shown: &Shown<'_>,
    wanted: Wanted,
) -> Result<(Ticket, String), Refusal> {
    let proven = prove(core, revision, &Declared::default(), shown).await?;
    let caller = &proven.caller;
    if !proven.scopes.has(Scope::Mint) {
        let told = format!("the key `{}` makes no short-lived keys: it needs the scope `mint`", caller.key);
        return Err(Refusal::new(Category::Permission, "out_of_scope", told));
    }
    let certificate = shown.certificate.filter(|_| shown.credential.is_none());
    // What made a ticket is looked up whenever it is shown, and the keys of issuers are not kept here.
    if certificate.is_none() && prove::known(core, revision, &caller.key).is_none() {
        let told = format!("`{}` is no key of this gateway: only those make short-lived keys", caller.key);
        return Err(Refusal::new(Category::Permission, "no_key", told));
    }
    if !(1..=TTL_S_MAX).contains(&wanted.ttl_s) {
        return Err(wrong("ttl_s", format!("`ttl_s` must be from 1 to {TTL_S_MAX}, not `{}`", wanted.ttl_s)));
    }
    let own = proven.scopes.and(Scopes::CALLS);
    let scopes = match &wanted.scopes {
        None => own,
        Some(names) => Scopes::parse(names.iter().map(|name| &**name)).map_err(|why| wrong("scopes", why))?,
    };
    if !scopes.calls() || !own.contains(scopes) {
        let told = format!(
            "a short-lived key of `{}` may be for `{}`, not for `{}`",
            caller.key,
            own.names().join("`, `"),
            scopes.names().join("`, `")
        );
        return Err(Refusal::new(Category::Permission, "out_of_scope", told));
    }
    let expires_ms = shown.now_ms.saturating_add(i64::from(wanted.ttl_s) * 1_000);
    let ticket = Ticket {
        key: caller.key.clone(),
        certificate: certificate.map(|of| MadeBy { id: of.id.clone(), groups: of.groups.clone() }),
        tenant: caller.tenant.clone(),
        app: name("app", &caller.app, caller.app_source, wanted.app)?,
        user: name("user", &caller.user, caller.user_source, wanted.user)?,
        scopes,
        // No longer than its certificate: nobody looks that up once more.
        expires_ms: certificate.map_or(expires_ms, |of| expires_ms.min(of.until_ms)),
    };
    let text = ticket.seal(&core.pepper);
    if text.len() > TEXT_MAX {
        let told =
            format!("a short-lived key of `{}` would be too long: its certificate is in too many groups", ticket.key);
        return Err(Refusal::new(Category::Permission, "too_long", told));
    }
    Ok((ticket, text))
}

/// A name that the key leaves open may be chosen; one that it has stays.
fn name(what: &'static str, known: &Arc<str>, source: Source, wanted: String) -> Result<Arc<str>, Refusal> {
    match source {
        _ if wanted.len() > NAME_BYTES_MAX || wanted.chars().any(char::is_control) => {
            Err(wrong(what, format!("`{what}` is no name: at most {NAME_BYTES_MAX} bytes, nothing unprintable")))
        }
        Source::Absent => Ok(wanted.into()),
        Source::Verified | Source::Asserted if wanted.is_empty() || **known == *wanted => Ok(known.clone()),
        Source::Verified | Source::Asserted => {
            // The refusal is kept, and a user's name nowhere in the clear.
            let of = if what == "user" { "another user".to_owned() } else { format!("{what} `{known}`") };
            let told = format!("the key is of {of}: a short-lived key of it is for no other");
            Err(Refusal::new(Category::Permission, "identity_mismatch", told))
        }
    }
}

fn wrong(param: &'static str, told: String) -> Refusal {
    Refusal::invalid("wrong_value", param, told)
}

//! Who may do what at the operators' side, and the record of what they did.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Value, json};
use tollgate_core::contract::meta::Declared;
use tollgate_core::contract::refusal::Refusal;
use tollgate_core::identity::key;
use tollgate_core::identity::scopes::{Scope, Scopes};
use tollgate_core::pipeline::arrive;
use tollgate_core::pipeline::prove::{Shown, prove};
use tollgate_store::acts::Act;

use super::{Admin, Failed, answer};
use crate::keys::{Own, Reach};
use crate::tls::listener::Visitor;

/// What a route asks of whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Nothing: it is asked by machines that watch.
    Nothing,
    /// To read.
    Read,
    /// To manage keys.
    Keys,
    /// To read balances: a tenant's own, or all.
    Budgets,
    /// Everything.
    All,
    /// What the route asks for itself.
    Own,
}

impl Right {
    pub fn name(self) -> &'static str {
        match self {
            Right::Nothing => "nothing",
            Right::Read => "admin:read",
            Right::Keys => "keys",
            Right::Budgets => "budgets",
            Right::All => "admin",
            Right::Own => "its own",
        }
    }
}

/// Who acts.
#[derive(Debug, Clone)]
pub struct Actor {
    /// `operator-token`, `key ID`, or `certificate ID`.
    name: String,
    address: String,
    scopes: Scopes,
    tenant: Option<Arc<str>>,
    own: Own,
    /// Holds the operators' token.
    is_operator: bool,
}

impl Actor {
    fn may(&self, right: Right) -> bool {
        let has = |scope| self.is_operator || self.scopes.has(Scope::Admin) || self.scopes.has(scope);
        match right {
            Right::Nothing | Right::Own => true,
            Right::Read => has(Scope::AdminRead),
            Right::Keys => has(Scope::Keys),
            Right::Budgets => has(Scope::Budgets) || has(Scope::AdminRead),
            Right::All => has(Scope::Admin),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose balances it may read: `None` = everybody's.
    pub fn sees(&self) -> Option<&str> {
        match self.may(Right::Read) {
            true => None,
            false => Some(self.tenant.as_deref().unwrap_or_default()),
        }
    }

    /// Whose keys it may manage.
    pub fn reach(&self) -> Reach {
        match self.may(Right::All) {
            true => Reach::all(),
            false => Reach { tenant: self.tenant.clone(), scopes: self.scopes, own: self.own.clone() },
        }
    }
}

/// What a verb changed, for the record of acts.
#[derive(Debug, Clone)]
pub struct Changed(pub Value);

/// Lets through who may, and keeps what they changed.
pub async fn guard(State((admin, right)): State<(Admin, Right)>, mut request: Request, next: Next) -> Response {
    let visitor = request.extensions().get::<ConnectInfo<Visitor>>().map(|visitor| visitor.0.clone());
    let actor = match admin.actor(request.headers(), visitor.as_ref()).await {
        Ok(actor) => actor,
        Err(failed) => return answer(Err(failed)),
    };
    if !actor.may(right) {
        let told = format!("{} may not do this: it needs the scope `{}`", actor.name, right.name());
        return answer(Err(Failed {
            status: StatusCode::FORBIDDEN,
            told: json!({ "error": told, "code": "out_of_scope" }),
        }));
    }
    let changes = request.method() != Method::GET;
    let did = format!("{} {}", request.method(), request.uri().path());
    request.extensions_mut().insert(actor.clone());
    let response = next.run(request).await;
    let has_changed = response.status().is_success() || response.extensions().get::<Changed>().is_some();
    match changes && has_changed && response.extensions().get::<Dry>().is_none() {
        true => admin.keep_act(actor, did, response).await,
        false => response,
    }
}

/// Marks an answer of a dry run: nothing was done.
#[derive(Debug, Clone)]
pub struct Dry;

impl Admin {
    pub(super) fn is_operator(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|token| key::equal(token.as_bytes(), self.token.as_bytes()))
    }

    /// The operators' token, or a key or a client certificate with a scope of their side.
    async fn actor(&self, headers: &HeaderMap, visitor: Option<&Visitor>) -> Result<Actor, Failed> {
        let core = &self.core;
        let now_ms = (core.clock.now_ms)();
        let refused = |told: String, code: &str| Failed {
            status: StatusCode::UNAUTHORIZED,
            told: json!({ "error": told, "code": code }),
        };
        let of_refusal = |refusal: Refusal| refused(refusal.reason, &refusal.code);
        // Before the token: a connection whose certificate was revoked is nobody's any more.
        let peer = visitor.and_then(|visitor| visitor.peer.as_ref());
        let certificate =
            peer.map_or(Ok(None), |peer| peer.certified(headers, now_ms)).map_err(of_refusal)?.map(|of| &**of);
        let address = visitor.map_or_else(String::new, |visitor| visitor.address.ip().to_string());
        if self.is_operator(headers) {
            let name = "operator-token".to_owned();
            return Ok(Actor {
                name,
                address,
                scopes: Scopes::NONE,
                tenant: None,
                own: Own::default(),
                is_operator: true,
            });
        }
        let looks_like_a_key = bearer(headers).is_some_and(|token| key::Presented::parse(token).is_some());
        let credential = arrive::credential(headers, None).ok().flatten().filter(|_| looks_like_a_key);
        if credential.is_none() && (certificate.is_none() || bearer(headers).is_some()) {
            let told = "show the operators' token as `authorization: Bearer TOKEN` (it is in `operator-token` of the state \
                        folder), or a key or a client certificate with the scope `admin`";
            return Err(refused(told.to_owned(), "missing_credential"));
        }
        let shown = Shown { credential: credential.as_ref(), certificate, address: &address, now_ms };
        let proven = prove(core, &core.policies.pin(), &Declared::default(), &shown).await.map_err(of_refusal)?;
        let (scopes, caller) = (proven.scopes, proven.caller);
        let (kind, id) = (if credential.is_some() { "key" } else { "certificate" }, caller.key);
        let name = format!("{kind} {id}");
        let own = Own { app: caller.app, user: caller.user, groups: caller.groups, key: credential.map(|_| id) };
        Ok(Actor { name, address, scopes, tenant: Some(caller.tenant), own, is_operator: false })
    }

    /// What was done and cannot be recorded is told as that.
    async fn keep_act(&self, actor: Actor, did: String, response: Response) -> Response {
        let change = response.extensions().get::<Changed>().map(|changed| changed.0.clone()).unwrap_or_default();
        let act = Act {
            act: 1,
            time_ms: (self.core.clock.now_ms)(),
            actor: actor.name,
            address: actor.address,
            did,
            status: response.status().as_u16(),
            change,
        };
        let acts = self.acts.clone();
        let kept = tokio::task::spawn_blocking(move || acts.record(&act)).await;
        let why = match kept {
            Ok(Ok(())) => return response,
            Ok(Err(why)) => why.to_string(),
            Err(why) => why.to_string(),
        };
        tracing::error!(%why, "an act of an operator was done and could not be recorded");
        let told = json!({ "error": format!("it was done, but could not be recorded: {why}"), "code": "unrecorded" });
        answer(Err(Failed { status: StatusCode::INTERNAL_SERVER_ERROR, told }))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

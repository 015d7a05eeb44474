//! The six places where the core meets the world: Policies, Upstream, Ledger, Shelf, Trail, Tokens.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderName, StatusCode};

use crate::contract::Dialect;
use crate::contract::packed::PackedError;
use crate::dialects::Quirks;
use crate::dialects::paths::Address;
use crate::evidence::intent::Intent;
use crate::evidence::receipt::Receipt;
use crate::identity::scopes::Scopes;
use crate::limits::amendment::Amendment;
use crate::limits::balance::{Balance, Listing, Undone};
use crate::limits::claim::{Claim, Held, HoldId, Refused, Standing};
use crate::policy::facts::Facts;
use crate::policy::revision::Revision;
use crate::routing::catalog::Target;

/// A future behind a port.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which revision decides now.
pub trait Policies: Send + Sync {
    /// The active revision; the call that pins it keeps it to its end.
    fn pin(&self) -> Arc<Revision>;

    /// A second revision that is live beside the active one.
    fn beside(&self) -> Option<Arc<dyn Beside>> {
        None
    }
}

/// A second revision: in rehearsal it decides and does not act, as a canary it acts for a share of the callers.
pub trait Beside: Send + Sync {
    fn revision(&self) -> &Arc<Revision>;

    /// Does it decide beside the active one, without acting?
    fn rehearses(&self) -> bool;

    /// Does it act for this caller? The answer is the same for the same caller.
    fn acts_for(&self, facts: &Facts) -> bool;

    /// Told of the end of every call that began while it was live, whichever revision acted.
    fn ended(&self, receipt: &Receipt);
}

/// Where calls are sent on.
pub trait Upstream: Send + Sync {
    /// Is this provider configured here?
    fn serves(&self, provider: &str) -> bool;

    /// All that are configured here, in the order in which they are asked where a call names no model.
    fn providers(&self) -> &[Arc<str>];

    /// Does this provider take models that no catalog lists?
    fn takes_unlisted(&self, provider: &str) -> bool;

    /// The dialects that it speaks, the one that it prefers first. What it is not asked for it need not name.
    fn speaks(&self, provider: &str) -> &[Dialect];

    /// How it differs from the first speaker of its dialect.
    fn quirks(&self, provider: &str) -> &Quirks;

    /// Who speaks this dialect, by name: who could take a call that names no model.
    fn speakers(&self, dialect: Dialect) -> Vec<&str>;

    /// The provider that takes every model that nobody knows, where one is configured so.
    fn default_provider(&self) -> Option<&str>;

    /// Headers of the caller that go on to this provider besides those that go to all.
    fn forwards(&self, provider: &str) -> &[HeaderName];

    /// Sends one attempt; answers when the head of the reply is there. Never follows a redirect. The id of the secret that it
    /// is sent with is put into `secret` before it leaves.
    fn send<'a>(
        &'a self,
        target: &'a Target,
        outgoing: Outgoing,
        secret: &'a mut Option<Arc<str>>,
    ) -> Later<'a, Result<Reply, Fault>>;
}

/// One attempt as it leaves.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The dialect of the body, and what the path must say with it.
    pub address: Address,
    /// Of the caller's URL, without `?`.
    pub query: Option<String>,
    /// What of the caller's headers goes on; credentials and hop-by-hop headers are never among them.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Milliseconds left for the whole attempt.
    pub deadline_ms: u64,
}

/// The reply of a provider: head now, body as it comes.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: ReplyBody,
    /// The provider refused the secret that it was shown, and there is another to show by now.
    pub other_secret: bool,
}

pub type ReplyBody = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

/// Why an attempt failed on the way, or a body broke off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("could not connect: {0}")]
    Connect(String),
    #[error("no answer within {0} ms")]
    FirstByte(u64),
    #[error("nothing came for {0} ms")]
    Idle(u64),
    #[error("the deadline of {0} ms passed")]
    Deadline(u64),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("its body cannot be read: {0}")]
    Packed(#[from] PackedError),
    #[error("the secret of provider `{provider}` is not there: {why}")]
    NoSecret { provider: String, why: String },
}

/// Balances of money, tokens, requests and calls in flight.
pub trait Ledger: Send + Sync {
    /// How the rules that apply stand. Advisory.
    fn standing<'a>(&'a self, claims: &'a [Claim], now_ms: i64) -> Later<'a, Vec<Standing>>;

    /// Holds all claims at once, or none. One hold per id, however often it is asked.
    fn hold<'a>(&'a self, id: HoldId, claims: &'a [Claim], now_ms: i64) -> Later<'a, Result<Vec<Held>, Refused>>;

    /// The same for a call that goes to a provider. A ledger that lies on the journal in which intents are kept may leave it to
    /// `Trail::intend` to write both at once: the call does not leave before that.
    fn hold_for<'a>(&'a self, id: HoldId, claims: &'a [Claim], now_ms: i64) -> Later<'a, Result<Vec<Held>, Refused>> {
        self.hold(id, claims, now_ms)
    }

    /// Holds more for a call under way, in all of its scopes or none. Steps count from 1; one that was taken does nothing.
    ///
    /// Where a period has ended meanwhile, what is added counts in the new one.
    fn extend<'a>(&'a self, id: HoldId, step: u32, more: Used, now_ms: i64) -> Later<'a, Result<(), Refused>>;

    /// Replaces what is held by what was used. A second time does nothing.
    fn settle<'a>(&'a self, id: HoldId, used: Used, now_ms: i64) -> Later<'a, ()>;

    /// Gives back what is held, except for the request itself. A second time does nothing.
    fn void<'a>(&'a self, id: HoldId, now_ms: i64) -> Later<'a, ()>;

    /// Ends the hold of a call that was lost: a panic, a task that was dropped. Called where nothing may wait. A call that had
    /// left for a provider is booked at what it holds, for nobody knows what it used; any other is voided.
    fn lost(&self, id: HoldId, had_left: bool, now_ms: i64);

    /// Changes what is used in a scope by the hand of an operator: below 0 a grant. A second time with this id does nothing.
    fn adjust<'a>(&'a self, id: HoldId, claim: &'a Claim, delta: i64, now_ms: i64) -> Later<'a, ()>;

    /// Makes a grant or an override, or changes the one of this id. It acts on the next call, and is kept when this returns.
    fn amend(&self, amendment: Arc<Amendment>, now_ms: i64) -> Later<'_, Result<(), Undone>> {
        let _ = (amendment, now_ms);
        Box::pin(std::future::ready(Err(Undone::Unable)))
    }

    /// All grants and overrides that are in force, and those that ended lately; by id.
    fn amendments(&self) -> Vec<Arc<Amendment>> {
        Vec::new()
    }

    /// What time it is by what limits are counted by: the given one, but where several gateways go by another clock.
    fn time_ms(&self, now_ms: i64) -> i64 {
        now_ms
    }

    /// How scopes stand, by scope.
    fn balances<'a>(&'a self, listing: Listing<'a>, now_ms: i64) -> Later<'a, Result<Vec<Balance>, Undone>> {
        let _ = (listing, now_ms);
        Box::pin(std::future::ready(Err(Undone::Unable)))
    }
}

/// What a call used in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Used {
    pub nanousd: i64,
    pub tokens: u64,
}

/// Where answers are kept: idempotency records, and later the caches. And where it is noted what providers hold.
pub trait Shelf: Send + Sync {
    /// Claims `key` for a call with this body. A shelf that is full makes room where most of it is kept for one tenant.
    fn begin<'a>(&'a self, key: &'a str, tenant: &'a Arc<str>, body_digest: [u8; 32]) -> Later<'a, Begun>;

    /// The call under the key that `begin` gave leaves for a provider: from here on the claim outlives the gateway, as far as
    /// the shelf does. Where it is not kept, the call does not leave.
    fn leaves<'a>(&'a self, key: &'a str, call_id: &'a Arc<str>) -> Later<'a, Result<(), Unkept>>;

    /// Keeps the answer under the key that `begin` gave to this call.
    fn finish<'a>(&'a self, key: &'a str, answer: Kept) -> Later<'a, ()>;

    /// Gives the key back: the call came to no answer worth keeping.
    fn forget<'a>(&'a self, key: &'a str) -> Later<'a, ()>;

    /// The call under the key had left and was lost: a panic, a task that was dropped. It may have been carried out, so the
    /// key is `Begun::Unknown` from here on. Called where nothing may wait.
    fn lost(&self, key: &str, call_id: &Arc<str>);

    /// Notes who holds a thing, and for whom. What is another tenant's stays that tenant's.
    fn note_origin<'a>(&'a self, id: &'a str, origin: Origin) -> Later<'a, ()>;

    /// Who holds it; `None` = it was never noted, or was forgotten.
    fn origin<'a>(&'a self, id: &'a str) -> Later<'a, Option<Origin>>;
}

/// Where something that a provider holds was made: a response, a file, a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub tenant: Arc<str>,
    pub provider: Arc<str>,
    /// The target's id; the provider's name, where no model was named.
    pub target: Arc<str>,
}

/// What became of a claim on an idempotency key.
#[derive(Debug, Clone)]
pub enum Begun {
    /// The key is this call's.
    Fresh,
    /// Another call under this key is on its way.
    InFlight,
    /// Another call under this key was lost or on its way when the gateway died, or its answer was not kept: it may have
    /// been carried out.
    Unknown { call_id: Arc<str> },
    /// The key was used with another body.
    OtherBody,
    /// The answer is there.
    Answered(Kept),
}

/// An answer as it was sent.
#[derive(Debug, Clone)]
pub struct Kept {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub call_id: Arc<str>,
    pub revision: Arc<str>,
}

/// Where receipts go, and before them the intents of calls that leave for a provider.
pub trait Trail: Send + Sync {
    /// Keeps what a call is about to do, as safely as the operator wants it, before a byte of it leaves; and again before an
    /// attempt at another target. Where it is not kept, the call does not leave.
    fn intend<'a>(&'a self, intent: &'a Intent) -> Later<'a, Result<(), Unkept>>;

    /// A call that was intended ended by no way at all (it panicked, its task was dropped): nobody will record its receipt.
    /// Called where nothing may wait.
    fn lost(&self, id: HoldId, now_ms: i64);

    /// Hands over the receipt; waits while the bounded queue is full, never drops.
    fn record(&self, receipt: Box<Receipt>) -> Later<'_, ()>;
}

/// Why something is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unkept(pub String);

/// Who the tokens of other issuers speak of.
pub trait Tokens: Send + Sync {
    /// Signature, times and audience hold, and the claims name a caller; or why not.
    fn verify<'a>(&'a self, token: &'a str, now_ms: i64) -> Later<'a, Result<Arc<Bearer>, Untaken>>;
}

/// Who a token speaks of. All of it is verified.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// As the config calls it.
    pub issuer: Arc<str>,
    pub tenant: Arc<str>,
    pub app: Arc<str>,
    pub user: Arc<str>,
    pub groups: Vec<Arc<str>>,
    pub scopes: Scopes,
    pub until_ms: i64,
}

/// Why a token is not taken.
#[derive(Debug, Clone)]
pub struct Untaken {
    pub code: &'static str,
    /// Without a word of the token.
    pub reason: String,
    /// Nobody can say now whether it is good.
    pub is_ours: bool,
}

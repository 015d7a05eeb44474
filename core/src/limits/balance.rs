//! How limits stand, as operators ask for it: a page of scopes at a time.

use std::sync::Arc;

use super::claim::Standing;
use super::rules::Rule;

/// How one scope of one rule stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Balance {
    pub rule: Arc<Rule>,
    /// The scope's key in the ledger.
    pub scope: Arc<str>,
    pub standing: Standing,
}

/// Which balances: those of these rules that something is used or held of, or that an amendment speaks of.
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    pub rules: &'a [Arc<Rule>],
    /// Of these, the scopes for which this is true.
    pub keep: &'a (dyn Fn(&Rule, &str) -> bool + Send + Sync),
    /// By scope, those behind this one.
    pub after: &'a str,
    pub count: usize,
}

/// Why a ledger did not do what operators asked of it; nothing changed, but where it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    #[error(
        "a gateway that keeps to its share of each limit lists no balances and takes no grants: let gateways share limits \
         through a store (`store.redis`), or edit limits.yaml"
    )]
    Unable,
    #[error("{0} grants and overrides are in force, and there is room for no more: revoke some, or edit limits.yaml")]
    Full(usize),
    #[error("the id `{0}` is of another grant or override: take another id, or leave it out")]
    Taken(Arc<str>),
    #[error(
        "the store in which gateways share limits does not answer, and nothing was changed: try again when it does \
         (the log says why; `tollgate_limits_store_state` tells)"
    )]
    Away,
    #[error(
        "the store in which gateways share limits did not say whether it took `{0}`. Either all gateways will know it or \
         none: look at `tollgate budget show` when it answers, and do it again under this id (`--id {0}`), where it counts once"
    )]
    Unsaid(Arc<str>),
    #[error("the journal did not take it: {0}")]
    Journal(String),
    #[error("it acts from now on, but the disk did not confirm it in time: a power cut may undo it")]
    Unconfirmed,
}

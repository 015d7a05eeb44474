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
    #[error("the ledger of this gateway lists no balances and takes no grants")]
    Unable,
    #[error("{0} grants and overrides are in force, and there is room for no more: revoke some, or edit limits.yaml")]
    Full(usize),
    #[error("the journal did not take it: {0}")]
    Journal(String),
    #[error("it acts from now on, but the disk did not confirm it in time: a power cut may undo it")]
    Unconfirmed,
}

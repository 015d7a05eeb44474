//! Where state is kept: balances, answers, receipts, keys and what operators did, for one node, or for several that share balances.
//!
//! Each file fulfils one port of the core; none knows of the others. `journal` and `keyed` are what they may lie on, `calls`
//! what ledger and trail keep in one journal.
#![forbid(unsafe_code)]

pub mod acts;
pub mod calls;
pub mod journal;
pub mod keyed;
pub mod keys;
pub mod ledger;
pub mod shared;
pub mod shelf;
mod time;
pub mod trail;

#[cfg(test)]
mod simulation;

/// Is the long form of the tests asked for?
#[cfg(test)]
fn is_long() -> bool {
    std::env::var("TOLLGATE_LONG").is_ok_and(|long| !long.is_empty())
}

//! Where state is kept: balances, answers, receipts, keys and what operators did, for one node.
//!
//! Each file fulfils one port of the core; none knows of the others.
#![forbid(unsafe_code)]

pub mod acts;
mod counter;
pub mod keys;
pub mod ledger;
pub mod shelf;
pub mod trail;

//! Where state is kept: balances, answers and receipts, for one node.
//!
//! Each file fulfils one port of the core; none knows of the others.
#![forbid(unsafe_code)]

pub mod ledger;
pub mod shelf;
pub mod trail;

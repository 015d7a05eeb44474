//! Where state is kept: balances, answers and receipts, for one node.
//!
//! Each file fulfils one port of the core; none knows of the others. `journal` and `keyed` are what they may lie on.
#![forbid(unsafe_code)]

pub mod journal;
pub mod keyed;
pub mod ledger;
pub mod shelf;
pub mod trail;

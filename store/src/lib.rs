//! What the gateway remembers: the ledger, the shelf and the trail, behind core's ports.

#![forbid(unsafe_code)]

pub mod counter;
pub mod ledger;
pub mod shelf;
pub mod trail;

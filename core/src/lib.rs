//! The thin core of tollgate: the words, the rules and the order of things.
//!
//! Nothing here asks for the time, the network, the disk or randomness; all of it is given. Imports point down:
//! `contract`, then `identity limits routing` side by side, then `policy`, `evidence`, `ports`, and `pipeline` on top.

pub mod contract;
pub mod dialects;
pub mod evidence;
pub mod identity;
pub mod limits;
pub mod pipeline;
pub mod policy;
pub mod ports;
pub mod routing;

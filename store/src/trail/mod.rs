//! The trail: receipts as JSON lines, written by one thread behind a bounded queue, read by the tools.

mod read;
mod write;

pub use read::{Follower, find, tail};
pub use write::FileTrail;

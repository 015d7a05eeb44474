//! All receipts, as JSON lines in files whose names sort by time.

mod forward;
mod names;
mod reader;
mod writer;

pub use forward::{Passed, each};
pub use reader::{Follower, find, follow, tail};
pub use writer::{Clock, FileTrail};

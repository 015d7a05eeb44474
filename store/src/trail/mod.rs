//! All receipts, as JSON lines in files whose names sort by time.

mod disk;
mod forward;
mod names;
mod reader;
mod recover;
mod verify;
mod writer;

pub use forward::{Passed, each};
#[cfg(test)]
pub(crate) use names::list as files;
pub use reader::{Follower, find, follow, tail};
pub use recover::take_over;
pub use verify::{Loose, Unsound, Verified, verify};
#[cfg(test)]
pub(crate) use writer::Writer;
pub use writer::{Clock, FileTrail};

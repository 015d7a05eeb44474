//! Where answers are kept for callers that ask again, and where it is noted what providers hold.
//!
//! `memory` is the shelf of a process. `kept` puts what must outlive it on disk as well, with a thread (`keeper`) that
//! gathers changes into transactions; `rows` says how they lie there, `shares` whose they are and who makes room.

mod keeper;
mod kept;
mod memory;
mod rows;
mod shares;

pub use kept::KeptShelf;
pub use memory::MemoryShelf;

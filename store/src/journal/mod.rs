//! The append-only record of what happened: segments of records, each chained to the one before.
//!
//! `record` is one record, `segment` the head of a file of them, `scan` reads a file, `chain` the files in their order,
//! `log` writes without a thread, `writer` adds the thread that syncs, `storage` is the disk beneath. What a record
//! carries is the affair of whoever writes it.
//!
//! A record is *written* when the kernel has it: it then survives every end of the process. It is *synced* when the disk
//! has confirmed it: it then survives a power cut too.

mod bounds;
mod chain;
mod damage;
mod log;
mod record;
mod scan;
mod segment;
mod storage;
mod verify;
mod writer;

pub use bounds::{Bounds, OpenError, Recovered, Refused, Retention};
pub use chain::{Reader, Record};
pub use damage::{Cut, Damage, ReadError, Wrong};
pub use record::{Head, PAYLOAD_BYTES_MAX};
pub use storage::{Folder, Segment, Storage};
pub(crate) use storage::{is_there, sync_folder};
pub use verify::{Verified, verify};
pub use writer::{Closed, Journal};

#[cfg(test)]
pub(crate) use disk::{Disk, Fault, Lie, Random};
#[cfg(test)]
pub(crate) use writer::Syncer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod tamper_tests;

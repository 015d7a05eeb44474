//! How large a journal may grow, and what it answers when something cannot be done.

use std::io;
use std::time::Duration;

use super::damage::{Cut, ReadError};
use super::record::{Head, PAYLOAD_BYTES_MAX};
use super::scan::UNSYNCED_BYTES_MAX;

/// How large a journal may grow, and how long it may wait.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// A segment that is larger is followed by another.
    pub segment_bytes: u64,
    /// What is written is synced within this time.
    pub sync_every: Duration,
    /// Records that wait for a sync are gathered so long, where several came together before.
    pub group_wait: Duration,
    /// So many do not wait for more.
    pub group_max: usize,
    pub retention: Retention,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            segment_bytes: 64 << 20,
            sync_every: Duration::from_millis(10),
            group_wait: Duration::from_millis(2),
            group_max: 256,
            retention: Retention::default(),
        }
    }
}

/// When old segments are removed. Whatever is at or behind `Journal::keep_from` stays.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Of all segments together, as far as whole segments allow.
    pub bytes_max: u64,
    pub age_max: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { bytes_max: 16 << 30, age_max: Duration::from_secs(400 * 24 * 60 * 60) }
    }
}

/// Why a record was not appended. Nothing of it is in the journal.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Room comes with the next sync, or the next segment.
    #[error(
        "the journal has no room at this moment: {UNSYNCED_BYTES_MAX} bytes wait for the disk, or a segment is changed"
    )]
    Busy,
    #[error("the journal cannot be written: {0}")]
    Disk(#[from] io::Error),
    #[error("a record of {0} bytes is larger than a journal takes ({PAYLOAD_BYTES_MAX})")]
    TooLarge(usize),
    #[error("the journal is closed")]
    Closed,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot begin a journal segment: {0}")]
    Disk(#[from] io::Error),
}

/// What was found when a journal was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The end: the sequence of the next record, and the chain.
    pub head: Head,
    pub cut: Option<Cut>,
    pub strays: Vec<String>,
}

//! What is wrong with a journal, and where: segment, offset, sequence.

use std::fmt;

/// A place in a journal that cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "journal segment `{segment}`, byte {offset}, record {sequence}: {wrong}; restore the segment from a copy, or move the \
     journal away and start with what was lost"
)]
pub struct Damage {
    pub segment: String,
    pub offset: u64,
    /// Of the record that should begin there.
    pub sequence: u64,
    pub wrong: Wrong,
}

/// Why it cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The record is not as it was written, and a later one shows that it had been synced.
    Changed { shown_by: u64 },
    /// The record is not as it was written, and the segment does not end here.
    Torn,
    /// More follows than a crash can have left unsynced.
    TooMuchBehind { bytes: u64 },
    /// Whole by its checksum, and of another sequence.
    Sequence { found: u64 },
    /// Whole by its checksum, and does not follow on the record before.
    Chain,
    /// The head of the segment is not as it was written.
    Head,
    /// The segment follows on another end than the one before it has.
    Link { before: u64 },
    /// The segment before is not there, and retention did not remove it.
    Missing { ordinal: u64 },
    /// The journal was longer once, or has another history than was known.
    Anchor { known: u64 },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Changed { shown_by } => {
                write!(f, "the record was changed after it was synced, as record {shown_by} behind it shows")
            }
            Wrong::Torn => f.write_str("the record is not whole, and the segment goes on"),
            Wrong::TooMuchBehind { bytes } => {
                write!(f, "the record is not whole, and {bytes} bytes follow: more than a crash can leave unsynced")
            }
            Wrong::Sequence { found } => write!(f, "record {found} stands here: records were dropped or moved"),
            Wrong::Chain => f.write_str("the record does not follow on the one before: one of them was changed"),
            Wrong::Head => f.write_str("the head of the segment was changed"),
            Wrong::Link { before } => {
                write!(f, "the segment does not follow on the one before, which ends at {before}")
            }
            Wrong::Missing { ordinal } => write!(f, "segment {ordinal} before it is missing"),
            Wrong::Anchor { known } => {
                write!(f, "the journal had {known} records once and they were others, or more, than it has now")
            }
        }
    }
}

/// The end of a segment that was never whole: a crash left it, and nothing of it had been confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub segment: String,
    pub offset: u64,
    /// Of the first record that was not whole.
    pub sequence: u64,
    pub bytes: u64,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut { segment, offset, sequence, bytes } = self;
        write!(f, "journal segment `{segment}`: {bytes} bytes from {offset} on (record {sequence}) were never whole")
    }
}

/// Why a journal could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read the journal at `{segment}`: {why}")]
    Disk { segment: String, why: std::io::Error },
    #[error(transparent)]
    Damage(#[from] Damage),
}

impl ReadError {
    pub(super) fn disk(segment: &str) -> impl FnOnce(std::io::Error) -> ReadError {
        move |why| ReadError::Disk { segment: segment.to_owned(), why }
    }
}

//! A disk that takes nothing at this time: why, and whether it does again.

use std::io;

use super::{Log, State};
use crate::journal::Refused;

/// What a disk did not take.
pub(super) struct Failing {
    pub(super) why: io::Error,
    /// Of the record; 0 = it was no record.
    bytes: usize,
}

impl Failing {
    pub(super) fn of(why: &io::Error, bytes: usize) -> Failing {
        Failing { why: again(why), bytes }
    }
}

impl Log {
    /// Tries again whether the disk takes what it did not take, where nobody may come with another record: as many bytes
    /// behind the end, which are cut off again. A crash between leaves what a torn record leaves.
    pub(in crate::journal) fn probe(&self) -> io::Result<()> {
        let mut state = self.lock();
        let State { file, written, failing, .. } = &mut *state;
        let (Some(open), Some(failed)) = (&*file, &*failing) else { return Ok(()) };
        let bytes = failed.bytes;
        let tried = open.append(&vec![0; bytes]);
        if open.cut(written.bytes).is_err() {
            *file = None;
        }
        *failing = tried.as_ref().err().map(|why| Failing::of(why, bytes));
        tried
    }

    /// Why the disk takes nothing at this time.
    pub(in crate::journal) fn failing(&self) -> Option<String> {
        self.lock().failing.as_ref().map(|failing| failing.why.to_string())
    }
}

/// There is no file to append to: it is changed for another, or the disk does not take another.
pub(super) fn refused(failing: &Option<Failing>) -> Refused {
    failing.as_ref().map_or(Refused::Busy, |failing| Refused::Disk(again(&failing.why)))
}

/// The same error for somebody else.
fn again(why: &io::Error) -> io::Error {
    why.raw_os_error().map_or_else(|| io::Error::new(why.kind(), why.to_string()), io::Error::from_raw_os_error)
}

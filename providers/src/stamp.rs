//! By what a file is known to be another one than before, without reading it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    modified: (i64, i64),
    /// What is replaced by renaming may be as old and as long as what it replaces.
    inode: (u64, u64),
    bytes: u64,
}

impl Stamp {
    /// `None` where there is no file, or none that may be looked at.
    pub fn of(path: &Path) -> Option<Stamp> {
        let about = std::fs::metadata(path).ok()?;
        Some(Stamp {
            modified: (about.mtime(), about.mtime_nsec()),
            inode: (about.dev(), about.ino()),
            bytes: about.size(),
        })
    }
}

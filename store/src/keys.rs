//! Keys that operators make while a gateway runs: in a state file of their own, a row each.
//!
//! A change is a transaction that is on the disk before it is told as done. A kill at any moment leaves the rows before or the
//! rows after.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use serde::{Deserialize, Serialize};
use tollgate_core::identity::record::KeyRecord;

use crate::keyed::{Keyed, KeyedError, Table};

/// All of them are in memory while a gateway runs, at about 400 bytes each.
pub const KEYS_MAX: usize = 2_000_000;
const VERSION: u32 = 1;
/// Keys that are handed on together at a start, and how many such parts may wait.
const PART: usize = 1_024;
const PARTS_MAX: usize = 4;

const KEYS: Table<KeyRecord> = Table::named("keys");
const ABOUT: Table<About> = Table::named("about");
const THIS: &str = "keys";

/// The keys of one gateway.
pub struct KeyFile {
    keyed: Keyed,
    /// So many rows; held while they change.
    rows: Mutex<usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error(transparent)]
    Keyed(#[from] KeyedError),
    #[error("`{}` is of version {version}, this program writes {VERSION}", path.display())]
    Version { path: PathBuf, version: u32 },
    #[error(
        "the keys of `{}` were hashed with the pepper `{theirs}`, this gateway has `{own}`: restore the pepper, or move the file away and make all keys anew",
        path.display()
    )]
    Pepper { path: PathBuf, theirs: String, own: String },
    #[error(
        "there are {KEYS_MAX} keys already, and all of them are good: revoke some, or put rows into `tenants.yaml`"
    )]
    Full,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    version: u32,
    /// The id of the pepper that hashes all of them.
    pepper: String,
}

impl KeyFile {
    /// Without the file there are no keys yet. `pepper` is the id of the pepper that hashes them. All keys are given away.
    pub fn open(path: &Path, pepper: &str, give: impl FnMut(KeyRecord)) -> Result<KeyFile, KeyFileError> {
        let keyed = Keyed::open(path)?;
        match keyed.get(&ABOUT, THIS)? {
            Some(About { version, .. }) if version != VERSION => {
                return Err(KeyFileError::Version { path: path.to_owned(), version });
            }
            Some(about) if about.pepper != pepper => {
                let (theirs, own) = (about.pepper, pepper.to_owned());
                return Err(KeyFileError::Pepper { path: path.to_owned(), theirs, own });
            }
            Some(_) => {}
            None => {
                let about = About { version: VERSION, pepper: pepper.to_owned() };
                keyed.change(|change| change.put(&ABOUT, THIS, &about))?;
            }
        }
        let rows = read(&keyed, give)?;
        Ok(KeyFile { keyed, rows: Mutex::new(rows) })
    }

    /// Keeps keys, all of them or none; when this returns they outlive a power cut. Where there is no room, those that `spent`
    /// names go.
    pub fn put(&self, records: &[KeyRecord], spent: impl Fn(&KeyRecord) -> bool) -> Result<(), KeyFileError> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone: Vec<Arc<str>> = Vec::new();
        if *rows + records.len() > KEYS_MAX {
            let replaces = |id: &str| records.iter().any(|record| *record.id == *id);
            self.keyed.each(&KEYS, |id, kept| {
                if spent(&kept) && !replaces(id) {
                    gone.push(kept.id);
                }
            })?;
        }
        let mut after = *rows - gone.len();
        if after + records.len() > KEYS_MAX {
            return Err(KeyFileError::Full);
        }
        self.keyed.change(|change| {
            gone.iter().try_for_each(|id| change.remove(&KEYS, id))?;
            for record in records {
                after += usize::from(change.get(&KEYS, &record.id)?.is_none());
                change.put(&KEYS, &record.id, record)?;
            }
            Ok(())
        })?;
        *rows = after;
        Ok(())
    }
}

/// Reads all keys, on a thread of its own: there may be a million, and whoever takes them has as much to do.
fn read(keyed: &Keyed, mut give: impl FnMut(KeyRecord)) -> Result<usize, KeyedError> {
    let (sender, receiver) = mpsc::sync_channel::<Vec<KeyRecord>>(PARTS_MAX);
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut part = Vec::with_capacity(PART);
            let read = keyed.each(&KEYS, |_, record| {
                part.push(record);
                if part.len() == PART {
                    // Nobody takes it only where the other side has panicked.
                    let _ = sender.send(std::mem::replace(&mut part, Vec::with_capacity(PART)));
                }
            });
            let _ = sender.send(part);
            read
        });
        let mut rows = 0;
        for part in receiver {
            rows += part.len();
            part.into_iter().for_each(&mut give);
        }
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map(|()| rows)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> KeyRecord {
        KeyRecord { id: id.into(), tenant: "acme".into(), ..KeyRecord::default() }
    }

    fn opened(path: &Path, pepper: &str) -> Result<(KeyFile, Vec<KeyRecord>), KeyFileError> {
        let mut all = Vec::new();
        let file = KeyFile::open(path, pepper, |record| all.push(record))?;
        Ok((file, all))
    }

    #[test]
    fn keys_are_there_after_a_restart_in_a_file_of_our_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.redb");
        let (file, all) = opened(&path, "p1").unwrap();
        assert_eq!(all, []);
        file.put(&[key("b"), key("a")], |_| false).unwrap();
        file.put(&[KeyRecord { revoked_ms: Some(7), ..key("b") }], |_| false).unwrap();
        assert_eq!(*file.rows.lock().unwrap(), 2);
        drop(file);
        let (file, all) = opened(&path, "p1").unwrap();
        assert_eq!(all, [key("a"), KeyRecord { revoked_ms: Some(7), ..key("b") }]);
        drop(file);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
        let Err(told) = opened(&path, "p2") else { panic!("another pepper") };
        assert!(told.to_string().contains("restore the pepper"));
        std::fs::write(&path, "{\"version\":1,").unwrap();
        assert!(matches!(opened(&path, "p1"), Err(KeyFileError::Keyed(_))), "never taken for no keys");
    }
}

//! Keys that operators make while a gateway runs, in one file that is replaced as a whole.
//!
//! A change is on the disk before it is told as done: written beside, synced, renamed, and the folder synced. A kill at any
//! moment leaves the file before or the file after.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tollgate_core::identity::record::KeyRecord;

/// Each change writes all of them.
pub const KEYS_MAX: usize = 20_000;
/// A larger file is none of ours: a row is below 4 KiB.
const FILE_BYTES_MAX: u64 = 4_096 * KEYS_MAX as u64;

/// The keys of one gateway.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    pepper: String,
    rows: Mutex<BTreeMap<Arc<str>, KeyRecord>>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot use `{}`: {why}", path.display())]
    Disk { path: PathBuf, why: io::Error },
    #[error("`{}` cannot be read: {why}; restore it from a copy, or move it away and make all keys anew", path.display())]
    Wrong { path: PathBuf, why: String },
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

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    pepper: String,
    keys: Vec<KeyRecord>,
}

impl KeyFile {
    /// Without the file there are no keys yet. `pepper` is the id of the pepper that hashes them.
    pub fn open(path: &Path, pepper: &str) -> Result<KeyFile, KeyFileError> {
        let wrong = |why: String| KeyFileError::Wrong { path: path.to_owned(), why };
        let disk = |why| KeyFileError::Disk { path: path.to_owned(), why };
        let mut rows = BTreeMap::new();
        match fs::metadata(path) {
            Ok(file) if file.len() > FILE_BYTES_MAX => return Err(wrong(format!("it has {} bytes", file.len()))),
            Ok(_) => {
                let kept: Kept =
                    serde_json::from_slice(&fs::read(path).map_err(disk)?).map_err(|why| wrong(why.to_string()))?;
                if kept.version != 1 {
                    return Err(wrong(format!("it is of version {}, this program writes 1", kept.version)));
                }
                if kept.pepper != pepper {
                    let (theirs, own) = (kept.pepper, pepper.to_owned());
                    return Err(KeyFileError::Pepper { path: path.to_owned(), theirs, own });
                }
                rows.extend(kept.keys.into_iter().map(|key| (key.id.clone(), key)));
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(disk(why)),
        }
        Ok(KeyFile { path: path.to_owned(), pepper: pepper.to_owned(), rows: Mutex::new(rows) })
    }

    pub fn all(&self) -> Vec<KeyRecord> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Keeps a key; when this returns it outlives a power cut. Where there is no room, those that `spent` names go.
    pub fn put(&self, record: KeyRecord, spent: impl Fn(&KeyRecord) -> bool) -> Result<(), KeyFileError> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = rows.clone();
        if after.len() >= KEYS_MAX && !after.contains_key(&record.id) {
            after.retain(|_, kept| !spent(kept));
            if after.len() >= KEYS_MAX {
                return Err(KeyFileError::Full);
            }
        }
        after.insert(record.id.clone(), record);
        let kept = Kept { version: 1, pepper: self.pepper.clone(), keys: after.values().cloned().collect() };
        self.replace(&kept).map_err(|why| KeyFileError::Disk { path: self.path.clone(), why })?;
        *rows = after;
        Ok(())
    }

    fn replace(&self, kept: &Kept) -> io::Result<()> {
        let beside = self.path.with_extension("json.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        file.write_all(&serde_json::to_vec(kept)?)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> KeyRecord {
        KeyRecord { id: id.into(), tenant: "acme".into(), ..KeyRecord::default() }
    }

    #[test]
    fn keys_are_there_after_a_restart_and_a_half_written_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let file = KeyFile::open(&path, "p1").unwrap();
        assert_eq!(file.all(), []);
        file.put(key("b"), |_| false).unwrap();
        file.put(key("a"), |_| false).unwrap();
        file.put(KeyRecord { revoked_ms: Some(7), ..key("b") }, |_| false).unwrap();
        // What a kill between writing and renaming leaves.
        fs::write(path.with_extension("json.new"), "{\"version\":1,").unwrap();
        let again = KeyFile::open(&path, "p1").unwrap();
        assert_eq!(again.all(), [key("a"), KeyRecord { revoked_ms: Some(7), ..key("b") }]);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
        assert!(KeyFile::open(&path, "p2").unwrap_err().to_string().contains("restore the pepper"));
        fs::write(&path, "{\"version\":1,").unwrap();
        assert!(matches!(KeyFile::open(&path, "p1"), Err(KeyFileError::Wrong { .. })), "never taken for no keys");
    }

    #[test]
    fn a_change_that_the_disk_does_not_take_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        fs::create_dir(&folder).unwrap();
        let file = KeyFile::open(&folder.join("keys.json"), "p").unwrap();
        file.put(key("a"), |_| false).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(file.put(key("b"), |_| false), Err(KeyFileError::Disk { .. })));
        assert_eq!(file.all(), [key("a")]);
    }
}

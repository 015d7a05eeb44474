//! State that is found by its key, on disk: what must be there at once after a restart and is changed seldom.
//!
//! A change is a transaction: after a kill or a power cut it is there whole or not at all, and one that was confirmed is
//! there. Each costs a sync of the disk, so nothing here belongs on the way of a call, and all of it blocks.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One value, as JSON.
const VALUE_BYTES_MAX: usize = 1 << 20;
const KEY_BYTES_MAX: usize = 1_024;
/// One value that is no JSON.
pub const RAW_BYTES_MAX: usize = 4 << 20;
/// What the database keeps of its file in memory.
const CACHE_BYTES: usize = 8 << 20;

/// A table and what its rows hold. It is declared where it is used.
pub struct Table<V> {
    definition: TableDefinition<'static, &'static str, &'static [u8]>,
    rows: PhantomData<fn() -> V>,
}

/// Rows that are bytes, as they come.
pub struct Raw;

impl<V> Table<V> {
    pub const fn named(name: &'static str) -> Table<V> {
        Table { definition: TableDefinition::new(name), rows: PhantomData }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeyedError {
    #[error("cannot use the state file `{}`: {why}; {}", path.display(), remedy(why))]
    Disk { path: PathBuf, why: redb::Error },
    #[error("a row of `{table}` in the state file cannot be read: {why}; it may be of a newer version of this program")]
    Row { table: String, why: serde_json::Error },
    #[error(
        "a row for the table `{table}` is too large: {bytes} bytes, at most {bytes_max} and {KEY_BYTES_MAX} for its key"
    )]
    TooLarge { table: String, bytes: usize, bytes_max: usize },
}

/// The state file of one gateway.
pub struct Keyed {
    path: PathBuf,
    /// `None` = it could not be opened again.
    database: RwLock<Option<Database>>,
    /// The disk failed it: the database takes nothing any more, whatever the disk does then, and is to be opened again.
    has_failed: AtomicBool,
}

/// What changes together, or not at all.
pub struct Change<'k> {
    keyed: &'k Keyed,
    transaction: WriteTransaction,
}

impl Keyed {
    /// Made where it is not there; one that a crash left is put right.
    pub fn open(path: &Path) -> Result<Keyed, KeyedError> {
        let database = RwLock::new(Some(database(path).map_err(|why| failed(path, why))?));
        Ok(Keyed { path: path.to_owned(), database, has_failed: AtomicBool::new(false) })
    }

    pub fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &str) -> Result<Option<V>, KeyedError> {
        let reading = self.reading()?;
        match reading.open_table(table.definition) {
            Ok(open) => self.row(table, &open, key),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(why) => Err(self.disk(why)),
        }
    }

    pub fn bytes(&self, table: &Table<Raw>, key: &str) -> Result<Option<Vec<u8>>, KeyedError> {
        let reading = self.reading()?;
        let open = match reading.open_table(table.definition) {
            Ok(open) => open,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(why) => return Err(self.disk(why)),
        };
        let value = open.get(key).map_err(|why| self.disk(why))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    /// All rows, in the order of their keys.
    pub fn each<V: DeserializeOwned>(&self, table: &Table<V>, mut give: impl FnMut(&str, V)) -> Result<(), KeyedError> {
        let reading = self.reading()?;
        let open = match reading.open_table(table.definition) {
            Ok(open) => open,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(why) => return Err(self.disk(why)),
        };
        for row in open.iter().map_err(|why| self.disk(why))? {
            let (key, value) = row.map_err(|why| self.disk(why))?;
            give(key.value(), read(table, value.value())?);
        }
        Ok(())
    }

    /// Makes all changes at once. Where `make` fails, none is made.
    pub fn change(&self, make: impl FnOnce(&Change<'_>) -> Result<(), KeyedError>) -> Result<(), KeyedError> {
        let transaction = self.with(|database| database.begin_write().map_err(|why| self.disk(why)))?;
        let change = Change { keyed: self, transaction };
        make(&change)?;
        change.transaction.commit().map_err(|why| self.disk(why))
    }

    fn row<V: DeserializeOwned>(
        &self,
        table: &Table<V>,
        open: &impl ReadableTable<&'static str, &'static [u8]>,
        key: &str,
    ) -> Result<Option<V>, KeyedError> {
        let value = open.get(key).map_err(|why| self.disk(why))?;
        value.map(|value| read(table, value.value())).transpose()
    }

    fn reading(&self) -> Result<ReadTransaction, KeyedError> {
        self.with(|database| database.begin_read().map_err(|why| self.disk(why)))
    }

    /// The database, opened again where its disk failed it.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, KeyedError>) -> Result<T, KeyedError> {
        if self.has_failed.load(Ordering::Acquire) {
            let mut held = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if self.has_failed.load(Ordering::Acquire) {
                // It holds the lock of the file.
                *held = None;
                *held = Some(database(&self.path).map_err(|why| failed(&self.path, why))?);
                self.has_failed.store(false, Ordering::Release);
                tracing::warn!(path = %self.path.display(), "the state file was opened again after its disk had failed");
            }
        }
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        // Another may have begun to open it again, and failed.
        held.as_ref().map_or_else(|| Err(self.disk(redb::Error::PreviousIo)), work)
    }

    fn disk(&self, why: impl Into<redb::Error>) -> KeyedError {
        let why = why.into();
        if matches!(why, redb::Error::Io(_) | redb::Error::PreviousIo) {
            self.has_failed.store(true, Ordering::Release);
        }
        failed(&self.path, why)
    }
}

impl Change<'_> {
    /// As the change has it so far.
    pub fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &str) -> Result<Option<V>, KeyedError> {
        let open = self.transaction.open_table(table.definition).map_err(|why| self.keyed.disk(why))?;
        self.keyed.row(table, &open, key)
    }

    pub fn put<V: Serialize>(&self, table: &Table<V>, key: &str, value: &V) -> Result<(), KeyedError> {
        let row = |why| KeyedError::Row { table: name(table), why };
        let value = serde_json::to_vec(value).map_err(row)?;
        self.insert(table, key, &value, VALUE_BYTES_MAX)
    }

    pub fn put_bytes(&self, table: &Table<Raw>, key: &str, value: &[u8]) -> Result<(), KeyedError> {
        self.insert(table, key, value, RAW_BYTES_MAX)
    }

    fn insert<V>(&self, table: &Table<V>, key: &str, value: &[u8], bytes_max: usize) -> Result<(), KeyedError> {
        if value.len() > bytes_max || key.len() > KEY_BYTES_MAX {
            return Err(KeyedError::TooLarge { table: name(table), bytes: value.len().max(key.len()), bytes_max });
        }
        let mut open = self.transaction.open_table(table.definition).map_err(|why| self.keyed.disk(why))?;
        open.insert(key, value).map(drop).map_err(|why| self.keyed.disk(why))
    }

    /// Removes all rows.
    pub fn clear<V>(&self, table: &Table<V>) -> Result<(), KeyedError> {
        self.transaction.delete_table(table.definition).map(drop).map_err(|why| self.keyed.disk(why))
    }

    pub fn remove<V>(&self, table: &Table<V>, key: &str) -> Result<(), KeyedError> {
        let mut open = self.transaction.open_table(table.definition).map_err(|why| self.keyed.disk(why))?;
        open.remove(key).map(drop).map_err(|why| self.keyed.disk(why))
    }
}

/// A file that is not there is made.
fn database(path: &Path) -> Result<Database, redb::Error> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(redb::Error::Io)?;
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    Ok(builder.create_with_backend(FileBackend::new(file)?)?)
}

fn failed(path: &Path, why: redb::Error) -> KeyedError {
    KeyedError::Disk { path: path.to_owned(), why }
}

/// What is lost with a file that is moved away must not be lost for a disk that comes back.
fn remedy(why: &redb::Error) -> &'static str {
    match why {
        redb::Error::Io(why) if why.kind() == std::io::ErrorKind::StorageFull => {
            "its disk is full: make room and try again; nothing was changed, and what is there is whole"
        }
        redb::Error::Io(_) | redb::Error::PreviousIo => {
            "look at its disk and at who may use it, and try again; nothing was changed"
        }
        redb::Error::DatabaseAlreadyOpen => "it is open elsewhere: try again when it is not",
        _ => "restore it from a copy, or move it away to begin anew",
    }
}

fn read<V: DeserializeOwned>(table: &Table<V>, value: &[u8]) -> Result<V, KeyedError> {
    serde_json::from_slice(value).map_err(|why| KeyedError::Row { table: name(table), why })
}

fn name<V>(table: &Table<V>) -> String {
    redb::TableHandle::name(&table.definition).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Table<u64> = Table::named("numbers");
    const WORDS: Table<String> = Table::named("words");

    fn all(keyed: &Keyed) -> Vec<(String, u64)> {
        let mut rows = Vec::new();
        keyed.each(&NUMBERS, |key, value| rows.push((key.to_owned(), value))).unwrap();
        rows
    }

    #[test]
    fn what_is_put_is_there_after_a_restart_and_what_fails_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyed.redb");
        let keyed = Keyed::open(&path).unwrap();
        assert_eq!((keyed.get(&NUMBERS, "a").unwrap(), all(&keyed)), (None, vec![]), "no table is an empty one");
        keyed
            .change(|change| {
                change.put(&NUMBERS, "b", &2)?;
                change.put(&NUMBERS, "a", &1)?;
                assert_eq!(change.get(&NUMBERS, "a")?, Some(1), "a change sees itself");
                change.put(&WORDS, "a", &"one".to_owned())
            })
            .unwrap();
        let failed = keyed.change(|change| {
            change.remove(&NUMBERS, "a")?;
            change.put(&WORDS, "large", &"x".repeat(VALUE_BYTES_MAX))
        });
        assert!(matches!(failed, Err(KeyedError::TooLarge { .. })));
        drop(keyed);
        let keyed = Keyed::open(&path).unwrap();
        assert_eq!(all(&keyed), [("a".to_owned(), 1), ("b".to_owned(), 2)], "none of a change that failed");
        keyed.change(|change| change.remove(&NUMBERS, "a")).unwrap();
        assert_eq!(all(&keyed), [("b".to_owned(), 2)]);
        let other: Table<u64> = Table::named("words");
        assert!(matches!(keyed.get(&other, "a"), Err(KeyedError::Row { .. })), "a row of another kind is told");
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_told_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyed.redb");
        std::fs::write(&path, "not a database").unwrap();
        let told = Keyed::open(&path).err().unwrap().to_string();
        assert!(told.contains("keyed.redb"), "{told}");
        assert_eq!(std::fs::read(&path).unwrap(), b"not a database");
    }

    #[test]
    fn a_full_disk_is_told_as_one_and_the_file_is_used_again_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let keyed = Keyed::open(&dir.path().join("keyed.redb")).unwrap();
        keyed.change(|change| change.put(&NUMBERS, "a", &1)).unwrap();
        let full = || std::io::Error::from_raw_os_error(28);
        let told = keyed.change(|_| Err(keyed.disk(redb::Error::Io(full())))).unwrap_err().to_string();
        assert!(told.contains("is full") && !told.contains("move it away"), "{told}");
        assert!(keyed.has_failed.load(Ordering::Acquire), "a database whose disk failed takes nothing any more");
        keyed.change(|change| change.put(&NUMBERS, "b", &2)).unwrap();
        assert_eq!(all(&keyed), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert!(!keyed.has_failed.load(Ordering::Acquire), "it was opened again, once");
        let told = keyed.disk(redb::Error::Corrupted("x".to_owned())).to_string();
        assert!(told.contains("restore it from a copy"), "{told}");
    }
}

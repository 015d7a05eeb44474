//! Reads a whole journal and names the first thing that is wrong with it.

use std::sync::Arc;

use super::chain::{Links, Reader};
use super::damage::{Cut, ReadError, Wrong};
use super::record::Head;
use super::scan::damage;
use super::storage::Storage;

/// What a sound journal is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub segments: usize,
    pub records: u64,
    /// The sequence of the first record: above 0 where retention removed those before it.
    pub first: u64,
    /// To be kept elsewhere: with it a later check finds records that were taken from the end.
    pub head: Head,
    /// What a crash left at the end, never whole and never confirmed.
    pub cut: Option<Cut>,
    /// Bytes behind the good end of segments that a crash or a failed sync ended: no record is read from them.
    pub behind: u64,
    /// Files that belong to no chain: a crash left them before they held a confirmed record.
    pub strays: Vec<String>,
}

/// Finds any change, drop or reordering. `known` is a head from before: without it, records that are missing at the very
/// end, with all their segments' traces, cannot be told from records that never were.
pub fn verify(storage: Arc<dyn Storage>, known: Option<Head>) -> Result<Verified, ReadError> {
    let links = Links::read(&*storage)?;
    let first = links.headers.first().map_or(0, |header| header.begins.next);
    let mut reader = Reader::from(storage, 0)?;
    let mut records = 0;
    let mut is_known = known.is_none_or(|known| known.next < first || known == reader.head());
    while let Some(record) = reader.next() {
        record?;
        records += 1;
        is_known = is_known || known == Some(reader.head());
    }
    let head = reader.head();
    if let Some(known) = known.filter(|_| !is_known) {
        let segment = links.headers.last().map_or_else(|| ".".to_owned(), |header| header.name());
        return Err(damage(&segment, 0, head.next, Wrong::Anchor { known: known.next }).into());
    }
    let (cut, behind) = (reader.cut().cloned(), reader.behind());
    Ok(Verified { segments: links.headers.len(), records, first, head, cut, behind, strays: links.strays })
}

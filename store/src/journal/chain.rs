//! The segments in their order, and the records in theirs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::damage::{Cut, ReadError, Wrong};
use super::record::Head;
use super::scan::{self, Opened, Scan, damage};
use super::segment::{Header, parse_name};
use super::storage::Storage;

/// The segments that belong together, oldest first, and the highest ordinal that any file has.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub headers: Vec<Header>,
    /// Files outside of the chain: the ones that a crash left before their first sync, and those behind retention.
    pub strays: Vec<String>,
    pub ordinal_max: u64,
}

impl Links {
    /// Walks back from the newest segment, each naming the one before: so a file that was left out is missed.
    pub(super) fn read(storage: &dyn Storage) -> Result<Links, ReadError> {
        let names = storage.list().map_err(ReadError::disk("."))?;
        let mut files: BTreeMap<u64, String> =
            names.into_iter().filter_map(|name| Some((parse_name(&name)?.0, name))).collect();
        let ordinal_max = files.last_key_value().map_or(0, |(ordinal, _)| *ordinal);
        let mut links = Links { ordinal_max, ..Links::default() };
        let Some(newest) = newest(storage, &mut files, &mut links.strays)? else { return Ok(links) };
        links.headers.push(newest);
        let mut header = newest;
        while !header.is_very_first() {
            let Some(name) = files.remove(&header.previous) else {
                if header.begins.next <= newest.pruned_before {
                    break;
                }
                let wrong = Wrong::Missing { ordinal: header.previous };
                return Err(damage(&header.name(), 0, header.begins.next, wrong).into());
            };
            let before = match scan::header(storage, &name)? {
                Opened::Whole(before)
                    if before.begins.next <= header.begins.next && before.ordinal < header.ordinal =>
                {
                    before
                }
                Opened::Whole(before) => return Err(damage(&name, 0, before.begins.next, Wrong::Head).into()),
                Opened::NeverWhole => return Err(damage(&name, 0, header.begins.next, Wrong::Head).into()),
            };
            header = before;
            links.headers.push(header);
        }
        links.headers.reverse();
        links.strays.extend(files.into_values());
        Ok(links)
    }

    /// Where a segment ends by the word of the next.
    pub(super) fn limit(&self, at: usize) -> Option<u64> {
        self.headers.get(at + 1).map(|next| next.previous_bytes)
    }
}

/// The newest segment with a head; those behind it never had one.
fn newest(
    storage: &dyn Storage,
    files: &mut BTreeMap<u64, String>,
    strays: &mut Vec<String>,
) -> Result<Option<Header>, ReadError> {
    while let Some((_, name)) = files.pop_last() {
        match scan::header(storage, &name)? {
            Opened::Whole(header) => return Ok(Some(header)),
            Opened::NeverWhole => strays.push(name),
        }
    }
    Ok(None)
}

/// One record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub sequence: u64,
    pub payload: Vec<u8>,
}

/// The records from a sequence on, to the end that was there when it began. Whatever it gives was checked.
pub struct Reader {
    storage: Arc<dyn Storage>,
    /// Segments to come, each with its end.
    to_come: VecDeque<(Header, Option<u64>)>,
    scan: Option<Scan>,
    from: u64,
    /// Behind the last record that was given.
    head: Head,
    /// Bytes behind the ends of segments that were left.
    behind: u64,
    has_ended: bool,
}

impl Reader {
    /// Where retention removed records from `sequence` on, it begins with the first that is there.
    pub fn from(storage: Arc<dyn Storage>, sequence: u64) -> Result<Reader, ReadError> {
        let links = Links::read(&*storage)?;
        let begin = links.headers.iter().rposition(|header| header.begins.next <= sequence).unwrap_or(0);
        let to_come: VecDeque<_> =
            links.headers.iter().enumerate().skip(begin).map(|(at, header)| (*header, links.limit(at))).collect();
        let head = to_come.front().map(|(header, _)| header.begins).unwrap_or_default();
        Ok(Reader { storage, to_come, scan: None, from: sequence, head, behind: 0, has_ended: false })
    }

    /// The end of what was read so far.
    pub fn head(&self) -> Head {
        self.scan.as_ref().map_or(self.head, |scan| scan.head)
    }

    /// What lies behind the last whole record, once it was read.
    pub fn cut(&self) -> Option<&Cut> {
        self.scan.as_ref().and_then(|scan| scan.cut.as_ref())
    }

    /// Bytes that belong to no record: they lie behind the good end of segments that a crash or a failed sync ended.
    pub(super) fn behind(&self) -> u64 {
        self.behind
    }

    fn advance(&mut self) -> Result<Option<Record>, ReadError> {
        loop {
            let scan = match &mut self.scan {
                Some(scan) => scan,
                None => {
                    let Some((header, limit)) = self.to_come.pop_front() else { return Ok(None) };
                    follows(&header, self.head)?;
                    self.scan.insert(Scan::begin(&*self.storage, &header, limit)?)
                }
            };
            match scan.next()? {
                Some((sequence, _)) if sequence < self.from => {}
                Some((sequence, payload)) => return Ok(Some(Record { sequence, payload: payload.to_vec() })),
                // The last one is kept: it knows what lies behind its end.
                None if self.to_come.is_empty() => return Ok(None),
                None => {
                    self.head = scan.head;
                    self.behind += scan.behind()?;
                    self.scan = None;
                }
            }
        }
    }
}

/// A segment must follow on the end that the one before has by its own records.
fn follows(header: &Header, end: Head) -> Result<(), ReadError> {
    match header.begins == end {
        true => Ok(()),
        false => Err(damage(&header.name(), 0, header.begins.next, Wrong::Link { before: end.next }).into()),
    }
}

impl Iterator for Reader {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let record = self.advance().transpose();
        // Behind damage nothing can be believed.
        self.has_ended = !matches!(record, Some(Ok(_)));
        record
    }
}

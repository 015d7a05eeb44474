//! One segment from its head on: each record checked against the one before.

use std::io::Read;

use super::damage::{Cut, Damage, ReadError, Wrong};
use super::record::{self, Head, PAYLOAD_BYTES_MAX, Parsed};
use super::segment::{HEADER_BYTES, Header, parse_name};
use super::storage::Storage;

/// Read at once.
const BLOCK: usize = 256 << 10;
/// A crash leaves no more than this unsynced: what the writer lets pile up, and one record.
pub(super) const UNSYNCED_BYTES_MAX: usize = 8 << 20;
const TORN_BYTES_MAX: usize = UNSYNCED_BYTES_MAX + record::HEAD_BYTES + PAYLOAD_BYTES_MAX;

/// A place in a segment that moves forward.
pub(super) struct Scan {
    name: String,
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// What of the buffer was taken.
    taken: usize,
    /// Where in the file the next record begins.
    pub offset: u64,
    /// The end of the records that were read.
    pub head: Head,
    /// All records before this sequence were on disk once, by the word of those that were read.
    pub synced: u64,
    /// The length of the last record.
    last: usize,
    /// Where the next segment says that this one ends; `None` = it is the newest.
    limit: Option<u64>,
    /// What was found behind the last whole record of the newest segment.
    pub cut: Option<Cut>,
}

/// The head of a segment, or what its file holds in place of one.
pub(super) enum Opened {
    Whole(Header),
    /// It was never whole: a crash came before its first sync.
    NeverWhole,
}

/// Reads the head of a segment. Only the newest may be without one.
pub(super) fn header(storage: &dyn Storage, name: &str) -> Result<Opened, ReadError> {
    let (ordinal, first) = parse_name(name).ok_or_else(|| damage(name, 0, 0, Wrong::Head))?;
    let mut source = storage.read(name).map_err(ReadError::disk(name))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    source.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut bytes).map_err(ReadError::disk(name))?;
    let header = bytes.first_chunk().and_then(Header::read);
    match header {
        Some(header) if (header.ordinal, header.begins.next) == (ordinal, first) => Ok(Opened::Whole(header)),
        Some(_) => Err(damage(name, 0, first, Wrong::Head).into()),
        None => {
            let mut rest = Vec::new();
            let max = TORN_BYTES_MAX as u64 + 1;
            source.take(max).read_to_end(&mut rest).map_err(ReadError::disk(name))?;
            // A record that knows of synced ones in this segment shows that its head had been synced before them.
            match rest.len() > TORN_BYTES_MAX || record::proof_of_sync(&rest, first).is_some() {
                true => Err(damage(name, 0, first, Wrong::Head).into()),
                false => Ok(Opened::NeverWhole),
            }
        }
    }
}

impl Scan {
    /// Begins behind the head, which was read before.
    pub(super) fn begin(storage: &dyn Storage, header: &Header, limit: Option<u64>) -> Result<Scan, ReadError> {
        let name = header.name();
        let mut source = storage.read(&name).map_err(ReadError::disk(&name))?;
        let mut head = [0; HEADER_BYTES];
        source.read_exact(&mut head).map_err(ReadError::disk(&name))?;
        let offset = HEADER_BYTES as u64;
        let (head, synced) = (header.begins, header.begins.next);
        Ok(Scan { name, source, buffer: Vec::new(), taken: 0, offset, head, synced, last: 0, limit, cut: None })
    }

    /// The next record: its sequence and what it carries. `None` = the end, torn or not.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &[u8])>, ReadError> {
        if self.limit == Some(self.offset) || self.cut.is_some() {
            return Ok(None);
        }
        self.fill(record::HEAD_BYTES)?;
        if let Parsed::Short(wanted) = record::parse(self.rest()) {
            self.fill(wanted)?;
        }
        let sequence = self.head.next;
        let (bytes, after, chain, found, synced) = match record::parse(self.rest()) {
            Parsed::Whole(framed) => {
                let after = self.head.then(&record::digest(framed.payload), framed.synced);
                (framed.bytes(), after, framed.chain, framed.sequence, framed.synced)
            }
            Parsed::Short(_) | Parsed::Length(_) | Parsed::Checksum => return self.not_whole().map(|()| None),
        };
        if found != sequence {
            return Err(self.damage(Wrong::Sequence { found }));
        }
        if chain != after.chain {
            return Err(self.damage(Wrong::Chain));
        }
        if self.limit.is_some_and(|limit| self.offset + bytes as u64 > limit) {
            return Err(self.damage(Wrong::Torn));
        }
        let begin = self.taken + record::HEAD_BYTES;
        self.taken += bytes;
        self.last = bytes;
        self.offset += bytes as u64;
        self.head = after;
        self.synced = self.synced.max(synced);
        Ok(Some((sequence, &self.buffer[begin..self.taken])))
    }

    /// The record that was read last, as it lies in the file.
    pub(super) fn record(&self) -> &[u8] {
        &self.buffer[self.taken - self.last..self.taken]
    }

    /// Bytes that lie behind the end which the next segment names: torn ones, or some that were written again there.
    pub(super) fn behind(&mut self) -> Result<u64, ReadError> {
        let buffered = self.rest().len() as u64;
        let more = std::io::copy(&mut self.source, &mut std::io::sink()).map_err(ReadError::disk(&self.name))?;
        Ok(buffered + more)
    }

    /// What a bad record means: the torn end of the newest segment, or damage.
    fn not_whole(&mut self) -> Result<(), ReadError> {
        if self.limit.is_some() {
            return Err(self.damage(Wrong::Torn));
        }
        self.fill(TORN_BYTES_MAX + 1)?;
        let rest = self.rest();
        if rest.is_empty() {
            return Ok(());
        }
        let bytes = rest.len() as u64;
        if rest.len() > TORN_BYTES_MAX {
            return Err(self.damage(Wrong::TooMuchBehind { bytes }));
        }
        if let Some((_, shown_by)) = record::proof_of_sync(rest, self.head.next) {
            return Err(self.damage(Wrong::Changed { shown_by }));
        }
        self.cut = Some(Cut { segment: self.name.clone(), offset: self.offset, sequence: self.head.next, bytes });
        Ok(())
    }

    fn damage(&self, wrong: Wrong) -> ReadError {
        damage(&self.name, self.offset, self.head.next, wrong).into()
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// Reads until so many bytes are there, or the file ends.
    fn fill(&mut self, wanted: usize) -> Result<(), ReadError> {
        if self.rest().len() >= wanted {
            return Ok(());
        }
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let more = (wanted - self.buffer.len()).max(BLOCK);
        let read = self.source.by_ref().take(more as u64).read_to_end(&mut self.buffer);
        read.map(drop).map_err(ReadError::disk(&self.name))
    }
}

pub(super) fn damage(segment: &str, offset: u64, sequence: u64, wrong: Wrong) -> Damage {
    Damage { segment: segment.to_owned(), offset, sequence, wrong }
}

//! A journal without a thread: what may be done to it, one step each. The thread in `writer` decides when.
//!
//! Records are handed to the kernel by whoever appends, under one short lock; a copy of them is kept until the disk has
//! confirmed them. After a sync that failed, nothing is known of what the disk has: the file is left for good, and what
//! it did not confirm is written again to a new segment, which says how far the old one can be believed.

mod failing;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bounds::{Bounds, OpenError, Recovered, Refused};
use super::chain::Links;
use super::damage::{Cut, ReadError, Wrong};
use super::record::{self, HEAD_BYTES, Head, PAYLOAD_BYTES_MAX};
use super::scan::{Scan, UNSYNCED_BYTES_MAX, damage};
use super::segment::{self, HEADER_BYTES, Header};
use super::storage::{Segment, Storage};
use failing::Failing;

pub(crate) type NowMs = Arc<dyn Fn() -> i64 + Send + Sync>;

pub(super) struct Log {
    storage: Arc<dyn Storage>,
    bounds: Bounds,
    now_ms: NowMs,
    state: Mutex<State>,
}

struct State {
    /// `None` while it is changed for another, or is left after a failure.
    file: Option<Arc<dyn Segment>>,
    /// What the kernel has.
    written: Tail,
    /// What the disk has confirmed.
    synced: Tail,
    /// Records behind `synced`, as they lie in the file: first those that a sync under way is about, then the rest.
    syncing: Vec<u8>,
    unsynced: Vec<u8>,
    /// The chain of segments, oldest first; the last is the one that is written, or was left.
    segments: Vec<Kept>,
    ordinal_max: u64,
    keep_from: u64,
    /// Why the disk did not take what it was given last; `None` = it took it.
    failing: Option<Failing>,
}

/// An end of what is there, and its place in the newest segment.
#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    head: Head,
    bytes: u64,
}

/// A segment of the chain.
#[derive(Debug, Clone)]
struct Kept {
    header: Header,
    bytes: u64,
}

/// How the journal stands, for those who decide what to do next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub synced: u64,
    pub written: u64,
    /// A new segment must be begun: the old one was left, or is full.
    pub is_replacing_due: bool,
}

impl Log {
    /// Reads the newest segment, and begins another behind what its disk surely has. What lies behind that is written again
    /// there: the kernel may show bytes that its disk failed to take and that no later sync would write. A torn tail is
    /// never read again.
    pub(super) fn open(
        storage: Arc<dyn Storage>,
        bounds: Bounds,
        now_ms: NowMs,
        known: Option<Head>,
    ) -> Result<(Log, Recovered), OpenError> {
        for name in storage.list()?.iter().filter(|name| segment::is_unfinished(name)) {
            storage.remove(name)?;
        }
        let links = Links::read(&*storage)?;
        let mut segments = Vec::with_capacity(links.headers.len() + 1);
        for (at, header) in links.headers.iter().enumerate() {
            segments.push(Kept { header: *header, bytes: links.limit(at).unwrap_or(0) });
        }
        let mut last = match links.headers.last() {
            Some(newest) => Last::read(&*storage, newest, known)?,
            None => Last::default(),
        };
        let end = last.end;
        if let Some(known) = known.filter(|known| known.next > end.head.next) {
            let segment = links.headers.last().map_or_else(|| ".".to_owned(), Header::name);
            let wrong = Wrong::Anchor { known: known.next };
            return Err(ReadError::from(damage(&segment, end.bytes, end.head.next, wrong)).into());
        }
        if let Some(newest) = segments.last_mut() {
            newest.bytes = last.sure.bytes;
            // Its name must be on disk before the next segment says that it is there.
            storage.sync_folder()?;
        }
        let empty = take_empty(&mut segments, &mut last.sure);
        let recovered = Recovered { head: end.head, cut: last.cut, strays: links.strays };
        let state = State {
            file: None,
            written: end,
            synced: last.sure,
            syncing: Vec::new(),
            unsynced: last.unsure,
            segments,
            ordinal_max: links.ordinal_max,
            keep_from: 0,
            failing: None,
        };
        let log = Log { storage, bounds, now_ms, state: Mutex::new(state) };
        log.replace()?;
        if let Some(name) = empty {
            // Where it stays, it is a stray and harms nobody.
            let _ = log.storage.remove(&name);
        }
        Ok((log, recovered))
    }

    /// Hands one record to the kernel; its sequence.
    pub(super) fn append(&self, payload: &[u8]) -> Result<u64, Refused> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Refused::TooLarge(payload.len()));
        }
        let digest = record::digest(payload);
        let mut state = self.lock();
        let State { file, written, synced, syncing, unsynced, failing, .. } = &mut *state;
        let Some(open) = file else { return Err(failing::refused(failing)) };
        let waiting = syncing.len() + unsynced.len();
        if waiting > 0 && waiting + HEAD_BYTES + payload.len() > UNSYNCED_BYTES_MAX {
            return Err(Refused::Busy);
        }
        let begin = unsynced.len();
        let head = record::push(unsynced, written.head, synced.head.next, &digest, payload);
        match open.append(&unsynced[begin..]) {
            Ok(()) => {
                *failing = None;
                let sequence = written.head.next;
                *written = Tail { head, bytes: written.bytes + (unsynced.len() - begin) as u64 };
                Ok(sequence)
            }
            Err(why) => {
                *failing = Some(Failing::of(&why, unsynced.len() - begin));
                unsynced.truncate(begin);
                // A part of it may be in the file; where that cannot be cut off, the file is left.
                if open.cut(written.bytes).is_err() {
                    *file = None;
                }
                Err(why.into())
            }
        }
    }

    /// Asks the disk to confirm what is written; the sequence before which everything is confirmed.
    ///
    /// Others append meanwhile. An error is final for the file.
    pub(super) fn sync(&self) -> io::Result<u64> {
        let (file, upto) = {
            let mut state = self.lock();
            let Some(file) = state.file.clone() else { return Err(left()) };
            if state.unsynced.is_empty() {
                return Ok(state.synced.head.next);
            }
            debug_assert!(state.syncing.is_empty(), "one sync at a time");
            let State { syncing, unsynced, .. } = &mut *state;
            std::mem::swap(syncing, unsynced);
            (file, state.written)
        };
        let confirmed = file.sync();
        let mut state = self.lock();
        match confirmed {
            Ok(()) => {
                state.synced = upto;
                state.syncing.clear();
                Ok(upto.head.next)
            }
            Err(why) => {
                // The kernel may have thrown the pages away and call the next sync of this file a success.
                (state.file, state.failing) = (None, Some(Failing::of(&why, 0)));
                let State { syncing, unsynced, .. } = &mut *state;
                syncing.append(unsynced);
                std::mem::swap(syncing, unsynced);
                Err(why)
            }
        }
    }

    /// Begins a new segment behind what is synced, with all that is not synced in it. Until it is there, nothing can be
    /// appended. Where a healthy file cannot be followed by another, it goes on.
    pub(super) fn replace(&self) -> io::Result<()> {
        let old = self.lock().file.take();
        let is_healthy = match &old {
            // What lies between was appended after the last sync, and before the file was taken away.
            Some(file) => self.finish(&**file),
            None => false,
        };
        let begun = self.begin();
        let mut state = self.lock();
        match begun {
            Ok((file, header, bytes)) => {
                let tail = Tail { head: state.written.head, bytes };
                let ends = state.synced.bytes;
                if let Some(last) = state.segments.last_mut() {
                    last.bytes = ends;
                }
                state.segments.push(Kept { header, bytes });
                (state.written, state.synced) = (tail, tail);
                state.unsynced.clear();
                (state.file, state.failing) = (Some(file), None);
                drop(state);
                self.prune();
                Ok(())
            }
            Err(why) => {
                state.file = old.filter(|_| is_healthy);
                if state.file.is_none() {
                    state.failing = Some(Failing::of(&why, 0));
                }
                Err(why)
            }
        }
    }

    /// The last sync of a file that nobody appends to any more.
    fn finish(&self, file: &dyn Segment) -> bool {
        let confirmed = file.sync().is_ok();
        if confirmed {
            let mut state = self.lock();
            state.synced = state.written;
            state.unsynced.clear();
        }
        confirmed
    }

    /// Makes the file of a new segment, with everything that no disk has confirmed, and has it confirmed.
    fn begin(&self) -> io::Result<(Arc<dyn Segment>, Header, u64)> {
        let (header, mut bytes) = {
            let mut state = self.lock();
            let ordinal = state.ordinal_max + 1;
            state.ordinal_max = ordinal;
            let header = Header {
                ordinal,
                previous: state.segments.last().map_or(ordinal, |last| last.header.ordinal),
                previous_bytes: state.synced.bytes,
                begins: state.synced.head,
                pruned_before: self.prune_before(&state),
                created_ms: (self.now_ms)(),
            };
            (header, state.unsynced.clone())
        };
        bytes.splice(..0, header.write());
        let (name, unfinished) = (header.name(), header.unfinished_name());
        let file = self.storage.create(&unfinished)?;
        // It gets its name when the disk has all of it: what a segment says of the one before holds as soon as it is seen.
        let named = || self.storage.rename(&unfinished, &name).and_then(|()| self.storage.sync_folder());
        let made = file.append(&bytes).and_then(|()| file.sync()).and_then(|()| named());
        match made {
            Ok(()) => Ok((file, header, bytes.len() as u64)),
            Err(why) => {
                // Where it stays, the next segment does not name it, and nobody reads it.
                let _ = file.cut(0);
                let _ = self.storage.remove(&unfinished).or_else(|_| self.storage.remove(&name));
                Err(why)
            }
        }
    }

    /// The sequence before which segments may be removed by size or age; never one that is still needed.
    fn prune_before(&self, state: &State) -> u64 {
        let before = state.segments.first().map_or(0, |first| first.header.begins.next);
        let mut bytes: u64 = state.segments.iter().map(|kept| kept.bytes).sum();
        let oldest_ms = (self.now_ms)().saturating_sub(millis(self.bounds.retention.age_max));
        state.segments.windows(2).fold(before, |before, pair| {
            let [one, next] = pair else { return before };
            let is_over = bytes > self.bounds.retention.bytes_max || next.header.created_ms < oldest_ms;
            let is_first = one.header.begins.next <= before;
            if !is_over || !is_first || next.header.begins.next > state.keep_from {
                return before;
            }
            bytes -= one.bytes;
            next.header.begins.next
        })
    }

    /// Removes what the newest head gives up. A file that stays is a stray and harms nobody.
    fn prune(&self) {
        let mut state = self.lock();
        let Some(before) = state.segments.last().map(|newest| newest.header.pruned_before) else { return };
        let count = state.segments.windows(2).take_while(|pair| pair[1].header.begins.next <= before).count();
        let gone: Vec<Kept> = state.segments.drain(..count).collect();
        drop(state);
        for kept in gone {
            let name = kept.header.name();
            if let Err(why) = self.storage.remove(&name) {
                tracing::warn!(segment = name, %why, "an old journal segment could not be removed");
            }
        }
    }

    /// Records from this sequence on are needed to recover: retention leaves them.
    pub(super) fn keep_from(&self, sequence: u64) {
        let mut state = self.lock();
        state.keep_from = state.keep_from.max(sequence);
    }

    pub(super) fn standing(&self) -> Standing {
        let state = self.lock();
        Standing {
            synced: state.synced.head.next,
            written: state.written.head.next,
            is_replacing_due: state.file.is_none() || state.written.bytes >= self.bounds.segment_bytes,
        }
    }

    pub(super) fn written_head(&self) -> Head {
        self.lock().written.head
    }

    /// The end that the disk has confirmed.
    pub(super) fn synced_head(&self) -> Head {
        self.lock().synced.head
    }

    /// Every change of the state is whole before the lock is given back, also where somebody panics.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the newest segment ends.
#[derive(Default)]
struct Last {
    /// Behind its last whole record.
    end: Tail,
    /// Up to here its disk has it, whatever the kernel shows: a record that was written later says so, or a checkpoint.
    sure: Tail,
    /// The records between the two.
    unsure: Vec<u8>,
    /// What a crash left behind the end.
    cut: Option<Cut>,
}

impl Last {
    fn read(storage: &dyn Storage, newest: &Header, known: Option<Head>) -> Result<Last, ReadError> {
        let mut scan = Scan::begin(storage, newest, None)?;
        let begins = Tail { head: scan.head, bytes: scan.offset };
        let mut last = Last { end: begins, sure: begins, ..Last::default() };
        let mut ends = VecDeque::new();
        loop {
            if let Some(known) = known.filter(|known| known.next == scan.head.next && *known != scan.head) {
                let wrong = Wrong::Anchor { known: known.next };
                return Err(damage(&newest.name(), scan.offset, known.next, wrong).into());
            }
            if scan.next()?.is_none() {
                last.cut = scan.cut;
                return Ok(last);
            }
            last.end = Tail { head: scan.head, bytes: scan.offset };
            last.unsure.extend_from_slice(scan.record());
            ends.push_back(last.end);
            let synced = scan.synced.max(known.map_or(0, |known| known.next));
            while let Some(end) = ends.pop_front_if(|end| end.head.next <= synced) {
                last.unsure.drain(..(end.bytes - last.sure.bytes) as usize);
                last.sure = end;
            }
        }
    }
}

/// Takes a newest segment without a record that is surely there out of the chain, so that starts do not pile up empty
/// files, and for its head may not be on disk. The one before is followed by the next one in its place.
fn take_empty(segments: &mut Vec<Kept>, sure: &mut Tail) -> Option<String> {
    let header = segments.last()?.header;
    // One whose predecessors retention removed is the only one that knows of them.
    let is_known_otherwise = segments.len() > 1 || header.is_very_first();
    if header.begins != sure.head || !is_known_otherwise {
        return None;
    }
    segments.pop();
    sure.bytes = header.previous_bytes;
    Some(header.name())
}

fn left() -> io::Error {
    io::Error::other("the segment was left after a failure, and no other has taken its place yet")
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

const _: () = assert!(HEADER_BYTES + HEAD_BYTES + PAYLOAD_BYTES_MAX < UNSYNCED_BYTES_MAX, "a record always fits");

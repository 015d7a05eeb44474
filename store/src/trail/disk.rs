//! The files of a trail, as its writer has them: what is handed over, what the disk has confirmed, and what the journal
//! has taken of that.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_core::contract::json;
use tollgate_core::evidence::receipt::Receipt;

use super::names;
use super::writer::{Clock, QUEUE_MAX};
use crate::calls::{Calls, Receipts, Told};
use crate::journal::{Refused, is_there, sync_folder};

/// What is handed over and not synced is kept up to this size.
const UNSYNCED_BYTES_MAX: usize = 4 << 20;
const SYNC_EVERY: Duration = Duration::from_millis(10);
/// Receipts of one record: with some 300 bytes each it is far smaller than a journal takes.
const VOUCHED_MAX: usize = 4_096;
/// Receipts whose digests wait for the journal; above it, receipts wait.
const WAITING_MAX: usize = 65_536;
/// How often a failing disk is told of.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The files, and what they have not confirmed.
pub(super) struct Disk {
    dir: PathBuf,
    file_bytes_max: u64,
    clock: Clock,
    pub file: Option<Open>,
    /// The name of the newest file there ever was.
    last: Option<String>,
    /// Who vouches for receipts; `None` = nobody.
    calls: Option<Arc<Calls>>,
    /// Lines that no file has.
    pub batch: Lines,
    /// Lines that the kernel has and the disk may not.
    unsynced: Lines,
    /// Lines that the disk has confirmed and the journal has not taken.
    to_vouch: VecDeque<Receipts>,
    /// Nothing comes any more: all is to be done now.
    pub is_closing: bool,
    pub sync_at: Option<Instant>,
    told: Option<Instant>,
}

/// Receipts as lines, and what each of them tells.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub bytes: Vec<u8>,
    told: Vec<Told>,
}

/// One receipt as a line. It is made where its call ended: there its hundred pieces of memory are at hand, and go back.
pub(super) struct Line {
    bytes: Vec<u8>,
    /// `None` = nobody vouches for it.
    told: Option<Told>,
}

/// Most receipts are shorter.
const LINE_BYTES: usize = 3_072;

impl Line {
    pub fn of(receipt: &Receipt, is_vouched: bool) -> Line {
        let mut bytes = Vec::with_capacity(LINE_BYTES);
        if let Err(why) = json::put(&mut bytes, receipt) {
            tracing::error!(call_id = %receipt.call_id, %why, "a receipt cannot be written as JSON: only its ids are");
            let left = serde_json::json!({
                "receipt": receipt.receipt,
                "call_id": &*receipt.call_id,
                "request_id": &*receipt.request_id,
                "time_ms": receipt.time_ms,
                "unwritable": why.to_string(),
            });
            bytes = left.to_string().into_bytes();
        }
        let told = is_vouched.then(|| Told::of(receipt, &bytes));
        bytes.push(b'\n');
        Line { bytes, told }
    }
}

impl Lines {
    fn append(&mut self, other: &mut Lines) {
        self.bytes.append(&mut other.bytes);
        self.told.append(&mut other.told);
    }
}

pub(super) struct Open {
    pub file: File,
    pub path: PathBuf,
    /// Whole lines in it.
    pub size: u64,
    /// Behind them may be a part of a line.
    pub is_torn: bool,
}

impl Disk {
    pub fn begin(dir: PathBuf, file_bytes_max: u64, clock: Clock, calls: Option<Arc<Calls>>) -> io::Result<Disk> {
        let mut disk = Disk {
            dir,
            file_bytes_max,
            clock,
            file: None,
            last: None,
            calls,
            batch: Lines::default(),
            unsynced: Lines::default(),
            to_vouch: VecDeque::new(),
            is_closing: false,
            sync_at: None,
            told: None,
        };
        disk.file = Some(disk.create()?);
        Ok(disk)
    }

    pub fn push(&mut self, line: Line) {
        let Lines { bytes, told } = &mut self.batch;
        bytes.extend_from_slice(&line.bytes);
        told.extend(line.told);
    }

    pub fn attempt(&mut self, sync: bool) -> io::Result<()> {
        self.write()?;
        if sync || self.unsynced.bytes.len() > UNSYNCED_BYTES_MAX {
            self.sync()?;
            // A file that did not confirm has given its lines back; one that was deleted is followed by another.
            self.write()?;
        }
        self.vouch()
    }

    fn write(&mut self) -> io::Result<()> {
        if self.batch.bytes.is_empty() {
            return Ok(());
        }
        let batch = self.batch.bytes.len() as u64;
        if self.file.as_ref().is_some_and(|open| open.size > 0 && open.size + batch > self.file_bytes_max) {
            self.sync()?;
            self.file = None;
        }
        let mut open = match self.file.take() {
            Some(open) => open,
            None => self.create()?,
        };
        // A file that cannot be cut back to whole lines is left; a new one takes its place at the next try.
        if open.is_torn {
            open.file.set_len(open.size)?;
            open.is_torn = false;
        }
        let written = open.file.write_all(&self.batch.bytes);
        open.is_torn = written.is_err();
        if written.is_ok() {
            open.size += batch;
            self.unsynced.append(&mut self.batch);
            self.sync_at.get_or_insert_with(|| Instant::now() + SYNC_EVERY);
        }
        self.file = Some(open);
        written
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.bytes.is_empty() {
            self.sync_at = None;
            return Ok(());
        }
        let synced = match &self.file {
            Some(open) => open.file.sync_data().map(|()| is_there(&open.file)),
            None => Ok(false),
        };
        match synced {
            Ok(true) => {
                self.confirmed();
                self.unsynced.bytes.clear();
                self.sync_at = None;
                Ok(())
            }
            // Deleted under our hands: nobody could read what goes on to be written there.
            Ok(false) => {
                self.take_back();
                Ok(())
            }
            Err(why) => {
                self.take_back();
                Err(why)
            }
        }
    }

    /// What was not synced is: the journal is to be told.
    fn confirmed(&mut self) {
        let Some(open) = &self.file else { return };
        let Some(name) = open.path.file_name().and_then(|name| name.to_str()) else { return };
        let mut from = open.size.saturating_sub(self.unsynced.bytes.len() as u64);
        while !self.unsynced.told.is_empty() {
            let count = self.unsynced.told.len().min(VOUCHED_MAX);
            let lines = self.unsynced.told.drain(..count).collect();
            let receipts = Receipts { at_ms: (self.clock)(), file: name.into(), from, taken_over: false, lines };
            from = receipts.end();
            self.to_vouch.push_back(receipts);
        }
    }

    /// Tells the journal. Where it has no room now, receipts go on to be written, up to a bound.
    fn vouch(&mut self) -> io::Result<()> {
        let Some(calls) = &self.calls else { return Ok(()) };
        while let Some(receipts) = self.to_vouch.front() {
            match calls.vouch(receipts) {
                Ok(()) => {}
                Err(why @ (Refused::Busy | Refused::Disk(_))) => {
                    let waiting: usize = self.to_vouch.iter().map(|receipts| receipts.lines.len()).sum();
                    if self.is_closing || waiting > WAITING_MAX {
                        return Err(io::Error::other(format!("the journal does not take their digests: {why}")));
                    }
                    self.sync_at.get_or_insert_with(|| Instant::now() + SYNC_EVERY);
                    return Ok(());
                }
                Err(why @ (Refused::Closed | Refused::TooLarge(_))) => {
                    tracing::error!(%why, "receipts are in the trail and their digests not in the journal: the next start adds them");
                }
            }
            self.to_vouch.pop_front();
        }
        Ok(())
    }

    /// After a failed sync the kernel may have thrown the lines away and call the next sync a success. So the file is
    /// left, and they are written again.
    fn take_back(&mut self) {
        self.file = None;
        self.unsynced.append(&mut self.batch);
        std::mem::swap(&mut self.batch, &mut self.unsynced);
        self.sync_at = None;
    }

    fn create(&mut self) -> io::Result<Open> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        let mut options = File::options();
        options.append(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
            builder.mode(0o700);
            options.mode(0o600);
        }
        builder.create(&self.dir)?;
        let newest = names::list(&self.dir)?.pop().max(self.last.take());
        let name = names::next(newest.as_deref(), (self.clock)());
        let path = self.dir.join(&name);
        self.last = newest;
        let file = options.open(&path)?;
        self.last = Some(name);
        sync_folder(&self.dir)?;
        Ok(Open { file, path, size: 0, is_torn: false })
    }

    /// At the end everything is synced; a file that got nothing is taken away.
    pub fn end(&mut self) -> bool {
        if let Some(open) = self.file.take().filter(|open| open.size == 0) {
            // One that stays is empty and harms nobody.
            let _ = fs::remove_file(open.path);
        }
        self.unsynced.bytes.is_empty() && self.batch.bytes.is_empty() && self.to_vouch.is_empty()
    }

    pub fn tell(&mut self, why: &io::Error, waiting: usize) {
        if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let dir = self.dir.display();
        tracing::error!(%dir, %why, waiting, "receipts cannot be written: they are kept and tried again, calls wait when {QUEUE_MAX} wait");
    }
}

//! What a gateway that died left behind in its trail: receipts that the journal does not know yet, and calls without one.
//!
//! Lines behind the last that the journal vouches for were written in the last moments. They are taken over as they are.
//! Calls that are open after that get a receipt that says `unknown`. A crash in between changes nothing: a receipt that
//! was written is taken over by the next start, and one that was not is made again.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use tollgate_core::evidence::receipt::Receipt;

use super::names;
use crate::calls::{Calls, Mark, Receipts, Told};

/// A longer line is no receipt of ours.
pub(super) const LINE_BYTES_MAX: u64 = 32 << 20;
/// Receipts of one record.
const TAKEN_MAX: usize = 4_096;
/// Written again at once.
const BLOCK: usize = 256 << 10;

/// Takes over what lies behind the mark, and gives the receipts of calls whose end nobody saw: to be recorded before
/// others are. To be called before a trail is opened in the folder.
pub fn take_over(dir: &Path, calls: &Calls, now_ms: i64) -> io::Result<Vec<Receipt>> {
    let files = names::list(dir)?;
    let Some(mark) = calls.mark() else {
        // The trail of a version that had no journal for it: from here on it is vouched for.
        let newest = files.last().map(|name| &**name).unwrap_or_default();
        let bytes = if newest.is_empty() { 0 } else { dir.join(newest).metadata()?.len() };
        vouch(calls, &Receipts { at_ms: now_ms, file: newest.into(), from: bytes, taken_over: false, lines: vec![] })?;
        return Ok(calls.all_unknown(now_ms));
    };
    let mut taken = 0;
    for name in files.iter().filter(|name| ***name >= *mark.file) {
        let from = if **name == *mark.file { mark.bytes } else { 0 };
        taken += file(dir, Mark { file: name.as_str().into(), bytes: from }, calls, now_ms)?;
    }
    if taken > 0 {
        tracing::info!(receipts = taken, "taken over: a gateway was killed when it had written them");
    }
    let unknown = calls.all_unknown(now_ms);
    if !unknown.is_empty() {
        let calls = unknown.len();
        tracing::warn!(calls, "calls left for a provider and nobody saw their end: their receipts say `unknown`");
    }
    Ok(unknown)
}

/// The lines of one file from a place on.
fn file(dir: &Path, from: Mark, calls: &Calls, now_ms: i64) -> io::Result<usize> {
    let path = dir.join(&*from.file);
    confirm(&path, from.bytes)?;
    let mut lines = Lines::open(&path, from.bytes)?;
    let (mut group, mut begin, mut taken) = (Vec::new(), from.bytes, 0);
    loop {
        let at = lines.at;
        let line = lines.next()?;
        let told = line.and_then(Told::read);
        let is_end = line.is_none();
        taken += usize::from(told.is_some());
        let breaks = told.is_none() || group.len() == TAKEN_MAX;
        if breaks && !group.is_empty() {
            let lines = std::mem::take(&mut group);
            let file = from.file.clone();
            vouch(calls, &Receipts { at_ms: now_ms, file, from: begin, taken_over: true, lines })?;
        }
        if group.is_empty() {
            begin = at;
        }
        group.extend(told);
        if is_end {
            return Ok(taken);
        }
    }
}

/// Writes what stands behind a place again where it stands, and has the disk confirm it: the kernel may show bytes that its
/// disk failed to take, and no sync would write those.
fn confirm(path: &Path, from: u64) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let (mut block, mut at) = (vec![0; BLOCK], from);
    loop {
        file.seek(SeekFrom::Start(at))?;
        let bytes = file.read(&mut block)?;
        if bytes == 0 {
            return if at > from { file.sync_data() } else { Ok(()) };
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&block[..bytes])?;
        at += bytes as u64;
    }
}

fn vouch(calls: &Calls, receipts: &Receipts) -> io::Result<()> {
    calls
        .vouch(receipts)
        .map_err(|why| io::Error::other(format!("the journal does not take what the trail has: {why}")))
}

/// Whole lines of a file; what stands behind the last line end is none.
pub(super) struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
    /// Where the next begins.
    pub at: u64,
}

impl Lines {
    pub fn open(path: &Path, from: u64) -> io::Result<Lines> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Lines { reader: BufReader::with_capacity(64 << 10, file), line: Vec::new(), at: from })
    }

    /// The next line without its end; a longer one than a receipt can be is given in pieces.
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line)?;
        let is_whole = self.line.last() == Some(&b'\n');
        if !is_whole && (self.line.len() as u64) < LINE_BYTES_MAX {
            return Ok(None);
        }
        self.at += self.line.len() as u64;
        Ok(Some(self.line.strip_suffix(b"\n").unwrap_or(&self.line)))
    }
}

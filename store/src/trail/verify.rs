//! Holds the trail against the journal: each receipt that the journal vouches for is there, as it was, once, in its order,
//! and there is none beside them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names;
use super::recover::Lines;
use crate::calls::{Digest, Line, Receipts, Told};
use crate::journal::{ReadError, Reader, Storage};

/// Lines without a word of the journal that are kept in mind: more are not left by any crash.
const LOOSE_MAX: usize = 100_000;
/// So far behind a line that is not the expected one the expected one is looked for.
const AHEAD_MAX: usize = 10_000;

/// What a sound trail is like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Receipts that are as the journal says.
    pub receipts: u64,
    /// Of them, calls whose end nobody saw.
    pub unknown: u64,
    /// From when on the journal vouches for the trail; `None` = it does not yet.
    pub since_ms: Option<i64>,
    /// Files before that.
    pub files_before: usize,
    /// The last receipts, of which the journal has no word: written a moment ago, or by a gateway that was killed.
    pub pending: Vec<Loose>,
    /// Receipts of records that were left out, because their files are not asked for.
    pub left_out: u64,
}

/// The first thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    #[error(transparent)]
    Journal(#[from] ReadError),
    #[error("record {sequence} of the journal cannot be read: {why}")]
    Record { sequence: u64, why: String },
    #[error("cannot read `{}`: {why}", file.display())]
    Disk { file: PathBuf, why: io::Error },
    #[error(
        "the file `{file}` of the trail is missing: the journal vouches for receipts in it from call {call} on (record {sequence}); if files were moved away on purpose, say `--trail-from` with the first that is to be there"
    )]
    File { file: Box<str>, call: Arc<str>, sequence: u64 },
    #[error(
        "the receipt of call {call} was changed: `{file}`, byte {at}; the journal has another digest (record {sequence})"
    )]
    Changed { call: Arc<str>, file: Box<str>, at: u64, sequence: u64 },
    #[error(
        "the receipt of call {call} was dropped: it stood in `{file}` at byte {at} (record {sequence} of the journal)"
    )]
    Dropped { call: Arc<str>, file: Box<str>, at: u64, sequence: u64 },
    #[error("a receipt is too many, of call {call}: `{file}`, byte {at}; the journal does not know it")]
    Added { call: Arc<str>, file: Box<str>, at: u64 },
    #[error("record {sequence} of the journal vouches for `{file}` from byte {at} on, where it had vouched before")]
    Twice { file: Box<str>, at: u64, sequence: u64 },
}

/// Reads journal and trail from their beginning. With `from`, files before that one are left out.
pub fn verify(journal: Arc<dyn Storage>, dir: &Path, from: Option<&str>) -> Result<Verified, Unsound> {
    let files = names::list(dir).map_err(|why| Unsound::Disk { file: dir.to_owned(), why })?;
    let mut check = Check { dir, at: None, loose: HashMap::new(), has_ended: false, found: Verified::default() };
    for record in Reader::from(journal, 0)? {
        let record = record?;
        let line = serde_json::from_slice(&record.payload)
            .map_err(|why| Unsound::Record { sequence: record.sequence, why: why.to_string() })?;
        match line {
            Line::Receipts(receipts) => {
                if check.found.since_ms.is_none() {
                    check.found.since_ms = Some(receipts.at_ms);
                    check.found.files_before = files.iter().filter(|name| ***name < *receipts.file).count();
                }
                match from.is_some_and(|from| &*receipts.file < from) {
                    true => check.found.left_out += receipts.lines.len() as u64,
                    false => check.receipts(&receipts, record.sequence, &files)?,
                }
            }
            Line::Ended { .. } => check.has_ended = true,
            Line::Restarted { .. } => check.has_ended = false,
            Line::Intent(_) | Line::Attempt { .. } | Line::Changed(_) | Line::Left { .. } => {}
        }
    }
    check.end(&files)
}

struct Check<'a> {
    dir: &'a Path,
    /// Where the last record ended.
    at: Option<(Box<str>, u64)>,
    /// Lines of which no record spoke, by their digest: a sync that failed leaves some, and they come again.
    loose: HashMap<Digest, Loose>,
    /// The last that the journal says is that a gateway ended in order.
    has_ended: bool,
    found: Verified,
}

/// A receipt of which no record speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loose {
    call: Arc<str>,
    file: Box<str>,
    at: u64,
    /// How many were found before it.
    order: usize,
}

impl Check<'_> {
    fn receipts(&mut self, receipts: &Receipts, sequence: u64, files: &[String]) -> Result<(), Unsound> {
        let Receipts { file, from, .. } = receipts;
        match self.at.take() {
            Some((last, at)) if last == *file && at > *from => {
                return Err(Unsound::Twice { file: last, at: *from, sequence });
            }
            Some((last, at)) if last == *file => self.gap(file, at, Some(*from))?,
            Some((last, at)) => {
                self.gap(&last, at, None)?;
                // Whole files between them.
                for name in files.iter().filter(|name| ***name > *last && ***name < **file) {
                    self.gap(name, 0, None)?;
                }
                self.gap(file, 0, Some(*from))?;
            }
            // What stands before the first is not vouched for.
            None => {}
        }
        if let Some(first) = receipts.lines.first() {
            self.lines(receipts, first, sequence)?;
        }
        self.at = Some((file.clone(), receipts.end()));
        Ok(())
    }

    fn lines(&mut self, receipts: &Receipts, first: &Told, sequence: u64) -> Result<(), Unsound> {
        let Receipts { file, from, lines: expected, .. } = receipts;
        let path = self.dir.join(&**file);
        let mut lines = match Lines::open(&path, *from) {
            Ok(lines) => lines,
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                return Err(Unsound::File { file: file.clone(), call: first.call.clone(), sequence });
            }
            Err(why) => return Err(Unsound::Disk { file: path, why }),
        };
        for (n, told) in expected.iter().enumerate() {
            let at = lines.at;
            let told_at = |why| Unsound::Disk { file: path.clone(), why };
            let digest = lines.next().map_err(told_at)?.map(Digest::of);
            if digest != Some(told.blake3) {
                return Err(self.wrong(receipts, n, at, digest, sequence));
            }
            self.found.receipts += 1;
            self.found.unknown += u64::from(told.kind == "unknown");
            if !self.loose.is_empty() {
                self.loose.remove(&told.blake3);
            }
        }
        Ok(())
    }

    /// Names what happened where a line is not the expected one.
    fn wrong(&self, receipts: &Receipts, n: usize, at: u64, digest: Option<Digest>, sequence: u64) -> Unsound {
        let (told, file) = (&receipts.lines[n], receipts.file.clone());
        let dropped = || Unsound::Dropped { call: told.call.clone(), file: file.clone(), at, sequence };
        let Some(digest) = digest else { return dropped() };
        if receipts.lines[n + 1..].iter().any(|later| later.blake3 == digest) {
            return dropped();
        }
        let changed = || Unsound::Changed { call: told.call.clone(), file: file.clone(), at, sequence };
        let Ok(mut lines) = Lines::open(&self.dir.join(&*file), at) else { return changed() };
        let mut call: Option<Arc<str>> = None;
        for ahead in 0..AHEAD_MAX {
            let Ok(Some(line)) = lines.next() else { break };
            if ahead == 0 {
                call = Told::read(line).map(|told| told.call);
            }
            if Digest::of(line) == told.blake3 {
                return Unsound::Added { call: call.unwrap_or_else(|| "?".into()), file, at };
            }
        }
        match call {
            // Another call stands in its place, and it is nowhere behind.
            Some(call) if call != told.call => dropped(),
            Some(_) | None => changed(),
        }
    }

    /// Lines between two places of which no record speaks. What is no receipt was torn by a crash.
    fn gap(&mut self, file: &str, from: u64, to: Option<u64>) -> Result<(), Unsound> {
        // Where there was no file yet, the first record names none.
        if file.is_empty() || to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let path = self.dir.join(file);
        let mut lines = match Lines::open(&path, from) {
            Ok(lines) => lines,
            // That it was there is said where a record speaks of it.
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(why) => return Err(Unsound::Disk { file: path, why }),
        };
        while to.is_none_or(|to| lines.at < to) {
            let at = lines.at;
            let Some(line) = lines.next().map_err(|why| Unsound::Disk { file: path.clone(), why })? else { break };
            let Some(told) = Told::read(line) else { continue };
            let order = self.loose.len();
            let loose = Loose { call: told.call, file: file.into(), at, order };
            if order >= LOOSE_MAX {
                return Err(loose.added());
            }
            self.loose.entry(told.blake3).or_insert(loose);
        }
        Ok(())
    }

    fn end(mut self, files: &[String]) -> Result<Verified, Unsound> {
        let Some((last, at)) = self.at.take() else { return Ok(self.found) };
        self.gap(&last, at, None)?;
        for name in files.iter().filter(|name| ***name > *last) {
            self.gap(name, 0, None)?;
        }
        let is_behind = |loose: &Loose| (&*loose.file, loose.at) >= (&*last, at);
        let mut loose: Vec<Loose> = self.loose.into_values().collect();
        loose.sort_by_key(|loose| loose.order);
        let added = loose.iter().position(|loose| self.has_ended || !is_behind(loose));
        if let Some(added) = added {
            return Err(loose.swap_remove(added).added());
        }
        self.found.pending = loose;
        Ok(self.found)
    }
}

impl Verified {
    /// What a running gateway has not vouched for in the time between two looks, it has not written.
    pub fn still_pending(self, before: &Verified) -> Result<Verified, Unsound> {
        let at = |loose: &Loose| (loose.file.clone(), loose.at);
        let stays = |loose: &&Loose| before.pending.iter().any(|known| at(known) == at(loose));
        match self.pending.iter().find(stays).cloned() {
            Some(loose) => Err(loose.added()),
            None => Ok(self),
        }
    }
}

impl Loose {
    fn added(self) -> Unsound {
        Unsound::Added { call: self.call, file: self.file, at: self.at }
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;

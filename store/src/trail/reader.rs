//! Reads a trail from its files, without the gateway: the last lines, one call, or what comes.
//!
//! A line that is no JSON (torn by a power cut, or half written at this moment) is passed over.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use memchr::{memmem, memrchr};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::names;

/// Read at first; doubled for lines that are longer.
const BLOCK: usize = 64 << 10;
/// A longer line is no receipt of ours.
const LINE_BYTES_MAX: usize = 32 << 20;
/// A follower gives no more than about this at once.
const CHUNK: u64 = 4 << 20;

/// The last `lines` receipts, oldest first.
pub fn tail(dir: &Path, lines: usize) -> io::Result<Vec<String>> {
    tail_until(dir, lines, None)
}

/// With `until`, of the newest file only its first bytes count.
fn tail_until(dir: &Path, lines: usize, until: Option<(&str, u64)>) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for name in names::list(dir)?.iter().rev() {
        if found.len() >= lines {
            break;
        }
        if until.is_some_and(|(newest, _)| &**name > newest) {
            continue;
        }
        let end = until.filter(|(newest, _)| newest == name).map(|(_, end)| end);
        let Some(mut file) = Backwards::open(&dir.join(name), end)? else { continue };
        while found.len() < lines
            && let Some(line) = file.line()?
        {
            if let Some(text) = whole(line) {
                found.push(text);
            }
        }
    }
    found.reverse();
    Ok(found)
}

/// The receipt of a call, by its call id or by the id that the caller gave; of several, the newest.
///
/// A caller may give the call id of another call as its own: where the id looks like one of ours, a call of this id is
/// looked for through the whole trail before one whose caller gave it.
pub fn find(dir: &Path, id: &str) -> io::Result<Option<String>> {
    let is_ours = id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let quoted = serde_json::to_string(id)?;
    let finder = memmem::Finder::new(quoted.as_bytes());
    let mut given = None;
    for name in names::list(dir)?.iter().rev() {
        let Some(mut file) = Backwards::open(&dir.join(name), None)? else { continue };
        while let Some(line) = file.line()? {
            // The text may stand anywhere in a line; what it is, only the parsed line tells.
            if finder.find(&line).is_none() {
                continue;
            }
            let Ok(ids) = serde_json::from_slice::<Ids<'_>>(&line) else { continue };
            let (by_call, by_request) = (ids.call_id == id, ids.request_id == id);
            if by_call || by_request && !is_ours {
                return Ok(String::from_utf8(line).ok());
            }
            if by_request && given.is_none() {
                given = String::from_utf8(line).ok();
            }
        }
    }
    Ok(given)
}

#[derive(Deserialize)]
struct Ids<'a> {
    #[serde(borrow)]
    call_id: Cow<'a, str>,
    #[serde(borrow, default)]
    request_id: Cow<'a, str>,
}

/// Follows a trail from its last `lines` receipts on.
pub fn follow(dir: impl Into<PathBuf>, lines: usize) -> io::Result<Follower> {
    Follower::new(dir, lines)
}

/// A place in a trail that moves forward.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    /// The file that is read; `None` = there was none yet.
    name: Option<String>,
    offset: u64,
    first: Vec<String>,
}

impl Follower {
    pub fn new(dir: impl Into<PathBuf>, lines: usize) -> io::Result<Follower> {
        let dir = dir.into();
        let name = names::list(&dir)?.pop();
        let mut offset = 0;
        if let Some(name) = &name
            && let Some(mut file) = Backwards::open(&dir.join(name), None)?
        {
            // Behind the last whole line: what is half written now will be given when it is whole.
            file.line()?;
            offset = file.position();
        }
        let until = name.as_deref().map(|name| (name, offset));
        let first = tail_until(&dir, lines, until)?;
        Ok(Follower { dir, name, offset, first })
    }

    /// The receipts since the last time, at the first time the last `lines` of them; none where nothing came. It does
    /// not wait.
    pub fn read(&mut self) -> io::Result<Vec<String>> {
        if !self.first.is_empty() {
            return Ok(std::mem::take(&mut self.first));
        }
        loop {
            // Asked before the file is read: when there is a newer one, this one gets no more.
            let newer = names::list(&self.dir)?.into_iter().find(|n| self.name.as_ref().is_none_or(|name| n > name));
            let lines = match &self.name {
                Some(name) => read_on(&self.dir.join(name), &mut self.offset)?,
                None => Vec::new(),
            };
            match newer {
                Some(newer) if lines.is_empty() => {
                    self.name = Some(newer);
                    self.offset = 0;
                }
                Some(_) | None => return Ok(lines),
            }
        }
    }
}

/// Whole lines from `offset` on, which moves behind them. Lines that are no receipts are passed over.
fn read_on(path: &Path, offset: &mut u64) -> io::Result<Vec<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(why),
    };
    loop {
        file.seek(SeekFrom::Start(*offset))?;
        let mut bytes = Vec::new();
        (&mut file).take(CHUNK).read_to_end(&mut bytes)?;
        let whole_bytes = match memrchr(b'\n', &bytes) {
            Some(at) => at + 1,
            // As long as a chunk and no end: no receipt of ours.
            None if bytes.len() as u64 == CHUNK => bytes.len(),
            None => return Ok(Vec::new()),
        };
        *offset += whole_bytes as u64;
        let lines: Vec<String> =
            bytes[..whole_bytes].split(|b| *b == b'\n').filter_map(|line| whole(line.to_vec())).collect();
        if !lines.is_empty() {
            return Ok(lines);
        }
    }
}

/// The line as text, where it is a whole receipt.
fn whole(line: Vec<u8>) -> Option<String> {
    let is_receipt = line.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(&line).is_ok();
    if is_receipt { String::from_utf8(line).ok() } else { None }
}

/// The lines of a file from its end, in blocks.
struct Backwards {
    file: File,
    /// Where `buffer` begins in the file.
    at: u64,
    buffer: Vec<u8>,
}

impl Backwards {
    /// `None` where the file is gone.
    fn open(path: &Path, end: Option<u64>) -> io::Result<Option<Backwards>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why),
        };
        let size = file.metadata()?.len();
        Ok(Some(Backwards { file, at: end.unwrap_or(size).min(size), buffer: Vec::new() }))
    }

    /// The line before, without its end. The first is what stands behind the last line end: nothing, or a torn line.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut unsearched = self.buffer.len();
        let mut block = BLOCK;
        loop {
            if let Some(at) = memrchr(b'\n', &self.buffer[..unsearched]) {
                let line = self.buffer.split_off(at + 1);
                self.buffer.pop();
                return Ok(Some(line));
            }
            if self.at == 0 {
                let line = std::mem::take(&mut self.buffer);
                return Ok((!line.is_empty()).then_some(line));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                // Its beginning is looked for, its bytes are not kept.
                self.buffer.clear();
            }
            let read = usize::try_from(self.at).map_or(block, |at| at.min(block));
            self.at -= read as u64;
            let mut bytes = vec![0; read];
            self.file.seek(SeekFrom::Start(self.at))?;
            self.file.read_exact(&mut bytes)?;
            unsearched = read;
            bytes.append(&mut self.buffer);
            self.buffer = bytes;
            block = (block * 2).min(LINE_BYTES_MAX);
        }
    }

    /// Where the line begins that was given last.
    fn position(&self) -> u64 {
        let rest = self.buffer.len() as u64;
        // Its line end lies between, except at the very beginning of the file.
        if self.at == 0 && rest == 0 { 0 } else { self.at + rest + 1 }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;

//! Reading: the last receipts, those that come, and one by its id. A torn last line is left for the next look.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Files are read backwards in pieces of this size.
const PIECE: u64 = 256 * 1024;

/// The trail's files, oldest first.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files: Vec<PathBuf> = entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|e| e.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "jsonl"));
    files.sort();
    Ok(files)
}

/// The last `n` receipts, oldest first.
pub fn tail(folder: &Path, n: usize) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for file in files(folder)?.iter().rev() {
        backwards(file, &mut |line| {
            found.push(line.to_owned());
            found.len() < n
        })?;
        if found.len() >= n {
            break;
        }
    }
    found.truncate(n);
    found.reverse();
    Ok(found)
}

/// The newest receipt with this call id or caller's request id.
pub fn find(folder: &Path, id: &str) -> io::Result<Option<String>> {
    #[derive(Deserialize)]
    struct Ids<'a> {
        #[serde(borrow)]
        call_id: &'a str,
        #[serde(borrow)]
        request_id: &'a str,
    }
    for file in files(folder)?.iter().rev() {
        let mut found = None;
        backwards(file, &mut |line| {
            let named = line.contains(id)
                && serde_json::from_str::<Ids<'_>>(line).is_ok_and(|ids| ids.call_id == id || ids.request_id == id);
            if named {
                found = Some(line.to_owned());
            }
            !named
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Whole lines from the last to the first, until `more` says no.
fn backwards(path: &Path, more: &mut dyn FnMut(&str) -> bool) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut end = file.metadata()?.len();
    // What stands behind the last line end is torn, or still being written.
    let mut rest: Vec<u8> = Vec::new();
    let mut is_tail = true;
    while end > 0 {
        let from = end.saturating_sub(PIECE);
        let mut piece = vec![0; (end - from) as usize];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut piece)?;
        piece.extend_from_slice(&rest);
        let mut cut = piece.len();
        while let Some(at) = piece[..cut].iter().rposition(|b| *b == b'\n') {
            let line = String::from_utf8_lossy(&piece[at + 1..cut]).into_owned();
            if !is_tail && !line.is_empty() && !more(&line) {
                return Ok(());
            }
            is_tail = false;
            cut = at;
        }
        rest = piece[..cut].to_vec();
        end = from;
    }
    if !is_tail && !rest.is_empty() {
        more(&String::from_utf8_lossy(&rest));
    }
    Ok(())
}

/// Reads on where it left off, across files.
pub struct Follower {
    folder: PathBuf,
    /// The file that is read, and how far.
    at: Option<(PathBuf, u64)>,
    waiting: Vec<String>,
}

impl Follower {
    /// Begins with the last `n` receipts.
    pub fn new(folder: PathBuf, n: usize) -> io::Result<Follower> {
        let waiting = tail(&folder, n)?;
        let at = match files(&folder)?.pop() {
            Some(last) => Some((last.clone(), whole_bytes(&last)?)),
            None => None,
        };
        Ok(Follower { folder, at, waiting })
    }

    /// What has come since.
    pub fn read(&mut self) -> io::Result<Vec<String>> {
        let mut lines = std::mem::take(&mut self.waiting);
        for file in files(&self.folder)? {
            let from = match &self.at {
                Some((known, _)) if file < *known => continue,
                Some((known, at)) if file == *known => *at,
                Some(_) | None => 0,
            };
            let mut reader = BufReader::new(File::open(&file)?);
            reader.seek(SeekFrom::Start(from))?;
            let mut at = from;
            let mut line = String::new();
            while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
                at += line.len() as u64;
                lines.push(line.trim_end().to_owned());
                line.clear();
            }
            self.at = Some((file, at));
        }
        Ok(lines)
    }
}

/// Bytes up to behind the last line end.
fn whole_bytes(path: &Path) -> io::Result<u64> {
    let text = std::fs::read(path)?;
    Ok(text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at as u64 + 1))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn line(n: usize) -> String {
        let padding = "x".repeat(997 * (n % 7));
        format!("{{\"call_id\":\"c{n}\",\"request_id\":\"r{n}\",\"padding\":\"{padding}\"}}")
    }

    #[test]
    fn receipts_are_found_from_the_end_across_files_and_torn_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(tail(path, 5).unwrap().is_empty(), "an empty trail");
        for file in 0..3 {
            let mut out = File::create(path.join(format!("trail-{file}.jsonl"))).unwrap();
            (0..400).for_each(|n| writeln!(out, "{}", line(file * 400 + n)).unwrap());
            if file == 2 {
                write!(out, "{{\"call_id\":\"torn").unwrap();
            }
        }
        assert_eq!(tail(path, 2).unwrap(), [line(1198), line(1199)]);
        assert_eq!(tail(path, 5_000).unwrap().len(), 1_200);
        assert_eq!(find(path, "c3").unwrap(), Some(line(3)));
        assert_eq!(find(path, "r777").unwrap(), Some(line(777)), "by the caller's id too");
        assert_eq!(find(path, "c77777").unwrap(), None);

        let mut follower = Follower::new(path.to_owned(), 1).unwrap();
        assert_eq!(follower.read().unwrap(), [line(1199)]);
        assert!(follower.read().unwrap().is_empty(), "the torn line is not whole yet");
        let mut out = std::fs::OpenOptions::new().append(true).open(path.join("trail-2.jsonl")).unwrap();
        writeln!(out, "\"}}").unwrap();
        std::fs::write(path.join("trail-3.jsonl"), format!("{}\n", line(5))).unwrap();
        assert_eq!(follower.read().unwrap(), ["{\"call_id\":\"torn\"}".to_owned(), line(5)]);
    }
}

//! What operators did: a line of JSON each, in a file a month, on the disk before the answer leaves.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Beside the files of receipts, which have other names.
const BEGINNING: &str = "acts-";
const ENDING: &str = ".jsonl";

/// One act of an operator. No secret stands in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// The version of this record's shape.
    pub act: u32,
    pub time_ms: i64,
    /// `operator-token`, or `key ID`.
    pub actor: String,
    pub address: String,
    /// `POST /admin/v1/keys`
    pub did: String,
    pub status: u16,
    /// What changed, where the verb tells.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub change: Value,
}

/// The files of one gateway.
#[derive(Debug)]
pub struct Acts {
    dir: PathBuf,
    /// One line after another.
    writing: Mutex<()>,
}

impl Acts {
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Acts> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        Ok(Acts { dir, writing: Mutex::new(()) })
    }

    pub fn record(&self, act: &Act) -> io::Result<()> {
        let month = jiff::Timestamp::from_millisecond(act.time_ms).unwrap_or_default().strftime("%Y-%m").to_string();
        let mut line = serde_json::to_vec(act)?;
        line.push(b'\n');
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(self.dir.join(format!("{BEGINNING}{month}{ENDING}")))?;
        file.write_all(&line)?;
        file.sync_data()
    }
}

/// The last `count` acts, oldest first. A line that is torn is passed over.
pub fn tail(dir: &Path, count: usize) -> io::Result<Vec<Act>> {
    let mut names: Vec<PathBuf> = match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<_>>()?,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(why),
    };
    let is_ours = |name: &str| name.starts_with(BEGINNING) && name.ends_with(ENDING);
    names.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours));
    names.sort();
    let mut acts = std::collections::VecDeque::new();
    for name in names {
        for line in BufReader::new(fs::File::open(name)?).lines() {
            let Ok(act) = serde_json::from_str::<Act>(&line?) else { continue };
            if acts.len() == count {
                acts.pop_front();
            }
            if count > 0 {
                acts.push_back(act);
            }
        }
    }
    Ok(acts.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_are_told_in_order_over_months() {
        let dir = tempfile::tempdir().unwrap();
        let acts = Acts::open(dir.path().join("trail")).unwrap();
        let act = |time_ms: i64| Act {
            act: 1,
            time_ms,
            actor: "operator-token".into(),
            address: "127.0.0.1".into(),
            did: "POST /admin/v1/keys".into(),
            status: 201,
            change: Value::Null,
        };
        // The last second of a month and the first of the next.
        let times = [1_764_547_199_000, 1_764_547_200_000, 1_764_547_201_000];
        times.iter().for_each(|at| acts.record(&act(*at)).unwrap());
        let folder = dir.path().join("trail");
        fs::write(
            folder.join("acts-2025-11.jsonl"),
            format!("{}\n{{\"act\":", serde_json::to_string(&act(5)).unwrap()),
        )
        .unwrap();
        let told: Vec<i64> = tail(&folder, 3).unwrap().iter().map(|act| act.time_ms).collect();
        assert_eq!(told, [5, times[1], times[2]], "a torn line is passed over");
        assert_eq!(tail(&folder, 1).unwrap()[0].time_ms, times[2]);
        assert!(tail(&folder.join("none"), 1).unwrap().is_empty());
    }
}

//! What operators lowered at run time: a policy acts less than it declares, until then, whatever revision decides.
//!
//! A mode is never raised. Kept on disk, so that a restart does not bring a policy back that somebody stopped at night.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tollgate_core::policy::Mode;
use tollgate_core::policy::verdict::{Lowered, LoweredBy};

/// More policies lowered at a time is a case for `policy rollback`.
const SWITCHES_MAX: usize = 100;
/// None lasts longer: what is meant for ever is a commit.
pub const LAST_MS_MAX: i64 = 30 * 24 * 3_600_000;
/// A reason fits in a line.
const REASON_BYTES_MAX: usize = 500;
/// The file is never larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One lowered policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Switch {
    pub to: Mode,
    pub at_ms: i64,
    pub until_ms: i64,
    pub reason: String,
}

/// All of them, by the policy's name.
pub type Table = BTreeMap<Arc<str>, (Switch, Arc<Lowered>)>;

/// Why nothing was lowered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("a reason is needed: it stands in every receipt until then")]
    NoReason,
    #[error("the reason has {0} bytes, at most {REASON_BYTES_MAX} are kept")]
    LongReason(usize),
    #[error("{0} ms is no time to last: give from a second to 30 days; for longer, commit the change")]
    Lasts(i64),
    #[error("a mode is lowered to `off`, `observe` or `warn`: `enforce` is the highest")]
    Enforce,
    #[error("{SWITCHES_MAX} policies are lowered already: think of `tollgate policy rollback`")]
    TooMany,
    #[error("`{0}` is not lowered")]
    NotLowered(String),
    #[error("`{path}` cannot be written, so a restart would not know it; nothing was changed: {why}")]
    Disk { path: String, why: String },
}

/// Who holds them. Reading takes no lock.
#[derive(Debug, Default)]
pub struct Switches {
    table: ArcSwap<Table>,
    file: Option<PathBuf>,
    writing: Mutex<()>,
}

impl Switches {
    /// With what the file holds. A file that cannot be read is told and left where it is.
    pub fn open(file: Option<PathBuf>) -> Switches {
        let switches = Switches { file, ..Switches::default() };
        if let Some(path) = switches.file.as_ref().filter(|path| path.exists()) {
            match read(path) {
                Ok(kept) => switches.table.store(Arc::new(kept.into_iter().map(|(name, s)| (name, with(s))).collect())),
                Err(why) => {
                    tracing::error!(path = %path.display(), why, "lowered policies cannot be read: they act as they declare")
                }
            }
        }
        switches
    }

    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Those that have not ended.
    pub fn live(&self, now_ms: i64) -> BTreeMap<Arc<str>, Switch> {
        let table = self.table();
        let live = table.iter().filter(|(_, (switch, _))| switch.until_ms > now_ms);
        live.map(|(name, (switch, _))| (name.clone(), switch.clone())).collect()
    }

    pub fn lower(&self, policy: &str, to: Mode, last_ms: i64, reason: &str, now_ms: i64) -> Result<Switch, Wrong> {
        match (reason.trim(), to) {
            ("", _) => return Err(Wrong::NoReason),
            (reason, _) if reason.len() > REASON_BYTES_MAX => return Err(Wrong::LongReason(reason.len())),
            (_, Mode::Enforce) => return Err(Wrong::Enforce),
            _ => {}
        }
        if !(1_000..=LAST_MS_MAX).contains(&last_ms) {
            return Err(Wrong::Lasts(last_ms));
        }
        let switch = Switch { to, at_ms: now_ms, until_ms: now_ms + last_ms, reason: reason.trim().to_owned() };
        self.change(now_ms, |table| {
            if table.len() >= SWITCHES_MAX && !table.contains_key(policy) {
                return Err(Wrong::TooMany);
            }
            table.insert(policy.into(), with(switch.clone()));
            Ok(())
        })?;
        Ok(switch)
    }

    pub fn restore(&self, policy: &str, now_ms: i64) -> Result<(), Wrong> {
        self.change(now_ms, |table| {
            table.remove(policy).map(|_| ()).ok_or_else(|| Wrong::NotLowered(policy.to_owned()))
        })
    }

    fn change(&self, now_ms: i64, change: impl FnOnce(&mut Table) -> Result<(), Wrong>) -> Result<(), Wrong> {
        let _one = self.writing.lock().unwrap_or_else(|broken| broken.into_inner());
        let mut table = (*self.table.load_full()).clone();
        table.retain(|_, (switch, _)| switch.until_ms > now_ms);
        change(&mut table)?;
        self.write(&table)?;
        self.note(now_ms, &table);
        self.table.store(Arc::new(table));
        Ok(())
    }

    fn write(&self, table: &Table) -> Result<(), Wrong> {
        let Some(path) = &self.file else { return Ok(()) };
        let wrong = |why: std::io::Error| Wrong::Disk { path: path.display().to_string(), why: why.to_string() };
        let plain: BTreeMap<&str, &Switch> = table.iter().map(|(name, (switch, _))| (&**name, switch)).collect();
        let text = serde_json::to_vec_pretty(&plain).map_err(|why| wrong(why.into()))?;
        let new = path.with_extension("new");
        let mut file = fs::File::create(&new).map_err(wrong)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(wrong)?;
        fs::rename(&new, path).map_err(wrong)
    }
}

impl Switches {
    /// What stood when, a line a change: who looks into a night a year later finds it here.
    fn note(&self, now_ms: i64, table: &Table) {
        let Some(path) = self.file.as_ref().map(|path| path.with_extension("log")) else { return };
        let plain: BTreeMap<&str, &Switch> = table.iter().map(|(name, (switch, _))| (&**name, switch)).collect();
        let line = serde_json::json!({ "at_ms": now_ms, "lowered": plain });
        let file = fs::OpenOptions::new().append(true).create(true).open(&path);
        if let Err(why) = file.and_then(|mut file| writeln!(file, "{line}")) {
            tracing::error!(path = %path.display(), %why, "that a policy was lowered or restored could not be noted");
        }
    }
}

fn with(switch: Switch) -> (Switch, Arc<Lowered>) {
    let lowered =
        Lowered { by: LoweredBy::Operator, until_ms: switch.until_ms, reason: switch.reason.clone(), at: None };
    (switch, Arc::new(lowered))
}

fn read(path: &PathBuf) -> Result<BTreeMap<Arc<str>, Switch>, String> {
    let bytes = fs::metadata(path).map_err(|why| why.to_string())?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("it has {bytes} bytes"));
    }
    let text = fs::read(path).map_err(|why| why.to_string())?;
    serde_json::from_slice(&text).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lowered_outlives_a_restart_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lowered.json");
        let switches = Switches::open(Some(file.clone()));
        for (to, last, reason, told) in [
            (Mode::Enforce, 5_000, "why", Wrong::Enforce),
            (Mode::Off, 5_000, " ", Wrong::NoReason),
            (Mode::Off, 0, "why", Wrong::Lasts(0)),
            (Mode::Off, LAST_MS_MAX + 1, "why", Wrong::Lasts(LAST_MS_MAX + 1)),
        ] {
            assert_eq!(switches.lower("p", to, last, reason, 0), Err(told));
        }
        switches.lower("p", Mode::Observe, 5_000, "it denies too much", 1_000).unwrap();
        let again = Switches::open(Some(file));
        assert_eq!(again.table()["p"].0.until_ms, 6_000);
        again.lower("q", Mode::Off, 5_000, "why", 7_000).unwrap();
        assert!(again.table().get("p").is_none(), "what has ended is swept");
        assert_eq!(again.restore("p", 7_000), Err(Wrong::NotLowered("p".to_owned())));
        again.restore("q", 7_000).unwrap();
        assert!(again.table().is_empty());
    }
}

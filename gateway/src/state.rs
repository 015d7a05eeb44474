//! The state folder: `trail/ journal/ keyed.redb node revisions/ machine-code/ pepper lock`, mode 0700, one gateway at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollgate_core::identity::key::Pepper;
use tollgate_core::identity::record::hex;
use tollgate_store::journal::Bounds;
use tollgate_store::ledger::JournalLedger;

/// The folder, ready for use.
#[derive(Debug, Clone)]
pub struct State {
    pub path: PathBuf,
}

/// Held while a gateway runs.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl State {
    /// The folder that `--state`, the config or the environment names; made where it is not there.
    pub fn open(named: Option<&Path>) -> Result<State, String> {
        let State { path } = State::named(named)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|why| format!("cannot make the state folder `{}`: {why}", path.display()))?;
        Ok(State { path })
    }

    /// The same, for whoever only looks: nothing is made.
    pub fn named(named: Option<&Path>) -> Result<State, String> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => default_path().ok_or("no state folder: set `--state DIR`, `XDG_STATE_HOME` or `HOME`")?,
        };
        Ok(State { path })
    }

    pub fn trail(&self) -> PathBuf {
        self.path.join("trail")
    }

    /// What happened to budgets.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Balances as of the journal's last checkpoint.
    pub fn keyed(&self) -> PathBuf {
        self.path.join("keyed.redb")
    }

    /// Balances as they were when a gateway on this folder ended, however it ended. They are kept as long as this one runs.
    pub async fn ledger(&self, now_ms: Arc<dyn Fn() -> i64 + Send + Sync>) -> Result<Arc<JournalLedger>, String> {
        let opened = JournalLedger::open(&self.journal(), &self.keyed(), Bounds::default(), now_ms()).await;
        let (ledger, started) = opened.map_err(|why| why.to_string())?;
        tracing::debug!(replayed = started.replayed, unknown = started.unknown, "balances are as they were");
        let ledger = Arc::new(ledger);
        tokio::spawn(ledger.clone().keep(move || now_ms()));
        Ok(ledger)
    }

    /// This gateway's name among those that share limits: made once, and kept with the journal that it speaks for.
    pub fn node(&self) -> Result<String, String> {
        let path = self.path.join("node");
        let told = |why: std::io::Error| format!("cannot read this gateway's name `{}`: {why}", path.display());
        match OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let name = hex::encode(&random::<8>()?);
                file.write_all(name.as_bytes()).and_then(|()| file.sync_all()).map_err(told)?;
                Ok(name)
            }
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {
                let name = fs::read_to_string(&path).map_err(told)?.trim().to_owned();
                match name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
                    true => Ok(name),
                    false => Err(format!(
                        "this gateway's name `{}` is not 16 hex digits: remove the file, and a new one is made",
                        path.display()
                    )),
                }
            }
            Err(why) => Err(told(why)),
        }
    }

    pub fn revisions(&self) -> PathBuf {
        self.path.join("revisions")
    }

    /// Keys that were made while a gateway ran: hashes only.
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys.redb")
    }

    /// Does a gateway run on this folder?
    pub fn is_running(&self) -> Result<bool, String> {
        let path = self.path.join("lock");
        let told = |why: String| format!("cannot look at `{}`: {why}", path.display());
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => match file.try_lock() {
                Ok(()) => Ok(false),
                Err(fs::TryLockError::WouldBlock) => Ok(true),
                Err(fs::TryLockError::Error(why)) => Err(told(why.to_string())),
            },
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(why) => Err(told(why.to_string())),
        }
    }

    /// Machine code that components were compiled to: made here, and read by nobody else.
    pub fn machine_code(&self) -> PathBuf {
        self.path.join("machine-code")
    }

    /// One gateway per folder: two would write into one trail.
    pub fn lock(&self) -> Result<Lock, String> {
        let path = self.path.join("lock");
        let told = |why: String| format!("cannot lock `{}`: {why}", path.display());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|why| told(why.to_string()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(format!(
                "another gateway runs on the state folder `{}`: stop it, or give this one its own with `--state DIR`",
                self.path.display()
            )),
            Err(fs::TryLockError::Error(why)) => Err(told(why.to_string())),
        }
    }

    /// What operators show on the operators' port; made once. Whoever can read this folder may operate the gateway.
    pub fn operator_token(&self) -> Result<String, String> {
        let path = self.path.join("operator-token");
        let told = |why: std::io::Error| format!("cannot read the operators' token `{}`: {why}", path.display());
        match OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let token = format!("tgop_{}", hex::encode(&random::<32>()?));
                file.write_all(token.as_bytes()).and_then(|()| file.sync_all()).map_err(told)?;
                Ok(token)
            }
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {
                let token = fs::read_to_string(&path).map_err(told)?.trim().to_owned();
                match token.len() < 16 {
                    true => Err(format!(
                        "the operators' token `{}` is too short: remove it, and a new one is made",
                        path.display()
                    )),
                    false => Ok(token),
                }
            }
            Err(why) => Err(told(why)),
        }
    }

    /// The pepper of key hashes; made once, where there is none.
    pub fn pepper(&self) -> Result<Pepper, String> {
        let path = self.path.join("pepper");
        let told = |why: String| format!("cannot read the pepper `{}`: {why}", path.display());
        match OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let bytes: [u8; 32] = random()?;
                file.write_all(hex::encode(&bytes).as_bytes())
                    .and_then(|()| file.sync_all())
                    .map_err(|w| told(w.to_string()))?;
                Ok(Pepper::new(bytes))
            }
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {
                let text = fs::read_to_string(&path).map_err(|why| told(why.to_string()))?;
                let wrong = || {
                    told(
                        "it is not 64 hex digits; restore it from a backup, or remove it and mint all keys anew".into(),
                    )
                };
                hex::decode(text.trim()).map(Pepper::new).ok_or_else(wrong)
            }
            Err(why) => Err(told(why.to_string())),
        }
    }
}

fn default_path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state"))).map(|p| p.join("tollgate"))
}

/// Bytes from the system's randomness.
pub fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|why| format!("the system gives no randomness: {why}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pepper_is_made_once_and_the_folder_is_locked() {
        let path = std::env::temp_dir().join(format!("tollgate-state-{}", std::process::id()));
        let state = State::open(Some(&path)).unwrap();
        assert_eq!(state.pepper().unwrap().id(), state.pepper().unwrap().id());
        assert!(!state.is_running().unwrap());
        let held = state.lock().unwrap();
        assert!(state.is_running().unwrap());
        assert!(state.lock().unwrap_err().contains("another gateway"));
        drop(held);
        assert!(state.lock().is_ok());
        fs::write(path.join("pepper"), "short").unwrap();
        assert!(state.pepper().unwrap_err().contains("64 hex digits"));
        fs::remove_dir_all(path).unwrap();
    }
}

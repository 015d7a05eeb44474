//! What tests stand on: a gateway of their own, a provider that serves recordings, a client.

pub mod certificates;
pub mod gateway;
pub mod hosts;
pub mod pages;
pub mod redis;
pub mod replay;
pub mod repository;
pub mod shape;

use std::path::{Path, PathBuf};

/// The root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_owned()
}

/// Is the long form of the tests asked for?
pub fn is_long() -> bool {
    std::env::var("TOLLGATE_LONG").is_ok_and(|long| !long.is_empty())
}

/// The corpus of recorded traffic, where there is one. Where there is none, the test says loudly what it skips.
pub fn corpus(what: &str) -> Option<PathBuf> {
    let named = std::env::var_os("TOLLGATE_CORPUS").map(PathBuf::from);
    let path = named.unwrap_or_else(|| root().join("../shared/corpus"));
    if path.join("exchanges").is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: {what}: there is no corpus at `{}` (set TOLLGATE_CORPUS)", path.display());
    None
}

//! Machine code that this gateway made, kept on disk, so that a restart does not compile anew.
//!
//! The one file of this crate with `unsafe`: the engine believes the machine code that it is given. So it is given only
//! what this gateway wrote: the folder belongs to its user and nobody else may enter it, and each file carries a MAC under
//! a key that never leaves the gateway. Whatever is not exactly right is compiled anew.
#![expect(unsafe_code, reason = "loading machine code is an unsafe function of the engine")]

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Files in the folder; beyond it the oldest go.
const FILES_MAX: usize = 64;
/// No file is larger: what an interpreter compiles to, several times over.
const FILE_BYTES_MAX: u64 = 128 << 20;
const MAC_LEN: usize = 32;
const ENDING: &str = "code";

/// A folder that only the gateway can write, and the key of its MACs.
#[derive(Clone)]
pub struct Folder {
    path: PathBuf,
    key: [u8; 32],
}

impl Folder {
    /// Makes the folder, mode 0700; one that is another user's, or open to others, is refused.
    /// `secret` must be the gateway's own; the key of the MACs is derived from it.
    pub fn open(path: &Path, secret: &[u8]) -> Result<Folder, String> {
        let told = |why: String| format!("machine code of policies is not kept in `{}`: {why}", path.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|why| told(why.to_string()))?;
        is_ours(path).map_err(told)?;
        Ok(Folder {
            path: path.to_owned(),
            key: blake3::derive_key("tollgate 2026-11 machine code of policies", secret),
        })
    }

    /// The component, if it was compiled before by this engine in this configuration, and no byte was changed since.
    pub fn read(&self, engine: &Engine, digest: &[u8; 32]) -> Option<Component> {
        is_ours(&self.path).ok()?;
        let path = self.file(engine, digest);
        let size = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?.len();
        if size > FILE_BYTES_MAX {
            return None;
        }
        let bytes = fs::read(&path).ok()?;
        let (mac, code) = bytes.split_first_chunk::<MAC_LEN>()?;
        // Compared in constant time by the type of the hash.
        if self.mac(engine, digest, code) != *mac {
            tracing::warn!(file = %path.display(), "kept machine code is damaged: the policy is compiled anew");
            return None;
        }
        // SAFETY: the MAC shows that this gateway wrote these bytes, for this component, from `Component::serialize` of an
        // engine of this version and configuration; they lie in memory of our own and nobody can change them any more.
        unsafe { Component::deserialize(engine, code) }.ok()
    }

    /// Keeps what was compiled. Where that fails, the next start compiles anew.
    pub fn write(&self, engine: &Engine, digest: &[u8; 32], component: &Component) {
        let path = self.file(engine, digest);
        let kept = is_ours(&self.path).and_then(|()| {
            let code = component.serialize().map_err(|why| why.to_string())?;
            self.replace(&path, self.mac(engine, digest, &code).as_bytes(), &code).map_err(|why| why.to_string())
        });
        if let Err(why) = kept {
            tracing::warn!(file = %path.display(), "machine code of a policy was not kept: {why}");
        }
    }

    fn replace(&self, path: &Path, mac: &[u8], code: &[u8]) -> std::io::Result<()> {
        self.make_room()?;
        let temporary = path.with_extension("new");
        // One that a crash left behind is in the way.
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(mac)?;
        file.write_all(code)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    }

    fn make_room(&self) -> std::io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|ending| ending == ENDING) {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        files.sort_unstable();
        let many = (files.len() + 1).saturating_sub(FILES_MAX);
        files.iter().take(many).try_for_each(|(_, path)| fs::remove_file(path))
    }

    fn file(&self, engine: &Engine, digest: &[u8; 32]) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher.update(digest).update(&made_by(engine));
        self.path.join(&hasher.finalize().to_hex()[..40]).with_extension(ENDING)
    }

    fn mac(&self, engine: &Engine, digest: &[u8; 32], code: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key).update(digest).update(&made_by(engine)).update(code).finalize()
    }
}

/// The engine's version, target and configuration.
fn made_by(engine: &Engine) -> [u8; 8] {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish().to_le_bytes()
}

fn is_ours(path: &Path) -> Result<(), String> {
    let found = fs::symlink_metadata(path).map_err(|why| why.to_string())?;
    if !found.is_dir() {
        return Err("it is no folder".to_owned());
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user".to_owned());
    }
    match found.mode() & 0o077 {
        0 => Ok(()),
        _ => Err("others may enter it: `chmod 700` it".to_owned()),
    }
}

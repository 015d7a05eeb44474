//! One revision of a policy repository, as plain data: paths and bytes. Where it came from is not known here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// No more files than this in one revision.
pub const FILES_MAX: usize = 10_000;
/// No file larger than this, but for components.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// No component larger than this: those that bring an interpreter are a megabyte or two.
pub const COMPONENT_BYTES_MAX: usize = 4 << 20;
/// No revision larger than this, all files together.
pub const TREE_BYTES_MAX: usize = 64 << 20;

/// The most bytes that the file at this path may have.
pub fn file_bytes_max(path: &str) -> usize {
    if path.ends_with("/policy.wasm") { COMPONENT_BYTES_MAX } else { FILE_BYTES_MAX }
}

/// The name of a revision: a commit id, or `dir-<digest>` for a folder, or `builtin-<version>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionId(pub Arc<str>);

impl RevisionId {
    pub fn new(text: &str) -> Self {
        RevisionId(text.into())
    }

    /// As people say it: the first 12 characters of a commit id, all of any other name.
    pub fn short(&self) -> &str {
        let is_commit = self.0.len() >= 40 && self.0.bytes().all(|b| b.is_ascii_hexdigit());
        if is_commit { &self.0[..12] } else { &self.0 }
    }
}

impl std::fmt::Display for RevisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// All files of a revision by path (`/` between parts, never absolute, never `..`).
#[derive(Debug, Clone)]
pub struct Tree {
    pub id: RevisionId,
    /// Who signed it, where the source requires signatures.
    pub signers: Vec<String>,
    pub files: BTreeMap<String, Arc<[u8]>>,
}

impl Tree {
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|b| &b[..])
    }

    /// Paths below `folder/`, in order.
    pub fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> + 'a {
        self.files
            .range(format!("{folder}/")..)
            .take_while(move |(path, _)| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
            .map(|(path, bytes)| (path.as_str(), &bytes[..]))
    }

    /// The digest of all paths and bytes, whatever the revision is called.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (path, bytes) in &self.files {
            hasher.update(&(path.len() as u64).to_le_bytes());
            hasher.update(path.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

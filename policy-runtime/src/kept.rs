//! The last good tree on disk: one file, written whole or not at all, read only if every byte is right.
//!
//! A restart while the source is down begins with it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_core::policy::tree::{FILES_MAX, RevisionId, TREE_BYTES_MAX, Tree};

/// The first line: a file of another kind or version is not read.
const MAGIC: &[u8] = b"tollgate tree 1\n";
const NAME: &str = "last-good.tree";
/// The id of the revision that an operator holds.
const PIN: &str = "pinned";
/// The id of the revision that acts, the built-in one too: of that no tree is kept.
const ACTING: &str = "acting";
/// Names and lengths of all files: at most this much before the bytes of the files begin.
const HEAD_BYTES_MAX: usize = 16 << 20;
const DIGEST_LEN: usize = 32;

/// Where the last good tree is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Head {
    id: RevisionId,
    /// The description of the source: a gateway that is pointed elsewhere does not begin with another house's policies.
    source: String,
    #[serde(default)]
    signers: Vec<String>,
    /// Path and length, in the order of the bytes.
    files: Vec<(String, usize)>,
}

/// Why there is no last good tree, or why it was not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    #[error("`{path}`: {why} [TG0406]")]
    Io { path: String, why: std::io::Error },
    #[error("`{path}` is damaged ({what}): remove it [TG0407]")]
    Damaged { path: String, what: &'static str },
}

impl Kept {
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Kept { folder: folder.into() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Notes that an operator holds this revision, or that none is held.
    pub fn set_pinned(&self, id: Option<&RevisionId>) -> Result<(), KeptError> {
        let path = self.folder.join(PIN);
        let done = match id {
            Some(id) => fs::create_dir_all(&self.folder).and_then(|()| fs::write(&path, id.0.as_bytes())),
            None => match fs::remove_file(&path) {
                Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        done.map_err(|why| io(&path, why))
    }

    pub fn is_pinned(&self, id: &RevisionId) -> bool {
        fs::read(self.folder.join(PIN)).is_ok_and(|held| held == id.0.as_bytes())
    }

    /// Notes which revision acts, for verbs beside the gateway. Nothing hangs on it here, so a failure is told and that is all.
    pub fn note_acting(&self, id: &RevisionId) {
        let path = self.folder.join(ACTING);
        if let Err(error) = fs::create_dir_all(&self.folder).and_then(|()| fs::write(&path, id.0.as_bytes())) {
            tracing::error!(%error, path = %path.display(), "it was not noted which revision acts");
        }
    }

    /// The revision that acts, or acted last.
    pub fn acting(&self) -> Option<RevisionId> {
        let id = fs::read_to_string(self.folder.join(ACTING)).ok()?;
        (!id.is_empty()).then(|| RevisionId::new(&id))
    }

    /// Replaces what was kept. A crash at any moment leaves the old file or the new one.
    pub fn write(&self, tree: &Tree, source: &str) -> Result<(), KeptError> {
        let files = tree.files.iter().map(|(path, bytes)| (path.clone(), bytes.len())).collect();
        let head = Head { id: tree.id.clone(), source: source.to_owned(), signers: tree.signers.clone(), files };
        let head = serde_json::to_vec(&head).expect("texts and numbers are always JSON");
        let mut out = Vec::with_capacity(head.len() + tree.files.values().map(|b| b.len()).sum::<usize>() + 64);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(head.len() as u64).to_le_bytes());
        out.extend_from_slice(&head);
        tree.files.values().for_each(|bytes| out.extend_from_slice(bytes));
        let digest = blake3::hash(&out);
        out.extend_from_slice(digest.as_bytes());
        self.replace(&out).map_err(|why| io(&self.path(), why))
    }

    fn replace(&self, bytes: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let temporary = self.folder.join(format!("{NAME}.new"));
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path())?;
        // The rename itself must outlive a power cut.
        #[cfg(unix)]
        fs::File::open(&self.folder)?.sync_all()?;
        Ok(())
    }

    /// The last good tree of this source; `None` where there is none, or it is another source's.
    pub fn read(&self, source: &str) -> Result<Option<Tree>, KeptError> {
        Ok(self.any()?.filter(|(_, of)| of == source).map(|(tree, _)| tree))
    }

    /// The last good tree with its source, for who only wants to know what was in it.
    pub fn any(&self) -> Result<Option<(Tree, String)>, KeptError> {
        let path = self.path();
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(io(&path, why)),
        };
        let most = MAGIC.len() + 8 + HEAD_BYTES_MAX + TREE_BYTES_MAX + DIGEST_LEN;
        let mut bytes = Vec::new();
        file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(|why| io(&path, why))?;
        let decoded = decode(&bytes, most);
        decoded.map(Some).map_err(|what| KeptError::Damaged { path: path.display().to_string(), what })
    }
}

fn decode(bytes: &[u8], most: usize) -> Result<(Tree, String), &'static str> {
    if bytes.len() > most {
        return Err("too long");
    }
    let (body, digest) = bytes.split_last_chunk::<DIGEST_LEN>().ok_or("too short")?;
    if blake3::hash(body).as_bytes() != digest {
        return Err("the checksum is wrong");
    }
    let rest = body.strip_prefix(MAGIC).ok_or("another kind of file")?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or("too short")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| "too long")?;
    if length > HEAD_BYTES_MAX {
        return Err("too long");
    }
    let (head, mut rest) = rest.split_at_checked(length).ok_or("too short")?;
    let head: Head = serde_json::from_slice(head).map_err(|_| "the head cannot be read")?;
    if head.files.len() > FILES_MAX {
        return Err("too many files");
    }
    let mut files: BTreeMap<String, Arc<[u8]>> = BTreeMap::new();
    for (path, length) in head.files {
        let (file, behind) = rest.split_at_checked(length).ok_or("too short")?;
        files.insert(path, file.into());
        rest = behind;
    }
    if !rest.is_empty() {
        return Err("too long");
    }
    Ok((Tree { id: head.id, signers: head.signers, files }, head.source))
}

fn io(path: &Path, why: std::io::Error) -> KeptError {
    KeptError::Io { path: path.display().to_string(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let files = [("a.yaml", "x"), ("p/b.rhai", ""), ("p/c", "\u{0}\n")];
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes()))).collect();
        Tree { id: RevisionId::new("dir-1"), signers: vec!["ann".to_owned()], files }
    }

    #[test]
    fn which_revision_acts_is_noted_apart_from_the_tree() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path().join("new"));
        assert_eq!(kept.acting(), None, "a state folder of an older version tells nothing");
        kept.write(&tree(), "here").unwrap();
        kept.note_acting(&RevisionId::new("std-1"));
        assert_eq!(
            kept.acting(),
            Some(RevisionId::new("std-1")),
            "the built-in policies act, and their tree is not kept"
        );
        assert_eq!(
            kept.read("here").unwrap().map(|tree| tree.id),
            Some(RevisionId::new("dir-1")),
            "the last good one stays"
        );
    }

    #[test]
    fn what_is_kept_comes_back_byte_for_byte_and_only_to_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::at(dir.path().join("revisions"));
        assert!(kept.read("git").unwrap().is_none(), "nothing is kept at first");
        kept.write(&tree(), "git").unwrap();
        let again = kept.read("git").unwrap().unwrap();
        assert_eq!((again.id, again.files, again.signers), (tree().id, tree().files, tree().signers));
        assert!(kept.read("another").unwrap().is_none(), "another source");
    }

    #[test]
    fn any_changed_or_missing_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::at(dir.path());
        kept.write(&tree(), "git").unwrap();
        let good = fs::read(kept.path()).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(kept.path(), &bad).unwrap();
            assert!(kept.read("git").is_err(), "byte {at}");
        }
        for cut in [0, 1, 40, good.len() - 1] {
            fs::write(kept.path(), &good[..cut]).unwrap();
            assert!(kept.read("git").is_err(), "cut at {cut}");
        }
    }
}

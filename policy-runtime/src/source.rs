//! Where revisions come from: something that is asked now and then and gives a tree when there is a new one.
//!
//! The folder source is here. Git is behind its own crate; the gateway adapts it to the same trait.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tollgate_core::policy::tree::{FILES_MAX, RevisionId, TREE_BYTES_MAX, Tree, file_bytes_max};

/// No folder nests deeper.
const DEPTH_MAX: usize = 32;

/// Something that revisions come from.
pub trait Source: Send {
    /// The newest tree, or `None` where nothing changed since the last one that was given.
    /// An error is taken as passing: the active revision stays, and the source is asked again.
    fn poll(&mut self) -> Result<Option<Tree>, SourceError>;

    /// Another revision than the newest: a commit, or a branch.
    fn at(&mut self, _revision: &str) -> Result<Tree, SourceError> {
        Err(SourceError::Other(format!(
            "{} has one revision only: other revisions need a git repository",
            self.describe()
        )))
    }

    /// Whether a tree of this source that was kept on disk may still act: its signers may be trusted no longer.
    fn vouch(&mut self, _tree: &Tree) -> Result<(), SourceError> {
        Ok(())
    }

    /// For people: the path or the address, without credentials.
    fn describe(&self) -> String;

    /// A source that notices changes by itself rings; one that cannot is polled only.
    fn listen(&mut self, _bell: Bell) {}
}

/// Asks for a poll soon. Ringing never waits, and many rings are one.
#[derive(Debug, Clone)]
pub struct Bell(pub(crate) SyncSender<()>);

impl Bell {
    pub fn ring(&self) {
        // Full: a ring is waiting already. Gone: nobody listens any more.
        let _ = self.0.try_send(());
    }
}

/// Why a source gave no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    #[error("`{path}` cannot be read: {why} [TG0401]")]
    Unreadable { path: String, why: String },
    #[error("`{path}` is a symbolic link: a revision holds plain files only, put the file itself there [TG0402]")]
    Symlink { path: String },
    #[error("`{path}` exceeds a bound: {what} [TG0403]")]
    TooLarge { path: String, what: String },
    #[error("`{path}` is no path that a revision can hold: names must be UTF-8 [TG0404]")]
    BadPath { path: String },
    #[error("{0} [TG0405]")]
    Other(String),
    /// Signatures are required, and this is not signed as they must be; the reason has its own code.
    #[error("{0}")]
    Unverified(String),
}

/// A tree that never changes: the built-in one, or what a test gives.
pub struct Fixed {
    tree: Option<Tree>,
    name: String,
}

impl Fixed {
    pub fn new(tree: Tree) -> Self {
        Fixed { name: tree.id.to_string(), tree: Some(tree) }
    }
}

impl Source for Fixed {
    fn poll(&mut self) -> Result<Option<Tree>, SourceError> {
        Ok(self.tree.take())
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

/// A plain folder, watched. Hidden files and folders, and backups that end in `~`, are no part of a revision.
pub struct FolderSource {
    root: PathBuf,
    /// Digest of the tree that was given last.
    given: Option<String>,
    bell: Option<Bell>,
    /// Gone when the folder was gone: it is watched anew when it is back.
    watcher: Option<RecommendedWatcher>,
}

impl FolderSource {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        FolderSource { root: root.into(), given: None, bell: None, watcher: None }
    }

    fn watch(&mut self) {
        let Some(bell) = self.bell.clone() else { return };
        let handler = move |event: notify::Result<notify::Event>| {
            // Our own reading is no change. An error of the watcher may hide one.
            if event.as_ref().map_or(true, |e| !matches!(e.kind, EventKind::Access(_))) {
                bell.ring();
            }
        };
        let watcher = notify::recommended_watcher(handler).and_then(|mut watcher| {
            watcher.watch(&self.root, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => self.watcher = Some(watcher),
            // Too many watches, or a file system without events: the slow poll still finds every change.
            Err(why) => {
                tracing::debug!(folder = %self.root.display(), %why, "the folder is not watched, only polled");
            }
        }
    }
}

impl Source for FolderSource {
    fn poll(&mut self) -> Result<Option<Tree>, SourceError> {
        // Watched before it is read: a change in between is seen twice rather than never.
        if self.watcher.is_none() {
            self.watch();
        }
        let tree = read_folder(&self.root).inspect_err(|_| self.watcher = None)?;
        let digest = tree.digest();
        if self.given.as_ref() == Some(&digest) {
            return Ok(None);
        }
        self.given = Some(digest);
        Ok(Some(tree))
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn listen(&mut self, bell: Bell) {
        self.bell = Some(bell);
        self.watcher = None;
        self.watch();
    }
}

/// All files of a folder, within the bounds of a tree. The name is `dir-` and 16 digits of the digest.
pub fn read_folder(root: &Path) -> Result<Tree, SourceError> {
    let mut found = Found::default();
    found.folder(root, "", 0)?;
    let mut tree = Tree { signers: Vec::new(), id: RevisionId::new(""), files: found.files };
    tree.id = RevisionId::new(&format!("dir-{}", &tree.digest()[..16]));
    Ok(tree)
}

#[derive(Default)]
struct Found {
    files: BTreeMap<String, Arc<[u8]>>,
    bytes: usize,
}

impl Found {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), SourceError> {
        if depth > DEPTH_MAX {
            return Err(too_large(folder, format!("more than {DEPTH_MAX} folders deep")));
        }
        for entry in fs::read_dir(folder).map_err(|e| unreadable(folder, &e))? {
            let entry = entry.map_err(|e| unreadable(folder, &e))?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| SourceError::BadPath { path: path.display().to_string() })?;
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            let inner = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            // Of the entry itself, never of what a link leads to.
            let kind = entry.file_type().map_err(|e| unreadable(&path, &e))?;
            if kind.is_symlink() {
                return Err(SourceError::Symlink { path: path.display().to_string() });
            } else if kind.is_dir() {
                self.folder(&path, &inner, depth + 1)?;
            } else if kind.is_file() {
                self.file(&path, inner)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, inner: String) -> Result<(), SourceError> {
        let file = fs::File::open(path).map_err(|e| unreadable(path, &e))?;
        let mut bytes = Vec::new();
        // One byte more than allowed tells that there are more, however the file grows while it is read.
        let most = file_bytes_max(&inner);
        file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(|e| unreadable(path, &e))?;
        if bytes.len() > most {
            return Err(too_large(path, format!("a file of more than {most} bytes")));
        }
        self.bytes += bytes.len();
        if self.bytes > TREE_BYTES_MAX {
            return Err(too_large(path, format!("more than {TREE_BYTES_MAX} bytes in all files together")));
        }
        self.files.insert(inner, bytes.into());
        if self.files.len() > FILES_MAX {
            return Err(too_large(path, format!("more than {FILES_MAX} files")));
        }
        Ok(())
    }
}

fn unreadable(path: &Path, why: &std::io::Error) -> SourceError {
    SourceError::Unreadable { path: path.display().to_string(), why: why.to_string() }
}

fn too_large(path: &Path, what: String) -> SourceError {
    SourceError::TooLarge { path: path.display().to_string(), what }
}

#[cfg(test)]
mod tests {
    use tollgate_core::policy::tree::{COMPONENT_BYTES_MAX, FILE_BYTES_MAX};

    use super::*;

    #[test]
    fn a_folder_gives_a_tree_once_per_content() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("tollgate-policies.yaml", "api: x");
        write("policies/a/rules.yaml", "rules: []");
        write(".git/config", "hidden");
        write("policies/a/rules.yaml~", "backup");
        let mut source = FolderSource::new(dir.path());
        let tree = source.poll().unwrap().unwrap();
        assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["policies/a/rules.yaml", "tollgate-policies.yaml"]);
        assert!(tree.id.0.starts_with("dir-") && tree.id.0.len() == 20, "{}", tree.id);
        assert!(source.poll().unwrap().is_none(), "nothing changed");
        write("tollgate-policies.yaml", "api: y");
        let changed = source.poll().unwrap().unwrap();
        assert_ne!(changed.id, tree.id);
        write("tollgate-policies.yaml", "api: x");
        assert_eq!(source.poll().unwrap().unwrap().id, tree.id, "the same content has the same name");
    }

    #[test]
    fn components_may_be_larger_than_other_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("policies/p")).unwrap();
        let file = dir.path().join("policies/p/policy.wasm");
        fs::write(&file, vec![b'x'; FILE_BYTES_MAX + 1]).unwrap();
        assert!(read_folder(dir.path()).is_ok());
        fs::write(&file, vec![b'x'; COMPONENT_BYTES_MAX + 1]).unwrap();
        assert!(matches!(read_folder(dir.path()), Err(SourceError::TooLarge { .. })));
    }

    #[test]
    fn what_no_revision_can_hold_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = FolderSource::new(dir.path().join("absent"));
        assert!(matches!(source.poll(), Err(SourceError::Unreadable { .. })));
        let big = dir.path().join("big.yaml");
        fs::write(&big, vec![b'x'; FILE_BYTES_MAX + 1]).unwrap();
        assert!(matches!(read_folder(dir.path()), Err(SourceError::TooLarge { .. })));
        fs::remove_file(&big).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.yaml")).unwrap();
            let refused = read_folder(dir.path()).unwrap_err();
            assert!(matches!(refused, SourceError::Symlink { .. }), "{refused}");
        }
    }
}

//! Reads one commit of the mirror: who made it, and all its files, without a work tree.
//!
//! What a tree may hold is decided here, before anything is loaded: sizes come from object headers.

use std::collections::BTreeMap;
use std::sync::Arc;

use git2::{ObjectType, Odb, Oid, Repository};
use tollgate_core::policy::tree::{FILES_MAX, RevisionId, TREE_BYTES_MAX, Tree, file_bytes_max};

use crate::GitError;

/// No folder nests deeper.
const DEPTH_MAX: usize = 32;
/// A commit or the listing of one folder is not larger.
const LISTING_BYTES_MAX: usize = 4 << 20;
/// Entries looked at, hidden ones and folders among them: a tree of trees of the same tree ends here.
const ENTRIES_MAX: usize = 4 * FILES_MAX;
/// Of names and summaries this much is kept.
const TOLD_CHARS_MAX: usize = 200;
/// How a file begins that git-LFS has put in place of the real one.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A commit and its files.
#[derive(Debug, Clone)]
pub struct Commit {
    pub id: String,
    pub parents: Vec<String>,
    /// `Name <address>`, as the author has set it.
    pub author: String,
    /// When it was written, milliseconds since 1970, by the author's clock.
    pub time_ms: i64,
    /// The first line of its message.
    pub summary: String,
    pub tree: Tree,
}

/// Why a commit could not be read.
pub(crate) enum Unread {
    /// What it holds is not allowed.
    Refused(GitError),
    /// The mirror lacks something, or cannot be read.
    Damaged(String),
}

impl From<git2::Error> for Unread {
    fn from(why: git2::Error) -> Self {
        Unread::Damaged(why.message().to_owned())
    }
}

/// Reads the commit; with `subfolder`, only what is below it, named from there.
pub(crate) fn commit(mirror: &Repository, id: Oid, subfolder: &[String]) -> Result<Commit, Unread> {
    let mut found = Found { mirror, odb: mirror.odb()?, commit: id, files: BTreeMap::new(), bytes: 0, entries: 0 };
    found.check_listing(id, "")?;
    let commit = mirror.find_commit(id)?;
    let mut root = commit.tree_id();
    for depth in 1..=subfolder.len() {
        root = found.enter(root, &subfolder[..depth])?;
    }
    found.folder(root, "", 0)?;
    let author = commit.author();
    Ok(Commit {
        id: id.to_string(),
        parents: commit.parent_ids().map(|parent| parent.to_string()).collect(),
        author: format!("{} <{}>", told(author.name_bytes()), told(author.email_bytes())),
        time_ms: author.when().seconds().saturating_mul(1_000),
        summary: told(commit.summary_bytes().unwrap_or_default()),
        tree: Tree { id: RevisionId::new(&id.to_string()), signers: Vec::new(), files: found.files },
    })
}

/// Texts of strangers, fit for a terminal.
fn told(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(TOLD_CHARS_MAX).collect()
}

struct Found<'a> {
    mirror: &'a Repository,
    odb: Odb<'a>,
    commit: Oid,
    files: BTreeMap<String, Arc<[u8]>>,
    bytes: usize,
    entries: usize,
}

impl Found<'_> {
    fn refused(&self, path: &str, why: impl Into<String>) -> Unread {
        let path = told(path.as_bytes());
        Unread::Refused(GitError::Refused { commit: self.commit.to_string(), path, why: why.into() })
    }

    fn check_listing(&self, id: Oid, path: &str) -> Result<(), Unread> {
        match self.odb.read_header(id)?.0 {
            0..=LISTING_BYTES_MAX => Ok(()),
            _ => Err(self.refused(path, format!("its listing is above {LISTING_BYTES_MAX} bytes"))),
        }
    }

    /// The folder at the end of `parts`, looked up in the folder before it.
    fn enter(&self, folder: Oid, parts: &[String]) -> Result<Oid, Unread> {
        self.check_listing(folder, &parts.join("/"))?;
        let tree = self.mirror.find_tree(folder)?;
        let entry = parts.last().and_then(|name| tree.get_name(name));
        match entry.filter(|e| e.kind() == Some(ObjectType::Tree)) {
            Some(entry) => Ok(entry.id()),
            None => Err(Unread::Refused(GitError::NoSubfolder {
                commit: self.commit.to_string(),
                subfolder: parts.join("/"),
            })),
        }
    }

    fn folder(&mut self, id: Oid, prefix: &str, depth: usize) -> Result<(), Unread> {
        if depth > DEPTH_MAX {
            return Err(self.refused(prefix, format!("folders may nest {DEPTH_MAX} deep")));
        }
        self.check_listing(id, prefix)?;
        let tree = self.mirror.find_tree(id)?;
        for entry in tree.iter() {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(self.refused(prefix, format!("a revision may have {ENTRIES_MAX} entries, hidden ones too")));
            }
            let name = self.name(entry.name_bytes(), prefix)?;
            // As in a plain folder: hidden files and backups are no part of a revision.
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            // Modes as git writes them, and 100664 as it once did.
            match entry.filemode_raw() {
                0o040000 => self.folder(entry.id(), &path, depth + 1)?,
                0o100644 | 0o100755 | 0o100664 => self.file(entry.id(), path)?,
                0o120000 => {
                    return Err(self.refused(&path, "it is a symbolic link: put the file itself there"));
                }
                0o160000 => {
                    return Err(self.refused(&path, "it is a submodule: put its files into this repository"));
                }
                mode => return Err(self.refused(&path, format!("its mode {mode:o} is unknown"))),
            }
        }
        Ok(())
    }

    /// A name that stays in its folder on every system.
    fn name<'n>(&self, name: &'n [u8], prefix: &str) -> Result<&'n str, Unread> {
        let shown = format!("{prefix}/{}", String::from_utf8_lossy(name));
        let name = std::str::from_utf8(name).map_err(|_| self.refused(&shown, "its name is not UTF-8"))?;
        let leaves = matches!(name, "" | "." | "..") || name.eq_ignore_ascii_case(".git");
        if leaves || name.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
            return Err(self.refused(&shown, "its name could lead out of the folder: rename it"));
        }
        Ok(name)
    }

    fn file(&mut self, id: Oid, path: String) -> Result<(), Unread> {
        let (size, kind) = self.odb.read_header(id)?;
        if kind != ObjectType::Blob {
            return Err(self.refused(&path, "its object is no file"));
        }
        let most = file_bytes_max(&path);
        if size > most {
            return Err(self.refused(&path, format!("it has {size} bytes, a file may have {most}")));
        }
        self.bytes += size;
        if self.bytes > TREE_BYTES_MAX {
            return Err(self.refused(&path, format!("with it all files are above {TREE_BYTES_MAX} bytes together")));
        }
        if self.files.len() >= FILES_MAX {
            return Err(self.refused(&path, format!("a revision may have {FILES_MAX} files")));
        }
        let object = self.odb.read(id)?;
        if object.data().starts_with(LFS) {
            let why = "it is a pointer of git-LFS, not the file: take it out of `.gitattributes` and commit it again";
            return Err(self.refused(&path, why));
        }
        self.files.insert(path, object.data().into());
        Ok(())
    }
}

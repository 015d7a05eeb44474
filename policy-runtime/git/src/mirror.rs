//! The bare repository of our own that fetches go into, and the two refs that matter in it.
//!
//! A file in it says that it is ours and of what: only such a folder is ever deleted, and a mirror of another branch
//! is not taken for one of this.

use std::fs;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository, RepositoryInitOptions};

use crate::GitError;

/// The tip of the branch as it was fetched last.
pub(crate) const CANDIDATE: &str = "refs/tollgate/candidate";
/// The last commit that was accepted.
pub(crate) const ACTIVE: &str = "refs/tollgate/active";
const MARK: &str = "tollgate-mirror";

/// The folder of a mirror.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    pub dir: PathBuf,
    /// Address and branch, a line each.
    pub of: String,
}

impl Mirror {
    /// Makes the mirror where there is none. A damaged one is left as it is: the next fetch makes it anew.
    pub(crate) fn open(dir: &Path, of: String) -> Result<Mirror, GitError> {
        let mirror = Mirror { dir: dir.to_owned(), of };
        for beside in [mirror.beside("new"), mirror.beside("old")] {
            mirror.remove(&beside)?;
        }
        match fs::read_to_string(dir.join(MARK)) {
            Ok(of) if of == mirror.of => return Ok(mirror),
            // The gateway's own settings name another source now: what was accepted from the old one says nothing.
            Ok(_) => mirror.remove(dir)?,
            Err(_) => {
                let is_empty = fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
                if !is_empty {
                    return Err(mirror.wrong("the folder holds something else: name an empty or a new one"));
                }
            }
        }
        mirror.make()?;
        Ok(mirror)
    }

    /// An empty mirror of the same beside this one.
    pub(crate) fn fresh(&self) -> Result<Mirror, GitError> {
        let fresh = Mirror { dir: self.beside("new"), of: self.of.clone() };
        self.remove(&fresh.dir)?;
        fresh.make()?;
        Ok(fresh)
    }

    /// Puts `fresh` in the place of this one.
    pub(crate) fn replace_by(&self, fresh: &Mirror) -> Result<(), GitError> {
        let old = self.beside("old");
        self.remove(&old)?;
        if self.dir.exists() {
            fs::rename(&self.dir, &old).map_err(|why| self.wrong(why))?;
        }
        fs::rename(&fresh.dir, &self.dir).map_err(|why| self.wrong(why))?;
        self.remove(&old)
    }

    pub(crate) fn repository(&self) -> Result<Repository, GitError> {
        Repository::open_bare(&self.dir).map_err(|why| self.damaged(&why))
    }

    /// The accepted commit, also where the mirror is too damaged to be opened.
    pub(crate) fn active(&self) -> Option<Oid> {
        self.plain(ACTIVE)
    }

    /// A ref, also where the mirror is too damaged to be opened.
    pub(crate) fn plain(&self, name: &str) -> Option<Oid> {
        // Invariant: refs of the mirror are plain files; every call of git forbids to pack them.
        let text = fs::read_to_string(self.dir.join(name)).ok()?;
        Oid::from_str(text.trim()).ok()
    }

    /// Sets a ref; the commit must be there. A ref that a power cut left broken is replaced.
    pub(crate) fn set(&self, repository: &Repository, name: &str, commit: Oid) -> Result<(), GitError> {
        let set = || repository.reference(name, commit, true, "accepted").map(|_| ());
        set()
            .or_else(|why| fs::remove_file(self.dir.join(name)).map_err(|_| why).and_then(|()| set()))
            .map_err(|why| self.damaged(&why))
    }

    pub(crate) fn remove(&self, dir: &Path) -> Result<(), GitError> {
        if !dir.exists() {
            return Ok(());
        }
        if !dir.join(MARK).exists() {
            let dir = dir.display();
            return Err(self.wrong(format!("`{dir}` holds something else: move it away")));
        }
        fs::remove_dir_all(dir).map_err(|why| self.wrong(why))
    }

    pub(crate) fn wrong(&self, why: impl ToString) -> GitError {
        GitError::Mirror { path: self.dir.display().to_string(), why: why.to_string() }
    }

    pub(crate) fn damaged(&self, why: &git2::Error) -> GitError {
        GitError::Damaged { path: self.dir.display().to_string(), why: why.message().to_owned() }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.dir.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{ending}"));
        self.dir.with_file_name(name)
    }

    fn make(&self) -> Result<(), GitError> {
        fs::create_dir_all(&self.dir).map_err(|why| self.wrong(why))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Policies may say more of a house than its other users should read.
            fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700)).map_err(|why| self.wrong(why))?;
        }
        // The mark first: whatever breaks off behind it is known to be ours.
        fs::write(self.dir.join(MARK), &self.of).map_err(|why| self.wrong(why))?;
        let mut options = RepositoryInitOptions::new();
        // No template: the host's could hold hooks.
        options.bare(true).external_template(false).initial_head("tollgate");
        Repository::init_opts(&self.dir, &options).map_err(|why| self.wrong(why.message()))?;
        Ok(())
    }
}

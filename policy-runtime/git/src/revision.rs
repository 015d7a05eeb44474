//! Other commits than the newest: by id or by branch, for whoever tries or holds one.

use git2::Repository;

use crate::mirror::CANDIDATE;
use crate::read::{self, Commit, Unread};
use crate::source::{Failed, GitSource};
use crate::{GitError, address};

/// Where a branch that is asked for is fetched to.
const ASKED: &str = "refs/tollgate/asked";
/// Where all branches are fetched to, when a commit is on none that is known.
const HEADS: &str = "refs/tollgate/heads/*";
/// Fewer digits of a commit id name nothing.
const ID_MIN: usize = 7;

impl GitSource {
    /// A commit by its id (seven digits or more) or the tip of a branch. What the mirror lacks is fetched. Nothing is
    /// said of its descent: whoever asks for a commit by name means it.
    pub fn revision(&mut self, name: &str) -> Result<Commit, GitError> {
        let is_id = (ID_MIN..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id {
            address::check_branch(name)?;
            return self.fetched(&format!("+refs/heads/{name}:{ASKED}"), ASKED);
        }
        if let Some(commit) = self.known(name)? {
            return Ok(commit);
        }
        for refspec in [format!("+refs/heads/{}:{CANDIDATE}", self.branch), format!("+refs/heads/*:{HEADS}")] {
            self.git_fetch(self.mirror(), self.place(), refspec).map_err(Failed::error)?;
            if let Some(commit) = self.known(name)? {
                return Ok(commit);
            }
        }
        Err(GitError::UnknownCommit { commit: name.to_owned() })
    }

    fn known(&self, name: &str) -> Result<Option<Commit>, GitError> {
        let repository = self.mirror().repository()?;
        match repository.find_commit_by_prefix(name) {
            Ok(commit) => self.read_commit(&repository, commit.id()).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn fetched(&self, refspec: &str, to: &str) -> Result<Commit, GitError> {
        self.git_fetch(self.mirror(), self.place(), refspec.to_owned()).map_err(Failed::error)?;
        let repository = self.mirror().repository()?;
        let id = repository.refname_to_id(to).map_err(|why| self.mirror().damaged(&why))?;
        self.read_commit(&repository, id)
    }

    fn read_commit(&self, repository: &Repository, id: git2::Oid) -> Result<Commit, GitError> {
        read::commit(repository, id, self.parts()).map_err(|unread| match unread {
            Unread::Refused(error) => error,
            Unread::Damaged(why) => GitError::Damaged { path: self.mirror().dir.display().to_string(), why },
        })
    }
}

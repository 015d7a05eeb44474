//! Other commits than the newest: by id or by branch, for whoever tries or holds one.

use git2::{ObjectType, Oid, Repository};
use tollgate_core::policy::tree::Tree;

use crate::follow::Follow;
use crate::mirror::CANDIDATE;
use crate::read::Commit;
use crate::source::{Failed, GitSource};
use crate::verify::{self, TAGS, Verification};
use crate::{GitError, address, signature};

/// Where a branch that is asked for is fetched to.
const ASKED: &str = "refs/tollgate/asked";
/// Where all branches are fetched to, when a commit is on none that is known.
const HEADS: &str = "refs/tollgate/heads/*";
/// Fewer digits of a commit id name nothing.
const ID_MIN: usize = 7;

impl GitSource {
    /// A commit by its id (seven digits or more), or what a branch or a tag points to. What the mirror lacks is fetched.
    /// Nothing is said of its descent: whoever asks for a commit by name means it. Its signatures count as ever.
    pub fn revision(&mut self, name: &str) -> Result<Commit, GitError> {
        let is_id = (ID_MIN..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id {
            address::check_branch(name)?;
            return self.named(name);
        }
        if let Some(commit) = self.known(name)? {
            return Ok(commit);
        }
        let followed = self.follow.refname().map(|full| format!("+{full}:{CANDIDATE}"));
        for refspec in followed.into_iter().chain([format!("+refs/heads/*:{HEADS}"), format!("+refs/tags/*:{TAGS}*")]) {
            self.git_fetch(self.mirror(), self.place(), vec![refspec]).map_err(Failed::error)?;
            if let Some(commit) = self.known(name)? {
                return Ok(commit);
            }
        }
        Err(GitError::UnknownCommit { commit: name.to_owned() })
    }

    /// Whether a tree that was kept is still that of a commit that may act: its signers may be trusted no longer.
    pub fn vouch(&mut self, tree: &Tree) -> Result<(), GitError> {
        if let Verification::Off = &self.verify {
            return Ok(());
        }
        let commit = self.revision(&tree.id.to_string())?;
        let kept = || GitError::UnknownCommit { commit: tree.id.to_string() };
        if commit.tree.files == tree.files { Ok(()) } else { Err(kept()) }
    }

    /// Whether what the followed ref points to is older than signatures may be: it acts on, and operators are told.
    pub fn check_age(&self) -> Result<(), GitError> {
        let Verification::On(rules) = &self.verify else { return Ok(()) };
        if let Follow::Commit(_) = &self.follow {
            // It is named, so its age says nothing.
            return Ok(());
        }
        let repository = self.mirror().repository()?;
        let damaged = |why| self.mirror().damaged(&why);
        // What was fetched last may have been refused, and is no measure then.
        let seen = self.tip.as_ref().and_then(|tip| Oid::from_str(tip).ok());
        let id = match seen.filter(|id| repository.find_object(*id, None).is_ok()) {
            Some(id) => id,
            None => repository.refname_to_id(CANDIDATE).map_err(damaged)?,
        };
        let made_ms = match signature::tag(&repository, id) {
            Some(tag) => tag.time_ms,
            None => {
                let commit = repository.find_object(id, None).and_then(|o| o.peel_to_commit()).map_err(damaged)?;
                commit.time().seconds().saturating_mul(1_000)
            }
        };
        verify::check_age(rules, made_ms, (self.clock)(), id)
    }

    fn known(&self, name: &str) -> Result<Option<Commit>, GitError> {
        let repository = self.mirror().repository()?;
        match repository.find_commit_by_prefix(name) {
            Ok(commit) => self.asked(&repository, commit.id()).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn named(&self, name: &str) -> Result<Commit, GitError> {
        let fetch = |folder: &str| {
            let refspec = format!("+refs/{folder}/{name}:{ASKED}");
            self.git_fetch(self.mirror(), self.place(), [vec![refspec], self.tags()].concat())
        };
        // A branch is more often meant than a tag, so its error is the one that is told.
        fetch("heads").or_else(|error| fetch("tags").map_err(|_| error)).map_err(Failed::error)?;
        let repository = self.mirror().repository()?;
        let damaged = |why| self.mirror().damaged(&why);
        let object = repository.find_reference(ASKED).and_then(|r| r.peel(ObjectType::Commit)).map_err(damaged)?;
        self.asked(&repository, object.id())
    }

    fn asked(&self, repository: &Repository, id: Oid) -> Result<Commit, GitError> {
        let signers = self.verified(repository, None, id, true)?;
        self.read(repository, id, signers)
    }
}

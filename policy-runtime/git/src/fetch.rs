//! What is asked of the far side, as refspecs: the followed ref, one commit by its id, tags that may hold approvals.

use std::ffi::OsString;

use git2::Oid;

use crate::GitError;
use crate::follow::Follow;
use crate::mirror::{CANDIDATE, Mirror};
use crate::source::{Failed, GitSource};
use crate::verify::{TAGS, Verification};

impl GitSource {
    /// Brings the followed ref, and the tags where they may hold approvals.
    pub(crate) fn fetch_candidate(&self, mirror: &Mirror) -> Result<(), Failed> {
        let refspec = match &self.follow {
            Follow::Commit(id) => return self.fetch_commit(mirror, id),
            Follow::Branch(_) | Follow::Tag(_) => {
                format!("+{}:{CANDIDATE}", self.follow.refname().unwrap_or_default())
            }
        };
        self.git_fetch(mirror, self.place(), [vec![refspec], self.tags()].concat())
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        match &self.verify {
            Verification::On(rules) if rules.wants_tags() => vec![format!("+refs/tags/*:{TAGS}*")],
            Verification::On(_) | Verification::Off => Vec::new(),
        }
    }

    fn fetch_commit(&self, mirror: &Mirror, id: &str) -> Result<(), Failed> {
        let set = || {
            let repository = mirror.repository()?;
            let id = Oid::from_str(id).ok().filter(|id| repository.find_commit(*id).is_ok());
            id.map(|id| mirror.set(&repository, CANDIDATE, id)).transpose()
        };
        if self.tags().is_empty() && set().map_err(Failed::Here)?.is_some() {
            return Ok(());
        }
        // Not every host gives out a commit by its id: then all branches and tags may hold it.
        let alone = vec![format!("+{id}:{CANDIDATE}")];
        if self.git_fetch(mirror, self.place(), [alone, self.tags()].concat()).is_ok() {
            return Ok(());
        }
        let all = ["+refs/heads/*:refs/tollgate/heads/*".to_owned(), format!("+refs/tags/*:{TAGS}*")];
        self.git_fetch(mirror, self.place(), all.to_vec())?;
        match set().map_err(Failed::Here)? {
            Some(()) => Ok(()),
            None => Err(Failed::Stopped(GitError::NoCommit { url: self.url.clone(), commit: id.to_owned() })),
        }
    }

    pub(crate) fn git_fetch(&self, mirror: &Mirror, from: OsString, refspecs: Vec<String>) -> Result<(), Failed> {
        let flags = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--"];
        let mut args: Vec<OsString> = flags.iter().map(OsString::from).collect();
        args.push(from);
        args.extend(refspecs.into_iter().map(OsString::from));
        let said = self.git(Some(mirror), "fetch", self.fetch_timeout, args).map_err(Failed::Stopped)?;
        // Whether the remote or the mirror is to blame, git does not say in a way that could be relied on.
        if said.ok { Ok(()) } else { Err(Failed::Here(self.unreachable(&said.why))) }
    }
}

//! Where the followed ref points now: read from a local repository, or asked of a remote one.

use std::path::Path;

use git2::{ErrorCode, Oid, Repository};

use crate::GitError;
use crate::address::Address;
use crate::follow::Follow;
use crate::source::GitSource;

/// In messages, no more names are told.
const NAMED_MAX: usize = 10;

impl GitSource {
    /// What the followed ref points to now: a commit, or the object of a tag. Local repositories are read directly,
    /// which takes a fraction of a millisecond; others are asked over the network.
    pub fn head(&mut self) -> Result<String, GitError> {
        let tip = match (&self.follow, self.address()) {
            (Follow::Commit(id), _) => id.clone(),
            (_, Address::Local(path)) => match self.head_of(path)? {
                Some(tip) => tip,
                None => self.head_listed()?,
            },
            (_, Address::Remote { .. }) => self.head_listed()?,
        };
        self.tip = Some(tip.clone());
        Ok(tip)
    }

    /// Reads the ref with libgit2; `None` where only git itself reads it: another format, or a bundle.
    fn head_of(&self, path: &Path) -> Result<Option<String>, GitError> {
        let Some(full) = self.follow.refname() else { return Ok(None) };
        if path.is_file() {
            return Ok(None);
        }
        let repository = match Repository::open(path) {
            Ok(repository) => repository,
            Err(_) if path.join("HEAD").exists() || path.join(".git").exists() => return Ok(None),
            Err(_) => {
                let why = if path.exists() { "it is no git repository" } else { "there is no such folder" };
                return Err(GitError::Unreachable { url: self.url.clone(), why: why.to_owned() });
            }
        };
        match repository.refname_to_id(&full) {
            Ok(id) => Ok(Some(id.to_string())),
            Err(why) if why.code() == ErrorCode::NotFound => {
                let siblings = self.follow.siblings();
                let all = repository.references_glob(&format!("{siblings}*"));
                let names = all.into_iter().flatten().flatten().filter_map(|reference| {
                    let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
                    name.strip_prefix(siblings).map(str::to_owned)
                });
                Err(self.missing(names.collect()))
            }
            Err(_) => Ok(None),
        }
    }

    /// Asks as `git ls-remote` does; where the ref is missing, for the others too, to name them.
    fn head_listed(&self) -> Result<String, GitError> {
        let full = self.follow.refname().unwrap_or_default();
        let lines = self.listed(&full)?;
        if let Some((id, _)) = lines.iter().find(|(_, name)| *name == full) {
            return Ok(id.clone());
        }
        let siblings = self.follow.siblings();
        let names = self.listed(&format!("{siblings}*"))?;
        Err(self.missing(names.iter().filter_map(|(_, n)| n.strip_prefix(siblings)).map(str::to_owned).collect()))
    }

    fn listed(&self, pattern: &str) -> Result<Vec<(String, String)>, GitError> {
        let args = ["ls-remote".into(), "--refs".into(), "--".into(), self.place(), pattern.into()];
        let said = self.git(None, "list the branches", self.ask_timeout, args.to_vec())?;
        if !said.ok {
            return Err(self.unreachable(&said.why));
        }
        let pair = |line: &str| line.split_once('\t').map(|(id, name)| (id.to_owned(), name.to_owned()));
        Ok(said.stdout.lines().filter_map(pair).filter(|(id, _)| Oid::from_str(id).is_ok()).collect())
    }

    fn missing(&self, mut names: Vec<String>) -> GitError {
        let url = self.url.clone();
        names.sort();
        let more = names.len().saturating_sub(NAMED_MAX);
        let shown: Vec<String> = names.iter().take(NAMED_MAX).map(|name| format!("`{name}`")).collect();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let known = shown.join(", ") + &more;
        match &self.follow {
            Follow::Tag(tag) if names.is_empty() => {
                GitError::NoTag { url, tag: tag.clone(), known: "none at all".to_owned() }
            }
            Follow::Tag(tag) => GitError::NoTag { url, tag: tag.clone(), known },
            other if names.is_empty() => GitError::Empty { url, branch: other.to_string() },
            other => GitError::NoBranch { url, branch: other.to_string(), known },
        }
    }
}

//! What of a repository is followed: a branch, a tag, or one commit for ever.

use git2::Oid;

use crate::{GitError, address};

/// What decides which commit is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    Branch(String),
    /// Taken anew when it moves.
    Tag(String),
    /// All 40 digits.
    Commit(String),
}

impl Follow {
    pub(crate) fn check(&self) -> Result<(), GitError> {
        match self {
            Follow::Branch(name) => address::check_branch(name),
            Follow::Tag(name) => address::check_branch(name).map_err(|why| match why {
                GitError::Branch { branch, why } => GitError::Tag { tag: branch, why },
                other => other,
            }),
            Follow::Commit(id) if id.len() == 40 && Oid::from_str(id).is_ok() => Ok(()),
            Follow::Commit(id) => Err(GitError::CommitId { commit: id.chars().take(64).collect() }),
        }
    }

    /// The ref on the far side; `None` for a commit.
    pub(crate) fn refname(&self) -> Option<String> {
        match self {
            Follow::Branch(name) => Some(format!("refs/heads/{name}")),
            Follow::Tag(name) => Some(format!("refs/tags/{name}")),
            Follow::Commit(_) => None,
        }
    }

    /// The folder of refs that it stands in, for naming the others.
    pub(crate) fn siblings(&self) -> &'static str {
        match self {
            Follow::Branch(_) | Follow::Commit(_) => "refs/heads/",
            Follow::Tag(_) => "refs/tags/",
        }
    }
}

impl std::fmt::Display for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Follow::Branch(name) => f.write_str(name),
            Follow::Tag(name) => write!(f, "tag {name}"),
            Follow::Commit(id) => write!(f, "commit {id}"),
        }
    }
}

//! What can go wrong between a git host and a tree, each with what to do about it.

use crate::verify::Doubt;

/// Why a repository gave no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    #[error(
        "the program `{program}` cannot be run: {why}: install git, or give a plain folder instead of a repository"
    )]
    Program { program: String, why: String },
    #[error("`{url}` cannot be used as a repository: {why}")]
    Address { url: String, why: String },
    #[error("`{branch}` is no name of a branch: {why}")]
    Branch { branch: String, why: String },
    #[error("`{tag}` is no name of a tag: {why}")]
    Tag { tag: String, why: String },
    #[error("`{commit}` is no commit id: give all 40 digits, as `git rev-parse HEAD` prints them")]
    CommitId { commit: String },
    #[error("`verify` cannot be followed: {why} [TG0810]")]
    Rules { why: String },
    #[error("the token for `{url}` cannot be had: {why}")]
    Token { url: String, why: String },
    #[error("`{subfolder}` is no folder of a repository: {why}")]
    Subfolder { subfolder: String, why: String },
    #[error("`{url}` cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    #[error(
        "`{url}` belongs to another user than this process, and git refuses to read it: change its owner, or serve it over ssh or https"
    )]
    Owner { url: String },
    #[error("`{url}` has no commit yet: push one to `{branch}`")]
    Empty { url: String, branch: String },
    #[error("`{url}` has no branch `{branch}`: it has {known}")]
    NoBranch { url: String, branch: String, known: String },
    #[error("`{url}` has no tag `{tag}`: it has {known}")]
    NoTag { url: String, tag: String, known: String },
    #[error("`{url}` has no commit {commit} on any branch or tag")]
    NoCommit { url: String, commit: String },
    #[error("the bundle `{path}` cannot be written: {why}")]
    Bundle { path: String, why: String },
    #[error("commit {commit} is not taken: {doubt}")]
    Unverified { commit: String, doubt: Doubt },
    #[error("commit {commit} has no folder `{subfolder}`: name one that it has, or none for the whole repository")]
    NoSubfolder { commit: String, subfolder: String },
    #[error("`{path}` in commit {commit} cannot be part of a revision: {why}")]
    Refused { commit: String, path: String, why: String },
    #[error(
        "the branch was rewound: {candidate} does not descend from the active commit {active}: push a commit on top of the active one, or allow rewinds for this source if the new history is meant"
    )]
    Rewind { active: String, candidate: String },
    #[error("git did not {what} within {limit_ms} ms and was stopped")]
    Timeout { what: &'static str, limit_ms: u64 },
    #[error("`{url}` is too large: {what}: keep policies in a repository of their own")]
    TooLarge { url: String, what: String },
    #[error("the mirror `{path}` cannot be used: {why}")]
    Mirror { path: String, why: String },
    #[error("the mirror `{path}` is damaged: {why}: the next fetch makes it anew")]
    Damaged { path: String, why: String },
    #[error("commit `{commit}` is not in the mirror: only a commit that was fetched can be accepted")]
    UnknownCommit { commit: String },
}

impl GitError {
    /// True where asking again may help though the branch has not moved; false where only another commit or another
    /// setting helps.
    pub fn is_passing(&self) -> bool {
        match self {
            GitError::Program { .. }
            | GitError::Unreachable { .. }
            | GitError::Owner { .. }
            | GitError::Empty { .. }
            | GitError::NoBranch { .. }
            | GitError::NoTag { .. }
            | GitError::NoCommit { .. }
            | GitError::Token { .. }
            | GitError::Bundle { .. }
            | GitError::Timeout { .. }
            | GitError::Mirror { .. }
            | GitError::Damaged { .. } => true,
            GitError::Address { .. }
            | GitError::Branch { .. }
            | GitError::Tag { .. }
            | GitError::CommitId { .. }
            | GitError::Rules { .. }
            | GitError::Subfolder { .. }
            | GitError::NoSubfolder { .. }
            | GitError::Refused { .. }
            | GitError::Rewind { .. }
            | GitError::TooLarge { .. }
            | GitError::UnknownCommit { .. } => false,
            GitError::Unverified { doubt, .. } => doubt.may_pass(),
        }
    }
}

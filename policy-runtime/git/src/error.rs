//! What can go wrong between a git host and a tree, each with what to do about it.

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
            | GitError::Timeout { .. }
            | GitError::Mirror { .. }
            | GitError::Damaged { .. } => true,
            GitError::Address { .. }
            | GitError::Branch { .. }
            | GitError::Subfolder { .. }
            | GitError::NoSubfolder { .. }
            | GitError::Refused { .. }
            | GitError::Rewind { .. }
            | GitError::TooLarge { .. }
            | GitError::UnknownCommit { .. } => false,
        }
    }
}

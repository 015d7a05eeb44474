//! Turns a branch of a git repository into trees of policies.
//!
//! The program `git` fetches into a bare mirror of our own, so credentials, proxies and ssh work as they do in a shell.
//! libgit2 reads the mirror; nothing is ever checked out, and nothing that the repository holds is ever run.
#![deny(unsafe_code)]

mod address;
mod bundle;
mod error;
mod fetch;
mod follow;
mod library;
mod mirror;
mod program;
mod read;
mod revision;
mod signature;
mod signers;
mod source;
mod tip;
mod verify;

pub use error::GitError;
pub use follow::Follow;
pub use program::Token;
pub use read::Commit;
pub use signers::Signers;
pub use source::{GitOptions, GitSource, open};
pub use verify::{Doubt, Folder, Rules, Verification, What};

//! Turns a branch of a git repository into trees of policies.
//!
//! The program `git` fetches into a bare mirror of our own, so credentials, proxies and ssh work as they do in a shell.
//! libgit2 reads the mirror; nothing is ever checked out, and nothing that the repository holds is ever run.
#![deny(unsafe_code)]

mod address;
mod error;
mod library;
mod mirror;
mod program;
mod read;
mod revision;
mod source;

pub use error::GitError;
pub use read::Commit;
pub use source::{GitOptions, GitSource, open};

//! Settles libgit2 for this process, once, before it is used: no host configuration, no ownership check.
//!
//! The one file of this crate with `unsafe`: the setters change global state of a C library.
#![expect(unsafe_code, reason = "the setters of libgit2's process-wide options are unsafe functions")]

use std::sync::OnceLock;

use git2::{ConfigLevel, opts};

/// Must be called before any other use of libgit2 here. Later calls do nothing.
pub(crate) fn prepare() -> Result<(), String> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    DONE.get_or_init(settle).clone()
}

fn settle() -> Result<(), String> {
    for level in [ConfigLevel::ProgramData, ConfigLevel::System, ConfigLevel::XDG, ConfigLevel::Global] {
        // SAFETY: `OnceLock` lets one thread in, and every use of libgit2 in this crate comes after `prepare`.
        // Why: `/etc/gitconfig` and `~/.gitconfig` must not change how policies are read.
        unsafe { opts::set_search_path(level, "") }.map_err(|why| why.message().to_owned())?;
    }
    // SAFETY: as above.
    // Why: in containers the mirror often lies on a volume of another user. The switch is one for the process, so local
    // repositories are looked at without the check too; reading a ref runs nothing. The program `git`, which fetches,
    // keeps its own check of them.
    unsafe { opts::set_verify_owner_validation(false) }.map_err(|why| why.message().to_owned())
}

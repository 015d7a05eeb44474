//! The signatures and the token that the config asks for, as the git source takes them.

use std::path::Path;
use std::sync::Arc;

use tollgate_policy_git::{Folder, Follow, Rules, Signers, Token, Verification, What};

use crate::cli::Ended;
use crate::config::Policies;
use crate::config::secret::Secret;
use crate::config::verify::{self, Lines, Verify};

/// A list of signers is not larger.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// What is followed; `branch` where the config says nothing.
pub fn follow(policies: &Policies, branch: &str) -> Result<Follow, Ended> {
    match (&policies.branch, &policies.tag, &policies.commit) {
        (set, None, None) => Ok(Follow::Branch(set.as_deref().unwrap_or(branch).to_owned())),
        (None, Some(tag), None) => Ok(Follow::Tag(tag.to_string())),
        (None, None, Some(commit)) => Ok(Follow::Commit(commit.to_string())),
        _ => Err(Ended::usage("policies: give one of `branch`, `tag` and `commit`, not several".to_owned())),
    }
}

/// Whether signatures are required, and of whom.
pub fn verification(policies: &Policies) -> Result<Verification, Ended> {
    let Some(config) = &policies.verify else { return Ok(Verification::Off) };
    let rules = rules(config).map_err(|why| Ended::usage(format!("policies.verify: {why} [TG0810]")))?;
    Ok(Verification::On(Arc::new(rules)))
}

fn rules(config: &Verify) -> Result<Rules, String> {
    let allowed = text(&config.signers).map_err(|why| format!("signers: {why}"))?;
    let revoked = config.revoked.as_ref().map_or(Ok(String::new()), text).map_err(|why| format!("revoked: {why}"))?;
    let rules = Rules {
        what: match config.what {
            verify::What::Commit => What::Commit,
            verify::What::Tag => What::Tag,
            verify::What::Range => What::Range,
        },
        signers: Signers::parse(&allowed, &revoked).map_err(|why| format!("signers: {why}"))?,
        approvals: config.approvals.get(),
        since: config.since.as_ref().map(|since| since.0.clone()),
        max_age_ms: config
            .max_age_h
            .map(|hours| i64::try_from(hours.get()).unwrap_or(i64::MAX).saturating_mul(3_600_000)),
        folders: config.folders.iter().map(folder).collect::<Result<_, _>>()?,
    };
    rules.check().map(|()| rules)
}

fn folder(config: &verify::Folder) -> Result<Folder, String> {
    let path = config.path.trim_end_matches('/');
    match path.is_empty() || path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        true => Err(format!("folders: `{}` is no folder: write it like `orgs/acme`", config.path)),
        false => Ok(Folder { path: path.to_owned(), signers: config.signers.iter().cloned().collect() }),
    }
}

fn text(lines: &Lines) -> Result<String, String> {
    match lines {
        Lines::List(lines) => Ok(lines.join("\n")),
        Lines::File(path) => read(path).map_err(|why| format!("cannot read `{}`: {why}", path.display())),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::metadata(path).map_err(|why| why.to_string())?.len();
    if bytes > LIST_BYTES_MAX {
        return Err(format!("it has {bytes} bytes, at most {LIST_BYTES_MAX} are read"));
    }
    std::fs::read_to_string(path).map_err(|why| why.to_string())
}

/// The token of an https host, read anew before each use.
pub fn token(secret: &Secret) -> Token {
    let source = secret.source();
    Token::new(move || source.read().map(|secret| secret.text().to_owned()))
}

//! `policies.verify`: whose signatures count. A table that is there is whole, or the gateway does not start.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::Text;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    pub what: What,
    /// git's `allowed_signers`: a file, or its lines.
    pub signers: Lines,
    /// Keys or fingerprints that are trusted no longer.
    #[serde(default, deserialize_with = "given")]
    pub revoked: Option<Lines>,
    /// So many different signers must vouch for the newest commit.
    #[serde(default = "one")]
    pub approvals: NonZeroUsize,
    /// A commit that is known to be good: nothing below it is taken, a range begins there.
    #[serde(default, deserialize_with = "given")]
    pub since: Option<Text>,
    /// A newest commit that is older is not taken.
    #[serde(default, deserialize_with = "given")]
    pub max_age_h: Option<NonZeroU64>,
    #[serde(default)]
    pub folders: Vec<Folder>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    Commit,
    Tag,
    Range,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "the path of a file, or a list of lines")]
pub enum Lines {
    List(Vec<String>),
    File(PathBuf),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    pub path: String,
    pub signers: Vec<String>,
}

/// A key that is written has a value: `verify:` alone must not mean that nothing is verified.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

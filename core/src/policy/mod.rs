//! What a policy may see, what it may answer, and how many answers become one.
//!
//! Engines live elsewhere (`policy-runtime`); this module knows no language.

pub mod effect;
pub mod facts;
mod groups;
pub mod parse;
pub mod revision;
pub mod schema;
pub mod terms;
pub mod tree;
pub mod verdict;

use serde::{Deserialize, Serialize};

/// Where policies are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    PreAuth,
    PreRoute,
    PostResponse,
}

impl Hook {
    pub const ALL: [Hook; 3] = [Hook::PreAuth, Hook::PreRoute, Hook::PostResponse];

    /// The name in manifests and receipts.
    pub fn name(self) -> &'static str {
        match self {
            Hook::PreAuth => "pre-auth",
            Hook::PreRoute => "pre-route",
            Hook::PostResponse => "post-response",
        }
    }

    /// The name of a function that answers at this hook, in languages without dashes.
    pub fn function(self) -> &'static str {
        match self {
            Hook::PreAuth => "pre_auth",
            Hook::PreRoute => "pre_route",
            Hook::PostResponse => "post_response",
        }
    }
}

/// How much a policy's decision counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Not asked.
    Off,
    /// Asked and recorded; acts only in the shadow result.
    Observe,
    /// As `observe`, and the caller is told in a header.
    Warn,
    /// Acts.
    Enforce,
}

/// What happens when a policy errs, traps or exceeds its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The call is refused.
    Deny,
    /// The policy counts as absent.
    Skip,
    /// The policy counts as absent, and the answer says so in `tollgate-degraded`.
    Degrade,
}

//! A place in a file of the policy repository.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The line that said it: `policies/tiers/policy.rhai:12:5`. The revision is known from the receipt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct At {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            // The whole file: no line is to blame, or none is known.
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

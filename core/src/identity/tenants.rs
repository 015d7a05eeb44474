//! `tenants.yaml`: tenants and apps, keys (hashes only), and grants: rows that say who may use what.

use std::collections::HashMap;
use std::sync::Arc;

use crate::contract::Operation;
use crate::contract::glob::Glob;
use crate::routing::catalog::Target;

/// The table of a revision. Without one (`present: false`), the zero-config mode: one key, everything allowed.
#[derive(Debug, Default)]
pub struct Tenants {
    pub present: bool,
    pub tenants: HashMap<Arc<str>, Tenant>,
    pub keys: HashMap<Arc<str>, Arc<KeyRecord>>,
    pub grants: Vec<Grant>,
}

#[derive(Debug, Clone, Default)]
pub struct Tenant {
    pub region: Arc<str>,
    /// Names of apps; empty = any.
    pub apps: Vec<Arc<str>>,
    /// The apps of each team.
    pub teams: HashMap<Arc<str>, Vec<Arc<str>>>,
}

/// What is known of a key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyRecord {
    pub id: Arc<str>,
    pub hash: [u8; 32],
    pub tenant: Arc<str>,
    /// Empty = the caller may say it.
    pub app: Arc<str>,
    /// Empty = the caller may say it.
    pub user: Arc<str>,
    pub groups: Vec<Arc<str>>,
    /// May the caller assert tenant and app itself (a trusted platform in front)?
    pub may_assert: bool,
    /// Milliseconds since 1970; `None` = no end.
    pub expires_ms: Option<i64>,
    /// The contract version on the day the key was made.
    pub version: Option<Arc<str>>,
}

/// One row: whom it speaks of, and what they may use. An empty list of the second kind admits all.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// `tenants.yaml:12`, for messages.
    pub line: u32,
    pub tenant: Vec<Glob>,
    pub app: Vec<Glob>,
    pub use_case: Vec<Glob>,
    pub operations: Vec<Operation>,
    pub models: Vec<Glob>,
    pub families: Vec<Glob>,
    pub tiers: Vec<Glob>,
    pub providers: Vec<Glob>,
    pub regions: Vec<Glob>,
    /// Admits calls with parts that no policy can read: files, sound, pictures, the calls of a batch.
    pub uninspected: bool,
}

impl Grant {
    pub fn speaks_of(&self, tenant: &str, app: &str, use_case: &str) -> bool {
        Glob::any(&self.tenant, tenant) && Glob::any(&self.app, app) && Glob::any(&self.use_case, use_case)
    }

    pub fn admits_operation(&self, operation: Operation) -> bool {
        self.operations.is_empty() || self.operations.contains(&operation)
    }

    /// A model may be granted by its name or by the target's id.
    pub fn admits(&self, target: &Target) -> bool {
        (Glob::any(&self.models, &target.model) || Glob::any(&self.models, &target.id))
            && Glob::any(&self.families, &target.family)
            && Glob::any(&self.tiers, &target.tier)
            && Glob::any(&self.providers, &target.provider)
            && Glob::any(&self.regions, &target.region)
    }
}

impl Tenants {
    /// The rows that apply to a caller: united, they are what it may use. No row = nothing.
    pub fn rows<'a>(&'a self, tenant: &'a str, app: &'a str, use_case: &'a str) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().filter(move |row| row.speaks_of(tenant, app, use_case))
    }

    /// May this caller use this target for this operation?
    pub fn grants(&self, tenant: &str, app: &str, use_case: &str, operation: Operation, target: &Target) -> bool {
        !self.present
            || self.rows(tenant, app, use_case).any(|row| row.admits_operation(operation) && row.admits(target))
    }
}

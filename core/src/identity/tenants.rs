//! `tenants.yaml`: tenants and apps, keys (hashes only), and grants: rows that say who may use what.

use std::collections::HashMap;
use std::sync::Arc;

use super::record::KeyRecord;
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
    pub tools: Vec<Glob>,
    pub modalities: Vec<Modality>,
    /// By name; a call that states none is of none of them.
    pub data_classes: Vec<Arc<str>>,
    /// Ceilings of one call.
    pub max_tokens: Option<u64>,
    pub max_cost_nanousd: Option<i64>,
}

/// What a prompt is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modality {
    Text,
    Image,
    Audio,
}

impl Modality {
    pub const ALL: [Modality; 3] = [Modality::Text, Modality::Image, Modality::Audio];

    pub fn name(self) -> &'static str {
        match self {
            Modality::Text => "text",
            Modality::Image => "image",
            Modality::Audio => "audio",
        }
    }
}

impl Grant {
    pub fn speaks_of(&self, tenant: &str, app: &str, use_case: &str) -> bool {
        Glob::any(&self.tenant, tenant) && Glob::any(&self.app, app) && Glob::any(&self.use_case, use_case)
    }

    pub fn admits_operation(&self, operation: Operation) -> bool {
        self.operations.is_empty() || self.operations.contains(&operation)
    }

    pub fn admits_data_class(&self, class: &str) -> bool {
        self.data_classes.is_empty() || self.data_classes.iter().any(|known| **known == *class)
    }

    pub fn admits_modality(&self, modality: Modality) -> bool {
        self.modalities.is_empty() || self.modalities.contains(&modality)
    }

    pub fn admits_tool(&self, tool: &str) -> bool {
        Glob::any(&self.tools, tool)
    }

    /// Must the prompt be read to know whether it is admitted?
    pub fn reads_prompt(&self) -> bool {
        !self.tools.is_empty() || !self.modalities.is_empty()
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
    pub fn rows<'r, 'a>(
        &'r self,
        tenant: &'a str,
        app: &'a str,
        use_case: &'a str,
    ) -> impl Iterator<Item = &'r Grant> + use<'r, 'a> {
        self.grants.iter().filter(move |row| row.speaks_of(tenant, app, use_case))
    }

    /// May this caller use this target for this operation?
    pub fn grants(&self, tenant: &str, app: &str, use_case: &str, operation: Operation, target: &Target) -> bool {
        !self.present
            || self.rows(tenant, app, use_case).any(|row| row.admits_operation(operation) && row.admits(target))
    }
}

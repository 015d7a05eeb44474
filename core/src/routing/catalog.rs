//! The table of targets: provider + model + region, with tier, family, features and dated prices.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::contract::Operation;
use crate::limits::money::Price;

/// One concrete place that can answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// `provider/model`, or `provider/model@region` where a provider has the model in several.
    pub id: Arc<str>,
    pub provider: Arc<str>,
    /// The model as callers and policies name it.
    pub model: Arc<str>,
    /// The model as the provider names it.
    pub upstream_model: Arc<str>,
    pub family: Arc<str>,
    pub tier: Arc<str>,
    pub region: Arc<str>,
    pub operations: Vec<Operation>,
    /// What the model can do; absent (`None`) = not known, so nothing is refused for it.
    pub features: Option<BTreeSet<Feature>>,
    /// Tokens of prompt and answer together.
    pub context_tokens: Option<u64>,
    pub output_tokens_max: Option<u64>,
    pub price: Option<PriceRow>,
}

/// A price with where and when it was taken. A price is a claim with a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRow {
    #[serde(flatten)]
    pub price: Price,
    pub as_of: Arc<str>,
    pub source: Arc<str>,
    /// The target has no price: this is the dearest one it could have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
}

/// What a call may need of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    Tools,
    ParallelTools,
    Vision,
    AudioInput,
    JsonSchema,
    Reasoning,
}

impl Feature {
    pub const ALL: [Feature; 6] = [
        Feature::Tools,
        Feature::ParallelTools,
        Feature::Vision,
        Feature::AudioInput,
        Feature::JsonSchema,
        Feature::Reasoning,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Feature::Tools => "tools",
            Feature::ParallelTools => "parallel_tools",
            Feature::Vision => "vision",
            Feature::AudioInput => "audio_input",
            Feature::JsonSchema => "json_schema",
            Feature::Reasoning => "reasoning",
        }
    }
}

/// Asked several times a call. Its keys are those of policy authors, so a quick hash does.
type Index<T> = HashMap<Arc<str>, T, RandomState>;

/// All targets of a revision with the ways they are looked up. The order is the catalog's: it breaks ties.
#[derive(Debug, Default)]
pub struct Catalog {
    targets: Vec<Arc<Target>>,
    by_id: Index<usize>,
    by_model: Index<Vec<usize>>,
    by_tier: Index<Vec<usize>>,
    by_family: Index<Vec<usize>>,
    aliases: BTreeMap<Arc<str>, Arc<str>>,
}

impl Catalog {
    /// Later targets of the same id replace earlier ones in place.
    pub fn new(targets: impl IntoIterator<Item = Target>, aliases: BTreeMap<Arc<str>, Arc<str>>) -> Self {
        let mut catalog = Catalog { aliases, ..Catalog::default() };
        for target in targets {
            match catalog.by_id.get(&target.id) {
                Some(&at) => catalog.targets[at] = Arc::new(target),
                None => {
                    catalog.by_id.insert(target.id.clone(), catalog.targets.len());
                    catalog.targets.push(Arc::new(target));
                }
            }
        }
        for (at, target) in catalog.targets.iter().enumerate() {
            catalog.by_model.entry(target.model.clone()).or_default().push(at);
            catalog.by_tier.entry(target.tier.clone()).or_default().push(at);
            catalog.by_family.entry(target.family.clone()).or_default().push(at);
        }
        catalog
    }

    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// By id (`openai/gpt-4o-mini`), through aliases.
    pub fn target(&self, id: &str) -> Option<&Arc<Target>> {
        self.by_id.get(self.unalias(id)).map(|at| &self.targets[*at])
    }

    pub fn of_model<'a>(&'a self, model: &str) -> impl Iterator<Item = &'a Arc<Target>> + use<'a> {
        let real = self.aliases.get(model).map_or(model, |real| real);
        self.picked(&self.by_model, real)
    }

    pub fn of_tier<'a>(&'a self, tier: &str) -> impl Iterator<Item = &'a Arc<Target>> + use<'a> {
        self.picked(&self.by_tier, tier)
    }

    pub fn of_family<'a>(&'a self, family: &str) -> impl Iterator<Item = &'a Arc<Target>> + use<'a> {
        self.picked(&self.by_family, family)
    }

    pub fn has_tier(&self, tier: &str) -> bool {
        self.by_tier.contains_key(tier)
    }

    pub fn has_family(&self, family: &str) -> bool {
        self.by_family.contains_key(family)
    }

    /// All names that a caller could have meant, for the nearest one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.targets
            .iter()
            .map(|t| &*t.model)
            .chain(self.by_id.keys().map(|k| &**k))
            .chain(self.aliases.keys().map(|k| &**k))
    }

    fn unalias<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.get(name).map_or(name, |real| real)
    }

    fn picked<'a>(
        &'a self,
        index: &'a Index<Vec<usize>>,
        name: &str,
    ) -> impl Iterator<Item = &'a Arc<Target>> + use<'a> {
        index.get(name).into_iter().flatten().map(|at| &self.targets[*at])
    }
}

/// A provider as it is, for calls that name no model.
pub fn whole(provider: &str) -> Target {
    Target { id: provider.into(), ..unlisted(provider, "") }
}

/// A target for a model that no catalog lists, at a provider that takes any: nothing is known of it, its price included.
pub fn unlisted(provider: &str, model: &str) -> Target {
    Target {
        id: format!("{provider}/{model}").into(),
        provider: provider.into(),
        model: model.into(),
        upstream_model: model.into(),
        family: "".into(),
        tier: "".into(),
        region: "".into(),
        operations: Operation::ALL.to_vec(),
        features: None,
        context_tokens: None,
        output_tokens_max: None,
        price: None,
    }
}

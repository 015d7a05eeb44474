//! `catalog/*.yaml`: providers, models, tiers, regions, features and prices; the repository's rows over the built-in ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tollgate_core::contract::{Operation, nearest};
use tollgate_core::policy::tree::Tree;
use tollgate_core::routing::catalog::{Catalog, Feature, PriceRow, Target};

use super::price::price;
use crate::diagnostic::Diagnostic;
use crate::reading::{Reading, TABLES};
use crate::yaml::{Node, Place};

/// No catalog has more rows.
const ROWS_MAX: usize = 20_000;
/// No alias leads further than this.
const ALIAS_STEPS_MAX: usize = 8;

const KEYS: [&str; 11] = [
    "provider",
    "model",
    "upstream_model",
    "family",
    "tier",
    "region",
    "operations",
    "features",
    "context_tokens",
    "output_tokens_max",
    "price",
];

/// Provider, model, region: what makes a row the same row.
type RowKey = (Arc<str>, Arc<str>, Arc<str>);

#[derive(Default)]
struct Rows {
    rows: Vec<Target>,
    at: HashMap<RowKey, usize>,
    aliases: BTreeMap<Arc<str>, Alias>,
}

struct Alias {
    to: Arc<str>,
    file: String,
    at: Place,
}

/// Reads all files of `tree` over all files of `builtin`.
pub fn read(tree: &Tree, builtin: &Tree, findings: &mut Vec<Diagnostic>) -> Catalog {
    let mut rows = Rows::default();
    let own = tree.id == builtin.id;
    for (tree, prefix) in [(builtin, "std/"), (tree, "")].iter().skip(usize::from(own)) {
        let mut of_layer = Rows::default();
        for (path, bytes) in tree.below("catalog").filter(|(path, _)| path.ends_with(".yaml")) {
            let shown = format!("{prefix}{path}");
            let reading = Reading::of(&shown, TABLES);
            if let Some(node) = reading.parse(bytes) {
                file(&reading, &node, &mut of_layer);
            }
            findings.extend(reading.findings());
        }
        rows.lay(of_layer);
    }
    rows.catalog(findings)
}

impl Rows {
    /// Rows of a higher layer replace those of the same provider, model and region.
    fn lay(&mut self, over: Rows) {
        for row in over.rows {
            let key = key(&row);
            match self.at.get(&key) {
                Some(at) => self.rows[*at] = row,
                None => {
                    self.at.insert(key, self.rows.len());
                    self.rows.push(row);
                }
            }
        }
        self.aliases.extend(over.aliases);
    }

    fn catalog(mut self, findings: &mut Vec<Diagnostic>) -> Catalog {
        let mut regions: HashMap<(Arc<str>, Arc<str>), usize> = HashMap::new();
        for row in &self.rows {
            *regions.entry((row.provider.clone(), row.model.clone())).or_default() += 1;
        }
        for row in &mut self.rows {
            let several = regions[&(row.provider.clone(), row.model.clone())] > 1;
            row.id = match several && !row.region.is_empty() {
                true => format!("{}/{}@{}", row.provider, row.model, row.region).into(),
                false => format!("{}/{}", row.provider, row.model).into(),
            };
        }
        let names: BTreeSet<Arc<str>> = self.rows.iter().flat_map(|r| [r.id.clone(), r.model.clone()]).collect();
        let mut aliases = BTreeMap::new();
        for (name, alias) in &self.aliases {
            match resolve(alias, &self.aliases, &names) {
                Ok(to) => {
                    aliases.insert(name.clone(), to);
                }
                Err(why) => findings.push(
                    Diagnostic::error("TG0213", &alias.file, format!("the alias `{name}` {why}"))
                        .at(alias.at.line, alias.at.column)
                        .over(alias.at.length),
                ),
            }
        }
        Catalog::new(self.rows, aliases)
    }
}

/// Where an alias leads in the end: the core looks up one step only.
fn resolve(alias: &Alias, all: &BTreeMap<Arc<str>, Alias>, names: &BTreeSet<Arc<str>>) -> Result<Arc<str>, String> {
    let mut to = &alias.to;
    for _ in 0..ALIAS_STEPS_MAX {
        match all.get(to) {
            Some(next) => to = &next.to,
            None if names.contains(to) => return Ok(to.clone()),
            None => {
                let hint = nearest::hint(to, names.iter().map(|n| &**n).chain(all.keys().map(|n| &**n)));
                return Err(format!("leads to `{to}`, which no catalog lists{hint}"));
            }
        }
    }
    Err(format!("leads in a circle or over more than {ALIAS_STEPS_MAX} steps"))
}

fn key(row: &Target) -> RowKey {
    (row.provider.clone(), row.model.clone(), row.region.clone())
}

fn file(reading: &Reading<'_>, node: &Node, rows: &mut Rows) {
    let Some(table) = reading.table(node, "a catalog", &["as_of", "source", "aliases", "models"]) else { return };
    let as_of = table.name("as_of").unwrap_or_default();
    let source = table.name("source").unwrap_or_default();
    if let Some(aliases) = table.get("aliases").and_then(|v| reading.open_table(v, "`aliases`")) {
        for (name, to) in aliases.members {
            let Some(text) = reading.text(to, &format!("the alias `{}`", name.text)) else { continue };
            let alias = Alias { to: text.into(), file: reading.file.to_owned(), at: to.at };
            rows.aliases.insert(name.text.as_str().into(), alias);
        }
    }
    let models = table.get("models").map_or(&[][..], |v| reading.list(v, "`models`"));
    for node in models {
        let Some(row) = row(reading, node, &as_of, &source) else { continue };
        let key = key(&row);
        if rows.at.contains_key(&key) {
            let region = if row.region.is_empty() { String::new() } else { format!(" in `{}`", row.region) };
            let message = format!("`{}/{}`{region} is there twice", row.provider, row.model);
            reading.tell_help("TG0212", node.at, message, "rows differ in provider, model or region");
        } else if rows.rows.len() == ROWS_MAX {
            reading.tell("TG0206", node.at, format!("a catalog has at most {ROWS_MAX} rows"));
            return;
        } else {
            rows.at.insert(key, rows.rows.len());
            rows.rows.push(row);
        }
    }
}

fn row(reading: &Reading<'_>, node: &Node, as_of: &Arc<str>, source: &Arc<str>) -> Option<Target> {
    let table = reading.table(node, "a model", &KEYS)?;
    let need = |key: &str, help: &str| table.need(key, help).and_then(|_| table.name(key));
    let provider = need("provider", "the provider's name in `tollgate.yaml`");
    let model = need("model", "the model as callers and policies name it");
    let family = need("family", "models that can stand in for one another, like `gpt` or `claude`");
    let tier = need("tier", "the quality that callers can ask for, like `high`, `standard` or `cheap`");
    table.need("operations", "`[chat]`, `[embeddings]` or both");
    let operations = table.picks("operations", &Operation::ALL.map(|o| (o.name(), o)));
    let features = table.get("features").map(|_| {
        let known = Feature::ALL.map(|f| (f.name(), f));
        table.picks("features", &known).into_iter().collect()
    });
    let count = |key: &str| table.whole(key, 1, i64::MAX).and_then(|n| u64::try_from(n).ok());
    let price = table.get("price").and_then(|v| price(reading, v, &operations));
    if let (Some(node), true) = (table.get("price"), as_of.is_empty() || source.is_empty()) {
        let help = "a price is a claim with a date: write `as_of` and `source` at the top of the file";
        reading.tell_help("TG0211", node.at, "a price without `as_of` and `source`", help);
    }
    let (provider, model) = (provider?, model?);
    if provider.contains(['/', '@']) {
        let at = table.get("provider").map_or(table.at, |v| v.at);
        reading.tell("TG0206", at, format!("`{provider}`: a provider's name has no `/` and no `@`"));
        return None;
    }
    Some(Target {
        id: "".into(),
        upstream_model: table.name("upstream_model").unwrap_or_else(|| model.clone()),
        family: family?,
        tier: tier?,
        region: table.name("region").unwrap_or_default(),
        operations,
        features,
        context_tokens: count("context_tokens"),
        output_tokens_max: count("output_tokens_max"),
        price: price.map(|price| PriceRow { price, as_of: as_of.clone(), source: source.clone(), assumed: false }),
        provider,
        model,
    })
}

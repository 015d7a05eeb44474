//! `tollgate models`: the catalog as calls would meet it, with what each target costs and where that is known from.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tollgate_core::limits::money::{Price, Rates};
use tollgate_core::routing::catalog::{PriceRow, Target};

use super::{Ended, Places, diagnostics};
use crate::policies::{self, Checkout};
use crate::{start, upstreams};

#[derive(Args)]
pub struct Models {
    /// Only targets of this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Only targets of this family, like `gpt` or `claude`
    #[arg(long, value_name = "NAME")]
    family: Option<String>,
    /// Only targets of this tier
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// Only targets whose provider is configured here
    #[arg(long)]
    configured: bool,
    #[command(flatten)]
    places: Places,
    /// One JSON object with all that is known
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Models) -> Result<(), Ended> {
    let config = start::config(&args.places)?;
    let (providers, sim) = upstreams::configured(&config)?;
    let mut served: BTreeSet<String> = providers.iter().map(|p| p.name.to_string()).collect();
    if sim {
        served.insert(tollgate_providers::sim::NAME.to_owned());
    }
    let repository = policies::once(&config, &args.places, Checkout::Files)?;
    let builtin = policies::builtin();
    let loaded = repository.load(&builtin);
    let Some(revision) = loaded.revision else {
        diagnostics::print(&loaded.findings, &[&repository.tree, &builtin]);
        return Err(Ended::failed("the policies do not load, so there is no catalog"));
    };
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    let wanted = |target: &&Arc<Target>| {
        is(&args.provider, &target.provider)
            && is(&args.family, &target.family)
            && is(&args.tier, &target.tier)
            && (!args.configured || served.contains(&*target.provider))
    };
    let targets: Vec<&Arc<Target>> = revision.catalog.targets().iter().filter(wanted).collect();
    if args.json {
        let rows: Vec<Value> = targets.iter().map(|t| told(t, served.contains(&*t.provider))).collect();
        println!("{}", json!({ "revision": repository.tree.id, "models": rows }));
        return Ok(());
    }
    print!("{}", table(&targets, &served));
    println!("{} targets of {}", targets.len(), repository.described);
    Ok(())
}

fn told(target: &Target, configured: bool) -> Value {
    json!({
        "id": target.id,
        "provider": target.provider,
        "configured": configured,
        "model": target.model,
        "upstream_model": target.upstream_model,
        "family": target.family,
        "tier": target.tier,
        "region": target.region,
        "operations": target.operations,
        "features": target.features,
        "context_tokens": target.context_tokens,
        "output_tokens_max": target.output_tokens_max,
        "price": target.price.as_ref().map(price_json),
    })
}

/// Prices as catalogs write them: dollars per million tokens, as exact texts.
fn price_json(row: &PriceRow) -> Value {
    let Price { rates, above, search_unit } = &row.price;
    let above: Vec<Value> = above
        .iter()
        .map(|row| {
            let mut told = rates_json(&row.rates);
            told.insert("tokens".to_owned(), row.tokens.into());
            told.into()
        })
        .collect();
    let mut told = rates_json(rates);
    if let Some(rate) = search_unit {
        told.insert("search_unit".to_owned(), Price::usd_per_million(*rate).into());
    }
    if !above.is_empty() {
        told.insert("above".to_owned(), above.into());
    }
    told.insert("as_of".to_owned(), (*row.as_of).into());
    told.insert("source".to_owned(), (*row.source).into());
    told.into()
}

fn rates_json(rates: &Rates) -> serde_json::Map<String, Value> {
    let kinds = [
        ("input", Some(rates.input)),
        ("cached_input", rates.cached_input),
        ("cache_write", rates.cache_write),
        ("cache_write_1h", rates.cache_write_1h),
        ("input_audio", rates.input_audio),
        ("output", Some(rates.output)),
        ("reasoning", rates.reasoning),
        ("output_audio", rates.output_audio),
    ];
    kinds.into_iter().filter_map(|(kind, rate)| Some((kind.to_owned(), Price::usd_per_million(rate?).into()))).collect()
}

/// For people: a line a target; `+` marks prices that rise with long prompts.
fn table(targets: &[&Arc<Target>], served: &BTreeSet<String>) -> String {
    let mut rows = vec![
        [
            "TARGET",
            "",
            "FAMILY",
            "TIER",
            "REGION",
            "FEATURES",
            "CONTEXT",
            "OUTPUT",
            "USD A MILLION: IN",
            "OUT",
            "PRICED",
        ]
        .map(str::to_owned),
    ];
    let count = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    for target in targets {
        let features = match &target.features {
            None => "not known".to_owned(),
            Some(set) if set.is_empty() => "none".to_owned(),
            Some(set) => set.iter().map(|f| f.name()).collect::<Vec<_>>().join(","),
        };
        let (input, output, priced) = match &target.price {
            None => ("unknown".to_owned(), "unknown".to_owned(), String::new()),
            Some(row) => {
                let more = if row.price.above.is_empty() { "" } else { "+" };
                let usd = |rate| format!("{}{more}", Price::usd_per_million(rate));
                let (input, output) = match row.price.search_unit {
                    Some(rate) => (format!("{} (searches)", usd(rate)), "-".to_owned()),
                    None => (usd(row.price.rates.input), usd(row.price.rates.output)),
                };
                (input, output, format!("{}, {}", row.as_of, row.source))
            }
        };
        rows.push([
            target.id.to_string(),
            if served.contains(&*target.provider) { "configured" } else { "-" }.to_owned(),
            target.family.to_string(),
            target.tier.to_string(),
            if target.region.is_empty() { "-" } else { &target.region }.to_owned(),
            features,
            count(target.context_tokens),
            count(target.output_tokens_max),
            input,
            output,
            priced,
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..11).map(width).collect();
    let line = |row: &[String; 11]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

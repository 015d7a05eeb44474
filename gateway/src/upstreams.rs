//! The providers of a config, ready to be called, with their secrets kept fresh.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tollgate_providers::{Auth, Keeping, Provider, Providers, Timers, clouds, known, sim};

use crate::cli::Ended;
use crate::config::{self, Config};

/// Providers whose secrets are read anew from now on, and what was found, for people.
pub async fn kept_fresh(
    config: &Config,
    keeping: &Keeping,
    hangups: watch::Receiver<u64>,
) -> Result<(Arc<Providers>, Vec<String>), Ended> {
    let (providers, found) = providers(config, keeping).await?;
    let providers = Arc::new(providers);
    let kept = providers.clone();
    tokio::spawn(async move { kept.keep(hangups).await });
    Ok((providers, found))
}

/// Providers of the config, else those whose keys the environment holds; and whether a `sim` of our own joins them.
pub fn configured(config: &Config) -> Result<(Vec<Provider>, bool), Ended> {
    let environment = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let Some(table) = &config.providers else { return Ok((tollgate_providers::found(&environment), true)) };
    let mut list = Vec::new();
    let mut wants_sim = false;
    for (name, section) in table {
        wants_sim |= name == sim::NAME && section.base_url.is_none();
        if name != sim::NAME || section.base_url.is_some() {
            let provider = provider(name, section, &environment)?;
            provider.address().map_err(|why| Ended::usage(format!("providers: {why}")))?;
            list.push(provider);
        }
    }
    Ok((list, wants_sim))
}

/// All providers, ready to be called, with what was found, for people.
pub async fn providers(config: &Config, keeping: &Keeping) -> Result<(Providers, Vec<String>), Ended> {
    let (mut list, wants_sim) = configured(config)?;
    if wants_sim {
        list.push(own_sim().await?);
    }
    let found = list.iter().map(|p| p.name.to_string()).collect();
    let (providers, warnings) =
        Providers::new(list, keeping).map_err(|why| Ended::usage(format!("providers: {why}")))?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok((providers, found))
}

fn provider(
    name: &str,
    section: &config::Provider,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Provider, Ended> {
    let mut provider = match (known::named(name, environment), &section.base_url) {
        (Some(known), _) => known,
        // One that runs elsewhere takes the same scripts.
        (None, Some(url)) if name == sim::NAME => sim::provider(url),
        (None, Some(url)) => Provider::at(name, url),
        // Where it is follows from its region.
        (None, None) if section.api.as_deref().is_some_and(|api| clouds::NAMES.contains(&api)) => {
            Provider::at(name, "")
        }
        (None, None) => {
            let names: Vec<&str> = known::names().collect();
            let hint = tollgate_core::contract::nearest::hint(name, names.iter().copied());
            return Err(Ended::usage(format!("provider `{name}` is not a known one{hint}: give it a `base_url`")));
        }
    };
    if let Some(url) = &section.base_url {
        provider.base_url = url.to_string();
    }
    if let Some(kind) = &section.api {
        provider.api = tollgate_providers::api::named(kind).ok_or_else(|| {
            let known: Vec<&str> = tollgate_providers::api::names().collect();
            let hint = tollgate_core::contract::nearest::hint(kind, known.iter().copied());
            let (kind, known) = (&**kind, known.join("`, `"));
            Ended::usage(format!("providers.{name}.api: `{kind}` is no kind of API{hint} (known are `{known}`)"))
        })?;
    }
    if let Some(secret) = &section.secret {
        provider.auth = Auth::Key(secret.sources());
    }
    clouds::complete(&mut provider, &section.settings(), environment)
        .map_err(|why| Ended::usage(format!("providers.{name}: {why}")))?;
    provider.unlisted = section.unlisted.unwrap_or(provider.unlisted);
    provider.default = section.default;
    let ms = |set: Option<std::num::NonZeroU64>, default: u64| set.map_or(default, std::num::NonZeroU64::get);
    provider.timers = Timers {
        connect_ms: ms(section.timers.connect_ms, provider.timers.connect_ms),
        first_byte_ms: ms(section.timers.first_byte_ms, provider.timers.first_byte_ms),
        idle_ms: ms(section.timers.idle_ms, provider.timers.idle_ms),
    };
    Ok(provider)
}

/// The scripted provider on a loopback socket of its own: reached like any other.
async fn own_sim() -> Result<Provider, Ended> {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .map_err(|why| Ended::failed(format!("cannot start the scripted provider: {why}")))?;
    let address = listener.local_addr().map_err(|why| Ended::failed(why.to_string()))?;
    tokio::spawn(sim::serve(listener, sim::SimOptions::default()));
    Ok(sim::provider(&format!("http://{address}/v1")))
}

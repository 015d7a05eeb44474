//! TLS at the listeners that the config says it for.

use std::sync::Arc;

use tokio::sync::watch;
use tollgate_core::pipeline::Core;

use super::holders::Holders;
use super::load::{Loaded, load};
use super::{Door, Side};
use crate::config::Config;
use crate::config::tls::{Client, Tls};
use crate::metrics::Metrics;

/// `None` = plain HTTP.
pub struct Doors {
    pub callers: Option<Arc<Door>>,
    pub operators: Option<Arc<Door>>,
}

impl Doors {
    pub fn open(config: &Config, core: &Arc<Core>, metrics: &Metrics) -> Result<Doors, String> {
        let holders = holders(config)?;
        let open = |side, tls: &Option<Tls>| {
            let open = |tls| Door::open(side, tls, holders.clone(), core.clone(), metrics.tls.clone());
            tls.as_ref().map(open).transpose()
        };
        Ok(Doors {
            callers: open(Side::Callers, &config.listen.tls)?,
            operators: open(Side::Operators, &config.listen.operators_tls)?,
        })
    }

    /// Has their files read anew when they change.
    pub fn watch(&self, hangups: watch::Receiver<u64>) {
        let doors: Vec<Arc<Door>> = self.callers.iter().chain(&self.operators).cloned().collect();
        if !doors.is_empty() {
            tokio::spawn(super::watch::watch(doors, hangups));
        }
    }

    /// How addresses of callers and of operators begin.
    pub fn schemes(&self) -> [&'static str; 2] {
        [&self.callers, &self.operators].map(|door| if door.is_some() { "https" } else { "http" })
    }
}

/// What the files of a listener say.
pub struct Files {
    /// So long its certificate is good.
    pub until_ms: i64,
    /// What operators should know of them.
    pub warnings: Vec<String>,
}

/// The listeners that the config gives certificates to: where each stands there, and what its files say, or is wrong with them.
pub fn read(config: &Config, now_ms: i64) -> Vec<(&'static str, Result<Files, String>)> {
    let listeners = [(Side::Callers, &config.listen.tls), (Side::Operators, &config.listen.operators_tls)];
    let read = |(side, tls): (Side, &Option<Tls>)| {
        let loaded = load(tls.as_ref()?, side.name(), 1, now_ms);
        Some((side.key(), loaded.map(|Loaded { until_ms, warnings, .. }| Files { until_ms, warnings })))
    };
    listeners.into_iter().filter_map(read).collect()
}

/// Whom certificates speak of, where the config says it.
fn holders(config: &Config) -> Result<Option<Arc<Holders>>, String> {
    let Some(section) = &config.identity.certificates else { return Ok(None) };
    let listeners = [&config.listen.tls, &config.listen.operators_tls];
    if listeners.into_iter().flatten().all(|tls| tls.client == Client::Off) {
        return Err(
            "identity.certificates: nobody is asked for a certificate: set `listen.tls.client` to `optional` or \
                    `required`"
                .to_owned(),
        );
    }
    Holders::compile(section).map(|holders| Some(Arc::new(holders)))
}

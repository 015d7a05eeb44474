//! Secrets of providers while the gateway runs: what happens to them is told in log, metrics and alerts.

use std::sync::Arc;

use tollgate_core::identity::key::Pepper;
use tollgate_providers::{Happened, Keeping};

use crate::alerts::Alerts;
use crate::metrics::Metrics;

/// Fingerprints are alike on all gateways that share the pepper.
pub fn keeping(pepper: &Pepper, metrics: Arc<Metrics>, alerts: Arc<Alerts>) -> Keeping {
    let told = move |provider: &str, secret: &str, happened: Happened<'_>| match happened {
        Happened::Changed => {
            metrics.secret(provider, "changed");
            tracing::info!(provider, secret, "a secret was read anew: it is another one now");
        }
        Happened::Unreadable(why) => {
            metrics.secret(provider, "unreadable");
            tracing::warn!(provider, secret, why, "a secret cannot be read: what was read before is used on");
        }
        Happened::Refused(status) => {
            metrics.secret(provider, "refused");
            tracing::warn!(provider, secret, status, "a provider refuses a secret: see `tollgate doctor`");
            alerts.secret_refused(provider, secret, status);
        }
        Happened::Next(next) => {
            metrics.secret(provider, "next_used");
            tracing::warn!(provider, secret, next, "a secret was refused, and the next is used in its place");
        }
    };
    Keeping { key: pepper.hash("fingerprints of secrets"), told: Arc::new(told) }
}

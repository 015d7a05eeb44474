//! What `/metrics` tells. Labels are bounded: never a user, a key, a request or a caller's text.

mod near;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tollgate_core::contract::usage::Usage;
use tollgate_core::evidence::intent::Intent;
use tollgate_core::evidence::receipt::{LimitAlert, Outcome, Receipt};
use tollgate_core::limits::claim::HoldId;
use tollgate_core::policy::verdict::{FailureKind, Outcome as Said};
use tollgate_core::ports::{Later, Trail, Unkept};
use tollgate_store::shared::{Happened, State};

use crate::alerts::Alerts;
use crate::tls;
use near::Near;

/// Upper bounds of the time buckets, in seconds.
const SECONDS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    outcome: &'static str,
    category: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tokens {
    target: Arc<str>,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Target {
    target: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    target: Arc<str>,
    status: Cow<'static, str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decision {
    policy: Arc<str>,
    hook: &'static str,
    mode: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limit {
    rule: Arc<str>,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Secret {
    provider: String,
    event: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Alert {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Load {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Store {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stands {
    state: &'static str,
}

/// All meters of the process.
pub struct Metrics {
    registry: Registry,
    calls: Near<Call, Counter>,
    duration: Near<Operation, Histogram>,
    first_byte: Near<Operation, Histogram>,
    tokens: Near<Tokens, Counter>,
    cost: Near<Target, Counter<u64, AtomicU64>>,
    attempts: Near<Attempt, Counter>,
    decisions: Near<Decision, Counter>,
    loads: Family<Load, Counter>,
    limit_alerts: Family<Limit, Counter>,
    above_hold: Family<Limit, Counter<u64, AtomicU64>>,
    secrets: Family<Secret, Counter>,
    alerts: Family<Alert, Counter>,
    store: Family<Store, Counter>,
    store_state: Family<Stands, Gauge<i64, AtomicI64>>,
    active_since: Gauge<i64, AtomicI64>,
    pub tls: tls::meters::Meters,
    /// Calls under way.
    pub in_flight: Gauge<i64, AtomicI64>,
}

impl Metrics {
    pub fn new() -> Self {
        fn seconds() -> Histogram {
            Histogram::new(SECONDS)
        }
        let mut metrics = Metrics {
            registry: Registry::with_prefix("tollgate"),
            calls: Near::of(Counter::default),
            duration: Near::of(seconds),
            first_byte: Near::of(seconds),
            tokens: Near::of(Counter::default),
            cost: Near::of(Counter::default),
            attempts: Near::of(Counter::default),
            decisions: Near::of(Counter::default),
            loads: Family::default(),
            limit_alerts: Family::default(),
            above_hold: Family::default(),
            secrets: Family::default(),
            alerts: Family::default(),
            store: Family::default(),
            store_state: Family::default(),
            active_since: Gauge::default(),
            tls: Default::default(),
            in_flight: Gauge::default(),
        };
        let r = &mut metrics.registry;
        r.register("calls", "Calls by how they ended", metrics.calls.family());
        r.register_with_unit(
            "call_duration",
            "From arrival to the end of the answer",
            Unit::Seconds,
            metrics.duration.family(),
        );
        r.register_with_unit(
            "first_byte",
            "From arrival to the first byte of the answer",
            Unit::Seconds,
            metrics.first_byte.family(),
        );
        r.register("tokens", "Tokens used, by kind", metrics.tokens.family());
        r.register("cost_nanousd", "Cost in nano-dollars, where the price is known", metrics.cost.family());
        r.register("attempts", "Attempts at targets, by HTTP status or `fault`", metrics.attempts.family());
        r.register("policy_decisions", "What policies decided", metrics.decisions.family());
        r.register("secrets", "What happened to secrets of providers", metrics.secrets.clone());
        r.register("alerts", "Alerts by what became of them", metrics.alerts.clone());
        r.register("policy_loads", "Revisions taken and rejected", metrics.loads.clone());
        r.register(
            "policy_active_since_seconds",
            "When the active revision became active, seconds since 1970",
            metrics.active_since.clone(),
        );
        metrics.tls.register(r);
        r.register("calls_in_flight", "Calls under way", metrics.in_flight.clone());
        metrics.register_limits();
        metrics
    }

    fn register_limits(&mut self) {
        let r = &mut self.registry;
        r.register("limits_alerts", "Steps of ladders passed, and calls above their hold", self.limit_alerts.clone());
        r.register(
            "limits_above_hold",
            "Used above what was held, in the unit of the rule: nano-dollars or tokens",
            self.above_hold.clone(),
        );
        r.register(
            "limits_store",
            "Operations at the store that gateways share limits by: `round_trip` counts all, the others what became of some",
            self.store.clone(),
        );
        r.register("limits_store_state", "1 for how this gateway stands to that store", self.store_state.clone());
    }

    /// The text that `/metrics` answers.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a text cannot fail");
        text
    }

    /// A revision was taken or rejected.
    pub fn loaded(&self, accepted: bool, now_s: i64) {
        self.loads.get_or_create(&Load { result: if accepted { "accepted" } else { "rejected" } }).inc();
        if accepted {
            self.active_since.set(now_s);
        }
    }

    /// Between this gateway and the store that limits are shared by.
    pub fn store_happened(&self, happened: Happened) {
        let result = match happened {
            Happened::RoundTrip => "round_trip",
            Happened::Slow => "slow",
            Happened::Broken => "broken",
            Happened::Unsafe => "unsafe",
            Happened::Fenced => "fenced",
            Happened::Epoch => "epoch",
            Happened::Became(state) => {
                for one in State::ALL {
                    let stands = Stands { state: one.name() };
                    self.store_state.get_or_create(&stands).set(i64::from(one == state));
                }
                return;
            }
        };
        self.store.get_or_create(&Store { result }).inc();
    }

    /// The source of policies gave nothing: it was away, or what it has is not signed as it must be.
    pub fn source_failed(&self, unverified: bool) {
        let result = if unverified { "unverified" } else { "source_failed" };
        self.loads.get_or_create(&Load { result }).inc();
    }

    /// A secret of a provider was read anew, could not be, or was refused.
    pub fn secret(&self, provider: &str, event: &'static str) {
        self.secrets.get_or_create(&Secret { provider: provider.to_owned(), event }).inc();
    }

    /// An alert was queued, sent, tried again, given up, dropped, logged only, or is a repetition.
    pub fn alert_came_to(&self, kind: &'static str, result: &'static str) {
        self.alerts.get_or_create(&Alert { kind, result }).inc();
    }

    /// Tells operators of a limit, in the log and here.
    fn alert(&self, alert: &LimitAlert, receipt: &Receipt) {
        let call = &*receipt.call_id;
        match alert {
            LimitAlert::Passed { rule, at_permille } => {
                let percent = at_permille / 10;
                tracing::warn!(rule = &**rule, percent, call, "a budget passed a step of its ladder");
                self.limit_alerts.get_or_create(&Limit { rule: rule.clone(), kind: "passed" }).inc();
            }
            LimitAlert::AboveHold { rule, held, used } => {
                tracing::warn!(rule = &**rule, held, used, call, "a provider counted more than was held for the call");
                let limit = Limit { rule: rule.clone(), kind: "above_hold" };
                self.above_hold.get_or_create(&limit).inc_by(used.saturating_sub(*held));
                self.limit_alerts.get_or_create(&limit).inc();
            }
        }
    }

    fn used(&self, target: &Arc<str>, usage: &Usage) {
        for (kind, count) in [
            ("input", usage.input),
            ("cached_input", usage.cached_input),
            ("cache_write", usage.cache_write),
            ("cache_write_1h", usage.cache_write_1h),
            ("input_audio", usage.input_audio),
            ("output", usage.output),
            ("reasoning", usage.reasoning),
            ("output_audio", usage.output_audio),
        ] {
            if count > 0 {
                self.tokens.at(&Tokens { target: target.clone(), kind }, by(count));
            }
        }
    }

    fn count(&self, receipt: &Receipt) {
        receipt.limit_alerts.iter().for_each(|alert| self.alert(alert, receipt));
        let operation = receipt.operation.name();
        let (outcome, category) = match &receipt.outcome {
            Outcome::Answered { .. } => ("answered", ""),
            Outcome::Refused { refusal, .. } => ("refused", refusal.category.name()),
            Outcome::ProviderError { refusal, .. } => ("provider_error", refusal.category.name()),
            Outcome::Interrupted { refusal } => ("interrupted", refusal.category.name()),
            Outcome::CallerLeft => ("caller_left", ""),
            Outcome::Unknown { .. } => ("unknown", ""),
        };
        self.calls.at(&Call { operation, outcome, category }, by(1));
        self.duration.at(&Operation { operation }, |times| times.observe(receipt.latency_ms as f64 / 1e3));
        if let Some(ms) = receipt.first_byte_ms {
            self.first_byte.at(&Operation { operation }, |times| times.observe(ms as f64 / 1e3));
        }
        for attempt in &receipt.attempts {
            let status = attempt.status.map_or(Cow::Borrowed("fault"), status);
            self.attempts.at(&Attempt { target: label(receipt, &attempt.target), status }, by(1));
        }
        if let (Some(usage), Some(attempt)) = (receipt.usage, receipt.attempts.last()) {
            let target = label(receipt, &attempt.target);
            self.used(&target, &usage);
            receipt.usage_beside.iter().for_each(|beside| self.used(&target, &beside.usage));
            if let Some(cost) = receipt.cost_nanousd.and_then(|c| u64::try_from(c).ok()) {
                self.cost.at(&Target { target }, by(cost));
            }
        }
        for verdict in receipt.verdicts.iter().filter(|v| v.matched()) {
            let outcome = match &verdict.outcome {
                Said::Decided(effects) if effects.is_empty() => "nothing",
                Said::Decided(effects) if effects.iter().any(|e| e.effect.name() == "deny") => "deny",
                Said::Decided(_) => "effects",
                Said::Failed(failure) if failure.kind == FailureKind::Quarantine => "quarantined",
                Said::Failed(_) => "failed",
                Said::NotMatched(_) => "not_matched",
            };
            let mode = match verdict.mode {
                tollgate_core::policy::Mode::Off => "off",
                tollgate_core::policy::Mode::Observe => "observe",
                tollgate_core::policy::Mode::Warn => "warn",
                tollgate_core::policy::Mode::Enforce => "enforce",
            };
            let policy = verdict.policy.name.clone();
            self.decisions.at(&Decision { policy, hook: verdict.hook.name(), mode, outcome }, by(1));
        }
    }
}

fn by(count: u64) -> impl FnOnce(&Counter) {
    move |counter| {
        counter.inc_by(count);
    }
}

/// The usual ones cost no allocation.
fn status(code: u16) -> Cow<'static, str> {
    match code {
        200 => "200".into(),
        429 => "429".into(),
        500 => "500".into(),
        other => other.to_string().into(),
    }
}

/// Targets of the catalog by their id; models that callers make up share one label.
fn label(receipt: &Receipt, target: &Arc<str>) -> Arc<str> {
    match receipt.price.as_ref().is_some_and(|row| !row.assumed) {
        true => target.clone(),
        false => target.split('/').next().map_or_else(|| "unlisted".into(), |p| format!("{p}/unlisted").into()),
    }
}

/// A trail that counts what goes into it, and tells of alerts.
pub struct Counted {
    pub trail: Arc<dyn Trail>,
    pub metrics: Arc<Metrics>,
    pub alerts: Arc<Alerts>,
}

impl Trail for Counted {
    fn intend<'a>(&'a self, intent: &'a Intent) -> Later<'a, Result<(), Unkept>> {
        self.trail.intend(intent)
    }

    fn lost(&self, id: HoldId, now_ms: i64) {
        self.trail.lost(id, now_ms);
    }

    fn record(&self, receipt: Box<Receipt>) -> Later<'_, ()> {
        self.metrics.count(&receipt);
        self.metrics.in_flight.dec();
        self.alerts.look(&receipt);
        self.trail.record(receipt)
    }
}

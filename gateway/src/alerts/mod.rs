//! Alerts: what policies and limits raise reaches the log, the metrics and, where the config names one, a webhook.
//!
//! The same alert is told once in its period. A call never waits for it: it is put into a bounded queue, or dropped and counted.

mod kept;
mod signed;
mod webhook;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tollgate_core::evidence::receipt::{LimitAlert, Receipt};
use tollgate_core::policy::Mode;
use tollgate_core::policy::effect::{Effect, Severity};
use tollgate_store::keyed::Keyed;

use crate::config;
use crate::metrics::Metrics;
use kept::{Kept, Row};
pub use webhook::address;
use webhook::{Delivery, Message};

/// Alerts that are remembered as told. Beyond, what cannot be remembered is told again.
const SEEN_MAX: usize = 10_000;

/// What raised it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The effect `alert` of a policy that is enforced.
    Policy,
    /// A budget passed a step of its ladder.
    LimitPassed,
    /// A provider counted more than was held.
    AboveHold,
    /// A provider refuses a secret.
    SecretRefused,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Policy => "policy",
            Kind::LimitPassed => "limit_passed",
            Kind::AboveHold => "above_hold",
            Kind::SecretRefused => "secret_refused",
        }
    }
}

/// One alert, before it is known whether it was told already.
struct Raised {
    kind: Kind,
    severity: Severity,
    /// What is the same alert: rule, scope and step, or policy, tenant and words.
    same: String,
    /// When the same is told again; absent = after the config's time.
    until_ms: Option<i64>,
    text: String,
    data: Map<String, Value>,
}

/// Where alerts go.
pub struct Alerts {
    on: Option<Vec<Kind>>,
    repeat_ms: i64,
    seen: Mutex<HashMap<Arc<str>, i64>>,
    kept: Kept,
    delivery: Option<Delivery>,
    metrics: Arc<Metrics>,
    now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Alerts {
    /// Begins to deliver, where there is a webhook, with what waited before a restart. A wrong address is an error; a secret that
    /// is not there is told when it is needed.
    pub fn start(
        config: &config::alerts::Alerts,
        keyed: Arc<Keyed>,
        metrics: Arc<Metrics>,
        now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    ) -> Result<Alerts, String> {
        let webhook = config.webhook.as_ref();
        let (kept, rows) = Kept::open(keyed, now_ms()).map_err(|why| why.to_string())?;
        let seen = rows.iter().map(|row| (row.same.clone(), row.until_ms)).collect();
        let waiting = rows.into_iter().filter_map(Message::again).collect();
        let delivery = webhook.map(|hook| Delivery::start(hook, waiting, kept.clone(), metrics.clone())).transpose()?;
        Ok(Alerts {
            on: webhook.and_then(|hook| hook.on.clone()),
            repeat_ms: webhook.map_or(86_400_000, |hook| i64::from(hook.repeat_s.get()) * 1_000),
            seen: Mutex::new(seen),
            kept,
            delivery,
            metrics,
            now_ms,
        })
    }

    /// Looks at what a call raised.
    pub fn look(&self, receipt: &Receipt) {
        for alert in &receipt.limit_alerts {
            self.raise(of_limit(alert, receipt));
        }
        if receipt.terms.alerts.is_empty() {
            return;
        }
        for verdict in receipt.verdicts.iter().filter(|verdict| verdict.mode == Mode::Enforce) {
            for said in verdict.effects() {
                let Effect::Alert(alert) = &said.effect else { continue };
                let policy = &verdict.policy.name;
                let tenant = &receipt.caller.tenant;
                let mut data = of_call(receipt);
                data.insert("policy".to_owned(), json!(policy));
                data.insert("at".to_owned(), json!(said.at.to_string()));
                self.raise(Raised {
                    kind: Kind::Policy,
                    severity: alert.severity,
                    same: format!("{policy}|{tenant}|{:?}|{}", alert.severity, alert.text),
                    until_ms: None,
                    text: format!("policy {policy}, tenant {}: {}", named(tenant), alert.text),
                    data,
                });
            }
        }
    }

    /// A provider refuses a secret, which is named by its id.
    pub fn secret_refused(&self, provider: &str, secret: &str, status: u16) {
        let data = json!({ "provider": provider, "secret": secret, "status": status });
        self.raise(Raised {
            kind: Kind::SecretRefused,
            severity: Severity::Critical,
            same: secret.to_owned(),
            until_ms: None,
            text: format!("provider {provider} refuses the secret {secret} ({status})"),
            data: data.as_object().cloned().unwrap_or_default(),
        });
    }

    /// Waits at most so long for what is in the queue; `false` where there was no time for all. What is left the next start tries.
    pub async fn close(&self, at_most: Duration) -> bool {
        let is_empty = match &self.delivery {
            Some(delivery) => delivery.close(at_most).await,
            None => true,
        };
        self.kept.close(at_most).await;
        is_empty
    }

    /// The host that alerts go to, and how many wait.
    pub fn standing(&self) -> Option<(String, usize)> {
        self.delivery.as_ref().map(|delivery| (delivery.host().to_owned(), delivery.waiting()))
    }

    fn raise(&self, raised: Raised) {
        let (kind, now_ms) = (raised.kind, (self.now_ms)());
        let same: Arc<str> = format!("{}|{}", kind.name(), raised.same).into();
        let until_ms = raised.until_ms.unwrap_or(now_ms.saturating_add(self.repeat_ms));
        if !self.is_first(&same, until_ms, now_ms) {
            self.metrics.alert_came_to(kind.name(), "repeated");
            return;
        }
        tracing::warn!(kind = kind.name(), severity = severity(raised.severity), "alert: {}", raised.text);
        let wanted = self.on.as_ref().is_none_or(|on| on.contains(&kind));
        let Some(delivery) = self.delivery.as_ref().filter(|_| wanted) else {
            self.metrics.alert_came_to(kind.name(), "logged");
            return;
        };
        let row = Row { same: same.clone(), raised_ms: now_ms, until_ms, waits: None };
        let made = Message::new(kind, same.clone(), body(&raised, now_ms));
        if !made.is_ok_and(|message| delivery.put(message, row)) {
            // It was told to nobody: the next call that raises it may.
            self.seen.lock().expect("no code panics while it holds the alerts").remove(&same);
            self.metrics.alert_came_to(kind.name(), "dropped");
        }
    }

    fn is_first(&self, same: &Arc<str>, until_ms: i64, now_ms: i64) -> bool {
        let mut seen = self.seen.lock().expect("no code panics while it holds the alerts");
        if seen.get(same).is_some_and(|until| now_ms < *until) {
            return false;
        }
        if seen.len() >= SEEN_MAX {
            seen.retain(|_, until| now_ms < *until);
        }
        if seen.len() < SEEN_MAX {
            seen.insert(same.clone(), until_ms);
        }
        true
    }
}

fn of_limit(alert: &LimitAlert, receipt: &Receipt) -> Raised {
    let (LimitAlert::Passed { rule, .. } | LimitAlert::AboveHold { rule, .. }) = alert;
    let held = receipt.holds.iter().find(|held| held.rule == *rule);
    let scope = held.map_or("", |held| &held.scope);
    let tenant = named(&receipt.caller.tenant);
    let mut data = of_call(receipt);
    data.insert("rule".to_owned(), json!(rule));
    data.insert("scope".to_owned(), json!(scope));
    match alert {
        LimitAlert::Passed { at_permille, .. } => {
            let percent = at_permille / 10;
            data.insert("at_percent".to_owned(), json!(percent));
            let resets_in_ms = held.map(|held| held.resets_in_ms).filter(|ms| *ms > 0);
            Raised {
                kind: Kind::LimitPassed,
                severity: if *at_permille >= 1_000 { Severity::Critical } else { Severity::Warning },
                same: format!("{scope}|{at_permille}"),
                // Until its period ends: in the next one the step is told again.
                until_ms: resets_in_ms.map(|ms| receipt.time_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))),
                text: format!("the budget {rule} of tenant {tenant} has passed {percent} %"),
                data,
            }
        }
        LimitAlert::AboveHold { held, used, .. } => {
            data.insert("held".to_owned(), json!(held));
            data.insert("used".to_owned(), json!(used));
            Raised {
                kind: Kind::AboveHold,
                severity: Severity::Warning,
                same: scope.to_owned(),
                until_ms: None,
                text: format!("a provider counted {used} in {rule} for tenant {tenant}, where {held} were held"),
                data,
            }
        }
    }
}

fn of_call(receipt: &Receipt) -> Map<String, Value> {
    let target = receipt.attempts.last().map(|attempt| &attempt.target);
    let data = json!({
        "call_id": receipt.call_id,
        "revision": receipt.revision,
        "tenant": receipt.caller.tenant,
        "app": receipt.caller.app,
        "target": target,
    });
    data.as_object().cloned().unwrap_or_default()
}

fn named(tenant: &str) -> &str {
    if tenant.is_empty() { "unknown" } else { tenant }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// `type`, `timestamp` and `data` as the Standard Webhooks have them, and the `text` that chats show.
fn body(raised: &Raised, now_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(now_ms).map(|time| time.to_string()).unwrap_or_default();
    let mut data = raised.data.clone();
    data.insert("kind".to_owned(), json!(raised.kind.name()));
    data.insert("severity".to_owned(), json!(severity(raised.severity)));
    data.insert("text".to_owned(), json!(raised.text));
    let mark = format!("[{}] ", severity(raised.severity));
    let told = json!({
        "type": format!("tollgate.{}", raised.kind.name()),
        "timestamp": time,
        "text": format!("{mark}{}", plain(&raised.text)),
        "data": data,
    });
    told.to_string()
}

/// Chats take `<!channel>` and links out of texts: names of callers must not ring for everybody.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alerts(dir: &tempfile::TempDir) -> (Alerts, Arc<Mutex<i64>>) {
        let keyed = Arc::new(Keyed::open(&dir.path().join("state.redb")).unwrap());
        let clock = Arc::new(Mutex::new(0));
        let read = clock.clone();
        let now_ms = Arc::new(move || *read.lock().unwrap());
        let config = config::alerts::Alerts::default();
        (Alerts::start(&config, keyed, Arc::new(Metrics::new()), now_ms).unwrap(), clock)
    }

    /// Each row follows on the row before.
    #[tokio::test]
    async fn the_same_alert_is_told_once_in_its_period() {
        let dir = tempfile::tempdir().unwrap();
        let (alerts, clock) = alerts(&dir);
        for (at_ms, same, until_ms, first, why) in [
            (0, "tenant-month|80", 1_000, true, "it is the first"),
            (10, "tenant-month|80", 1_000, false, "it was told"),
            (10, "tenant-month|100", 1_000, true, "another step"),
            (10, "other-month|80", 1_000, true, "another scope"),
            (999, "tenant-month|80", 1_000, false, "the period has not ended"),
            (1_000, "tenant-month|80", 2_000, true, "the next period"),
        ] {
            *clock.lock().unwrap() = at_ms;
            assert_eq!(alerts.is_first(&same.into(), until_ms, at_ms), first, "{why}");
        }
        for n in 0..SEEN_MAX + 10 {
            let _ = alerts.is_first(&n.to_string().into(), 5_000, 1_000);
        }
        assert!(alerts.seen.lock().unwrap().len() <= SEEN_MAX, "what is remembered has a bound");
        assert!(alerts.is_first(&"new".into(), 9_000, 5_000), "and makes room when it ends");
        assert!(alerts.seen.lock().unwrap().len() < 10);
    }

    #[test]
    fn a_chat_is_told_in_plain_words() {
        let raised = Raised {
            kind: Kind::Policy,
            severity: Severity::Critical,
            same: String::new(),
            until_ms: None,
            text: "tenant <!channel> & co".to_owned(),
            data: Map::new(),
        };
        let told: Value = serde_json::from_str(&body(&raised, 1_767_225_600_000)).unwrap();
        assert_eq!(told["text"], "[critical] tenant &lt;!channel&gt; &amp; co");
        assert_eq!(told["data"]["text"], "tenant <!channel> & co");
        assert_eq!((&told["type"], &told["timestamp"]), (&json!("tollgate.policy"), &json!("2026-01-01T00:00:00Z")));
    }
}

//! Providers and their secrets: where each comes from, how old it is, how it was used last, and where alone it may go. Never
//! what it is.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tollgate_providers::client::client;
use tollgate_providers::{Auth, Provider, SecretSource, is_loopback};

use super::Finding;
use crate::alerts;
use crate::config::Config;

/// What can be said of the config alone. Secrets are read where no gateway runs that has read them; commands are run only
/// where that was wanted.
pub fn offline(list: &[Provider], is_running: bool, may_run: bool) -> Vec<Finding> {
    let mut found: Vec<Finding> = list.iter().flat_map(|provider| of_provider(provider, is_running, may_run)).collect();
    if list.iter().any(|provider| provider.base_url.starts_with("https://")) {
        found.push(match client(Duration::from_secs(1)) {
            Ok(_) => Finding::ok("tls", "the system's root certificates can be read"),
            Err(why) => {
                let remedy = "install them (package `ca-certificates`), or set `SSL_CERT_FILE`";
                Finding::fail("tls", format!("no root certificates: {why}"), remedy)
            }
        });
    }
    found
}

fn of_provider(provider: &Provider, is_running: bool, may_run: bool) -> Vec<Finding> {
    let name = &provider.name;
    let uri = match provider.address() {
        Ok(uri) => uri,
        Err(why) => return vec![Finding::fail("provider", why, format!("mend `providers.{name}.base_url`"))],
    };
    let host = uri.authority().map(ToString::to_string).unwrap_or_default();
    let is_plain = uri.scheme_str() == Some("http") && !is_loopback(uri.host().unwrap_or_default());
    let mut found = vec![match is_plain && provider.auth != Auth::None {
        true => Finding::warn(
            "provider",
            format!("`{name}` gets its secret over plain http at {host}"),
            format!("give `providers.{name}.base_url` an `https://` address"),
        ),
        false => Finding::ok("provider", format!("`{name}` is at {host}")),
    }];
    if !is_running {
        found.extend(provider.auth.sources().iter().map(|source| read("secret", name, source, may_run)));
    }
    found
}

/// Is it there, and is it its owner's alone?
fn read(check: &'static str, of: &str, source: &SecretSource, may_run: bool) -> Finding {
    let named = format!("`{of}`: {}", source.name());
    if matches!(source, SecretSource::Command { .. }) && !may_run {
        return Finding::ok(check, format!("{named} was not run: `--probe` runs it"));
    }
    if let Err(why) = source.document() {
        return Finding::fail(check, format!("{named}: {why}"), "put it there, or name another place in the config");
    }
    match source {
        SecretSource::File(path) => match open_to_all(path) {
            true => Finding::warn(
                check,
                format!("{named} can be read by everybody"),
                format!("chmod o-r {}", path.display()),
            ),
            false => Finding::ok(check, format!("{named} is there")),
        },
        SecretSource::Env(_) | SecretSource::Command { .. } => Finding::ok(check, format!("{named} is there")),
    }
}

fn open_to_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.mode() & 0o004 != 0)
}

/// What the gateway that runs says of each.
pub fn live(told: &Value) -> Vec<Finding> {
    let now_ms = told["now_ms"].as_i64().unwrap_or(0);
    told["secrets"].as_array().into_iter().flatten().map(|secret| of_report(secret, now_ms)).collect()
}

fn of_report(secret: &Value, now_ms: i64) -> Finding {
    let text = |key: &str| secret[key].as_str().unwrap_or_default();
    let ago = |key: &str| match secret[key].as_i64() {
        None | Some(0) => "never".to_owned(),
        Some(at) => format!("{} ago", span(now_ms.saturating_sub(at))),
    };
    let hosts: Vec<&str> = secret["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let last = secret["status"].as_u64().map_or_else(String::new, |status| format!(" ({status})"));
    let told = format!(
        "`{}`: {} goes to {} only; read {}, changed {}, used {}{last}",
        text("provider"),
        text("secret"),
        hosts.join(" and "),
        ago("read_ms"),
        ago("changed_ms"),
        ago("used_ms"),
    );
    let problem = secret["problem"].as_str();
    match (text("state"), problem) {
        ("missing", _) => {
            let told = format!("`{}`: {}: {}", text("provider"), text("secret"), problem.unwrap_or("it is not there"));
            Finding::fail("secret", told, "put it there: files are seen within a second, `kill -HUP` reads all anew")
        }
        ("refused", _) => {
            let remedy = "the provider takes it no more: put a new one in its place, or take it out of the config";
            Finding::fail("secret", format!("{told}; refused"), remedy)
        }
        (_, Some(why)) => Finding::warn("secret", format!("{told}; it cannot be read now: {why}"), "mend its source"),
        (_, None) => Finding::ok("secret", told),
    }
}

/// Where alerts go, and what waits there.
pub fn of_alerts(config: &Config, told: Option<&Value>, may_run: bool) -> Vec<Finding> {
    let Some(hook) = &config.alerts.webhook else {
        return vec![Finding::ok("alerts", "they stand in log, metrics and receipts: no webhook is named")];
    };
    let host = match alerts::address(&hook.url) {
        Ok((_, host)) => host,
        Err(why) => return vec![Finding::fail("alerts", why, "mend `alerts.webhook.url`")],
    };
    let sources = hook.secret.sources();
    let mut found: Vec<Finding> = match told {
        // The gateway reads it anew for each message, where this process may not.
        Some(_) => Vec::new(),
        None => sources.iter().map(|source| read("alerts", "webhook", source, may_run)).collect(),
    };
    let waiting = told.and_then(|told| told["alerts"]["waiting"].as_u64()).unwrap_or(0);
    found.push(match waiting {
        0 => Finding::ok("alerts", format!("they go to {host}")),
        _ => Finding::warn(
            "alerts",
            format!("{waiting} wait for {host}"),
            "see the gateway's log: why does it not take them?",
        ),
    });
    found
}

/// In the largest unit that fits.
fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use serde_json::json;

    #[test]
    fn a_running_gateway_s_secrets_are_told_with_age_use_and_host() {
        let of = |more: Value| {
            let mut secret = json!({ "provider": "p", "secret": "env:A#1", "state": "good", "hosts": ["h:1"],
                "read_ms": 1_000, "changed_ms": 1_000, "used_ms": 0 });
            more.as_object().unwrap().iter().for_each(|(key, value)| secret[key] = value.clone());
            live(&json!({ "now_ms": 7_201_000, "secrets": [secret] })).remove(0)
        };
        for (more, level, part) in [
            (json!({}), Level::Ok, "goes to h:1 only; read 2 h ago, changed 2 h ago, used never"),
            (json!({ "used_ms": 7_200_000, "status": 200 }), Level::Ok, "used 1 s ago (200)"),
            (json!({ "state": "refused", "status": 401 }), Level::Fail, "(401); refused"),
            (json!({ "state": "missing", "problem": "the environment has no `A`" }), Level::Fail, "has no `A`"),
            (json!({ "problem": "it is no file" }), Level::Warn, "it cannot be read now: it is no file"),
        ] {
            let found = of(more);
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.told.contains(part), "{found:?}");
        }
    }
}

//! `limits.yaml`: named budgets and rates, and what becomes of prices that nobody knows.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use tollgate_core::limits::money::nanousd_from_usd;
use tollgate_core::limits::rules::{Calendar, Limits, Per, Rule, ScopeGlobs, Unit, UnknownPrice, Window};

use super::ladder::ladder;
use crate::diagnostic::Diagnostic;
use crate::reading::{Reading, TABLES, Table, millis_of};
use crate::yaml::{Key, Node, Place};

/// The file's path in a repository.
pub const FILE: &str = "limits.yaml";
/// No repository has more rules.
const RULES_MAX: usize = 2_000;
/// No rate looks further back: longer ones are budgets.
const EVERY_MS: Bounds = (1, 31 * 86_400_000, "from 1ms to 31d; longer spans are budgets");
/// A budget over a span is counted in 64 slots, none shorter than a second.
const ROLLING_MS: Bounds = (64_000, 366 * 86_400_000, "from 64s to 366d; shorter spans are rates");

/// Of a span: the least and the most milliseconds, and how that is told.
type Bounds = (u64, u64, &'static str);

const PER: [(&str, Per); 8] = [
    ("tenant", Per::Tenant),
    ("app", Per::App),
    ("use_case", Per::UseCase),
    ("user", Per::User),
    ("key", Per::Key),
    ("session", Per::Session),
    ("family", Per::Family),
    ("operation", Per::Operation),
];
const PERIODS: [(&str, Calendar); 4] =
    [("hour", Calendar::Hour), ("day", Calendar::Day), ("week", Calendar::Week), ("month", Calendar::Month)];

/// The rules, and their names by kind, for the engines.
#[derive(Debug, Default)]
pub struct Read {
    pub limits: Limits,
    pub budgets: Vec<Arc<str>>,
    pub rates: Vec<Arc<str>>,
}

pub fn read(bytes: Option<&[u8]>, findings: &mut Vec<Diagnostic>) -> Read {
    let Some(bytes) = bytes else { return Read::default() };
    let reading = Reading::of(FILE, TABLES);
    let read = reading.parse(bytes).map(|node| document(&reading, &node)).unwrap_or_default();
    findings.extend(reading.findings());
    read
}

fn document(reading: &Reading<'_>, node: &Node) -> Read {
    let mut read = Read::default();
    if node.is_null() {
        return read;
    }
    let Some(table) = reading.table(node, "the file", &["budgets", "rates", "unknown_price"]) else { return read };
    if let Some(named) = table.pick("unknown_price", &UnknownPrice::ALL.map(|rule| (rule.name(), rule))) {
        read.limits.unknown_price = named;
    }
    let mut lines: HashMap<&str, u32> = HashMap::new();
    for kind in ["budgets", "rates"] {
        let Some(rules) = table.get(kind).and_then(|v| reading.open_table(v, &format!("`{kind}`"))) else { continue };
        for (key, node) in rules.members {
            if !name_is_right(reading, key) {
                continue;
            }
            if let Some(line) = lines.insert(&key.text, key.at.line) {
                let message = format!("the name `{}` is used twice, first in line {line}", key.text);
                reading.tell_help(
                    "TG0212",
                    key.at,
                    message,
                    "budgets and rates share their names: `reserve` tells only the name",
                );
                continue;
            }
            let rule = if kind == "budgets" { budget(reading, key, node) } else { rate(reading, key, node) };
            let Some(rule) = rule else { continue };
            if read.limits.rules.len() == RULES_MAX {
                reading.tell("TG0206", key.at, format!("at most {RULES_MAX} rules"));
                return read;
            }
            let names = if kind == "budgets" { &mut read.budgets } else { &mut read.rates };
            names.push(rule.name.clone());
            read.limits.rules.push(Arc::new(rule));
        }
    }
    read.limits.rules.sort_by(|a, b| a.name.cmp(&b.name));
    read
}

/// The name goes into keys of the ledger and into headers.
fn name_is_right(reading: &Reading<'_>, key: &Key) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let right = !key.text.is_empty() && key.text.len() <= 64 && key.text.bytes().all(plain);
    if !right {
        let message = format!("`{}` is no name of a rule", key.text);
        reading.tell_help("TG0219", key.at, message, "up to 64 letters, digits, `-`, `_` and `.`");
    }
    right
}

fn budget(reading: &Reading<'_>, key: &Key, node: &Node) -> Option<Rule> {
    let what = format!("budget `{}`", key.text);
    let table = reading.table(
        node,
        &what,
        &["per", "for", "reserved", "limit_usd", "limit_tokens", "period", "zone", "rolling", "ladder"],
    )?;
    let (unit, limit) = limit(reading, &table, &[("limit_usd", Unit::Nanousd), ("limit_tokens", Unit::Tokens)])?;
    let window = match table.get("rolling") {
        Some(node) => {
            if let Some(at) = table.key_at("period").or_else(|| table.key_at("zone")) {
                reading.tell("TG0221", at, "`rolling` looks back from now: take `period` and `zone` out");
                return None;
            }
            Window::Sliding { span_ms: span(reading, node, "rolling", ROLLING_MS)? }
        }
        None => {
            table.need("period", "hour, day, week or month; or `rolling: 24h` in its place");
            let every = table.pick("period", &PERIODS)?;
            let zone = match table.get("zone") {
                None => TimeZone::UTC,
                Some(node) => zone(reading, node)?,
            };
            Window::Calendar { every, zone }
        }
    };
    let ladder = ladder(reading, table.get("ladder"));
    Some(Rule { ladder, ..rule(reading, key, &table, unit, limit, window)? })
}

fn rate(reading: &Reading<'_>, key: &Key, node: &Node) -> Option<Rule> {
    let what = format!("rate `{}`", key.text);
    let table =
        reading.table(node, &what, &["per", "for", "reserved", "requests", "tokens", "usd", "in_flight", "every"])?;
    let units =
        [("requests", Unit::Requests), ("tokens", Unit::Tokens), ("usd", Unit::Nanousd), ("in_flight", Unit::InFlight)];
    let (unit, limit) = limit(reading, &table, &units)?;
    let window = match (unit, table.get("every")) {
        (Unit::InFlight, None) => Window::None,
        (Unit::InFlight, Some(node)) => {
            reading.tell("TG0221", node.at, "calls in flight are counted now: take `every` out");
            return None;
        }
        (Unit::Requests | Unit::Tokens | Unit::Nanousd, _) => {
            let node = table.need("every", "the span in which as many may pass: 1s, 1m, 1h")?;
            Window::Rolling { per_ms: span(reading, node, "every", EVERY_MS)? }
        }
    };
    rule(reading, key, &table, unit, limit, window)
}

fn rule(
    reading: &Reading<'_>,
    key: &Key,
    table: &Table<'_, '_>,
    unit: Unit,
    limit: u64,
    window: Window,
) -> Option<Rule> {
    table.need("per", "what is counted apart, like `[tenant]`; `[]` counts all together");
    let mut per = table.picks("per", &PER);
    per.sort_unstable();
    per.dedup();
    let reserved = table.flag("reserved").unwrap_or(false);
    let scope =
        match table.get("for").and_then(|v| reading.table(v, "`for`", &["tenant", "app", "use_case", "operation"])) {
            None => ScopeGlobs { reserved, ..ScopeGlobs::default() },
            Some(table) => ScopeGlobs {
                tenant: table.globs("tenant", "TG0207"),
                app: table.globs("app", "TG0207"),
                use_case: table.globs("use_case", "TG0207"),
                operation: table.globs("operation", "TG0207"),
                reserved,
            },
        };
    table.key_at("per")?;
    Some(Rule { name: key.text.as_str().into(), per, scope, unit, limit, window, ladder: Vec::new() })
}

/// Exactly one of the keys that name a unit, above 0.
fn limit(reading: &Reading<'_>, table: &Table<'_, '_>, units: &[(&str, Unit)]) -> Option<(Unit, u64)> {
    let names: Vec<String> = units.iter().map(|(key, _)| format!("`{key}`")).collect();
    let given: Vec<(&str, Unit, &Node)> =
        units.iter().filter_map(|(key, unit)| Some((*key, *unit, table.get(key)?))).collect();
    let [(key, unit, node)] = given[..] else {
        let at = given.get(1).map_or(table.at, |(_, _, node)| node.at);
        reading.tell("TG0219", at, format!("{} needs exactly one of {}", table.what, names.join(", ")));
        return None;
    };
    let limit = match unit {
        Unit::Nanousd => {
            let text = reading.decimal(node, &format!("`{key}`"))?;
            match nanousd_from_usd(&text) {
                Ok(nano) => nano,
                Err(why) => {
                    reading.tell("TG0219", node.at, format!("`{key}`: {why}"));
                    return None;
                }
            }
        }
        Unit::Tokens | Unit::Requests | Unit::InFlight => reading.whole(node, &format!("`{key}`"), 0, i64::MAX)?,
    };
    if limit <= 0 {
        let help = "to turn calls away use a policy that denies, or take their grant out of tenants.yaml";
        reading.tell_help("TG0219", node.at, format!("`{key}` must be above 0"), help);
        return None;
    }
    u64::try_from(limit).ok().map(|limit| (unit, limit))
}

fn zone(reading: &Reading<'_>, node: &Node) -> Option<TimeZone> {
    let name = reading.text(node, "`zone`")?;
    match TimeZone::get(name) {
        Ok(zone) => Some(zone),
        Err(_) => {
            let message = format!("`{name}` is no time zone");
            reading.tell_help("TG0220", node.at, message, "write it as in the IANA database: `Europe/Berlin`, `UTC`");
            None
        }
    }
}

fn span(reading: &Reading<'_>, node: &Node, key: &str, bounds: Bounds) -> Option<u64> {
    let text = reading.text(node, &format!("`{key}`"))?;
    let at: Place = node.at;
    match millis_of(text) {
        Ok(ms) if (bounds.0..=bounds.1).contains(&ms) => Some(ms),
        Ok(_) => {
            reading.tell("TG0221", at, format!("`{key}: {text}` must be {}", bounds.2));
            None
        }
        Err(why) => {
            reading.tell("TG0221", at, why);
            None
        }
    }
}

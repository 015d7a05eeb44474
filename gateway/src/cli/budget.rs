//! `tollgate budget show | grant | override | revoke | forecast`: budgets of a running gateway.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use tollgate_core::limits::rules::Unit;
use tollgate_core::pipeline::claims;

use super::operate::{in_url, text, time, told_by};
use super::steer::seconds;
use super::table::columns;
use super::{Ended, Operate, forecast};

#[derive(Subcommand)]
pub enum Budget {
    /// How limits stand: what is used, held and left, and what was granted
    Show(Show),
    /// Raise the limit of one scope by an amount, until a time; acts on the next call
    Grant {
        #[command(flatten)]
        change: Change,
        /// The grant takes away: its amount is below 0
        #[arg(long)]
        negative: bool,
    },
    /// Put another limit in the limit's place, until a time
    Override {
        #[command(flatten)]
        change: Change,
    },
    /// End a grant or an override now
    Revoke {
        rule: String,
        /// As the grant's; `*` = of every scope
        scope: String,
        /// As `budget show` tells it
        id: String,
        /// Say what would be, and do nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        to: Operate,
    },
    /// When budgets end at the pace of the last days
    Forecast(forecast::Forecast),
}

#[derive(Args)]
pub struct Show {
    /// Only those of this rule
    #[arg(long)]
    pub rule: Option<String>,
    /// Only those of this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only this scope, or those with this one NAME=VALUE
    #[arg(long)]
    pub scope: Option<String>,
    #[command(flatten)]
    pub to: Operate,
}

#[derive(Args)]
pub struct Change {
    /// A name of limits.yaml
    rule: String,
    /// What the rule counts by: 'tenant=acme', 'tenant=acme,app=desk', 'all'; of an override also '*', every scope
    scope: String,
    /// How much: 50usd, 200000tokens; of an override also 600requests, 20in_flight
    #[arg(allow_hyphen_values = true)]
    amount: String,
    /// A day (to its end, UTC), a time, so long (30m, 2h, 1d), or `period`: the end of the present one
    #[arg(long)]
    until: String,
    /// Why: it stands in the trail
    #[arg(long)]
    reason: String,
    /// A second time with the same id does nothing; for scripts that try again
    #[arg(long)]
    id: Option<String>,
    /// Say what would be, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    to: Operate,
}

pub fn run(verb: &Budget) -> Result<(), Ended> {
    match verb {
        Budget::Show(args) => show(args),
        Budget::Grant { change, negative } => changed(change, "grants", *negative),
        Budget::Override { change } => changed(change, "overrides", false),
        Budget::Revoke { rule, scope, id, dry_run, to } => revoke((rule, scope), id, *dry_run, to),
        Budget::Forecast(args) => forecast::run(args),
    }
}

/// All pages.
pub fn balances(asked: &Show) -> Result<Vec<Value>, Ended> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let mut path = format!("/admin/v1/budgets?after={}", in_url(&after));
        for (name, value) in [("rule", &asked.rule), ("tenant", &asked.tenant), ("scope", &asked.scope)] {
            if let Some(value) = value {
                let _ = write!(path, "&{name}={}", in_url(value));
            }
        }
        let mut page = told_by(&asked.to, Method::GET, &path, Value::Null)?;
        if let Value::Array(more) = page["budgets"].take() {
            all.extend(more);
        }
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return Ok(all),
        }
    }
}

fn show(args: &Show) -> Result<(), Ended> {
    let all = balances(args)?;
    if args.to.json {
        println!("{}", json!({ "budgets": all }));
        return Ok(());
    }
    print!("{}", shown(&all));
    Ok(())
}

fn shown(balances: &[Value]) -> String {
    if balances.is_empty() {
        return "nothing is used, held or granted\n".to_owned();
    }
    let head = ["RULE", "SCOPE", "UNTIL", "USED", "HELD", "LIMIT", "LEFT", "TAKEN"].map(str::to_owned);
    let mut lines = vec![head.to_vec()];
    for of in balances {
        let percent = format!("{:.1} %", of["ratio"].as_f64().unwrap_or(0.0) * 100.0);
        let mut line = vec![text(&of["rule"]).to_owned(), text(&of["scope"]).to_owned(), time(&of["period_to_ms"])];
        line.extend(["used", "held", "limit", "remaining"].map(|name| amount(&of[name], &of["unit"])));
        line.push(percent);
        lines.push(line);
    }
    let mut out = columns(&lines, 3);
    for of in balances {
        for kind in ["overrides", "grants"] {
            for one in of[kind].as_array().into_iter().flatten() {
                let _ = writeln!(out, "{}", amendment(one));
            }
        }
    }
    out
}

/// One grant or override for people.
fn amendment(one: &Value) -> String {
    let sign = if text(&one["kind"]) == "grant" && one["amount"].as_i64().is_some_and(|n| n > 0) { "+" } else { "" };
    let state = text(&one["state"]);
    let end = if state == "in_force" { format!("until {}", time(&one["until_ms"])) } else { state.to_owned() };
    format!(
        "{} {} of {} {}: {sign}{} {end}, by {}: {}",
        text(&one["kind"]),
        text(&one["id"]),
        text(&one["rule"]),
        text(&one["scope"]),
        amount(&one["amount"], &one["unit"]),
        text(&one["by"]),
        text(&one["reason"])
    )
}

/// An amount in its unit; money without the word, as the table's head has none.
pub fn amount(value: &Value, unit: &Value) -> String {
    let unit: Unit = serde_json::from_value(unit.clone()).unwrap_or(Unit::Requests);
    match (value.as_u64(), value.as_i64()) {
        (Some(whole), _) => claims::amount(whole, unit),
        (None, Some(below)) => format!("-{}", claims::amount(below.unsigned_abs(), unit)),
        (None, None) => "-".to_owned(),
    }
}

fn changed(change: &Change, kind: &str, negative: bool) -> Result<(), Ended> {
    let (name, value) = measured(&change.amount).map_err(Ended::usage)?;
    let until = match seconds(&change.until) {
        Ok(lasts_s) => {
            let end = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_secs(i64::from(lasts_s)));
            end.map_err(|why| Ended::usage(format!("`--until {}`: {why}", change.until)))?.to_string()
        }
        Err(_) => change.until.clone(),
    };
    let mut body = json!({ "until": until, "reason": change.reason, "negative": negative });
    body[name] = value;
    if let Some(id) = &change.id {
        body["id"] = id.as_str().into();
    }
    let place = format!("/admin/v1/budgets/{}/{}", in_url(&change.rule), in_url(&change.scope));
    let path = format!("{place}/{kind}?dry_run={}", change.dry_run);
    tell(&change.to, &told_by(&change.to, Method::POST, &path, body)?);
    Ok(())
}

fn tell(to: &Operate, told: &Value) {
    if to.json {
        println!("{told}");
        return;
    }
    let would = if told["dry_run"] == true { "would be: " } else { "" };
    println!("{would}{}", amendment(&told["record"]));
    let balance = &told["balance"];
    if balance.is_object() {
        let of = |name: &str| amount(&balance[name], &balance["unit"]);
        println!("limit {}, {} used, {} held, {} left", of("limit"), of("used"), of("held"), of("remaining"));
    }
}

/// `50usd`, `-0.25usd`, `200000tokens`, `600requests`, `20in_flight`.
fn measured(text: &str) -> Result<(&'static str, Value), String> {
    for unit in ["usd", "tokens", "requests", "in_flight"] {
        let Some(number) = text.strip_suffix(unit).map(str::trim_end) else { continue };
        let value = match unit {
            "usd" => Some(Value::from(number)),
            _ => number.parse::<i64>().ok().map(Value::from),
        };
        return value.map(|value| (unit, value)).ok_or_else(|| format!("`{text}`: `{number}` is no whole number"));
    }
    Err(format!("`{text}` is no amount: write 50usd, 200000tokens, 600requests or 20in_flight"))
}

fn revoke((rule, scope): (&str, &str), id: &str, is_dry: bool, to: &Operate) -> Result<(), Ended> {
    let place = format!("/admin/v1/budgets/{}/{}", in_url(rule), in_url(scope));
    for kind in ["grants", "overrides"] {
        let known = told_by(to, Method::GET, &format!("{place}/{kind}"), Value::Null)?;
        let mut known = known[kind].as_array().into_iter().flatten();
        if known.any(|one| text(&one["id"]) == id) {
            let path = format!("{place}/{kind}/{}?dry_run={is_dry}", in_url(id));
            tell(to, &told_by(to, Method::DELETE, &path, Value::Null)?);
            return Ok(());
        }
    }
    Err(Ended::failed(format!("`{rule}` has no grant and no override `{id}` for `{scope}`: `budget show` lists them")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_names_its_unit() {
        for (text, name, value) in [
            ("50usd", "usd", json!("50")),
            ("-0.25usd", "usd", json!("-0.25")),
            ("200000tokens", "tokens", json!(200_000)),
            ("-5 tokens", "tokens", json!(-5)),
            ("20in_flight", "in_flight", json!(20)),
        ] {
            assert_eq!(measured(text), Ok((name, value)), "{text}");
        }
        for text in ["50", "usd50", "5.5tokens", "", "tokens"] {
            assert!(measured(text).is_err(), "{text}");
        }
    }
}

//! `tollgate trail tail | acts`: the last receipts, and what operators did, a line each.

use clap::Subcommand;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use tollgate_core::evidence::receipt::{Outcome, Receipt};
use tollgate_core::limits::money::usd_text;
use tollgate_core::limits::rules::Unit;
use tollgate_core::pipeline::claims;
use tollgate_store::trail;

use super::{Ended, Places};
use crate::start;
use crate::state::State;

#[derive(Subcommand)]
pub enum Trail {
    /// The last receipts, a line each
    Tail {
        #[command(flatten)]
        places: Places,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        /// Go on with those that come
        #[arg(short, long)]
        follow: bool,
        /// Whole receipts as JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Check journal and receipts for any change, drop, addition or reordering, and print the journal's head
    Verify {
        #[command(flatten)]
        places: Places,
        /// A head that was printed before: the journal must still contain it
        #[arg(long, value_name = "NEXT:CHAIN")]
        head: Option<String>,
        /// The first file of the trail that is to be there, where older ones were moved away
        #[arg(long, value_name = "FILE")]
        trail_from: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Print every record of the journal as a line of JSON
    Export {
        #[command(flatten)]
        places: Places,
        /// Begin with this record
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
        from: u64,
    },
    /// Sums over all receipts
    #[command(subcommand)]
    Report(super::report::Report),
    /// What operators did, a line each
    Acts {
        #[command(flatten)]
        places: Places,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        #[arg(long)]
        json: bool,
    },
}

/// How often the trail is looked at for more.
const FOLLOW: Duration = Duration::from_millis(200);

pub fn tail(places: &Places, lines: usize, follow: bool, json: bool) -> Result<(), Ended> {
    let state = open(places)?;
    let told = |why: std::io::Error| Ended::failed(format!("cannot read `{}`: {why}", state.trail().display()));
    let mut follower = trail::Follower::new(state.trail(), lines).map_err(told)?;
    loop {
        for line in follower.read().map_err(told)? {
            if !print(&line, json) {
                return Ok(());
            }
        }
        if !follow {
            return Ok(());
        }
        std::thread::sleep(FOLLOW);
    }
}

pub fn acts(places: &Places, lines: usize, json: bool) -> Result<(), Ended> {
    let state = open(places)?;
    let told = |why: std::io::Error| Ended::failed(format!("cannot read `{}`: {why}", state.trail().display()));
    for act in tollgate_store::acts::tail(&state.trail(), lines).map_err(told)? {
        let text = match json {
            true => serde_json::to_string(&act).map_err(|why| Ended::failed(why.to_string()))?,
            false => {
                let time = jiff::Timestamp::from_millisecond(act.time_ms).unwrap_or_default();
                let about = about(&act.change);
                format!("{time:.0} {:<24} {:<15} {} {} {about}", act.actor, act.address, act.status, act.did)
            }
        };
        if writeln!(std::io::stdout(), "{text}").is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// What an act changed, and why, in a few words.
fn about(change: &Value) -> String {
    let text = |name: &str| change[name].as_str().filter(|text| !text.is_empty());
    let amount = serde_json::from_value::<Unit>(change["unit"].clone()).ok().and_then(|unit| {
        let number = change["amount"].as_i64()?;
        let sign = if number < 0 { "-" } else { "" };
        Some(format!("{sign}{}", claims::amount(number.unsigned_abs(), unit)))
    });
    let percent = change["canary"]["percent"].as_f64().map(|percent| format!("at {percent} %"));
    let named = ["id", "policy", "to", "role", "revision"].iter().filter_map(|name| text(name).map(str::to_owned));
    let mut parts: Vec<String> = named.chain(percent).chain(amount).collect();
    parts.extend(
        text("before").filter(|before| text("revision") != Some(before)).map(|before| format!("after {before}")),
    );
    match text("reason") {
        Some(reason) => format!("{}: {reason}", parts.join(" ")),
        None => parts.join(" "),
    }
}

/// The state folder that the places name.
pub fn open(places: &Places) -> Result<State, Ended> {
    let named = match &places.state {
        Some(path) => Some(path.clone()),
        None => start::config(places)?.store.path,
    };
    State::open(named.as_deref()).map_err(Ended::usage)
}

/// `false` = nobody reads any more.
fn print(line: &str, json: bool) -> bool {
    let text = match (json, serde_json::from_str::<Receipt>(line)) {
        (false, Ok(receipt)) => short(&receipt),
        (true, _) | (false, Err(_)) => line.to_owned(),
    };
    writeln!(std::io::stdout(), "{text}").is_ok()
}

/// One receipt in one line.
pub fn short(receipt: &Receipt) -> String {
    let time = jiff::Timestamp::from_millisecond(receipt.time_ms).map(|t| t.strftime("%H:%M:%S%.3f").to_string());
    let ended = match &receipt.outcome {
        Outcome::Answered { status } => format!("{status}"),
        Outcome::Refused { status, refusal } => format!("{status} {} ({})", refusal.category.name(), refusal.code),
        Outcome::ProviderError { status, refusal } => format!("{status} provider: {}", refusal.category.name()),
        Outcome::Interrupted { .. } => "interrupted".to_owned(),
        Outcome::CallerLeft => "caller left".to_owned(),
        Outcome::Unknown { .. } => "unknown".to_owned(),
    };
    // Nobody saw how a call of unknown outcome ended, nor when.
    let took = match &receipt.outcome {
        Outcome::Unknown { .. } => "-".to_owned(),
        _ => format!("{} ms", receipt.latency_ms),
    };
    let target = receipt.attempts.last().map_or("-", |a| &a.target);
    let cost = receipt.cost_nanousd.map_or_else(|| "-".to_owned(), |c| format!("${}", usd_text(c)));
    let who =
        [&*receipt.caller.tenant, &*receipt.caller.app].iter().filter(|s| !s.is_empty()).copied().collect::<Vec<_>>();
    let colour = super::colour(std::io::stdout().is_terminal());
    let (on, off) = match (&receipt.outcome, colour) {
        (Outcome::Answered { .. }, true) => ("\x1b[32m", "\x1b[0m"),
        (_, true) => ("\x1b[31m", "\x1b[0m"),
        (_, false) => ("", ""),
    };
    format!(
        "{} {} {:<18} {:<10} {:<28} {on}{ended}{off} {took} {cost}",
        time.unwrap_or_default(),
        receipt.call_id,
        if who.is_empty() { "-".to_owned() } else { who.join("/") },
        receipt.operation.name(),
        target,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_act_is_told_with_what_it_changed_and_why() {
        for (change, told, why) in [
            (json!({ "revision": "b", "before": "a", "pinned": true }), "b after a", "a pin or a rollback"),
            (json!({ "revision": "a", "before": "a" }), "a", "it let go, and nothing moved"),
            (json!({ "revision": "b", "role": "rehearsal" }), "rehearsal b", "beside the active one"),
            (json!({ "revision": "b", "role": "canary", "canary": { "percent": 5 } }), "canary b at 5 %", "for some"),
            (
                json!({ "policy": "tiers", "to": "observe", "reason": "ticket 4711" }),
                "tiers observe: ticket 4711",
                "lowered",
            ),
            (
                json!({ "id": "g1", "unit": "nanousd", "amount": 50_000_000_000_i64, "reason": "incident" }),
                "g1 50.000000 USD: incident",
                "a grant",
            ),
            (Value::Null, "", "a verb of an older version"),
        ] {
            assert_eq!(about(&change), told, "{why}");
        }
    }
}

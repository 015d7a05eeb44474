//! `tollgate budget forecast`: when budgets end, from how they stand now and what the trail says was spent in the last days.

use std::collections::HashMap;

use clap::Args;
use serde_json::{Value, json};
use tollgate_store::trail;

use super::budget::{Show, amount, balances};
use super::operate::text;
use super::spend::Line;
use super::table::columns;
use super::{Ended, Operate};

const DAY_MS: i64 = 86_400_000;
/// A pace over less than an hour says nothing about a day.
const PACE_MS_MIN: i64 = 3_600_000;
/// The longest look back.
const DAYS_MAX: u16 = 92;

#[derive(Args)]
pub struct Forecast {
    /// Only those of this rule
    #[arg(long)]
    rule: Option<String>,
    /// Only those of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// How many days the pace is taken from
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=i64::from(DAYS_MAX)))]
    days: u16,
    #[command(flatten)]
    to: Operate,
}

/// What whole days before now used in one scope, newest first, in the budget's unit.
type Days = Vec<u64>;

pub fn run(args: &Forecast) -> Result<(), Ended> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let show = Show { rule: args.rule.clone(), tenant: args.tenant.clone(), scope: None, to: args.to.clone() };
    let budgets: Vec<Value> = balances(&show)?.into_iter().filter(|of| text(&of["kind"]) == "budget").collect();
    let paces = paces(args, &budgets, now_ms)?;
    let forecasts: Vec<(&Value, Ends)> = budgets
        .iter()
        .map(|of| (of, Ends::of(of, paces.get(text(&of["key"])).map_or(&[], Vec::as_slice), now_ms)))
        .collect();
    if args.to.json {
        let told: Vec<Value> = forecasts.iter().map(|(of, ends)| ends.in_json(of)).collect();
        println!("{}", json!({ "forecasts": told }));
        return Ok(());
    }
    print!("{}", shown(&forecasts));
    Ok(())
}

/// What was used by whole days before now, for each scope, as far back as the trail goes.
fn paces(args: &Forecast, budgets: &[Value], now_ms: i64) -> Result<HashMap<String, Days>, Ended> {
    let days = usize::from(args.days);
    let begin_ms = now_ms - i64::from(args.days) * DAY_MS;
    let mut first_ms = now_ms;
    let in_money: HashMap<&str, bool> =
        budgets.iter().map(|of| (text(&of["key"]), text(&of["unit"]) == "nanousd")).collect();
    let mut used: HashMap<&str, Days> = in_money.keys().map(|key| (*key, vec![0; days])).collect();
    let state = super::trail::open(&args.to.places)?;
    let read = trail::each(&state.trail(), |bytes| {
        let Ok(line) = serde_json::from_slice::<Line<'_>>(bytes) else { return };
        first_ms = first_ms.min(line.time_ms);
        if line.time_ms < begin_ms || line.time_ms >= now_ms {
            return;
        }
        let day = usize::try_from((now_ms - 1 - line.time_ms) / DAY_MS).unwrap_or(0);
        for hold in &line.holds {
            let Some((key, is_money)) = in_money.get_key_value(&*hold.scope) else { continue };
            let more = match is_money {
                true => u64::try_from(line.nanousd()).unwrap_or(0),
                false => line.used().map_or(0, |used| used.total()),
            };
            if let Some(sum) = used.get_mut(key).and_then(|days| days.get_mut(day)) {
                *sum = sum.saturating_add(more);
            }
        }
    });
    read.map_err(|why| Ended::failed(format!("cannot read `{}`: {why}", state.trail().display())))?;
    // Days before the first receipt say nothing.
    let whole = usize::try_from((now_ms - first_ms) / DAY_MS).unwrap_or(0).min(days);
    Ok(used.into_iter().map(|(key, days)| (key.to_owned(), days[..whole].to_vec())).collect())
}

/// When a budget ends.
#[derive(Debug, PartialEq)]
enum Ends {
    /// Nothing is left.
    Over,
    /// Nothing that a pace can be taken from.
    Unknown,
    At(At),
}

/// A day's use at the usual pace, and the moments at which the limit is reached: `None` = not before the period ends.
#[derive(Debug, PartialEq)]
struct At {
    a_day: u64,
    usual_ms: Option<i64>,
    /// At the pace of the busiest day and of the quietest; none where there are not two days to compare.
    range_ms: Option<(Option<i64>, Option<i64>)>,
    /// So many days it is taken from; 0 = from the present period alone.
    days: usize,
}

impl Ends {
    fn of(balance: &Value, days: &[u64], now_ms: i64) -> Ends {
        let number = |name: &str| balance[name].as_u64().unwrap_or(0);
        let left = number("remaining");
        if left == 0 {
            return Ends::Over;
        }
        let from_ms = balance["period_from_ms"].as_i64();
        let period_end_ms = balance["period_to_ms"].as_i64().unwrap_or(i64::MAX);
        let reached = |a_day: u64| {
            let in_ms = u128::from(left) * DAY_MS as u128 / u128::from(a_day).max(1);
            let at_ms = now_ms.saturating_add(i64::try_from(in_ms).unwrap_or(i64::MAX));
            (a_day > 0 && at_ms < period_end_ms).then_some(at_ms)
        };
        let sum = days.iter().copied().map(u128::from).sum::<u128>();
        let since = from_ms.map(|from| now_ms.saturating_sub(from)).filter(|since| *since >= PACE_MS_MIN);
        let a_day = match (days.len(), since) {
            (0, None) => return Ends::Unknown,
            (0, Some(since)) => u128::from(number("used")) * DAY_MS as u128 / since.unsigned_abs() as u128,
            (count, _) => sum / count as u128,
        };
        let a_day = u64::try_from(a_day).unwrap_or(u64::MAX);
        let range = days.iter().max().zip(days.iter().min()).filter(|_| days.len() > 1);
        let range_ms = range.map(|(busiest, quietest)| (reached(*busiest), reached(*quietest)));
        Ends::At(At { a_day, usual_ms: reached(a_day), range_ms, days: days.len() })
    }

    fn in_json(&self, of: &Value) -> Value {
        let mut told = json!({ "rule": of["rule"], "scope": of["scope"], "unit": of["unit"], "remaining": of["remaining"], "period_to_ms": of["period_to_ms"] });
        told["ends"] = match self {
            Ends::Over => "over".into(),
            Ends::Unknown => "unknown".into(),
            Ends::At(At { usual_ms: None, .. }) => "not_in_period".into(),
            Ends::At(At { usual_ms: Some(_), .. }) => "in_period".into(),
        };
        if let Ends::At(at) = self {
            told["a_day"] = at.a_day.into();
            told["usual_ms"] = at.usual_ms.into();
            told["days"] = at.days.into();
            told["earliest_ms"] = at.range_ms.and_then(|(earliest, _)| earliest).into();
            told["latest_ms"] = at.range_ms.and_then(|(_, latest)| latest).into();
        }
        told
    }
}

fn shown(forecasts: &[(&Value, Ends)]) -> String {
    if forecasts.is_empty() {
        return "nothing of a budget is used, held or granted\n".to_owned();
    }
    let mut lines = vec![["RULE", "SCOPE", "ENDS", "BETWEEN", "LEFT", "A DAY"].map(str::to_owned).to_vec()];
    for (of, ends) in forecasts {
        let (usual, range, a_day) = match ends {
            Ends::Over => ("is over".to_owned(), "-".to_owned(), "-".to_owned()),
            Ends::Unknown => ("too early to say".to_owned(), "-".to_owned(), "-".to_owned()),
            Ends::At(at) => {
                let range = at.range_ms.map_or_else(
                    || format!("no range: {} of two whole days", at.days),
                    |(earliest, latest)| format!("{} and {}", moment(earliest), moment(latest)),
                );
                (moment(at.usual_ms), range, amount(&at.a_day.into(), &of["unit"]))
            }
        };
        let left = amount(&of["remaining"], &of["unit"]);
        lines.push(vec![text(&of["rule"]).to_owned(), text(&of["scope"]).to_owned(), usual, range, left, a_day]);
    }
    let mut out = columns(&lines, 4);
    out.push_str(
        "A day is the mean of the whole days before now that the trail has (of the period so far where it has none); the range is that of the \
         busiest and the quietest of them. What is left is divided by it: nothing is known of tomorrow, of weekends, or of grants to come.\n",
    );
    out
}

fn moment(ms: Option<i64>) -> String {
    let time = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "not in its period".to_owned(), |time| format!("{time:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten days into a month of thirty; each row: used, left, days, what is told.
    #[test]
    fn a_budget_ends_at_its_pace_or_not_in_its_period() {
        let now_ms = 10 * DAY_MS;
        let at = |a_day, usual: Option<i64>, range: Option<(Option<i64>, Option<i64>)>, days| {
            let day = |days: i64| now_ms + days * DAY_MS;
            let range_ms = range.map(|(a, b)| (a.map(day), b.map(day)));
            Ends::At(At { a_day, usual_ms: usual.map(day), range_ms, days })
        };
        for (used, left, days, ends, why) in [
            (100, 0, &[1, 1][..], Ends::Over, "nothing is left"),
            (100, 50, &[][..], at(10, Some(5), None, 0), "of the period so far"),
            (100, 50, &[25][..], at(25, Some(2), None, 1), "one day is no range"),
            (100, 100, &[50, 10, 0][..], at(20, Some(5), Some((Some(2), None)), 3), "a quiet day would make it last"),
            (100, 1_000, &[10, 10][..], at(10, None, Some((None, None)), 2), "it lasts"),
            (0, 100, &[][..], at(0, None, None, 0), "nobody spends"),
        ] {
            let balance = json!({ "used": used, "remaining": left, "period_from_ms": 0, "period_to_ms": 30 * DAY_MS });
            assert_eq!(Ends::of(&balance, days, now_ms), ends, "{why}");
        }
        let young = json!({ "used": 5, "remaining": 5, "period_from_ms": now_ms - 1_000, "period_to_ms": 30 * DAY_MS });
        assert_eq!(Ends::of(&young, &[], now_ms), Ends::Unknown, "a second is no pace");
        let rolling = json!({ "used": 5, "remaining": 5, "period_from_ms": now_ms - DAY_MS, "period_to_ms": null });
        assert_eq!(Ends::of(&rolling, &[], now_ms), at(5, Some(1), None, 0), "a span has no end");
    }
}

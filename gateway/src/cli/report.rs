//! `tollgate trail report spend`: who spent how much on what, from the trail's files alone; needs no gateway.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use tollgate_policy_runtime::tables::tenants::end_ms;
use tollgate_store::trail;

use super::spend::{By, GROUPS_MAX, KINDS, Line, Spend, Sum, usd};
use super::{Ended, Places};

#[derive(Subcommand)]
pub enum Report {
    /// Money, tokens and calls, summed by who and what
    Spend(SpendArgs),
}

#[derive(Args)]
pub struct SpendArgs {
    /// What makes a row, in this order
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [By::Tenant, By::App, By::UseCase, By::Model])]
    by: Vec<By>,
    /// Calls from this day (UTC) or time on
    #[arg(long, value_name = "DAY_OR_TIME", value_parser = begin_ms)]
    from: Option<i64>,
    /// Calls to the end of this day (UTC), or before this time
    #[arg(long, value_name = "DAY_OR_TIME", value_parser = end_ms)]
    to: Option<i64>,
    /// Rows as CSV, the sum of all last
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

/// A date from its beginning in UTC, or a time.
fn begin_ms(text: &str) -> Result<i64, String> {
    const DAY_MS: i64 = 86_400_000;
    end_ms(text).map(|end| if text.len() == 10 { end - DAY_MS } else { end })
}

/// What was read, and what was not.
#[derive(Default)]
struct Read {
    receipts: u64,
    /// Lines that are no receipts of this version.
    unread: u64,
}

pub fn run(report: &Report) -> Result<(), Ended> {
    let Report::Spend(args) = report;
    let state = super::trail::open(&args.places)?;
    let (mut spend, mut read) = (Spend::by(args.by.clone(), GROUPS_MAX), Read::default());
    let passed = trail::each(&state.trail(), |bytes| match serde_json::from_slice::<Line<'_>>(bytes) {
        Ok(line) => {
            let is_wanted =
                args.from.is_none_or(|from| line.time_ms >= from) && args.to.is_none_or(|to| line.time_ms < to);
            read.receipts += u64::from(is_wanted);
            if is_wanted {
                spend.add(&line);
            }
        }
        Err(_) => read.unread += u64::from(!bytes.is_empty()),
    });
    let passed = passed.map_err(|why| Ended::failed(format!("cannot read `{}`: {why}", state.trail().display())))?;
    read.unread += passed.too_long;
    let beyond = spend.beyond.calls;
    let (rows, total) = spend.rows();
    let told = match (args.csv, args.json) {
        (true, _) => csv(&args.by, &rows, &total),
        (_, true) => format!("{}\n", in_json(&args.by, &rows, &total, &read)),
        (false, false) => table(&args.by, &rows, &total),
    };
    // A reader that has enough is no error.
    let _ = std::io::stdout().write_all(told.as_bytes());
    if read.unread > 0 {
        eprintln!(
            "tollgate: {} lines of the trail are no receipts that this version reads: they are in no row",
            read.unread
        );
    }
    if beyond > 0 {
        eprintln!(
            "tollgate: there are more than {GROUPS_MAX} rows: {beyond} calls are summed in the row `{}`; the total is exact. \
             Ask for fewer columns, or a shorter time",
            super::spend::BEYOND
        );
    }
    Ok(())
}

type Rows = [(Vec<String>, Sum)];

/// Numbers of a row, by name.
fn numbers(sum: &Sum) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("cost_usd", usd(sum.nanousd)),
        ("calls", sum.calls.to_string()),
        ("refused", sum.refused.to_string()),
        ("estimated", sum.estimated.to_string()),
        ("unknown", sum.unknown.to_string()),
    ];
    all.extend(KINDS.iter().zip(sum.tokens).map(|(kind, count)| (*kind, count.to_string())));
    all
}

fn csv(by: &[By], rows: &Rows, total: &Sum) -> String {
    let mut head: Vec<String> = by.iter().map(|by| by.name().to_owned()).collect();
    for (name, _) in numbers(total) {
        head.push(if KINDS.contains(&name) { format!("{name}_tokens") } else { name.to_owned() });
    }
    let mut out = format!("{}\r\n", head.join(","));
    let line = |out: &mut String, group: Vec<String>, sum: &Sum| {
        let cells = group.iter().map(|text| cell(text)).chain(numbers(sum).into_iter().map(|(_, number)| number));
        let _ = write!(out, "{}\r\n", cells.collect::<Vec<_>>().join(","));
    };
    rows.iter().for_each(|(group, sum)| line(&mut out, group.clone(), sum));
    line(&mut out, totals(by), total);
    out
}

/// The first cell says what the row is.
fn totals(by: &[By]) -> Vec<String> {
    let mut cells = vec![String::new(); by.len()];
    if let Some(first) = cells.first_mut() {
        "(total)".clone_into(first);
    }
    cells
}

/// As RFC 4180 has it. A text that a spreadsheet would compute is marked as text: callers choose their own names.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

fn in_json(by: &[By], rows: &Rows, total: &Sum, read: &Read) -> Value {
    let one = |sum: &Sum| -> Map<String, Value> {
        let tokens: Map<String, Value> =
            KINDS.iter().zip(sum.tokens).map(|(kind, count)| ((*kind).to_owned(), number(count))).collect();
        let told = json!({
            "cost_usd": usd(sum.nanousd), "calls": sum.calls, "refused": sum.refused, "estimated": sum.estimated,
            "unknown": sum.unknown, "tokens": tokens,
        });
        told.as_object().cloned().unwrap_or_default()
    };
    let rows: Vec<Value> = rows
        .iter()
        .map(|(group, sum)| {
            let mut told = one(sum);
            told.extend(by.iter().zip(group).map(|(by, value)| (by.name().to_owned(), value.as_str().into())));
            Value::Object(told)
        })
        .collect();
    json!({ "rows": rows, "total": one(total), "receipts": read.receipts, "unread": read.unread })
}

/// No count comes near it, but a text is better than a wrong number.
fn number(count: u128) -> Value {
    u64::try_from(count).map_or_else(|_| count.to_string().into(), Value::from)
}

fn table(by: &[By], rows: &Rows, total: &Sum) -> String {
    let mut lines: Vec<Vec<String>> = vec![by.iter().map(|by| by.name().to_uppercase()).collect()];
    lines[0]
        .extend(["USD", "CALLS", "REFUSED", "ESTIMATED", "UNKNOWN", "INPUT", "CACHED", "OUTPUT"].map(str::to_owned));
    let line = |group: Vec<String>, sum: &Sum| {
        let [input, cached, write, write_1h, audio, output, reasoning, output_audio] = sum.tokens;
        let counts = [sum.calls, sum.refused, sum.estimated, sum.unknown].map(|n| n.to_string());
        let tokens =
            [input + write + write_1h + audio, cached, output + reasoning + output_audio].map(|n| n.to_string());
        let shown = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let group = group.into_iter().map(shown);
        group.chain([usd(sum.nanousd)]).chain(counts).chain(tokens).collect::<Vec<_>>()
    };
    lines.extend(rows.iter().map(|(group, sum)| line(group.clone(), sum)));
    lines.push(line(totals(by), total));
    super::table::columns(&lines, by.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_read_as_it_was_written_and_never_computed() {
        for (text, written) in [
            ("acme", "acme"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=1+1", "'=1+1"),
            ("-2,3", "\"'-2,3\""),
            ("two\nlines", "\"two\nlines\""),
        ] {
            assert_eq!(cell(text), written);
        }
    }

    #[test]
    fn a_day_begins_and_ends_in_utc() {
        let (from, to) = (begin_ms("2026-12-01").unwrap(), end_ms("2026-12-01").unwrap());
        assert_eq!(to - from, 86_400_000);
        assert_eq!(begin_ms("2026-12-01T00:00:00Z"), Ok(from));
        assert!(begin_ms("yesterday").is_err());
    }
}

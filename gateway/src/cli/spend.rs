//! What calls came to, summed by who and what: one receipt after another, exact, in bounded memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::HashMap;

use serde::Deserialize;
use tollgate_core::contract::usage::{Usage, UsedBeside};

/// So many rows at most: what has no room is summed in one row more.
pub const GROUPS_MAX: usize = 100_000;
/// The values of that row.
pub const BEYOND: &str = "(beyond)";

/// By what calls are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum By {
    Tenant,
    App,
    UseCase,
    /// A keyed digest, as receipts have it
    User,
    Key,
    /// The target that answered, or was asked last
    Model,
    Operation,
    /// In UTC
    Day,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            By::Tenant => "tenant",
            By::App => "app",
            By::UseCase => "use_case",
            By::User => "user",
            By::Key => "key",
            By::Model => "model",
            By::Operation => "operation",
            By::Day => "day",
        }
    }

    fn of(self, line: &Line<'_>) -> String {
        match self {
            By::Tenant => line.caller.tenant.to_string(),
            By::App => line.caller.app.to_string(),
            By::UseCase => line.use_case().to_owned(),
            By::User => line.caller.user.to_string(),
            By::Key => line.caller.key.to_string(),
            By::Model => line.attempts.last().map_or_else(String::new, |attempt| attempt.target.to_string()),
            By::Operation => line.operation.to_string(),
            By::Day => {
                let time = jiff::Timestamp::from_millisecond(line.time_ms).unwrap_or_default();
                time.strftime("%Y-%m-%d").to_string()
            }
        }
    }
}

/// What is read of a receipt.
#[derive(Deserialize)]
pub struct Line<'a> {
    pub time_ms: i64,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    caller: Who<'a>,
    #[serde(borrow, default)]
    facts: BTreeMap<Cow<'a, str>, Facts<'a>>,
    #[serde(borrow, default)]
    attempts: Vec<Attempt<'a>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    usage_beside: Vec<UsedBeside>,
    cost_nanousd: Option<i64>,
    outcome: Ended<'a>,
    #[serde(default)]
    replayed_from: Option<serde::de::IgnoredAny>,
    #[serde(borrow, default)]
    pub holds: Vec<Hold<'a>>,
}

#[derive(Deserialize)]
struct Who<'a> {
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    #[serde(borrow, default)]
    app: Cow<'a, str>,
    #[serde(borrow, default)]
    user: Cow<'a, str>,
    #[serde(borrow, default)]
    key: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Facts<'a> {
    #[serde(borrow, default)]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default)]
    use_case: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Attempt<'a> {
    #[serde(borrow)]
    target: Cow<'a, str>,
    #[serde(default)]
    may_have_cost_nanousd: Option<i64>,
}

#[derive(Deserialize)]
struct Ended<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
pub struct Hold<'a> {
    #[serde(borrow)]
    pub scope: Cow<'a, str>,
}

impl Line<'_> {
    fn use_case(&self) -> &str {
        let facts = self.facts.get("pre-route").and_then(|facts| facts.meta.as_ref());
        facts.map_or("", |meta| &meta.use_case)
    }

    /// What was booked in dollars: as it settles, a stored answer costs nothing again.
    pub fn nanousd(&self) -> i128 {
        let lost =
            self.attempts.iter().filter_map(|attempt| attempt.may_have_cost_nanousd).map(i128::from).sum::<i128>();
        lost + self.used().and(self.cost_nanousd).map_or(0, i128::from)
    }

    /// What was used in the end; attempts that were lost are in no count of tokens.
    pub fn used(&self) -> Option<&Usage> {
        self.usage.as_ref().filter(|_| self.replayed_from.is_none())
    }
}

/// What the calls of one row came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sum {
    pub calls: u64,
    pub refused: u64,
    /// Calls with a count or a cost that is ours.
    pub estimated: u64,
    /// Calls that used something whose cost nobody knows.
    pub unknown: u64,
    pub nanousd: i128,
    pub tokens: [u128; KINDS.len()],
}

/// Kinds of tokens; no token is of two.
pub const KINDS: [&str; 8] =
    ["input", "cached_input", "cache_write", "cache_write_1h", "input_audio", "output", "reasoning", "output_audio"];

impl Sum {
    fn add(&mut self, line: &Line<'_>) {
        self.calls += 1;
        self.refused += u64::from(line.outcome.kind == "refused");
        self.nanousd += line.nanousd();
        let lost = line.attempts.iter().any(|attempt| attempt.may_have_cost_nanousd.is_some());
        let Some(used) = line.used() else {
            self.estimated += u64::from(lost);
            return;
        };
        self.estimated += u64::from(used.estimated || lost);
        self.unknown += u64::from(line.cost_nanousd.is_none() && (used.total() > 0 || used.search_units > 0));
        let beside = line.usage_beside.iter().map(|beside| &beside.usage);
        for used in std::iter::once(used).chain(beside) {
            let counts = [
                used.input,
                used.cached_input,
                used.cache_write,
                used.cache_write_1h,
                used.input_audio,
                used.output,
                used.reasoning,
                used.output_audio,
            ];
            for (sum, count) in self.tokens.iter_mut().zip(counts) {
                *sum += u128::from(count);
            }
        }
    }

    fn join(&mut self, other: &Sum) {
        self.calls += other.calls;
        self.refused += other.refused;
        self.estimated += other.estimated;
        self.unknown += other.unknown;
        self.nanousd += other.nanousd;
        for (sum, count) in self.tokens.iter_mut().zip(other.tokens) {
            *sum += count;
        }
    }
}

/// All rows so far.
pub struct Spend {
    by: Vec<By>,
    groups_max: usize,
    groups: HashMap<Vec<String>, Sum>,
    /// What had no room in a row of its own.
    pub beyond: Sum,
}

impl Spend {
    pub fn by(by: Vec<By>, groups_max: usize) -> Spend {
        Spend { by, groups_max, groups: HashMap::new(), beyond: Sum::default() }
    }

    pub fn add(&mut self, line: &Line<'_>) {
        let group: Vec<String> = self.by.iter().map(|by| by.of(line)).collect();
        let is_full = self.groups.len() >= self.groups_max;
        match self.groups.get_mut(&group) {
            Some(sum) => sum.add(line),
            None if is_full => self.beyond.add(line),
            None => self.groups.entry(group).or_default().add(line),
        }
    }

    /// The rows, the dearest first; by their values where days come first. And the sum of all.
    pub fn rows(self) -> (Vec<(Vec<String>, Sum)>, Sum) {
        let mut rows: Vec<_> = self.groups.into_iter().collect();
        match self.by.first() {
            Some(By::Day) => rows.sort_by(|(a, _), (b, _)| a.cmp(b)),
            Some(_) | None => rows.sort_by(|(a, x), (b, y)| (y.nanousd, a).cmp(&(x.nanousd, b))),
        }
        if self.beyond != Sum::default() {
            rows.push((self.by.iter().map(|_| BEYOND.to_owned()).collect(), self.beyond));
        }
        let mut total = Sum::default();
        rows.iter().for_each(|(_, sum)| total.join(sum));
        (rows, total)
    }
}

/// Dollars, exact to the last nano-dollar.
pub fn usd(nanousd: i128) -> String {
    const IN_A_DOLLAR: u128 = tollgate_core::limits::money::NANOUSD as u128;
    let (sign, whole) = (if nanousd < 0 { "-" } else { "" }, nanousd.unsigned_abs());
    format!("{sign}{}.{:09}", whole / IN_A_DOLLAR, whole % IN_A_DOLLAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(tenant: &str, rest: &str) -> String {
        format!(
            r#"{{"receipt":1,"time_ms":1764547200000,"operation":"chat","caller":{{"tenant":"{tenant}","user":"u1"}},"facts":{{"pre-route":{{"meta":{{"use_case":"support"}}}}}},{rest}}}"#
        )
    }

    #[test]
    fn receipts_are_summed_and_what_is_not_known_is_no_zero() {
        let answered = r#""outcome":{"kind":"answered","status":200}"#;
        let lines = [
            receipt("a", &format!(r#"{answered},"cost_nanousd":3,"usage":{{"input":10,"output":5,"reasoning":2}}"#)),
            receipt(
                "a",
                &format!(
                    r#"{answered},"cost_nanousd":null,"usage":{{"input":1,"output":1,"estimated":true}},"usage_beside":[{{"model":"m","usage":{{"input":20,"output":30}}}}]"#
                ),
            ),
            receipt("b", r#""outcome":{"kind":"refused","status":429},"cost_nanousd":null"#),
            receipt(
                "b",
                &format!(r#"{answered},"cost_nanousd":9,"usage":{{"input":7}},"replayed_from":{{"call_id":"x"}}"#),
            ),
            receipt(
                "b",
                &format!(
                    r#"{answered},"cost_nanousd":{},"usage":{{"input":1}},"attempts":[{{"target":"p/m","may_have_cost_nanousd":4}},{{"target":"p/n"}}]"#,
                    i64::MAX
                ),
            ),
        ];
        let mut spend = Spend::by(vec![By::Tenant, By::UseCase, By::Model, By::Day], 2);
        lines.iter().for_each(|line| spend.add(&serde_json::from_str(line).unwrap()));
        let (rows, total) = spend.rows();
        let named: Vec<String> = rows.iter().map(|(group, sum)| format!("{} {}", group.join("/"), sum.calls)).collect();
        assert_eq!(
            named,
            ["a/support//2025-12-01 2", "b/support//2025-12-01 2", "(beyond)/(beyond)/(beyond)/(beyond) 1"]
        );
        let a = &rows[0].1;
        assert_eq!((a.nanousd, a.estimated, a.unknown, a.tokens[0], a.tokens[5], a.tokens[6]), (3, 1, 1, 31, 36, 2));
        let b = &rows[1].1;
        assert_eq!((b.nanousd, b.refused, b.tokens[0]), (0, 1, 0), "a stored answer is not used again");
        assert_eq!((total.calls, total.nanousd), (5, i128::from(i64::MAX) + 7));
        assert_eq!(usd(total.nanousd), "9223372036.854775814");
        assert_eq!(usd(-5), "-0.000000005");
    }
}

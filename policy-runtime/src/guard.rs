//! Guards of a canary: `errors<2%` bounds what the canary may come to, `cost<+10%` how much worse than the active revision.

use serde::Serialize;
use tollgate_core::contract::nearest;

/// No verdict from fewer calls than this, on each side that a guard looks at.
pub const CALLS_MIN: u64 = 20;

/// What one revision's calls came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    pub calls: u64,
    /// Turned away: by a policy, a limit, a grant.
    pub denied: u64,
    /// Of the provider or the gateway, and calls in which a policy failed.
    pub errors: u64,
    pub cost_nanousd: i64,
    pub latency_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Errors,
    Denied,
    Cost,
    Latency,
}

const METRICS: [(&str, Metric); 4] =
    [("errors", Metric::Errors), ("denied", Metric::Denied), ("cost", Metric::Cost), ("latency", Metric::Latency)];

/// One bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    metric: Metric,
    /// `+`: compared with the active revision.
    relative: bool,
    percent: f64,
}

impl Guard {
    /// Several, between commas: `errors<2%, cost<+10%`.
    pub fn parse_all(text: &str) -> Result<Vec<Guard>, String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Guard::parse).collect()
    }

    fn parse(text: &str) -> Result<Guard, String> {
        let shape = || format!("`{text}` is no guard: write `errors<2%`, `denied<+5%`, `cost<+10%` or `latency<+20%`");
        let (name, bound) = text.split_once('<').ok_or_else(shape)?;
        let names = METRICS.map(|(name, _)| name);
        let metric = METRICS.iter().find(|(known, _)| *known == name.trim()).map(|(_, metric)| *metric);
        let metric = metric.ok_or_else(|| {
            let hint = nearest::hint(name.trim(), names);
            format!("a guard looks at {}, not at `{}`{hint}", names.join(", "), name.trim())
        })?;
        let bound = bound.trim().strip_suffix('%').ok_or_else(shape)?;
        let (relative, number) = bound.strip_prefix('+').map_or((false, bound), |rest| (true, rest));
        let percent: f64 = number.trim().parse().map_err(|_| shape())?;
        if !(0.0..=10_000.0).contains(&percent) {
            return Err(format!("`{text}`: the bound must be from 0 to 10000 percent"));
        }
        if !relative && matches!(metric, Metric::Cost | Metric::Latency) {
            return Err(format!(
                "`{text}`: cost and latency are compared with the active revision: write `<+{number}%`"
            ));
        }
        Ok(Guard { metric, relative, percent })
    }

    /// Whether it looks at the active revision too.
    pub fn compares(&self) -> bool {
        self.relative
    }

    /// Why it is broken, if it is. Shares (`errors`, `denied`) are compared in points, means (`cost`, `latency`) in proportion.
    pub fn broken(&self, active: &Side, second: &Side) -> Option<String> {
        if second.calls < CALLS_MIN || (self.relative && active.calls < CALLS_MIN) {
            return None;
        }
        let of = |side: &Side| -> f64 {
            let calls = side.calls.max(1) as f64;
            match self.metric {
                Metric::Errors => 100.0 * side.errors as f64 / calls,
                Metric::Denied => 100.0 * side.denied as f64 / calls,
                Metric::Cost => side.cost_nanousd as f64 / calls,
                Metric::Latency => side.latency_ms as f64 / calls,
            }
        };
        let (own, base) = (of(second), of(active));
        let name = METRICS.iter().find(|(_, metric)| *metric == self.metric).map_or("", |(name, _)| name);
        let (is_broken, told) = match (self.metric, self.relative) {
            (Metric::Errors | Metric::Denied, false) => {
                (own >= self.percent, format!("{name} {own:.1} % of {} calls, bound {} %", second.calls, self.percent))
            }
            (Metric::Errors | Metric::Denied, true) => (
                own - base >= self.percent,
                format!("{name} {own:.1} % against {base:.1} %, bound +{} points", self.percent),
            ),
            (Metric::Cost | Metric::Latency, _) => {
                let more = if base > 0.0 { 100.0 * (own - base) / base } else { 0.0 };
                (more >= self.percent && own > base, format!("{name} {more:+.1} % a call, bound +{} %", self.percent))
            }
        };
        is_broken.then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_break_where_they_say_and_not_before() {
        let side =
            |calls, denied, errors, cost_nanousd, latency_ms| Side { calls, denied, errors, cost_nanousd, latency_ms };
        for (guard, active, second, broken, why) in [
            ("errors<2%", side(100, 0, 0, 0, 0), side(100, 0, 2, 0, 0), true, "at the bound"),
            ("errors<2%", side(100, 0, 0, 0, 0), side(100, 0, 1, 0, 0), false, "below it"),
            ("errors<2%", side(100, 0, 0, 0, 0), side(19, 0, 19, 0, 0), false, "too few calls to tell"),
            ("denied<+5%", side(100, 10, 0, 0, 0), side(100, 14, 0, 0, 0), false, "4 points more"),
            ("denied<+5%", side(100, 10, 0, 0, 0), side(100, 15, 0, 0, 0), true, "5 points more"),
            ("denied<+5%", side(3, 0, 0, 0, 0), side(100, 99, 0, 0, 0), false, "nothing to compare with"),
            ("cost<+10%", side(100, 0, 0, 100, 0), side(50, 0, 0, 55, 0), true, "a tenth dearer a call"),
            ("cost<+10%", side(100, 0, 0, 100, 0), side(50, 0, 0, 54, 0), false, "a little dearer"),
            ("cost<+0%", side(100, 0, 0, 0, 0), side(100, 0, 0, 0, 0), false, "free stays free"),
            ("latency<+20%", side(100, 0, 0, 0, 1000), side(100, 0, 0, 0, 1200), true, "slower"),
        ] {
            let guards = Guard::parse_all(guard).unwrap();
            assert_eq!(guards[0].broken(&active, &second).is_some(), broken, "{guard}: {why}");
        }
    }

    #[test]
    fn a_wrong_guard_is_told() {
        for (text, told) in [
            ("errors", "is no guard"),
            ("eror<2%", "did you mean `errors`?"),
            ("errors<two%", "is no guard"),
            ("cost<5%", "compared with the active"),
            ("errors<-1%", "from 0 to"),
        ] {
            let why = Guard::parse_all(text).unwrap_err();
            assert!(why.contains(told), "{text}: {why}");
        }
        assert_eq!(Guard::parse_all("errors<2%, cost<+10%").unwrap().len(), 2);
    }
}

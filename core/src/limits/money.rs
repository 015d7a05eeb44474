//! Money is whole nano-dollars in `i64`; prices are whole femto-dollars per token. No float touches either.

use serde::{Deserialize, Serialize};

use crate::contract::usage::Usage;

/// Nano-dollars in a dollar.
pub const NANOUSD: i64 = 1_000_000_000;
/// Femto-dollars in a nano-dollar.
const FEMTO_PER_NANO: i128 = 1_000_000;

/// Decimal dollars (`"0.25"`, `"1e-3"` is refused) to nano-dollars, exactly; finer amounts are refused.
pub fn nanousd_from_usd(text: &str) -> Result<i64, String> {
    scaled(text, 9).map_err(|why| format!("`{text}` is no amount in dollars: {why}"))
}

/// As people read it: `0.000150`, at least six decimals, no more than needed.
pub fn usd_text(nanousd: i64) -> String {
    let sign = if nanousd < 0 { "-" } else { "" };
    let whole = nanousd.unsigned_abs();
    let (dollars, nanos) = (whole / NANOUSD as u64, whole % NANOUSD as u64);
    let mut decimals = format!("{nanos:09}");
    while decimals.len() > 6 && decimals.ends_with('0') {
        decimals.pop();
    }
    format!("{sign}{dollars}.{decimals}")
}

/// A decimal text times 10^`digits`, exactly.
fn scaled(text: &str, digits: usize) -> Result<i64, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err("write it as digits with at most one point".to_owned());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > digits {
        return Err(format!("at most {digits} decimals count"));
    }
    format!("{whole}{fraction:0<digits$}").parse().map_err(|_| "it is too large".to_owned())
}

/// What a token of each kind costs, in femto-dollars (10^-15 dollars).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Price {
    pub input: i64,
    /// Input tokens read from the provider's prompt cache; absent = as `input`.
    pub cached_input: Option<i64>,
    pub output: i64,
}

impl Price {
    /// Decimal dollars per million tokens (`"0.15"`) to femto-dollars per token, exactly.
    pub fn femto_from_usd_per_million(text: &str) -> Result<i64, String> {
        scaled(text, 9).map_err(|why| format!("`{text}` is no price in dollars per million tokens: {why}"))
    }

    /// The price of a usage in nano-dollars: computed exactly, rounded up once.
    pub fn cost(&self, usage: &Usage) -> i64 {
        let input = i128::from(self.input);
        // Kinds without a price of their own are never free: what is written to a cache costs up to a quarter more than
        // input, and twice as much where it is kept for an hour.
        let femto = i128::from(usage.input) * input
            + i128::from(usage.input_audio) * input
            + (i128::from(usage.cache_write) * input * 5 + 3).div_euclid(4)
            + i128::from(usage.cache_write_1h) * input * 2
            + i128::from(usage.cached_input) * i128::from(self.cached_input.unwrap_or(self.input))
            + i128::from(usage.output_all()) * i128::from(self.output);
        let nano = (femto + FEMTO_PER_NANO - 1).div_euclid(FEMTO_PER_NANO);
        i64::try_from(nano).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        for (text, nano) in [
            ("1", Some(NANOUSD)),
            ("0.000000001", Some(1)),
            ("0.0000000001", None),
            ("-1", None),
            ("1e3", None),
            ("", None),
            ("9223372037", None),
        ] {
            assert_eq!(nanousd_from_usd(text).ok(), nano, "{text}");
        }
        assert_eq!(usd_text(150_000), "0.000150");
        assert_eq!(usd_text(1_234_567_891), "1.234567891");
        assert_eq!(usd_text(-5), "-0.000000005");
    }

    #[test]
    fn a_cost_is_rounded_up_once_over_all_kinds() {
        let price = Price {
            input: Price::femto_from_usd_per_million("0.15").unwrap(),
            cached_input: Some(Price::femto_from_usd_per_million("0.0375").unwrap()),
            output: Price::femto_from_usd_per_million("0.60").unwrap(),
        };
        let usage = Usage { input: 10, cached_input: 1, output: 3, reasoning: 1, ..Usage::default() };
        // 10 x 150 + 1 x 37.5 + 4 x 600 = 3937.5 nano-dollars
        assert_eq!(price.cost(&usage), 3938);
    }
}

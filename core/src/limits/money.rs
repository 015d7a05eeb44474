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
    let whole = nanousd.unsigned_abs();
    let (dollars, nanos) = (whole / NANOUSD as u64, whole % NANOUSD as u64);
    let mut text = String::with_capacity(24);
    if nanousd < 0 {
        text.push('-');
    }
    let mut digits = itoa::Buffer::new();
    text.push_str(digits.format(dollars));
    text.push('.');
    // With one digit more before them, all nine are written.
    text.push_str(&digits.format(NANOUSD as u64 + nanos)[1..]);
    let needed = text.trim_end_matches('0').len().max(text.len() - 3);
    text.truncate(needed);
    text
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

/// What a token of each kind costs, in femto-dollars (10^-15 dollars). An absent kind costs what stands behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rates {
    pub input: i64,
    /// Input read from the provider's prompt cache; absent = `input`.
    pub cached_input: Option<i64>,
    /// Input written to it for some minutes; absent = `input` and a quarter, the dearest that is asked for it anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<i64>,
    /// Input written to it for an hour; absent = twice `input`, and no less than `cache_write`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<i64>,
    /// Absent = `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_audio: Option<i64>,
    pub output: i64,
    /// Absent = `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<i64>,
    /// Absent = `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_audio: Option<i64>,
}

/// The price of a target: its rates, and those of long prompts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Price {
    #[serde(flatten)]
    pub rates: Rates,
    /// A unit of a ranking, as its provider counts them; absent = not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_unit: Option<i64>,
    /// Rates of calls with long prompts, by rising `tokens`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub above: Vec<Above>,
}

/// Rates of all tokens of a call that has more than this many input tokens, whatever their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Above {
    pub tokens: u64,
    #[serde(flatten)]
    pub rates: Rates,
}

/// The most that a call can use, and of which kinds, for a bound on its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    pub input: u64,
    pub output: u64,
    /// It brings sound, or asks for it.
    pub audio: bool,
    /// It may have the provider keep its prompt for an hour.
    pub hour: bool,
    pub search_units: u64,
}

impl Rates {
    fn cached_input(&self) -> i64 {
        self.cached_input.unwrap_or(self.input)
    }

    fn cache_write(&self) -> i64 {
        self.cache_write.unwrap_or_else(|| self.input.saturating_add(self.input.saturating_add(3) / 4))
    }

    fn cache_write_1h(&self) -> i64 {
        self.cache_write_1h.unwrap_or_else(|| self.input.saturating_mul(2).max(self.cache_write()))
    }

    fn input_audio(&self) -> i64 {
        self.input_audio.unwrap_or(self.input)
    }

    fn reasoning(&self) -> i64 {
        self.reasoning.unwrap_or(self.output)
    }

    fn output_audio(&self) -> i64 {
        self.output_audio.unwrap_or(self.output)
    }

    fn cost(&self, usage: &Usage) -> i128 {
        exactly(&[
            (usage.input, self.input),
            (usage.cached_input, self.cached_input()),
            (usage.cache_write, self.cache_write()),
            (usage.cache_write_1h, self.cache_write_1h()),
            (usage.input_audio, self.input_audio()),
            (usage.output, self.output),
            (usage.reasoning, self.reasoning()),
            (usage.output_audio, self.output_audio()),
        ])
    }

    /// Every token at the dearest kind that it may be of.
    fn worst(&self, most: &Most) -> i128 {
        let mut input = self.input.max(self.cached_input()).max(self.cache_write());
        let mut output = self.output.max(self.reasoning());
        if most.hour {
            input = input.max(self.cache_write_1h());
        }
        if most.audio {
            input = input.max(self.input_audio());
            output = output.max(self.output_audio());
        }
        exactly(&[(most.input, input), (most.output, output)])
    }
}

/// Counts times their rates, in femto-dollars.
fn exactly(counts: &[(u64, i64)]) -> i128 {
    let costs = counts.iter().map(|(count, rate)| i128::from(*count).saturating_mul(i128::from(*rate)));
    costs.fold(0, i128::saturating_add)
}

/// In nano-dollars.
fn round_up(femto: i128) -> i64 {
    let nano = femto.saturating_add(FEMTO_PER_NANO - 1).div_euclid(FEMTO_PER_NANO);
    i64::try_from(nano).unwrap_or(i64::MAX)
}

impl Price {
    /// Decimal dollars per million tokens (`"0.15"`) to femto-dollars per token, exactly.
    pub fn femto_from_usd_per_million(text: &str) -> Result<i64, String> {
        scaled(text, 9).map_err(|why| format!("`{text}` is no price in dollars per million tokens: {why}"))
    }

    /// Femto-dollars per token as decimal dollars per million tokens, exactly.
    pub fn usd_per_million(femto: i64) -> String {
        let text = format!("{}.{:09}", femto / NANOUSD, femto % NANOUSD);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// The price of a usage in nano-dollars: computed exactly, rounded up once.
    pub fn cost(&self, usage: &Usage) -> i64 {
        let input = usage.input_all();
        let above = self.above.iter().rev().find(|row| input > row.tokens);
        let tokens = above.map_or(&self.rates, |row| &row.rates).cost(usage);
        round_up(tokens.saturating_add(self.searches(usage.search_units)))
    }

    /// Does it know what all of this costs?
    pub fn knows(&self, usage: &Usage) -> bool {
        usage.search_units == 0 || self.search_unit.is_some()
    }

    fn searches(&self, units: u64) -> i128 {
        exactly(&[(units, self.search_unit.unwrap_or(0))])
    }

    /// No usage within `most` costs more.
    pub fn worst(&self, most: &Most) -> i64 {
        let reached = self.above.iter().filter(|row| most.input > row.tokens);
        let dearer = reached.map(|row| row.rates.worst(most)).max().unwrap_or(0);
        round_up(dearer.max(self.rates.worst(most)).saturating_add(self.searches(most.search_units)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    fn femto(text: &str) -> i64 {
        Price::femto_from_usd_per_million(text).unwrap()
    }

    #[test]
    fn a_cost_is_rounded_up_once_over_all_kinds() {
        let rates = Rates {
            input: femto("0.15"),
            cached_input: Some(femto("0.0375")),
            output: femto("0.60"),
            ..Rates::default()
        };
        let price = Price { rates, ..Price::default() };
        let usage = Usage { input: 10, cached_input: 1, output: 3, reasoning: 1, ..Usage::default() };
        // 10 x 150 + 1 x 37.5 + 4 x 600 = 3937.5 nano-dollars
        assert_eq!(price.cost(&usage), 3938);
    }

    #[test]
    fn each_kind_has_its_price_or_that_of_the_kind_behind_it() {
        let plain = Rates { input: 1_000_000, output: 10_000_000, ..Rates::default() };
        let full = Rates {
            cached_input: Some(100_000),
            cache_write: Some(1_500_000),
            cache_write_1h: Some(2_500_000),
            input_audio: Some(3_000_000),
            reasoning: Some(4_000_000),
            output_audio: Some(20_000_000),
            ..plain
        };
        let minutes = Rates { cache_write_1h: None, ..full };
        let one = |set: fn(&mut Usage)| {
            let mut usage = Usage::default();
            set(&mut usage);
            [plain, minutes, full].map(|rates| Price { rates, ..Price::default() }.cost(&usage))
        };
        assert_eq!(one(|u| u.input = 10), [10, 10, 10]);
        assert_eq!(one(|u| u.cached_input = 10), [10, 1, 1]);
        assert_eq!(one(|u| u.cache_write = 10), [13, 15, 15], "12.5 is rounded up");
        assert_eq!(one(|u| u.cache_write_1h = 10), [20, 20, 25]);
        assert_eq!(one(|u| u.input_audio = 10), [10, 30, 30]);
        assert_eq!(one(|u| u.output = 10), [100, 100, 100]);
        assert_eq!(one(|u| u.reasoning = 10), [100, 40, 40]);
        assert_eq!(one(|u| u.output_audio = 10), [100, 200, 200]);
    }

    #[test]
    fn a_long_prompt_makes_all_tokens_of_the_call_dearer() {
        let rates = |n: i64| Rates { input: n * 1_000_000, output: n * 2_000_000, ..Rates::default() };
        let above = [(200, 2), (400, 3)].map(|(tokens, n)| Above { tokens, rates: rates(n) });
        let price = Price { rates: rates(1), above: above.to_vec(), search_unit: None };
        for (input, cached_input, nano, why) in [
            (200, 0, 202, "not above"),
            (201, 0, 406, "above"),
            (101, 100, 406, "cached input counts as input"),
            (401, 0, 1209, "the highest that is passed"),
        ] {
            assert_eq!(price.cost(&Usage { input, cached_input, output: 1, ..Usage::default() }), nano, "{why}");
        }
    }

    #[test]
    fn a_price_outlives_a_receipt_and_older_receipts_are_read() {
        let old = r#"{"input":1,"cached_input":null,"output":2}"#;
        let price: Price = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&price).unwrap(), old);
        let above = vec![Above { tokens: 9, rates: Rates { cache_write: Some(7), ..price.rates } }];
        let price = Price { above, ..price };
        let text = serde_json::to_string(&price).unwrap();
        assert_eq!(serde_json::from_str::<Price>(&text).unwrap(), price, "{text}");
    }

    fn rates() -> impl Strategy<Value = Rates> {
        let rate = || 0..2_000_000_000_000_i64;
        let maybe = || proptest::option::of(rate());
        (rate(), maybe(), maybe(), maybe(), maybe(), rate(), maybe(), maybe()).prop_map(
            |(input, cached_input, cache_write, cache_write_1h, input_audio, output, reasoning, output_audio)| Rates {
                input,
                cached_input,
                cache_write,
                cache_write_1h,
                input_audio,
                output,
                reasoning,
                output_audio,
            },
        )
    }

    fn price() -> impl Strategy<Value = Price> {
        let above = proptest::collection::btree_map(0..400_000_u64, rates(), 0..3);
        (rates(), above).prop_map(|(rates, above)| {
            let above = above.into_iter().map(|(tokens, rates)| Above { tokens, rates }).collect();
            Price { rates, above, search_unit: None }
        })
    }

    proptest! {
        /// Holds rest on it: what settles is never above what was held, if the counts are not.
        #[test]
        fn no_usage_within_a_bound_costs_more_than_the_bound(
            price in price(),
            counts in proptest::array::uniform8(0..100_000_u64),
            (slack_in, slack_out) in (0..9_u64, 0..9_u64),
        ) {
            let [input, cached_input, cache_write, cache_write_1h, input_audio, output, reasoning, output_audio] = counts;
            let all = Usage { input, cached_input, cache_write, cache_write_1h, input_audio, output, reasoning, output_audio, estimated: false, search_units: 0 };
            for (audio, hour) in [(true, true), (false, true), (true, false), (false, false)] {
                let mut usage = all;
                if !audio {
                    (usage.input_audio, usage.output_audio) = (0, 0);
                }
                if !hour {
                    usage.cache_write_1h = 0;
                }
                let (input, output) = (usage.input_all() + slack_in, usage.output_all() + slack_out);
                let most = Most { input, output, audio, hour, search_units: 0 };
                prop_assert!(price.cost(&usage) <= price.worst(&most));
            }
        }

        /// A call that is split is dearer by the roundings alone, and a token more never makes it cheaper.
        #[test]
        fn costs_add_up_but_for_one_rounding_each(
            rates in rates(),
            (a, b) in (proptest::array::uniform3(0..100_000_u64), proptest::array::uniform3(0..100_000_u64)),
        ) {
            let price = Price { rates, ..Price::default() };
            let cost = |n: [u64; 3]| price.cost(&Usage { input: n[0], cache_write: n[1], reasoning: n[2], ..Usage::default() });
            let both = cost([a[0] + b[0], a[1] + b[1], a[2] + b[2]]);
            prop_assert!(both <= cost(a) + cost(b) && cost(a) + cost(b) <= both + 1);
            prop_assert!(both >= cost(a).max(cost(b)));
        }

        #[test]
        fn prices_are_told_as_they_are_read(femto in 0..i64::MAX) {
            prop_assert_eq!(Price::femto_from_usd_per_million(&Price::usd_per_million(femto)), Ok(femto));
        }
    }

    #[test]
    fn rankings_cost_by_the_search_where_that_is_known() {
        let price = Price { search_unit: Some(femto("2500")), ..Price::default() };
        let usage = Usage { search_units: 3, ..Usage::default() };
        assert_eq!(price.cost(&usage), 7_500_000, "three times a quarter of a cent");
        assert!(price.knows(&usage) && !Price::default().knows(&usage) && Price::default().knows(&Usage::default()));
        let most = Most { input: 0, output: 0, audio: false, hour: false, search_units: 3 };
        assert_eq!(price.worst(&most), price.cost(&usage));
    }

    #[test]
    fn no_count_overflows() {
        let rates = Rates { input: i64::MAX, output: i64::MAX, ..Rates::default() };
        let usage = Usage { input: u64::MAX, output: u64::MAX, reasoning: u64::MAX, ..Usage::default() };
        assert_eq!(Price { rates, ..Price::default() }.cost(&usage), i64::MAX);
    }
}

//! The rate-limit headers of the caller's dialect: limit, remaining, reset, of the tighter of our limit and the provider's.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::head;
use crate::contract::Dialect;
use crate::evidence::receipt::Receipt;
use crate::limits::rules::Unit;

/// How one of our limits stands after this call was admitted, or was not.
#[derive(Debug, Clone, Copy)]
struct Stand {
    limit: u64,
    remaining: u64,
    resets_in_ms: u64,
}

/// The names of a unit's headers in one manner: limit, remaining, reset.
type Names = [HeaderName; 3];

const OF_OPENAI: [Names; 2] = [
    [
        HeaderName::from_static("x-ratelimit-limit-requests"),
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        HeaderName::from_static("x-ratelimit-reset-requests"),
    ],
    [
        HeaderName::from_static("x-ratelimit-limit-tokens"),
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        HeaderName::from_static("x-ratelimit-reset-tokens"),
    ],
];

const OF_ANTHROPIC: [Names; 2] = [
    [
        HeaderName::from_static("anthropic-ratelimit-requests-limit"),
        HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
        HeaderName::from_static("anthropic-ratelimit-requests-reset"),
    ],
    [
        HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
        HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
    ],
];

/// Puts them beside what the provider told, or in its place where ours has less left.
pub fn put(headers: &mut HeaderMap, receipt: &Receipt) {
    if receipt.holds.is_empty() && receipt.hold_refused.is_none() {
        return;
    }
    let anthropic = matches!(receipt.dialect, Dialect::AnthropicMessages | Dialect::AnthropicCountTokens);
    let names = if anthropic { OF_ANTHROPIC } else { OF_OPENAI };
    for (unit, [limit, remaining, reset]) in [Unit::Requests, Unit::Tokens].into_iter().zip(names) {
        let Some(stand) = tightest(receipt, unit) else { continue };
        let theirs = headers.get(&remaining).and_then(|v| v.to_str().ok()).and_then(|text| text.parse().ok());
        if theirs.is_some_and(|theirs: u64| theirs <= stand.remaining) {
            continue;
        }
        let resets = if anthropic { moment(receipt.time_ms, stand.resets_in_ms) } else { span(stand.resets_in_ms) };
        headers.insert(limit, HeaderValue::from(stand.limit));
        headers.insert(remaining, HeaderValue::from(stand.remaining));
        head::put(headers, reset, &resets);
    }
}

/// The limit of a unit that has least left, as a share of itself.
fn tightest(receipt: &Receipt, unit: Unit) -> Option<Stand> {
    let held = receipt.holds.iter().filter(|held| held.unit == unit).map(|held| Stand {
        limit: held.limit,
        remaining: held.remaining,
        resets_in_ms: held.resets_in_ms,
    });
    let refused = receipt.hold_refused.iter().filter(|refused| refused.unit == unit).map(|refused| Stand {
        limit: refused.limit,
        remaining: refused.limit.saturating_sub(refused.used).saturating_sub(refused.held),
        resets_in_ms: refused.resets_in_ms,
    });
    let share = |stand: &Stand| u128::from(stand.remaining) * 1_000_000 / u128::from(stand.limit.max(1));
    held.chain(refused).min_by_key(share)
}

/// As OpenAI writes it: `20ms`, `1.5s`, `6m0s`, `2h0m0s`.
fn span(ms: u64) -> String {
    let (seconds, rest) = (ms / 1_000, ms % 1_000);
    let of_minute = match rest {
        0 => format!("{}s", seconds % 60),
        rest => format!("{}.{}s", seconds % 60, format!("{rest:03}").trim_end_matches('0')),
    };
    match seconds {
        0 if ms > 0 => format!("{ms}ms"),
        0..60 => of_minute,
        60..3_600 => format!("{}m{of_minute}", seconds / 60),
        _ => format!("{}h{}m{of_minute}", seconds / 3_600, seconds / 60 % 60),
    }
}

/// As Anthropic writes it: a moment, in whole seconds, never too early.
fn moment(now_ms: i64, in_ms: u64) -> String {
    let at_ms = now_ms.saturating_add(i64::try_from(in_ms).unwrap_or(i64::MAX));
    let at = Timestamp::from_second(at_ms.saturating_add(999).div_euclid(1_000)).unwrap_or(Timestamp::MAX);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_moments_are_written_as_their_makers_write_them() {
        for (ms, text) in
            [(0, "0s"), (20, "20ms"), (1_500, "1.5s"), (59_999, "59.999s"), (360_000, "6m0s"), (7_200_000, "2h0m0s")]
        {
            assert_eq!(span(ms), text);
        }
        assert_eq!(moment(1_764_000_000_000, 1), "2025-11-24T16:00:01Z");
    }
}

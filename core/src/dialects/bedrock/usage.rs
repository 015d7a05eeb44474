//! Tokens, read and written. Those of the cache are counted beside the input here, and all of them in the total.

use crate::contract::read::{Raw, as_text, as_whole, find, is_list, loose};
use crate::contract::usage::{Usage, take};
use crate::contract::write::Writer;

pub fn read(raw: Raw<'_>) -> Usage {
    let members = loose(raw);
    let count = |name: &str| find(&members, name).and_then(as_whole);
    // Each count of the cache comes under two names.
    let read = count("cacheReadInputTokens").or_else(|| count("cacheReadInputTokenCount"));
    let mut written = count("cacheWriteInputTokens").or_else(|| count("cacheWriteInputTokenCount")).unwrap_or(0);
    let details: Vec<Raw<'_>> = find(&members, "cacheDetails")
        .filter(|raw| is_list(raw))
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    let hour = details.into_iter().map(loose).filter(|d| find(d, "ttl").and_then(as_text).as_deref() == Some("1h"));
    let hour = hour.filter_map(|d| find(&d, "inputTokens").and_then(as_whole)).fold(0, u64::saturating_add);
    Usage {
        input: count("inputTokens").unwrap_or(0),
        cached_input: read.unwrap_or(0),
        cache_write_1h: take(&mut written, Some(hour)),
        cache_write: written,
        output: count("outputTokens").unwrap_or(0),
        ..Usage::default()
    }
}

/// Its members: the three that SDKs count on, and those of the cache where it was used.
pub fn write(w: &mut Writer, usage: &Usage) {
    w.member("inputTokens", &usage.input.saturating_add(usage.input_audio));
    w.member("outputTokens", &usage.output_all());
    w.member("totalTokens", &usage.total());
    let written = usage.cache_write.saturating_add(usage.cache_write_1h);
    if usage.cached_input > 0 || written > 0 {
        w.member("cacheReadInputTokens", &usage.cached_input);
        w.member("cacheWriteInputTokens", &written);
    }
    if usage.cache_write_1h > 0 {
        w.list_member("cacheDetails", |w| {
            for (ttl, tokens) in [("1h", usage.cache_write_1h), ("5m", usage.cache_write)] {
                w.object(|w| {
                    w.member("ttl", ttl);
                    w.member("inputTokens", &tokens);
                });
            }
        });
    }
}

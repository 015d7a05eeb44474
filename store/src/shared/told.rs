//! What calls are told of scopes: what they hold, why they do not, and that nobody can say.

use std::sync::Arc;

use tollgate_core::limits::claim::{Held, Refused};
use tollgate_core::limits::rules::{Rule, Unit};

use super::desk::{Cell, amount};
use crate::ledger::books::lock;
use crate::ledger::hold::Part;

/// When a call may come again that found no store.
const AWAY_RETRY_MS: u64 = 1_000;

/// What a call is told of one claim that it holds.
pub(super) fn held(part: &Part, cell: &Cell, now_ms: i64) -> Held {
    let slice = lock(&cell.slice);
    let (limit, used, taken) = (slice.limit(), slice.used_by_all(), slice.held_by_all());
    let own = if part.rule.unit == Unit::Requests { amount(part.claimed) } else { 0 };
    let whole = |n: i64| u64::try_from(n).unwrap_or(0);
    Held {
        rule: part.rule.name.clone(),
        scope: (&*part.scope).into(),
        held: part.claimed,
        limit: slice.most,
        used: whole(used - own),
        unit: part.rule.unit,
        remaining: whole(limit - used - taken),
        resets_in_ms: whole(slice.frame.resets_at_ms(used, limit, now_ms) - now_ms),
        is_budget: part.rule.is_budget(),
    }
}

/// The limit has no room for it.
pub(super) fn refused(cell: &Cell, rule: &Rule, need: u64, now_ms: i64) -> Refused {
    let slice = lock(&cell.slice);
    let (limit, used, held) = (slice.limit(), slice.used_by_all(), slice.held_by_all());
    let above = amount(need).saturating_add(used).saturating_add(held) - limit;
    let whole = |n: i64| u64::try_from(n).unwrap_or(0);
    Refused {
        rule: rule.name.clone(),
        scope: (&*cell.scope).into(),
        unit: rule.unit,
        is_budget: rule.is_budget(),
        wanted: need,
        limit: slice.most,
        used: whole(used),
        held: whole(held),
        resets_in_ms: whole(slice.frame.resets_at_ms(used, limit, now_ms) - now_ms),
        retry_after_ms: if need > slice.most { None } else { slice.frame.retry_after_ms(above, limit, now_ms) },
        is_unreachable: false,
    }
}

/// Nobody can say now whether there is room.
pub(super) fn away((cell, rule, need): &(Arc<Cell>, Arc<Rule>, u64)) -> Refused {
    let refused = refused(cell, rule, *need, 0);
    Refused { is_budget: false, is_unreachable: true, retry_after_ms: Some(AWAY_RETRY_MS), resets_in_ms: 0, ..refused }
}

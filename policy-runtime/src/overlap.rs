//! Two policies that may both speak where one voice is heard: told at load, with whose voice it would be.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_core::contract::glob::Glob;
use tollgate_core::policy::{Hook, Mode};

use crate::diagnostic::Diagnostic;
use crate::judge::Seat;
use crate::selectors::Scope;

/// In one revision, no more pairs are told.
const TOLD_MAX: usize = 20;

/// Warns of pairs of the same layer and priority whose calls can be the same. Where both have a `when`, their authors
/// have drawn the line themselves, and it is believed.
pub fn warn(seats: &[Arc<Seat>]) -> Vec<Diagnostic> {
    let mut writers: BTreeMap<String, Vec<&Arc<Seat>>> = BTreeMap::new();
    for seat in seats.iter().filter(|seat| seat.mode == Mode::Enforce && seat.hooks.contains(&Hook::PreRoute)) {
        for effect in seat.program.writes() {
            writers.entry(effect).or_default().push(seat);
        }
    }
    let mut told = Vec::new();
    for (effect, seats) in &writers {
        for (at, second) in seats.iter().enumerate() {
            for first in seats[..at].iter().filter(|first| meet(first, second)).take(TOLD_MAX) {
                told.push(finding(effect, first, second));
            }
        }
    }
    told.truncate(TOLD_MAX);
    told
}

fn meet(a: &Seat, b: &Seat) -> bool {
    let same = (a.standing.layer, a.standing.priority) == (b.standing.layer, b.standing.priority);
    let both_chosen = a.when.is_some() && b.when.is_some();
    same && !both_chosen && scopes_meet(&a.scope, &b.scope)
}

/// Whether a call can be of both. A pattern may match anything.
fn scopes_meet(a: &Scope, b: &Scope) -> bool {
    let pairs = [
        (&a.tenant, &b.tenant),
        (&a.app, &b.app),
        (&a.use_case, &b.use_case),
        (&a.user, &b.user),
        (&a.operation, &b.operation),
        (&a.dialect, &b.dialect),
    ];
    pairs.iter().all(|(a, b)| {
        let names =
            |globs: &[Glob]| globs.iter().map(|glob| glob.exact().map(str::to_owned)).collect::<Option<Vec<_>>>();
        match (names(a), names(b)) {
            (Some(a), Some(b)) if !a.is_empty() && !b.is_empty() => a.iter().any(|name| b.contains(name)),
            _ => true,
        }
    })
}

fn finding(effect: &str, first: &Seat, second: &Seat) -> Diagnostic {
    let (a, b) = (&first.standing.name, &second.standing.name);
    let heard = a.min(b);
    let declared = &second.standing.declared;
    let message =
        format!("`{a}` and `{b}` may both say `{effect}` of one call: `{heard}` would be heard, by its name alone");
    Diagnostic::warning("TG0128", &declared.file, message)
        .at(declared.line, declared.column)
        .over(u32::try_from(b.len()).unwrap_or(1))
        .help("give one of them a higher `priority`, or narrow them with `for` or `when` so that they never meet")
}

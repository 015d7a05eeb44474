//! The compiled policies of a revision, and the asking: index, `for`, share, `when`, program, in this order.
//!
//! On the hot path: what does not match costs a comparison, and what is told of a policy shares its `Standing`.

use std::collections::HashMap;
use std::sync::Arc;

use tollgate_core::policy::effect::{At, StickyBy};
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::revision::{Applies, Judge, Known, Quarantined, Reason};
use tollgate_core::policy::schema::{Group, GroupSet};
use tollgate_core::policy::verdict::{Failure, FailureKind, Lowered, Outcome, Standing, Verdict};
use tollgate_core::policy::{Hook, Mode, OnError};

use crate::engine::{Program, Stop};
use crate::engines::Selector;
use crate::memo::{self, Memo};
use crate::selectors::{self, Scope};
use crate::switches::{Switch, Switches};
use crate::trouble::Trouble;

/// A hook with more policies than this tells nothing of those that speak of other tenants by name: a receipt would list
/// thousands of them, and each call would pay for it.
const TOLD_MAX: usize = 64;

/// One policy, ready to be asked.
pub struct Seat {
    pub standing: Arc<Standing>,
    pub hooks: Vec<Hook>,
    pub mode: Mode,
    pub on_error: OnError,
    pub share: Option<Quota>,
    pub scope: Scope,
    pub when: Option<Selector>,
    /// The groups listed in `reads`; `None` = all but `text`.
    pub reads: Option<GroupSet>,
    pub program: Arc<dyn Program>,
    pub memo: Memo,
    /// For whom it only observes, until when.
    pub waivers: Vec<(Scope, Arc<Lowered>)>,
    /// Counted where live calls are decided; absent in replays.
    pub trouble: Option<Trouble>,
}

/// For whom of those that match the policy acts.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// The bucket's name: `share:NAME`.
    pub bucket: Box<str>,
    pub below: u16,
    pub by: StickyBy,
}

/// All policies of a revision.
#[derive(Default)]
pub struct Bench {
    /// In the order of `Hook::ALL`.
    rows: [Row; 3],
    /// What operators lowered; absent in replays.
    switches: Option<Arc<Switches>>,
}

/// The policies of one hook, in the order of the manifest.
#[derive(Default)]
struct Row {
    seats: Vec<Arc<Seat>>,
    /// Positions of the policies that speak of this tenant by name, ascending.
    named: HashMap<Arc<str>, Vec<u32>>,
    /// Positions of all others, ascending: their globs must be tried.
    rest: Vec<u32>,
    reads: GroupSet,
}

impl Bench {
    /// Policies in mode `off` are left out: they are not asked.
    pub fn of(seats: impl IntoIterator<Item = Arc<Seat>>, switches: Option<Arc<Switches>>) -> Bench {
        let mut bench = Bench { switches, ..Bench::default() };
        for seat in seats.into_iter().filter(|seat| seat.mode != Mode::Off) {
            for hook in Hook::ALL.into_iter().filter(|hook| seat.hooks.contains(hook)) {
                bench.rows[hook as usize].seat(hook, seat.clone());
            }
        }
        bench
    }
}

impl Row {
    fn seat(&mut self, hook: Hook, seat: Arc<Seat>) {
        let at = self.seats.len() as u32;
        match seat.scope.exact_tenants() {
            Some(tenants) => {
                for tenant in tenants {
                    let named = self.named.entry(tenant.into()).or_default();
                    // A tenant may be listed twice; the policy is asked once.
                    if named.last() != Some(&at) {
                        named.push(at);
                    }
                }
            }
            None => self.rest.push(at),
        }
        self.reads = self.reads.union(seat.reads_at(hook));
        self.seats.push(seat);
    }

    /// Positions of the policies whose tenants may match, ascending: two sorted lists merged.
    fn candidates<'a>(&'a self, tenant: &str) -> impl Iterator<Item = u32> + 'a {
        let named = self.named.get(tenant).map_or(&[][..], Vec::as_slice);
        let (mut named, mut rest) = (named.iter().copied().peekable(), self.rest.iter().copied().peekable());
        std::iter::from_fn(move || match (named.peek(), rest.peek()) {
            (Some(a), Some(b)) if a < b => named.next(),
            (Some(_), None) => named.next(),
            (Some(_) | None, Some(_)) => rest.next(),
            (None, None) => None,
        })
    }
}

impl Judge for Bench {
    fn ask(&self, hook: Hook, facts: &Arc<Facts>) -> Vec<Verdict> {
        let row = &self.rows[hook as usize];
        let tell_all = row.seats.len() <= TOLD_MAX;
        let mut verdicts = Vec::with_capacity(if tell_all { row.seats.len() } else { TOLD_MAX });
        let mut told = 0;
        let lowered = self.switches.as_ref().map(|switches| switches.table()).filter(|table| !table.is_empty());
        for at in row.candidates(&facts.caller.tenant) {
            if tell_all {
                let passed = &row.seats[told..at as usize];
                verdicts.extend(passed.iter().map(|seat| seat.verdict(hook, seat.mode, other_tenant(), 0)));
                told = at as usize + 1;
            }
            let seat = &row.seats[at as usize];
            let switch = lowered.as_ref().and_then(|table| table.get(&seat.standing.name));
            verdicts.push(seat.ask(hook, facts, switch));
        }
        if tell_all {
            let passed = &row.seats[told..];
            verdicts.extend(passed.iter().map(|seat| seat.verdict(hook, seat.mode, other_tenant(), 0)));
        }
        verdicts
    }

    fn sits_at(&self, hook: Hook) -> bool {
        !self.rows[hook as usize].seats.is_empty()
    }

    fn reads(&self, hook: Hook) -> GroupSet {
        self.rows[hook as usize].reads
    }

    fn quarantined(&self) -> Vec<Quarantined> {
        let mut all = Vec::new();
        for seat in self.rows.iter().flat_map(|row| &row.seats) {
            all.extend(seat.trouble.iter().flat_map(|trouble| trouble.held(&seat.standing.name)));
        }
        // A policy of several hooks sits in several rows.
        all.sort_by(|a, b| (&a.policy, &a.tenant).cmp(&(&b.policy, &b.tenant)));
        all.dedup();
        all
    }

    fn unrecorded(&self, hook: Hook, policy: &str, facts: &Arc<Facts>) -> Vec<String> {
        let seat = self.rows[hook as usize].seats.iter().find(|seat| &*seat.standing.name == policy);
        let Some(seat) = seat else { return Vec::new() };
        let mut found = memo::unrecorded(|| {
            if seat.when.as_ref().map_or(Ok(true), |when| when.matches(facts))? {
                seat.program.decide(hook, facts)?;
            }
            Ok(())
        });
        if !seat.scope.user.is_empty() && !facts.caller.user.is_empty() {
            found.insert("caller.user".to_owned());
        }
        found.into_iter().collect()
    }

    fn why(&self, hook: Hook, policy: &str, known: &Known<'_>) -> Vec<Reason> {
        let seat = self.rows[hook as usize].seats.iter().find(|seat| &*seat.standing.name == policy);
        seat.map(|seat| seat.why(known)).unwrap_or_default()
    }
}

/// What a key of `for` looks at.
fn scoped<'f>(key: &str, facts: &'f Facts) -> &'f str {
    match key {
        "for.tenant" => &facts.caller.tenant,
        "for.app" => &facts.caller.app,
        "for.user" => &facts.caller.user,
        "for.use_case" => &facts.meta.use_case,
        "for.operation" => facts.call.operation.name(),
        _ => facts.call.dialect.name(),
    }
}

fn other_tenant() -> Outcome {
    Outcome::NotMatched("for.tenant".into())
}

impl Seat {
    fn why(&self, known: &Known<'_>) -> Vec<Reason> {
        let outside = match known.came {
            None => self.scope.mismatch(known.facts),
            Some(Outcome::NotMatched(key)) => selectors::PATHS.into_iter().find(|path| path == key),
            Some(Outcome::Decided(_) | Outcome::Failed(_)) => None,
        };
        if let Some(key) = outside {
            let parts = vec![match known.sealed && key == "for.user" {
                true => format!("`{key}` does not list the user, of whom a keyed digest alone is recorded"),
                false => format!("`{key}` does not list `{}`", scoped(key, known.facts)),
            }];
            return vec![Reason { at: self.standing.declared.clone(), applied: Applies::No, parts }];
        }
        match (known.came, &self.when) {
            (None, Some(when)) => {
                let reason = when.why(known);
                if reason.applied == Applies::Yes { self.program.why(known) } else { vec![reason] }
            }
            (Some(Outcome::NotMatched(key)), Some(when)) if key == "when" => {
                vec![Reason { applied: Applies::No, ..when.why(known) }]
            }
            // Lowered by an operator: no condition kept it from being asked.
            (Some(Outcome::NotMatched(_)), _) => Vec::new(),
            (None | Some(Outcome::Decided(_) | Outcome::Failed(_)), _) => self.program.why(known),
        }
    }

    fn ask(&self, hook: Hook, facts: &Arc<Facts>, switch: Option<&(Switch, Arc<Lowered>)>) -> Verdict {
        if let Some(key) = self.scope.mismatch(facts) {
            return self.verdict(hook, self.mode, Outcome::NotMatched(key.into()), 0);
        }
        let (mode, lowered) = self.lowered(self.mode_for(facts), facts, switch);
        let mut verdict = match mode {
            Mode::Off => self.verdict(hook, mode, Outcome::NotMatched("lowered".into()), 0),
            mode => self.decided(hook, mode, facts),
        };
        verdict.lowered = lowered;
        verdict
    }

    fn decided(&self, hook: Hook, mode: Mode, facts: &Arc<Facts>) -> Verdict {
        let (tenant, now_ms) = (&facts.caller.tenant, facts.call.time_ms);
        if let Some(what) = self.trouble.as_ref().and_then(|trouble| trouble.holds(tenant, now_ms)) {
            return self.failed(hook, mode, Stop { kind: FailureKind::Quarantine, what, at: At::default(), ops: 0 });
        }
        let answer = self.memo.answer(hook, facts, || {
            match self.when.as_ref().map_or(Ok(true), |when| when.matches(facts))? {
                true => self.program.decide(hook, facts).map(Some),
                false => Ok(None),
            }
        });
        match answer {
            Ok(None) => self.verdict(hook, mode, Outcome::NotMatched("when".into()), 0),
            Ok(Some(answer)) => {
                if self.trouble.as_ref().is_some_and(|trouble| trouble.decided(tenant)) {
                    tracing::warn!(policy = &*self.standing.name, %tenant, "the policy decides again: its quarantine has ended");
                }
                self.verdict(hook, mode, Outcome::Decided(answer.effects), answer.ops)
            }
            Err(stop) => {
                let paused = self.trouble.as_ref().and_then(|trouble| trouble.failed(tenant, now_ms, &stop.what));
                if let Some(ms) = paused {
                    let (policy, on_error) = (&*self.standing.name, self.on_error);
                    tracing::error!(policy, %tenant, ms, ?on_error, what = stop.what, at = %stop.at, "the policy keeps failing: quarantined");
                }
                self.failed(hook, mode, stop)
            }
        }
    }

    /// The least of what it declares, a waiver and an operator allow, and who lowered it.
    fn lowered(
        &self,
        mode: Mode,
        facts: &Facts,
        switch: Option<&(Switch, Arc<Lowered>)>,
    ) -> (Mode, Option<Arc<Lowered>>) {
        let now_ms = facts.call.time_ms;
        let waived = self.waivers.iter().find(|(scope, by)| now_ms < by.until_ms && scope.mismatch(facts).is_none());
        let (mode, by) = match waived {
            Some((_, by)) if mode > Mode::Observe => (Mode::Observe, Some(by.clone())),
            Some(_) | None => (mode, None),
        };
        match switch {
            Some((switch, by)) if now_ms < switch.until_ms && switch.to < mode => (switch.to, Some(by.clone())),
            Some(_) | None => (mode, by),
        }
    }

    /// Outside its share a policy is observed.
    fn mode_for(&self, facts: &Facts) -> Mode {
        match (&self.share, self.mode) {
            (Some(quota), Mode::Enforce | Mode::Warn) if facts.bucket(&quota.bucket, quota.by) >= quota.below => {
                Mode::Observe
            }
            (Some(_) | None, mode) => mode,
        }
    }

    fn failed(&self, hook: Hook, mode: Mode, stop: Stop) -> Verdict {
        let at = if stop.at == At::default() { self.standing.declared.clone() } else { stop.at };
        let failure = Failure { kind: stop.kind, what: stop.what, at, on_error: self.on_error };
        self.verdict(hook, mode, Outcome::Failed(failure), stop.ops)
    }

    fn verdict(&self, hook: Hook, mode: Mode, outcome: Outcome, ops: u64) -> Verdict {
        Verdict { policy: self.standing.clone(), hook, mode, lowered: None, outcome, ops }
    }

    /// What must be known before it is asked.
    fn reads_at(&self, hook: Hook) -> GroupSet {
        let mut groups = GroupSet::default();
        for group in Group::ALL {
            let listed = match self.reads {
                Some(reads) => reads.contains(group),
                None => group != Group::Text,
            };
            let selected = self.when.as_ref().is_some_and(|when| when.reads().contains(group));
            if group.known_at(hook) && (listed || selected) {
                groups.insert(group);
            }
        }
        groups
    }
}

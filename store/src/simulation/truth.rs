//! What really happened in a world, kept beside the ledger: who was told what, and between which ends of the journal the
//! records of that lie. From it follows what may stand in the books, now and after a crash: mostly one number, a range
//! where an answer was still under way.

use std::collections::BTreeMap;

use tollgate_core::limits::claim::{Claim, Held, HoldId};
use tollgate_core::limits::rules::{Unit, Window};
use tollgate_core::ports::Used;

/// Holds may have been given back after this.
const EXPIRES_MS: i64 = 30 * 60 * 1_000;

/// A counter in one period, by the end of that; 0 = it never ends.
type Place = (Box<str>, i64);

/// One way in which a call may have gone: what is used and held for it, by place.
type Way = BTreeMap<Place, (u64, u64)>;

/// Records lie behind `from`, and before `to` where they were answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub from: u64,
    pub to: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    No,
    Maybe,
}

impl Span {
    fn kept(self, view: View) -> Kept {
        match (view, self.to) {
            (View::Live, Some(_)) => Kept::Yes,
            (View::Live, None) => Kept::Maybe,
            (View::Again { next }, Some(to)) if to <= next => Kept::Yes,
            (View::Again { next }, _) if self.from >= next => Kept::No,
            (View::Again { .. }, _) => Kept::Maybe,
        }
    }
}

/// Of what is asked: of the books of a gateway that lives, or of those after a start that found so many records.
#[derive(Debug, Clone, Copy)]
pub(super) enum View {
    Live,
    Again { next: u64 },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Used(Used),
    Voided,
    /// Lost after it had left: all that is held.
    Lost,
}

#[derive(Debug, Clone)]
struct Part {
    place: Place,
    unit: Unit,
    amount: u64,
    /// Ends of periods, from the one that the clock was in to the latest that it ever was in. Where there are several, the
    /// clock was set back: counters are ahead of it, some by a look alone, which no record tells of. After a start it may
    /// count in any of them.
    may_be_ms: Vec<i64>,
}

#[derive(Debug)]
struct Call {
    made_ms: i64,
    parts: Vec<Part>,
    /// Its hold in memory.
    made: Span,
    /// Its hold in the journal; `None` = it waits in memory for its call to leave.
    written: Option<Span>,
    more: Vec<(Span, Vec<Part>)>,
    end: Option<(Span, End)>,
    may_have_expired: bool,
}

/// From the least to the most that may stand somewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub least: u64,
    pub most: u64,
}

impl Range {
    fn add(&mut self, other: Range) {
        self.least += other.least;
        self.most += other.most;
    }

    pub(super) fn has(self, n: u64) -> bool {
        (self.least..=self.most).contains(&n)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stands {
    pub used: Range,
    pub held: Range,
}

#[derive(Default)]
pub(super) struct Truth {
    calls: BTreeMap<HoldId, Call>,
    /// What calls of former lives left in the books.
    before: BTreeMap<Place, Range>,
    /// All scopes that were ever claimed.
    pub scopes: BTreeMap<Box<str>, Claim>,
    /// Intents that were answered or are under way; `None` = no start has looked for it yet.
    pub left: BTreeMap<HoldId, (Span, Option<Kept>)>,
    latest_ms: i64,
    pub granted: usize,
    pub wrong: Vec<String>,
}

impl Truth {
    /// A hold is asked for.
    pub(super) fn asked(&mut self, now_ms: i64) {
        self.latest_ms = self.latest_ms.max(now_ms);
        for call in self.calls.values_mut() {
            call.may_have_expired |= now_ms >= call.made_ms + EXPIRES_MS;
        }
    }

    /// It was made: all that was held before has left room for it.
    pub(super) fn held(&mut self, id: HoldId, claims: &[Claim], held: &[Held], now_ms: i64, written: Option<Span>) {
        let mut parts = Vec::new();
        for (claim, held) in claims.iter().zip(held) {
            let ends_ms = if held.resets_in_ms == 0 { 0 } else { now_ms + held.resets_in_ms as i64 };
            parts.extend(self.part(claim, claim.worst, ends_ms, now_ms));
        }
        let made = Span { from: 0, to: Some(0) };
        let places: Vec<_> = parts.iter().map(|part| (part.place.clone(), part.unit)).collect();
        let (more, end) = (Vec::new(), None);
        let call = Call { made_ms: now_ms, parts, made, written, more, end, may_have_expired: false };
        self.calls.insert(id, call);
        self.granted += 1;
        self.within_limits(&places, "a hold");
    }

    /// Never more than the limit, by what is known for sure.
    fn within_limits(&mut self, places: &[(Place, Unit)], what: &str) {
        for (place, _) in places {
            let stands = self.stands(View::Live).remove(place).unwrap_or_default();
            let (taken, limit) = (stands.used.least + stands.held.least, self.scopes[&place.0].rule.limit);
            if taken > limit {
                self.wrong.push(format!("{what} was granted, and `{}` has {taken} of {limit}: {stands:?}", place.0));
            }
        }
    }

    fn part(&mut self, claim: &Claim, amount: u64, ends_ms: i64, now_ms: i64) -> Option<Part> {
        let may_be_ms = match &claim.rule.window {
            Window::Calendar { every, zone } => {
                let (natural_ms, latest_ms) = (every.around(now_ms, zone).1, every.around(self.latest_ms, zone).1);
                if ends_ms < natural_ms || ends_ms > latest_ms {
                    let told = format!("`{}` counts until {ends_ms}, it is {now_ms}: until {natural_ms}", claim.scope);
                    self.wrong.push(told);
                }
                let next = |ends_ms: &i64| Some(every.around(*ends_ms, zone).1);
                std::iter::successors(Some(natural_ms), next).take_while(|may_be_ms| *may_be_ms <= latest_ms).collect()
            }
            Window::None => vec![0],
            // They drain with time: the model of the ledger looks at them.
            Window::Rolling { .. } | Window::Sliding { .. } => return None,
        };
        self.scopes.entry(claim.scope.clone()).or_insert_with(|| claim.clone());
        Some(Part { place: (claim.scope.clone(), ends_ms), unit: claim.rule.unit, amount, may_be_ms })
    }

    /// An extension is asked for; `ends_ms` tells the periods that its counters are in. Its step, for `extended`.
    pub(super) fn extends(
        &mut self,
        id: HoldId,
        more: Used,
        ends_ms: &BTreeMap<Box<str>, i64>,
        now_ms: i64,
        from: u64,
    ) -> usize {
        self.latest_ms = self.latest_ms.max(now_ms);
        let Some(call) = self.calls.get(&id) else { return 0 };
        let mut scopes: Vec<_> = call.parts.iter().map(|part| (part.place.0.clone(), part.unit)).collect();
        scopes.dedup();
        let mut parts = Vec::new();
        for (scope, unit) in scopes {
            let amount = in_unit(more, unit);
            let claim = self.scopes[&scope].clone();
            parts.extend((amount > 0).then(|| self.part(&claim, amount, ends_ms[&scope], now_ms)).flatten());
        }
        let Some(call) = self.calls.get_mut(&id) else { return 0 };
        call.more.push((Span { from, to: None }, parts));
        call.more.len()
    }

    pub(super) fn extended(&mut self, id: HoldId, step: usize, to: Option<u64>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match to {
            Some(to) => call.more[step - 1].0.to = Some(to),
            None => {
                // Refused: nothing of it is held.
                call.more.remove(step - 1);
                return;
            }
        }
        let places: Vec<_> = call.more[step - 1].1.iter().map(|part| (part.place.clone(), part.unit)).collect();
        self.within_limits(&places, "an extension");
    }

    pub(super) fn leaves(&mut self, id: HoldId, from: u64) {
        let span = Span { from, to: None };
        self.left.entry(id).or_insert((span, None));
        self.writes(id, span);
    }

    pub(super) fn went_out(&mut self, id: HoldId, to: u64) {
        if let Some((span, _)) = self.left.get_mut(&id) {
            span.to.get_or_insert(to);
        }
        self.is_written(id, to);
    }

    /// A call ends; `false` = it was ending already.
    pub(super) fn ends(&mut self, id: HoldId, end: End, from: u64) -> bool {
        let span = Span { from, to: None };
        self.writes(id, span);
        let Some(call) = self.calls.get_mut(&id) else { return false };
        let is_first = call.end.is_none();
        call.end.get_or_insert((span, end));
        is_first
    }

    pub(super) fn has_ended(&mut self, id: HoldId, to: u64) {
        self.is_written(id, to);
        if let Some((span, _)) = self.calls.get_mut(&id).and_then(|call| call.end.as_mut()) {
            span.to.get_or_insert(to);
        }
    }

    fn writes(&mut self, id: HoldId, span: Span) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.written.get_or_insert(span);
        }
    }

    fn is_written(&mut self, id: HoldId, to: u64) {
        if let Some(span) = self.calls.get_mut(&id).and_then(|call| call.written.as_mut()) {
            span.to.get_or_insert(to);
        }
    }

    /// What may stand in every place.
    pub(super) fn stands(&self, view: View) -> BTreeMap<Place, Stands> {
        let of_before = |(place, used): (&Place, &Range)| (place.clone(), Stands { used: *used, ..Stands::default() });
        let mut all: BTreeMap<Place, Stands> = self.before.iter().map(of_before).collect();
        for call in self.calls.values() {
            for (place, stands) in call.stands(view) {
                let sum = all.entry(place).or_default();
                sum.used.add(stands.used);
                sum.held.add(stands.held);
            }
        }
        all
    }

    /// A start found so many records. Whatever calls there were, they are over.
    pub(super) fn starts_again(&mut self, next: u64) {
        let stands = self.stands(View::Again { next });
        self.before = stands.into_iter().map(|(place, stands)| (place, stands.used)).collect();
        self.calls.clear();
        for (span, kept) in self.left.values_mut() {
            kept.get_or_insert(span.kept(View::Again { next }));
        }
    }

    /// What was within the range is so from here on.
    pub(super) fn is_so(&mut self, place: Place, used: u64) {
        self.before.insert(place, Range { least: used, most: used });
    }
}

impl Call {
    fn stands(&self, view: View) -> BTreeMap<Place, Stands> {
        let end = self.end.map(|(span, end)| (span.kept(view), end));
        let hold = match (view, self.written, end) {
            (View::Live, ..) => self.made.kept(view),
            (View::Again { .. }, _, Some((Kept::Yes, _))) => Kept::Yes,
            (View::Again { .. }, Some(span), _) => span.kept(view),
            (View::Again { .. }, None, _) => Kept::No,
        };
        let (mut steps, mut steps_most) = (0, 0);
        for (span, _) in &self.more {
            steps += usize::from(span.kept(view) == Kept::Yes);
            steps_most += usize::from(span.kept(view) != Kept::No);
        }
        let mut ways = Vec::new();
        for steps in steps..=steps_most {
            ways.extend((!matches!(end, Some((Kept::Yes, _)))).then(|| self.way(steps, None, view)));
            ways.extend(end.filter(|(kept, _)| *kept != Kept::No).map(|(_, end)| self.way(steps, Some(end), view)));
        }
        let is_unsure = hold != Kept::Yes || self.may_have_expired || self.is_ahead(view);
        let mut all: BTreeMap<Place, Stands> = BTreeMap::new();
        for place in ways.iter().flat_map(Way::keys).filter(|_| hold != Kept::No) {
            let of = |way: &Way| way.get(place).copied().unwrap_or_default();
            let range = |of: &dyn Fn(&Way) -> u64| Range {
                least: if is_unsure { 0 } else { ways.iter().map(of).min().unwrap_or(0) },
                most: ways.iter().map(of).max().unwrap_or(0),
            };
            all.insert(place.clone(), Stands { used: range(&|way| of(way).0), held: range(&|way| of(way).1) });
        }
        all
    }

    fn is_ahead(&self, view: View) -> bool {
        let mut parts = self.parts.iter().chain(self.more.iter().flat_map(|(_, parts)| parts));
        matches!(view, View::Again { .. }) && parts.any(|part| part.may_be_ms.len() > 1)
    }

    fn way(&self, steps: usize, end: Option<End>, view: View) -> Way {
        let mut parts = self.parts.clone();
        for more in self.more[..steps].iter().flat_map(|(_, parts)| parts) {
            let last = parts.iter().rposition(|part| part.place.0 == more.place.0);
            match last.filter(|at| parts[*at].place == more.place) {
                Some(at) => parts[at].amount += more.amount,
                None => parts.push(more.clone()),
            }
        }
        let mut way = Way::new();
        for (at, part) in parts.iter().enumerate() {
            let is_live = matches!(view, View::Live);
            let (used, held) = match (part.unit, end) {
                (Unit::Requests, _) => (part.amount, 0),
                (Unit::InFlight, None) if is_live => (0, part.amount),
                (Unit::InFlight, _) | (_, Some(End::Voided)) => (0, 0),
                (_, None) if is_live => (0, part.amount),
                (_, None | Some(End::Lost)) => (part.amount, 0),
                (unit, Some(End::Used(used))) => (share(&parts, at, in_unit(used, unit)), 0),
            };
            let sum = way.entry(part.place.clone()).or_default();
            *sum = (sum.0 + used, sum.1 + held);
            if self.is_ahead(view) {
                // Generous: it may lie here or there, whole.
                let all: u64 = parts.iter().filter(|p| p.place.0 == part.place.0).map(|p| p.amount).sum();
                let told = if let Some(End::Used(used)) = end { in_unit(used, part.unit) } else { 0 };
                for ends_ms in &part.may_be_ms {
                    way.insert((part.place.0.clone(), *ends_ms), (all.max(told), 0));
                }
            }
        }
        way
    }
}

/// The first part of a scope is filled first, the last takes the rest.
fn share(parts: &[Part], at: usize, used: u64) -> u64 {
    let same = |part: &&Part| part.place.0 == parts[at].place.0;
    let before: u64 = parts[..at].iter().filter(same).map(|part| part.amount).sum();
    let left = used.saturating_sub(before);
    if parts[at + 1..].iter().any(|part| same(&part)) { left.min(parts[at].amount) } else { left }
}

fn in_unit(used: Used, unit: Unit) -> u64 {
    match unit {
        Unit::Nanousd => used.nanousd.max(0) as u64,
        Unit::Tokens => used.tokens,
        Unit::Requests | Unit::InFlight => 0,
    }
}

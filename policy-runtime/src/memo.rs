//! Answers of policies, remembered by what they hung on.
//!
//! A policy is pure: asked again, it goes the same way for as long as it sees the same. So what it looked at and saw is
//! kept with what it said, and where all of that stands again, the answer is given without running it. Facts that it did
//! not look at may differ, and in two calls most do. Looks are kept in their order: whoever finds the first ones unchanged
//! looks where the policy itself would have looked next, so nothing is asked of the facts that it would not have asked.
//!
//! Not remembered: answers that hang on the words of a prompt, failures, and what is long.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use tollgate_core::contract::json;
use tollgate_core::policy::Hook;
use tollgate_core::policy::effect::StickyBy;
use tollgate_core::policy::facts::{Facts, LimitFact};
use tollgate_core::policy::schema::{FactValue, Field, Group};

use crate::engine::{Answer, Program, Stop};

/// Answers that are kept for one policy; the oldest goes.
const KEPT_MAX: usize = 16;
/// An answer that hangs on more than this is not kept.
const LOOKS_MAX: usize = 24;
/// Nor one that saw, or says, more bytes than this.
const BYTES_MAX: usize = 2_048;
/// After so many runs in a row that nothing was remembered for, only one in `SELDOM` is watched: what hangs on the number
/// of tokens does not come again.
const PATIENCE: u32 = 64;
const SELDOM: u32 = 64;

/// What a policy saw.
enum Seen {
    Text(Box<str>),
    Int(i64),
    Float(u64),
    Bool(bool),
    TextList(Box<[Box<str>]>),
}

impl Seen {
    fn of(fact: &FactValue<'_>) -> Seen {
        match fact {
            FactValue::Text(text) => Seen::Text((**text).into()),
            FactValue::Int(n) => Seen::Int(*n),
            FactValue::Float(n) => Seen::Float(n.to_bits()),
            FactValue::Bool(is) => Seen::Bool(*is),
            FactValue::TextList(list) => Seen::TextList(list.iter().map(|text| (*text).into()).collect()),
        }
    }

    fn is(&self, fact: &FactValue<'_>) -> bool {
        match (self, fact) {
            (Seen::Text(seen), FactValue::Text(text)) => **seen == **text,
            (Seen::Int(seen), FactValue::Int(n)) => seen == n,
            (Seen::Float(seen), FactValue::Float(n)) => *seen == n.to_bits(),
            (Seen::Bool(seen), FactValue::Bool(is)) => seen == is,
            (Seen::TextList(seen), FactValue::TextList(list)) => {
                seen.len() == list.len() && seen.iter().zip(list).all(|(seen, text)| **seen == **text)
            }
            _ => false,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Seen::Text(text) => text.len(),
            Seen::TextList(list) => list.iter().map(|text| text.len() + size_of::<Box<str>>()).sum(),
            Seen::Int(_) | Seen::Float(_) | Seen::Bool(_) => 0,
        }
    }
}

/// One thing that was asked of the facts, and what they said.
enum Look {
    Fact(&'static Field, Seen),
    /// A rule of `budget` or `rate`; one that does not apply is its default.
    Limit(Group, Box<str>, LimitFact),
    Bucket(Box<str>, StickyBy, u16),
}

impl Look {
    fn stands(&self, facts: &Facts) -> bool {
        match self {
            Look::Fact(field, seen) => seen.is(&(field.get)(facts)),
            Look::Limit(group, rule, seen) => found(facts, *group, rule) == *seen,
            Look::Bucket(name, by, seen) => facts.bucket(name, *by) == *seen,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Look::Fact(_, seen) => seen.bytes(),
            Look::Limit(_, name, _) | Look::Bucket(name, _, _) => name.len(),
        }
    }
}

/// A rule of `budget` or `rate`; one that does not apply reads as nothing used, without limit.
fn found(facts: &Facts, group: Group, rule: &str) -> LimitFact {
    let table = if group == Group::Rate { &facts.rate } else { &facts.budget };
    table.get(rule).cloned().unwrap_or_default()
}

/// What the policy that runs on this thread looked at.
enum Watch {
    Nobody,
    Looks(Vec<Look>),
    /// It looked at what is not remembered.
    Lost,
    /// Of what it looks at, only this is noted: what no receipt holds.
    Unrecorded(BTreeSet<String>),
}

thread_local! {
    static WATCH: RefCell<Watch> = const { RefCell::new(Watch::Nobody) };
}

/// What it looked at before is known: it saw the same.
fn look(is_known: impl Fn(&Look) -> bool, at: impl FnOnce() -> Look) {
    WATCH.with_borrow_mut(|watch| {
        match watch {
            Watch::Looks(looks) if looks.iter().any(&is_known) => {}
            Watch::Looks(looks) if looks.len() < LOOKS_MAX => looks.push(at()),
            Watch::Looks(_) => *watch = Watch::Lost,
            Watch::Unrecorded(found) => {
                // Nobody's name is recorded as that.
                if let Look::Fact(field, seen) = at()
                    && field.is_sealed()
                    && seen.bytes() > 0
                {
                    found.insert(format!("{}.{}", field.group.name(), field.name));
                }
            }
            Watch::Nobody | Watch::Lost => {}
        }
    });
}

/// For replays: what the program looks at that no receipt holds. A failure ends its looking, as it did in the call.
pub fn unrecorded(run: impl FnOnce() -> Result<(), Stop>) -> BTreeSet<String> {
    WATCH.set(Watch::Unrecorded(BTreeSet::new()));
    // How it ends was told already.
    let _ = run();
    match WATCH.replace(Watch::Nobody) {
        Watch::Unrecorded(found) => found,
        Watch::Nobody | Watch::Looks(_) | Watch::Lost => BTreeSet::new(),
    }
}

/// A fact, for the policy that runs: engines read facts through here, so that none is read unnoticed.
pub fn fact<'f>(facts: &'f Facts, field: &'static Field) -> FactValue<'f> {
    let value = (field.get)(facts);
    let is_known = |look: &Look| matches!(look, Look::Fact(known, _) if std::ptr::eq(*known, field));
    look(is_known, || Look::Fact(field, Seen::of(&value)));
    value
}

/// The same, one rule of `budget` or `rate`.
pub fn limit(facts: &Facts, group: Group, rule: &str) -> LimitFact {
    let limit = found(facts, group, rule);
    let is_known = |look: &Look| matches!(look, Look::Limit(of, known, _) if *of == group && **known == *rule);
    look(is_known, || Look::Limit(group, rule.into(), limit.clone()));
    limit
}

/// The same, a bucket.
pub fn bucket(facts: &Facts, name: &str, by: StickyBy) -> u16 {
    let bucket = facts.bucket(name, by);
    let is_known = |look: &Look| matches!(look, Look::Bucket(known, of, _) if **known == *name && *of == by);
    look(is_known, || Look::Bucket(name.into(), by, bucket));
    bucket
}

/// An engine let the policy that runs at words of the prompt.
pub fn words() {
    WATCH.with_borrow_mut(|watch| match watch {
        Watch::Looks(_) => *watch = Watch::Lost,
        Watch::Unrecorded(found) => {
            found.insert(Group::Text.name().to_owned());
        }
        Watch::Nobody | Watch::Lost => {}
    });
}

/// An answer, and what it hung on.
struct Kept {
    hook: Hook,
    looks: Vec<Look>,
    answer: Option<Answer>,
}

/// The answers of one policy of a revision.
pub struct Memo {
    /// The newest first; `None` = nothing is remembered, for the program does not tell what it looks at.
    kept: Option<ArcSwap<Vec<Arc<Kept>>>>,
    /// Runs since something was remembered.
    missed: AtomicU32,
}

impl Memo {
    pub fn of(program: &dyn Program) -> Memo {
        Memo { kept: program.is_watched().then(ArcSwap::default), missed: AtomicU32::new(0) }
    }

    /// What the policy says of these facts, `None` = it was not asked: as it is remembered, else as `run` tells it.
    pub fn answer(
        &self,
        hook: Hook,
        facts: &Facts,
        run: impl FnOnce() -> Result<Option<Answer>, Stop>,
    ) -> Result<Option<Answer>, Stop> {
        let Some(kept) = &self.kept else { return run() };
        let stands = |kept: &&Arc<Kept>| kept.hook == hook && kept.looks.iter().all(|look| look.stands(facts));
        if let Some(known) = kept.load().iter().find(stands) {
            if self.missed.load(Ordering::Relaxed) > 0 {
                self.missed.store(0, Ordering::Relaxed);
            }
            return Ok(known.answer.clone());
        }
        let missed = self.missed.fetch_add(1, Ordering::Relaxed);
        if missed >= PATIENCE && !missed.is_multiple_of(SELDOM) {
            return run();
        }
        WATCH.set(Watch::Looks(Vec::with_capacity(LOOKS_MAX)));
        let answer = run();
        if let (Watch::Looks(looks), Ok(answer)) = (WATCH.replace(Watch::Nobody), &answer) {
            keep(kept, Kept { hook, looks, answer: answer.clone() });
        }
        answer
    }
}

fn keep(all: &ArcSwap<Vec<Arc<Kept>>>, new: Kept) {
    let mut said = Vec::new();
    let is_writable = json::put(&mut said, &new.answer.as_ref().map(|answer| &answer.effects)).is_ok();
    if is_writable && said.len() + new.looks.iter().map(Look::bytes).sum::<usize>() <= BYTES_MAX {
        let before = all.load();
        // Two threads may keep at the same time: one of the two answers is found again another time.
        all.store(Arc::new(std::iter::once(Arc::new(new)).chain(before.iter().take(KEPT_MAX - 1).cloned()).collect()));
    }
}

#[cfg(test)]
#[path = "memo_tests.rs"]
mod tests;

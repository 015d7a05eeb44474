//! Calls as a start finds them: from the last checkpoint on, line by line of the journal.

use std::collections::HashMap;

use tollgate_core::evidence::intent::hold_id;
use tollgate_core::evidence::receipt;
use tollgate_core::limits::claim::HoldId;
use tollgate_core::limits::rules::Unit;
use tollgate_core::ports::Used;

use super::{Left, Line, Mark};
use crate::ledger::event::{Booked, Event};

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub open: HashMap<HoldId, Left>,
    pub mark: Option<Mark>,
}

impl Replay {
    pub(crate) fn line(&mut self, line: &Line) {
        match line {
            Line::Intent(intent) => drop(self.open.insert(intent.id, Left::of(intent.clone()))),
            Line::Left { held, intent } => {
                let left = Left { booked: booked(&held.parts), ..Left::of(intent.clone()) };
                self.open.insert(intent.id, left);
            }
            Line::Attempt { id, target } => {
                if let Some(left) = self.open.get_mut(id) {
                    left.others.push(target.clone());
                }
            }
            Line::Receipts(receipts) => {
                for id in receipts.lines.iter().filter_map(|told| hold_id(&told.call)) {
                    self.open.remove(&id);
                }
                self.mark = Some(Mark { file: receipts.file.clone(), bytes: receipts.end() });
            }
            Line::Changed(event) => self.event(event),
            Line::Restarted { .. } | Line::Ended { .. } => {}
        }
    }

    /// What becomes of the hold of a call that has left.
    fn event(&mut self, event: &Event) {
        match event {
            Event::Settled { id, used: Some(used), .. } => self.ends(*id, Some(*used)),
            // All that was held: it is booked already.
            Event::Settled { used: None, .. } => {}
            Event::Voided { id, .. } | Event::Expired { id, .. } => self.ends(*id, None),
            Event::Extended { id, more, .. } => {
                for booked in self.open.get_mut(id).into_iter().flat_map(|left| &mut left.booked) {
                    let more = match booked.unit {
                        Unit::Nanousd => u64::try_from(more.nanousd).unwrap_or(0),
                        Unit::Tokens => more.tokens,
                        Unit::Requests | Unit::InFlight => 0,
                    };
                    booked.amount = booked.amount.saturating_add(more);
                }
            }
            Event::Held { .. } | Event::Adjusted { .. } | Event::Passed { .. } | Event::Amended { .. } => {}
        }
    }

    fn ends(&mut self, id: HoldId, used: Option<Used>) {
        if let Some(left) = self.open.get_mut(&id) {
            left.booked.clear();
            left.used = used;
        }
    }
}

/// What a start books for a call whose end nobody saw. A request was used when it came, and nothing is in flight any more.
pub(crate) fn booked(parts: &[Booked]) -> Vec<receipt::Booked> {
    let counts = |part: &&Booked| part.over_ms.is_none() && matches!(part.rule.unit, Unit::Nanousd | Unit::Tokens);
    let told = |part: &Booked| receipt::Booked {
        rule: part.rule.name.clone(),
        scope: (&*part.scope).into(),
        unit: part.rule.unit,
        amount: part.amount,
    };
    parts.iter().filter(counts).map(told).collect()
}

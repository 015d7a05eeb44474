//! How the journal is told what happened in memory, and what becomes of that where its disk does not take it.
//!
//! What happened stays so: a call that has ended cannot be refused for it. Memory is ahead of the journal then, and a
//! checkpoint is made as soon as the disk takes records again: it has all that memory has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tollgate_core::limits::claim::HoldId;

use super::event::Event;
use crate::calls::{Line, encoded, write};
use crate::journal::{Journal, Refused};

pub(super) struct Telling {
    journal: Arc<Journal>,
    /// Memory has what the journal did not take, and no checkpoint has it yet.
    is_behind: AtomicBool,
}

impl Telling {
    pub(super) fn to(journal: Arc<Journal>) -> Telling {
        Telling { journal, is_behind: AtomicBool::new(false) }
    }

    /// Where nothing may wait, or nobody would gain by it.
    pub(super) fn at_once(&self, id: HoldId, event: &Event) {
        self.look(id, self.journal.append(&encoded(event)));
    }

    /// Waits as long as a call may.
    pub(super) async fn patiently(&self, id: HoldId, event: Event) {
        self.look(id, write(&self.journal, &encoded(&Line::Changed(event))).await);
    }

    fn look(&self, id: HoldId, told: Result<u64, Refused>) {
        if let Err(why) = told {
            self.is_behind.store(true, Ordering::Release);
            let id = format_args!("{id:032x}");
            tracing::error!(hold = %id, %why, "the end of a hold is not in the journal: until it takes records again, a crash would book it whole");
        }
    }

    /// Is it time to make it good? Not while the disk takes nothing.
    pub(super) fn is_due(&self) -> bool {
        self.is_behind.load(Ordering::Acquire) && self.journal.failing().is_none()
    }

    /// A checkpoint begins: what was not taken before this moment is in it. Tells whether there was something.
    pub(super) fn begins(&self) -> bool {
        self.is_behind.swap(false, Ordering::AcqRel)
    }

    /// It was not made.
    pub(super) fn came_to_nothing(&self, was_behind: bool) {
        self.is_behind.fetch_or(was_behind, Ordering::AcqRel);
    }
}

//! One life of a gateway in a world: it starts from what the one before left, carries calls, and is closed or ends.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tollgate_core::dialects::Quirks;
use tollgate_core::pipeline::outlet::Outlet;
use tollgate_core::pipeline::{Core, run};
use tollgate_core::ports::{Ledger, Trail};

use super::provider::{Provider, caller};
use super::witness::Witness;
use super::world::{World, bounds};
use crate::calls::Durability;
use crate::journal::{Fault, Journal, Storage, Syncer};
use crate::ledger::books::lock;
use crate::ledger::{JournalLedger, LedgerError};
use crate::trail::{FileTrail, Writer, take_over};

/// The trail's files are not the matter here: one is enough for a life.
const FILE_BYTES_MAX: u64 = 64 << 20;

pub(super) struct Life {
    pub ledger: Arc<JournalLedger>,
    trail: Arc<FileTrail>,
    core: Arc<Core>,
    calls: Vec<u64>,
}

impl World {
    /// A start; `Ok(None)` = it failed for a fault of the disk or ended. `next` is what it found, where it came so far.
    pub(super) fn start(&mut self, may_fail: bool, next: &mut u64) -> Result<Option<Life>, String> {
        let now_ms = self.now_ms();
        let failed = |why: String| match may_fail {
            true => Ok(None),
            false => Err(format!("it does not start: {why}")),
        };
        let (storage, keyed) = (Arc::new(self.disk.clone()) as Arc<dyn Storage>, self.keyed.clone());
        let syncer: Rc<RefCell<Option<Syncer>>> = Rc::default();
        let opened: Rc<RefCell<Option<Result<JournalLedger, LedgerError>>>> = Rc::default();
        let found = Rc::new(RefCell::new(None));
        let clock = self.clock();
        let (to_syncer, to_opened, to_found) = (syncer.clone(), opened.clone(), found.clone());
        self.tasks.spawn(async move {
            let open = |known| {
                let (journal, syncer, recovered) = Journal::begin(storage.clone(), bounds(), Arc::new(clock), known)?;
                *to_syncer.borrow_mut() = Some(syncer);
                *to_found.borrow_mut() = Some(recovered.head.next);
                Ok((journal, recovered))
            };
            let ledger = JournalLedger::open_in(storage.clone(), keyed, open, now_ms).await;
            *to_opened.borrow_mut() = Some(ledger.map(|(ledger, _)| ledger));
        });
        let disk = self.disk.clone();
        self.run_for(0, || opened.borrow().is_some() || syncer.borrow().is_some() || disk.has_ended());
        *next = found.borrow().unwrap_or(*next).min(*next);
        if let Some(syncer) = syncer.take() {
            self.spawn_syncer(syncer);
            self.run_for(40_000, || opened.borrow().is_some() || disk.has_ended());
        }
        let ledger = match opened.take() {
            Some(Ok(ledger)) if !self.disk.has_ended() => Arc::new(ledger),
            Some(Err(why)) => return failed(why.to_string()),
            Some(Ok(_)) | None => return failed("it ended, or never came to an end".to_owned()),
        };
        lock(&self.truth).starts_again(*next);
        self.looks(&ledger, true)?;
        match self.begin(ledger) {
            Ok(life) => Ok(Some(life)),
            Err(why) => failed(why.to_string()),
        }
    }

    fn begin(&mut self, ledger: Arc<JournalLedger>) -> std::io::Result<Life> {
        let dir = self.dir.path().join("trail");
        let taken = take_over(&dir, &ledger.calls(), self.now_ms());
        // It has the disk confirm what it vouches for.
        for name in crate::trail::files(&dir)? {
            let bytes = dir.join(&name).metadata()?.len();
            self.trail_kept.borrow_mut().insert(name, bytes);
        }
        let unknown = taken?;
        if std::mem::take(&mut self.is_closed) && !unknown.is_empty() {
            return Err(std::io::Error::other("a gateway that was closed left calls behind"));
        }
        let durability = if self.is_strict { Durability::Strict } else { Durability::Relaxed };
        let calls = Some((ledger.calls(), durability));
        let (_, ended) = tokio::sync::watch::channel(None);
        let (trail, writer) = FileTrail::halves(dir.clone(), FILE_BYTES_MAX, Arc::new(self.clock()), calls, ended)?;
        let trail = Arc::new(trail);
        for receipt in unknown {
            self.tell(format!("unknown {}", receipt.call_id));
            trail.record(Box::new(receipt)).now_or_never();
        }
        self.spawn_writer(writer, trail.clone());
        let witness = Witness {
            ledger: ledger.clone(),
            trail: trail.clone(),
            truth: self.truth.clone(),
            trace: self.trace.clone(),
            disk: self.disk.clone(),
            time: self.tasks.time.clone(),
            control: self.control,
            is_strict: self.is_strict,
        };
        let provider =
            Provider { time: self.tasks.time.clone(), random: self.random.clone(), quirks: Quirks::default() };
        let core = self.scene.core(provider, Arc::new(witness), self.clock());
        Ok(Life { ledger, trail, core, calls: Vec::new() })
    }

    fn spawn_syncer(&mut self, mut syncer: Syncer) {
        let (time, random, disk) = (self.tasks.time.clone(), self.random.clone(), self.disk.clone());
        self.tasks.spawn(async move {
            while let Some(pause) = syncer.turn_now() {
                // At times it is late: what is not on disk is then more.
                let late_ms = lock(&random).below(4) * 120;
                time.sleep(pause.as_millis() as u64 + late_ms as u64).await;
                if disk.has_ended() {
                    return;
                }
            }
        });
    }

    fn spawn_writer(&mut self, mut writer: Writer, trail: Arc<FileTrail>) {
        let (time, random, disk) = (self.tasks.time.clone(), self.random.clone(), self.disk.clone());
        let (dir, kept) = (self.dir.path().join("trail"), self.trail_kept.clone());
        // It goes on as long as calls have the trail.
        let trail = Arc::downgrade(&trail);
        let mut is_behind = true;
        self.tasks.spawn(async move {
            while let Some(waiting) = trail.upgrade().map(|trail| trail.waiting()) {
                is_behind |= waiting > 0;
                let sync = is_behind && lock(&random).below(2) == 0;
                // A journal that has no room takes the digests later.
                let is_done = writer.turn_now(sync).is_ok() && sync;
                if is_behind {
                    note_kept(&dir, &kept, is_done);
                    is_behind = !is_done;
                }
                let pause_ms = 5 + lock(&random).below(300) as u64;
                time.sleep(pause_ms).await;
                if disk.has_ended() {
                    return;
                }
            }
        });
    }

    /// Something happens.
    pub(super) fn act(&mut self, life: &mut Life) -> Result<(), String> {
        match self.below(40) {
            0..24 => self.call(life),
            24..27 => {
                let ms = 1_000 + self.below(60_000) as u64;
                self.goes_on(ms);
            }
            27..30 => self.step_clock(),
            30 => {
                let task = life.calls[..].get(self.below(life.calls.len())).copied();
                task.into_iter().for_each(|task| self.tasks.drop_task(task));
            }
            31..33 => {
                let is_confirmed = life.ledger.journal().head() == life.ledger.journal().written();
                if is_confirmed && !self.disk.has_ended() {
                    self.tell("checkpoint".to_owned());
                    lock(&self.truth).asked(self.now_ms());
                    life.ledger.checkpoint(self.now_ms()).map_err(|why| why.to_string())?;
                }
            }
            33..36 => {
                let (call, fault) = (self.below(25), Fault::ALL[self.below(4)]);
                self.tell(format!("{fault:?} at call {call}"));
                self.disk.fault_at(call, fault);
            }
            _ => self.looks(&life.ledger, false)?,
        }
        let ms = [0, 20, 400, 3_000][self.below(4)];
        self.goes_on(ms);
        Ok(())
    }

    pub(super) fn call(&mut self, life: &mut Life) {
        let arrival = self.scene.arrival(&life.core, &self.random);
        let (outlet, answer) = Outlet::new();
        let core = life.core.clone();
        life.calls.push(self.tasks.spawn(run(core, Box::new(arrival), outlet)));
        let chance = (self.below(6), [1, 300, 5_000, 200_000][self.below(4)]);
        self.tasks.spawn(caller(self.tasks.time.clone(), answer, chance));
    }

    /// All calls end, then the gateway does; nothing is left.
    pub(super) fn close(&mut self, life: Life) -> Result<(), String> {
        let mut left_ms = 4 * 3_600_000;
        while life.calls.iter().any(|call| self.tasks.is_running(*call)) && !self.disk.has_ended() {
            self.goes_on(10_000);
            left_ms -= 10_000;
            if left_ms < 0 {
                return Err("a call never ends".to_owned());
            }
        }
        // The trail is written, and the journal told.
        self.goes_on(20_000);
        if self.disk.has_ended() {
            return Ok(());
        }
        self.looks(&life.ledger, false)?;
        life.ledger.check()?;
        let claims: Vec<_> = lock(&self.truth).scopes.values().cloned().collect();
        let stands = life.ledger.standing(&claims, self.now_ms()).now_or_never().unwrap();
        if let Some((_, claim)) = stands.iter().zip(&claims).find(|(stands, _)| stands.held > 0) {
            return Err(format!("no call is on its way, and `{}` holds something: {stands:?}", claim.scope));
        }
        self.least = life.ledger.journal().written().next;
        let Life { ledger, trail, core, .. } = life;
        drop((core, trail));
        let (closed, now_ms) = (Rc::new(RefCell::new(None)), self.now_ms());
        let to_closed = closed.clone();
        self.tasks.spawn(async move {
            *to_closed.borrow_mut() = Some(ledger.close(Duration::from_secs(30), now_ms).await);
        });
        self.goes_on(40_000);
        self.is_closed = closed.take() == Some(true);
        self.confirmed = self.least;
        match self.is_closed || self.disk.has_ended() {
            true => Ok(()),
            false => Err("the ledger does not close".to_owned()),
        }
    }
}

/// What a power cut leaves of the trail at the least. A file that another followed was synced before.
fn note_kept(dir: &Path, kept: &RefCell<std::collections::BTreeMap<String, u64>>, is_synced: bool) {
    let names = crate::trail::files(dir).unwrap();
    for (at, name) in names.iter().enumerate() {
        if is_synced || at + 1 < names.len() {
            kept.borrow_mut().insert(name.clone(), dir.join(name).metadata().unwrap().len());
        }
    }
}

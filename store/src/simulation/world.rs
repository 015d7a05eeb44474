//! A world: a few lives of one gateway, one behind the other, and what may happen to the machine that it runs on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use tollgate_core::evidence::intent::hold_id;
use tollgate_core::limits::claim::{Claim, HoldId};
use tollgate_core::ports::Ledger;

use super::executor::Tasks;
use super::life::Life;
use super::scene::{BEGINS, Scene};
use super::truth::{Kept, Truth, View};
use crate::journal::{Bounds, Disk, Fault, Lie, Random, Retention, Storage, verify};
use crate::keyed::Keyed;
use crate::ledger::JournalLedger;
use crate::ledger::books::lock;

/// A negative control: what must not be, to see that the simulation notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    None,
    /// The journal's disk confirms what it did not sync.
    LyingDisk,
    /// Room is looked for in one step and taken in another.
    CheckThenAdd,
}

pub(super) struct World {
    pub control: Control,
    pub is_strict: bool,
    /// The last life was closed, and had nothing left to write.
    pub is_closed: bool,
    /// So many records the next start must find.
    pub least: u64,
    /// So many of them after a power cut.
    pub confirmed: u64,
    pub tasks: Tasks,
    pub random: Arc<Mutex<Random>>,
    pub disk: Disk,
    pub keyed: Arc<Keyed>,
    pub dir: tempfile::TempDir,
    /// So much of each file of the trail is on disk.
    pub trail_kept: Rc<RefCell<BTreeMap<String, u64>>>,
    pub truth: Arc<Mutex<Truth>>,
    pub trace: Arc<Mutex<Vec<String>>>,
    pub scene: Scene,
    /// What the wall clock shows at steady 0: changed where it steps.
    wall_ms: Arc<AtomicI64>,
}

/// What a world came to.
pub(super) struct Went {
    /// Of everything that happened, and of every byte that was kept.
    pub digest: blake3::Hash,
    pub trace: Vec<String>,
    pub granted: usize,
    pub wrong: Result<(), String>,
}

/// Small segments, so that a short life sees many of them.
pub(super) fn bounds() -> Bounds {
    let retention = Retention { bytes_max: 40_000, age_max: Duration::from_secs(1 << 30) };
    Bounds { segment_bytes: 9_000, retention, ..Bounds::default() }
}

pub(super) fn run(seed: u64, control: Control) -> Went {
    let mut world = World::new(seed, control);
    let wrong = world.lives();
    let mut trace = std::mem::take(&mut *lock(&world.trace));
    let mut hasher = blake3::Hasher::new();
    for line in trace.iter().chain(&world.trail()) {
        hasher.update(line.as_bytes());
    }
    for (name, bytes) in world.disk.files() {
        hasher.update(name.as_bytes()).update(&bytes);
    }
    let truth = lock(&world.truth);
    trace.extend(wrong.as_ref().err().cloned());
    Went { digest: hasher.finalize(), trace, granted: truth.granted, wrong }
}

impl World {
    fn new(seed: u64, control: Control) -> World {
        let mut random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d) + 1);
        // Nobody cuts the power of this machine: memory will do, where there is a folder in it.
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let begins: jiff::Timestamp = BEGINS[random.below(BEGINS.len())].parse().unwrap();
        let lie = if control == Control::LyingDisk { Lie::Files } else { Lie::None };
        World {
            control,
            is_strict: random.below(2) == 0,
            is_closed: false,
            least: 0,
            confirmed: 0,
            tasks: Tasks::new(seed),
            scene: Scene::new(&mut random),
            disk: Disk::new(lie),
            keyed: Arc::new(Keyed::open(&dir.path().join("keyed.redb")).unwrap()),
            dir,
            trail_kept: Rc::default(),
            truth: Arc::default(),
            trace: Arc::default(),
            wall_ms: Arc::new(AtomicI64::new(begins.as_millisecond() + random.below(100_000) as i64)),
            random: Arc::new(Mutex::new(random)),
        }
    }

    /// A few that end as it comes, one that is closed, and a last look.
    fn lives(&mut self) -> Result<(), String> {
        for _ in 0..1 + self.below(3) {
            let mut life = self.next_life(true)?;
            for _ in 0..10 + self.below(40) {
                self.act(&mut life)?;
                self.is_well()?;
                if self.disk.has_ended() {
                    break;
                }
            }
            let (written, synced) = (life.ledger.journal().written().next, life.ledger.journal().head().next);
            self.tell(format!("ends at {written}, {synced} confirmed"));
            self.crash(Some(life));
            let is_cut = self.below(3) > 0;
            (self.least, self.confirmed) = (written, synced);
            self.restart(is_cut);
        }
        let mut life = self.next_life(true)?;
        self.disk.heal();
        for _ in 0..10 {
            self.call(&mut life);
            let ms = self.below(9_000) as u64;
            self.goes_on(ms);
        }
        self.close(life)?;
        self.is_well()?;
        self.crash(None);
        self.restart(true);
        let life = self.next_life(false)?;
        self.close(life)?;
        self.is_well()?;
        self.all_told()
    }

    /// The next start that succeeds. Some fail, and the machine may lose its power again.
    fn next_life(&mut self, may_fail: bool) -> Result<Life, String> {
        let mut next = u64::MAX;
        loop {
            let may_fail = may_fail && self.below(3) == 0;
            if may_fail {
                let (call, fault) = (self.below(30), Fault::ALL[self.below(4)]);
                self.disk.fault_at(call, fault);
            }
            let started = self.start(may_fail, &mut next)?;
            if next < self.least {
                return Err(format!("{} records were kept, {next} came back", self.least));
            }
            if let Some(life) = started {
                return Ok(life);
            }
            self.tell(format!("a start failed; it found {next}"));
            self.crash(None);
            let is_cut = self.below(2) == 0;
            self.restart(is_cut);
        }
    }

    /// The process is gone, with all that it had in memory.
    fn crash(&mut self, life: Option<Life>) {
        self.disk.end();
        self.tasks.drop_all();
        drop(life);
    }

    /// The machine stands again: after a power cut, or at once.
    fn restart(&mut self, is_cut: bool) {
        self.tell(format!("power cut: {is_cut}"));
        if !is_cut {
            return self.disk.restart();
        }
        self.least = self.least.min(self.confirmed);
        self.disk.power_cut(self.below(usize::MAX) as u64);
        let dir = self.dir.path().join("trail");
        for name in crate::trail::files(&dir).unwrap() {
            let path = dir.join(&name);
            let bytes = path.metadata().unwrap().len();
            let least = self.trail_kept.borrow().get(&name).copied().unwrap_or(0).min(bytes);
            let left = least + self.below((bytes - least + 1) as usize) as u64;
            std::fs::File::options().write(true).open(path).unwrap().set_len(left).unwrap();
        }
    }

    /// The books are compared with the truth.
    pub(super) fn looks(&mut self, ledger: &JournalLedger, is_start: bool) -> Result<(), String> {
        let now_ms = self.now_ms();
        let mut truth = lock(&self.truth);
        truth.asked(now_ms);
        let claims: Vec<Claim> = truth.scopes.values().cloned().collect();
        let expected = truth.stands(View::Live);
        let stands = ledger.standing(&claims, now_ms).now_or_never().unwrap();
        for (claim, stands) in claims.iter().zip(stands) {
            let place = (claim.scope.clone(), stands.resets_at_ms);
            let expects = expected.get(&place).copied().unwrap_or_default();
            if !expects.used.has(stands.used) || !expects.held.has(stands.held) {
                let when = if is_start { "after a start" } else { "while it lives" };
                return Err(format!("{when} `{}` has {stands:?}, and should have {expects:?}", claim.scope));
            }
            if is_start {
                truth.is_so(place, stands.used);
            }
        }
        Ok(())
    }

    fn is_well(&self) -> Result<(), String> {
        lock(&self.truth).wrong.first().map_or(Ok(()), |wrong| Err(wrong.clone()))
    }

    /// Each intent that was kept has one receipt, and no call has two; the journal is sound.
    fn all_told(&self) -> Result<(), String> {
        let mut receipts: BTreeMap<HoldId, usize> = BTreeMap::new();
        for line in self.trail() {
            let receipt: serde_json::Value = serde_json::from_str(&line).map_err(|why| format!("{why}: {line}"))?;
            let id = receipt["call_id"].as_str().and_then(hold_id).ok_or_else(|| format!("no id: {line}"))?;
            *receipts.entry(id).or_default() += 1;
        }
        if let Some((id, count)) = receipts.iter().find(|(_, count)| **count > 1) {
            return Err(format!("call {id:x} has {count} receipts"));
        }
        for (id, (span, kept)) in &lock(&self.truth).left {
            if *kept == Some(Kept::Yes) && !receipts.contains_key(id) {
                return Err(format!("call {id:x} left and has no receipt"));
            }
            if self.is_strict && span.to.is_some() && *kept != Some(Kept::Yes) {
                return Err(format!("the intent of {id:x} was confirmed and lost: {span:?}"));
            }
        }
        verify(Arc::new(self.disk.clone()) as Arc<dyn Storage>, None).map(drop).map_err(|why| why.to_string())
    }

    /// All whole lines.
    fn trail(&self) -> Vec<String> {
        let dir = self.dir.path().join("trail");
        let text = |name: &String| std::fs::read_to_string(dir.join(name)).unwrap();
        let whole = |text: String| -> Vec<String> {
            text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
        };
        crate::trail::files(&dir).unwrap().iter().map(text).flat_map(whole).collect()
    }

    pub(super) fn run_for(&mut self, ms: u64, ends: impl FnMut() -> bool) {
        let to_ms = self.tasks.time.now_ms() + ms;
        self.tasks.run(to_ms, ends);
    }

    pub(super) fn goes_on(&mut self, ms: u64) {
        let disk = self.disk.clone();
        self.run_for(ms, || disk.has_ended());
    }

    /// The wall clock is set: a little mostly, at times by more than a hold lives.
    pub(super) fn step_clock(&mut self) {
        let most_ms = [1_500, 90_000, 1_200_000, 7_200_000][[0, 1, 1, 2, 2, 3][self.below(6)]];
        let by_ms = self.below(2 * most_ms) as i64 - most_ms as i64;
        self.tell(format!("the clock steps by {by_ms}"));
        self.wall_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    pub(super) fn clock(&self) -> impl Fn() -> i64 + Send + Sync + 'static {
        let (wall_ms, time) = (self.wall_ms.clone(), self.tasks.time.clone());
        move || wall_ms.load(Ordering::Relaxed) + time.now_ms() as i64
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock()()
    }

    pub(super) fn below(&self, bound: usize) -> usize {
        lock(&self.random).below(bound)
    }

    pub(super) fn tell(&self, what: String) {
        lock(&self.trace).push(format!("{} {what}", self.tasks.time.now_ms()));
    }
}

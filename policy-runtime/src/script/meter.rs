//! What a script may spend: operations and bytes, which replay, and CPU time of the thread as a net.
//!
//! A script runs on one thread from begin to end, so its meter is the thread's. A script never runs inside another.

use std::cell::Cell;
use std::time::Duration;

use tollgate_core::policy::verdict::FailureKind;

use crate::engine::Bounds;
use crate::expr::thread_cpu;

/// CPU time is looked at once in this many operations: the clock costs as much as twenty of them.
const LOOK_EVERY: u64 = 64;
/// What native code does between two looks ends before it is seen: sorting, joining, taking apart.
const LATE_MAX: Duration = Duration::from_millis(4);

/// One meter per thread, in cells of its own: a tick writes eight bytes and nothing more.
struct Meter {
    /// Where the engine's own count stood: it may go on from run to run.
    begun: Cell<Option<u64>>,
    ops: Cell<u64>,
    ops_max: Cell<u64>,
    bytes: Cell<u64>,
    bytes_max: Cell<u64>,
    /// The count at which the clock is looked at next: counts may be passed over while native code runs.
    look_at: Cell<u64>,
    /// Ticks since the last look: a closure that native code calls counts from where that code was called.
    ticks: Cell<u64>,
    /// `None` until the first look: short scripts never ask the clock.
    cpu_end: Cell<Option<Duration>>,
    cpu_max: Cell<Duration>,
    broken: Cell<Option<FailureKind>>,
    last: Cell<(u32, u32)>,
}

thread_local! {
    static METER: Meter = const {
        Meter {
            begun: Cell::new(None),
            ops: Cell::new(0),
            // Outside a run nothing is bounded: engines tick while they compile, too.
            ops_max: Cell::new(u64::MAX),
            bytes: Cell::new(0),
            bytes_max: Cell::new(u64::MAX),
            look_at: Cell::new(u64::MAX),
            ticks: Cell::new(0),
            cpu_end: Cell::new(None),
            cpu_max: Cell::new(Duration::MAX),
            broken: Cell::new(None),
            last: Cell::new((0, 0)),
        }
    };
}

impl Meter {
    /// From here on every tick ends the run: native code that sorts swallows the errors of what compares.
    fn broke(&self, bound: FailureKind) {
        self.broken.set(Some(bound));
        self.look_at.set(0);
    }
}

/// What a run has spent.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    pub ops: u64,
    /// Which bound was broken.
    pub broken: Option<FailureKind>,
    /// Line and column of the last call of a host function.
    pub last: (u32, u32),
}

/// A run under way.
pub struct Metered;

/// Begins a run on this thread.
pub fn begin(bounds: &Bounds) -> Metered {
    METER.with(|m| {
        m.begun.set(None);
        m.ops.set(0);
        m.ops_max.set(bounds.ops);
        m.bytes.set(0);
        m.bytes_max.set(bounds.bytes);
        m.look_at.set(LOOK_EVERY);
        m.ticks.set(0);
        m.cpu_end.set(None);
        m.cpu_max.set(bounds.cpu_within(LATE_MAX));
        m.broken.set(None);
        m.last.set((0, 0));
    });
    Metered
}

impl Metered {
    pub fn end(self) -> Spent {
        METER.with(|m| {
            m.ops_max.set(u64::MAX);
            m.bytes_max.set(u64::MAX);
            m.look_at.set(u64::MAX);
            m.cpu_max.set(Duration::MAX);
            Spent { ops: m.ops.get(), broken: m.broken.take(), last: m.last.get() }
        })
    }
}

/// Called for each operation. `true` = the run must end.
pub fn tick(count: u64) -> bool {
    METER.with(|m| {
        let begun = m.begun.get().unwrap_or_else(|| {
            m.begun.set(Some(count.saturating_sub(1)));
            count.saturating_sub(1)
        });
        let ops = count.saturating_sub(begun);
        m.ops.set(ops);
        m.ticks.set(m.ticks.get() + 1);
        if ops > m.ops_max.get() {
            m.broke(FailureKind::Budget);
        } else if m.cpu_max.get() < Duration::MAX && (ops >= m.look_at.get() || m.ticks.get() >= LOOK_EVERY) {
            if m.broken.get().is_some() {
                return true;
            }
            m.look_at.set(ops + LOOK_EVERY);
            m.ticks.set(0);
            let now = thread_cpu();
            match m.cpu_end.get() {
                None => m.cpu_end.set(Some(now + m.cpu_max.get())),
                Some(end) if now > end => m.broke(FailureKind::CpuTime),
                Some(_) => {}
            }
        } else {
            return false;
        }
        m.broken.get().is_some()
    })
}

/// Host functions pay for the bytes they look at. `false` = there are none left.
pub fn charge(bytes: usize) -> bool {
    METER.with(|m| {
        m.bytes.set(m.bytes.get().saturating_add(bytes as u64));
        let within = m.bytes.get() <= m.bytes_max.get();
        if !within {
            m.broke(FailureKind::Budget);
        }
        within
    })
}

/// Where a host function was called.
pub fn seen(line: u32, column: u32) {
    METER.with(|m| m.last.set((line, column)));
}

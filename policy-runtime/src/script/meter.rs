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

#[derive(Clone, Copy)]
struct Meter {
    ops: u64,
    ops_max: u64,
    bytes: u64,
    bytes_max: u64,
    /// `None` until the first look: short scripts never ask the clock.
    cpu_end: Option<Duration>,
    cpu_max: Duration,
    broken: Option<FailureKind>,
    last: (u32, u32),
}

thread_local! {
    static METER: Cell<Option<Meter>> = const { Cell::new(None) };
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
    METER.set(Some(Meter {
        ops: 0,
        ops_max: bounds.ops,
        bytes: 0,
        bytes_max: bounds.bytes,
        cpu_end: None,
        cpu_max: Duration::from_millis(bounds.cpu_ms),
        broken: None,
        last: (0, 0),
    }));
    Metered
}

impl Metered {
    pub fn end(self) -> Spent {
        let meter = METER.take();
        meter.map_or(Spent { ops: 0, broken: None, last: (0, 0) }, |m| Spent {
            ops: m.ops,
            broken: m.broken,
            last: m.last,
        })
    }
}

/// Called for each operation. `true` = the run must end.
pub fn tick(ops: u64) -> bool {
    let Some(mut meter) = METER.get() else { return false };
    meter.ops = ops;
    if ops > meter.ops_max {
        meter.broken = Some(FailureKind::Budget);
    } else if ops.is_multiple_of(LOOK_EVERY) {
        let now = thread_cpu();
        match meter.cpu_end {
            None => meter.cpu_end = Some(now + meter.cpu_max),
            Some(end) if now > end => meter.broken = Some(FailureKind::CpuTime),
            Some(_) => {}
        }
    }
    METER.set(Some(meter));
    meter.broken.is_some()
}

/// Host functions pay for the bytes they look at. `false` = there are none left.
pub fn charge(bytes: usize) -> bool {
    let Some(mut meter) = METER.get() else { return true };
    meter.bytes = meter.bytes.saturating_add(bytes as u64);
    if meter.bytes > meter.bytes_max {
        meter.broken = Some(FailureKind::Budget);
    }
    METER.set(Some(meter));
    meter.broken.is_none()
}

/// Where a host function was called.
pub fn seen(line: u32, column: u32) {
    if let Some(mut meter) = METER.get() {
        meter.last = (line, column);
        METER.set(Some(meter));
    }
}

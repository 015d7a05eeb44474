//! CPU time of the calling thread: the net under operations, which are what replays.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Since the thread began.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

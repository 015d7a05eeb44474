//! The time and the order of a world: one thread, tasks that are polled in an order that the seed chooses, and a clock
//! that goes on only when nobody has anything to do.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::journal::Random;
use crate::ledger::books::lock;

thread_local! {
    static TIME: RefCell<Option<Time>> = const { RefCell::new(None) };
}

/// The time of the world that runs on this thread, where one does.
pub(crate) fn time() -> Option<Time> {
    TIME.with_borrow(Clone::clone)
}

/// Which shard something lies in: by chance, and in a world always the same.
pub(crate) struct Chance(u64);

impl Default for Chance {
    fn default() -> Self {
        Chance(if time().is_some() { 0 } else { RandomState::new().hash_one(0) })
    }
}

impl BuildHasher for Chance {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// A steady clock in milliseconds, and who waits for it.
#[derive(Clone, Default)]
pub(crate) struct Time(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    now_ms: u64,
    timers: BTreeMap<(u64, u64), Waker>,
    ordinal: u64,
}

impl Time {
    pub(crate) fn now_ms(&self) -> u64 {
        lock(&self.0).now_ms
    }

    pub(crate) fn sleep(&self, ms: u64) -> Sleep {
        let mut waiting = lock(&self.0);
        waiting.ordinal += 1;
        Sleep { time: self.clone(), key: (waiting.now_ms + ms, waiting.ordinal) }
    }

    pub(crate) async fn no_longer<T>(&self, within: Duration, it: impl Future<Output = T>) -> Option<T> {
        match select(pin!(it), self.sleep(within.as_millis() as u64)).await {
            Either::Left((came, _)) => Some(came),
            Either::Right(_) => None,
        }
    }

    /// Goes on to the first moment that somebody waits for, at most to `to_ms`; `false` = that was reached.
    fn go_on(&self, to_ms: u64) -> bool {
        let mut waiting = lock(&self.0);
        let due = waiting.timers.first_key_value().map(|(key, _)| *key).filter(|(at, _)| *at <= to_ms);
        waiting.now_ms = due.map_or(to_ms, |(at, _)| at).max(waiting.now_ms);
        let waker = due.and_then(|key| waiting.timers.remove(&key));
        drop(waiting);
        waker.map(Waker::wake).is_some()
    }
}

pub(crate) struct Sleep {
    time: Time,
    key: (u64, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = lock(&self.time.0);
        if waiting.now_ms >= self.key.0 {
            return Poll::Ready(());
        }
        waiting.timers.insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        lock(&self.time.0).timers.remove(&self.key);
    }
}

/// A set, not a queue: in which order tasks were woken is not always the same in tokio, which ones were is.
type Ready = Arc<Mutex<BTreeSet<u64>>>;

struct Awake {
    task: u64,
    ready: Ready,
}

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).insert(self.task);
    }
}

/// All tasks of a process.
pub(crate) struct Tasks {
    pub time: Time,
    tasks: BTreeMap<u64, Pin<Box<dyn Future<Output = ()>>>>,
    ready: Ready,
    next: u64,
    order: Random,
}

impl Tasks {
    /// The clock of this thread is this world's from here on.
    pub(crate) fn new(seed: u64) -> Tasks {
        let time = Time::default();
        TIME.set(Some(time.clone()));
        Tasks { time, tasks: BTreeMap::new(), ready: Ready::default(), next: 0, order: Random(seed) }
    }

    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + 'static) -> u64 {
        self.next += 1;
        self.tasks.insert(self.next, Box::pin(task));
        lock(&self.ready).insert(self.next);
        self.next
    }

    pub(crate) fn is_running(&self, task: u64) -> bool {
        self.tasks.contains_key(&task)
    }

    pub(crate) fn drop_task(&mut self, task: u64) {
        drop(self.tasks.remove(&task));
    }

    pub(crate) fn drop_all(&mut self) {
        while let Some((_, task)) = self.tasks.pop_first() {
            drop(task);
        }
        lock(&self.ready).clear();
    }

    /// Runs until this moment, or until `ends` says so; it is asked after each step of a task.
    pub(crate) fn run(&mut self, to_ms: u64, mut ends: impl FnMut() -> bool) {
        loop {
            while let Some(task) = self.choose() {
                self.step(task);
                if ends() {
                    return;
                }
            }
            if !self.time.go_on(to_ms) {
                return;
            }
        }
    }

    fn choose(&mut self) -> Option<u64> {
        let mut ready = lock(&self.ready);
        let chosen = ready.iter().nth(self.order.below(ready.len())).copied()?;
        ready.remove(&chosen);
        Some(chosen)
    }

    fn step(&mut self, task: u64) {
        let Some(future) = self.tasks.get_mut(&task) else { return };
        let waker = Waker::from(Arc::new(Awake { task, ready: self.ready.clone() }));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.tasks.remove(&task);
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.drop_all();
        TIME.set(None);
    }
}

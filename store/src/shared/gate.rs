//! May this node spend what it has leased, and may it ask for more? And what time is it at the store?

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How this node stands to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The store has never answered.
    Starting,
    /// The store forgot, or is another server: what this node has is told to it, and nothing is spent meanwhile.
    Joining,
    /// This node has told what it has; nothing more is leased before all others could.
    Waiting,
    Open,
    /// The store does not answer, or answers wrongly. What is leased is spent until its lease ends.
    Away,
    /// Budgets must not rest on this store.
    Unsafe,
}

impl State {
    pub const ALL: [State; 6] =
        [State::Starting, State::Joining, State::Waiting, State::Open, State::Away, State::Unsafe];

    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Joining => "joining",
            State::Waiting => "waiting",
            State::Open => "open",
            State::Away => "away",
            State::Unsafe => "unsafe",
        }
    }
}

#[derive(Debug)]
pub(super) struct Gate {
    begun: Instant,
    state: AtomicU8,
    /// The store's clock at `begun`, in milliseconds. Taken when an answer came, so never ahead of it.
    store_ms: AtomicI64,
    is_set: AtomicBool,
    /// The end of this node's lease, in milliseconds since `begun`. Counted from when the store was asked, so never later than
    /// the store has it.
    until_ms: AtomicU64,
}

impl Gate {
    pub(super) fn new() -> Gate {
        Gate {
            begun: Instant::now(),
            state: AtomicU8::new(0),
            store_ms: AtomicI64::new(0),
            is_set: AtomicBool::new(false),
            until_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn state(&self) -> State {
        State::ALL.get(usize::from(self.state.load(Ordering::Acquire))).copied().unwrap_or(State::Away)
    }

    /// Tells whether it is another one than before.
    pub(super) fn set(&self, state: State) -> bool {
        let number = State::ALL.iter().position(|one| *one == state).unwrap_or_default() as u8;
        self.state.swap(number, Ordering::AcqRel) != number
    }

    pub(super) fn heard(&self, store_ms: i64) {
        self.store_ms.store(store_ms.saturating_sub(self.since_ms(Instant::now()) as i64), Ordering::Release);
        self.is_set.store(true, Ordering::Release);
    }

    pub(super) fn renew(&self, asked: Instant, lease: Duration) {
        self.until_ms.store(self.since_ms(asked) + lease.as_millis() as u64, Ordering::Release);
    }

    /// By the store's clock; `None` = it was never heard of.
    pub(super) fn now_ms(&self) -> Option<i64> {
        let is_set = self.is_set.load(Ordering::Acquire);
        is_set.then(|| self.store_ms.load(Ordering::Acquire).saturating_add(self.since_ms(Instant::now()) as i64))
    }

    pub(super) fn may_spend(&self) -> bool {
        let is_told = match self.state() {
            State::Waiting | State::Open | State::Away => true,
            State::Starting | State::Joining | State::Unsafe => false,
        };
        is_told && self.since_ms(Instant::now()) < self.until_ms.load(Ordering::Acquire)
    }

    pub(super) fn may_ask(&self) -> bool {
        self.state() == State::Open
    }

    fn since_ms(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.begun).as_millis() as u64
    }
}

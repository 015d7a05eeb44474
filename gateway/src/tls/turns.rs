//! Handshakes under way are bounded: when there are too many, the oldest makes room.
//!
//! An honest one ends within a second, so the oldest are those that somebody keeps open to shut others out.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::oneshot;

/// Under way at one listener.
const HANDSHAKES_MAX: usize = 1_024;

#[derive(Default)]
pub struct Turns {
    waiting: Mutex<Waiting>,
}

/// By age, the oldest first; each is told by the end of its channel.
#[derive(Default)]
struct Waiting {
    next: u64,
    turns: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// One handshake's place; it ends with it.
pub struct Turn<'a> {
    of: &'a Turns,
    number: u64,
    ended: oneshot::Receiver<()>,
}

impl Turns {
    pub fn take(&self) -> Turn<'_> {
        let (keep, ended) = oneshot::channel();
        let mut waiting = self.waiting.lock().expect("no code panics while it holds the turns");
        if waiting.turns.len() >= HANDSHAKES_MAX {
            waiting.turns.pop_front();
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.turns.push_back((number, keep));
        Turn { of: self, number, ended }
    }
}

impl Turn<'_> {
    /// Comes back when a newer one needs the room.
    pub async fn over(&mut self) {
        let _ = (&mut self.ended).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.of.waiting.lock().expect("no code panics while it holds the turns");
        if let Ok(at) = waiting.turns.binary_search_by_key(&self.number, |(number, _)| *number) {
            waiting.turns.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_oldest_makes_room_and_what_ended_takes_none() {
        let turns = Turns::default();
        let mut all: Vec<Turn<'_>> = (0..HANDSHAKES_MAX).map(|_| turns.take()).collect();
        assert!(all.iter_mut().all(|turn| turn.over().now_or_never().is_none()), "all have room");
        all.remove(5);
        let mut more = turns.take();
        assert!(all[0].over().now_or_never().is_none(), "one had ended");
        let mut next = turns.take();
        assert!(all[0].over().now_or_never().is_some(), "the oldest makes room");
        for turn in [&mut more, &mut next, &mut all[1]] {
            assert!(turn.over().now_or_never().is_none());
        }
        assert_eq!(turns.waiting.lock().unwrap().turns.len(), HANDSHAKES_MAX);
        drop((all, more, next));
        assert!(turns.waiting.lock().unwrap().turns.is_empty());
    }
}

//! What a node has leased, scope by scope, and the calls that took of it. All or none for each call, without the store
//! where the leases have room.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tollgate_core::limits::claim::{Claim, HoldId, Refused};
use tollgate_core::limits::rules::{Rule, Unit};
use tollgate_core::ports::Ledger;

use super::fleet::Change;
use super::frame::{AMOUNT_MAX, Kind};
use super::gate::Gate;
use super::slice::{Answer, Slice};
use super::told::{away, refused};
use crate::ledger::amended::Amendments;
use crate::ledger::books::lock;
use crate::ledger::full;
use crate::ledger::hold::{Hold, Part};

const SHARDS: usize = 16;
/// Bounds of one shard. A scope is about 500 bytes.
const SCOPES_MAX: usize = 65_536;
pub(super) const HOLDS_MAX: usize = 16_384;
/// A hold that is older belongs to a call that was lost: as on one node.
pub(super) const HOLD_MS_MAX: i64 = 30 * 60 * 1_000;
/// How often others may take what was leased for a call before it does.
const TRIES: usize = 8;
/// A call waits so long for the store: the operation under way, its own, and a new connection between them.
pub(super) const ANSWER_MAX: Duration = Duration::from_millis(200);
/// A scope that nobody used for so long is forgotten here, not in the store.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// One scope of one rule.
#[derive(Debug)]
pub(super) struct Cell {
    /// Its name in the store: another unit or another kind of window counts anew.
    pub key: Box<str>,
    pub scope: Arc<str>,
    kind: Kind,
    unit: Unit,
    pub slice: Mutex<Slice>,
}

pub(super) struct Desk {
    /// This node's own ledger: what its calls hold and used, whatever others do. It keeps them, and refuses nothing.
    pub local: Arc<dyn Ledger>,
    pub gate: Gate,
    /// What operators changed of limits, on any gateway, by the store's clock.
    pub amendments: Amendments,
    /// Changes of them that operators asked this gateway for, and that the store has not taken yet.
    pub changes: Mutex<VecDeque<Change>>,
    cells: [Mutex<HashMap<Arc<str>, Arc<Cell>>>; SHARDS],
    holds: [Mutex<HashMap<HoldId, Taken>>; SHARDS],
    hasher: RandomState,
    /// Who waits for the store.
    queue: Mutex<VecDeque<Arc<Cell>>>,
    watched: Mutex<Vec<Arc<Cell>>>,
    pub bell: Notify,
}

/// What a call took, part by part. Given back where the call comes to nothing before it is held.
#[derive(Debug)]
pub(super) struct Taken {
    pub hold: Hold,
    pub cells: Vec<Arc<Cell>>,
}

/// Taken and not yet a hold.
pub(super) struct Pending(Option<Taken>);

impl Pending {
    pub(super) fn kept_if(mut self, is_kept: bool) -> Option<Taken> {
        if is_kept { self.0.take() } else { None }
    }

    /// The rules of its parts without a bound, as the node's own ledger counts by them.
    pub(super) fn plain(&self) -> Vec<Arc<Rule>> {
        let cells = self.0.iter().flat_map(|taken| &taken.cells);
        cells.map(|cell| lock(&cell.slice).plain.clone()).collect()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(taken) = self.0.take() {
            taken.parts().for_each(|(part, cell)| give_back(cell, part));
        }
    }
}

impl Taken {
    pub(super) fn parts(&self) -> impl Iterator<Item = (&Part, &Arc<Cell>)> {
        self.hold.parts.iter().zip(&self.cells)
    }
}

fn give_back(cell: &Cell, part: &Part) {
    let mut slice = lock(&cell.slice);
    if slice.turn == part.epoch {
        slice.untake(amount(part.claimed));
    }
}

/// As the store counts.
pub(super) fn amount(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(AMOUNT_MAX).min(AMOUNT_MAX)
}

impl Desk {
    pub(super) fn new(local: Arc<dyn Ledger>) -> Desk {
        Desk {
            local,
            gate: Gate::new(),
            amendments: Amendments::default(),
            changes: Mutex::default(),
            cells: Default::default(),
            holds: Default::default(),
            hasher: RandomState::new(),
            queue: Mutex::default(),
            watched: Mutex::default(),
            bell: Notify::new(),
        }
    }

    /// The scope of a rule; `None` = there is no room for another.
    pub(super) async fn cell(&self, rule: &Arc<Rule>, scope: &str, now_ms: i64) -> Option<Arc<Cell>> {
        let (kind, unit) = (Kind::of(rule), rule.unit);
        let shard = self.shard(scope);
        if let Some(cell) = lock(shard).get(scope).filter(|cell| cell.kind == kind && cell.unit == unit) {
            return Some(cell.clone());
        }
        let mut slice = Slice::new(rule, now_ms);
        if kind == Kind::Calendar {
            // What this node used in the period before it was started, or before the scope was forgotten here.
            let own = Claim { rule: slice.plain.clone(), scope: scope.into(), worst: 0 };
            let stands = self.local.standing(std::slice::from_ref(&own), now_ms).await;
            let used = stands.first().map_or(0, |stands| amount(stands.used));
            (slice.used, slice.told, slice.is_dirty) = (used, used, used > 0);
        }
        let mut cells = lock(shard);
        if let Some(cell) = cells.get(scope).filter(|cell| cell.kind == kind && cell.unit == unit) {
            return Some(cell.clone());
        }
        if cells.len() >= SCOPES_MAX && !cells.contains_key(scope) {
            return None;
        }
        let unit_letter = match unit {
            Unit::Nanousd => "n",
            Unit::Tokens => "t",
            Unit::Requests => "r",
            Unit::InFlight => "f",
        };
        let key = format!("{}{unit_letter}:{scope}", kind.letter()).into();
        let cell = Arc::new(Cell { key, scope: scope.into(), kind, unit, slice: Mutex::new(slice) });
        cells.insert(cell.scope.clone(), cell.clone());
        Some(cell)
    }

    /// Brings a scope to now: its period, its rule, and what operators changed of that.
    pub(super) fn advance(&self, cell: &Cell, slice: &mut Slice, rule: Option<&Arc<Rule>>, now_ms: i64) {
        if let Some(rule) = rule.filter(|rule| !Arc::ptr_eq(rule, &slice.rule)) {
            // Two revisions may count at once: what the other one leased is no less good.
            slice.most = self.amendments.limit(rule, &cell.scope, now_ms).most;
        }
        slice.advance(rule, now_ms);
        slice.relimit(self.amendments.limit(&slice.rule, &cell.scope, now_ms).most);
    }

    /// Takes what all claims need, or nothing; asks the store where this node has too little.
    pub(super) async fn take(&self, claims: &[Claim], now_ms: i64) -> Result<Pending, Refused> {
        let mut wanted = Vec::with_capacity(claims.len());
        for claim in claims {
            let cell = self.cell(&claim.rule, &claim.scope, now_ms).await;
            wanted.push((cell.ok_or_else(|| full(std::slice::from_ref(claim)))?, claim.rule.clone(), claim.worst));
        }
        self.take_from(&wanted).await
    }

    pub(super) async fn take_from(&self, wanted: &[(Arc<Cell>, Arc<Rule>, u64)]) -> Result<Pending, Refused> {
        let mut spent: Option<usize> = None;
        // A call that claims a scope twice needs both at once: asked for one after the other, each would give up the other's.
        let whole = |cell: &Arc<Cell>| {
            let same = wanted.iter().filter(|(other, ..)| Arc::ptr_eq(other, cell));
            same.fold(0u64, |all, (.., need)| all.saturating_add(*need))
        };
        for _ in 0..TRIES {
            let now_ms = self.gate.now_ms().filter(|_| self.gate.may_spend());
            let Some(now_ms) = now_ms else { return Err(wanted.first().map_or_else(|| full(&[]), away)) };
            let lacking = match self.take_now(wanted, now_ms) {
                Ok(taken) => return Ok(taken),
                Err(lacking) => lacking,
            };
            for at in &lacking {
                let (cell, rule, need) = &wanted[*at];
                if spent == Some(*at) || whole(cell) > self.amendments.limit(rule, &cell.scope, now_ms).most {
                    return Err(refused(cell, rule, *need, now_ms));
                }
            }
            let ask = |at: &usize| (*at, self.ask(&wanted[*at].0, amount(whole(&wanted[*at].0))));
            let asked: Vec<_> = lacking.iter().map(ask).collect();
            spent = None;
            for (at, answer) in asked {
                match timeout(ANSWER_MAX, answer).await {
                    Ok(Ok(Answer::Given)) => {}
                    Ok(Ok(Answer::Spent)) => spent = Some(at),
                    Ok(Ok(Answer::Away) | Err(_)) | Err(_) => return Err(away(&wanted[at])),
                }
            }
        }
        Err(wanted.first().map_or_else(|| full(&[]), away))
    }

    /// Takes all, or tells what lacks.
    fn take_now(&self, wanted: &[(Arc<Cell>, Arc<Rule>, u64)], now_ms: i64) -> Result<Pending, Vec<usize>> {
        let (mut parts, mut cells) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
        let mut lacking = Vec::new();
        for (at, (cell, rule, need)) in wanted.iter().enumerate() {
            let mut slice = lock(&cell.slice);
            self.advance(cell, &mut slice, Some(rule), now_ms);
            if !slice.take(amount(*need)) {
                lacking.push(at);
                continue;
            }
            let part = Part {
                rule: rule.clone(),
                scope: cell.scope.clone(),
                epoch: slice.turn,
                claimed: *need,
                made_ms: now_ms,
            };
            if slice.runs_low() {
                self.enqueue(cell, &mut slice);
            }
            parts.push(part);
            cells.push(cell.clone());
        }
        let hold =
            Hold { parts, made_ms: now_ms, until_ms: now_ms.saturating_add(HOLD_MS_MAX), step: 0, is_expired: false };
        let taken = Pending(Some(Taken { hold, cells }));
        if lacking.is_empty() { Ok(taken) } else { Err(lacking) }
    }

    /// Asks the store for `need`; 0 = only how the scope stands.
    pub(super) fn ask(&self, cell: &Arc<Cell>, need: i64) -> oneshot::Receiver<Answer> {
        let (told, answer) = oneshot::channel();
        if self.gate.may_ask() {
            let mut slice = lock(&cell.slice);
            slice.waiters.push((need, told));
            self.enqueue(cell, &mut slice);
        } else {
            // Who waits is told at once.
            let _ = told.send(Answer::Away);
        }
        answer
    }

    pub(super) fn enqueue(&self, cell: &Arc<Cell>, slice: &mut Slice) {
        if !slice.is_asking && !slice.is_queued {
            slice.is_queued = true;
            lock(&self.queue).push_back(cell.clone());
            self.bell.notify_one();
        }
    }

    pub(super) fn next_batch(&self, most: usize) -> Vec<Arc<Cell>> {
        let mut queue = lock(&self.queue);
        let n = queue.len().min(most);
        queue.drain(..n).collect()
    }

    pub(super) fn watch(&self, cell: &Arc<Cell>, slice: &mut Slice) {
        if !slice.is_watched {
            slice.is_watched = true;
            lock(&self.watched).push(cell.clone());
        }
    }

    /// Scopes that have something to tell come into the queue; those at rest for long are forgotten.
    pub(super) fn look(&self) {
        let now = std::time::Instant::now();
        let now_ms = self.gate.now_ms().unwrap_or_default();
        let mut watched = lock(&self.watched);
        watched.retain(|cell| {
            let mut slice = lock(&cell.slice);
            slice.advance(None, now_ms);
            if slice.is_due(now) {
                self.enqueue(cell, &mut slice);
            }
            if !slice.is_at_rest() || slice.rests_since(now) < FORGET_AFTER {
                return true;
            }
            drop(slice);
            !self.forget(cell)
        });
    }

    /// Invariant: a scope has one cell. So it is forgotten only where nobody has it but the map and those that are watched.
    fn forget(&self, cell: &Arc<Cell>) -> bool {
        let mut cells = lock(self.shard(&cell.scope));
        match cells.get(&cell.scope).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            true if Arc::strong_count(cell) <= 2 => cells.remove(&cell.scope).is_some(),
            true => false,
            false => true,
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Cell>> {
        let of = |shard: &Mutex<HashMap<Arc<str>, Arc<Cell>>>| lock(shard).values().cloned().collect::<Vec<_>>();
        let mut all: Vec<_> = self.cells.iter().flat_map(of).collect();
        // One whose rule counts otherwise by now is no longer found by its name, and may still have a lease.
        for cell in lock(&self.watched).iter() {
            if !lock(self.shard(&cell.scope)).get(&cell.scope).is_some_and(|known| Arc::ptr_eq(known, cell)) {
                all.push(cell.clone());
            }
        }
        all
    }

    fn shard(&self, scope: &str) -> &Mutex<HashMap<Arc<str>, Arc<Cell>>> {
        &self.cells[(self.hasher.hash_one(scope) % SHARDS as u64) as usize]
    }

    pub(super) fn holds(&self, id: HoldId) -> &Mutex<HashMap<HoldId, Taken>> {
        &self.holds[(id % SHARDS as u128) as usize]
    }

    /// Holds of lost calls are given back.
    pub(super) fn expire(&self, now_ms: i64) {
        for shard in &self.holds {
            lock(shard).retain(|_, taken| {
                if now_ms < taken.hold.until_ms {
                    return true;
                }
                if taken.hold.is_expired {
                    return false;
                }
                release(taken, &vec![0; taken.cells.len()]);
                (taken.hold.is_expired, taken.hold.until_ms) = (true, now_ms.saturating_add(HOLD_MS_MAX));
                true
            });
        }
    }
}

/// What is held is given back, and `used` of each part is booked.
pub(super) fn release(taken: &Taken, used: &[u64]) {
    for ((part, cell), used) in taken.parts().zip(used) {
        let mut slice = lock(&cell.slice);
        if slice.turn != part.epoch {
            continue;
        }
        if !taken.hold.is_expired {
            slice.held -= amount(part.held());
        }
        slice.book(amount(*used));
    }
}

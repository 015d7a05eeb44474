//! The way of one call, from arrival to receipt.
//!
//! This file knows the order of the stages and nothing else; each stage is a file beside it.
//! A stage takes the call by value and returns the next type, so a stage cannot be skipped. Calls travel in boxes: what
//! waits on the network should be a pointer, not a kilobyte.

pub mod admit;
pub mod allowance;
pub mod answer;
pub mod arrive;
pub mod body;
mod bound;
mod broke;
pub mod claims;
pub mod count;
pub mod course;
mod departure;
pub mod embed;
pub mod exchange;
mod failed;
mod framing;
mod gathered;
mod granted;
pub mod head;
pub mod identify;
pub mod meter;
pub mod outlet;
pub mod plain;
pub mod plan;
pub mod prove;
mod rates;
mod readable;
pub mod rehearse;
mod rungs;
pub mod said;
pub mod settle;
pub mod shape;
pub mod stateful;
pub mod stream;
pub mod targets;
pub mod template;
pub mod translate;
pub mod wire;

use std::sync::Arc;

use crate::contract::refusal::Refusal;
use crate::evidence::receipt::Receipt;
use crate::identity::certificate::Revoked;
use crate::identity::key::Pepper;
use crate::identity::runtime::RuntimeKeys;
use crate::ports::{Ledger, Policies, Shelf, Tokens, Trail, Upstream};

use admit::admit;
use answer::{Answer, answer};
use arrive::Arrival;
use body::Bodies;
use identify::identify;
use outlet::Outlet;
use plan::plan;

/// Everything a call needs, made once.
pub struct Core {
    pub policies: Arc<dyn Policies>,
    pub upstream: Arc<dyn Upstream>,
    pub ledger: Arc<dyn Ledger>,
    pub shelf: Arc<dyn Shelf>,
    pub trail: Arc<dyn Trail>,
    pub clock: Clock,
    pub pepper: Pepper,
    pub keys: RuntimeKeys,
    /// Client certificates that are taken no more.
    pub revoked: Revoked,
    /// Whose tokens are taken; `None` = nobody's.
    pub tokens: Option<Arc<dyn Tokens>>,
    pub bodies: Bodies,
    pub bounds: Bounds,
}

/// Time, as it is given to the core.
#[derive(Clone)]
pub struct Clock {
    /// Milliseconds since 1970.
    pub now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Milliseconds on a clock that never steps.
    pub steady_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// Bounds of the edge that no policy can widen.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of one request body.
    pub body_bytes_max: usize,
    /// A JSON answer up to this is read whole; a larger one is passed through.
    pub answer_bytes_max: usize,
    /// For all attempts of a call together, where nobody sets a tighter one.
    pub deadline_ms: u64,
    pub attempts_max: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { body_bytes_max: 32 << 20, answer_bytes_max: 32 << 20, deadline_ms: 600_000, attempts_max: 4 }
    }
}

/// Carries one call to its end. Runs in a task of its own: a caller that leaves closes the outlet, and `settle` still runs.
pub async fn run(core: Arc<Core>, arrival: Box<Arrival>, mut outlet: Outlet) {
    let mut receipt = Box::new(Receipt::open(arrival.opening()));
    receipt.place = arrival.place.told();
    let mut after = settle::After::new(&core, &arrival);
    let came = carry(&core, arrival, &mut receipt, &mut after, &mut outlet).await;
    match came {
        Ok(answer) => stream::hand_over(&core, answer, receipt, after, outlet).await,
        Err(refusal) => settle::refused(&core, refusal, receipt, after, outlet).await,
    }
}

async fn carry(
    core: &Core,
    call: Box<Arrival>,
    receipt: &mut Receipt,
    after: &mut settle::After,
    outlet: &mut Outlet,
) -> Result<Answer, Refusal> {
    let call = identify(core, call, receipt, after).await?; // hook: pre-auth
    let call = plan(core, call, receipt).await?; //            hook: pre-route
    let call = admit(core, call, receipt, after).await?; //    shelf, rates, budget
    answer(core, call, receipt, after, outlet).await //        targets in turn
}

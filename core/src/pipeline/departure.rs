//! The moment before a call leaves for a provider: what it is about to do is kept first, or it does not leave.

use std::sync::Arc;

use super::Core;
use super::settle::After;
use crate::contract::refusal::{Category, Refusal};
use crate::evidence::intent::Intent;
use crate::evidence::receipt::Receipt;
use crate::routing::catalog::Target;

/// How soon a call may try again that could not be kept.
const RETRY_MS: u64 = 2_000;

pub async fn depart(core: &Core, receipt: &Receipt, after: &mut After, target: &Arc<Target>) -> Result<(), Refusal> {
    let intent = Intent::of(after.hold_id, receipt, &target.id);
    core.trail.intend(&intent).await.map_err(|why| Refusal {
        retry_after_ms: Some(RETRY_MS),
        ..Refusal::new(Category::Overloaded, "record_not_kept", format!("no call leaves without a record of it: {why}"))
    })?;
    after.left_for = Some(target.clone());
    Ok(())
}

//! The moment before a call leaves for a provider: what it is about to do is kept first, or it does not leave.

use std::sync::Arc;

use super::Core;
use super::settle::After;
use crate::contract::refusal::{Category, Refusal};
use crate::evidence::intent::Intent;
use crate::evidence::receipt::Receipt;
use crate::ports::Unkept;
use crate::routing::catalog::Target;

/// How soon a call may try again that could not be kept.
const RETRY_MS: u64 = 2_000;

pub async fn depart(core: &Core, receipt: &Receipt, after: &mut After, target: &Arc<Target>) -> Result<(), Refusal> {
    let unkept = |why: Unkept| Refusal {
        retry_after_ms: Some(RETRY_MS),
        ..Refusal::new(Category::Overloaded, "record_not_kept", format!("no call leaves without a record of it: {why}"))
    };
    if let Some(key) = after.shelf_key.as_ref().filter(|_| after.left_for.is_none()) {
        core.shelf.leaves(key, &receipt.call_id).await.map_err(unkept)?;
    }
    let intent = Intent::of(after.hold_id, receipt, &target.id);
    core.trail.intend(&intent).await.map_err(unkept)?;
    after.left_for = Some(target.clone());
    Ok(())
}

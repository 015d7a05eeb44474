//! How long something is waited for. Production has tokio's clock; a simulation has its own, and asks for no real time.

use std::future::Future;
use std::time::Duration;

/// Waits for it at most so long; `None` = it was not there by then.
pub(crate) async fn no_longer<T>(within: Duration, it: impl Future<Output = T>) -> Option<T> {
    #[cfg(test)]
    if let Some(time) = crate::simulation::time() {
        return time.no_longer(within, it).await;
    }
    tokio::time::timeout(within, it).await.ok()
}

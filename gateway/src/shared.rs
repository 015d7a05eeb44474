//! Which ledger calls are held in: this gateway's own, its share of each limit, or one that several gateways share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tollgate_core::ports::Ledger;
use tollgate_store::ledger::JournalLedger;
use tollgate_store::shared::{Setup, ShareLedger, SharedLedger};

use crate::cli::Ended;
use crate::config::shared::{Sharing, Store};
use crate::metrics::Metrics;
use crate::state::State;

/// So long the store may take for what goes back to it: its leases end by themselves.
const STORE_CLOSE_MAX: Duration = Duration::from_secs(1);

/// The ledger of calls, and the journal below it.
pub struct Limits {
    pub ledger: Arc<dyn Ledger>,
    pub journal: Arc<JournalLedger>,
    shared: Option<Arc<SharedLedger>>,
}

impl Limits {
    /// Over the journal of this gateway, as the config says.
    pub async fn open(
        store: &Store,
        state: &State,
        metrics: &Arc<Metrics>,
        now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    ) -> Result<Limits, Ended> {
        let sharing = store.sharing().map_err(Ended::usage)?;
        let journal = state.ledger(now_ms.clone()).await.map_err(Ended::usage)?;
        match sharing {
            Sharing::Alone => Ok(Limits { ledger: journal.clone(), journal, shared: None }),
            Sharing::Share(share) => {
                Ok(Limits { ledger: Arc::new(ShareLedger::new(journal.clone(), share)), journal, shared: None })
            }
            Sharing::Store { address, lease_ms } => {
                let password = store.password.as_ref().map(|secret| secret.source().read()).transpose();
                let password = password.map_err(|why| Ended::usage(format!("store.password: {why}")))?;
                let read = |path: &PathBuf| {
                    let told = |why| Ended::usage(format!("store.ca: cannot read `{}`: {why}", path.display()));
                    std::fs::read(path).map_err(told)
                };
                let ca = store.ca.as_ref().map(read).transpose()?;
                let metrics = metrics.clone();
                let setup = Setup {
                    address: address.to_owned(),
                    password: password.map(|secret| secret.text().to_owned()),
                    ca,
                    node: state.node().map_err(Ended::usage)?,
                    lease: Duration::from_millis(lease_ms),
                    trusts_store: store.trust_store,
                    observer: Box::new(move |happened| metrics.store_happened(happened)),
                };
                let opened = SharedLedger::open(journal.clone(), setup).await;
                let shared = opened.map_err(|why| Ended::usage(format!("store.redis: {why}")))?;
                Ok(Limits { ledger: shared.clone(), journal, shared: Some(shared) })
            }
        }
    }

    /// What is leased goes back to the store, and the journal is confirmed; `false` where its disk did not take it in time.
    pub async fn close(&self, within: Duration, now_ms: i64) -> bool {
        if let Some(shared) = &self.shared {
            shared.close(STORE_CLOSE_MAX).await;
        }
        self.journal.close(within, now_ms).await
    }
}

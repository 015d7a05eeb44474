//! Which ledger calls are held in: this gateway's own, its share of each limit, or one that several gateways share.

use std::sync::Arc;
use std::time::Duration;

use tollgate_core::ports::Ledger;
use tollgate_store::ledger::JournalLedger;
use tollgate_store::shared::{Setup, ShareLedger, SharedLedger};

use crate::cli::Ended;
use crate::config::shared::{Sharing, Store};
use crate::metrics::Metrics;
use crate::state::State;

/// The ledger of calls, and what must be closed before the journal below it.
pub struct Limits {
    pub ledger: Arc<dyn Ledger>,
    shared: Option<Arc<SharedLedger>>,
}

impl Limits {
    /// Over the journal of this gateway, as the config says.
    pub async fn open(
        store: &Store,
        state: &State,
        journal: &Arc<JournalLedger>,
        metrics: &Arc<Metrics>,
        now_ms: i64,
    ) -> Result<Limits, Ended> {
        match store.sharing().map_err(Ended::usage)? {
            Sharing::Alone => Ok(Limits { ledger: journal.clone(), shared: None }),
            Sharing::Share(share) => {
                Ok(Limits { ledger: Arc::new(ShareLedger::new(journal.clone(), share)), shared: None })
            }
            Sharing::Store { address, lease_ms } => {
                let password = store.password.as_ref().map(|secret| secret.source().read()).transpose();
                let password = password.map_err(|why| Ended::usage(format!("store.password: {why}")))?;
                let metrics = metrics.clone();
                let setup = Setup {
                    address: address.to_owned(),
                    password: password.map(|secret| secret.text().to_owned()),
                    node: state.node().map_err(Ended::usage)?,
                    lease: Duration::from_millis(lease_ms),
                    trusts_store: store.trust_store,
                    observer: Box::new(move |happened| metrics.store_happened(happened)),
                };
                let opened = SharedLedger::open(journal.clone(), setup, now_ms).await;
                let shared = opened.map_err(|why| Ended::usage(format!("store.redis: {why}")))?;
                Ok(Limits { ledger: shared.clone(), shared: Some(shared) })
            }
        }
    }

    /// What is leased goes back to the store.
    pub async fn close(&self, within: Duration) {
        if let Some(shared) = &self.shared {
            shared.close(within).await;
        }
    }
}

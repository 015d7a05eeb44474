//! TLS at a listener: what it serves with now, the handshake, and what a connection knows of its client.

mod der;
pub mod doors;
mod files;
pub mod handshake;
mod holders;
pub mod listener;
mod load;
pub mod meters;
mod names;
pub mod peer;
pub mod pinned;
mod revoked;
mod turns;
mod verify;
pub mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tollgate_core::pipeline::Core;

use crate::config::tls::Tls;
use files::Stamps;
use holders::Holders;
use load::Loaded;
use meters::{Load, Meters};
use turns::Turns;

/// The side of a listener, as logs and meters name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Callers,
    Operators,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Callers => "callers",
            Side::Operators => "operators",
        }
    }

    /// Where it stands in the config.
    fn key(self) -> &'static str {
        match self {
            Side::Callers => "listen.tls",
            Side::Operators => "listen.operators_tls",
        }
    }
}

/// TLS at one listener.
pub struct Door {
    side: Side,
    files: Tls,
    /// Of the files, before they were read first.
    stamps: Stamps,
    now: ArcSwap<Loaded>,
    /// Of `now`; read by every call that came with a certificate.
    epoch: AtomicU64,
    holders: Option<Arc<Holders>>,
    core: Arc<Core>,
    meters: Meters,
    turns: Turns,
}

impl Door {
    /// Whatever is wrong with the files is told before anybody is served.
    pub fn open(
        side: Side,
        tls: &Tls,
        holders: Option<Arc<Holders>>,
        core: Arc<Core>,
        meters: Meters,
    ) -> Result<Arc<Door>, String> {
        let now_ms = (core.clock.now_ms)();
        let stamps = files::stamps(tls);
        let loaded = load::load(tls, side.name(), 1, now_ms).map_err(|why| format!("{}: {why}", side.key()))?;
        let door = Door {
            side,
            files: tls.clone(),
            stamps,
            epoch: AtomicU64::new(0),
            now: ArcSwap::from_pointee(loaded),
            holders,
            core,
            meters,
            turns: Turns::default(),
        };
        door.took();
        Ok(Arc::new(door))
    }

    /// Reads the files anew. What is wrong with them is told, and what was there serves on.
    fn load(&self) {
        let (side, epoch) = (self.side.name(), self.epoch.load(Ordering::Relaxed) + 1);
        match load::load(&self.files, side, epoch, (self.core.clock.now_ms)()) {
            Ok(loaded) => {
                self.now.store(Arc::new(loaded));
                self.took();
                tracing::info!(side, "certificates were read anew");
            }
            Err(why) => {
                self.meters.loaded(self.side, Load::Rejected);
                tracing::error!(side, "certificates were not taken, those before serve on: {why}");
            }
        }
    }

    /// What follows from what is served now.
    fn took(&self) {
        let loaded = self.now.load();
        loaded.warnings.iter().for_each(|warning| tracing::warn!(side = self.side.name(), "{warning}"));
        // Operators' certificates make no short-lived keys.
        if self.side == Side::Callers && loaded.clients.is_some() {
            self.core.revoked.put(loaded.revoked.clone());
        }
        self.meters.loaded(self.side, Load::Accepted);
        // Behind what it stands for: who sees the new number finds the new lists.
        self.epoch.store(loaded.epoch, Ordering::Release);
    }
}

//! What `/metrics` tells of TLS. All labels are from closed lists.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Side;

/// How a handshake went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    Through,
    /// The client's certificate was refused, or there was none.
    Refused,
    /// The client broke off, or speaks something else.
    Failed,
    /// Plain HTTP.
    Plain,
    /// It had not ended in time.
    Slow,
    /// Too many were under way, and it was the oldest.
    MadeRoom,
}

/// What came of reading the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    Accepted,
    Rejected,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSide {
    side: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    side: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, Default)]
pub struct Meters {
    handshakes: Family<Ended, Counter>,
    loads: Family<Ended, Counter>,
    days_left: Family<OfSide, Gauge<f64, AtomicU64>>,
}

impl Meters {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("tls_handshakes", "Handshakes by how they ended", self.handshakes.clone());
        registry.register("tls_loads", "Certificates, keys and lists read, taken or rejected", self.loads.clone());
        registry.register(
            "tls_certificate_days_left",
            "Days until the certificate that is served ends",
            self.days_left.clone(),
        );
    }

    pub(super) fn shook(&self, side: Side, how: Handshake) {
        let result = match how {
            Handshake::Through => "through",
            Handshake::Refused => "refused",
            Handshake::Failed => "failed",
            Handshake::Plain => "plain_http",
            Handshake::Slow => "slow",
            Handshake::MadeRoom => "made_room",
        };
        self.handshakes.get_or_create(&Ended { side: side.name(), result }).inc();
    }

    pub(super) fn loaded(&self, side: Side, load: Load) {
        let result = match load {
            Load::Accepted => "accepted",
            Load::Rejected => "rejected",
        };
        self.loads.get_or_create(&Ended { side: side.name(), result }).inc();
    }

    pub(super) fn days_left(&self, side: Side, days: f64) {
        self.days_left.get_or_create(&OfSide { side: side.name() }).set(days);
    }
}

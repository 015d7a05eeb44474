//! The section `alerts`: where operators are told of what policies and limits raise. Hosts stand here alone.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};

use serde::Deserialize;

use super::secret::Secrets;
use super::text::Text;
use crate::alerts::Kind;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Absent = alerts stand in log, metrics and receipts only.
    pub webhook: Option<Webhook>,
}

/// One address that takes signed messages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `https://`, or this machine.
    pub url: Text,
    /// What messages are signed with: `whsec_` and base64, or any text. Of several each signs.
    pub secret: Secrets,
    /// Absent = all kinds.
    #[serde(default)]
    pub on: Option<Vec<Kind>>,
    /// The same alert is not sent again for so long, where no period of a budget says how long.
    #[serde(default = "repeat_s")]
    pub repeat_s: NonZeroU32,
    /// Messages that wait; what comes beyond is dropped and counted.
    #[serde(default = "queue_max")]
    pub queue_max: NonZeroUsize,
    #[serde(default = "attempts_max")]
    pub attempts_max: NonZeroU32,
    /// Before the second attempt; doubled for each after, up to five minutes, with jitter.
    #[serde(default = "backoff_ms")]
    pub backoff_ms: NonZeroU64,
}

fn repeat_s() -> NonZeroU32 {
    NonZeroU32::new(86_400).expect("a day is not 0")
}

fn queue_max() -> NonZeroUsize {
    NonZeroUsize::new(1_000).expect("1,000 are not 0")
}

fn attempts_max() -> NonZeroU32 {
    NonZeroU32::new(8).expect("8 are not 0")
}

fn backoff_ms() -> NonZeroU64 {
    NonZeroU64::new(1_000).expect("a second is not 0")
}

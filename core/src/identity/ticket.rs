//! Tickets: short-lived keys that a stronger credential makes of itself, with some of its rights.
//!
//! A ticket carries what it says and a MAC under the pepper, so no gateway keeps it and every replica with the same pepper
//! takes it. What made it is looked up whenever it is shown: it ends at once where its key is revoked.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::certificate::MadeBy;
use super::key::{Pepper, equal};
use super::scopes::Scopes;
use crate::contract::base64;

/// No ticket is taken for longer.
pub const TTL_S_MAX: u32 = 3_600;
/// A longer text is no ticket of ours.
pub const TEXT_MAX: usize = 4_096;
const PREFIX: &str = "tgt_";

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// The id of the key that made it.
    pub key: Arc<str>,
    /// The certificate that made it, where no key did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<MadeBy>,
    pub tenant: Arc<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub app: Arc<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub user: Arc<str>,
    pub scopes: Scopes,
    pub expires_ms: i64,
}

impl Ticket {
    pub fn looks_like(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Its text: shown once and kept by nobody.
    pub fn seal(&self, pepper: &Pepper) -> String {
        let says = serde_json::to_vec(self).expect("texts and numbers are JSON");
        let body = format!("{PREFIX}{}", plain(&base64::encode(&says)));
        // Keys begin with `tg_`, tickets with `tgt_`: no text under the pepper is both.
        let mac = pepper.hash(&body);
        format!("{body}.{}", plain(&base64::encode(&mac)))
    }

    /// What it says, where it was made under this pepper. Whether it is still good, its reader asks.
    pub fn open(text: &str, pepper: &Pepper) -> Option<Ticket> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let (body, mac) = text.split_once('.')?;
        let mac = base64::decode(mac)?;
        if !equal(&mac, &pepper.hash(body)) {
            return None;
        }
        serde_json::from_slice(&base64::decode(body.strip_prefix(PREFIX)?)?).ok()
    }
}

/// In the alphabet that URLs and headers bear, without padding.
fn plain(text: &str) -> String {
    text.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_says_what_was_sealed_and_nothing_else_is_one() {
        let pepper = Pepper::new([1; 32]);
        let ticket = Ticket {
            key: "k".into(),
            certificate: None,
            tenant: "acme".into(),
            app: "".into(),
            user: "ann".into(),
            scopes: Scopes::parse(["chat"]).unwrap(),
            expires_ms: 5,
        };
        let text = ticket.seal(&pepper);
        assert_eq!(Ticket::open(&text, &pepper), Some(ticket.clone()));
        assert_eq!(Ticket::open(&text, &Pepper::new([2; 32])), None, "another pepper");
        let other = Ticket { tenant: "umbrella".into(), ..ticket }.seal(&pepper);
        let (body, _) = other.split_once('.').unwrap();
        let (_, mac) = text.split_once('.').unwrap();
        for (wrong, why) in [
            (format!("{body}.{mac}"), "the MAC of another"),
            (format!("{body}."), "no MAC"),
            (body.to_owned(), "no MAC and no dot"),
            (text.replacen("tgt_", "tg_", 1), "another kind"),
            (format!("{text}{}", "A".repeat(TEXT_MAX)), "long"),
            (String::new(), "nothing"),
        ] {
            assert_eq!(Ticket::open(&wrong, &pepper), None, "{why}");
        }
    }
}

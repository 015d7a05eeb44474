//! The section `store`: where state lives, and what several gateways share their limits by.

use std::path::PathBuf;

use std::num::{NonZeroU32, NonZeroU64};

use serde::Deserialize;
use tollgate_store::shared::Share;

use super::Secret;
use super::text::Text;

/// A lease must outlast a moment of a busy machine.
const LEASE_MS_MIN: u64 = 300;

/// Where state lives.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Default: `$XDG_STATE_HOME/tollgate`, else `~/.local/state/tollgate`.
    pub path: Option<PathBuf>,
    /// `redis://HOST:PORT/DATABASE`, or `rediss://`: limits are shared by all gateways that name it.
    pub redis: Option<Text>,
    pub password: Option<Secret>,
    /// Who signed the certificate of a store at `rediss://`; PEM. Default: whom this machine trusts.
    pub ca: Option<PathBuf>,
    /// So long a gateway that hears nothing of the store spends what it has leased.
    pub lease_ms: Option<NonZeroU64>,
    /// The settings of the store are known to be safe, and are not asked for.
    pub trust_store: bool,
    /// How many gateways serve the same callers.
    pub replicas: Option<NonZeroU32>,
    /// Without a store: what of each limit is this gateway's, as `1/3`.
    pub share: Option<String>,
}

/// Whose limits a gateway counts.
#[derive(Debug)]
pub enum Sharing<'a> {
    /// It is the only one.
    Alone,
    /// One of several, each with a share.
    Share(Share),
    Store {
        address: &'a str,
        lease_ms: u64,
    },
}

impl Store {
    /// What the section means; or what in it is wrong.
    pub fn sharing(&self) -> Result<Sharing<'_>, String> {
        let share = self.share.as_ref().map(|text| text.parse::<Share>()).transpose();
        let share = share.map_err(|why| format!("store.share: {why}"))?;
        let replicas = self.replicas.map_or(1, NonZeroU32::get);
        match (&self.redis, share) {
            (Some(_), Some(_)) => Err("store: `redis` shares every limit: leave `share` out".to_owned()),
            (Some(address), None) => {
                if address.rsplit_once('@').is_some_and(|(user, _)| {
                    user.trim_start_matches("rediss://").trim_start_matches("redis://").contains(':')
                }) {
                    return Err(
                        "store.redis: a password does not belong into the address: write `password: { env: NAME }`"
                            .to_owned(),
                    );
                }
                let lease_ms = self.lease_ms.map_or(3_000, NonZeroU64::get);
                match lease_ms >= LEASE_MS_MIN {
                    true => Ok(Sharing::Store { address, lease_ms }),
                    false => Err(format!("store.lease_ms: {lease_ms} is too short, take {LEASE_MS_MIN} at least")),
                }
            }
            (None, Some(share)) => Ok(Sharing::Share(share)),
            (None, None) if replicas > 1 => Err(format!(
                "store: {replicas} replicas cannot keep limits that they do not share: name what they share with \
                 `redis: \"redis://HOST:6379\"`, or give each its part with `share: \"1/{replicas}\"`"
            )),
            (None, None) => Ok(Sharing::Alone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_gateways_share_by_a_store_or_by_parts_or_do_not_start() {
        for (text, expected, why) in [
            ("{}", "Alone", "one gateway"),
            ("{ replicas: 1 }", "Alone", "one gateway that says so"),
            ("{ redis: \"redis://127.0.0.1:6379\" }", "Store", "one line switches it on"),
            ("{ redis: \"redis://127.0.0.1:6379\", replicas: 3 }", "Store", "how many there are it learns there"),
            ("{ replicas: 3 }", "share: \"1/3\"", "nothing is shared"),
            ("{ replicas: 3, share: 1/3 }", "Share", "each its part"),
            ("{ share: 3/1 }", "is no share", "more than there is"),
            ("{ redis: \"redis://h\", share: 1/3 }", "leave `share` out", "one or the other"),
            ("{ redis: \"redis://:word@h\" }", "password", "secrets are named, not written"),
            ("{ redis: \"redis://user@h\" }", "Store", "a user is no secret"),
            ("{ redis: \"redis://h\", lease_ms: 10 }", "too short", "a lease must outlast a moment"),
        ] {
            let store: Store = serde_saphyr::from_str(text).unwrap();
            let told = store.sharing().map_or_else(|why| why, |sharing| format!("{sharing:?}"));
            assert!(told.contains(expected), "{why}: {text}: {told}");
        }
    }
}

//! What a connection knows of its client's certificate: read once, and asked again when the files have changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, header};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{CertificateError, Error};
use tollgate_core::contract::refusal::{Category, Refusal};
use tollgate_core::identity::certificate::Certified;

use super::{Door, names};

/// Browsers show a certificate for whatever page asks them to, and say so in these headers. Other clients send neither.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-site") {
        Some(site) => site != "same-origin" && site != "none",
        None => headers.contains_key(header::ORIGIN),
    }
}

/// The client of one connection.
pub struct Peer {
    door: Arc<Door>,
    chain: Vec<CertificateDer<'static>>,
    /// Whom it speaks of; `None` = the config does not read certificates. The error says why it cannot be read.
    says: Result<Option<Arc<Certified>>, String>,
    until_ms: i64,
    /// With which files it was checked last, and what came of it: see `Checked`.
    checked: AtomicU64,
}

/// An epoch and how the certificate stood in it, in one number: both are replaced at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Checked {
    epoch: u64,
    stands: Stands,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Good,
    Revoked,
    /// Its root is gone, or its list.
    Untaken,
}

impl Checked {
    fn pack(self) -> u64 {
        let stands = match self.stands {
            Stands::Good => 0,
            Stands::Revoked => 1,
            Stands::Untaken => 2,
        };
        self.epoch << 2 | stands
    }

    fn unpack(packed: u64) -> Checked {
        let stands = match packed & 3 {
            0 => Stands::Good,
            1 => Stands::Revoked,
            _ => Stands::Untaken,
        };
        Checked { epoch: packed >> 2, stands }
    }
}

impl Peer {
    /// Of a handshake that ended well with the files of this epoch.
    pub(super) fn new(door: &Arc<Door>, chain: &[CertificateDer<'_>], epoch: u64) -> Peer {
        let chain: Vec<_> = chain.iter().map(|one| one.clone().into_owned()).collect();
        let read = chain.first().ok_or_else(|| "it has none".to_owned()).and_then(names::read);
        let until_ms = read.as_ref().map_or(0, |names| names.until_ms);
        let pepper = &door.core.pepper;
        let says = read.and_then(|names| door.holders.as_ref().map(|of| of.read(names, pepper)).transpose());
        Peer {
            door: door.clone(),
            chain,
            says: says.map(|certified| certified.map(Arc::new)),
            until_ms,
            checked: AtomicU64::new(Checked { epoch, stands: Stands::Good }.pack()),
        }
    }

    /// Whom it speaks of, if it is still good: asked by every call. It costs two comparisons, and a check of the chain after
    /// the files have changed.
    pub fn certified(&self, headers: &HeaderMap, now_ms: i64) -> Result<Option<&Arc<Certified>>, Refusal> {
        let refused = |code, told: String| Err(Refusal::new(Category::Auth, code, told));
        if is_from_another_site(headers) {
            let told = "a browser sent this for a page of another site, with a certificate that the page does not have";
            return refused("another_site", told.to_owned());
        }
        if now_ms > self.until_ms {
            let told = "the client certificate of this connection has expired: connect anew with a newer one";
            return refused("expired_certificate", told.to_owned());
        }
        match self.stands() {
            Stands::Good => {}
            Stands::Revoked => {
                let told = "the client certificate of this connection was revoked: connect anew with another";
                return refused("revoked_certificate", told.to_owned());
            }
            Stands::Untaken => {
                let told = "the client certificate of this connection is no longer taken: connect anew with one of a \
                            root that is";
                return refused("wrong_certificate", told.to_owned());
            }
        }
        match &self.says {
            Ok(certified) => Ok(certified.as_ref()),
            Err(why) => refused("wrong_certificate", format!("the client certificate: {why}")),
        }
    }

    fn stands(&self) -> Stands {
        let epoch = self.door.epoch.load(Ordering::Acquire);
        let checked = Checked::unpack(self.checked.load(Ordering::Relaxed));
        if checked.epoch == epoch {
            return checked.stands;
        }
        let loaded = self.door.now.load();
        let stands = match loaded.clients.as_ref().map(|clients| clients.check(&self.chain)) {
            Some(Ok(_)) => Stands::Good,
            Some(Err(Error::InvalidCertificate(CertificateError::Revoked))) => Stands::Revoked,
            Some(Err(_)) | None => Stands::Untaken,
        };
        tracing::debug!(side = self.door.side.name(), ?stands, "an open connection's certificate was checked again");
        self.checked.store(Checked { epoch: loaded.epoch, stands }.pack(), Ordering::Relaxed);
        stands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_sends_for_another_site_is_known_by_its_headers() {
        for (sent, another, why) in [
            (&[][..], false, "no browser"),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://a.example")], false, "a page of the same place"),
            (&[("sec-fetch-site", "none")], false, "typed by a person"),
            (&[("sec-fetch-site", "cross-site")], true, "a page of another site"),
            (&[("sec-fetch-site", "same-site")], true, "a page of another host"),
            (&[("origin", "https://evil.example")], true, "an older browser"),
        ] {
            let headers = sent.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect();
            assert_eq!(is_from_another_site(&headers), another, "{why}");
        }
    }

    #[test]
    fn an_epoch_and_a_verdict_are_one_number() {
        for stands in [Stands::Good, Stands::Revoked, Stands::Untaken] {
            for epoch in [0, 1, 77, u64::MAX >> 2] {
                let checked = Checked { epoch, stands };
                assert_eq!(Checked::unpack(checked.pack()), checked);
            }
        }
    }
}

//! From the files of a listener to what it serves with, or to what is wrong with them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore, version};

use super::names::{Names, Parts};
use super::revoked::Revocations;
use super::verify::ForClients;
use super::{files, names, revoked};
use crate::config::tls::{Client, Tls};

/// What a listener serves with. Made anew as a whole: sessions that began under another are not taken up again, so nobody
/// comes back with a certificate that was good once.
pub struct Loaded {
    pub server: Arc<ServerConfig>,
    /// `None` = clients are not asked.
    pub clients: Option<Arc<ForClients>>,
    /// Of the listener's own certificate.
    pub until_ms: i64,
    /// Ids of client certificates that were revoked.
    pub revoked: HashSet<Box<str>>,
    /// What operators should know and what does not keep it from serving.
    pub warnings: Vec<String>,
    /// Counts up: a connection knows by it that it must be checked again.
    pub epoch: u64,
}

/// Reads all files. The error names the file and what is wrong with it.
pub fn load(tls: &Tls, side: &'static str, epoch: u64, now_ms: i64) -> Result<Loaded, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = files::certificates(&tls.cert)?;
    let until_ms = in_its_time(&tls.cert, &chain, now_ms)?;
    let key = files::key(&tls.key)?;
    let clients = clients(tls, side, &provider, now_ms)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|why| format!("TLS cannot be set up: {why}"))?;
    let (verifier, revoked, warnings) = match clients {
        Some(Clients { verifier, revoked, warnings }) => (Some(verifier), revoked, warnings),
        None => (None, HashSet::new(), Vec::new()),
    };
    let config = match &verifier {
        Some(verifier) => config.with_client_cert_verifier(verifier.clone()),
        None => config.with_no_client_auth(),
    };
    let mut server = config.with_single_cert(chain, key).map_err(|why| match why {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("`{}` is not the key of the certificate `{}`", tls.key.display(), tls.cert.display())
        }
        other => format!("`{}` and `{}` cannot be served: {other}", tls.cert.display(), tls.key.display()),
    })?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { server: Arc::new(server), clients: verifier, until_ms, revoked, warnings, epoch })
}

fn in_its_time(path: &Path, chain: &[CertificateDer<'_>], now_ms: i64) -> Result<i64, String> {
    let first = chain.first().ok_or_else(|| format!("`{}`: it has no certificate", path.display()))?;
    let Names { from_ms, until_ms, .. } = names::read(first).map_err(|why| format!("`{}`: {why}", path.display()))?;
    match () {
        () if now_ms > until_ms => Err(format!("`{}`: the certificate expired on {}", path.display(), date(until_ms))),
        () if now_ms < from_ms => {
            Err(format!("`{}`: the certificate is not valid before {}", path.display(), date(from_ms)))
        }
        () => Ok(until_ms),
    }
}

/// How certificates of clients are checked.
struct Clients {
    verifier: Arc<ForClients>,
    revoked: HashSet<Box<str>>,
    warnings: Vec<String>,
}

fn clients(
    tls: &Tls,
    side: &'static str,
    provider: &Arc<CryptoProvider>,
    now_ms: i64,
) -> Result<Option<Clients>, String> {
    let Some(path) = &tls.client_ca else {
        return match (tls.client, tls.client_crl.is_empty()) {
            (Client::Off, true) => Ok(None),
            (Client::Off, false) => {
                Err("`client_crl` is there without `client_ca`: whose certificates are they?".to_owned())
            }
            (Client::Optional | Client::Required, _) => {
                Err("clients are asked for certificates: say in `client_ca` whose are taken".to_owned())
            }
        };
    };
    if tls.client == Client::Off {
        return Err(
            "`client_ca` is there and clients are not asked: set `client` to `optional` or `required`".to_owned()
        );
    }
    let roots = files::certificates(path)?;
    let mut store = RootCertStore::empty();
    for root in &roots {
        store
            .add(root.clone())
            .map_err(|why| format!("`{}`: a certificate in it is no root: {why}", path.display()))?;
    }
    let (lists, revoked, warnings) = lists(tls, &roots, path, provider, now_ms)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider.clone()).with_crls(lists);
    let builder = match tls.client {
        Client::Optional => builder.allow_unauthenticated(),
        Client::Required | Client::Off => builder,
    };
    let inner: Arc<dyn ClientCertVerifier> =
        builder.build().map_err(|why| format!("the certificates of clients cannot be checked: {why}"))?;
    Ok(Some(Clients { verifier: Arc::new(ForClients { inner, side }), revoked, warnings }))
}

type Lists = (Vec<CertificateRevocationListDer<'static>>, HashSet<Box<str>>, Vec<String>);

fn lists(
    tls: &Tls,
    roots: &[CertificateDer<'_>],
    ca: &Path,
    by: &CryptoProvider,
    now_ms: i64,
) -> Result<Lists, String> {
    let roots = revoked::authorities(roots).map_err(|why| format!("`{}`: {why}", ca.display()))?;
    let (mut lists, mut ids, mut warnings) = (Vec::new(), HashSet::new(), Vec::new());
    let mut has_list = vec![false; roots.len()];
    for path in &tls.client_crl {
        for list in files::revoked(path)? {
            let of = |why: String| format!("`{}`: {why}", path.display());
            let read = revoked::read(&list).map_err(of)?;
            if let Some(next_ms) = read.next_ms.filter(|next_ms| *next_ms < now_ms) {
                let due = date(next_ms);
                warnings.push(of(format!("a newer list was due on {due}; this one counts until there is one")));
            }
            signed(&read, &roots, by).map_err(of)?;
            roots.iter().zip(&mut has_list).for_each(|(root, has)| *has |= read.is_of(root));
            ids.extend(read.ids.into_iter().map(String::into_boxed_str));
            lists.push(list);
        }
    }
    // Otherwise every certificate of that root would be refused, and nobody would see why.
    match roots.iter().zip(has_list).find(|(_, has)| !lists.is_empty() && !has) {
        Some((root, _)) => {
            let told = names::told(root.subject);
            Err(format!("`client_crl`: none of the lists is of `{told}`, which is in `{}`", ca.display()))
        }
        None => Ok((lists, ids, warnings)),
    }
}

/// A list that names a root must have its signature: otherwise every certificate of that root would be refused. Authorities
/// below it are not known before a client shows them; their lists are checked then.
fn signed(list: &Revocations<'_>, roots: &[Parts<'_>], by: &CryptoProvider) -> Result<(), String> {
    let told = || names::told(list.issuer);
    let mut of = roots.iter().filter(|root| list.is_of(root)).peekable();
    if of.peek().is_none() {
        return Ok(());
    }
    for root in of {
        let is_signed = list.is_signed_by(root, &by.signature_verification_algorithms);
        if is_signed.map_err(|why| format!("the key of `{}` cannot be read: {why}", told()))? {
            return Ok(());
        }
    }
    Err(format!(
        "it says that it is of `{}`, and does not have the signature of that root: it was changed, or another signed it",
        told()
    ))
}

fn date(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| "a day that cannot be told".to_owned(), |at| format!("{at:.0}"))
}

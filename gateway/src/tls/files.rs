//! The files of a listener: read within bounds, and told by name when they are not what they should be.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tollgate_providers::stamp::Stamp;

use crate::config::tls::Tls;

/// Of a certificate with its chain, a key, a bundle of roots.
const PEM_BYTES_MAX: u64 = 1 << 20;
/// Of a list of revoked certificates: some hundred thousand of them.
const CRL_BYTES_MAX: u64 = 16 << 20;

/// Which state the files are in, without reading them.
pub type Stamps = Vec<Option<Stamp>>;

/// All files of a listener.
pub fn paths(tls: &Tls) -> impl Iterator<Item = &PathBuf> {
    [&tls.cert, &tls.key].into_iter().chain(&tls.client_ca).chain(&tls.client_crl)
}

pub fn stamps(tls: &Tls) -> Stamps {
    paths(tls).map(|path| Stamp::of(path)).collect()
}

pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = bytes(path, PEM_BYTES_MAX)?;
    let wrong = |why: String| format!("`{}`: {why}", path.display());
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|why| wrong(format!("its PEM cannot be read: {why}")))?;
    match found.is_empty() {
        true => Err(wrong("it has no certificate: it must have `-----BEGIN CERTIFICATE-----`".to_owned())),
        false => Ok(found),
    }
}

pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = bytes(path, PEM_BYTES_MAX)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|why| {
        let locked = bytes.windows(9).any(|part| part == b"ENCRYPTED");
        let hint = if locked { " (it is encrypted: `openssl pkey` takes the passphrase off)" } else { "" };
        format!("`{}`: it has no private key in PEM: {why}{hint}", path.display())
    })
}

/// As PEM, or as the DER that authorities publish.
pub fn revoked(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let bytes = bytes(path, CRL_BYTES_MAX)?;
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let wrong = |why: String| format!("`{}`: {why}", path.display());
    let found: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|why| wrong(format!("its PEM cannot be read: {why}")))?;
    match found.is_empty() {
        true => {
            Err(wrong("it has no list of revoked certificates: it must have `-----BEGIN X509 CRL-----`".to_owned()))
        }
        false => Ok(found),
    }
}

fn bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let unread = |why: std::io::Error| format!("cannot read `{}`: {why}", path.display());
    let bytes = std::fs::metadata(path).map_err(unread)?.len();
    if bytes > bytes_max {
        return Err(format!("`{}` has {bytes} bytes, at most {bytes_max} are read", path.display()));
    }
    std::fs::read(path).map_err(unread)
}

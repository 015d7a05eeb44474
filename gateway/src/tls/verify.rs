//! Which client certificates are let in: those that rustls takes, if they say that they are for clients.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::names;

/// Chain, times and lists are checked by rustls. It takes a certificate that says nothing of its use; this does not: a
/// server's must not become a caller's because somebody left a line out.
#[derive(Debug)]
pub struct ForClients {
    pub inner: Arc<dyn ClientCertVerifier>,
    /// Of the listener, for the log.
    pub side: &'static str,
}

impl ForClients {
    /// Without a word in the log.
    pub fn check(&self, chain: &[CertificateDer<'_>]) -> Result<ClientCertVerified, Error> {
        let (first, others) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.verify(first, others, UnixTime::now())
    }

    fn verify(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(first, others, now)?;
        let read = names::read(first).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        match read.is_for_clients {
            true => Ok(verified),
            false => Err(Error::InvalidCertificate(CertificateError::InvalidPurpose)),
        }
    }
}

impl ClientCertVerifier for ForClients {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now).inspect_err(|why| {
            let serial = names::read(end_entity).map_or_else(|_| "?".to_owned(), |names| names.serial);
            tracing::info!(side = self.side, serial, %why, "a client certificate was refused");
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

//! The other end, for the verbs that speak to a running gateway: they trust the very certificate that the config names.
//!
//! So they need no root and no name: they run beside the gateway and read the same files.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::files;
use crate::config::tls::Tls;

/// A certificate of the operator's own, and its key.
pub struct Own<'a> {
    pub cert: &'a PathBuf,
    pub key: &'a PathBuf,
}

/// TLS over a connection to the gateway whose config this is.
pub async fn connect(tls: &Tls, own: Option<Own<'_>>, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let served = files::certificates(&tls.cert)?.swap_remove(0);
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|why| format!("TLS cannot be set up: {why}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { served, provider }));
    let config = match own {
        None => config.with_no_client_auth(),
        Some(Own { cert, key }) => config
            .with_client_auth_cert(files::certificates(cert)?, files::key(key)?)
            .map_err(|why| format!("`{}` and `{}` cannot be shown: {why}", cert.display(), key.display()))?,
    };
    let address = stream.peer_addr().map_err(|why| why.to_string())?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::from(address.ip()), stream).await.map_err(|why| why.to_string())
}

/// Takes one certificate and no other.
#[derive(Debug)]
struct Pinned {
    served: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match *end_entity == self.served {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::General(
                "it serves another certificate than `listen.operators_tls.cert` of this config names".to_owned(),
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

//! TLS at a listener: `listen.tls` (callers) and `listen.operators_tls`, key for key.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, and behind it those up to its root; PEM.
    pub cert: PathBuf,
    /// Its key; PEM.
    pub key: PathBuf,
    /// Are clients asked for a certificate?
    #[serde(default)]
    pub client: Client,
    /// The roots of the clients' certificates; PEM.
    pub client_ca: Option<PathBuf>,
    /// Lists of those that were revoked; PEM or DER. Where there is one, every CA of a chain needs one.
    #[serde(default)]
    pub client_crl: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    #[default]
    Off,
    /// Who shows none is known by a key; who shows a wrong one is not let in.
    Optional,
    Required,
}

//! Authorities of a test's own, what they sign, and clients that show it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use reqwest::{Certificate, Client, ClientBuilder, Identity};

/// A root, or what stands between it and certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate (with its chain) and its key; PEM.
#[derive(Clone)]
pub struct Held {
    pub cert: String,
    pub key: String,
}

/// What a certificate is to be. Times are seconds from now.
pub struct Wanted<'a> {
    pub serial: u64,
    pub common_name: &'a str,
    pub unit: &'a str,
    pub alternative: Vec<SanType>,
    pub from_s: i64,
    pub until_s: i64,
    pub purposes: Vec<ExtendedKeyUsagePurpose>,
}

pub const DAY_S: i64 = 86_400;

impl Default for Wanted<'_> {
    fn default() -> Self {
        Wanted {
            serial: 1,
            common_name: "desk",
            unit: "callers",
            alternative: Vec::new(),
            from_s: -60,
            until_s: 30 * DAY_S,
            purposes: vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

pub fn email(text: &str) -> SanType {
    SanType::Rfc822Name(text.try_into().unwrap())
}

impl Wanted<'_> {
    fn params(&self) -> CertificateParams {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let at = |s: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs((now + s).cast_unsigned());
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (at(self.from_s), at(self.until_s));
        params.serial_number = Some(SerialNumber::from(self.serial));
        params.subject_alt_names = self.alternative.clone();
        params.distinguished_name = named(self.common_name);
        params.distinguished_name.push(DnType::OrganizationalUnitName, self.unit);
        params.extended_key_usages = self.purposes.clone();
        params
    }

    /// Signed by itself.
    pub fn alone(&self) -> Held {
        let key = KeyPair::generate().unwrap();
        let cert = self.params().self_signed(&key).unwrap();
        Held { cert: cert.pem(), key: key.serialize_pem() }
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name.push(DnType::OrganizationName, "acme");
    name
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub fn root(name: &str) -> Authority {
        Authority { issuer: CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap() }
    }

    /// One that this one has signed.
    pub fn below(&self, name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        Authority { issuer: CertifiedIssuer::signed_by(authority(name), key, &self.issuer).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn sign(&self, wanted: &Wanted<'_>) -> Held {
        let key = KeyPair::generate().unwrap();
        let cert = wanted.params().signed_by(&key, &self.issuer).unwrap();
        Held { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// For a listener on loopback.
    pub fn server(&self, until_s: i64) -> Held {
        self.sign(&Wanted {
            common_name: "the gateway",
            alternative: vec![SanType::IpAddress(IpAddr::from([127, 0, 0, 1]))],
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth],
            until_s,
            ..Wanted::default()
        })
    }

    /// Its list of revoked certificates.
    pub fn revokes(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A client that trusts this root, and shows what it is given.
    pub fn client(&self, shows: Option<&Held>, how: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        let root = Certificate::from_pem(self.pem().as_bytes()).unwrap();
        let mut client = Client::builder().no_proxy().tls_certs_only([root]).tls_info(true);
        if let Some(held) = shows {
            client = client.identity(Identity::from_pem(format!("{}{}", held.key, held.cert).as_bytes()).unwrap());
        }
        how(client).build().unwrap()
    }
}

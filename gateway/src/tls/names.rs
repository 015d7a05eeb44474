//! What a certificate says: its names, as expressions of the config see them, its number and its times.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

/// The purpose `clientAuth`.
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");

/// A certificate that was read.
pub struct Names {
    /// The table `cert` of expressions. A text that it does not have is empty, never absent.
    pub table: Value,
    /// Who holds it, whichever certificate of theirs it is.
    pub holder: String,
    /// Its issuer and its number: what lists of revoked certificates know it by.
    pub id: String,
    pub serial: String,
    pub from_ms: i64,
    pub until_ms: i64,
    /// It says that it is for clients.
    pub is_for_clients: bool,
}

pub fn read(certificate: &CertificateDer<'_>) -> Result<Names, String> {
    let unread = |why: x509_cert::der::Error| format!("the certificate cannot be read: {why}");
    let parsed = Certificate::from_der(certificate).map_err(unread)?;
    let tbs = &parsed.tbs_certificate;
    let alternative = tbs.get::<SubjectAltName>().map_err(unread)?.map_or(Vec::new(), |(_, names)| names.0);
    let purposes = tbs.get::<ExtendedKeyUsage>().map_err(unread)?.map_or(Vec::new(), |(_, list)| list.0);
    let of = |pick: fn(&GeneralName) -> Option<&str>| alternative.iter().filter_map(pick).collect::<Vec<_>>();
    let uris = of(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    let dns = of(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str()),
        _ => None,
    });
    let emails = of(|name| match name {
        GeneralName::Rfc822Name(name) => Some(name.as_str()),
        _ => None,
    });
    // A document of SPIFFE has exactly one URI.
    let spiffe_id = uris.first().filter(|uri| uris.len() == 1 && uri.starts_with("spiffe://")).copied();
    let serial = hex(tbs.serial_number.as_bytes());
    let holder = match (spiffe_id, alternative.is_empty()) {
        (Some(id), _) => id.to_owned(),
        (None, false) => format!("{uris:?} {dns:?} {emails:?}"),
        (None, true) => format!("{} of {}", tbs.subject, tbs.issuer),
    };
    let fingerprint = hex(&Sha256::digest(certificate));
    let (subject, issuer) = (table(&tbs.subject), table(&tbs.issuer));
    let id = id(&tbs.issuer, &tbs.serial_number).map_err(unread)?;
    Ok(Names {
        table: json!({
            "spiffe_id": spiffe_id.unwrap_or_default(),
            "uris": uris,
            "dns": dns,
            "emails": emails,
            "subject": subject,
            "issuer": issuer,
            "serial": serial,
            "fingerprint": fingerprint,
        }),
        holder,
        id,
        serial,
        from_ms: ms(&tbs.validity.not_before),
        until_ms: ms(&tbs.validity.not_after),
        is_for_clients: purposes.contains(&CLIENT_AUTH),
    })
}

/// A list of revoked certificates that was read.
pub struct Revocations {
    pub issuer: Vec<u8>,
    pub ids: Vec<String>,
    /// When the next is due, where it says so.
    pub next_ms: Option<i64>,
}

pub fn revocations(list: &[u8]) -> Result<Revocations, String> {
    let unread = |why: x509_cert::der::Error| format!("it is no list of revoked certificates: {why}");
    let parsed = CertificateList::from_der(list).map_err(unread)?.tbs_cert_list;
    let ids = parsed.revoked_certificates.iter().flatten().map(|one| id(&parsed.issuer, &one.serial_number));
    Ok(Revocations {
        ids: ids.collect::<Result<_, _>>().map_err(unread)?,
        issuer: parsed.issuer.to_der().map_err(unread)?,
        next_ms: parsed.next_update.as_ref().map(ms),
    })
}

/// The subject of a CA: as it stands in what it signs, and for people.
pub fn subject(certificate: &CertificateDer<'_>) -> Result<(Vec<u8>, String), String> {
    let unread = |why: x509_cert::der::Error| format!("a certificate in it cannot be read: {why}");
    let parsed = Certificate::from_der(certificate).map_err(unread)?;
    let subject = parsed.tbs_certificate.subject;
    Ok((subject.to_der().map_err(unread)?, subject.to_string()))
}

/// Numbers are an issuer's own, so it stands before them.
fn id(issuer: &Name, serial: &SerialNumber) -> Result<String, x509_cert::der::Error> {
    let issuer = blake3::hash(&issuer.to_der()?).to_hex();
    Ok(format!("{}.{}", &issuer[..16], hex(serial.as_bytes())))
}

/// A distinguished name. There is no common name where there are several: nobody could say which counts.
fn table(name: &Name) -> Value {
    let of = |kind| name.0.iter().flat_map(|set| set.0.iter()).filter(move |one| one.oid == kind).filter_map(text);
    let common: Vec<&str> = of(COMMON_NAME).collect();
    json!({
        "common_name": common.first().filter(|_| common.len() == 1).unwrap_or(&""),
        "organizations": of(ORGANIZATION).collect::<Vec<_>>(),
        "organizational_units": of(ORGANIZATIONAL_UNIT).collect::<Vec<_>>(),
    })
}

/// The three kinds of text that are UTF-8 or a part of it; others are passed over.
fn text(one: &AttributeTypeAndValue) -> Option<&str> {
    match one.value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => std::str::from_utf8(one.value.value()).ok(),
        _ => None,
    }
}

fn ms(time: &Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

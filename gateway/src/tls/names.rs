//! What a certificate says: its names, as expressions of the config see them, its number and its times.
//!
//! Who reads names from it has had its chain checked by rustls; what is read here is a part of what that takes.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::der::{self, Der, Element, Read, context};

/// The purpose `clientAuth`: 1.3.6.1.5.5.7.3.2.
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
/// The extensions 2.5.29.17 and 2.5.29.37.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];
const PURPOSES: &[u8] = &[0x55, 0x1d, 37];
/// 2.5.4.3, 2.5.4.10, 2.5.4.11.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const ORGANIZATIONAL_UNIT: &[u8] = &[0x55, 4, 11];

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

/// The parts of a certificate that count here.
pub struct Parts<'a> {
    serial: &'a [u8],
    issuer: Element<'a>,
    pub subject: Element<'a>,
    from_ms: i64,
    until_ms: i64,
    /// The key, with what kind it is.
    pub key: Element<'a>,
    alternative: Option<Der<'a>>,
    purposes: Option<Der<'a>>,
}

/// The alternative names that have a place in the table.
#[derive(Default)]
struct Alternative<'a> {
    uris: Vec<&'a str>,
    dns: Vec<&'a str>,
    emails: Vec<&'a str>,
}

pub fn read(certificate: &CertificateDer<'_>) -> Result<Names, String> {
    let unread = |why: &str| format!("the certificate cannot be read: {why}");
    let parts = parts(certificate).map_err(unread)?;
    let Alternative { uris, dns, emails } = alternative(parts.alternative).map_err(unread)?;
    let is_for_clients = is_for_clients(parts.purposes).map_err(unread)?;
    // A document of SPIFFE has exactly one URI.
    let spiffe_id = uris.first().filter(|uri| uris.len() == 1 && uri.starts_with("spiffe://")).copied();
    let serial = hex(parts.serial);
    let holder = match (spiffe_id, parts.alternative) {
        (Some(id), _) => id.to_owned(),
        (None, Some(_)) => format!("{uris:?} {dns:?} {emails:?} {}", hex(parts.subject.whole)),
        (None, None) => format!("{} of {}", hex(parts.subject.whole), hex(parts.issuer.whole)),
    };
    let subject = table(&attributes(parts.subject).map_err(unread)?);
    let issuer = table(&attributes(parts.issuer).map_err(unread)?);
    Ok(Names {
        table: json!({
            "spiffe_id": spiffe_id.unwrap_or_default(),
            "uris": uris,
            "dns": dns,
            "emails": emails,
            "subject": subject,
            "issuer": issuer,
            "serial": serial,
            "fingerprint": hex(&Sha256::digest(certificate)),
        }),
        holder,
        id: id(parts.issuer, parts.serial),
        serial,
        from_ms: parts.from_ms,
        until_ms: parts.until_ms,
        is_for_clients,
    })
}

pub fn parts(certificate: &[u8]) -> Read<Parts<'_>> {
    let mut tbs = Der::only(certificate, der::SEQUENCE)?.der().sequence()?;
    tbs.take_if(context(0, true))?;
    let serial = tbs.take(der::INTEGER)?.number();
    tbs.take(der::SEQUENCE)?;
    let issuer = tbs.take(der::SEQUENCE)?;
    let mut validity = tbs.sequence()?;
    let (from_ms, until_ms) = (validity.time()?, validity.time()?);
    let subject = tbs.take(der::SEQUENCE)?;
    let key = tbs.take(der::SEQUENCE)?;
    tbs.take_if(context(1, false))?;
    tbs.take_if(context(2, false))?;
    let (mut alternative, mut purposes) = (None, None);
    if let Some(extensions) = tbs.take_if(context(3, true))? {
        extensions.der().sequence()?.each(|one| {
            let mut one = one.der();
            let kind = one.take(der::OBJECT_ID)?.content;
            one.take_if(der::BOOLEAN)?;
            let value = one.take(der::OCTET_STRING)?.content;
            let slot = match kind {
                ALTERNATIVE_NAMES => &mut alternative,
                PURPOSES => &mut purposes,
                _ => return Ok(()),
            };
            match slot.replace(Der::only(value, der::SEQUENCE)?.der()) {
                Some(_) => Err("it has the same extension twice"),
                None => Ok(()),
            }
        })?;
    }
    tbs.end()?;
    Ok(Parts { serial, issuer, subject, from_ms, until_ms, key, alternative, purposes })
}

fn alternative(names: Option<Der<'_>>) -> Read<Alternative<'_>> {
    let mut read = Alternative::default();
    let Some(names) = names else { return Ok(read) };
    names.each(|one| {
        let list = match one.tag {
            tag if tag == context(1, false) => &mut read.emails,
            tag if tag == context(2, false) => &mut read.dns,
            tag if tag == context(6, false) => &mut read.uris,
            _ => return Ok(()),
        };
        let text = std::str::from_utf8(one.content).ok().filter(|text| text.is_ascii());
        list.push(text.ok_or("an alternative name in it is no ASCII")?);
        Ok(())
    })?;
    Ok(read)
}

fn is_for_clients(purposes: Option<Der<'_>>) -> Read<bool> {
    let mut found = false;
    let Some(purposes) = purposes else { return Ok(false) };
    purposes.each(|one| {
        found |= one.tag == der::OBJECT_ID && one.content == CLIENT_AUTH;
        Ok(())
    })?;
    Ok(found)
}

/// Numbers are an issuer's own, so it stands before them.
pub fn id(issuer: Element<'_>, serial: &[u8]) -> String {
    let issuer = blake3::hash(issuer.whole).to_hex();
    format!("{}.{}", &issuer[..16], hex(serial))
}

/// What a distinguished name has as text: kind and text. Kinds of text that are not UTF-8 or a part of it are passed over.
fn attributes(name: Element<'_>) -> Read<Vec<(&[u8], &str)>> {
    let mut read = Vec::new();
    name.der().each(|set| {
        if set.tag != der::SET {
            return Err("a name in it is none");
        }
        set.der().each(|one| {
            let mut one = one.der();
            let (kind, value) = (one.take(der::OBJECT_ID)?.content, one.next()?);
            if matches!(value.tag, der::UTF8 | der::PRINTABLE | der::IA5) {
                read.push((kind, std::str::from_utf8(value.content).map_err(|_| "a name in it is no UTF-8")?));
            }
            Ok(())
        })
    })?;
    Ok(read)
}

/// There is no common name where there are several: nobody could say which counts.
fn table(attributes: &[(&[u8], &str)]) -> Value {
    let of = |kind: &[u8]| attributes.iter().filter(|(of, _)| *of == kind).map(|(_, text)| *text).collect::<Vec<_>>();
    let common = of(COMMON_NAME);
    json!({
        "common_name": common.first().filter(|_| common.len() == 1).unwrap_or(&""),
        "organizations": of(ORGANIZATION),
        "organizational_units": of(ORGANIZATIONAL_UNIT),
    })
}

/// A distinguished name for people: its texts, one after the other.
pub fn told(name: Element<'_>) -> String {
    let texts = attributes(name).unwrap_or_default().into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    texts.join(", ").escape_debug().to_string()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType, SerialNumber,
    };

    use super::*;

    fn sample(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "desk");
        params.distinguished_name.push(DnType::OrganizationName, "acmé");
        params.serial_number = Some(SerialNumber::from(0x99_u64));
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2024, 1, 1), rcgen::date_time_ymd(2090, 1, 1));
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn a_certificate_is_read_as_it_was_written() {
        let read = read(&sample(|params| {
            params.subject_alt_names = vec![
                uri("spiffe://a.example/x"),
                SanType::DnsName("a.example".try_into().unwrap()),
                SanType::IpAddress([127, 0, 0, 1].into()),
                SanType::Rfc822Name("ann@a.example".try_into().unwrap()),
            ];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        }))
        .unwrap();
        assert_eq!(read.table["spiffe_id"], "spiffe://a.example/x");
        assert_eq!(read.table["dns"], json!(["a.example"]));
        assert_eq!(read.table["emails"], json!(["ann@a.example"]));
        let name = json!({ "common_name": "desk", "organizations": ["acmé"], "organizational_units": [] });
        assert_eq!((&read.table["subject"], &read.table["issuer"]), (&name, &name));
        assert_eq!(read.serial, "99", "without the zero that keeps it positive");
        assert_eq!((read.from_ms, read.until_ms), (1_704_067_200_000, 3_786_912_000_000));
        assert!(read.is_for_clients && read.holder == "spiffe://a.example/x");
    }

    #[test]
    fn what_is_not_said_is_not_read_into_it() {
        let bare = read(&sample(|_| {})).unwrap();
        assert!(!bare.is_for_clients && bare.table["spiffe_id"] == "" && bare.table["uris"] == json!([]));
        let server = sample(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        assert!(!read(&server).unwrap().is_for_clients);
        let two = read(&sample(|params| params.subject_alt_names = vec![uri("spiffe://a/x"), uri("spiffe://a/y")]));
        assert_eq!(two.unwrap().table["spiffe_id"], "", "with two URIs it is no document of SPIFFE");
        let holders = ["a", "b"].map(|name| {
            let held = sample(|params| {
                params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
                params.distinguished_name.push(DnType::CommonName, name);
            });
            read(&held).unwrap().holder
        });
        assert_ne!(holders[0], holders[1], "an address alone makes nobody a holder");
    }

    /// Whatever stands in its place, it is read or refused: never more than is there, never a panic.
    #[test]
    fn a_broken_certificate_is_refused_or_read_and_nothing_else() {
        let whole = sample(|params| {
            params.subject_alt_names = vec![uri("spiffe://a.example/x")];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        for length in 0..whole.len() {
            assert!(read(&CertificateDer::from(&whole[..length])).is_err(), "cut off at {length}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.to_vec();
                changed[at] ^= 1 << bit;
                let _ = read(&CertificateDer::from(changed));
            }
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(read(&CertificateDer::from(longer)).is_err(), "a byte behind it");
    }
}

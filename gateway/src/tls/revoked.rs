//! Lists of revoked certificates: what stands in one, and whether who it names as its issuer has signed it.

use tokio_rustls::rustls::crypto::WebPkiSupportedAlgorithms;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::der::{self, Der, Element, Read};
use super::names;

/// A list that was read.
pub struct Revocations<'a> {
    pub issuer: Element<'a>,
    pub ids: Vec<String>,
    /// When the next is due, where it says so.
    pub next_ms: Option<i64>,
    signed: Signed<'a>,
}

/// What was signed, how, and the signature.
struct Signed<'a> {
    what: Element<'a>,
    how: &'a [u8],
    signature: &'a [u8],
}

pub fn read(list: &[u8]) -> Result<Revocations<'_>, String> {
    parts(list).map_err(|why| format!("it is no list of revoked certificates: {why}"))
}

fn parts(list: &[u8]) -> Read<Revocations<'_>> {
    let mut outer = Der::only(list, der::SEQUENCE)?.der();
    let what = outer.take(der::SEQUENCE)?;
    let (how, signature) = (outer.take(der::SEQUENCE)?.content, outer.take(der::BIT_STRING)?.bytes_of_bits()?);
    outer.end()?;
    let mut tbs = what.der();
    tbs.take_if(der::INTEGER)?;
    tbs.take(der::SEQUENCE)?;
    let issuer = tbs.take(der::SEQUENCE)?;
    tbs.time()?;
    // The next part may be left out; then the entries follow, or nothing.
    let mut ahead = tbs;
    let next_ms = match ahead.next() {
        Ok(Element { tag: der::UTC_TIME | der::GENERALIZED_TIME, .. }) => Some(tbs.time()?),
        Ok(_) | Err(_) => None,
    };
    let mut ids = Vec::new();
    if let Some(entries) = tbs.take_if(der::SEQUENCE)? {
        entries.der().each(|one| {
            ids.push(names::id(issuer, one.der().take(der::INTEGER)?.number()));
            Ok(())
        })?;
    }
    tbs.take_if(der::context(0, true))?;
    tbs.end()?;
    Ok(Revocations { issuer, ids, next_ms, signed: Signed { what, how, signature } })
}

impl Revocations<'_> {
    pub fn is_of(&self, authority: &names::Parts<'_>) -> bool {
        self.issuer.whole == authority.subject.whole
    }

    /// Has the key of this authority signed it?
    pub fn is_signed_by(&self, authority: &names::Parts<'_>, by: &WebPkiSupportedAlgorithms) -> Read<bool> {
        let mut key = authority.key.der();
        let (kind, key) = (key.take(der::SEQUENCE)?.content, key.take(der::BIT_STRING)?.bytes_of_bits()?);
        let Signed { what, how, signature } = self.signed;
        let fit = by.all.iter().filter(|one| *one.signature_alg_id() == *how && *one.public_key_alg_id() == *kind);
        Ok(fit.into_iter().any(|one| one.verify_signature(key, what.whole, signature).is_ok()))
    }
}

/// The authorities of a file, as far as lists are theirs.
pub fn authorities<'a>(roots: &'a [CertificateDer<'_>]) -> Result<Vec<names::Parts<'a>>, String> {
    let of = |root: &'a CertificateDer<'_>| names::parts(root);
    roots.iter().map(of).collect::<Read<_>>().map_err(|why| format!("a certificate in it cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
        KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
    };
    use tokio_rustls::rustls::crypto::aws_lc_rs;

    use super::*;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str, kind: &'static rcgen::SignatureAlgorithm) -> Issuer {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        CertifiedIssuer::self_signed(params, KeyPair::generate_for(kind).unwrap()).unwrap()
    }

    fn list(of: &Issuer, serials: &[u64]) -> Vec<u8> {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(of).unwrap().der().to_vec()
    }

    #[test]
    fn a_list_is_its_issuers_only_with_its_signature() {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let (root, namesake, other) = (authority("a", kind), authority("a", kind), authority("b", kind));
            for (signer, is_of, is_signed, why) in [
                (&root, true, true, "its own"),
                (&namesake, true, false, "of one that only has the name"),
                (&other, false, false, "of another"),
            ] {
                let list = list(signer, &[0x99, 7]);
                let (read, of) = (read(&list).unwrap(), names::parts(root.der()).unwrap());
                let came = (read.is_of(&of), read.is_signed_by(&of, &algorithms).unwrap());
                assert_eq!(came, (is_of, is_signed), "{why}");
                assert_eq!(read.next_ms, Some(3_786_912_000_000));
                let ends: Vec<_> = read.ids.iter().map(|id| id.split_once('.').unwrap().1).collect();
                assert_eq!(ends, ["99", "07"], "{why}");
            }
        }
    }

    #[test]
    fn a_changed_list_is_refused() {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let root = authority("a", &rcgen::PKCS_ECDSA_P256_SHA256);
        let (list, of) = (list(&root, &[1, 2, 3]), names::parts(root.der()).unwrap());
        for length in 0..list.len() {
            assert!(read(&list[..length]).is_err(), "cut off at {length}");
        }
        for at in 0..list.len() {
            let mut changed = list.clone();
            changed[at] ^= 1;
            let is_signed = read(&changed).is_ok_and(|read| read.is_signed_by(&of, &algorithms).unwrap());
            assert!(!is_signed, "byte {at} is another");
        }
    }
}

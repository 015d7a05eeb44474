//! The signature of one commit or tag: found, taken apart from what it signs, and checked.

use git2::{ErrorCode, ObjectType, Oid, Repository};
use ssh_key::{PublicKey, SshSig};

use crate::signers::{NAMESPACE, Signers, Unfit};
use crate::verify::Doubt;

/// Where the signature of a tag begins: at the end of its message.
const ARMOUR: &str = "-----BEGIN SSH SIGNATURE-----";
/// No signature is longer, those of security keys included.
const SIGNATURE_BYTES_MAX: usize = 16 << 10;

/// A tag object, as far as signatures need it.
pub(crate) struct SignedTag {
    pub name: String,
    pub commit: Oid,
    pub time_ms: i64,
    armoured: Vec<u8>,
    signed: Vec<u8>,
}

/// Who signed the commit; `times_ms` are the times at which the key must count.
pub(crate) fn of_commit(from: &Repository, commit: Oid, signers: &Signers, times_ms: &[i64]) -> Result<String, Doubt> {
    let (armoured, signed) = match from.extract_signature(&commit, None) {
        Ok(both) => both,
        Err(why) if why.code() == ErrorCode::NotFound => return Err(Doubt::Unsigned),
        Err(why) => return Err(Doubt::Broken { why: why.message().to_owned() }),
    };
    check(&armoured, &signed, signers, times_ms)
}

/// Who signed the tag.
pub(crate) fn of_tag(tag: &SignedTag, signers: &Signers, times_ms: &[i64]) -> Result<String, Doubt> {
    if tag.armoured.is_empty() {
        return Err(Doubt::Unsigned);
    }
    check(&tag.armoured, &tag.signed, signers, times_ms)
}

/// Reads a tag object that points to a commit; `None` for everything else.
pub(crate) fn tag(from: &Repository, id: Oid) -> Option<SignedTag> {
    let tag = from.find_tag(id).ok()?;
    if tag.target_type() != Some(ObjectType::Commit) {
        return None;
    }
    let odb = from.odb().ok()?;
    let object = odb.read(id).ok()?;
    let bytes = object.data();
    // The last one: what is before it is signed, other armour included.
    let at = bytes.windows(ARMOUR.len()).rposition(|w| w == ARMOUR.as_bytes());
    let at = at.filter(|at| *at > 0 && bytes[at - 1] == b'\n').unwrap_or(bytes.len());
    Some(SignedTag {
        name: String::from_utf8_lossy(tag.name_bytes()).into_owned(),
        commit: tag.target_id(),
        time_ms: tag.tagger().map_or(0, |t| t.when().seconds().saturating_mul(1_000)),
        armoured: bytes[at..].to_vec(),
        signed: bytes[..at].to_vec(),
    })
}

fn check(armoured: &[u8], signed: &[u8], signers: &Signers, times_ms: &[i64]) -> Result<String, Doubt> {
    let broken = |why: String| Doubt::Broken { why };
    if armoured.len() > SIGNATURE_BYTES_MAX {
        return Err(broken(format!("it has {} bytes", armoured.len())));
    }
    if armoured.trim_ascii_start().starts_with(b"-----BEGIN PGP") {
        return Err(broken("it is of OpenPGP: sign with ssh, `git config gpg.format ssh`".to_owned()));
    }
    let signature = SshSig::from_pem(armoured.trim_ascii()).map_err(|why| broken(why.to_string()))?;
    if signature.namespace() != NAMESPACE {
        let namespace: String = signature.namespace().chars().filter(|c| !c.is_control()).take(40).collect();
        return Err(broken(format!("it was made for `{namespace}`, not for `{NAMESPACE}`")));
    }
    let key = PublicKey::from(signature.public_key().clone());
    // First whether anybody trusts the key: what strangers sign is worth no arithmetic.
    let principal = signers.whose(key.key_data(), times_ms).map_err(Doubt::from)?.to_owned();
    key.verify(NAMESPACE, signed, &signature)
        .map_err(|_| broken(format!("it is not of these bytes, though it names the key of {principal}")))?;
    Ok(principal)
}

impl From<Unfit> for Doubt {
    fn from(unfit: Unfit) -> Doubt {
        match unfit {
            Unfit::Unknown { fingerprint } => Doubt::Stranger { fingerprint },
            Unfit::Revoked { fingerprint } => Doubt::Unfit { why: format!("the key {fingerprint} was revoked") },
            Unfit::NotForGit { principal } => {
                Doubt::Unfit { why: format!("the key of {principal} is not for the namespace `{NAMESPACE}`") }
            }
            Unfit::Early { principal } => Doubt::Unfit { why: format!("the key of {principal} does not count yet") },
            Unfit::Late { principal } => Doubt::Unfit { why: format!("the key of {principal} has expired") },
        }
    }
}

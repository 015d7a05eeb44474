//! Signed tokens (JWT): taken apart, and their signature checked. What a token says decides nothing here but which of the
//! issuer's own keys is tried; the algorithm is the issuer's, not the token's.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use tollgate_core::contract::skim;

/// A longer token is refused unread.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
const KID_BYTES_MAX: usize = 256;
/// What a head says may not lead anywhere: to keys, to other meanings, to packed content.
const REFUSED: [&str; 8] = ["crit", "jku", "x5u", "jwk", "x5c", "b64", "zip", "enc"];

/// How a token may be signed. None has a secret that two parties share: whoever can verify cannot sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "PS384")]
    Ps384,
    #[serde(rename = "PS512")]
    Ps512,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    const ALL: [Algorithm; 9] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::EdDsa => "EdDSA",
        }
    }
}

/// A public key of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub kid: Option<String>,
    /// The one algorithm that it is for, where its issuer says so.
    only: Option<Algorithm>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key as its issuer publishes it.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Key {
    /// `None` where it is a key of another kind or for another use: an issuer may have such too.
    pub fn read(jwk: &Value) -> Option<Key> {
        let jwk = Jwk::deserialize(jwk).ok()?;
        if jwk.used_for.as_deref().is_some_and(|used_for| used_for != "sig") {
            return None;
        }
        let only = match &jwk.alg {
            Some(name) => Some(Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)?),
            None => None,
        };
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let point = |len: usize| {
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            // Uncompressed, as X9.62 has it.
            (x.len() == len && y.len() == len).then(|| [&[4], &*x, &*y].concat())
        };
        let material = match (&*jwk.kty, jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa { n: bytes(&jwk.n)?, e: bytes(&jwk.e)? },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&jwk.x).filter(|x| x.len() == 32)?),
            _ => return None,
        };
        Some(Key { kid: jwk.kid, only, material })
    }

    /// Is it a key for this algorithm?
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        if self.only.is_some_and(|only| only != algorithm) {
            return false;
        }
        match algorithm {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => matches!(self.material, Material::Rsa { .. }),
            Algorithm::Es256 => matches!(self.material, Material::P256(_)),
            Algorithm::Es384 => matches!(self.material, Material::P384(_)),
            Algorithm::EdDsa => matches!(self.material, Material::Ed25519(_)),
        }
    }

    fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let rsa = |parameters: &'static RsaParameters| match &self.material {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).is_ok(),
            Material::P256(_) | Material::P384(_) | Material::Ed25519(_) => false,
        };
        match (algorithm, &self.material) {
            (Algorithm::Rs256, _) => rsa(&RSA_PKCS1_2048_8192_SHA256),
            (Algorithm::Rs384, _) => rsa(&RSA_PKCS1_2048_8192_SHA384),
            (Algorithm::Rs512, _) => rsa(&RSA_PKCS1_2048_8192_SHA512),
            (Algorithm::Ps256, _) => rsa(&RSA_PSS_2048_8192_SHA256),
            (Algorithm::Ps384, _) => rsa(&RSA_PSS_2048_8192_SHA384),
            (Algorithm::Ps512, _) => rsa(&RSA_PSS_2048_8192_SHA512),
            (Algorithm::Es256, Material::P256(point)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
            }
            (Algorithm::Es384, Material::P384(point)) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(signed, signature).is_ok()
            }
            (Algorithm::EdDsa, Material::Ed25519(key)) => {
                UnparsedPublicKey::new(&ED25519, key).verify(signed, signature).is_ok()
            }
            (Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa, _) => false,
        }
    }
}

/// A token taken apart. Nothing of it is proven yet.
pub struct Unproven<'t> {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    /// Believed by nobody before `verifies`.
    pub claims: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

impl<'t> Unproven<'t> {
    pub fn parse(token: &'t str) -> Result<Unproven<'t>, String> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(format!("it has {} bytes, at most {TOKEN_BYTES_MAX} are read", token.len()));
        }
        let mut parts = token.split('.');
        let (Some(head), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("it has not three parts".to_owned());
        };
        let head_text = part(head, "head")?;
        if let Some(name) = REFUSED.iter().find(|name| head_text.contains_key(**name)) {
            return Err(format!("its head says `{name}`, which is not taken here"));
        }
        let text = |name: &str| match head_text.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(&**text)),
            Some(_) => Err(format!("`{name}` of its head is no text")),
        };
        let algorithm = Algorithm::ALL.into_iter().find(|known| text("alg").is_ok_and(|alg| alg == Some(known.name())));
        let Some(algorithm) = algorithm else {
            return Err("its head names no algorithm that is taken anywhere".to_owned());
        };
        let is_token = |typ: &str| typ.eq_ignore_ascii_case("jwt") || typ.eq_ignore_ascii_case("at+jwt");
        if !text("typ")?.is_none_or(is_token) {
            return Err("its `typ` says that it is something else than a token of access".to_owned());
        }
        let kid = text("kid")?.map(str::to_owned);
        if kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(format!("its `kid` is longer than {KID_BYTES_MAX} bytes"));
        }
        let signed = &token[..head.len() + 1 + claims.len()];
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "its signature is no base64url")?;
        Ok(Unproven { algorithm, kid, claims: part(claims, "claims")?, signed, signature })
    }

    pub fn verifies(&self, key: &Key, algorithm: Algorithm) -> bool {
        key.serves(algorithm) && key.verifies(algorithm, self.signed.as_bytes(), &self.signature)
    }
}

/// One part as a table. A member that is there twice could be read in two ways.
fn part(text: &str, what: &str) -> Result<Map<String, Value>, String> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("its {what} is no base64url"))?;
    skim::skim(&bytes).map_err(|why| format!("its {what} cannot be read: {why}"))?;
    serde_json::from_slice(&bytes).map_err(|_| format!("its {what} is no table"))
}

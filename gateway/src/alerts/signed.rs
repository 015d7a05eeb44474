//! Signatures after the Standard Webhooks scheme: HMAC-SHA-256 over id, time and body.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tollgate_core::contract::base64;

/// What marks a secret that is written in base64.
const MARK: &str = "whsec_";

/// The bytes that are signed with: what stands in base64 behind the mark, or the text itself.
pub fn key(text: &str) -> Result<Vec<u8>, String> {
    match text.strip_prefix(MARK) {
        None => Ok(text.as_bytes().to_vec()),
        Some(coded) => base64::decode(coded).ok_or_else(|| format!("what follows `{MARK}` in it is no base64")),
    }
}

/// `v1,SIGNATURE`.
pub fn signature(key: &[u8], id: &str, at_s: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{at_s}.").as_bytes());
    mac.update(body);
    format!("v1,{}", base64::encode(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the scheme's own libraries.
    #[test]
    fn a_signature_is_that_of_the_scheme() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_without_the_mark_is_taken_as_it_is() {
        assert_eq!(key("plain").unwrap(), b"plain");
        assert!(key("whsec_no base64").unwrap_err().contains("no base64"));
    }
}

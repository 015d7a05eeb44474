//! Requests signed with Amazon's access keys (`sigv4`): the keys themselves never leave.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;

use crate::secret::{Secret, SecretSource};
use crate::sigv4::{Credentials, Unsigned, sign};

/// What Bedrock's API is called in signatures.
const SERVICE: &str = "bedrock";

/// Where the keys come from, and for which region they sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    pub access_key: SecretSource,
    pub secret_key: SecretSource,
    /// Of temporary keys.
    pub session_token: Option<SecretSource>,
    pub region: String,
}

impl Keys {
    /// In the order in which `sign_with` takes what was read.
    pub(crate) fn sources(&self) -> Vec<SecretSource> {
        [Some(&self.access_key), Some(&self.secret_key), self.session_token.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

/// Signs all of the request: nothing of it may change after.
pub(crate) fn sign_with(
    parts: &[Secret],
    region: &str,
    request: &mut Request<Full<Bytes>>,
    body: &Bytes,
) -> Result<(), String> {
    let (access_key, secret_key, session_token) = match parts {
        [access_key, secret_key] => (access_key, secret_key, None),
        [access_key, secret_key, token] => (access_key, secret_key, Some(token)),
        _ => return Err("its keys are not whole".to_owned()),
    };
    let at_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let host = host(request.uri())?;
    let uri = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let method = request.method().clone();
    let headers = request.headers_mut();
    // The client adds it where the protocol has it among the headers; elsewhere it is the authority, and signed alike.
    headers.insert(header::HOST, host);
    let unsigned = Unsigned { method: &method, uri: &uri, headers, body };
    let credentials = Credentials {
        access_key_id: access_key.text(),
        secret_access_key: secret_key.text(),
        session_token: session_token.map(Secret::text),
    };
    let at_s = i64::try_from(at_s).unwrap_or(i64::MAX);
    let signed = sign(&unsigned, &credentials, region, SERVICE, at_s);
    headers.remove(header::HOST);
    for (name, value) in signed? {
        headers.insert(name, value);
    }
    Ok(())
}

/// The header `host` as the client will write it: a port that the scheme implies is not in it.
fn host(uri: &Uri) -> Result<HeaderValue, String> {
    let name = uri.host().unwrap_or_default();
    let implied = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let text = match uri.port_u16() {
        Some(port) if port != implied => format!("{name}:{port}"),
        Some(_) | None => name.to_owned(),
    };
    HeaderValue::from_str(&text).map_err(|_| format!("`{text}` cannot be signed as a host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_host_is_the_one_that_is_sent() {
        for (uri, expected) in [
            ("https://h.example/x", "h.example"),
            ("https://h.example:443/x", "h.example"),
            ("http://127.0.0.1:9/x", "127.0.0.1:9"),
            ("https://h.example:80/x", "h.example:80"),
        ] {
            assert_eq!(host(&uri.parse().unwrap()).unwrap(), expected, "{uri}");
        }
    }
}

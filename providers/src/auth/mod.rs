//! How a provider is shown who calls: a key in a header, Amazon's signature, or a token that Google gives for a key.
//!
//! Whatever it is, it is put on requests to the provider's own address and on nothing else.

pub mod aws;
pub mod google;

use std::sync::RwLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Full;

use crate::api::Api;
use crate::client::Client;
use crate::secret::{Secret, SecretSource};

/// As the config names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// It asks for none.
    #[default]
    None,
    /// A key in the header where the kind of API has it.
    Key(SecretSource),
    Aws(aws::Keys),
    Google(google::ServiceAccount),
}

/// Ready to be shown.
pub(crate) enum Credential {
    None,
    Key(Key),
    Aws(aws::Signer),
    Google(google::Tokens),
}

impl Credential {
    /// Reads what there is to read. The client is the provider's own: it serves to ask for tokens, where that is needed.
    pub fn new(auth: &Auth, api: &'static Api, client: &Client) -> Credential {
        match auth {
            Auth::None => Credential::None,
            Auth::Key(source) => Credential::Key(Key::new(source.clone(), api)),
            Auth::Aws(keys) => Credential::Aws(aws::Signer::new(keys.clone())),
            Auth::Google(account) => Credential::Google(google::Tokens::new(account.clone(), client.clone())),
        }
    }

    /// Why nothing can be shown now.
    pub fn missing(&self) -> Option<String> {
        match self {
            Credential::None => None,
            Credential::Key(key) => key.now().err(),
            Credential::Aws(signer) => signer.missing(),
            Credential::Google(tokens) => tokens.missing(),
        }
    }

    /// Puts it on a request that is ready but for this. The error says why there is none, never what it was.
    pub async fn show(&self, request: &mut Request<Full<Bytes>>, body: &Bytes) -> Result<(), String> {
        match self {
            Credential::None => Ok(()),
            Credential::Key(key) => key.show(request.headers_mut()),
            Credential::Aws(signer) => signer.sign(request, body),
            Credential::Google(tokens) => {
                let token = tokens.token().await?;
                request.headers_mut().insert(http::header::AUTHORIZATION, token);
                Ok(())
            }
        }
    }

    /// The provider refused it: there may be a new one by now. Elsewhere than at Amazon a 403 is about what was asked for.
    pub fn refused(&self, status: StatusCode) {
        let is_401 = status == StatusCode::UNAUTHORIZED;
        match self {
            Credential::Key(key) if is_401 || key.ends_with_403 => key.refresh(),
            Credential::Aws(signer) => signer.refresh(),
            Credential::Google(tokens) if is_401 => tokens.forget(),
            Credential::None | Credential::Key(_) | Credential::Google(_) => {}
        }
    }
}

/// A key, as it was last read.
pub(crate) struct Key {
    source: SecretSource,
    header: HeaderName,
    prefix: &'static str,
    /// Amazon tells the end of a key with a 403.
    ends_with_403: bool,
    read: RwLock<Result<HeaderValue, String>>,
}

impl Key {
    fn new(source: SecretSource, api: &'static Api) -> Key {
        let (header, prefix) = (api.key_header(), api.key_prefix());
        let ends_with_403 = api.name == "bedrock";
        Key { read: RwLock::new(read(&source, prefix)), source, header, prefix, ends_with_403 }
    }

    fn now(&self) -> Result<HeaderValue, String> {
        self.read.read().expect("no code panics while it holds the secret").clone()
    }

    fn refresh(&self) {
        let fresh = read(&self.source, self.prefix);
        *self.read.write().expect("no code panics while it holds the secret") = fresh;
    }

    fn show(&self, headers: &mut HeaderMap) -> Result<(), String> {
        let value = self.now().or_else(|_| {
            self.refresh();
            self.now()
        })?;
        headers.insert(&self.header, value);
        Ok(())
    }
}

/// Is it this machine?
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "[::1]" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

fn read(source: &SecretSource, prefix: &str) -> Result<HeaderValue, String> {
    source.read().map(|secret| Secret::header(&secret, prefix))
}

#[cfg(test)]
mod tests;

//! How a provider is shown who calls: a key in a header, Amazon's signature, or a token that Google gives for a key.
//!
//! Whatever it is, it is put on requests to the provider's own address and on nothing else. Several of a kind may live at a
//! time: the first that is not refused is shown.

pub mod aws;
pub mod google;

use std::sync::Arc;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;

use crate::client::Client;
use crate::http::Provider;
use crate::secret::SecretSource;
use crate::secret::kept::{Form, Happened, Keeping, Kept, Report, Version};

/// Of one provider.
pub const SECRETS_MAX: usize = 4;

/// As the config names it. Of several the first is shown, and the next where the provider refuses it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// It asks for none.
    #[default]
    None,
    /// A key in the header where the kind of API has it.
    Key(Vec<SecretSource>),
    Aws(Vec<aws::Keys>),
    Google(google::ServiceAccount),
}

impl Auth {
    /// All that it reads.
    pub fn sources(&self) -> Vec<SecretSource> {
        match self {
            Auth::None => Vec::new(),
            Auth::Key(sources) => sources.clone(),
            Auth::Aws(keys) => keys.iter().flat_map(aws::Keys::sources).collect(),
            Auth::Google(account) => account.keys.clone(),
        }
    }
}

/// Ready to be shown.
pub(crate) struct Credential {
    how: How,
    rows: Vec<Row>,
    bound: Bound,
}

enum How {
    Nothing,
    /// A key.
    Header {
        name: HeaderName,
        is_amazon: bool,
    },
    /// With Amazon's keys, for this region.
    Signature(String),
    /// Of Google's.
    Token,
}

/// One secret.
struct Row {
    kept: Arc<Kept>,
    tokens: Option<google::Tokens>,
}

/// What was shown with a request.
pub(crate) struct Shown {
    row: usize,
    version: Arc<Version>,
    token: Option<HeaderValue>,
}

/// The only place that a secret is shown to.
struct Bound {
    scheme: Scheme,
    authority: Authority,
    /// Where tokens are asked for.
    tokens: Option<String>,
}

impl Credential {
    /// Reads what there is to read. The client is the provider's own: it serves to ask for tokens, where that is needed.
    pub fn new(provider: &Provider, client: &Client, keeping: &Keeping) -> Result<Credential, String> {
        let mut bound = Bound::of(provider)?;
        let kept = |sources: Vec<SecretSource>, form| {
            Arc::new(Kept::new(provider.name.clone(), sources, form, keeping.clone()))
        };
        let row = |kept| Row { kept, tokens: None };
        let (how, rows): (How, Vec<Row>) = match &provider.auth {
            Auth::None => (How::Nothing, Vec::new()),
            Auth::Key(sources) => {
                let api = provider.api;
                let how = How::Header { name: api.key_header(), is_amazon: api.name == "bedrock" };
                let line = || Form::Line(api.key_prefix());
                (how, sources.iter().map(|source| row(kept(vec![source.clone()], line()))).collect())
            }
            Auth::Aws(keys) => {
                let region = keys.first().map(|keys| keys.region.clone()).unwrap_or_default();
                let of = |keys: &aws::Keys| row(kept(keys.sources(), Form::Line("")));
                (How::Signature(region), keys.iter().map(of).collect())
            }
            Auth::Google(account) => {
                bound.tokens = Some(google::host(&account.token_url));
                let of = |source: &SecretSource| {
                    let url = account.token_url.clone();
                    let check = move |text: &str| google::check_key(text, &url);
                    let kept = kept(vec![source.clone()], Form::Document(Box::new(check)));
                    Row { kept, tokens: Some(google::Tokens::new(account.token_url.clone(), client.clone())) }
                };
                (How::Token, account.keys.iter().map(of).collect())
            }
        };
        if rows.len() > SECRETS_MAX {
            let (name, count) = (&provider.name, rows.len());
            return Err(format!("`{name}`: {count} secrets are more than {SECRETS_MAX}: name those that are live"));
        }
        Ok(Credential { how, rows, bound })
    }

    /// Why one of them cannot be shown now.
    pub fn missing(&self) -> Vec<String> {
        self.rows.iter().filter_map(|row| row.kept.problem()).collect()
    }

    pub fn reports(&self) -> Vec<Report> {
        self.rows.iter().map(|row| row.kept.report(self.bound.hosts())).collect()
    }

    pub fn kept(&self) -> impl Iterator<Item = &Arc<Kept>> {
        self.rows.iter().map(|row| &row.kept)
    }

    /// Puts it on a request that is ready but for this, and says which it is. The error says why there is none, never what it was.
    pub async fn show(
        &self,
        request: &mut Request<Full<Bytes>>,
        body: &Bytes,
        used: &mut Option<Arc<str>>,
    ) -> Result<Option<Shown>, String> {
        if matches!(self.how, How::Nothing) {
            return Ok(None);
        }
        self.bound.check(request.uri())?;
        let mut why = "its list of secrets is empty".to_owned();
        let mut tried = [false; SECRETS_MAX];
        // Those that are there and were not refused lately; then whatever is left.
        for anything in [false, true] {
            for (at, row) in self.rows.iter().enumerate() {
                if tried[at] || !(anything || row.kept.version().is_some() && row.kept.may_be_shown()) {
                    continue;
                }
                tried[at] = true;
                if row.kept.version().is_none() {
                    row.kept.renewed(None).await;
                }
                let Some(version) = row.kept.version() else {
                    why = row.kept.problem().unwrap_or(why);
                    continue;
                };
                *used = Some(version.id.clone());
                match self.put(row, &version, request, body).await {
                    Ok(token) => return Ok(Some(Shown { row: at, version, token })),
                    Err(told) => why = told,
                }
            }
        }
        Err(why)
    }

    /// Gives the token, where one stands for the key.
    async fn put(
        &self,
        row: &Row,
        version: &Arc<Version>,
        request: &mut Request<Full<Bytes>>,
        body: &Bytes,
    ) -> Result<Option<HeaderValue>, String> {
        match &self.how {
            How::Nothing => Ok(None),
            How::Header { name, .. } => {
                let value = version.header.clone().ok_or("it is no key for a header")?;
                request.headers_mut().insert(name, value);
                Ok(None)
            }
            How::Signature(region) => aws::sign_with(&version.parts, region, request, body).map(|()| None),
            How::Token => {
                let tokens = row.tokens.as_ref().ok_or("no tokens are asked for it")?;
                match tokens.token(version).await {
                    Ok(token) => {
                        request.headers_mut().insert(http::header::AUTHORIZATION, token.clone());
                        Ok(Some(token))
                    }
                    Err(google::NoToken::Refused(status, why)) => {
                        row.kept.used(status);
                        row.kept.refuse(version, status);
                        Err(why)
                    }
                    Err(google::NoToken::Other(why)) => Err(why),
                }
            }
        }
    }

    /// What a request came to. `true` = the provider refused what it was shown, and there is another to show by now.
    /// `about_key`: its body says that it is about the key.
    pub async fn came_to(&self, shown: &Shown, status: StatusCode, headers: &HeaderMap, about_key: bool) -> bool {
        let Some(row) = self.rows.get(shown.row) else { return false };
        row.kept.used(status.as_u16());
        let is_refused = match status {
            StatusCode::UNAUTHORIZED => true,
            _ if about_key => true,
            StatusCode::FORBIDDEN if self.is_amazon() => is_about_key(headers),
            _ => return false,
        };
        let forgotten =
            row.tokens.as_ref().zip(shown.token.as_ref()).is_some_and(|(tokens, token)| tokens.forget(token));
        if row.kept.renewed(Some(&shown.version)).await || forgotten {
            return true;
        }
        if !is_refused {
            return false;
        }
        row.kept.refuse(&shown.version, status.as_u16());
        let is_next = |other: &&Row| !Arc::ptr_eq(&other.kept, &row.kept) && !other.kept.is_refused();
        let next = self.rows.iter().filter(is_next).find_map(|other| other.kept.version());
        if let Some(next) = &next {
            row.kept.tell(&shown.version.id, Happened::Next(&next.id));
        }
        next.is_some()
    }

    /// Elsewhere a 403 is about what was asked for.
    fn is_amazon(&self) -> bool {
        match &self.how {
            How::Signature(_) => true,
            How::Header { is_amazon, .. } => *is_amazon,
            How::Nothing | How::Token => false,
        }
    }
}

/// Amazon's names for a key that it does not take.
const KEY_FAULTS: [&str; 6] = [
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidClientTokenIdException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
];

/// Is a 403 of Amazon's about the key? `AccessDeniedException` may be about the model: no other key is tried for it.
fn is_about_key(headers: &HeaderMap) -> bool {
    let name = headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok()).unwrap_or_default();
    // The name may have an address behind it.
    name.split(':').next().is_some_and(|name| KEY_FAULTS.contains(&name.trim()))
}

impl Bound {
    fn of(provider: &Provider) -> Result<Bound, String> {
        let parts = provider.address()?.into_parts();
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority)) => Ok(Bound { scheme, authority, tokens: None }),
            (_, _) => Err(format!("`{}`: `{}` names no host", provider.name, provider.base_url)),
        }
    }

    /// Paths are made of what callers and catalogs say: none of it may lead to another host.
    fn check(&self, uri: &Uri) -> Result<(), String> {
        match uri.scheme() == Some(&self.scheme) && uri.authority() == Some(&self.authority) {
            true => Ok(()),
            false => Err(format!("it is for `{}` only, and the request is not", self.authority)),
        }
    }

    fn hosts(&self) -> Vec<String> {
        match &self.tokens {
            None => vec![self.authority.to_string()],
            // The key goes to the one, what is given for it to the other.
            Some(tokens) => vec![tokens.clone(), self.authority.to_string()],
        }
    }
}

/// Is it this machine?
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "[::1]" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod rotation_tests;
#[cfg(test)]
mod tests;

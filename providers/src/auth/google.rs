//! Tokens that Google gives for the key of a service account: a signed word goes out, a token that lasts an hour comes back.
//!
//! The word goes to the configured address and to no other, whatever the key file names. One request at a time asks for a
//! token, however many calls wait for it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::client::Client;
use crate::secret::SecretSource;
use crate::secret::kept::Version;

/// Where tokens are asked for, unless the config names another place.
pub const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// A signed word is good for so long, which is the most that Google takes.
const WORD_S: u64 = 3_600;
/// A token is given up so long before its end: calls that leave with it must arrive in time.
const MARGIN: Duration = Duration::from_secs(120);
/// After a failure nobody asks again for so long.
const PAUSE: Duration = Duration::from_secs(1);
/// One answer with a token may take so long, and be so large.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A token that was refused is given up at most once in so long, however many calls it was shown with.
const FORGET_PAUSE: Duration = Duration::from_secs(1);

/// The key files of a service account, and where its tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The JSON text that Google gave out; of several the first that is not refused.
    pub keys: Vec<SecretSource>,
    /// The only address that the key's signature is sent to.
    pub token_url: String,
}

/// What of the key file is needed.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    client_email: String,
    #[serde(default)]
    private_key: String,
    #[serde(default)]
    private_key_id: String,
    #[serde(default)]
    token_uri: Option<String>,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    until: Instant,
}

/// Why there is no token.
#[derive(Debug, Clone)]
pub(crate) enum NoToken {
    /// Google does not take the key.
    Refused(u16, String),
    Other(String),
}

type Fetched = Result<Token, NoToken>;

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The version of the key that it was given for, or is asked for with.
    of: Option<Arc<str>>,
    /// The request that is under way.
    asking: Option<Shared<BoxFuture<'static, Fetched>>>,
    failed: Option<(Instant, NoToken)>,
    forgotten: Option<Instant>,
}

pub(crate) struct Tokens {
    token_url: Arc<str>,
    client: Client,
    state: Arc<Mutex<State>>,
}

impl Tokens {
    pub fn new(token_url: String, client: Client) -> Tokens {
        Tokens { token_url: token_url.into(), client, state: Arc::default() }
    }

    /// Gives up the token that was refused. `false` = it is the second in a moment.
    pub fn forget(&self, refused: &HeaderValue) -> bool {
        let mut state = self.state.lock().expect("no code panics while it holds the token");
        if state.token.as_ref().is_none_or(|token| token.header != *refused) {
            return true;
        }
        if state.forgotten.is_some_and(|at| at.elapsed() < FORGET_PAUSE) {
            return false;
        }
        (state.token, state.forgotten) = (None, Some(Instant::now()));
        true
    }

    pub async fn token(&self, key: &Arc<Version>) -> Result<HeaderValue, NoToken> {
        let asking = {
            let mut state = self.state.lock().expect("no code panics while it holds the token");
            if state.of.as_ref() != Some(&key.id) {
                // What is under way for an older key ends by itself, and is told to those who wait for it.
                *state = State { of: Some(key.id.clone()), forgotten: state.forgotten, ..State::default() };
            }
            let now = Instant::now();
            if let Some(token) = state.token.as_ref().filter(|token| token.until > now) {
                return Ok(token.header.clone());
            }
            if let Some((_, why)) = state.failed.as_ref().filter(|(until, _)| *until > now) {
                return Err(why.clone());
            }
            match &state.asking {
                Some(asking) => asking.clone(),
                None => state.asking.insert(self.ask(key.clone())).clone(),
            }
        };
        asking.await.map(|token| token.header)
    }

    /// A task of its own: the caller for whose sake it began may leave.
    fn ask(&self, key: Arc<Version>) -> Shared<BoxFuture<'static, Fetched>> {
        let (url, client, state) = (self.token_url.clone(), self.client.clone(), self.state.clone());
        let task = tokio::spawn(async move {
            let fetched: Fetched = fetch(&key, &url, client).await;
            let mut state = state.lock().expect("no code panics while it holds the token");
            if state.of.as_ref() != Some(&key.id) {
                return fetched;
            }
            state.asking = None;
            match &fetched {
                Ok(token) => (state.token, state.failed) = (Some(token.clone()), None),
                Err(why) => state.failed = Some((Instant::now() + PAUSE, why.clone())),
            }
            fetched
        });
        let told = |done: Result<Fetched, tokio::task::JoinError>| {
            done.unwrap_or_else(|_| Err(NoToken::Other("the task that asks for tokens is gone".to_owned())))
        };
        task.map(told).boxed().shared()
    }
}

async fn fetch(key: &Arc<Version>, url: &Arc<str>, client: Client) -> Fetched {
    let begun = Instant::now();
    // A signature takes its time: it may not hold up other calls.
    let (signed_with, audience) = (key.clone(), url.clone());
    let signed = move || word(signed_with.parts.first().map_or("", |key| key.text()), &audience, now_s());
    let word = tokio::task::spawn_blocking(signed).await;
    let word = word.unwrap_or_else(|_| Err("its key could not be read".to_owned())).map_err(NoToken::Other)?;
    let (status, body) = asked(&word, url, client).await.map_err(NoToken::Other)?;
    if !status.is_success() {
        let why = refused(url, status, &body);
        return Err(match status.is_client_error() && status != http::StatusCode::TOO_MANY_REQUESTS {
            true => NoToken::Refused(status.as_u16(), why),
            false => NoToken::Other(why),
        });
    }
    given(url, &body, begun).map_err(NoToken::Other)
}

async fn asked(word: &str, url: &str, client: Client) -> Result<(http::StatusCode, Bytes), String> {
    let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={word}");
    let mut request = Request::new(Full::new(Bytes::from(form)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.parse().map_err(|why| format!("`{url}` is no address: {why}"))?;
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(header::CONTENT_TYPE, form_type);
    let answered = async {
        let response = client.request(request).await.map_err(|why| format!("`{url}` gave no answer: {why}"))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| format!("the answer of `{url}` broke off, or is too large"))?;
        Ok((status, body.to_bytes()))
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    answered.map_err(|_| format!("`{url}` gave no token within {} s", PATIENCE.as_secs())).flatten()
}

fn given(url: &str, body: &[u8], begun: Instant) -> Result<Token, String> {
    #[derive(Deserialize)]
    struct Given {
        access_token: String,
        expires_in: u64,
    }
    let given: Given = serde_json::from_slice(body).map_err(|_| format!("the answer of `{url}` holds no token"))?;
    let mut header = HeaderValue::from_str(&format!("Bearer {}", given.access_token))
        .map_err(|_| format!("the token of `{url}` has characters that no header may carry"))?;
    header.set_sensitive(true);
    // A day is more than any token lasts: it bounds what a wrong answer can do.
    let lasts = Duration::from_secs(given.expires_in.min(86_400)).saturating_sub(MARGIN);
    Ok(Token { header, until: begun + lasts })
}

/// What the server says of it, in its own two words.
fn refused(url: &str, status: http::StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize, Default)]
    struct Said {
        #[serde(default)]
        error: String,
        #[serde(default)]
        error_description: String,
    }
    let said: Said = serde_json::from_slice(body).unwrap_or_default();
    let words = format!("{} {}", said.error, said.error_description);
    let words: String = words.trim().chars().filter(|c| !c.is_control()).take(200).collect();
    format!("`{url}` gave no token: {} {words}", status.as_u16())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The key file, if it is one whose tokens come from where the config allows.
fn key_file(text: &str, token_url: &str) -> Result<(KeyFile, RsaKeyPair), String> {
    let wrong = "it is no key file of a service account";
    let key: KeyFile = serde_json::from_str(text).map_err(|_| wrong.to_owned())?;
    if key.kind != "service_account" || key.client_email.is_empty() {
        let kind: String = key.kind.chars().take(40).collect();
        return Err(format!("{wrong}: its `type` is `{kind}`"));
    }
    if let Some(named) = key.token_uri.as_ref().filter(|named| *named != token_url) {
        let named: String = named.chars().take(200).collect();
        return Err(format!(
            "its key file wants tokens of `{named}`, the config allows `{token_url}`: set `token_url` if that is meant"
        ));
    }
    let pair = pair(&key.private_key).ok_or("the `private_key` of its key file is no RSA key in PEM (PKCS #8)")?;
    Ok((key, pair))
}

pub(crate) fn check_key(text: &str, token_url: &str) -> Result<(), String> {
    key_file(text, token_url).map(|_| ())
}

/// The host that a key's signatures are sent to.
pub(crate) fn host(token_url: &str) -> String {
    token_url.parse::<Uri>().ok().and_then(|url| url.authority().map(ToString::to_string)).unwrap_or_default()
}

/// The signed word for which a token is given: who asks, what for, and until when.
fn word(text: &str, token_url: &str, now_s: u64) -> Result<String, String> {
    let (key, pair) = key_file(text, token_url)?;
    #[derive(Serialize)]
    struct Head<'a> {
        alg: &'a str,
        typ: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        kid: &'a str,
    }
    #[derive(Serialize)]
    struct Claims<'a> {
        iss: &'a str,
        scope: &'a str,
        aud: &'a str,
        iat: u64,
        exp: u64,
    }
    let head = Head { alg: "RS256", typ: "JWT", kid: &key.private_key_id };
    let (iss, aud) = (key.client_email.as_str(), token_url);
    let claims = Claims { iss, scope: SCOPE, aud, iat: now_s, exp: now_s + WORD_S };
    let json = |part: Result<Vec<u8>, serde_json::Error>| part.expect("texts and numbers are always JSON");
    let (head, claims) = (json(serde_json::to_vec(&head)), json(serde_json::to_vec(&claims)));
    let mut word = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), word.as_bytes(), &mut signature)
        .map_err(|_| "its private key cannot sign")?;
    word.push('.');
    word.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(word)
}

impl ServiceAccount {
    /// Its address must be one that nobody can read along at: TLS, or this machine.
    pub fn check(&self) -> Result<(), String> {
        let url: Uri = self.token_url.parse().map_err(|why| format!("`{}` is no URL: {why}", self.token_url))?;
        let host = url.host().unwrap_or_default();
        let plain = url.scheme_str() == Some("http") && super::is_loopback(host);
        match url.scheme_str() == Some("https") && !host.is_empty() || plain {
            true => Ok(()),
            false => Err(format!("`{}` must begin with `https://`: a key's signature is sent there", self.token_url)),
        }
    }
}

fn pair(pem: &str) -> Option<RsaKeyPair> {
    let inside = pem.split_once("-----BEGIN PRIVATE KEY-----")?.1.split_once("-----END PRIVATE KEY-----")?.0;
    let text: String = inside.split_ascii_whitespace().collect();
    RsaKeyPair::from_pkcs8(&STANDARD.decode(text).ok()?).ok()
}

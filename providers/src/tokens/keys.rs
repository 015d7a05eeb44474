//! The public keys of one issuer (JWKS): fetched, kept, and kept on where the issuer is down.
//!
//! A token can make the gateway ask its issuer at most once in `REFRESH_PAUSE`, whatever `kid` it names, and always at the
//! configured address.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;
use tokio::time::Instant;

use super::jws::{Algorithm, Key};
use crate::client::Client;

/// Keys are asked for anew after so long, while the old ones serve.
const FRESH: Duration = Duration::from_secs(600);
/// Keys serve no longer where nobody can say that they are still good.
const STALE_MAX: Duration = Duration::from_secs(86_400);
const PATIENCE: Duration = Duration::from_secs(10);
const BYTES_MAX: usize = 256 << 10;
const KEYS_MAX: usize = 64;

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Url(String),
    File(PathBuf),
}

type Fetched = Result<Arc<[Key]>, Arc<str>>;

#[derive(Default)]
struct State {
    keys: Option<(Instant, Arc<[Key]>)>,
    /// The last try, good or bad.
    tried: Option<Instant>,
    failed: Option<Arc<str>>,
    asking: Option<Shared<BoxFuture<'static, Fetched>>>,
}

pub struct Keys {
    place: Arc<Place>,
    client: Client,
    /// Between two tries.
    pause: Duration,
    state: Arc<Mutex<State>>,
}

impl Keys {
    pub fn new(place: Place, client: Client, pause: Duration) -> Keys {
        Keys { place: Arc::new(place), client, pause, state: Arc::default() }
    }

    /// The keys that may have signed: those of the id, or all where there is none.
    pub async fn of(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Vec<Key>, Arc<str>> {
        let kept = self.kept();
        let found = kept.as_ref().map(|keys| matching(keys, kid, algorithm));
        match found {
            Some(found) if !found.is_empty() => Ok(found),
            Some(_) | None => Ok(matching(&self.fresh().await?, kid, algorithm)),
        }
    }

    /// What is kept and may serve. Where it is old a task asks for newer, and nobody waits for that.
    fn kept(&self) -> Option<Arc<[Key]>> {
        let mut state = lock(&self.state);
        let (since, keys) = state.keys.clone()?;
        let age = since.elapsed();
        if age > FRESH && self.may_try(&state) {
            // It runs by itself: the future is only for those who wait.
            drop(state.asking.insert(self.ask()).clone());
        }
        (age <= STALE_MAX).then_some(keys)
    }

    /// Newer keys, where it is time to ask; else those that are kept, or why there are none.
    async fn fresh(&self) -> Fetched {
        let asking = {
            let mut state = lock(&self.state);
            match (&state.asking, self.may_try(&state)) {
                (Some(asking), _) => asking.clone(),
                (None, true) => state.asking.insert(self.ask()).clone(),
                (None, false) => {
                    let none = || state.failed.clone().unwrap_or_else(|| "its keys are not known yet".into());
                    let kept = state.keys.as_ref().filter(|(since, _)| since.elapsed() <= STALE_MAX);
                    return kept.map(|(_, keys)| keys.clone()).ok_or_else(none);
                }
            }
        };
        let fetched = asking.await;
        // A failure now does not undo what is kept.
        let kept = lock(&self.state).keys.clone().filter(|(since, _)| since.elapsed() <= STALE_MAX);
        fetched.or_else(|why| kept.map(|(_, keys)| keys).ok_or(why))
    }

    fn may_try(&self, state: &State) -> bool {
        state.asking.is_none() && state.tried.is_none_or(|tried| tried.elapsed() >= self.pause)
    }

    /// A task of its own: the caller for whose sake it began may leave.
    fn ask(&self) -> Shared<BoxFuture<'static, Fetched>> {
        let (place, client, shared) = (self.place.clone(), self.client.clone(), self.state.clone());
        let task = tokio::spawn(async move {
            let fetched: Fetched = fetch(place, client).await.map_err(Arc::from);
            let mut state = lock(&shared);
            (state.asking, state.tried) = (None, Some(Instant::now()));
            match &fetched {
                Ok(keys) => (state.keys, state.failed) = (Some((Instant::now(), keys.clone())), None),
                Err(why) => {
                    tracing::warn!(%why, "the keys of an issuer of tokens cannot be had");
                    state.failed = Some(why.clone());
                }
            }
            fetched
        });
        let told = |done: Result<Fetched, tokio::task::JoinError>| {
            done.unwrap_or_else(|_| Err(Arc::from("the task that asks for keys is gone")))
        };
        task.map(told).boxed().shared()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn matching(keys: &[Key], kid: Option<&str>, algorithm: Algorithm) -> Vec<Key> {
    let named = |key: &&Key| kid.is_none() || key.kid.as_deref() == kid;
    keys.iter().filter(named).filter(|key| key.serves(algorithm)).cloned().collect()
}

async fn fetch(place: Arc<Place>, client: Client) -> Result<Arc<[Key]>, String> {
    let bytes = match &*place {
        Place::Url(url) => {
            let asked = tokio::time::timeout(PATIENCE, get(url, client));
            asked.await.map_err(|_| format!("`{url}` gave no keys within {} s", PATIENCE.as_secs()))??
        }
        Place::File(path) => {
            let named = path.clone();
            let told = move |why: std::io::Error| format!("cannot read `{}`: {why}", named.display());
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || std::fs::read(path));
            Bytes::from(read.await.map_err(|_| "its keys could not be read".to_owned())?.map_err(told)?)
        }
    };
    read(&bytes)
}

async fn get(url: &str, client: Client) -> Result<Bytes, String> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = url.parse::<Uri>().map_err(|why| format!("`{url}` is no address: {why}"))?;
    let response = client.request(request).await.map_err(|why| format!("`{url}` gave no answer: {why}"))?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("`{url}` gave no keys: {}", status.as_u16()));
    }
    let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
    Ok(body.map_err(|_| format!("the keys of `{url}` broke off, or have more than {BYTES_MAX} bytes"))?.to_bytes())
}

/// A set without one key that can be used is a mistake, not an issuer without keys.
fn read(bytes: &[u8]) -> Result<Arc<[Key]>, String> {
    let set: Value = serde_json::from_slice(bytes).map_err(|_| "its keys are no JSON".to_owned())?;
    let list = set["keys"].as_array().ok_or("its keys have no list `keys`")?;
    if bytes.len() > BYTES_MAX || list.len() > KEYS_MAX {
        return Err(format!(
            "it has {} keys in {} bytes, at most {KEYS_MAX} and {BYTES_MAX} are read",
            list.len(),
            bytes.len()
        ));
    }
    let keys: Vec<Key> = list.iter().filter_map(Key::read).collect();
    match keys.is_empty() {
        true => Err("none of its keys can be used here (RSA, P-256, P-384, Ed25519, for signatures)".to_owned()),
        false => Ok(keys.into()),
    }
}

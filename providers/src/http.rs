//! Every provider over HTTP: one pooled client, no redirects, no proxy that nobody asked for, and a bound on every wait.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use futures_util::Stream;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use http_body::Body as _;
use http_body_util::Full;
use hyper_util::client::legacy;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tollgate_core::contract::Dialect;
use tollgate_core::contract::packed::{Coding, Unpacked};
use tollgate_core::dialects::Quirks;
use tollgate_core::dialects::paths::Address;
use tollgate_core::ports::{Fault, Later, Outgoing, Reply, ReplyBody, Upstream};
use tollgate_core::routing::catalog::Target;

use crate::api::{self, Api};
use crate::auth::{Auth, Credential, Shown, is_loopback};
use crate::client::{Client, client};
use crate::key_fault;
use crate::secret::kept::{Keeping, Kept, Report};

/// One provider, as config and the table of known ones name it.
#[derive(Debug, Clone)]
pub struct Provider {
    pub name: Arc<str>,
    /// With its version path and without a slash at the end: `https://api.openai.com/v1`.
    pub base_url: String,
    /// What kind of API it has.
    pub api: &'static Api,
    pub auth: Auth,
    /// Of Azure's older paths; absent = the newer ones.
    pub api_version: Option<String>,
    /// Models that no catalog lists are sent on too.
    pub unlisted: bool,
    /// Models that nobody knows go here.
    pub default: bool,
    /// Headers of callers that go on to it, besides those that go to all.
    pub forwards: Vec<HeaderName>,
    pub timers: Timers,
}

/// How long one waits, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    pub connect_ms: u64,
    /// From the request to the head of the reply. Long: a model may think for minutes before it answers whole.
    pub first_byte_ms: u64,
    /// Between two pieces of a body.
    pub idle_ms: u64,
}

impl Default for Timers {
    fn default() -> Self {
        Timers { connect_ms: 5_000, first_byte_ms: 600_000, idle_ms: 120_000 }
    }
}

impl Provider {
    /// A compatible server at an address, without a secret.
    pub fn at(name: &str, base_url: &str) -> Provider {
        Provider {
            name: name.into(),
            base_url: base_url.to_owned(),
            api: api::compatible(),
            auth: Auth::None,
            api_version: None,
            unlisted: true,
            default: false,
            forwards: Vec::new(),
            timers: Timers::default(),
        }
    }

    /// Its address, if that can be one: nothing of a caller or a secret stands in it.
    pub fn address(&self) -> Result<Uri, String> {
        let (name, text) = (&self.name, self.base_url.trim_end_matches('/'));
        let base: Uri = text.parse().map_err(|why| format!("`{name}`: `{text}` is no URL: {why}"))?;
        let (scheme, host) = (base.scheme_str().unwrap_or_default(), base.host().unwrap_or_default());
        if !matches!(scheme, "http" | "https") || host.is_empty() {
            return Err(format!("`{name}`: `{text}` must begin with `https://` or `http://`"));
        }
        let has_user = base.authority().is_some_and(|a| a.as_str().contains('@'));
        if has_user || base.query().is_some() || text.contains('#') {
            return Err(format!("`{name}`: its base_url must be an address and a path only; secrets go into `secret`"));
        }
        Ok(base)
    }
}

/// All configured providers.
pub struct Providers {
    /// Asked several times a call. Its keys are those of the config, so a quick hash does.
    table: HashMap<Arc<str>, Endpoint, RandomState>,
    /// In the order in which they were given.
    names: Vec<Arc<str>>,
    default: Option<Arc<str>>,
}

/// A provider, made ready: nothing is parsed per call.
struct Endpoint {
    provider: Provider,
    client: Client,
    /// Of the dialects whose calls all have one address.
    uris: Vec<(Dialect, Uri)>,
    credential: Arc<Credential>,
}

impl Providers {
    /// Checks addresses and reads secrets. A secret that is not there is told when a call needs it; here it is a warning.
    pub fn new(list: Vec<Provider>, keeping: &Keeping) -> Result<(Providers, Vec<String>), String> {
        let mut table = HashMap::default();
        let mut names = Vec::with_capacity(list.len());
        let mut warnings = Vec::new();
        let mut default: Option<Arc<str>> = None;
        for provider in list {
            let name = provider.name.clone();
            if provider.default && default.replace(name.clone()).is_some_and(|first| first != name) {
                return Err("two providers are `default`: models that nobody knows can go to one only".to_owned());
            }
            let endpoint = Endpoint::new(provider, keeping, &mut warnings)?;
            names.push(name.clone());
            if table.insert(name.clone(), endpoint).is_some() {
                return Err(format!("provider `{name}` is there twice"));
            }
        }
        Ok((Providers { table, names, default }, warnings))
    }

    /// How all secrets stand, in the order of the providers.
    pub fn secrets(&self) -> Vec<Report> {
        self.names.iter().filter_map(|name| self.table.get(name)).flat_map(|e| e.credential.reports()).collect()
    }

    /// Reads secrets anew when their files change, when they are due, and all of them when `again` changes; for as long as it
    /// is polled.
    pub async fn keep(&self, mut again: watch::Receiver<u64>) {
        let kept: Vec<Arc<Kept>> = self.table.values().flat_map(|e| e.credential.kept().cloned()).collect();
        loop {
            let all = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                // One that nobody rings any more rings no more.
                changed = again.changed() => match changed {
                    Ok(()) => true,
                    Err(_) => std::future::pending().await,
                },
            };
            // Each for itself: a command that takes long does not hold up a file.
            for one in &kept {
                let one = one.clone();
                tokio::spawn(async move { one.look(all).await });
            }
        }
    }
}

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

impl Endpoint {
    fn new(provider: Provider, keeping: &Keeping, warnings: &mut Vec<String>) -> Result<Endpoint, String> {
        let name = &provider.name;
        let text = provider.base_url.trim_end_matches('/');
        let base = provider.address()?;
        let (scheme, host) = (base.scheme_str().unwrap_or_default(), base.host().unwrap_or_default());
        if scheme == "http" && !is_loopback(host) && provider.auth != Auth::None {
            warnings.push(format!("provider `{name}` gets its secret over plain http at `{text}`"));
        }
        let fixed = |dialect: &&Dialect| provider.api.has_one_path(**dialect);
        let uris = provider.api.speaks.iter().filter(fixed).map(|dialect| {
            let uri = provider.api.path(text, &Address::of(*dialect), None).parse();
            Ok((*dialect, uri.map_err(|why| format!("`{name}`: {why}"))?))
        });
        let uris = uris.collect::<Result<_, String>>()?;
        let client = client(Duration::from_millis(provider.timers.connect_ms))
            .map_err(|why| format!("`{name}`: no client can be made: {why}"))?;
        let credential = Credential::new(&provider, &client, keeping)?;
        for why in credential.missing() {
            warnings.push(format!("provider `{name}` has a secret that is not there: {why}"));
        }
        Ok(Endpoint { client, uris, credential: Arc::new(credential), provider })
    }

    fn uri(&self, to: &Address, query: Option<String>) -> Result<Uri, Fault> {
        let api = self.provider.api;
        let query = api.query(query, self.provider.api_version.as_deref());
        let uri = match self.uris.iter().find(|(dialect, _)| *dialect == to.dialect && to.place.is_usual()) {
            Some((_, uri)) => uri.clone(),
            None => {
                let base = self.provider.base_url.trim_end_matches('/');
                let path = api.path(base, to, query.as_deref());
                path.parse().map_err(|why| Fault::Broken(format!("`{path}` is no address: {why}")))?
            }
        };
        let Some(query) = query else { return Ok(uri) };
        let broken = |why: String| Fault::Broken(format!("the query `{query}` cannot be sent on: {why}"));
        let mut parts = uri.into_parts();
        let path = parts.path_and_query.as_ref().map_or("/", PathAndQuery::path);
        parts.path_and_query = Some(format!("{path}?{query}").parse().map_err(|e| broken(format!("{e}")))?);
        Uri::from_parts(parts).map_err(|e| broken(format!("{e}")))
    }
}

impl Upstream for Providers {
    fn serves(&self, provider: &str) -> bool {
        self.table.contains_key(provider)
    }

    fn providers(&self) -> &[Arc<str>] {
        &self.names
    }

    fn takes_unlisted(&self, provider: &str) -> bool {
        self.table.get(provider).is_some_and(|e| e.provider.unlisted)
    }

    fn speaks(&self, provider: &str) -> &[Dialect] {
        self.table.get(provider).map_or(&[], |e| e.provider.api.speaks)
    }

    fn quirks(&self, provider: &str) -> &Quirks {
        &self.table.get(provider).map_or(api::compatible(), |e| e.provider.api).quirks
    }

    /// The scripted provider stands back where there is another.
    fn speakers(&self, dialect: Dialect) -> Vec<&str> {
        let speaks = |of: &&Endpoint| of.provider.api.speaks.contains(&dialect);
        let mut found: Vec<&Provider> = self.table.values().filter(speaks).map(|of| &of.provider).collect();
        if found.iter().any(|provider| provider.api != api::sim()) {
            found.retain(|provider| provider.api != api::sim());
        }
        let mut names: Vec<&str> = found.into_iter().map(|provider| &*provider.name).collect();
        names.sort_unstable();
        names
    }

    fn default_provider(&self) -> Option<&str> {
        self.default.as_deref()
    }

    fn forwards(&self, provider: &str) -> &[HeaderName] {
        self.table.get(provider).map_or(&[], |e| &e.provider.forwards)
    }

    fn send<'a>(
        &'a self,
        target: &'a Target,
        outgoing: Outgoing,
        secret: &'a mut Option<Arc<str>>,
    ) -> Later<'a, Result<Reply, Fault>> {
        Box::pin(async move {
            let Some(endpoint) = self.table.get(&target.provider) else {
                return Err(Fault::Connect(format!("provider `{}` is not configured here", target.provider)));
            };
            let begun = Instant::now();
            let deadline_ms = outgoing.deadline_ms;
            let first_ms = endpoint.provider.timers.first_byte_ms.min(deadline_ms);
            let dialect = outgoing.address.dialect;
            let sent = async {
                let (request, shown) = request(endpoint, outgoing, secret).await?;
                let response = endpoint.client.request(request).await.map_err(|error| fault(&error))?;
                Ok::<_, Fault>((response, shown))
            };
            let (response, shown) = match tokio::time::timeout(Duration::from_millis(first_ms), sent).await {
                Ok(sent) => sent?,
                Err(_) if first_ms == deadline_ms => return Err(Fault::Deadline(deadline_ms)),
                Err(_) => return Err(Fault::FirstByte(first_ms)),
            };
            let (head, body) = response.into_parts();
            let idle = Duration::from_millis(endpoint.provider.timers.idle_ms);
            let ends = begun + Duration::from_millis(deadline_ms);
            let body = Incoming { body, idle, ends, deadline_ms, frames: 0, waiting: false, timer: None };
            // Packed though we asked for it plain: it is unpacked here, and nothing behind this line knows of it.
            let mut body: ReplyBody = match Coding::of(&head.headers)? {
                None => Box::pin(body),
                Some(coding) => Box::pin(Unpacked::new(body, coding)),
            };
            let mut other_secret = false;
            if let Some(shown) = shown {
                let about_key;
                (about_key, body) = key_fault::is_told(dialect, head.status, &head.headers, body).await;
                other_secret = endpoint.credential.came_to(&shown, head.status, &head.headers, about_key).await;
            }
            Ok(Reply { status: head.status, headers: head.headers, body, other_secret })
        })
    }
}

async fn request(
    endpoint: &Endpoint,
    outgoing: Outgoing,
    secret: &mut Option<Arc<str>>,
) -> Result<(Request<Full<Bytes>>, Option<Shown>), Fault> {
    let mut headers = outgoing.headers;
    if !outgoing.body.is_empty() {
        // Forms bring their own.
        headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    }
    // What is packed could not be metered unread, and is packed anew for no caller.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    endpoint.provider.api.complete(&mut headers);
    let body = outgoing.body;
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = outgoing.address.place.verb.method();
    *request.uri_mut() = endpoint.uri(&outgoing.address, outgoing.query)?;
    *request.headers_mut() = headers;
    // Last: a signature is over all the rest.
    let shown = endpoint.credential.show(&mut request, &body, secret).await;
    let shown = shown.map_err(|why| Fault::NoSecret { provider: endpoint.provider.name.to_string(), why })?;
    Ok((request, shown))
}

/// What went wrong, without the address or any header of it.
fn fault(error: &legacy::Error) -> Fault {
    match error.is_connect() {
        true => Fault::Connect(root(error)),
        false => Fault::Broken(root(error)),
    }
}

/// The cause behind all others.
fn root(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

/// A body that never makes us wait is asked for the time every so many frames: a flood has its deadline too.
const FRAMES_UNTIMED: u64 = 64;

/// A reply's body. One timer serves the whole of it, made when one has to wait for the first time.
struct Incoming {
    body: hyper::body::Incoming,
    idle: Duration,
    ends: Instant,
    deadline_ms: u64,
    /// Came so far.
    frames: u64,
    /// The timer runs since the last piece.
    waiting: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stream for Incoming {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let me = &mut *self;
        loop {
            match Pin::new(&mut me.body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Fault::Broken(root(&error))))),
                Poll::Ready(Some(Ok(frame))) => {
                    // The timer is only moved when one waits again: a body that flows never touches it.
                    me.waiting = false;
                    me.frames += 1;
                    if me.frames.is_multiple_of(FRAMES_UNTIMED) && Instant::now() >= me.ends {
                        return Poll::Ready(Some(Err(Fault::Deadline(me.deadline_ms))));
                    }
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Pending => break,
            }
        }
        let until = (Instant::now() + me.idle).min(me.ends);
        match &mut me.timer {
            None => me.timer = Some(Box::pin(tokio::time::sleep_until(until))),
            Some(timer) if !me.waiting => timer.as_mut().reset(until),
            Some(_) => {}
        }
        me.waiting = true;
        let timer = me.timer.as_mut().expect("it was made above");
        match timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) if Instant::now() >= me.ends => Poll::Ready(Some(Err(Fault::Deadline(me.deadline_ms)))),
            Poll::Ready(()) => Poll::Ready(Some(Err(Fault::Idle(me.idle.as_millis() as u64)))),
        }
    }
}

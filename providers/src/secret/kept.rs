//! A secret that lives: read anew when its file changes, when it is due, when somebody asks for it and when a provider refuses
//! it. What was good stays until there is something better: a file that is half written takes nothing away.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use http::HeaderValue;
use serde::Serialize;
use sha2::Sha256;
use tollgate_core::identity::key::equal;

use super::{Secret, SecretSource, line};
use crate::stamp::Stamp;

/// Refusals of providers make a secret be read at most once in so long, however many calls they come to.
const PAUSE: Duration = Duration::from_secs(1);
/// A secret that was refused is tried again after so long, by one call.
const REST: Duration = Duration::from_secs(60);

/// Something about a secret that operators should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened<'a> {
    /// A new version was read.
    Changed,
    /// It cannot be read; what was read before is used on.
    Unreadable(&'a str),
    /// The provider took it no more.
    Refused(u16),
    /// This one is used in its place.
    Next(&'a str),
}

/// Told of what happens, with the provider and the secret's id.
pub type Told = Arc<dyn Fn(&str, &str, Happened<'_>) + Send + Sync>;

/// What all secrets of a process share.
#[derive(Clone)]
pub struct Keeping {
    /// Fingerprints are made with it: without it nobody can tell from one whether a guess is right.
    pub key: [u8; 32],
    pub told: Told,
}

impl Default for Keeping {
    fn default() -> Self {
        Keeping { key: [0; 32], told: Arc::new(|_, _, _| {}) }
    }
}

/// How its text is taken.
pub(crate) enum Form {
    /// One line without spaces; with what stands before it in a header.
    Line(&'static str),
    /// Any text that this finds right.
    Document(Check),
}

/// Says what is wrong with a text.
type Check = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What was read at one time.
pub(crate) struct Version {
    pub parts: Vec<Secret>,
    /// Of a line, ready to be shown.
    pub header: Option<HeaderValue>,
    /// Where it is, and a fingerprint: `env:OPENAI_API_KEY#1a2b3c4d`.
    pub id: Arc<str>,
}

#[derive(Default)]
struct State {
    now: Option<Arc<Version>>,
    problem: Option<String>,
    read_ms: i64,
    changed_ms: i64,
    stamps: Vec<Option<Stamp>>,
}

/// How a secret stands, for operators. Nothing of it can be shown to a provider.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub provider: Arc<str>,
    /// With its fingerprint where it was read.
    pub secret: String,
    /// `good`, `refused` (by the provider; the next is used) or `missing`.
    pub state: &'static str,
    /// The only hosts that it is sent to.
    pub hosts: Vec<String>,
    /// Milliseconds since 1970, as all times here; 0 = never.
    pub read_ms: i64,
    pub changed_ms: i64,
    pub used_ms: i64,
    /// What the provider answered when it was used last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it could not be read when that was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

pub(crate) struct Kept {
    provider: Arc<str>,
    /// One, or the parts of a key of Amazon's.
    sources: Vec<SecretSource>,
    form: Form,
    name: String,
    keeping: Keeping,
    state: RwLock<State>,
    /// Held by whoever reads it: one at a time, and none that began earlier ends later.
    reading: Arc<tokio::sync::Mutex<()>>,
    /// When a refusal last made it be read.
    asked: Mutex<Option<Instant>>,
    born: Instant,
    /// Milliseconds since `born` from which a refused one may be tried; 0 = it is not refused.
    rests_until: AtomicI64,
    refused: AtomicBool,
    used_ms: AtomicI64,
    status: AtomicU16,
}

impl Kept {
    /// Reads it for the first time, here and now.
    pub fn new(provider: Arc<str>, sources: Vec<SecretSource>, form: Form, keeping: Keeping) -> Kept {
        // Of the parts of a key the last one is the secret.
        let named = sources.get(1).or(sources.first());
        let kept = Kept {
            provider,
            name: named.map(SecretSource::name).unwrap_or_default(),
            sources,
            form,
            keeping,
            state: RwLock::default(),
            reading: Arc::default(),
            asked: Mutex::new(None),
            born: Instant::now(),
            rests_until: AtomicI64::new(0),
            refused: AtomicBool::new(false),
            used_ms: AtomicI64::new(0),
            status: AtomicU16::new(0),
        };
        kept.read();
        kept
    }

    pub fn version(&self) -> Option<Arc<Version>> {
        self.state.read().expect("no code panics while it holds the secret").now.clone()
    }

    /// Why it is not there; its name stands before it.
    pub fn problem(&self) -> Option<String> {
        let state = self.state.read().expect("no code panics while it holds the secret");
        state.problem.as_ref().map(|why| format!("{}: {why}", self.name))
    }

    pub fn report(&self, hosts: Vec<String>) -> Report {
        let state = self.state.read().expect("no code panics while it holds the secret");
        let standing = match &state.now {
            None => "missing",
            Some(_) if self.refused.load(Relaxed) => "refused",
            Some(_) => "good",
        };
        Report {
            provider: self.provider.clone(),
            secret: state.now.as_ref().map_or_else(|| self.name.clone(), |now| now.id.to_string()),
            state: standing,
            hosts,
            read_ms: state.read_ms,
            changed_ms: state.changed_ms,
            used_ms: self.used_ms.load(Relaxed),
            status: Some(self.status.load(Relaxed)).filter(|status| *status > 0),
            problem: state.problem.clone(),
        }
    }

    /// Has its file changed, or is its command due? Asks the disk.
    pub fn is_due(&self) -> bool {
        let stamps = self.stamps();
        let state = self.state.read().expect("no code panics while it holds the secret");
        let age_ms = now_ms().saturating_sub(state.read_ms);
        let every = |source: &SecretSource| match source {
            SecretSource::Command { every: Some(every), .. } => age_ms >= every.as_millis() as i64,
            SecretSource::Command { every: None, .. } | SecretSource::Env(_) | SecretSource::File(_) => false,
        };
        stamps != state.stamps || self.sources.iter().any(every)
    }

    /// Reads it anew if it is due, or whatever it is.
    pub async fn look(self: Arc<Self>, whatever: bool) {
        let kept = self.clone();
        let is_due = move || whatever || kept.is_due();
        if tokio::task::spawn_blocking(is_due).await.unwrap_or(false) {
            self.reread().await;
        }
    }

    /// Reads it anew, on a thread that carries no calls. It ends even if nobody waits for it.
    pub async fn reread(self: &Arc<Self>) {
        let (kept, one) = (self.clone(), self.reading.clone().lock_owned().await);
        let read = move || {
            kept.read();
            drop(one);
        };
        // Where it panics the old one stays, and the panic is in the log.
        let _ = tokio::task::spawn_blocking(read).await;
    }

    /// The version that was seen was refused, or there was none: is there another by now? Reads at most once a second.
    pub async fn renewed(self: &Arc<Self>, seen: Option<&Arc<Version>>) -> bool {
        let is_other = || match (self.version(), seen) {
            (Some(now), Some(seen)) => !Arc::ptr_eq(&now, seen),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_other() {
            return true;
        }
        let may_ask = {
            let mut asked = self.asked.lock().expect("no code panics while it holds the time");
            let may = asked.is_none_or(|at| at.elapsed() >= PAUSE);
            if may {
                *asked = Some(Instant::now());
            }
            may
        };
        match may_ask {
            true => self.reread().await,
            // Somebody else may be reading it at this moment.
            false => drop(self.reading.lock().await),
        }
        is_other()
    }

    /// A provider answered a call that showed it.
    pub fn used(&self, status: u16) {
        self.used_ms.store(now_ms(), Relaxed);
        self.status.store(status, Relaxed);
        if (200..300).contains(&status) && self.refused.load(Relaxed) {
            self.is_good();
        }
    }

    /// The provider refused it and there is no newer one: the next is used for a while. Told once.
    pub fn refuse(&self, version: &Version, status: u16) {
        self.rests_until.store(self.steady_ms() + REST.as_millis() as i64, Relaxed);
        if !self.refused.swap(true, Relaxed) {
            self.tell(&version.id, Happened::Refused(status));
        }
    }

    /// May it be shown? One that was refused may be after its rest, by one call.
    pub fn may_be_shown(&self) -> bool {
        let until = self.rests_until.load(Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.steady_ms();
        let next = now + REST.as_millis() as i64;
        now >= until && self.rests_until.compare_exchange(until, next, Relaxed, Relaxed).is_ok()
    }

    pub fn is_refused(&self) -> bool {
        self.refused.load(Relaxed)
    }

    pub fn tell(&self, id: &str, happened: Happened<'_>) {
        (self.keeping.told)(&self.provider, id, happened);
    }

    fn is_good(&self) {
        self.rests_until.store(0, Relaxed);
        self.refused.store(false, Relaxed);
    }

    fn steady_ms(&self) -> i64 {
        // One second of head start: 0 stands for never.
        self.born.elapsed().as_millis() as i64 + 1_000
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let of = |source: &SecretSource| match source {
            SecretSource::File(path) => Stamp::of(path),
            _ => None,
        };
        self.sources.iter().map(of).collect()
    }

    fn read(&self) {
        // Before the file is read: what is written meanwhile is seen the next time.
        let stamps = self.stamps();
        let read = self.parts();
        let mut state = self.state.write().expect("no code panics while it holds the secret");
        let first = state.read_ms == 0;
        (state.stamps, state.read_ms) = (stamps, now_ms());
        let parts = match read {
            Ok(parts) => parts,
            Err(why) => {
                state.problem = Some(why.clone());
                let id = state.now.as_ref().map_or_else(|| self.name.as_str().into(), |now| now.id.clone());
                drop(state);
                if !first {
                    self.tell(&id, Happened::Unreadable(&why));
                }
                return;
            }
        };
        state.problem = None;
        if state.now.as_ref().is_some_and(|now| same(&now.parts, &parts)) {
            return;
        }
        let header = match (&self.form, parts.as_slice()) {
            (Form::Line(prefix), [secret]) => Some(secret.header(prefix)),
            (Form::Line(_) | Form::Document(_), _) => None,
        };
        let id: Arc<str> = format!("{}#{}", self.name, self.fingerprint(&parts)).into();
        state.now = Some(Arc::new(Version { parts, header, id: id.clone() }));
        state.changed_ms = state.read_ms;
        drop(state);
        self.is_good();
        if !first {
            self.tell(&id, Happened::Changed);
        }
    }

    fn parts(&self) -> Result<Vec<Secret>, String> {
        let part = |source: &SecretSource| {
            let text = source.document()?;
            match &self.form {
                Form::Line(_) => line(text),
                Form::Document(check) => check(&text).map(|()| Secret(text)),
            }
        };
        self.sources.iter().map(part).collect()
    }

    fn fingerprint(&self, parts: &[Secret]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.keeping.key).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(&(part.0.len() as u64).to_le_bytes());
            mac.update(part.0.as_bytes());
        }
        let digest = mac.finalize().into_bytes();
        digest[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn same(one: &[Secret], other: &[Secret]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| equal(a.0.as_bytes(), b.0.as_bytes()))
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;

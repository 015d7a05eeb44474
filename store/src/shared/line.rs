//! The connection to the store: its three scripts, and what its answers mean. One operation at a time, each within `WAIT_MAX`.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, Script, TlsCertificates, Value,
};
use tokio::time::timeout;

use super::Setup;
use super::fault::{Fault, broken};
use super::safety;
use super::slice::{Ask, Seen};

/// So long an operation may take. An answer that comes later is never read: its connection is left.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(50);
/// So long a connection may take to be made, with what is asked of the store first.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// With this a certificate begins in PEM.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
/// All keys lie in one slot: an operation reads the epoch and the scopes that it is about at one moment.
const EPOCH: &str = "{tollgate}:epoch";
const MEMBERS: &str = "{tollgate}:members";
const SCOPES: &str = "{tollgate}:scope";
const AMENDMENTS: &str = "{tollgate}:amendments";
const NUMBERS: &str = "{tollgate}:amendments:numbers";
/// So many grants and overrides are read in one operation: each is below 1 KiB.
const READ_MAX: usize = 256;

/// Where the store is, and who this node is there.
pub(super) struct Line {
    client: Client,
    connection: Option<MultiplexedConnection>,
    join: Script,
    sync: Script,
    amend: Script,
    node: String,
    lease: Duration,
    trusts_store: bool,
}

/// How a node tells what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// All of it, to a store that may have lost it.
    Anew,
    /// It has told all: what others know of it is over.
    Done,
    On,
    /// As on, and gives back what is not held.
    Last,
}

impl Telling {
    fn name(self) -> &'static str {
        match self {
            Telling::Anew => "anew",
            Telling::Done => "done",
            Telling::On | Telling::Last => "on",
        }
    }
}

/// A node is in an epoch.
#[derive(Debug, Clone)]
pub(super) struct Joined {
    pub epoch: String,
    /// Greater with each time that a node joins this epoch.
    pub number: i64,
    pub now_ms: i64,
    /// Until then nothing is leased.
    pub opens_in_ms: i64,
}

#[derive(Debug)]
pub(super) enum Synced {
    /// The store is not what it was: it was emptied, or another server answers now, or others began a new epoch.
    Fenced(String),
    Done {
        now_ms: i64,
        is_open: bool,
        /// The last change of a grant or an override.
        amended: i64,
        answers: Vec<Told>,
    },
}

/// What the store says of one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Leased {
        lease: i64,
        seen: Seen,
        is_tight: bool,
    },
    /// By the store's clock the period is not the one of now.
    Over,
    /// A later operation was there before.
    Stale,
}

/// A grant or an override that is brought to the store.
#[derive(Debug)]
pub(super) struct Put {
    pub id: Arc<str>,
    /// The change that this node knows it by; 0 = none.
    pub known: i64,
    /// Empty = it is forgotten.
    pub text: String,
}

/// What became of it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    /// Somebody changed it meanwhile,
    Other,
    /// or had it forgotten.
    Gone,
    Full,
}

#[derive(Debug)]
pub(super) enum Amended {
    Fenced(String),
    Done {
        /// Of all changes the last,
        last: i64,
        /// and the last of those that are told here.
        upto: i64,
        outcomes: Vec<Outcome>,
        changed: Vec<(i64, String)>,
    },
}

impl Line {
    pub(super) fn new(setup: &Setup) -> Result<Line, String> {
        let Setup { address, password, ca, node, lease, trusts_store, .. } = setup;
        let wrong = |why: &RedisError| format!("`{address}` is no address of a store: {why}");
        let mut info: ConnectionInfo = address.parse().map_err(|why| wrong(&why))?;
        if password.is_some() {
            info.redis.password = password.clone();
        }
        let client = match (ca, &info.addr) {
            (None, _) => Client::open(info).map_err(|why| wrong(&why))?,
            (Some(pem), ConnectionAddr::TcpTls { .. }) => {
                if !pem.windows(BEGIN.len()).any(|at| at == BEGIN) {
                    return Err("there is no certificate in the file of `store.ca`: it wants PEM".to_owned());
                }
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) };
                Client::build_with_tls(info, certificates)
                    .map_err(|why| format!("the certificates of `store.ca` cannot be read: {why}"))?
            }
            (Some(_), ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_)) => {
                return Err(format!("`{address}` is without TLS: write `rediss://`, or leave `store.ca` out"));
            }
        };
        let (node, lease, trusts_store) = (node.clone(), *lease, *trusts_store);
        Ok(Line {
            client,
            connection: None,
            join: Script::new(include_str!("join.lua")),
            sync: Script::new(include_str!("sync.lua")),
            amend: Script::new(include_str!("amend.lua")),
            node,
            lease,
            trusts_store,
        })
    }

    /// Leaves the connection: what may still come on it is for nobody.
    pub(super) fn leave(&mut self) {
        self.connection = None;
    }

    /// Connects, and asks whether the store may be trusted.
    pub(super) async fn look(&mut self) -> Result<(), Fault> {
        self.leave();
        let connected = timeout(CONNECT_MAX, async {
            let config =
                AsyncConnectionConfig::new().set_connection_timeout(CONNECT_MAX).set_response_timeout(CONNECT_MAX);
            let mut connection =
                self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(broken)?;
            safety::check(&mut connection, self.trusts_store).await?;
            Ok(connection)
        });
        self.connection = Some(connected.await.map_err(|_| Fault::Slow)??);
        Ok(())
    }

    /// Connects anew and joins the epoch; `fresh` names a new one.
    pub(super) async fn join(&mut self, fresh: &str) -> Result<Joined, Fault> {
        self.look().await?;
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        let mut call = self.join.prepare_invoke();
        call.key(EPOCH).key(MEMBERS).arg(&self.node).arg(self.lease.as_millis() as u64).arg(fresh);
        let joined: (String, i64, i64, i64) =
            timeout(WAIT_MAX, call.invoke_async(connection)).await.map_err(|_| Fault::Slow)?.map_err(broken)?;
        let (epoch, number, now_ms, opens_in_ms) = joined;
        Ok(Joined { epoch, number, now_ms, opens_in_ms })
    }

    /// Tells the store of these scopes, and hears of them. `asks` are keys with what is told of each, and its number.
    pub(super) async fn sync(
        &mut self,
        epoch: &str,
        asks: &[(&str, i64, &Ask)],
        telling: Telling,
    ) -> Result<Synced, Fault> {
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        let mut call = self.sync.prepare_invoke();
        call.key(EPOCH).key(MEMBERS);
        for (key, ..) in asks {
            call.key(format!("{SCOPES}:{key}"));
        }
        call.arg(epoch).arg(&self.node).arg(self.lease.as_millis() as u64).arg(telling.name());
        for (_, number, ask) in asks {
            call.arg(*number).arg(ask.frame.kind.letter()).arg(ask.frame.from).arg(ask.frame.to);
            call.arg(ask.limit).arg(ask.used).arg(ask.floor).arg(ask.min).arg(ask.want).arg(ask.ahead).arg(ask.step);
            call.arg(u8::from(ask.is_fresh)).arg(ask.window).arg(&*ask.others);
            call.arg(ask.adjustment.map_or_else(String::new, |(id, delta)| format!("{id:032x}:{delta}")));
        }
        let answered = timeout(WAIT_MAX, call.invoke_async::<Value>(connection)).await;
        read(answered.map_err(|_| Fault::Slow)?.map_err(broken)?, asks.len())
    }

    /// Brings grants and overrides to the store, which takes `most`, and reads those that changed `since`.
    pub(super) async fn amend(&mut self, epoch: &str, since: i64, most: usize, puts: &[Put]) -> Result<Amended, Fault> {
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        let mut call = self.amend.prepare_invoke();
        call.key(EPOCH).key(NUMBERS).key(AMENDMENTS).arg(epoch).arg(since).arg(most).arg(READ_MAX);
        for put in puts {
            call.arg(&*put.id).arg(put.known).arg(&put.text);
        }
        let answered = timeout(WAIT_MAX, call.invoke_async::<Value>(connection)).await;
        amended(answered.map_err(|_| Fault::Slow)?.map_err(broken)?, puts.len())
    }
}

fn odd() -> Fault {
    Fault::Broken("its answer cannot be understood".to_owned())
}

fn amended(answer: Value, wanted: usize) -> Result<Amended, Fault> {
    let Value::Array(parts) = answer else { return Err(odd()) };
    match (parts.first().and_then(text), &parts[..]) {
        (Some("ok"), [_, Value::Int(last), Value::Int(upto), Value::Array(outcomes), Value::Array(changed)]) => {
            let outcome = |value: &Value| match text(value)? {
                "taken" => Some(Outcome::Taken),
                "other" => Some(Outcome::Other),
                "gone" => Some(Outcome::Gone),
                "full" => Some(Outcome::Full),
                _ => None,
            };
            let change = |value: &Value| {
                let Value::Array(parts) = value else { return None };
                let [Value::Int(number), said] = &parts[..] else { return None };
                Some((*number, text(said)?.to_owned()))
            };
            let outcomes: Option<Vec<_>> = outcomes.iter().map(outcome).collect();
            let changed: Option<Vec<_>> = changed.iter().map(change).collect();
            match (outcomes, changed) {
                (Some(outcomes), Some(changed)) if outcomes.len() == wanted => {
                    Ok(Amended::Done { last: *last, upto: *upto, outcomes, changed })
                }
                (_, _) => Err(odd()),
            }
        }
        (Some(why), [_]) => Ok(Amended::Fenced(why.to_owned())),
        _ => Err(odd()),
    }
}

fn not_connected() -> Fault {
    Fault::Broken("it is not connected".to_owned())
}

fn read(answer: Value, wanted: usize) -> Result<Synced, Fault> {
    let Value::Array(parts) = answer else { return Err(odd()) };
    match (parts.first().and_then(text), &parts[..]) {
        (Some("ok"), [_, Value::Int(now_ms), Value::Int(is_open), Value::Int(amended), scopes @ ..]) => {
            let answers = scopes.iter().map(|scope| told(scope).ok_or_else(odd)).collect::<Result<Vec<_>, _>>()?;
            match answers.len() == wanted {
                true => Ok(Synced::Done { now_ms: *now_ms, is_open: *is_open == 1, amended: *amended, answers }),
                false => Err(odd()),
            }
        }
        (Some(why), [_]) => Ok(Synced::Fenced(why.to_owned())),
        _ => Err(odd()),
    }
}

fn told(scope: &Value) -> Option<Told> {
    let Value::Array(parts) = scope else { return None };
    match (text(parts.first()?)?, &parts[1..]) {
        ("ok", [Value::Int(lease), Value::Int(used), Value::Int(others), Value::Int(tight), shares]) => {
            let seen = Seen { used: *used, others: *others, shares: text(shares)?.into() };
            Some(Told::Leased { lease: *lease, seen, is_tight: *tight == 1 })
        }
        ("over", []) => Some(Told::Over),
        ("stale", []) => Some(Told::Stale),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

//! `tollgate route why`: where a request would go and why, by the code that decides calls. Nothing is sent or spent.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate_core::contract::Dialect;
use tollgate_core::contract::meta::Declared;
use tollgate_core::contract::refusal::Refusal;
use tollgate_core::dialects::paths::Place;
use tollgate_core::evidence::intent::Intent;
use tollgate_core::evidence::receipt::Receipt;
use tollgate_core::identity::certificate::Revoked;
use tollgate_core::identity::key::{self, Pepper};
use tollgate_core::identity::record::KeyRecord;
use tollgate_core::identity::runtime::RuntimeKeys;
use tollgate_core::limits::claim::{Claim, HoldId};
use tollgate_core::pipeline::admit::admit;
use tollgate_core::pipeline::arrive::{self, Arrival, Head};
use tollgate_core::pipeline::body::Bodies;
use tollgate_core::pipeline::identify::identify;
use tollgate_core::pipeline::plan::plan;
use tollgate_core::pipeline::settle::After;
use tollgate_core::pipeline::{Bounds, Core};
use tollgate_core::policy::revision::Revision;
use tollgate_core::policy::tree::Tree;
use tollgate_core::ports::{Later, Policies, Trail, Unkept};
use tollgate_providers::Keeping;
use tollgate_store::ledger::MemoryLedger;
use tollgate_store::shelf::MemoryShelf;

use super::{Ended, Places, diagnostics, explain, reason};
use crate::policies::{self, Checkout};
use crate::{start, state, upstreams};

/// A request read from a file is no larger than one that is called with.
const BODY_BYTES_MAX: u64 = 32 << 20;

#[derive(Subcommand)]
pub enum Route {
    /// Where this request would go, and why; nothing is sent
    Why(Why),
}

#[derive(Args)]
pub struct Why {
    #[command(flatten)]
    request: Request,
    #[command(flatten)]
    places: Places,
    /// What the receipt would hold
    #[arg(long)]
    json: bool,
}

/// A request that is not sent.
#[derive(Args)]
pub struct Request {
    /// The request's body, as the application sends it
    #[arg(short, long, value_name = "FILE")]
    pub input: PathBuf,
    #[command(flatten)]
    pub with: With,
}

/// What comes with its body.
#[derive(Args, Clone)]
pub struct With {
    /// A header of the request, 'tollgate-use-case: support'; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Who calls: TENANT, TENANT/APP or TENANT/APP/USER
    #[arg(long = "as", value_name = "WHO", default_value = "default")]
    pub who: String,
}

/// How a request would be decided.
pub struct Decided {
    pub receipt: Box<Receipt>,
    pub refused: Option<Refusal>,
    /// What it would claim of limits; none where it would not come so far.
    pub claims: Vec<Claim>,
    pub revision: Arc<Revision>,
    pub tree: Tree,
    /// Where they were read, and whether the gateway decides by others.
    pub by: String,
}

pub fn run(verb: &Route) -> Result<(), Ended> {
    let Route::Why(args) = verb;
    let pepper = Pepper::new(state::random().map_err(Ended::failed)?);
    let Decided { receipt, refused, revision, tree, by, .. } = decide(&args.request, &args.places, None, pepper)?;
    if args.json {
        println!("{}", serde_json::to_string(&receipt).map_err(|why| Ended::failed(why.to_string()))?);
        return Ok(());
    }
    println!("decided by {by}");
    print!("{}{}", explain::decision(&receipt, Some(&tree)), reason::of_revision(&revision, &receipt));
    match refused {
        None => println!("it would be sent; `tollgate limits why` asks budgets too"),
        Some(refusal) => println!("it would be refused: {} ({})", refusal.reason, refusal.code),
    }
    Ok(())
}

/// The first stages of a call, as for any other. With a ledger it is held for there, as far as that has room.
pub fn decide(
    request: &Request,
    places: &Places,
    ledger: Option<Arc<MemoryLedger>>,
    pepper: Pepper,
) -> Result<Decided, Ended> {
    let config = start::config(places)?;
    let (repository, other) = policies::as_served(&config, places, Checkout::Files)?;
    let builtin = policies::builtin();
    let loaded = repository.load(&builtin);
    let Some(revision) = loaded.revision else {
        diagnostics::print(&loaded.findings, &[&repository.tree, &builtin]);
        return Err(Ended::failed("the policies do not load, so nothing is decided by them"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Ended::failed(format!("cannot start: {why}")))?;
    let (receipt, refused, claims) = runtime.block_on(async {
        let (providers, _) = upstreams::providers(&config, &Keeping::default()).await?;
        let holds = ledger.is_some();
        let core = Arc::new(core(revision.clone(), providers, ledger.unwrap_or_default(), pepper));
        Ok::<_, Ended>(decided(&core, arrival(&core, request)?, holds).await)
    })?;
    let mut by = format!("revision {} of {}", revision.id.short(), repository.described);
    if let Some(other) = other {
        by = format!("{by}; {other}");
    }
    Ok(Decided { receipt, refused, claims, revision, tree: repository.tree, by })
}

async fn decided(core: &Arc<Core>, arrival: Arrival, holds: bool) -> (Box<Receipt>, Option<Refusal>, Vec<Claim>) {
    let mut receipt = Box::new(Receipt::open(arrival.opening()));
    let mut after = After::new(core, &arrival);
    let planned = match identify(core, Box::new(arrival), &mut receipt, &mut after).await {
        Ok(call) => plan(core, call, &mut receipt).await,
        Err(refusal) => Err(refusal),
    };
    match planned {
        Err(refusal) => (receipt, Some(refusal), Vec::new()),
        Ok(planned) if holds => {
            let claims = planned.claims.clone();
            let refused = admit(core, planned, &mut receipt, &mut after).await.err();
            (receipt, refused, claims)
        }
        Ok(planned) => (receipt, None, planned.claims),
    }
}

/// One revision, for ever.
struct One(Arc<Revision>);

impl Policies for One {
    fn pin(&self) -> Arc<Revision> {
        self.0.clone()
    }
}

/// No call ends here, so no receipt is kept.
struct Nowhere;

impl Trail for Nowhere {
    fn intend<'a>(&'a self, _intent: &'a Intent) -> Later<'a, Result<(), Unkept>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn lost(&self, _id: HoldId, _now_ms: i64) {}

    fn record(&self, _receipt: Box<Receipt>) -> Later<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn core(
    revision: Arc<Revision>,
    providers: tollgate_providers::Providers,
    ledger: Arc<MemoryLedger>,
    pepper: Pepper,
) -> Core {
    Core {
        policies: Arc::new(One(revision)),
        upstream: Arc::new(providers),
        ledger,
        shelf: Arc::new(MemoryShelf::default()),
        trail: Arc::new(Nowhere),
        clock: start::clock(),
        pepper,
        keys: RuntimeKeys::default(),
        revoked: Revoked::default(),
        tokens: None,
        bodies: Bodies::new(usize::try_from(BODY_BYTES_MAX).unwrap_or(usize::MAX)),
        bounds: Bounds::default(),
    }
}

fn arrival(core: &Core, args: &Request) -> Result<Arrival, Ended> {
    let wrong = |why: String| Ended::usage(format!("`{}`: {why}", args.input.display()));
    let bytes = std::fs::metadata(&args.input).map_err(|why| wrong(why.to_string()))?.len();
    if bytes > BODY_BYTES_MAX {
        return Err(wrong(format!("it has {bytes} bytes, a body has at most {BODY_BYTES_MAX}")));
    }
    let body = Bytes::from(std::fs::read(&args.input).map_err(|why| wrong(why.to_string()))?);
    let headers = headers(core, &args.with)?;
    let (declared, refused) = match Declared::from_headers(&headers) {
        Ok(declared) => (declared, None),
        Err(refusal) => (Declared::default(), Some(refusal)),
    };
    let time_ms = (core.clock.now_ms)();
    Ok(Arrival {
        call_id: "this".into(),
        hold_id: 0,
        request_id: "this".into(),
        time_ms,
        started_ms: (core.clock.steady_ms)(),
        dialect: dialect(&body),
        asked: None,
        stream: None,
        place: Place::default(),
        revision: core.policies.pin(),
        beside: None,
        wrong: refused,
        declared,
        credential: arrive::credential(&headers, None).unwrap_or_default(),
        certificate: None,
        content_length: Some(body.len() as u64),
        head: Head { headers, query: None, address: "127.0.0.1".into(), address_sealed: "".into() },
        body: Box::pin(futures_util::stream::once(std::future::ready(Ok(body)))),
    })
}

/// The caller's headers, with a key that is made for this one question.
fn headers(core: &Core, args: &With) -> Result<HeaderMap, Ended> {
    let mut headers = HeaderMap::new();
    for text in &args.headers {
        let parsed = text.split_once(':').and_then(|(name, value)| {
            let name: HeaderName = name.trim().parse().ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let Some((name, value)) = parsed else {
            return Err(Ended::usage(format!("`{text}` is no header: write 'tollgate-use-case: support'")));
        };
        headers.insert(name, value);
    }
    let mut who = args.who.splitn(3, '/').map(Arc::<str>::from);
    let mut next = || who.next().unwrap_or_default();
    let (id, text) = key::mint(&state::random().map_err(Ended::failed)?);
    core.keys.put(KeyRecord {
        id: id.as_str().into(),
        hash: core.pepper.hash(&text),
        tenant: next(),
        app: next(),
        user: next(),
        ..KeyRecord::default()
    });
    let bearer = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|why| Ended::failed(why.to_string()))?;
    headers.insert(http::header::AUTHORIZATION, bearer);
    Ok(headers)
}

/// What has `input` and no `messages` is for embeddings.
fn dialect(body: &[u8]) -> Dialect {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    match body.get("input").is_some() && body.get("messages").is_none() {
        true => Dialect::OpenaiEmbeddings,
        false => Dialect::OpenaiChat,
    }
}

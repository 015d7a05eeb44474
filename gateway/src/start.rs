//! From config to a running gateway: everything is made here once, and taken down in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tollgate_core::identity::certificate::Revoked;
use tollgate_core::identity::key::{self, Pepper};
use tollgate_core::identity::record::KeyRecord;
use tollgate_core::identity::runtime::RuntimeKeys;
use tollgate_core::pipeline::body::Bodies;
use tollgate_core::pipeline::{Bounds, Clock, Core};
use tollgate_core::ports::{Ledger, Trail as _};
use tollgate_policy_runtime::reload::{Active, Event, Setup, StartError};
use tollgate_policy_runtime::source::SourceError;
use tollgate_policy_runtime::switches::Switches;
use tollgate_policy_runtime::watch::Watch;
use tollgate_policy_wasm::{Folder, Wasm};
use tollgate_providers::{Providers, Secret, sim};
use tollgate_store::acts::Acts;
use tollgate_store::ledger::JournalLedger;
use tollgate_store::shelf::KeptShelf;
use tollgate_store::trail::{self, FileTrail};

use crate::accept::{DRAIN_MAX, accept};
use crate::admin::{self, Admin};
use crate::alerts::Alerts;
use crate::api::Gate;
use crate::api::ids::Ids;
use crate::budgets::Budgets;
use crate::cli::{Ended, Places, Serve};
use crate::config::{self, Config, ConfigError};
use crate::doctor;
use crate::keys::Keys;
use crate::metrics::{Counted, Metrics};
use crate::operators::Operators;
use crate::policies::{self, Checkout, Named};
use crate::secrets;
use crate::shared::Limits;
use crate::signals;
use crate::state::{self, State};
use crate::tls::doors::Doors;
use crate::tls::listener::{OperatorsPort, Visitor};
use crate::tokens;
use crate::upstreams;

/// So long the trail and the journal may take for what they still have.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// So long the webhook may take for alerts that wait.
const ALERTS_MAX: Duration = Duration::from_secs(5);
/// The config file that is taken where none is named.
const CONFIG_FILE: &str = "tollgate.yaml";
/// The tenant of the one-time key.
const ONE_TIME_TENANT: &str = "default";

/// Logs to stderr; `TOLLGATE_LOG` sets what (`info` where it is not set).
pub fn log() {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_env("TOLLGATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colour = crate::cli::colour(std::io::stderr().is_terminal());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).try_init();
}

/// The config that the places name, or the defaults.
pub fn config(places: &Places) -> Result<Config, Ended> {
    let here = PathBuf::from(CONFIG_FILE);
    let path = match &places.config {
        Some(path) => path.clone(),
        None if here.is_file() => here,
        None => return Ok(Config::default()),
    };
    config::load(&path).map_err(|error| match error {
        ConfigError::Unreadable { .. } => Ended::usage(error.to_string()),
        ConfigError::Wrong { path, source_text, line, column, why } => {
            let finding =
                tollgate_policy_runtime::diagnostic::Diagnostic::error("TG0001", &path.display().to_string(), why);
            let text = crate::cli::render(&finding.at(line, column), Some(source_text));
            Ended::usage(format!("the config is wrong\n{text}"))
        }
    })
}

/// Runs until a signal.
pub async fn serve(config: Config, args: &Serve) -> Result<(), Ended> {
    let state = State::open(args.places.state.as_deref().or(config.store.path.as_deref())).map_err(Ended::usage)?;
    let _lock = state.lock().map_err(Ended::usage)?;
    let pepper = state.pepper().map_err(Ended::usage)?;
    let metrics = Arc::new(Metrics::new());
    let hangups = signals::hangups().map_err(Ended::failed)?;
    let (active, watch) = policies(&config, &args.places, &state, &pepper, &metrics)?;
    // What is wrong in the config is told before anything is opened for it.
    upstreams::configured(&config)?;
    let now_ms = clock().now_ms;
    let limits = Limits::open(&config.store, &state, &metrics, now_ms.clone()).await?;
    let ledger = limits.journal.clone();
    let alerts = Alerts::start(&config.alerts, ledger.keyed(), metrics.clone(), now_ms.clone());
    let alerts = Arc::new(alerts.map_err(Ended::usage)?);
    let keeping = secrets::keeping(&pepper, metrics.clone(), alerts.clone());
    let (providers, found) = upstreams::kept_fresh(&config, &keeping, hangups.clone()).await?;
    let (trail, counted) = open_trail(&config, &state, &ledger, (&metrics, &alerts), now_ms()).await?;
    let shelf = Arc::new(KeptShelf::open(ledger.keyed(), now_ms.clone()).map_err(|why| Ended::usage(why.to_string()))?);
    let kept = (limits.ledger.clone(), shelf.clone());
    let core = Arc::new(core(&config, active.clone(), providers.clone(), kept, counted, pepper)?);
    let keys = Arc::new(Keys::open(core.clone(), &state.keys()).map_err(|why| Ended::usage(why.to_string()))?);
    let acts = Acts::open(state.trail())
        .map_err(|why| Ended::usage(format!("cannot write the trail `{}`: {why}", state.trail().display())))?;
    let one_time = one_time_key(&core)?;
    let doors = Doors::open(&config, &core, &metrics).map_err(Ended::usage)?;
    let callers = listen(args.listen.unwrap_or(config.listen.callers), "callers").await?;
    let operators_at = listen(args.operators.unwrap_or(config.listen.operators), "operators").await?;
    // Before anybody is told where the operators' port is.
    let token = state.operator_token().map_err(Ended::usage)?.into();
    greet(&callers, &operators_at, &doors, one_time.as_deref(), &found, &core);

    let gate = gate(&config, &core, &metrics)?;
    let operators = Operators { metrics, policies: active.clone(), providers: found.into(), ledger: ledger.clone() };
    let admin = Admin {
        operators,
        policies: active,
        asker: watch.asker(),
        bell: watch.bell(),
        token,
        webhook: policies_webhook(&config)?,
        core: core.clone(),
        budgets: Arc::new(Budgets::new(core.clone())),
        keys,
        acts: Arc::new(acts),
        doctor: doctor::Live::new(&state, providers, alerts.clone(), ledger.clone(), trail.clone()),
    };
    let operators = admin::router(admin).into_make_service_with_connect_info::<Visitor>();
    doors.watch(hangups);
    let port = OperatorsPort::open(operators_at, doors.operators)
        .map_err(|why| Ended::failed(format!("the operators' port cannot be used: {why}")))?;
    let side = tokio::spawn(async move { axum::serve(port, operators).await });
    let drained = accept(callers, gate, config.edge.connections_max.get(), doors.callers).await;
    side.abort();
    watch.stop();
    if !alerts.close(ALERTS_MAX).await {
        tracing::warn!("alerts were left: the webhook did not take them in time, the next start tries again");
    }
    end(drained, &shelf, &trail, &limits, now_ms()).await
}

/// After the last call: everything that is kept is on disk.
async fn end(drained: bool, shelf: &KeptShelf, trail: &FileTrail, limits: &Limits, now_ms: i64) -> Result<(), Ended> {
    if !shelf.close(CLOSE_MAX).await {
        tracing::error!("the last idempotency records were not written: their keys are unknown to the next start");
    }
    // The journal last: it vouches for what the trail has.
    match (drained, trail.close(CLOSE_MAX).await, limits.close(CLOSE_MAX, now_ms).await) {
        (true, true, true) => Ok(()),
        (false, ..) => {
            Err(Ended::failed(format!("calls were cut: they had not ended {} s after the signal", DRAIN_MAX.as_secs())))
        }
        (true, false, _) => Err(Ended::failed("receipts were not written: the trail's disk did not take them in time")),
        (true, true, false) => Err(Ended::failed("the journal's disk did not confirm the last records in time")),
    }
}

/// By which a host of repositories shows that a push is its own.
fn policies_webhook(config: &Config) -> Result<Option<Secret>, Ended> {
    let read = config.policies.webhook.as_ref().map(|secret| secret.source().read()).transpose();
    read.map_err(|why| Ended::usage(format!("policies.webhook: {why}")))
}

/// The trail; calls that a gateway before this one left behind are recorded in it, as unknown.
async fn open_trail(
    config: &Config,
    state: &State,
    ledger: &JournalLedger,
    (metrics, alerts): (&Arc<Metrics>, &Arc<Alerts>),
    now_ms: i64,
) -> Result<(Arc<FileTrail>, Counted), Ended> {
    let told = |why| Ended::usage(format!("cannot write the trail `{}`: {why}", state.trail().display()));
    let unknown = trail::take_over(&state.trail(), &ledger.calls(), now_ms).map_err(told)?;
    let config::Trail { file_bytes_max, durability } = &config.trail;
    let trail = FileTrail::open(state.trail(), file_bytes_max.get(), ledger.calls(), *durability).map_err(told)?;
    let trail = Arc::new(trail);
    let counted = Counted { trail: trail.clone(), metrics: metrics.clone(), alerts: alerts.clone() };
    for receipt in unknown {
        metrics.in_flight.inc();
        counted.record(Box::new(receipt)).await;
    }
    Ok((trail, counted))
}

fn gate(config: &Config, core: &Arc<Core>, metrics: &Arc<Metrics>) -> Result<Arc<Gate>, Ended> {
    Ok(Arc::new(Gate {
        core: core.clone(),
        metrics: metrics.clone(),
        ids: Ids::new(state::random().map_err(Ended::failed)?),
        body_idle: Duration::from_millis(config.edge.body_idle_ms.get()),
    }))
}

/// What calls need, made once.
fn core(
    config: &Config,
    policies: Arc<Active>,
    providers: Arc<Providers>,
    (ledger, shelf): (Arc<dyn Ledger>, Arc<KeptShelf>),
    trail: Counted,
    pepper: Pepper,
) -> Result<Core, Ended> {
    Ok(Core {
        policies,
        upstream: providers,
        ledger,
        shelf,
        trail: Arc::new(trail),
        clock: clock(),
        pepper,
        keys: RuntimeKeys::default(),
        revoked: Revoked::default(),
        tokens: tokens::issued(&config.identity).map_err(Ended::usage)?,
        bodies: Bodies::new(config.edge.bodies_bytes_max.get()),
        bounds: Bounds {
            body_bytes_max: config.edge.body_bytes_max.get(),
            deadline_ms: config.edge.deadline_ms.get(),
            attempts_max: config.edge.attempts_max.max(1),
            ..Bounds::default()
        },
    })
}

pub fn clock() -> Clock {
    let steady = Instant::now();
    Clock {
        now_ms: Arc::new(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |d| d.as_millis() as i64)
        }),
        steady_ms: Arc::new(move || steady.elapsed().as_millis() as u64),
    }
}

/// The policies and who watches them; at least the last good revision decides before the first call comes.
fn policies(
    config: &Config,
    places: &Places,
    state: &State,
    pepper: &Pepper,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Active>, Watch), Ended> {
    let accepted = policies::Accepted::default();
    let Named { mut source, pause, .. } =
        policies::source(config, places, &policies::mirror(&state.path), &accepted, Checkout::Commits)?;
    let (counted, clock) = (metrics.clone(), clock());
    let now_ms = clock.now_ms.clone();
    let setup = Setup {
        builtin: Arc::new(policies::builtin()),
        pepper: Some(pepper.id().into()),
        wasm: Some(Arc::new(wasm(state, pepper))),
        clock: clock.now_ms,
        switches: Arc::new(Switches::open(Some(state.revisions().join("lowered.json")))),
        kept: Some(state.revisions()),
        on_event: Some(Box::new(move |event| match event {
            Event::Accepted { id, .. } => {
                *accepted.lock().expect("no code panics while it holds the commit") = Some(id.to_string());
                counted.loaded(true, now_ms() / 1_000);
            }
            Event::Rejected { .. } => counted.loaded(false, 0),
            Event::SourceFailed { error } => counted.source_failed(matches!(error, SourceError::Unverified(_))),
            _ => {}
        })),
    };
    let active = Active::start(source.as_mut(), setup).map_err(|why| {
        if let StartError::Rejected { findings, .. } = &why {
            let tree = policies::once(config, places, Checkout::Commits).map(|r| r.tree).ok();
            let builtin = policies::builtin();
            let trees: Vec<_> = tree.iter().chain([&builtin]).collect();
            crate::cli::print(findings, &trees);
        }
        Ended::usage(why.to_string())
    })?;
    let watch = Watch::begin(active.clone(), source, pause)
        .map_err(|why| Ended::failed(format!("the policies cannot be watched: {why}")))?;
    Ok((active, watch))
}

/// The engine of components. Without a folder for machine code it compiles anew at each start.
fn wasm(state: &State, pepper: &Pepper) -> Wasm {
    let secret = pepper.hash("machine code of policies");
    let folder = Folder::open(&state.machine_code(), &secret);
    Wasm::new(folder.map_err(|why| tracing::warn!("{why}")).ok())
}

/// Without a table of tenants there is one key, made anew at each start; with one, only the table's keys count.
fn one_time_key(core: &Core) -> Result<Option<String>, Ended> {
    if core.policies.pin().tenants.present {
        return Ok(None);
    }
    let (id, text) = key::mint(&state::random().map_err(Ended::failed)?);
    core.keys.put(KeyRecord {
        id: id.as_str().into(),
        hash: core.pepper.hash(&text),
        tenant: ONE_TIME_TENANT.into(),
        ..KeyRecord::default()
    });
    Ok(Some(text))
}

async fn listen(address: SocketAddr, whose: &str) -> Result<TcpListener, Ended> {
    TcpListener::bind(address).await.map_err(|why| {
        Ended::usage(format!(
            "cannot listen on {address} for {whose}: {why}; choose another with `--{}`",
            match whose {
                "callers" => "listen",
                _ => "operators",
            }
        ))
    })
}

/// Says where the gateway is and how to make the first call. The line names `sim`: it never spends anybody's key.
fn greet(
    callers: &TcpListener,
    operators: &TcpListener,
    doors: &Doors,
    key: Option<&str>,
    found: &[String],
    core: &Core,
) {
    let address = |l: &TcpListener| l.local_addr().map_or_else(|_| "?".to_owned(), |a| a.to_string());
    let [callers_scheme, operators_scheme] = doors.schemes();
    let (at, operators) =
        (format!("{callers_scheme}://{}", address(callers)), format!("{operators_scheme}://{}", address(operators)));
    println!("tollgate {} at {at}/v1 (operators: {operators})", env!("CARGO_PKG_VERSION"));
    println!("providers: {}", found.join(", "));
    println!("policies: revision {}", core.policies.pin().id.short());
    let Some(key) = key else {
        println!("keys: those of tenants.yaml, and those of `tollgate key`");
        return;
    };
    println!("key: {key}   (one-time: it ends with this process)");
    if found.iter().any(|name| name == sim::NAME) {
        println!(
            "\nfirst call:\n  curl {at}/v1/chat/completions -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\\n    -d '{{\"model\": \"sim/sim-1\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\nwhy it went there:\n  tollgate explain"
        );
    }
}

//! From config to a running gateway: everything is made here once, and taken down in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tollgate_core::evidence::receipt::Receipt;
use tollgate_core::identity::key::{self, Pepper};
use tollgate_core::identity::record::KeyRecord;
use tollgate_core::identity::runtime::RuntimeKeys;
use tollgate_core::pipeline::body::Bodies;
use tollgate_core::pipeline::{Bounds, Clock, Core};
use tollgate_core::ports::Trail as _;
use tollgate_policy_runtime::reload::{Active, Event, Setup, StartError};
use tollgate_policy_runtime::source::SourceError;
use tollgate_policy_runtime::switches::Switches;
use tollgate_policy_runtime::watch::Watch;
use tollgate_policy_wasm::{Folder, Wasm};
use tollgate_providers::{Auth, Provider, Providers, Timers, clouds, known, sim};
use tollgate_store::acts::Acts;
use tollgate_store::keys::KeyFile;
use tollgate_store::ledger::JournalLedger;
use tollgate_store::shelf::KeptShelf;
use tollgate_store::trail::{self, FileTrail};

use crate::accept::{DRAIN_MAX, accept};
use crate::admin::{self, Admin};
use crate::api::Gate;
use crate::api::ids::Ids;
use crate::cli::{Ended, Places, Serve};
use crate::config::{self, Config, ConfigError};
use crate::keys::Keys;
use crate::metrics::{Counted, Metrics};
use crate::operators::Operators;
use crate::policies::{self, Checkout, Named};
use crate::state::{self, State};
use crate::tokens;

/// So long the trail and the journal may take for what they still have.
const CLOSE_MAX: Duration = Duration::from_secs(10);
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
    let (active, watch) = policies(&config, &args.places, &state, &pepper, &metrics)?;
    let (providers, found) = providers(&config).await?;
    let now_ms = clock().now_ms;
    let ledger = state.ledger(now_ms.clone()).await.map_err(Ended::usage)?;
    let (trail, unknown) = open_trail(&config, &state, &ledger, now_ms())?;
    let counted = Counted { trail: trail.clone(), metrics: metrics.clone() };
    for receipt in unknown {
        metrics.in_flight.inc();
        counted.record(Box::new(receipt)).await;
    }
    let shelf = Arc::new(KeptShelf::open(ledger.keyed(), now_ms.clone()).map_err(|why| Ended::usage(why.to_string()))?);
    let kept = (ledger.clone(), shelf.clone());
    let core = Arc::new(core(&config, active.clone(), providers, kept, counted, pepper)?);
    let kept = KeyFile::open(&state.keys(), core.pepper.id()).map_err(|why| Ended::usage(why.to_string()))?;
    let keys = Arc::new(Keys::open(core.clone(), kept));
    let acts = Acts::open(state.trail())
        .map_err(|why| Ended::usage(format!("cannot write the trail `{}`: {why}", state.trail().display())))?;
    let one_time = one_time_key(&core)?;
    let callers = listen(args.listen.unwrap_or(config.listen.callers), "callers").await?;
    let operators_at = listen(args.operators.unwrap_or(config.listen.operators), "operators").await?;
    // Before anybody is told where the operators' port is.
    let token = state.operator_token().map_err(Ended::usage)?.into();
    greet(&callers, &operators_at, one_time.as_deref(), &found, &core);

    let gate = Arc::new(Gate {
        core: core.clone(),
        metrics: metrics.clone(),
        ids: Ids::new(state::random().map_err(Ended::failed)?),
        body_idle: Duration::from_millis(config.edge.body_idle_ms.get()),
    });
    let webhook = config.policies.webhook.as_ref().map(|secret| secret.source().read()).transpose();
    let webhook = webhook.map_err(|why| Ended::usage(format!("policies.webhook: {why}")))?;
    let operators = Operators { metrics, policies: active.clone(), providers: found.into() };
    let admin = Admin {
        operators,
        policies: active,
        asker: watch.asker(),
        bell: watch.bell(),
        token,
        webhook,
        core: core.clone(),
        keys,
        acts: Arc::new(acts),
    };
    let operators = admin::router(admin).into_make_service_with_connect_info::<SocketAddr>();
    let side = tokio::spawn(async move { axum::serve(operators_at, operators).await });
    let drained = accept(callers, gate, config.edge.connections_max.get()).await;
    side.abort();
    watch.stop();
    end(drained, &shelf, &trail, &ledger, now_ms()).await
}

/// After the last call: everything that is kept is on disk.
async fn end(
    drained: bool,
    shelf: &KeptShelf,
    trail: &FileTrail,
    ledger: &JournalLedger,
    now_ms: i64,
) -> Result<(), Ended> {
    if !shelf.close(CLOSE_MAX).await {
        tracing::error!("the last idempotency records were not written: their keys are unknown to the next start");
    }
    // The journal last: it vouches for what the trail has.
    match (drained, trail.close(CLOSE_MAX).await, ledger.close(CLOSE_MAX, now_ms).await) {
        (true, true, true) => Ok(()),
        (false, ..) => {
            Err(Ended::failed(format!("calls were cut: they had not ended {} s after the signal", DRAIN_MAX.as_secs())))
        }
        (true, false, _) => Err(Ended::failed("receipts were not written: the trail's disk did not take them in time")),
        (true, true, false) => Err(Ended::failed("the journal's disk did not confirm the last records in time")),
    }
}

/// The trail, and receipts of calls that a gateway before this one left behind.
fn open_trail(
    config: &Config,
    state: &State,
    ledger: &JournalLedger,
    now_ms: i64,
) -> Result<(Arc<FileTrail>, Vec<Receipt>), Ended> {
    let told = |why| Ended::usage(format!("cannot write the trail `{}`: {why}", state.trail().display()));
    let unknown = trail::take_over(&state.trail(), &ledger.calls(), now_ms).map_err(told)?;
    let config::Trail { file_bytes_max, durability } = &config.trail;
    let trail = FileTrail::open(state.trail(), file_bytes_max.get(), ledger.calls(), *durability).map_err(told)?;
    Ok((Arc::new(trail), unknown))
}

/// What calls need, made once.
fn core(
    config: &Config,
    policies: Arc<Active>,
    providers: Providers,
    (ledger, shelf): (Arc<JournalLedger>, Arc<KeptShelf>),
    trail: Counted,
    pepper: Pepper,
) -> Result<Core, Ended> {
    Ok(Core {
        policies,
        upstream: Arc::new(providers),
        ledger,
        shelf,
        trail: Arc::new(trail),
        clock: clock(),
        pepper,
        keys: RuntimeKeys::default(),
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

/// Providers of the config, else those whose keys the environment holds; and whether a `sim` of our own joins them.
pub fn configured(config: &Config) -> Result<(Vec<Provider>, bool), Ended> {
    let environment = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let Some(table) = &config.providers else { return Ok((tollgate_providers::found(&environment), true)) };
    let mut list = Vec::new();
    let mut wants_sim = false;
    for (name, section) in table {
        wants_sim |= name == sim::NAME && section.base_url.is_none();
        if name != sim::NAME || section.base_url.is_some() {
            let provider = provider(name, section, &environment)?;
            provider.address().map_err(|why| Ended::usage(format!("providers: {why}")))?;
            list.push(provider);
        }
    }
    Ok((list, wants_sim))
}

/// All providers, ready to be called, with what was found, for people.
pub async fn providers(config: &Config) -> Result<(Providers, Vec<String>), Ended> {
    let (mut list, wants_sim) = configured(config)?;
    if wants_sim {
        list.push(own_sim().await?);
    }
    let found = list.iter().map(|p| p.name.to_string()).collect();
    let (providers, warnings) = Providers::new(list).map_err(|why| Ended::usage(format!("providers: {why}")))?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok((providers, found))
}

fn provider(
    name: &str,
    section: &config::Provider,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Provider, Ended> {
    let mut provider = match (known::named(name, environment), &section.base_url) {
        (Some(known), _) => known,
        // One that runs elsewhere takes the same scripts.
        (None, Some(url)) if name == sim::NAME => sim::provider(url),
        (None, Some(url)) => Provider::at(name, url),
        // Where it is follows from its region.
        (None, None) if section.api.as_deref().is_some_and(|api| clouds::NAMES.contains(&api)) => {
            Provider::at(name, "")
        }
        (None, None) => {
            let names: Vec<&str> = known::names().collect();
            let hint = tollgate_core::contract::nearest::hint(name, names.iter().copied());
            return Err(Ended::usage(format!("provider `{name}` is not a known one{hint}: give it a `base_url`")));
        }
    };
    if let Some(url) = &section.base_url {
        provider.base_url = url.to_string();
    }
    if let Some(kind) = &section.api {
        provider.api = tollgate_providers::api::named(kind).ok_or_else(|| {
            let known: Vec<&str> = tollgate_providers::api::names().collect();
            let hint = tollgate_core::contract::nearest::hint(kind, known.iter().copied());
            let (kind, known) = (&**kind, known.join("`, `"));
            Ended::usage(format!("providers.{name}.api: `{kind}` is no kind of API{hint} (known are `{known}`)"))
        })?;
    }
    if let Some(secret) = &section.secret {
        provider.auth = Auth::Key(secret.source());
    }
    clouds::complete(&mut provider, &section.settings(), environment)
        .map_err(|why| Ended::usage(format!("providers.{name}: {why}")))?;
    provider.unlisted = section.unlisted.unwrap_or(provider.unlisted);
    provider.default = section.default;
    let ms = |set: Option<std::num::NonZeroU64>, default: u64| set.map_or(default, std::num::NonZeroU64::get);
    provider.timers = Timers {
        connect_ms: ms(section.timers.connect_ms, provider.timers.connect_ms),
        first_byte_ms: ms(section.timers.first_byte_ms, provider.timers.first_byte_ms),
        idle_ms: ms(section.timers.idle_ms, provider.timers.idle_ms),
    };
    Ok(provider)
}

/// The scripted provider on a loopback socket of its own: reached like any other.
async fn own_sim() -> Result<Provider, Ended> {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .map_err(|why| Ended::failed(format!("cannot start the scripted provider: {why}")))?;
    let address = listener.local_addr().map_err(|why| Ended::failed(why.to_string()))?;
    tokio::spawn(sim::serve(listener, sim::SimOptions::default()));
    Ok(sim::provider(&format!("http://{address}/v1")))
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
fn greet(callers: &TcpListener, operators: &TcpListener, key: Option<&str>, found: &[String], core: &Core) {
    let address = |l: &TcpListener| l.local_addr().map_or_else(|_| "?".to_owned(), |a| a.to_string());
    let at = address(callers);
    println!("tollgate {} at http://{at}/v1 (operators: http://{})", env!("CARGO_PKG_VERSION"), address(operators));
    println!("providers: {}", found.join(", "));
    println!("policies: revision {}", core.policies.pin().id.short());
    let Some(key) = key else {
        println!("keys: those of tenants.yaml, and those of `tollgate key`");
        return;
    };
    println!("key: {key}   (one-time: it ends with this process)");
    if found.iter().any(|name| name == sim::NAME) {
        println!(
            "\nfirst call:\n  curl http://{at}/v1/chat/completions -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\\n    -d '{{\"model\": \"sim/sim-1\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\nwhy it went there:\n  tollgate explain"
        );
    }
}

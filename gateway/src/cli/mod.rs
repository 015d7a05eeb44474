//! The command line: one file per verb. Answers go to stdout, errors to stderr; no colour when piped or `NO_COLOR`.
//!
//! Exit codes: 0 ok, 1 a check failed, 2 usage or config, 3 unreachable, 141 nobody reads what is printed.

mod author;
mod budget;
mod check;
mod diagnostics;
mod doctor;
pub use diagnostics::{print, render};
mod explain;
mod forecast;
mod formats;
mod import;
mod journal;
mod key;
mod limits;
mod models;
mod operate;
mod policy;
mod reason;
mod replay;
mod report;
mod route;
mod serve;
mod sim;
mod spend;
mod steer;
pub use steer::{Operate, Steer};
mod table;
mod trail;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use trail::Trail;

/// A failed check.
pub const FAILED: u8 = 1;
/// Nobody reads what is printed: as a shell tells it of a program that was ended for that.
const UNREAD: u8 = 141;
/// Wrong usage or config.
pub const USAGE: u8 = 2;

/// Why a verb ended badly: what to say, and the exit code.
pub struct Ended {
    pub code: u8,
    /// Empty = it was said already.
    pub said: String,
}

impl Ended {
    pub fn usage(said: impl Into<String>) -> Self {
        Ended { code: USAGE, said: said.into() }
    }

    pub fn failed(said: impl Into<String>) -> Self {
        Ended { code: FAILED, said: said.into() }
    }
}

#[derive(Parser)]
#[command(
    name = "tollgate",
    version,
    about = "An AI gateway ruled by policies that live in git",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway (what `tollgate` alone does)
    Serve(Serve),
    /// Say what would be loaded: config, policies, tables, cases
    Check(Check),
    /// For policy authors; needs no server
    #[command(subcommand)]
    Policy(Policy),
    /// The targets of the catalog: what they can do, and what they cost
    Models(models::Models),
    /// Tell how one call was decided
    Explain(Explain),
    /// Where a request would go
    #[command(subcommand)]
    Route(route::Route),
    /// Decide recorded calls again, and compare
    Replay(Replay),
    /// Look for what is wrong, or soon will be: config, state, secrets, policies, journal
    Doctor(doctor::Doctor),
    /// The receipts
    #[command(subcommand)]
    Trail(Trail),
    /// Keys of callers
    #[command(subcommand)]
    Key(Key),
    /// Budgets and rates of a running gateway
    #[command(subcommand)]
    Budget(budget::Budget),
    /// Why limits said no
    #[command(subcommand)]
    Limits(limits::Limits),
    /// The scripted provider, as a server of its own
    Sim(Sim),
    /// What a shell needs to complete these words
    Completions { shell: clap_complete::Shell },
}

/// Where config, policies and state are.
#[derive(Args, Clone, Default)]
pub struct Places {
    /// The config file; `tollgate.yaml` in this folder where there is one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The policy repository: a folder, a bare repository or a URL; before the config's
    #[arg(long, value_name = "PATH_OR_URL")]
    pub policies: Option<String>,
    /// The state folder; before the config's
    #[arg(long, value_name = "DIR", env = "TOLLGATE_STATE")]
    pub state: Option<PathBuf>,
}

#[derive(Args, Clone, Default)]
pub struct Serve {
    #[command(flatten)]
    pub places: Places,
    /// The callers' address, e.g. 127.0.0.1:4000 (port 0 = any)
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// The operators' address, e.g. 127.0.0.1:4001 (port 0 = any)
    #[arg(long, value_name = "ADDRESS")]
    pub operators: Option<SocketAddr>,
    /// Threads that carry calls
    #[arg(long)]
    pub threads: Option<std::num::NonZeroUsize>,
}

#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    pub places: Places,
    /// How findings are told; `sarif` is for code hosts
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
    Sarif,
}

#[derive(Subcommand)]
pub enum Policy {
    /// Make a policy repository to begin with
    Init {
        /// The folder; it must not exist or be empty
        dir: PathBuf,
        /// What to begin with
        #[arg(long, value_enum, default_value_t = policy::Template::Start)]
        template: policy::Template,
    },
    /// Run the cases of the policies
    Test {
        #[command(flatten)]
        places: Places,
        /// Only cases whose policy or name contains this
        filter: Option<String>,
        #[arg(long)]
        json: bool,
        /// Write the results as JUnit XML, too
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// Run again whenever a file changes, until interrupted
        #[arg(long, conflicts_with = "json")]
        watch: bool,
        /// Tell which statements and branches no case reaches
        #[arg(long)]
        coverage: bool,
        /// Fail where less than this percentage is reached
        #[arg(long, value_name = "PERCENT")]
        coverage_min: Option<f64>,
    },
    /// Tell how the facts of a case are decided: what applies, what does not and why, and what it comes to
    Explain {
        #[command(flatten)]
        places: Places,
        /// Cases whose `POLICY/CASE` contains this
        #[arg(long, value_name = "POLICY/CASE", default_value = "")]
        case: String,
    },
    /// What policies may see and say, for people and editors
    Schema {
        /// facts, effects, rhai, manifest, rules or cases
        part: String,
    },
    /// Print the WIT that Wasm guests are built with
    Wit,
    /// Measure what the policies cost on their cases: CPU time and operations
    Bench {
        #[command(flatten)]
        places: Places,
        /// Only cases whose policy or name contains this
        filter: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Write the repository into one file, signatures included, for gateways that reach no git host
    Bundle {
        #[command(flatten)]
        places: Places,
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    #[command(flatten)]
    Steer(Steer),
    /// Copy a built-in policy into a repository, to be changed there
    Eject {
        /// For example `std/tier-routing`
        name: String,
        /// The repository
        #[arg(long, value_name = "DIR", default_value = ".")]
        into: PathBuf,
    },
}

#[derive(Args)]
pub struct Explain {
    /// A call id, a caller's request id, or the code of a finding (`TG0103`); absent = the last call
    pub id: Option<String>,
    #[command(flatten)]
    pub places: Places,
    /// The receipt itself
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Replay {
    /// A call id, or a caller's request id; absent = the last calls
    pub id: Option<String>,
    /// How many of the last calls
    #[arg(short = 'n', long, default_value_t = 1_000)]
    pub lines: usize,
    #[command(flatten)]
    pub places: Places,
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Key {
    /// Make a key, shown once: in the running gateway, or as a row for `tenants.yaml` where none runs
    New(key::KeyNew),
    /// The keys, of `tenants.yaml` and of the run-time store
    List {
        /// Only those of this tenant
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        to: Operate,
    },
    /// Many keys at once, while no gateway runs: lines as `key new --row --json` prints them
    Import {
        file: PathBuf,
        #[command(flatten)]
        places: Places,
    },
    /// Another secret for the same key; both are taken for a while
    Rotate {
        id: String,
        /// How long the old secret is taken: 30m, 2h, 1d; at most 30d
        #[arg(long, default_value = "1h", value_parser = steer::seconds)]
        overlap: u32,
        /// Say what would be, and do nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        to: Operate,
    },
    /// Refuse a key from now on, a key of `tenants.yaml` too
    Revoke {
        id: String,
        /// Say what would be, and do nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        to: Operate,
    },
}

#[derive(Args)]
pub struct Sim {
    /// Where it listens (port 0 = any)
    #[arg(long, default_value = "127.0.0.1:4010")]
    pub listen: SocketAddr,
}

pub fn main() -> ExitCode {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if unprinted(panic.payload()).is_none() {
            usual(panic);
        }
    }));
    std::panic::catch_unwind(run).unwrap_or_else(|panic| match unprinted(&*panic) {
        // A reader that has enough (`| head`) is no fault: the verb ends there, without a word and without a claim of success.
        Some(why) if why.contains("Broken pipe") => ExitCode::from(UNREAD),
        Some(why) => {
            // Where that cannot be told either, the code tells it.
            let _ = writeln!(std::io::stderr(), "tollgate: cannot write what was to be said: {why}");
            ExitCode::from(FAILED)
        }
        None => std::panic::resume_unwind(panic),
    })
}

/// Why `print!` and its like panicked, where it was the writing.
fn unprinted(panic: &(dyn std::any::Any + Send)) -> Option<&str> {
    let told = panic.downcast_ref::<String>()?.strip_prefix("failed printing to ")?;
    Some(told.split_once(": ").map_or(told, |(_, why)| why))
}

fn run() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.verb {
        None => serve::run(&cli.serve),
        Some(Verb::Serve(args)) => serve::run(&args),
        Some(Verb::Check(args)) => check::run(&args),
        Some(Verb::Policy(Policy::Init { dir, template })) => policy::init(&dir, template),
        Some(Verb::Policy(Policy::Test { places, filter, json, junit, watch, coverage, coverage_min })) => {
            let coverage = coverage || coverage_min.is_some();
            let told = policy::Told { json, junit, watch, coverage, coverage_min };
            policy::test(&places, filter.as_deref(), &told)
        }
        Some(Verb::Policy(Policy::Explain { places, case })) => reason::case(&places, &case),
        Some(Verb::Policy(Policy::Bench { places, filter, json })) => author::bench(&places, filter.as_deref(), json),
        Some(Verb::Policy(Policy::Schema { part })) => author::schema(&part),
        Some(Verb::Policy(Policy::Steer(verb))) => operate::run(&verb),
        Some(Verb::Policy(Policy::Eject { name, into })) => author::eject(&name, &into),
        Some(Verb::Policy(Policy::Wit)) => policy::wit(),
        Some(Verb::Policy(Policy::Bundle { places, out })) => policy::bundle(&places, &out),
        Some(Verb::Models(args)) => models::run(&args),
        Some(Verb::Explain(args)) => explain::run(&args),
        Some(Verb::Route(verb)) => route::run(&verb),
        Some(Verb::Replay(args)) => replay::run(&args),
        Some(Verb::Doctor(args)) => doctor::run(&args),
        Some(Verb::Trail(Trail::Tail { places, lines, follow, json })) => trail::tail(&places, lines, follow, json),
        Some(Verb::Trail(Trail::Verify { places, head, trail_from, json })) => {
            journal::verify(&places, head.as_deref(), trail_from.as_deref(), json)
        }
        Some(Verb::Trail(Trail::Export { places, from })) => journal::export(&places, from),
        Some(Verb::Trail(Trail::Acts { places, lines, json })) => trail::acts(&places, lines, json),
        Some(Verb::Trail(Trail::Report(report))) => report::run(&report),
        Some(Verb::Key(verb)) => key::run(&verb),
        Some(Verb::Budget(verb)) => budget::run(&verb),
        Some(Verb::Limits(verb)) => limits::run(&verb),
        Some(Verb::Sim(args)) => sim::run(&args),
        Some(Verb::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tollgate", &mut script);
            // A reader that has enough is no error.
            let _ = std::io::stdout().write_all(&script);
            Ok(())
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(ended) => {
            if !ended.said.is_empty() {
                eprintln!("tollgate: {}", ended.said);
            }
            ExitCode::from(ended.code)
        }
    }
}

/// May text on this stream be coloured?
pub fn colour(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

//! The command line: one file per verb. Answers go to stdout, errors to stderr; no colour when piped or `NO_COLOR`.
//!
//! Exit codes: 0 ok, 1 a check failed, 2 usage or config, 3 unreachable.

mod check;
mod diagnostics;
pub use diagnostics::{print, render};
mod explain;
mod key;
mod policy;
mod replay;
mod serve;
mod sim;
mod trail;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// A failed check.
pub const FAILED: u8 = 1;
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
    /// Tell how one call was decided
    Explain(Explain),
    /// Decide recorded calls again, and compare
    Replay(Replay),
    /// The receipts
    #[command(subcommand)]
    Trail(Trail),
    /// Keys of callers
    #[command(subcommand)]
    Key(Key),
    /// The scripted provider, as a server of its own
    Sim(Sim),
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
    /// Findings and policies as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Policy {
    /// Make a policy repository to begin with
    Init {
        /// The folder; it must not exist or be empty
        dir: PathBuf,
    },
    /// Run the cases of the policies
    Test {
        #[command(flatten)]
        places: Places,
        /// Only cases whose policy or name contains this
        filter: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Print the WIT that Wasm guests are built with
    Wit,
}

#[derive(Args)]
pub struct Explain {
    /// A call id, or a caller's request id; absent = the last call
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
pub enum Trail {
    /// The last receipts, a line each
    Tail {
        #[command(flatten)]
        places: Places,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        /// Go on with those that come
        #[arg(short, long)]
        follow: bool,
        /// Whole receipts as JSON lines
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub enum Key {
    /// Mint a key: shown once; the row for `tenants.yaml` holds its hash only
    New(KeyNew),
}

#[derive(Args)]
pub struct KeyNew {
    #[arg(long)]
    pub tenant: String,
    #[arg(long)]
    pub app: Option<String>,
    #[arg(long)]
    pub user: Option<String>,
    /// A group of the key; may be repeated
    #[arg(long = "group")]
    pub groups: Vec<String>,
    /// The day after which it is not taken, e.g. 2027-03-31
    #[arg(long)]
    pub expires: Option<String>,
    #[command(flatten)]
    pub places: Places,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Sim {
    /// Where it listens (port 0 = any)
    #[arg(long, default_value = "127.0.0.1:4010")]
    pub listen: SocketAddr,
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.verb {
        None => serve::run(&cli.serve),
        Some(Verb::Serve(args)) => serve::run(&args),
        Some(Verb::Check(args)) => check::run(&args),
        Some(Verb::Policy(Policy::Init { dir })) => policy::init(&dir),
        Some(Verb::Policy(Policy::Test { places, filter, json })) => policy::test(&places, filter.as_deref(), json),
        Some(Verb::Policy(Policy::Wit)) => policy::wit(),
        Some(Verb::Explain(args)) => explain::run(&args),
        Some(Verb::Replay(args)) => replay::run(&args),
        Some(Verb::Trail(Trail::Tail { places, lines, follow, json })) => trail::tail(&places, lines, follow, json),
        Some(Verb::Key(Key::New(args))) => key::new(&args),
        Some(Verb::Sim(args)) => sim::run(&args),
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

//! The verbs for a running gateway, as the command line takes them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Places;

/// What operators ask of a running gateway.
#[derive(Subcommand)]
pub enum Steer {
    /// The active revision, its policies, what waits, what is live beside it
    Status {
        #[command(flatten)]
        to: Operate,
    },
    /// Let another revision decide on live traffic, without acting; differences are counted
    Rehearse {
        /// A commit or a branch
        revision: String,
        #[command(flatten)]
        to: Operate,
    },
    /// Let another revision act for a share of the callers; a broken guard ends it
    Canary {
        /// A commit or a branch
        revision: String,
        /// Of the callers, 0 to 100
        #[arg(long)]
        percent: f64,
        /// Grow to this share ...
        #[arg(long, requires = "over_s")]
        to_percent: Option<f64>,
        /// ... within so many seconds
        #[arg(long, default_value_t = 0)]
        over_s: u64,
        /// What deals the callers: user, tenant, app, key, session, call, sticky
        #[arg(long, default_value = "sticky")]
        by: String,
        /// For example 'errors<2%, denied<+5%, cost<+10%, latency<+20%'
        #[arg(long, default_value = "")]
        guard: String,
        #[command(flatten)]
        to: Operate,
    },
    /// End a rehearsal or a canary, and tell what it came to
    Stop {
        #[command(flatten)]
        to: Operate,
    },
    /// Make a revision active and hold it; newer ones wait
    Pin {
        /// A commit or a branch
        revision: String,
        #[command(flatten)]
        to: Operate,
    },
    /// Let go of a held revision: the newest one acts
    Unpin {
        #[command(flatten)]
        to: Operate,
    },
    /// Let a policy act less than it declares, at once and without a commit; it ends by itself
    Lower {
        /// The policy's name, as `policy status` tells it
        policy: String,
        /// observe, warn or off
        #[arg(long)]
        to: String,
        /// How long: 30m, 2h, 1d; at most 30d
        #[arg(long = "for", value_parser = seconds)]
        for_s: u32,
        /// Why: it stands in every receipt until then
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        to_gateway: Operate,
    },
    /// Let a lowered policy act as it declares again
    Restore {
        policy: String,
        #[command(flatten)]
        to: Operate,
    },
    /// Back to the revision before the active one, and hold it; needs no git host
    Rollback {
        #[command(flatten)]
        to: Operate,
    },
    /// What another revision would change
    Diff {
        /// A commit or a branch
        revision: String,
        #[command(flatten)]
        to: Operate,
    },
}

/// Which gateway.
#[derive(Args, Clone)]
pub struct Operate {
    /// Its operators' address, as the greeting tells it
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4001", value_parser = address)]
    pub operators: SocketAddr,
    /// A client certificate, where its port asks for one (`listen.operators_tls` of the config)
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// The key of the client certificate
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    #[command(flatten)]
    pub places: Places,
    #[arg(long)]
    pub json: bool,
}

/// `127.0.0.1:4001`, or the same as a URL.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let plain = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
    let plain = plain.trim_end_matches('/');
    plain.parse().map_err(|_| "write it like `127.0.0.1:4001`".to_owned())
}

/// `90`, `90s`, `30m`, `2h`, `1d`.
pub fn seconds(text: &str) -> Result<u32, String> {
    let unit = text.chars().last().filter(char::is_ascii_alphabetic);
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match unit {
        None | Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        Some(_) => 0,
    };
    let whole = number.parse::<u32>().ok().and_then(|n| n.checked_mul(factor)).filter(|n| *n > 0);
    whole.ok_or_else(|| "write it like 30m, 2h or 1d".to_owned())
}

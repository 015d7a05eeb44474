//! `tollgate doctor`: looks at everything that must be right for a gateway to run well, and says what to do where it is not.
//!
//! It reads and changes nothing. Beyond loopback it asks nobody, unless `--probe` says so.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::operate::{UNREACHABLE, told_by};
use super::{Ended, Operate, Places};
use crate::doctor::{Files, Finding, Level, offline, probe, secrets};
use crate::start;
use crate::state::State;
use crate::upstreams;

#[derive(Args)]
pub struct Doctor {
    /// Ask providers whether they are there (without a secret), run the commands of secrets, fetch remote policies
    #[arg(long)]
    probe: bool,
    /// The operators' address of the running gateway; the config's where it is not given
    #[arg(long, value_name = "ADDRESS", value_parser = super::steer::address)]
    operators: Option<SocketAddr>,
    /// A client certificate, where its port asks for one
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The key of the client certificate
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Doctor) -> Result<(), Ended> {
    let config = start::config(&args.places)?;
    let (list, _) = upstreams::configured(&config)?;
    let state = State::named(args.places.state.as_deref().or(config.store.path.as_deref())).map_err(Ended::usage)?;
    let mut found = vec![Finding::ok("config", "it can be read")];
    found.extend(offline::state(&state));
    let is_running = state.is_running().unwrap_or(false);
    let mut unreachable = None;
    let told: Option<Value> = match is_running {
        false => None,
        true => {
            let operators = args.operators.unwrap_or(config.listen.operators);
            let (client_cert, client_key) = (args.client_cert.clone(), args.client_key.clone());
            let to = Operate { operators, client_cert, client_key, places: args.places.clone(), json: true };
            match told_by(&to, Method::GET, "/admin/v1/doctor", Value::Null) {
                Ok(told) => Some(told),
                Err(ended) => {
                    let remedy = "name its operators' address with `--operators`";
                    found.push(Finding::fail("gateway", ended.said, remedy));
                    unreachable = (ended.code == UNREACHABLE).then_some(ended.code);
                    None
                }
            }
        }
    };
    found.push(offline::clock(&state));
    found.push(offline::journal(&state));
    found.push(offline::policies(&config, &args.places, &state, args.probe));
    found.extend(offline::certificates(&config));
    found.extend(secrets::offline(&list, told.is_some(), args.probe));
    found.extend(secrets::of_alerts(&config, told.as_ref(), args.probe));
    if let Some(told) = &told {
        found.extend(gateway(told));
        found.extend(secrets::live(told));
    }
    let files = told.as_ref().and_then(|told| serde_json::from_value::<Files>(told["files"].clone()).ok());
    found.push(offline::files(&config, files));
    if args.probe {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| Ended::failed(format!("cannot start: {why}")))?;
        found.extend(runtime.block_on(probe::providers(&list)));
    }
    tell(&found, args.json);
    match (unreachable, found.iter().any(|finding| finding.level == Level::Fail)) {
        (Some(code), _) => Err(Ended { code, said: String::new() }),
        (None, true) => Err(Ended::failed("")),
        (None, false) => Ok(()),
    }
}

/// What a gateway says of itself besides its secrets.
fn gateway(told: &Value) -> Vec<Finding> {
    let version = told["version"].as_str().unwrap_or_default();
    let since = super::operate::time(&told["started_ms"]);
    let mut found = vec![match version == env!("CARGO_PKG_VERSION") {
        true => Finding::ok("gateway", format!("version {version} since {since}")),
        false => Finding::warn(
            "gateway",
            format!("it has version {version}, this program {}", env!("CARGO_PKG_VERSION")),
            "start it anew, or use the program that it runs",
        ),
    }];
    found.push(match told["balances_wrong"].as_str() {
        None => Finding::ok("balances", "what is held and used adds up"),
        Some(why) => Finding::fail("balances", why, "this is a fault of the gateway: please report it"),
    });
    if let Some(waiting) = told["receipts_waiting"].as_u64().filter(|waiting| *waiting > 100) {
        found.push(Finding::warn(
            "trail",
            format!("{waiting} receipts wait for the disk"),
            "look at the disk of `trail/`",
        ));
    }
    found
}

fn tell(found: &[Finding], as_json: bool) {
    let count = |level| found.iter().filter(|finding| finding.level == level).count();
    let (ok, warn, fail) = (count(Level::Ok), count(Level::Warn), count(Level::Fail));
    if as_json {
        println!("{}", json!({ "findings": found, "ok": ok, "warn": warn, "fail": fail }));
        return;
    }
    for finding in found {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        println!("{level:<5} {:<9} {}", finding.check, finding.told);
        if let Some(remedy) = &finding.remedy {
            println!("{:<16}-> {remedy}", "");
        }
    }
    println!("{ok} ok, {warn} warnings, {fail} failures");
}

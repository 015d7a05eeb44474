//! The `tollgate` program: the gateway, and the tools around it.

#![forbid(unsafe_code)]

mod accept;
mod admin;
mod alerts;
mod api;
mod budgets;
mod cli;
mod config;
mod doctor;
mod keys;
mod metrics;
mod opening;
mod operators;
mod policies;
mod says;
mod secrets;
mod shared;
mod signals;
mod start;
mod state;
mod tls;
mod tokens;
mod trust;
mod upstreams;

use std::process::ExitCode;

#[cfg(not(feature = "allocations"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}

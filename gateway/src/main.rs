//! The `tollgate` program: the gateway, and the tools around it.

#![forbid(unsafe_code)]

mod accept;
mod admin;
mod api;
mod cli;
mod config;
mod keys;
mod metrics;
mod operators;
mod policies;
mod shared;
mod start;
mod state;
mod tokens;
mod trust;

use std::process::ExitCode;

#[cfg(not(feature = "allocations"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}

//! Guests end to end: built components and written ones, through the compiler that the gateway uses.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says by itself where")]

mod classifier;
mod conformance;
mod facts;
mod refused;
mod script;
#[path = "../trying/mod.rs"]
mod trying;

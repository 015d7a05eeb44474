//! Guests end to end: built components and written ones, through the compiler that the gateway uses.

mod classifier;
mod conformance;
mod refused;
mod script;
#[path = "../trying/mod.rs"]
mod trying;

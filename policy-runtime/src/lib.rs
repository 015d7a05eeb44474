//! Policies from a tree of files: parsed, checked, compiled, tried on their cases, and asked.
//!
//! Engines (`cel`, `rhai`) turn one policy's files into a [`engine::Program`]; the loader (`load`) turns a whole tree into
//! a `Revision`; `reload` watches a source and swaps. Git is behind its own crate and reaches this one as a plain tree.

pub mod cases;
pub mod codes;
#[cfg(test)]
mod conformance;
pub mod coverage;
pub mod diagnostic;
pub mod engine;
pub mod engines;
pub mod expr;
pub mod guard;
pub mod home;
pub mod judge;
pub mod kept;
pub mod layers;
mod listing;
pub mod load;
pub mod manifest;
pub mod memo;
mod overlap;
pub mod params;
pub mod reading;
pub mod reference;
pub mod reload;
pub mod retired;
pub mod script;
pub mod second;
pub mod selectors;
pub mod source;
pub mod status;
pub mod stdlib;
pub mod steer;
pub mod switches;
pub mod tables;
pub mod targets;
pub mod trouble;
#[cfg(test)]
mod trying;
mod waivers;
pub mod watch;
pub mod yaml;

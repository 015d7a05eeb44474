//! Whole calls, whole repositories, whole processes: one binary, a file per concern.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says by itself where")]

mod author;
mod calls;
mod clients;
mod cookbook;
mod corpus;
mod examples;
mod findings;
mod first_policy;
mod framed;
mod grants;
mod house;
mod keys;
mod lowered;
mod matrix;
mod models;
mod operations;
mod reasons;
mod refused;
mod revisions;
mod shelf;
mod signatures;
mod sources;
mod steer;
mod storm;
mod support;
mod tokens;

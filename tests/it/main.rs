//! Whole calls, whole repositories, whole processes: one binary, a file per concern.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says by itself where")]

mod agents;
mod author;
mod bad_providers;
mod calls;
mod clients;
mod contract;
mod cookbook;
mod corpus;
mod encodings;
mod examples;
mod findings;
mod first_policy;
mod framed;
mod grants;
mod held;
mod house;
mod journal;
mod keys;
mod limits;
mod lowered;
mod matrix;
mod models;
mod operations;
mod passing;
mod published;
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

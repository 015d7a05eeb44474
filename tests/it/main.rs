//! Whole calls, whole repositories, whole processes: one binary, a file per concern.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says by itself where")]

mod author;
mod calls;
mod cookbook;
mod corpus;
mod examples;
mod findings;
mod house;
mod lowered;
mod reasons;
mod revisions;
mod sdk;
mod shelf;
mod sources;
mod steer;
mod storm;
mod support;

//! Whole calls, whole repositories, whole processes: one binary, a file per concern.

mod corpus;
mod house;
mod support;

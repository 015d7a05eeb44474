//! The tables of a repository, read into the core's types: `catalog/*.yaml`, `tenants.yaml`, `limits.yaml`.

pub mod catalog;
mod ladder;
pub mod limits;
mod price;
pub mod tenants;

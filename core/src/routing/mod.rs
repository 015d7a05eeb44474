//! Which places can answer, and in which order they are tried. Names of tiers, families and regions are data.

pub mod catalog;
pub mod choose;

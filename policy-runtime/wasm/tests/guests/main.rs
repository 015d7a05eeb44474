//! Guests end to end: built components and written ones, through the compiler that the gateway uses.

mod bombs;
mod classifier;
mod refused;
mod support;

//! Where calls are sent: real providers over one pooled client each, and `sim`, the scripted one.

#![forbid(unsafe_code)]

pub mod api;
pub mod auth;
pub mod client;
pub mod clouds;
pub mod gathered;
pub mod http;
mod key_fault;
pub mod known;
pub mod secret;
pub mod sigv4;
pub mod sim;
pub mod stamp;
pub mod tokens;

pub use auth::{Auth, is_loopback};
pub use http::{Provider, Providers, Timers};
pub use known::found;
pub use secret::kept::{Happened, Keeping, Report};
pub use secret::{Secret, SecretSource};

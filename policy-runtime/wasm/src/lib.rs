//! Wasm: policies as components of the world `tollgate:policy`, written in any language that builds one.
//!
//! The one package that knows a Wasm engine. The gateway hands it to the loader as a `Foreign` compiler; what comes out is
//! a `Program` like those of CEL and Rhai. Components are compiled when a revision is loaded, never on a call.

mod asked;
mod engine;
mod guest;
mod host;
mod kept;
mod load;
mod said;
pub mod wit;

pub use kept::Folder;
pub use load::Wasm;

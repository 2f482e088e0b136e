//! The HVS node: edge, router and replica runtime.
//!
//! ```text
//! server → edge (routes, decoding, problems) → catalogue (namespaces, router) → shards
//! ```
//!
//! # Invariants
//! - HTTP is known to `edge` and `server` alone.
//! - What a request may cost is bounded before it is begun: its body, its items, its time.
//! - Neither logs nor spans nor metrics hold vectors or metadata.

pub mod cache;
pub mod catalogue;
mod checkpoints;
mod cluster;
pub mod config;
mod durability;
mod edge;
pub mod followers;
mod gate;
mod identity;
pub mod memory;
mod node;
pub mod prefetch;
pub mod repair;
pub mod scale;
mod server;
mod serving;
pub mod telemetry;
mod workers;

pub use cluster::{JoinError, RenewError, SessionEnded};
pub use identity::IdentityError;
pub use node::{Node, StartError, StopError};

//! Nodes that share a store of logs: one leads, the others stand by.
//!
//! A node [joins](join::join) with a [session](session::NodeSession), which it renews. It then
//! [stands by](standby::Standby) until the log of the catalogue is free: led by nobody, by an
//! earlier start of itself, or by a node whose session is over. What it sees is dead it fences
//! first. Only then are the catalogue and the shards opened, each of which looks again at who led
//! it.
//!
//! # Invariants
//! - *Fence first*: nothing is taken over from a node whose session is not over by its record.
//! - A node whose session is not valid answers neither reads nor writes, and one whose session is
//!   lost ends.

mod clock;
mod error;
mod join;
mod local;
mod session;
mod standby;

pub use error::{JoinError, RenewError, SessionEnded};
pub(crate) use join::{Joined, join};
pub(crate) use local::LocalDirectory;
pub(crate) use session::NodeSession;
pub(crate) use standby::{Leading, Standby};

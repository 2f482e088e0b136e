//! Checkpoints: immutable objects of sorted rows, and a manifest that is swapped in.
//!
//! A checkpoint is a state of every shard of a namespace. Each shard's state is a *chain*: a base
//! that holds all of its rows, and deltas that hold what changed since the link before. Links are
//! written as [objects](object) of bounded size that never change. The [`Manifest`] says which
//! objects make up which checkpoint, with their sizes and hashes. It is replaced as a whole by a
//! compare-and-swap, so that at every moment there is one complete set of checkpoints.
//!
//! ```text
//! {url}/manifest                     see `manifest`
//! {url}/objects/{attempt}/{number}   see `object`; the attempt is random for each checkpoint
//! ```
//!
//! What the rows mean is for the caller: they are pairs of bytes, in byte order of their keys.
//!
//! # Invariants
//! - An object is written once, under a name that no other attempt has, before any manifest
//!   names it. A crash in between leaves objects that no manifest names, and nothing else.
//! - A manifest replaces exactly the one that its writer read, and raises seq.
//! - Nothing is returned that does not have the size and the hash that the manifest says. Damage
//!   of any kind is an error that names the object.

#![allow(
    clippy::missing_errors_doc,
    reason = "each operation has an error type of its own, whose variants say when they occur"
)]

mod chain;
#[cfg(feature = "conformance")]
pub mod conformance;
mod folder;
mod hash;
mod manifest;
pub mod object;
mod store;

pub use chain::{Chain, ChainError};
pub use hash::Hash;
pub use manifest::{
    AddError, Checkpoint, DamagedManifest, Kind, Link, MAX_LINKS, Manifest, ObjectRef, ShardPart,
};
pub use object::{
    Chunk, ChunkWriter, DamagedObject, Finished, ObjectWriter, Packer, Row, Sizes, WriteError,
};
pub use store::{CheckpointStore, Loaded, ORPHAN_AGE, StoreError, SwapError, Version};

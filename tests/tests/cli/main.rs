//! The command line against a real node: what it prints, stores and answers to scripts.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod changes;
mod checkpoints;
mod exports;
mod geometry;
mod imports;
mod measuring;
mod namespaces;
mod pages;
mod records;
mod setup;

//! Tests that need several processes, and the kit they share: a real node in a process of its
//! own, and a client that is cheap enough to measure with.

pub mod archive;
pub mod disk;
pub mod http;
pub mod node;
pub mod sample;
pub mod shim;
pub mod tikv;

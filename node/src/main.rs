//! The `hvs-node` server.

fn main() {}

//! The `hvs` command line.

fn main() {}

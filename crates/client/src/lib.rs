//! Rust client of the HVS HTTP API.

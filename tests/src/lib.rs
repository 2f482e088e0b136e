//! Tests that need several processes, and the kit they share.

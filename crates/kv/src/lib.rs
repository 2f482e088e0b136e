//! The key-value store below HVS: one trait, its backends, one conformance suite.

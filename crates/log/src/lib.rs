//! The shard log: entries, epochs and appends on top of a key-value store.

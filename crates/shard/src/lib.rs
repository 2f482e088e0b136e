//! The deterministic state machine of a shard: records, conditions, indexes kept in step.

//! Levels of durability: those of the API, and those that shards of one node have.

use hvs_api::Durability;

/// The level as shards know it, if one node alone has it.
pub(crate) fn of_shard(level: Durability) -> Option<hvs_shard::Durability> {
    match level {
        Durability::Memory => Some(hvs_shard::Durability::Memory),
        Durability::Buffered => Some(hvs_shard::Durability::Buffered),
        Durability::Sync => Some(hvs_shard::Durability::Sync),
        Durability::Replicated | Durability::Quorum => None,
    }
}

/// The level as clients know it.
pub(crate) fn of_api(level: hvs_shard::Durability) -> Durability {
    match level {
        hvs_shard::Durability::Memory => Durability::Memory,
        hvs_shard::Durability::Sync => Durability::Sync,
        _ => Durability::Buffered,
    }
}

/// What is said of a level that this node does not have.
pub(crate) fn unavailable(level: Durability) -> String {
    let name = format!("{level:?}").to_lowercase();
    format!("durability {name} is not available on this node")
}

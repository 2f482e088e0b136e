//! What is done in the background.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether segments of indexes are built, and what waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaintenanceInfo {
    /// Whether no build begins. Searches and writes go on; what is not built is scanned.
    pub paused: bool,
    /// Builds that run now; those that ran when it was paused go on to their end.
    pub running: u64,
    /// The most that run at once.
    pub limit: u64,
    /// What waits, by namespace; those for which nothing waits are left out.
    pub debt: BTreeMap<String, MaintenanceDebt>,
}

/// What waits to be built, in rows of indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaintenanceDebt {
    /// In tails beyond their limit: every search scans them.
    pub tail_rows: u64,
    /// Deleted or replaced, and still in the files.
    pub dead_rows: u64,
    /// Not yet in an index that is being built anew.
    pub rebuild_rows: u64,
}

//! Health of a node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of a node and of its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ready`, `starting` or `stopping`.
    pub status: String,
    /// The version of the node.
    pub version: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// What each part says of itself.
    pub parts: BTreeMap<String, String>,
}

//! What has to happen so that a shard is as it is to be.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cluster::{NodeId, Replicas};

/// One change of one shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "move", rename_all = "lowercase")]
pub enum Move {
    /// A node gets a replica.
    Add {
        /// The shard.
        shard: Uuid,
        /// The node.
        node: NodeId,
    },
    /// A node becomes the leader.
    Lead {
        /// The shard.
        shard: Uuid,
        /// The node.
        node: NodeId,
    },
    /// A node gives its replica up.
    Remove {
        /// The shard.
        shard: Uuid,
        /// The node.
        node: NodeId,
    },
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { shard, node } => write!(f, "shard {shard}: a replica on {node}"),
            Self::Lead { shard, node } => write!(f, "shard {shard}: led by {node}"),
            Self::Remove { shard, node } => write!(f, "shard {shard}: no replica on {node}"),
        }
    }
}

/// What leads from one to the other, in an order in which it can be done.
pub(crate) fn between(shard: Uuid, now: &Replicas, then: &Replicas) -> Vec<Move> {
    let added = then.nodes.iter().filter(|node| !now.nodes.contains(node));
    let gone = now.nodes.iter().filter(|node| !then.nodes.contains(node));
    let leader = then.leader.as_ref().filter(|leader| now.leader.as_ref() != Some(*leader));
    let add = |node: &NodeId| Move::Add { shard, node: node.clone() };
    let lead = |node: &NodeId| Move::Lead { shard, node: node.clone() };
    let remove = |node: &NodeId| Move::Remove { shard, node: node.clone() };
    added.map(add).chain(leader.map(lead)).chain(gone.map(remove)).collect()
}

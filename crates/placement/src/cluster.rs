//! What is known of a cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a node.
pub type NodeId = String;

/// Where a node is, from the widest to the narrowest. What is narrower has a meaning only within
/// what is wider: two zones of one name in two geo-regions are two zones.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The geo-region.
    pub region: String,
    /// The zone in it.
    pub zone: String,
    /// The rack in that.
    pub rack: String,
    /// The host in that.
    pub host: String,
}

/// Whether a node can hold something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It lives and takes replicas.
    Live,
    /// It lives, and is to be emptied before it leaves.
    Draining,
    /// Its session has ended for longer than it is waited for.
    Lost,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Where it is.
    pub place: Place,
    /// Whether it can hold something.
    pub state: NodeState,
    /// How much it can hold, in bytes. Loads are compared by their part of it.
    pub capacity: u64,
}

/// A shard and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// How many replicas there are to be.
    pub replication: usize,
    /// The geo-regions that they are to be in, that of the leader first; none for anywhere.
    pub regions: Vec<String>,
    /// What a replica takes, in bytes.
    pub bytes: u64,
    /// Where its replicas are, and which of them leads.
    pub replicas: Replicas,
}

/// The replicas of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// The nodes, by their ids.
    pub nodes: Vec<NodeId>,
    /// That of the leader, if there is one.
    pub leader: Option<NodeId>,
}

/// Nodes and shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// By their ids.
    pub nodes: BTreeMap<NodeId, Node>,
    /// By their uids.
    pub shards: BTreeMap<Uuid, Shard>,
}

impl Node {
    /// Whether it may be given replicas, and keep them.
    pub(crate) fn is_live(&self) -> bool {
        self.state == NodeState::Live
    }
}

impl Place {
    /// The host, with all that it lies in.
    pub(crate) fn host(&self) -> [&str; 4] {
        [&self.region, &self.zone, &self.rack, &self.host]
    }

    /// The rack, with all that it lies in.
    pub(crate) fn rack(&self) -> [&str; 3] {
        [&self.region, &self.zone, &self.rack]
    }

    /// The zone, with what it lies in.
    pub(crate) fn zone(&self) -> [&str; 2] {
        [&self.region, &self.zone]
    }
}

impl Cluster {
    /// A node that may be given replicas, with its id.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.is_live())
    }

    /// Where a node is, if it is known.
    pub(crate) fn place(&self, id: &str) -> Option<&Place> {
        self.nodes.get(id).map(|node| &node.place)
    }
}

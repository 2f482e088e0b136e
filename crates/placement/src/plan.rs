//! The plan: where everything is to be.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    balance,
    cluster::{Cluster, NodeId, Replicas, Shard},
    leaders,
    load::Loads,
    moves::{self, Move},
    spread,
};

/// How a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Replicas are moved for the sake of balance where a node is fuller or emptier than the mean of
    /// its geo-region by more than this part of the mean; infinity for never.
    pub tolerance: f64,
}

impl Default for Rules {
    /// A fifth.
    fn default() -> Self {
        Self { tolerance: 0.2 }
    }
}

/// Where replicas and leaders are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Of each shard.
    pub replicas: BTreeMap<Uuid, Replicas>,
    /// What has to happen, shard after shard; none if everything is where it is to be.
    pub moves: Vec<Move>,
    /// What is wanted and cannot be.
    pub unmet: Vec<Unmet>,
}

/// What is wanted of a shard and cannot be.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error,
)]
#[serde(tag = "unmet", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unmet {
    /// There are too few hosts.
    #[error(
        "shard {shard}: {wanted} replicas are wanted, and there are hosts for {placed} where they may be; \
         add nodes, or want fewer"
    )]
    Replicas {
        /// The shard.
        shard: Uuid,
        /// How many are wanted.
        wanted: usize,
        /// How many there are to be.
        placed: usize,
    },
    /// No node that takes replicas is in a wanted geo-region.
    #[error("shard {shard}: no node that takes replicas is in the geo-region {region:?}")]
    Region {
        /// The shard.
        shard: Uuid,
        /// The geo-region.
        region: String,
    },
}

/// Plans where everything is to be.
pub fn plan(cluster: &Cluster, rules: Rules) -> Plan {
    let mut loads = Loads::new(cluster);
    let mut chosen: BTreeMap<Uuid, Vec<NodeId>> = BTreeMap::new();
    let mut unmet = Vec::new();
    for (uid, shard) in &cluster.shards {
        unmet.extend(lacking(cluster, *uid, shard));
        chosen.insert(*uid, spread::choose(cluster, shard, &mut loads));
    }
    // It ends: replicas become less crowded, or are as crowded and more evenly spread.
    loop {
        let mut has_moved = false;
        for (uid, nodes) in &mut chosen {
            if let Some(shard) = cluster.shards.get(uid) {
                has_moved |= spread::spread(cluster, shard, nodes, &mut loads);
            }
        }
        has_moved |= balance::rebalance(cluster, &mut chosen, &mut loads, rules.tolerance);
        if !has_moved {
            break;
        }
    }
    let mut leaders = leaders::choose(cluster, &chosen);
    let mut plan = Plan { unmet, ..Plan::default() };
    for (uid, mut nodes) in chosen {
        nodes.sort_unstable();
        let then = Replicas { nodes, leader: leaders.remove(&uid) };
        if let Some(shard) = cluster.shards.get(&uid) {
            plan.moves.extend(moves::between(uid, &shard.replicas, &then));
        }
        plan.replicas.insert(uid, then);
    }
    plan
}

fn lacking(cluster: &Cluster, uid: Uuid, shard: &Shard) -> Vec<Unmet> {
    let (quotas, missing) = spread::quotas(cluster, shard);
    let is_empty =
        |region: &String| !cluster.live().any(|(_, node)| spread::is_in(node, Some(region)));
    let regions = quotas.into_iter().filter_map(|(region, _)| region).filter(is_empty);
    let mut unmet: Vec<Unmet> =
        regions.map(|region| Unmet::Region { shard: uid, region }).collect();
    if missing > 0 {
        let (wanted, placed) = (shard.replication, shard.replication - missing);
        unmet.push(Unmet::Replicas { shard: uid, wanted, placed });
    }
    unmet
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for lacking in &self.unmet {
            writeln!(f, "{lacking}")?;
        }
        for one in &self.moves {
            writeln!(f, "{one}")?;
        }
        writeln!(f, "{} moves of {} shards", self.moves.len(), self.replicas.len())
    }
}
